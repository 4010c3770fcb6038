"""`workbench serve`: start a server and watch it, list, status, stop, log, remove."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError
from rich.table import Table

from workbench.cli.context import Context
from workbench.cli.engines import find_engine
from workbench.cli.follow import interrupts_kept
from workbench.core.endpoint import KeySource
from workbench.core.errors import BadInputError, BlockedError
from workbench.core.serving import Percentiles, ServeLimits, ServeReading, ServeSpec, ServeState
from workbench.core.units import format_duration
from workbench.serve import client
from workbench.serve.client import KeyPlace, ServeRequest
from workbench.serve.folder import ENDED, ServingFolder, find
from workbench.serve.readings import log_pieces
from workbench.toolchains.secrets import Secret, checked_variable, key_of, store_key

_LOOK_S = 0.25
_STOP_S = 60.0


def run_start(
    context: Context,
    engine: str,
    *,
    model: str,
    host: str,
    port: int,
    key_env: str,
    key_keyring: str,
    new_key: bool,
    limits: dict[str, Any],
    overrides: list[str],
    detach: bool,
) -> None:
    place, name = _key_place(key_env, key_keyring, new_key=new_key)
    request = ServeRequest(
        engine=find_engine(context, engine).path,
        model=model,
        host=host,
        port=port,
        limits=_limits(limits),
        overrides=tuple(overrides),
        key_source=place,
        key_name=name,
    )
    has_key = new_key or place != "none"
    spec = client.prepare(context.home, request, has_key=has_key)
    key = _key(place, name, new_key=new_key) if has_key else None
    with interrupts_kept() as kept:
        folder = client.start(context.home, spec, key)
        shown_key = str(key) if new_key else None
        if detach:
            _detached(context, folder, spec, shown_key)
            return
        if shown_key is not None and not context.as_json:
            context.err.print(f"API key, shown this once: {shown_key}", markup=False, soft_wrap=True)
        # A service manager's or a container's way to ask for an end; a closed terminal (SIGHUP) leaves the server be.
        before = signal.signal(signal.SIGTERM, lambda *_: kept.append(True))
        try:
            state = _watch(context, folder, spec, kept, shown_key)
        finally:
            signal.signal(signal.SIGTERM, before)
    _end_with(context, folder, state)


def _limits(given: dict[str, Any]) -> ServeLimits:
    try:
        return ServeLimits(**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"]).replace("_", " ")
        raise BadInputError(
            f"The limit “{name}” cannot be so.", evidence=str(first["msg"]), fix="Correct it.", code="bad-limit"
        ) from error


def _key_place(variable: str, entry: str, *, new_key: bool) -> tuple[KeyPlace, str]:
    """Where the key is kept, by the flags. Raises BadInputError when they do not go together."""
    if variable and (entry or new_key):
        raise BadInputError(
            "--api-key-env goes with neither --api-key-keyring nor --new-key.",
            fix="Choose where the key is kept.",
            code="bad-key-options",
        )
    if variable:
        return "env", checked_variable(variable, "--api-key-env")
    return ("keyring", entry) if entry else ("none", "")


def _key(place: KeyPlace, name: str, *, new_key: bool) -> Secret:
    """The key itself. Raises BlockedError when it is not where it should be."""
    if new_key:
        made = client.new_key()
        if place == "keyring":
            store_key(name, made)
        return made
    try:
        found = key_of(KeySource(source=place, name=name), os.environ)
    except BlockedError as error:
        if error.failure.code != "no-key":
            raise
        fix = f"Set {name}." if place == "env" else f"--new-key --api-key-keyring {name} makes one and keeps it there."
        raise BlockedError("The server's key is not there.", evidence=error.evidence, fix=fix, code="no-key") from error
    assert found is not None
    return found


def _detached(context: Context, folder: ServingFolder, spec: ServeSpec, key: str | None) -> None:
    """Wait only until it listens, or could not."""
    for state in client.follow(folder, 0.05):
        if state.url or state.status != "starting":
            break
    if state.status in ENDED:
        _end_with(context, folder, state)
    words = [f"{folder.id}: {spec.model} at {state.url}, {state.step or state.status}"]
    if key is not None:
        words.append(f"API key, shown this once: {key}")
    words.append(f"`workbench serve status {folder.id} --wait` waits until it serves.")
    context.result({**_shown(folder, spec, state), **({"key": key} if key is not None else {})}, "\n".join(words))


def _watch(context: Context, folder: ServingFolder, spec: ServeSpec, kept: list[bool], key: str | None) -> ServeState:
    """Show the server until it has ended. Ctrl+C drains it, a second one stops it at once."""
    asked = 0
    told = ""
    live = context.err.is_terminal and not context.err.is_dumb_terminal and not context.as_json
    with context.err.status("Starts …") as line:
        if not live:
            line.stop()
        for state in client.follow(folder, _LOOK_S):
            line.update(live_words(spec, state))
            if state.status != told:
                _tell_change(context, folder, spec, state, None if told else key)
                told = state.status
            if len(kept) > asked:
                asked = len(kept)
                client.stop(folder, now=asked > 1)
                if asked == 1:
                    context.note("Running answers end first; Ctrl+C again aborts them.")
    return client.wait_ended(folder, _STOP_S)


def _tell_change(context: Context, folder: ServingFolder, spec: ServeSpec, state: ServeState, key: str | None) -> None:
    if context.as_json:
        context.line({**_shown(folder, spec, state), **({"key": key} if key else {})})
    elif state.status == "ready":
        took = (
            f" after {format_duration(state.ready_at - state.started_at)}"
            if state.ready_at and state.started_at
            else ""
        )
        context.err.print(
            f"{spec.model} at {state.url} by {state.program}{took}; Ctrl+C stops it", markup=False, soft_wrap=True
        )
        for words in state.problems:
            context.err.print(f"  {words}", markup=False, soft_wrap=True)


def live_words(spec: ServeSpec, state: ServeState) -> str:
    """One line of how a server is now."""
    if state.status == "starting":
        return f"Starts: {state.step or 'loads'} …"
    reading = state.reading
    if reading is None:
        return f"{state.status}  {state.url}"
    return f"{state.status}  {state.url}  {spec.model}  {reading_words(reading)}"


def reading_words(reading: ServeReading) -> str:
    """`3 active, 0 queued · 120 requests · 512 tok/s · TTFT p50 40 ms, p99 90 ms · refused 401: 2`."""
    parts = [f"{reading.active:,} active, {reading.queued:,} queued", f"{reading.requests:,} requests"]
    if reading.output_tok_s is not None:
        parts.append(f"{reading.output_tok_s:,.0f} tok/s")
    if reading.ttft.p50 is not None:
        parts.append(f"TTFT {_percentiles(reading.ttft)}")
    if reading.kv_share is not None:
        parts.append(f"KV {reading.kv_share:.0%}")
    if reading.refused:
        parts.append(
            "refused " + ", ".join(f"{status}: {count:,}" for status, count in sorted(reading.refused.items()))
        )
    if reading.failed:
        parts.append(f"{reading.failed:,} failed")
    return " · ".join(parts)


def _percentiles(figures: Percentiles) -> str:
    named = (("p50", figures.p50), ("p90", figures.p90), ("p99", figures.p99))
    return ", ".join(f"{name} {value:,.0f} ms" for name, value in named if value is not None) or "not enough requests"


def _end_with(context: Context, folder: ServingFolder, state: ServeState) -> None:
    """The end of a server that was watched; a failure is the command's."""
    if state.failure is not None:
        context.fail(state.failure)
        context.err.print(f"  Its log: workbench serve log {folder.id}", markup=False, soft_wrap=True)
        raise typer.Exit(state.failure.exit_code)
    if not context.as_json:
        answered = state.reading.completed if state.reading is not None else 0
        context.result(None, f"{folder.id} stopped after {answered:,} answered requests")


def _shown(folder: ServingFolder, spec: ServeSpec, state: ServeState) -> dict[str, Any]:
    return {
        "id": folder.id,
        "folder": str(folder.path),
        "spec": spec.model_dump(mode="json"),
        "state": state.model_dump(mode="json"),
    }


def run_list(context: Context, *, running_only: bool) -> None:
    there = [each for each in client.list_servings(context.home) if each.running or not running_only]
    if context.as_json:
        context.result([_shown(each.folder, each.spec, each.state) for each in there])
        return
    if not there:
        context.result(None, "No server was started yet: workbench serve ENGINE")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("id", "model", "status", "url", "requests", "started"):
        table.add_column(column, overflow="fold", no_wrap=column in ("id", "status"))
    for each in there:
        state = each.state
        requests = f"{state.reading.requests:,}" if state.reading is not None else ""
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(each.spec.created_at))
        table.add_row(each.id, each.spec.model, state.status, state.url if each.running else "", requests, began)
    context.out.print(table)


def run_status(context: Context, server: str, *, wait: bool) -> None:
    folder = find(context.home.serving, server)
    spec = folder.spec()
    state = client.wait_ready(folder, 86_400.0) if wait else folder.state()
    context.result(_shown(folder, spec, state), "\n".join(_status_lines(folder, spec, state)))
    if wait and state.failure is not None:
        raise typer.Exit(state.failure.exit_code)


def _status_lines(folder: ServingFolder, spec: ServeSpec, state: ServeState) -> list[str]:
    lines = [f"{folder.id}  {state.status}{f': {state.step}' if state.step else ''}"]
    lines.append(f"  model      {spec.model}  ({spec.name}, {spec.engine})")
    if state.url:
        kept = "shown once, kept nowhere" if spec.keyed else "none"
        key = {"none": kept, "env": f"from {spec.key_name}", "keyring": f"in the keyring as {spec.key_name}"}
        lines.append(f"  url        {state.url}  key: {key[spec.key_source]}")
    if state.program:
        lines.append(f"  program    {state.program}")
    if state.ready_at is not None:
        lines.append(f"  serves     {format_duration((state.ended_at or time.time()) - state.ready_at)}")
    reading = state.reading
    if reading is not None:
        lines.append(f"  now        {reading_words(reading)}")
        lines.append(
            f"  requests   {reading.completed:,} answered, {reading.aborted:,} aborted by clients, "
            f"{sum(reading.refused.values()):,} refused, {reading.failed:,} failed"
        )
        lines.append(f"  tokens     {reading.input_tokens:,} in, {reading.output_tokens:,} out")
        for name, figures in (("TTFT", reading.ttft), ("ITL", reading.itl), ("latency", reading.latency)):
            lines.append(f"  {name:<10} {_percentiles(figures)}")
    lines += [f"  {words}" for words in state.problems[-5:]]
    if state.failure is not None:
        lines += [f"  {line}" for line in state.failure.lines()]
    return lines


def run_stop(context: Context, server: str, *, now: bool) -> None:
    folder = find(context.home.serving, server)
    if not client.stop(folder, now=now):
        state = folder.state()
        raise BadInputError(
            f"The server {folder.id} does not run.", evidence=f"it is {state.status}", code="server-not-running"
        )
    patience = folder.spec().limits.drain_s + _STOP_S
    try:
        state = client.wait_ended(folder, patience)
    except TimeoutError as error:
        raise BlockedError(
            f"The server {folder.id} was asked to stop and has not stopped yet.",
            evidence=str(error),
            fix=f"workbench serve stop {folder.id} --now",
            code="not-stopped",
        ) from None
    context.result(_shown(folder, folder.spec(), state), f"{folder.id} {state.status}")


def run_log(context: Context, server: str, *, follow: bool, access: bool) -> None:
    folder = find(context.home.serving, server)
    path: Path = folder.access_path if access else folder.log_path
    for piece in log_pieces(path, goes_on=lambda: follow and folder.state().status not in ENDED, pause_s=_LOOK_S):
        sys.stdout.buffer.write(piece)
        sys.stdout.flush()


def run_remove(context: Context, server: str) -> None:
    folder = find(context.home.serving, server)
    client.remove(folder)
    context.result({"removed": folder.id}, f"removed {folder.id}")

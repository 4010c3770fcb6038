"""Servers as the window shows them: what their folders say, read in the background, and what starts and ends them."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from workbench.core.endpoint import KeySource, read_endpoint
from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.core.report import words
from workbench.core.serving import ServeReading, ServeSpec, ServeState, ServingStatus
from workbench.serve import client
from workbench.serve.client import ServeRequest
from workbench.serve.folder import ENDED, ServingFolder, serving_ids
from workbench.serve.ports import PortUse
from workbench.toolchains.endpoint.folder import folder_of, new_spec
from workbench.toolchains.secrets import Secret, key_of, store_key
from workbench.ui.models.adding import listed_endpoint
from workbench.ui.plots.run_plot import RunFrame, Series, thinned

KEY_VARIABLE = "WORKBENCH_API_KEY"
"""The variable that snippets read a key from that is kept nowhere."""
SHOWN_S = 300.0
"""How much of a server's past the plots show."""
_MOST_POINTS = 300
_MOST_ROWS = 200
STATUS_WORDS: Mapping[ServingStatus, tuple[str, str]] = {
    "starting": ("starting", "accent"),
    "ready": ("ready", "ok"),
    "draining": ("draining", "warn"),
    "stopped": ("stopped", "plain"),
    "failed": ("failed", "err"),
    "lost": ("lost", "err"),
}
"""Words and kind of chip."""
REFUSED_WORDS: Mapping[str, str] = {
    "400": "bad request",
    "401": "wrong or no key",
    "403": "host name not allowed",
    "404": "no such path or model",
    "405": "wrong method",
    "408": "request not sent in time",
    "411": "length missing",
    "413": "body too large",
    "415": "not JSON",
    "421": "host name not allowed",
    "422": "not understood",
    "429": "queue full or waited too long",
    "431": "headers too large",
    "503": "too many connections, or not ready",
}


@dataclass(frozen=True)
class ServerRow:
    """One server of the list."""

    path: Path
    id: str
    spec: ServeSpec | None
    """None: its folder cannot be read."""
    state: ServeState
    problem: str = ""

    @property
    def running(self) -> bool:
        return not self.problem and self.state.status not in ENDED

    @property
    def name(self) -> str:
        return self.spec.name if self.spec is not None else self.id

    @property
    def model(self) -> str:
        return self.spec.model if self.spec is not None else ""

    @property
    def reading(self) -> ServeReading | None:
        return self.state.reading


@dataclass(frozen=True)
class Servers:
    """All servers, those that run first, then the newest."""

    rows: tuple[ServerRow, ...] = ()

    @property
    def running(self) -> int:
        return sum(row.running for row in self.rows)

    @property
    def words(self) -> str:
        """`Server on port 8000: 24 active, 2 462 tok/s`; empty: none runs."""
        there = [row for row in self.rows if row.running]
        if not there:
            return ""
        port = urlsplit(there[0].state.url).port if len(there) == 1 and there[0].state.url else None
        name = f"{len(there)} servers" if len(there) > 1 else f"Server on port {port}" if port else "Server"
        readings = [row.reading for row in there if row.reading is not None and row.state.status != "starting"]
        if not readings:
            return f"{name}: starting"
        active = sum(one.active for one in readings)
        rates = [one.output_tok_s for one in readings if one.output_tok_s is not None]
        return f"{name}: {words.number(active)} active" + (f", {words.number(sum(rates), 0)} tok/s" if rates else "")

    @property
    def listening(self) -> frozenset[str]:
        """Where they listen."""
        return frozenset(row.state.url for row in self.rows if row.running and row.state.url)


@dataclass(frozen=True)
class ServerView:
    """One server in full: its row, and its readings of the last minutes, oldest first."""

    row: ServerRow
    readings: tuple[ServeReading, ...]
    now: float
    """The newest moment shown, in seconds since the epoch: now, or when it ended."""

    @property
    def last(self) -> ServeReading | None:
        return self.readings[-1] if self.readings else self.row.reading

    def frames(self) -> dict[str, RunFrame]:
        """What its plots show, by name."""
        kept = [self.readings[place] for place in thinned([one.at for one in self.readings], _MOST_POINTS)]
        times = tuple(one.at for one in kept)

        def frame(*series: Series, top: float | None = None) -> RunFrame:
            return RunFrame(times, series, self.now, SHOWN_S, top, "now" if self.row.running else "end")

        return {
            "tokens": frame(Series("Generated", "s_gen", tuple(one.output_tok_s for one in kept), fill=True)),
            "rate": frame(Series("Answered", "s_gpu", tuple(one.req_s for one in kept))),
            "requests": frame(
                Series("Active", "s_gen", tuple(float(one.active) for one in kept), fill=True),
                Series("Queued", "s_pre", tuple(float(one.queued) for one in kept)),
            ),
            "kv": frame(Series("In use", "s_kv", tuple(_percent(one.kv_share) for one in kept), fill=True), top=100.0),
        }

    def refusals(self) -> list[tuple[str, str, int]]:
        """Status, words and count of what was turned away, the most first."""
        last = self.last
        if last is None:
            return []
        found = [
            (status, REFUSED_WORDS.get(status, "refused"), count) for status, count in last.refused.items() if count
        ]
        if last.failed:
            found.append(("5xx", "failed in the engine or the server", last.failed))
        if last.aborted:
            found.append(("gone", "the client went away, or did not read", last.aborted))
        return sorted(found, key=lambda one: -one[2])


def _percent(share: float | None) -> float | None:
    return None if share is None else share * 100


def read_servers(home: Home, most: int = _MOST_ROWS) -> Servers:
    """Every server of the home that runs, and the newest of all. Reads the disk."""
    folders = [ServingFolder(home.serving / one) for one in serving_ids(home.serving)]
    old, new = folders[:-most], folders[-most:]
    rows = [_row(folder) for folder in (*(one for one in old if one.is_running()), *new)]
    rows.sort(key=lambda row: (row.running, row.id), reverse=True)
    return Servers(tuple(rows))


def _row(folder: ServingFolder) -> ServerRow:
    try:
        return ServerRow(folder.path, folder.id, folder.spec(), folder.state())
    except (BadInputError, OSError) as error:
        problem = error.failure.what if isinstance(error, BadInputError) else str(error)
        return ServerRow(folder.path, folder.id, None, ServeState(status="lost"), problem)


def read_server(path: Path) -> ServerView:
    """One server and its last readings. Reads the disk; raises BadInputError when it went."""
    folder = ServingFolder(path)
    row = ServerRow(path, folder.id, folder.spec(), folder.state())
    ended = row.state.ended_at if not row.running else None
    now = ended if ended is not None else time.time()
    readings = tuple(client.read_readings(folder, since=now - SHOWN_S))
    return ServerView(row, readings, now)


@dataclass(frozen=True)
class KeyChoice:
    """The API key as the form asks for it."""

    kind: Literal["none", "new", "env", "keyring"] = "none"
    name: str = ""
    """Of env: the variable; of keyring: the entry."""
    new: bool = False
    """Of keyring: one is made and kept there."""


@dataclass(frozen=True)
class Started:
    """A server whose process is there."""

    path: Path
    key: Secret | None = None
    """Only of one that was made for it: it is shown once."""
    kept_as: str = ""
    """Its entry of the keyring, where it is kept there."""


def start_server(home: Home, request: ServeRequest, choice: KeyChoice) -> Started:
    """Check all that can be known, start it, and wait until its process is there. Raises WorkbenchError in words."""
    source = KeySource(source="none" if choice.kind == "new" else choice.kind, name=choice.name)
    made = client.new_key() if choice.kind == "new" or choice.new else None
    key = made if made is not None else key_of(source, os.environ)
    request = replace(request, key_source=source.source, key_name=source.name)
    spec = client.prepare(home, request, has_key=key is not None)
    if made is not None and source.source == "keyring":
        store_key(source.name, made)
    folder = client.start(home, spec, key)
    return Started(folder.path, made, source.name if made is not None else "")


def stop_server(path: Path, *, now: bool) -> None:
    """Ask it to stop: `now` ends its requests, else they are answered first. Raises WorkbenchError."""
    client.stop(ServingFolder(path), now=now)


def remove_server(path: Path) -> None:
    """Delete the folder of one that ended. Raises BadInputError."""
    client.remove(ServingFolder(path))


def look_at_port(home: Home, host: str, port: int) -> PortUse | None:
    """Who has the port, by name where it is a server of this home; None: it is free."""
    return client.port_use_of(home, host, port)


def keep_key(name: str, key: Secret) -> str:
    """Put a key into the system's keyring; the keyring's name. Raises WorkbenchError. May ask the person."""
    return store_key(name, key)


def base_url(view: ServerRow) -> str:
    """`http://127.0.0.1:8000/v1`, empty before it listens."""
    url = view.state.url.rstrip("/")
    return url if not url or url.endswith("/v1") else f"{url}/v1"


def key_variable(row: ServerRow) -> str:
    """The environment variable that the snippets read the key from; empty: none is wanted."""
    spec = row.spec
    if spec is None or not spec.keyed:
        return ""
    return spec.key_name if spec.key_source == "env" and spec.key_name else KEY_VARIABLE


def key_words(row: ServerRow) -> str:
    """Where its key is, in words; empty: it wants none."""
    spec = row.spec
    if spec is None or not spec.keyed:
        return ""
    if spec.key_source != "none":
        return KeySource(source=spec.key_source, name=spec.key_name).words
    return "shown once, when it was started"


def curl_text(row: ServerRow) -> str:
    """A request as a shell command; a key is read from the environment."""
    assert row.spec is not None
    body = {
        "model": row.spec.model,
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 64,
        "stream": True,
    }
    lines = [f"curl -N {base_url(row)}/chat/completions", "-H 'Content-Type: application/json'"]
    if variable := key_variable(row):
        lines.append(f'-H "Authorization: Bearer ${variable}"')
    quoted = json.dumps(body).replace("'", "'\\''")
    lines.append(f"-d '{quoted}'")
    return " \\\n  ".join(lines)


def openai_text(row: ServerRow) -> str:
    """The same with the `openai` package."""
    assert row.spec is not None
    variable = key_variable(row)
    key = f'os.environ["{variable}"]' if variable else '"none"'
    head = "import os\n\n" if variable else ""
    return (
        f"{head}from openai import OpenAI\n\n"
        f"client = OpenAI(base_url={json.dumps(base_url(row))}, api_key={key})\n"
        "stream = client.chat.completions.create(\n"
        f"    model={json.dumps(row.spec.model)},\n"
        '    messages=[{"role": "user", "content": "Say hello."}],\n'
        "    max_tokens=64,\n"
        "    stream=True,\n"
        ")\n"
        "for chunk in stream:\n"
        "    if chunk.choices:\n"
        '        print(chunk.choices[0].delta.content or "", end="", flush=True)\n'
    )


def endpoint_of(home: Home, row: ServerRow, kept_as: str = "") -> Path:
    """The folder of an endpoint that asks this server, made where there is none: then it stands among the engines.

    `kept_as`: its key's name in the keyring, where it is there since it was started. Raises WorkbenchError.
    """
    spec = row.spec
    if spec is None or not row.state.url:
        raise BadInputError("The server does not listen.", fix="Wait until it is ready.", code="not-ready")
    key = KeySource(source=spec.key_source, name=spec.key_name)
    if kept_as:
        key = KeySource(source="keyring", name=kept_as)
    elif spec.key_source == "none" and spec.keyed:
        raise BadInputError(
            "The server's key is kept nowhere, so nothing here can ask it.",
            evidence="it was made when the server was started, and shown once",
            fix="Keep it in the keyring, or start the server with a key from a variable or the keyring.",
            code="no-key",
        )
    wanted = new_spec(base_url=base_url(row), model=spec.model, api="chat", server="other", key=key)
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", f"served-{spec.model}").strip("-.")[:64] or "served"
    for number in range(1, 100):
        name = base if number == 1 else f"{base}-{number}"
        folder = folder_of(home, name)
        if not folder.exists():
            return listed_endpoint(home, name, wanted)
        try:
            if read_endpoint(folder) == wanted:
                return folder
        except BadInputError:
            continue
    raise BadInputError("Too many endpoints are called so.", evidence=base, fix="Remove some of them.", code="bad-name")

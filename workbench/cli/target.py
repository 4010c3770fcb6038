"""`workbench target`: add, change, list, test, show, runs, remove."""

from __future__ import annotations

import sys
import time
from typing import Any

import typer
from rich.table import Table

from workbench.cli.context import Context
from workbench.core.errors import BadInputError
from workbench.core.target import Target
from workbench.core.units import format_duration
from workbench.toolchains.elsewhere import look_summary, look_words
from workbench.toolchains.looks import TargetLook, ask_target, last_look, look_at, told_target
from workbench.toolchains.targets import find_target, list_targets, make_target, remove_target, save_target

_STOP_SECONDS = 60.0


def run_add(context: Context, name: str, fields: dict[str, Any]) -> None:
    target = make_target(name=name, **fields)
    path = save_target(context.home, target)
    context.result(
        {"file": str(path), **target.model_dump(mode="json")},
        f"added {name}: {target.words}\nlook at it: workbench target test {name}",
    )


def run_change(context: Context, name: str, fields: dict[str, Any]) -> None:
    known = find_target(context.home, name)
    if not fields:
        raise BadInputError("Nothing was given to change.", fix="`workbench target change --help`", code="bad-target")
    if "python" in fields:
        fields["python"] = {**known.python, **fields["python"]}
    target = make_target(**{**known.model_dump(), **fields})
    path = save_target(context.home, target, replace=True)
    context.result(
        {"file": str(path), **target.model_dump(mode="json")},
        f"changed {name}: {target.words}\nlook at it: workbench target test {name}",
    )


def run_list(context: Context) -> None:
    there = list_targets(context.home)
    looks = {target.name: last_look(context.home, target) for target in there.targets}
    if context.as_json:
        rows: list[dict[str, Any]] = [_data(target, looks[target.name]) for target in there.targets]
        context.result([*rows, *({"name": name, "broken": failure.model_dump()} for name, failure in there.broken)])
        return
    for name, failure in there.broken:
        context.note(f"{name}: {' '.join(failure.lines())}")
    if not there.targets:
        context.result(None, "No target was added yet: workbench target add NAME --ssh user@host --folder /path")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "what", "last look", "found"):
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for target in there.targets:
        look = looks[target.name]
        table.add_row(target.name, target.words, _when(look), look_summary(target, look))
    context.out.print(table)


def _data(target: Target, look: TargetLook | None) -> dict[str, Any]:
    return {
        **target.model_dump(mode="json"),
        "look": look.model_dump(mode="json") if look is not None else None,
        "problems": [failure.model_dump() for failure in look.problems(target)] if look is not None else [],
    }


def _when(look: TargetLook | None) -> str:
    if look is None:
        return "never"
    ago = time.time() - look.at
    return "now" if ago < 60 else f"{format_duration(ago)} ago"


def run_test(context: Context, name: str, *, allocate: bool) -> None:
    target = find_target(context.home, name)
    if allocate and target.kind != "slurm":
        raise BadInputError(f"{name} is no Slurm target.", fix="Leave --allocate out.", code="bad-target")
    with context.err.status(f"Looking at {name} ({target.words}) …"):
        look = look_at(context.home, target, allocate=allocate)
    context.result(_data(target, look), "\n".join(look_words(target, look)))
    problems = look.problems(target)
    if problems:
        raise typer.Exit(problems[0].exit_code if problems[0].exit_code in (2, 3) else 3)


def run_show(context: Context, name: str) -> None:
    target = find_target(context.home, name)
    look = last_look(context.home, target)
    lines = [f"{key:<14} {value}" for key, value in target.model_dump(mode="json", exclude_defaults=True).items()]
    lines += look_words(target, look) if look is not None else [f"not looked at yet: workbench target test {name}"]
    context.result(_data(target, look), "\n".join(lines))


def run_runs(context: Context, name: str, *, stop: str) -> None:
    target = find_target(context.home, name)
    if not target.is_remote:
        raise BadInputError(
            f"{name} keeps no runs: its workers run here, under their jobs.", fix="`workbench jobs`", code="bad-target"
        )
    folder = f"{told_target(context.home, target).folder}/runs"
    if stop:
        _stop(context, target, folder, stop)
        return
    found = ask_target(context.home, target, "runs", {"folder": folder})["runs"]
    rows = [
        {
            "run": r["run"],
            "state": r["state"],
            "title": r.get("title", ""),
            "seen_at": r.get("seen_at"),
            "seen_s_ago": r.get("seen_s_ago"),
        }
        for r in found
    ]
    if context.as_json:
        context.result(rows)
        return
    if not rows:
        context.result(None, f"{name} keeps no runs.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("run", "state", "what", "last looked at"):
        table.add_column(column, no_wrap=column == "run")
    for row in rows:
        seen = f"{format_duration(row['seen_s_ago'])} ago" if row["seen_s_ago"] is not None else ""
        table.add_row(row["run"], row["state"], row["title"], seen)
    context.out.print(table)


def _stop(context: Context, target: Target, folder: str, run: str) -> None:
    if "/" in run or run.startswith("."):
        raise BadInputError(f"{run!r} is not the name of a run.", fix=f"`workbench target runs {target.name}`")
    question = {"folder": f"{folder}/{run}"}
    status = ask_target(context.home, target, "stop", question, seconds=_STOP_SECONDS)
    if status["state"] == "none":
        raise BadInputError(
            f"{target.name} keeps no run {run}.",
            fix=f"`workbench target runs {target.name}` lists them.",
            code="no-such-run",
        )
    removed = ask_target(context.home, target, "remove", question, seconds=_STOP_SECONDS)
    words = "is ended and taken away" if removed.get("removed") else f"is {removed['state']} still"
    context.result({"run": run, "state": status["state"], "removed": removed.get("removed")}, f"{run} {words}")


def run_remove(context: Context, name: str, *, yes: bool) -> None:
    known = {target.name for target in list_targets(context.home).targets}
    known |= {broken for broken, _ in list_targets(context.home).broken}
    if name not in known:
        find_target(context.home, name)
    if not yes:
        if not sys.stdin.isatty():
            raise BadInputError(
                "Nobody is there to be asked.", fix="Give --yes to remove without asking.", code="not-asked"
            )
        if not typer.confirm(f"Remove the target {name}?", err=True):
            raise typer.Exit(0)
    remove_target(context.home, name)
    context.result({"removed": name}, f"removed {name}")

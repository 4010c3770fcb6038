"""`workbench presets update` and `folders`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from workbench.cli.context import Context
from workbench.toolchains.preset_sources import preset_sources, update_presets, without_password


def run_update(context: Context) -> None:
    with context.err.status("Fetching presets …"):
        made = update_presets(context.home)
    rows = [
        {
            "entry": without_password(one.repository.entry),
            "folder": str(one.repository.folder),
            "before": one.before,
            "commit": one.commit,
            "failure": one.failure.model_dump() if one.failure else None,
        }
        for one in made
    ]
    good = [one for one in made if one.failure is None]
    words = [f"{without_password(one.repository.entry)}: {one.words}" for one in good]
    context.result(rows, "\n".join(words) if words else None)
    failures = [one.failure for one in made if one.failure is not None]
    for failure in failures:
        context.fail(failure)
    if failures:
        raise typer.Exit(failures[0].exit_code)


def run_folders(context: Context) -> None:
    found = preset_sources(context.home)
    lines = []
    for source in found:
        words = [source.origin.ljust(10), str(source.folder)]
        words += [f"at {source.commit[:12]}"] if source.commit else []
        words += ["(`workbench presets update` fetches it)" if source.origin == "repository" else "(not there)"] * (
            not source.exists
        )
        lines.append("  ".join(words))
    context.result([{**asdict(source), "folder": str(source.folder)} for source in found], "\n".join(lines))

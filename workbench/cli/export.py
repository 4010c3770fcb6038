"""`workbench export`: what is written, what was checked, and what to run next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from workbench.cli.context import Context
from workbench.cli.engines import find_engine
from workbench.core.deploy.export import Export
from workbench.core.deploy.facts import EngineFacts, read_engine_facts
from workbench.core.deploy.triton.baseline import baseline_of
from workbench.core.deploy.triton.export import triton_export
from workbench.core.deploy.triton.options import Baseline, TritonOptions
from workbench.core.errors import BadInputError, WorkbenchError
from workbench.core.home import expanded
from workbench.core.measure.record import RunRecord
from workbench.core.units import format_bytes
from workbench.deploy.write import refuse_failed, write_export
from workbench.measure.kept import find_result, load_kept


def facts_of(context: Context, engine: str) -> EngineFacts:
    """Of an engine by name or folder; ranks that are missing are left to the checks. Raises BadInputError."""
    path = expanded(engine)
    return read_engine_facts(path if path.is_dir() else find_engine(context, engine).path, allow_missing=True)


def numbers(name: str, given: str, count: int | None = None) -> tuple[int, ...]:
    """`0,1` -> (0, 1). Raises BadInputError."""
    parts = [part.strip() for part in given.split(",")] if given.strip() else []
    if any(not part.isdecimal() for part in parts) or (parts and count is not None and len(parts) != count):
        raise BadInputError(
            f"{name} takes {count or 'whole'} numbers with commas between them.",
            evidence=given[:80],
            fix=f"Write {name} {','.join(map(str, range(count or 2)))}.",
            code="bad-option",
        )
    return tuple(int(part) for part in parts)


def run_triton(
    context: Context,
    engine: str,
    out: Path,
    fields: dict[str, Any],
    draft: str,
    baseline: str,
    *,
    link: bool,
    check: bool,
) -> None:
    _one_of("--form", fields["form"], ("ensemble", "llmapi"))
    _one_of("--scheduler", fields["scheduler"], ("guaranteed_no_evict", "max_utilization"))
    facts = facts_of(context, engine)
    if fields["tokenizer"] is not None:
        fields["tokenizer"] = expanded(fields["tokenizer"])
    options = TritonOptions(
        **fields,
        draft=facts_of(context, draft) if draft else None,
        baseline=_baseline(context, baseline, facts) if baseline else None,
    )
    finish(context, triton_export(facts, options), expanded(out), link=link, check=check)


def _one_of(name: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise BadInputError(
            f"{name} cannot be {given!r}.",
            evidence=f"known: {', '.join(known)}",
            fix="Give one of them.",
            code="bad-option",
        )


def _baseline(context: Context, wanted: str, facts: EngineFacts) -> Baseline:
    kept = find_result(context.home, wanted, "bench")
    run = load_kept(kept)
    if not isinstance(run, RunRecord):
        raise BadInputError(f"{wanted} is a comparison, not a run.", fix="Give a run of this engine.", code="not-a-run")
    return baseline_of(run, facts)


def finish(context: Context, export: Export, out: Path, *, link: bool, check: bool) -> None:
    """Say what was checked; write the export unless it was only to be checked. Raises WorkbenchError."""
    if not context.as_json:
        _say(context, export)
    if check:
        try:
            refuse_failed(export)
        except WorkbenchError:
            if context.as_json:
                context.result(described(export))
            raise
        context.result(described(export), f"{_size(export)} would be written to {out}")
        return
    folder = _written(context, export, out, link)
    words = [f"exported {export.name}: {_size(export)} in {folder}"]
    if export.commands:
        words += ["next:", f"  cd {shlex.quote(str(folder))}", *(f"  {shlex.join(each)}" for each in export.commands)]
    context.result({**described(export), "folder": str(folder)}, "\n".join(words))


def _written(context: Context, export: Export, out: Path, link: bool) -> Path:
    if context.as_json or not context.err.is_terminal:
        return write_export(export, out, link=link)
    columns = (TextColumn("writing"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=context.err, transient=True) as bar:
        task = bar.add_task("", total=None)
        return write_export(
            export, out, link=link, on_progress=lambda done, total: bar.update(task, completed=done, total=total)
        )


def _size(export: Export) -> str:
    count = len(export.texts) + len(export.copies)
    return f"{count} files, {format_bytes(export.copied_bytes + sum(len(text.text.encode()) for text in export.texts))}"


def _say(context: Context, export: Export) -> None:
    for one in export.checks:
        mark = "ok" if one.ok else "FAILED" if one.blocks else "note"
        words = f"{mark:6} {one.name}" + (f": {one.found}" if one.found else "")
        style = "" if one.ok else "bold red" if one.blocks else "yellow"
        context.err.print(words, style=style, markup=False, soft_wrap=True)
        if not one.ok and one.fix:
            context.err.print(f"       {one.fix}", markup=False, soft_wrap=True)
    for note in export.notes:
        context.note(note)


def described(export: Export) -> dict[str, Any]:
    """For machines."""
    return {
        "kind": export.kind,
        "name": export.name,
        "files": sorted([text.path for text in export.texts] + [copied.path for copied in export.copies]),
        "copied_bytes": export.copied_bytes,
        "checks": [
            {"name": one.name, "ok": one.ok, "found": one.found, "fix": "" if one.ok else one.fix, "blocks": one.blocks}
            for one in export.checks
        ],
        "notes": list(export.notes),
        "commands": [list(each) for each in export.commands],
    }

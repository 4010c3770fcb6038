"""`workbench bench`: a run, its table, its reports, and what became worse against a kept run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from workbench.cli.context import Context
from workbench.cli.engines import find_engine
from workbench.cli.measuring import measuring, nothing_completed, report_paths, run_table, scaling_view
from workbench.core.errors import BadInputError
from workbench.core.home import expanded
from workbench.core.measure.command import Typed, load_from, workload_from
from workbench.core.measure.figures import run_figures
from workbench.core.measure.matrix import level_words
from workbench.core.measure.record import RunRecord
from workbench.core.measure.regression import Regression, compare_runs, refuse_other_question
from workbench.core.measure.scaling import scaling_of_run
from workbench.measure.kept import find_result, load_kept, report_of, write_report
from workbench.measure.running import RunRequest, run_bench
from workbench.measure.subjects import Asked

FAILED, STOPPED = 4, 5


def run_bench_command(
    context: Context,
    engines: list[str],
    typed: Typed,
    *,
    alternated: bool,
    baseline: str,
    threshold_percent: float,
    overrides: list[str],
    out: str | None,
    reports: list[str],
) -> None:
    workload, load = workload_from(typed), load_from(typed)
    paths = report_paths(reports)
    before = _baseline(context, baseline) if baseline else None
    if before is not None:
        refuse_other_question(before, workload, load)
    asked = tuple(Asked(find_engine(context, name).path, tuple(overrides)) for name in engines)
    request = RunRequest(
        asked,
        workload,
        load,
        alternated,
        command=("workbench", *sys.argv[1:]),
        folder=expanded(out) if out else None,
    )
    with measuring(context, load.limits, load.arrival) as (listen, stop):
        folder: list[Path] = []

        def told(event: Any) -> None:
            if hasattr(event, "folder"):
                folder.append(event.folder)
            listen(event)

        run = run_bench(context.home, request, told, stop)
    _finish(context, run, folder[0], paths, before, threshold_percent)


def _baseline(context: Context, wanted: str) -> RunRecord:
    found = load_kept(find_result(context.home, wanted, "bench"))
    if not isinstance(found, RunRecord):
        raise BadInputError("The baseline is a comparison, not a benchmark run.", evidence=wanted, code="not-a-run")
    return found


def _against(context: Context, before: RunRecord | None, run: RunRecord, threshold_percent: float) -> Regression | None:
    if before is None:
        return None
    try:
        return compare_runs(before, run, threshold_percent=threshold_percent)
    except BadInputError as error:
        if run.head.status == "complete":
            raise
        context.note(f"{error.failure.what} {error.failure.evidence}")  # it was stopped before it came to that
        return None


def _finish(
    context: Context,
    run: RunRecord,
    folder: Path,
    reports: list[Path],
    before: RunRecord | None,
    threshold_percent: float,
) -> None:
    figures = run_figures(run)
    names = {subject.id: subject.name for subject in run.head.subjects}
    for path in reports:
        write_report(report_of(run), path)
        context.err.print(f"report: {path}", markup=False, soft_wrap=True)
    for one in figures:
        for note in one.notes:
            context.note(f"{names[one.subject]}, {level_words(run.head.load.arrival, one.level)}: {note}")
    regression = _against(context, before, run, threshold_percent)
    scaling = scaling_of_run(run)
    data = {
        "id": run.head.id,
        "folder": str(folder),
        "status": run.head.status,
        "workload": run.head.workload,
        "load": run.head.load,
        "subjects": run.head.subjects,
        "environment": run.head.environment,
        "notes": run.head.notes,
        "points": figures,
        "scaling": scaling.groups,
        "regression": regression,
    }
    if context.as_json:
        context.result(data)
    else:
        if figures:
            context.out.print(run_table(figures, names, run.head.load.arrival))
        for group in scaling.groups:
            context.out.print(scaling_view(group))
        context.result(None, f"kept in {folder}")
        if regression is not None:
            context.result(None, "\n".join(regression.lines))
    if run.head.status == "stopped":
        raise typer.Exit(STOPPED)
    failed = run.head.status == "failed" or any(subject.failure is not None for subject in run.head.subjects)
    if failed or any(point.end == "failed" for point in run.points) or nothing_completed(figures):
        raise typer.Exit(FAILED)
    if regression is not None and regression.regressed:
        raise typer.Exit(regression.exit_code)

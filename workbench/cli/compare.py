"""`workbench compare`: variants side by side, from one command."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import typer

from workbench.cli.bench import FAILED, STOPPED
from workbench.cli.build import engine_of
from workbench.cli.context import Context
from workbench.cli.engines import find_engine
from workbench.cli.measuring import matrix_table, measuring, nothing_completed, report_paths, scaling_view
from workbench.cli.quality_words import quality_lines, verdict_words
from workbench.core.artifact import read_provenance
from workbench.core.errors import BadInputError
from workbench.core.home import expanded
from workbench.core.measure.command import Typed, load_from, workload_from
from workbench.core.measure.comparison import Comparison, Price
from workbench.core.measure.figures import run_figures
from workbench.core.measure.matrix import make_matrix
from workbench.core.measure.quality_options import LmEvalOptions, QualityOptions, Simulated, TaskOptions
from workbench.core.measure.scaling import scaling_of
from workbench.jobs.burst_prompts import read_prompts
from workbench.measure.comparing import CompareRequest, run_compare
from workbench.measure.kept import report_of, write_report
from workbench.measure.subjects import Asked
from workbench.toolchains.gpus import detected_gpus


@dataclass(frozen=True)
class Wanted:
    """What the options say, beside workload and load."""

    engines: tuple[str, ...]
    baseline: str = ""
    pytorch: str = ""
    quality: bool = True
    speeds: bool = True
    text: str = ""
    tasks: tuple[str, ...] = ()
    task_limit: int | None = None
    lm_eval: str = ""
    simulate: str = ""
    prompts: tuple[str, ...] = ()
    prompts_file: str = ""
    price: float | None = None
    currency: str = "USD"
    alternated: bool = False
    overrides: tuple[str, ...] = ()


def run_compare_command(context: Context, wanted: Wanted, typed: Typed, *, out: str | None, reports: list[str]) -> None:
    workload = workload_from(typed)
    load = load_from(typed, levels=(1.0, 4.0, 8.0), duration_s=20.0)
    paths = report_paths(reports)
    quality = _quality(wanted)
    engines = [find_engine(context, name).path for name in wanted.engines]
    baseline = find_engine(context, wanted.baseline).path if wanted.baseline else engines[0]
    if baseline not in engines:
        engines.insert(0, baseline)
    if wanted.pytorch:
        engines.append(_pytorch(context, wanted.pytorch, baseline))
    engines = list(dict.fromkeys(engines))
    request = CompareRequest(
        engines=tuple(Asked(path, wanted.overrides) for path in engines),
        workload=workload,
        load=load,
        baseline=engines.index(baseline),
        quality=quality,
        speed=wanted.speeds,
        prompts=_prompts(wanted),
        price=Price(per_hour=wanted.price, currency=wanted.currency) if wanted.price else None,
        alternated=wanted.alternated,
        command=("workbench", *sys.argv[1:]),
        folder=expanded(out) if out else None,
    )
    folder: list[Path] = []
    with measuring(context, load.limits, load.arrival) as (listen, stop):

        def told(event: Any) -> None:
            if type(event).__name__ == "ComparisonBegan":
                folder.append(event.folder)
            listen(event)

        comparison = run_compare(context.home, request, told, stop)
    for path in paths:
        write_report(report_of(comparison), path)
        context.err.print(f"report: {path}", markup=False, soft_wrap=True)
    show_comparison(context, comparison, folder[0])
    if comparison.head.status == "stopped":
        raise typer.Exit(STOPPED)
    failed = any(subject.failure is not None for subject in comparison.head.subjects)
    failed = failed or (comparison.run is not None and nothing_completed(run_figures(comparison.run)))
    failed = failed or any(record.failure is not None for record in comparison.quality)
    if failed or comparison.head.status == "failed" or comparison.head.failure is not None:
        raise typer.Exit(FAILED)


def show_comparison(context: Context, comparison: Comparison, folder: Path) -> None:
    """The matrix and where it is kept, or all of it as JSON."""
    matrix = make_matrix(comparison)
    if context.as_json:
        context.result(
            {
                **comparison.head.model_dump(mode="json"),
                "folder": str(folder),
                "columns": [{"id": c.id, "title": c.title, "unit": c.unit, "better": c.better} for c in matrix.columns],
                "rows": [
                    {
                        "subject": row.subject.id,
                        "name": row.subject.name,
                        "simulated": row.subject.simulated,
                        "perplexity_verdict": verdict_words(comparison.quality_of(row.subject.id)) or None,
                        "cells": {
                            column.id: {
                                "value": cell.value,
                                "shown": None if cell.value is None else column.shown(cell.value),
                                "ratio": cell.ratio,
                                "reason": cell.reason,
                                "estimate": cell.estimate,
                            }
                            for column, cell in zip(matrix.columns, row.cells, strict=True)
                        },
                    }
                    for row in matrix.rows
                ],
                "quality": comparison.quality,
                "scaling": scaling_of(comparison).groups,
                "answers": comparison.answers,
            }
        )
        return
    context.out.print(matrix_table(matrix))
    for group in scaling_of(comparison).groups:
        context.out.print(scaling_view(group))
    for line in quality_lines(comparison):
        context.out.print(line, markup=False, soft_wrap=True)
    names = {subject.id: subject.name for subject in comparison.head.subjects}
    for prompt, text in enumerate(comparison.head.prompts):
        context.out.print(f"\n> {text}", markup=False, soft_wrap=True)
        for answer in comparison.answers_to(prompt):
            said = answer.record.text.strip() if answer.record is not None else ""
            words = answer.failure.what if answer.failure is not None else said
            context.out.print(f"{names[answer.subject]}: {words}", markup=False, soft_wrap=True)
    context.result(None, f"kept in {folder}")


def _pytorch(context: Context, wanted: str, baseline: Path) -> Path:
    """The PyTorch baseline of a model folder, made if it is not there: a reference, no copy."""
    if wanted == "auto":
        model = read_provenance(baseline).model
        if model is None:
            raise BadInputError(
                "The baseline does not say which model it was made from.",
                fix="Name the model's folder: --pytorch FOLDER.",
                code="no-source-model",
            )
        folder = Path(model.path)
    else:
        folder = expanded(wanted)
    preset = "pytorch-bf16" if detected_gpus() else "pytorch-fp32"
    return engine_of(context, preset, folder)


def _quality(wanted: Wanted) -> QualityOptions | None:
    simulate = tuple(dict.fromkeys(part.strip() for part in wanted.simulate.split(",") if part.strip()))
    known: tuple[str, ...] = get_args(Simulated)
    for name in simulate:
        if name not in known:
            raise BadInputError(
                f"{name!r} cannot be simulated.", evidence=f"known: {', '.join(known)}", code="not-simulated"
            )
    if not wanted.quality:
        if simulate or wanted.tasks or wanted.lm_eval:
            raise BadInputError("--no-quality leaves out what --simulate, --task and --lm-eval ask for.", code="clash")
        return None
    return QualityOptions(
        text=str(expanded(wanted.text)) if wanted.text else "",
        tasks=tuple(TaskOptions(path=str(expanded(path)), limit=wanted.task_limit) for path in wanted.tasks),
        lm_eval=LmEvalOptions(tasks=tuple(wanted.lm_eval.split(",")), limit=wanted.task_limit)
        if wanted.lm_eval
        else None,
        simulate=simulate,
    )


def _prompts(wanted: Wanted) -> tuple[str, ...]:
    from_file = [prompt.text for prompt in read_prompts(expanded(wanted.prompts_file))] if wanted.prompts_file else []
    return (*wanted.prompts, *from_file)

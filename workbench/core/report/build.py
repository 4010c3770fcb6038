"""Makes a report of a comparison, of one or more benchmark runs, and of what other tools measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from workbench.core.errors import BadInputError
from workbench.core.measure.comparison import Comparison, ComparisonHead, Price, settings_rows
from workbench.core.measure.figures import run_figures
from workbench.core.measure.matrix import make_matrix
from workbench.core.measure.quality import QualityRecord
from workbench.core.measure.record import RunHead, RunRecord, Subject
from workbench.core.measure.scaling import scaling_of
from workbench.core.report.against import findings, with_intervals
from workbench.core.report.definitions import DEFINITIONS
from workbench.core.report.foreign import ForeignResult, distinct_names, taken_in, with_row
from workbench.core.report.model import (
    Matrix,
    MatrixCell,
    MatrixColumn,
    Report,
    RunInfo,
    SettingRow,
    Statement,
    Variant,
)
from workbench.core.report.points import points_of
from workbench.core.report.scaling_table import sentences
from workbench.core.report.statements import statements_of
from workbench.core.report.words import load_kind


def report_of_comparison(
    comparison: Comparison,
    *,
    created_at: float,
    foreign: Sequence[ForeignResult] = (),
    statements: Sequence[Statement] = (),
    title: str = "",
    intervals: bool = False,
) -> Report:
    """Report of a comparison as far as it was measured; `statements` go in front of our own.

    `intervals` says whether ratios get their bootstrap intervals: a few tenths of a second for each figure.
    """
    head = comparison.head
    variants = _variants(head.subjects, head.baseline)
    runs = (_run_info(comparison.run.head),) if comparison.run is not None else ()
    if not runs or (head.command and head.command != runs[0].command):
        runs = (_comparison_info(comparison), *runs)
    return _report(
        comparison,
        variants,
        runs,
        intervals=intervals,
        title=title or head.title or f"Comparison {head.id}",
        created_at=created_at,
        foreign=foreign,
        statements=statements,
    )


def report_of_runs(
    runs: Sequence[RunRecord],
    *,
    created_at: float,
    baseline: str = "",
    quality: Sequence[QualityRecord] = (),
    foreign: Sequence[ForeignResult] = (),
    statements: Sequence[Statement] = (),
    price: Price | None = None,
    title: str = "",
    intervals: bool = False,
) -> Report:
    """Report of benchmark runs; the first subject is the baseline unless another one is named (by id or name).

    With several runs ids become `r1.s1`. `quality` is of the first run's subjects. Raises BadInputError without a run,
    or when the baseline is not among the subjects.
    """
    if not runs:
        raise BadInputError("A report needs a run, a comparison or a file of another tool.", code="nothing-to-report")
    merged = runs[0] if len(runs) == 1 else _merged(runs)
    subjects = merged.head.subjects
    comparison = Comparison(
        ComparisonHead(
            id=merged.head.id,
            created_at=merged.head.created_at,
            baseline=_baseline(subjects, baseline),
            subjects=subjects,
            workload=merged.head.workload,
            load=merged.head.load,
            price=price,
            environment=merged.head.environment,
        ),
        merged,
        tuple(quality)
        if len(runs) == 1
        else tuple(
            record.model_copy(update={"subject": f"r1.{record.subject}", "baseline": f"r1.{record.baseline}"})
            for record in quality
        ),
    )
    return _report(
        comparison,
        _variants(subjects, comparison.head.baseline),
        tuple(_run_info(run.head) for run in runs),
        intervals=intervals,
        title=title or runs[0].head.title or f"Benchmark {runs[0].head.id}",
        created_at=created_at,
        foreign=foreign,
        statements=statements,
    )


def _report(
    comparison: Comparison,
    variants: tuple[Variant, ...],
    runs: tuple[RunInfo, ...],
    *,
    intervals: bool,
    title: str,
    created_at: float,
    foreign: Sequence[ForeignResult],
    statements: Sequence[Statement],
) -> Report:
    head = comparison.head
    figures = run_figures(comparison.run) if comparison.run is not None else ()
    points = points_of(comparison, figures, runs)
    matrix = with_intervals(_matrix(comparison), comparison, rates=intervals)
    scaling = scaling_of(comparison).groups
    told = [*statements, *findings(matrix, comparison), *sentences(scaling)]
    told += statements_of(comparison, runs, figures)
    names = distinct_names(foreign, [variant.name for variant in variants])
    taken = [
        taken_in(result, f"x{number}", len(variants) + number - 1, name=name)
        for number, (result, name) in enumerate(zip(foreign, names, strict=True), 1)
    ]
    for variant, more, _ in taken:
        matrix = with_row(matrix, variant, more, head.baseline)
        told += [Statement(tone="note", text=f"{variant.name}: {note}") for note in variant.notes]
        unit = load_kind((points or more)[0].level_unit) if points or more else ""
        others = sorted({point.level_unit for point in more if load_kind(point.level_unit) != unit})
        if others:
            left_out = f"measured by {' and '.join(others)}: not in the charts by load"
            told.append(Statement(tone="note", text=f"{variant.name}: {left_out}."))
    return Report(
        title=title,
        created_at=created_at,
        workbench=head.environment.workbench,
        variants=(*variants, *(variant for variant, _, _ in taken)),
        matrix=matrix,
        points=(*points, *(point for _, more, _ in taken for point in more)),
        quality=comparison.quality,
        scaling=scaling,
        settings=_settings(head.subjects),
        statements=tuple(told),
        runs=runs,
        foreign=tuple(result.info.model_copy(update={"variant": v.id}) for (v, _, result) in taken),
        price=head.price,
        definitions=DEFINITIONS,
    )


def _variants(subjects: Sequence[Subject], baseline: str) -> tuple[Variant, ...]:
    """The baseline takes the first colour and marker, the others the next in their order."""
    others = [subject.id for subject in subjects if subject.id != baseline]
    return tuple(
        Variant(
            id=subject.id,
            name=subject.name,
            detail=_detail(subject),
            slot=0 if subject.id == baseline else others.index(subject.id) + 1,
            baseline=subject.id == baseline,
            source="simulated" if subject.simulated else "endpoint" if subject.url else "engine",
            subject=subject,
            failure=subject.failure.what if subject.failure is not None else "",
            notes=tuple(f"{name}: {words}" for name, words in subject.not_applied.items()),
        )
        for subject in subjects
    )


def _detail(subject: Subject) -> str:
    if subject.simulated:
        return f"{subject.precision}, simulated".lstrip(", ")
    kv = subject.settings.get("kv_cache_precision", "")
    title = subject.toolchain_title or subject.toolchain
    return ", ".join(part for part in (title, subject.precision, f"{kv} KV cache" if kv else "") if part)


def _baseline(subjects: Sequence[Subject], wanted: str) -> str:
    if not subjects:
        raise BadInputError("This run has no subjects.", code="nothing-to-report")
    if not wanted:
        return subjects[0].id
    for subject in subjects:
        if wanted in (subject.id, subject.name):
            return subject.id
    raise BadInputError(
        f"{wanted} is not in this run.",
        evidence="it holds " + ", ".join(subject.name for subject in subjects),
        fix="Name one of those as the baseline.",
        code="no-baseline",
    )


def _merged(runs: Sequence[RunRecord]) -> RunRecord:
    """Several runs as one, with ids and names that tell them apart."""
    names = Counter(subject.name for run in runs for subject in run.head.subjects)
    subjects, points, levels = [], [], set()
    for number, run in enumerate(runs, 1):
        for subject in run.head.subjects:
            name = subject.name if names[subject.name] == 1 else f"{subject.name} ({run.head.title or run.head.id})"
            subjects.append(subject.model_copy(update={"id": f"r{number}.{subject.id}", "name": name}))
        points += [replace(point, subject=f"r{number}.{point.subject}") for point in run.points]
        levels |= set(run.head.load.levels)
    head = runs[0].head
    load = head.load.model_copy(update={"levels": tuple(sorted(levels))})
    return RunRecord(head.model_copy(update={"subjects": tuple(subjects), "load": load}), tuple(points))


def _matrix(comparison: Comparison) -> Matrix:
    made = make_matrix(comparison)
    return Matrix(
        columns=tuple(
            MatrixColumn(id=c.id, title=c.title, unit=c.unit, better=c.better, definition=c.definition)
            for c in made.columns
        ),
        cells=tuple(
            MatrixCell(
                variant=row.subject.id,
                column=column.id,
                value=cell.value,
                shown=column.shown(cell.value) if cell.value is not None else "",
                ratio=cell.ratio,
                better=cell.better,
                best=cell.best,
                share=cell.share,
                repeats=cell.repeats,
                estimate=cell.estimate,
                reason=cell.reason,
            )
            for row in made.rows
            for column, cell in zip(made.columns, row.cells, strict=True)
        ),
    )


def _settings(subjects: Sequence[Subject]) -> tuple[SettingRow, ...]:
    ids = [subject.id for subject in subjects]
    return tuple(
        SettingRow(
            name=row.name,
            values={key: value for key, value in zip(ids, row.values, strict=True) if value is not None},
            missed={key: words for key, words in zip(ids, row.missed, strict=True) if words},
        )
        for row in settings_rows(subjects)
    )


def _run_info(head: RunHead) -> RunInfo:
    return RunInfo(
        id=head.id,
        title=head.title,
        created_at=head.created_at,
        finished_at=head.finished_at,
        status=head.status,
        command=head.command,
        workload=head.workload.model_dump(mode="json"),
        workload_words=head.workload.words,
        load=head.load.model_dump(mode="json"),
        load_words=head.load.words,
        order=head.order,
        seeds={"workload": head.workload.seed, "load": head.load.seed},
        prompts_sha256=head.prompts_sha256,
        environment=head.environment,
        notes=head.notes,
    )


def _comparison_info(comparison: Comparison) -> RunInfo:
    head = comparison.head
    speed = comparison.run is not None and bool(comparison.run.points)
    return RunInfo(
        id=head.id,
        title=head.title,
        kind="comparison",
        created_at=head.created_at,
        finished_at=head.finished_at,
        status=head.status,
        command=head.command,
        workload=head.workload.model_dump(mode="json"),
        workload_words=head.workload.words if speed else "speed was not measured",
        load=head.load.model_dump(mode="json"),
        load_words=head.load.words if speed else "",
        seeds={"workload": head.workload.seed, "load": head.load.seed},
        environment=head.environment,
        notes=head.notes,
    )

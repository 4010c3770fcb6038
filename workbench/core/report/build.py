"""Makes a report of a comparison, of one or more benchmark runs, and of what other tools measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from workbench.core.errors import BadInputError
from workbench.core.measure.comparison import Comparison, ComparisonHead, Price, settings_rows
from workbench.core.measure.cost import per_million
from workbench.core.measure.figures import PointFigures, Spread, run_figures
from workbench.core.measure.matrix import make_matrix
from workbench.core.measure.pareto import pareto_points
from workbench.core.measure.quality import QualityRecord
from workbench.core.measure.record import RunHead, RunRecord, Subject
from workbench.core.report.against import findings, with_intervals
from workbench.core.report.definitions import DEFINITIONS
from workbench.core.report.foreign import ForeignResult
from workbench.core.report.model import (
    Matrix,
    MatrixCell,
    MatrixColumn,
    Point,
    Report,
    RunInfo,
    SettingRow,
    Statement,
    Variant,
)
from workbench.core.report.statements import statements_of

_SPREADS = (("ttft", "ttft_ms"), ("itl", "itl_ms"), ("latency", "latency_ms"), ("chunk_gap", "gap_ms"))


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
        runs = (_comparison_info(head), *runs)
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
    points = _points(comparison, figures, runs)
    matrix = with_intervals(_matrix(comparison), comparison, rates=intervals)
    told = [*statements, *findings(matrix, comparison), *statements_of(comparison, runs, figures)]
    taken = [_taken_in(result, f"x{number}", len(variants) + number - 1) for number, result in enumerate(foreign, 1)]
    for variant, more, _ in taken:
        matrix = _with_row(matrix, variant, more, head.baseline)
        told += [Statement(tone="note", text=f"{variant.name}: {note}") for note in variant.notes]
    return Report(
        title=title,
        created_at=created_at,
        workbench=head.environment.workbench,
        variants=(*variants, *(variant for variant, _, _ in taken)),
        matrix=matrix,
        points=(*points, *(point for _, more, _ in taken for point in more)),
        quality=comparison.quality,
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


def _points(comparison: Comparison, figures: Sequence[PointFigures], runs: Sequence[RunInfo]) -> tuple[Point, ...]:
    if comparison.run is None:
        return ()
    load, price = comparison.run.head.load, comparison.head.price
    front = {(point.subject, point.level): point.on_front for point in pareto_points(figures)}
    made = []
    for one in figures:
        # Ids of several runs are `r1.s1`: the number is the run's.
        several = one.subject.startswith("r") and "." in one.subject
        run_id = runs[int(one.subject.partition(".")[0][1:]) - 1].id if several else comparison.run.head.id
        made.append(_point(one, load.unit, run_id, price, front.get(one.name)))
    return tuple(made)


def _point(figures: PointFigures, unit: str, run_id: str, price: Price | None, on_front: bool | None) -> Point:
    speeds = [repeat.output_tok_s for repeat in figures.repeats if repeat.output_tok_s is not None]
    several = len(speeds) > 1
    spreads: dict[str, float | int | None] = {}
    for ours, theirs in _SPREADS:
        spreads |= _spread(ours, getattr(figures, theirs))
    second, user = figures.second_token_ms, figures.per_user_tok_s
    return Point(
        variant=figures.subject,
        level=figures.level,
        level_unit=unit,
        run=run_id,
        end=figures.end,
        repeats=len(figures.repeats),
        duration_s=figures.duration_s,
        requests=figures.requests,
        completed=figures.completed,
        failed=figures.failed,
        timed_out=figures.timed_out,
        cancelled=figures.cancelled,
        aborted=figures.aborted,
        request_throughput_req_s=figures.req_s,
        output_throughput_tok_s=figures.output_tok_s,
        output_throughput_low_tok_s=min(speeds) if several else None,
        output_throughput_high_tok_s=max(speeds) if several else None,
        total_throughput_tok_s=figures.total_tok_s,
        output_speed_per_user_p50_tok_s=user.p50 if user else None,
        output_speed_per_user_mean_tok_s=user.mean if user else None,
        goodput_req_s=figures.goodput_req_s,
        goodput_share=figures.goodput_share,
        second_token_p50_ms=second.p50 if second else None,
        second_token_p99_ms=second.p99 if second else None,
        second_token_n=second.n if second else None,
        input_tokens_mean=figures.input_tokens.mean if figures.input_tokens else None,
        output_tokens_mean=figures.output_tokens.mean if figures.output_tokens else None,
        late_p99_ms=figures.late_ms.p99 if figures.late_ms else None,
        kv_share_mean=figures.kv_share_mean,
        kv_share_peak=figures.kv_share_peak,
        requests_active_peak=figures.active_peak,
        requests_queued_peak=figures.queued_peak,
        gpu_memory_peak_bytes=figures.gpu_memory_peak_bytes,
        host_memory_peak_bytes=figures.host_memory_peak_bytes,
        power_mean_w=figures.power_mean_w,
        output_tokens_per_joule=figures.tok_per_j,
        utilisation_mean_percent=figures.utilisation_mean_percent,
        temperature_peak_c=figures.temperature_peak_c,
        sm_mean_mhz=figures.sm_mean_mhz,
        cost_per_million_output_tokens=per_million(price.per_hour, figures.output_tok_s) if price is not None else None,
        on_pareto_front=on_front,
        count_source=", ".join(figures.count_sources),
        output_held=figures.output_held,
        errors=figures.errors,
        client_bottleneck=figures.client.bottleneck,
        saturated=figures.saturated,
        notes=figures.notes,
        **spreads,
    )


def _spread(name: str, spread: Spread | None) -> dict[str, float | int | None]:
    if spread is None:
        return {}
    found: dict[str, float | int | None] = {
        f"{name}_{part}_ms": getattr(spread, part) for part in ("mean", "p50", "p90", "p95", "p99")
    }
    return {**found, f"{name}_p99_9_ms": spread.p999, f"{name}_n": spread.n}


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


def _taken_in(result: ForeignResult, variant_id: str, slot: int) -> tuple[Variant, tuple[Point, ...], ForeignResult]:
    variant = Variant(
        id=variant_id,
        name=result.name,
        detail=f"measured by {result.info.tool} {result.info.tool_version}".strip(),
        slot=slot,
        source="foreign",
        notes=result.notes,
    )
    return variant, tuple(point.model_copy(update={"variant": variant_id}) for point in result.points), result


def _with_row(matrix: Matrix, variant: Variant, points: Sequence[Point], baseline: str) -> Matrix:
    """A row for what another tool measured. It has ratios but is not judged: the tools measure each in their way."""
    cells = []
    for column in matrix.columns:
        value = _foreign_value(column.id, points, matrix)
        if value is None:
            cells.append(MatrixCell(variant=variant.id, column=column.id, reason="not reported"))
            continue
        base = matrix.cell(baseline, column.id)
        shown = f"{value:,.{_decimals(base, value)}f}".replace(",", "\u202f")
        cells.append(
            MatrixCell(
                variant=variant.id,
                column=column.id,
                value=value,
                shown=shown,
                ratio=value / base.value if base is not None and base.value else None,
            )
        )
    return matrix.model_copy(update={"cells": _with_shares((*matrix.cells, *cells))})


def _decimals(base: MatrixCell | None, value: float) -> int:
    """As many as the baseline's figure is written with."""
    if base is not None and base.shown:
        return len(base.shown.partition(".")[2])
    return 0 if value >= 100 else 1


def _foreign_value(column: str, points: Sequence[Point], matrix: Matrix) -> float | None:
    closed = [point for point in points if point.level_unit == "concurrent requests"]
    if column.startswith("speed@"):
        level = float(column.removeprefix("speed@"))
        return next((point.output_throughput_tok_s for point in closed if point.level == level), None)
    if column in ("ttft", "itl"):
        first = next((c.id.removeprefix("speed@") for c in matrix.columns if c.id.startswith("speed@")), None)
        point = next((point for point in closed if first is not None and point.level == float(first)), None)
        return None if point is None else point.ttft_p50_ms if column == "ttft" else point.itl_p50_ms
    return None


def _with_shares(cells: tuple[MatrixCell, ...]) -> tuple[MatrixCell, ...]:
    longest: dict[str, float] = {}
    for cell in cells:
        if cell.value is not None:
            longest[cell.column] = max(longest.get(cell.column, 0.0), abs(cell.value))
    return tuple(
        cell.model_copy(update={"share": abs(cell.value) / longest[cell.column]})
        if cell.value is not None and longest[cell.column]
        else cell
        for cell in cells
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


def _comparison_info(head: ComparisonHead) -> RunInfo:
    return RunInfo(
        id=head.id,
        title=head.title,
        kind="comparison",
        created_at=head.created_at,
        finished_at=head.finished_at,
        status=head.status,
        command=head.command,
        workload=head.workload.model_dump(mode="json"),
        workload_words=head.workload.words,
        load=head.load.model_dump(mode="json"),
        load_words=head.load.words,
        seeds={"workload": head.workload.seed, "load": head.load.seed},
        environment=head.environment,
        notes=head.notes,
    )

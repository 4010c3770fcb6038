"""Ratios to the baseline with their intervals, and what those let one say."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.core.measure.comparison import Comparison
from workbench.core.measure.estimate import Estimate
from workbench.core.measure.intervals import METRICS, ratio_of
from workbench.core.measure.record import PointRecord
from workbench.core.measure.verdict import verdict
from workbench.core.report.model import Matrix, MatrixCell, MatrixColumn, Statement


def with_intervals(matrix: Matrix, comparison: Comparison, *, rates: bool) -> Matrix:
    """The matrix with the intervals of its ratios: of quality always, of times and throughput if `rates`."""
    if not matrix.columns:
        return matrix
    columns = {column.id: column for column in matrix.columns}
    first = next((c.id.removeprefix("speed@") for c in matrix.columns if c.id.startswith("speed@")), None)
    cells = []
    for cell in matrix.cells:
        found = _ratio(cell, comparison, None if first is None else float(first), rates=rates)
        cells.append(cell if found is None else _judged(cell, columns[cell.column], found))
    return matrix.model_copy(update={"cells": tuple(cells)})


def _ratio(cell: MatrixCell, comparison: Comparison, first: float | None, *, rates: bool) -> Estimate | None:
    if cell.ratio is None:
        return None
    if cell.column == "perplexity":
        record = comparison.quality_of(cell.variant)
        return record.perplexity_ratio if record is not None else None
    if not rates or comparison.run is None:
        return None
    if cell.column.startswith("speed@"):
        metric, level = METRICS["output_tok_s"], float(cell.column.removeprefix("speed@"))
    elif cell.column in ("ttft", "itl") and first is not None:
        metric, level = METRICS[f"{cell.column}_p50"], first
    else:
        return None
    of_variant = _at(comparison, cell.variant, level)
    of_baseline = _at(comparison, comparison.head.baseline, level)
    return ratio_of(of_variant, of_baseline, metric) if of_variant and of_baseline else None


def _at(comparison: Comparison, subject: str, level: float) -> Sequence[PointRecord]:
    points = comparison.run.points_of(subject) if comparison.run is not None else ()
    return [point for point in points if point.level == level]


def _judged(cell: MatrixCell, column: MatrixColumn, found: Estimate) -> MatrixCell:
    said = verdict(found, column.better)
    straddles = found.has_interval and said.kind == "unsure"
    return cell.model_copy(
        update={"ratio_estimate": found, "verdict": said.words, "better": None if straddles else cell.better}
    )


def findings(matrix: Matrix, comparison: Comparison) -> list[Statement]:
    """One sentence a variant: quality and throughput at the highest level, where an interval carries it."""
    speeds = [column for column in matrix.columns if column.id.startswith("speed@")]
    told = []
    names = {subject.id: subject.name for subject in comparison.head.subjects}
    baseline = names.get(comparison.head.baseline, "the baseline")
    for subject in comparison.head.subjects:
        parts = []
        quality = matrix.cell(subject.id, "perplexity")
        if quality is not None and _told(quality):
            parts.append(f"perplexity {quality.verdict}")
        if speeds:
            speed = matrix.cell(subject.id, speeds[-1].id)
            if speed is not None and _told(speed):
                parts.append(f"output throughput at {speeds[-1].title} {speed.verdict}")
        if parts:
            sure = any("cannot tell" not in part for part in parts)
            good = sure and not any(part.endswith(" worse") for part in parts)
            told.append(
                Statement(tone="ok" if good else "note", text=f"{subject.name} against {baseline}: {'; '.join(parts)}.")
            )
    return told


def _told(cell: MatrixCell) -> bool:
    """Whether there is something to say: an interval, whatever it says."""
    return cell.ratio_estimate is not None and cell.ratio_estimate.has_interval

"""What another tool measured, as a further column: figures under our names, its own definitions beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.core.report.model import ForeignInfo, Matrix, MatrixCell, Point, Variant


@dataclass(frozen=True)
class ForeignResult:
    """One subject of another tool's file, at one or more levels. Ids are given when a report takes it in."""

    name: str
    info: ForeignInfo
    points: tuple[Point, ...]
    notes: tuple[str, ...] = ()


def named(wanted: str, model: str, file: str) -> str:
    """A column's name: the one that was wished for, else the model's last part, else the file's name."""
    return wanted or model.rstrip("/").rpartition("/")[2] or file


def taken_in(
    result: ForeignResult, variant_id: str, slot: int, *, name: str = ""
) -> tuple[Variant, tuple[Point, ...], ForeignResult]:
    """Its variant and points. `name`: another one where its own is taken."""
    variant = Variant(
        id=variant_id,
        name=name or result.name,
        detail=f"measured by {result.info.tool} {result.info.tool_version}".strip(),
        slot=slot,
        source="foreign",
        notes=result.notes,
    )
    return variant, tuple(point.model_copy(update={"variant": variant_id}) for point in result.points), result


def with_row(matrix: Matrix, variant: Variant, points: Sequence[Point], baseline: str) -> Matrix:
    """A row for what another tool measured. It has ratios but is not judged: the tools measure each in their way."""
    cells = []
    for column in matrix.columns:
        value = _foreign_value(column.id, points, matrix)
        if value is None:
            cells.append(MatrixCell(variant=variant.id, column=column.id, reason=_missing(column.id, points, matrix)))
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


def distinct_names(results: Sequence[ForeignResult], taken: Sequence[str]) -> list[str]:
    """A name for each that nobody else has: with its tool in front where it is taken, then with its file."""
    names = [result.name for result in results]
    for label in ("tool", "file"):
        counts = Counter([*names, *taken])
        names = [
            f"{getattr(one.info, label)}: {one.name}" if counts[name] > 1 else name
            for name, one in zip(names, results, strict=True)
        ]
    return names


def _missing(column: str, points: Sequence[Point], matrix: Matrix) -> str:
    level = _level_of(column, matrix)
    if level is None or any(point.level == level for point in _closed(points)):
        return "not reported"
    return "not measured at this load"


def _level_of(column: str, matrix: Matrix) -> float | None:
    """The concurrency that a column is of: its own, or the lowest for TTFT and inter-token latency."""
    speeds = [c.id.removeprefix("speed@") for c in matrix.columns if c.id.startswith("speed@")]
    if column.startswith("speed@"):
        return float(column.removeprefix("speed@"))
    return float(speeds[0]) if column in ("ttft", "itl") and speeds else None


def _closed(points: Sequence[Point]) -> list[Point]:
    return [point for point in points if point.level_unit == "concurrent requests"]


def _foreign_value(column: str, points: Sequence[Point], matrix: Matrix) -> float | None:
    level = _level_of(column, matrix)
    point = next((point for point in _closed(points) if level is not None and point.level == level), None)
    if point is None:
        return None
    return {"ttft": point.ttft_p50_ms, "itl": point.itl_p50_ms}.get(column, point.output_throughput_tok_s)


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

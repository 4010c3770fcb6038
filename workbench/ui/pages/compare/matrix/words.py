"""How a cell of the matrix is said: its figure, its ratio, and for those who hear it all of it."""

from __future__ import annotations

import math

from workbench.core.measure.matrix import Cell, Column, Row
from workbench.core.report.words import ratio
from workbench.ui.widgets.table_parts import NONE


def heading_unit(column: Column) -> str:
    """`GiB ↓`: the unit, and which way is better."""
    return f"{column.unit} {'↓' if column.better == 'lower' else '↑'}"


def figure_words(column: Column, cell: Cell) -> str:
    return NONE if cell.value is None else column.shown(cell.value)


def below_words(column: Column, row: Row, cell: Cell) -> str:
    """What stands under the figure."""
    if cell.value is None:
        return cell.reason
    if row.is_baseline:
        return "baseline"
    if cell.ratio is not None and math.isfinite(cell.ratio):
        return ratio(cell.ratio)
    return cell.reason


def spread_words(column: Column, cell: Cell) -> str:
    """`±1.2 %` of the repeats around their median, or of the 95 % interval; empty: nothing is known of it."""
    if cell.repeats and cell.value:
        reach = max(abs(value - cell.value) for value in cell.repeats) / abs(cell.value) * 100
        return f"±{reach:.1f} %"
    if cell.estimate is not None and cell.estimate.low is not None and cell.estimate.high is not None:
        return f"95 %: {column.shown(cell.estimate.low)} to {column.shown(cell.estimate.high)}"
    return ""


def said(column: Column, row: Row, cell: Cell) -> str:
    """A cell in words, for those who hear it."""
    head = f"{row.subject.name}, {column.title}"
    if cell.value is None:
        if cell.reason in ("baseline", "not reported"):
            return f"{head}: {cell.reason}"
        return f"{head}: not reported, {cell.reason}"
    parts = [f"{head}: {column.shown(cell.value)} {column.unit}"]
    if row.is_baseline:
        parts.append("baseline")
    elif cell.ratio is not None:
        sense = {True: "better", False: "worse", None: "the same"}[cell.better]
        parts.append(f"{ratio(cell.ratio)} the baseline, {sense}")
    if cell.best:
        parts.append("best of all")
    if spread := spread_words(column, cell):
        parts.append(spread)
    return ", ".join(parts)

"""How an HTML report is fitted to one page of paper: there is no script in it that could measure, so it is reckoned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.core.report import tables
from workbench.core.report.charts import HEIGHT, WIDTH
from workbench.core.report.model import Report
from workbench.core.report.tables import Row

_WIDE_MM, _TALL_MM = 263.0, 193.0
"""What A4 and Letter, both lying, have in common inside the margins."""
_LARGEST_MM, _SMALLEST_MM = 2.75, 1.5
"""7.8 and 4.3 points."""
_SPARE = 0.97
"""What is reckoned is some tenths more than what came out in a browser; the rest is for faces that run wider."""
_LETTER = 0.56
"""Width of a letter, of its height."""
_MOST_STATEMENTS, _MOST_SETTINGS = 6, 8


@dataclass(frozen=True)
class Fit:
    """Size of a letter, and what must stay on the screen."""

    rem_mm: float
    screen_charts: int
    charts: int
    charts_mm: float
    most_rows: int
    """Of the table of numbers."""
    statements: int
    settings: int


def fit_to_page(report: Report, charts: int, quality: tuple[Row, ...]) -> Fit:
    """Letters as large as the content lets them be; at the smallest, rows of numbers stay on the screen."""
    columns = max(charts, 3)
    rows, size = len(report.points), _LARGEST_MM
    while _height_mm(report, columns if charts else 0, quality, rows, size) * _SPARE > _TALL_MM:
        if size > _SMALLEST_MM:
            size = max(_SMALLEST_MM, size * 0.97)
        elif rows:
            rows = max(0, rows - len(report.variants))
        else:
            break
    return Fit(
        rem_mm=round(size, 3),
        screen_charts=3 if charts == 3 else 2,
        charts=columns,
        charts_mm=_WIDE_MM,
        most_rows=rows,
        statements=_MOST_STATEMENTS,
        settings=_MOST_SETTINGS,
    )


def _height_mm(report: Report, charts: int, quality: tuple[Row, ...], rows: int, size: float) -> float:
    """Of the whole page with letters of `size` mm. The factors are lines as the style sheet makes them."""

    def lines(text: str, wide_mm: float) -> int:
        return max(1, math.ceil(len(text) * _LETTER * size / wide_mm))

    legend = sum(len(v.name) + 0.85 * len(v.detail) + 8 for v in report.variants)
    told = report.statements[:_MOST_STATEMENTS]
    parts = [1.9 + 1.2 * lines(tables.subtitle(report), _WIDE_MM) + 0.5 + 1.7 * lines("x" * round(legend), _WIDE_MM)]
    if told:
        parts.append(1.5 + sum(1.5 * lines(one.text, _WIDE_MM * 0.93) for one in told) + 1.2)
    if report.matrix.columns:
        crowded = 1.3 if len(report.matrix.columns) > 14 else 0.0
        between = any(cell.ratio_estimate is not None for cell in report.matrix.cells)
        parts.append(1.5 + 2.6 + crowded + len(report.variants) * (3.3 + (1.1 if between else 0.0)) + 1.2)
    if rows:
        shown = len(tables.fewer_points(report, rows))
        parts.append(1.5 + 2.7 + 1.45 * shown + 1.2)
    half = (_WIDE_MM - 5) / 2
    left = 4.5 + 2.6 * len(quality) + 1.4 if quality else 0.0
    if report.settings:
        named = max(1, len(report.variants))
        cell = half / (named + 1)
        head = max(lines(variant.name + "xx", cell) for variant in report.variants)
        left += 1.5 + 1.4 * head
        for row in report.settings[:_MOST_SETTINGS]:
            texts = [f"{row.values.get(v.id, '')} {row.missed.get(v.id, '')}" for v in report.variants]
            left += 0.3 + 1.3 * max(lines(text, cell) for text in texts)
    right = 1.5
    for run in report.runs:
        right += 1.2 + 1.15 * lines(" ".join(run.command), half) + (1.6 if len(report.runs) > 1 else 0.0)
        right += 1.35 * lines(_run_in(tables.run_facts(report, run)), half)
    right += 1.8 + 1.35 * lines(_run_in(tables.provenance(report)), half)
    foreign = [(report.variant(info.variant).name, tables.foreign_line(info)) for info in report.foreign]
    right += 0.8 + 1.35 * lines(_run_in(foreign), half) if foreign else 0.0
    parts += [max(left, right), 1.2]
    charts_mm = (_WIDE_MM - 4 * (charts - 1)) / charts * HEIGHT / WIDTH + 1.8 * size if charts else 0.0
    return size * (sum(parts) + 0.8 * len(parts)) + charts_mm


def _run_in(facts: Sequence[tuple[str, str]]) -> str:
    """Names and values as they stand on paper: one after the other."""
    return " x ".join(f"{name}x {value}" for name, value in facts)

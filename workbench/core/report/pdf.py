"""The report as a PDF of one page: the same figures and charts as the HTML, drawn for paper."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal

from workbench.core.report import tables, words
from workbench.core.report.charts import charts
from workbench.core.report.marks import is_filled, shape_of, tone_of
from workbench.core.report.model import Matrix, MatrixCell, Report, Statement, Variant
from workbench.core.report.tables import Head, Row

if TYPE_CHECKING:
    from workbench.core.report.paper import Page

PaperSize = Literal["A4", "Letter"]
_LARGEST, _SMALLEST = 7.6, 4.6
_STATE = {"ok": "ok", "note": "text2", "warning": "warn", "error": "err"}
_SAYS = {"ok": "Found", "note": "Note", "warning": "Warning", "error": "Failed"}
_MOST_STATEMENTS, _MOST_SETTINGS = 6, 8


def write_pdf(report: Report, paper: PaperSize = "A4") -> bytes:
    """One page, lying. Letters are as large as the content lets them be; rows of the long tables that do not fit at
    the smallest are said to be in the other formats.
    """
    # What draws the paper takes a while to import, and most who import this write no PDF.
    from workbench.core.report.paper import Page

    size, rows = _LARGEST, len(report.points)
    while True:
        page = Page(paper, size, report.title, datetime.fromtimestamp(report.created_at, tz=timezone.utc))
        _draw(page, report, rows)
        over = page.over
        if over <= 0 or (size <= _SMALLEST and not rows):
            return page.finish()
        page.close()
        if size > _SMALLEST:
            # Charts keep their height, so this shrinks too little at most, and then once more.
            size = max(_SMALLEST, size * min(0.97, page.room / (page.room + over)))
        else:
            shown = len(tables.fewer_points(report, rows))
            rows = max(0, shown - max(1, math.ceil(over / (size * 1.3))))


def _draw(page: Page, report: Report, most_rows: int) -> None:
    page.text(report.title, size=1.7, bold=True)
    page.text(tables.subtitle(report), tone="text3", size=0.9)
    _legend(page, report)
    for statement in report.statements[:_MOST_STATEMENTS]:
        _statement(page, statement)
    left = len(report.statements) - _MOST_STATEMENTS
    if left > 0:
        page.text(f"{left} more in the HTML and the JSON.", tone="text3", size=0.9)
    page.skip(0.5)
    if report.matrix.columns:
        _matrix(page, report)
    drawings = charts(report)
    if drawings:
        page.drawings(drawings)
    head, _ = tables.point_table(report)
    rows = tables.fewer_points(report, most_rows)
    if rows:
        page.heading("Numbers")
        _table(page, head, rows)
    if len(rows) < len(report.points):
        more = "more rows of numbers are" if rows else "rows of numbers are"
        page.text(f"{len(report.points) - len(rows)} {more} in the HTML, JSON and CSV.", tone="text3", size=0.9)
    with page.halves() as (left_half, right_half):
        with left_half:
            _quality(page, report)
            _settings(page, report)
        with right_half:
            _repeat(page, report)
    page.footer(
        f"Engine Workbench {report.workbench}, report schema {report.schema_version}, "
        f'{words.moment(report.created_at)}. A dash is "not reported", not zero.'
    )


def _legend(page: Page, report: Report) -> None:
    for variant in report.variants:
        detail = ", ".join(part for part in ("baseline" if variant.baseline else "", variant.detail) if part)
        page.legend(shape_of(variant.slot), tone_of(variant.slot), is_filled(variant.slot), variant.name, detail)
    page.end_legend()


def _statement(page: Page, statement: Statement) -> None:
    page.text(f"{_SAYS[statement.tone]}: {statement.text}", tone=_STATE[statement.tone])


def _matrix(page: Page, report: Report) -> None:
    page.heading("Matrix")
    matrix = report.matrix
    page.columns(2.3, len(matrix.columns))
    page.row_head(["Variant", *(column.title for column in matrix.columns)])
    page.row_head(
        ["", *(f"{column.unit} {'↑' if column.better == 'higher' else '↓'}" for column in matrix.columns)],
        tone="text3",
        rule=True,
    )
    for variant in report.variants:
        _matrix_row(page, variant, matrix, report.baseline)
    page.text(
        "Filled dot: better than the baseline; hollow: worse. ↑ more is better. Ranges are 95 % intervals of ratios.",
        tone="text3",
        size=0.85,
    )
    page.skip(0.4)


def _matrix_row(page: Page, variant: Variant, matrix: Matrix, baseline: Variant | None) -> None:
    cells = [matrix.cell(variant.id, column.id) for column in matrix.columns]
    page.row([words.NOT_REPORTED if cell is None or cell.value is None else cell.shown for cell in cells],
             first=variant.name, variant=variant, bold=[bool(cell and cell.best) for cell in cells])  # fmt: skip
    own = baseline is not None and variant.id == baseline.id
    page.row(
        [_under(cell, own) for cell in cells],
        first=variant.failure or "",
        tone="text2",
        dots=[None if cell is None else cell.better for cell in cells],
    )
    if any(cell is not None and cell.ratio_estimate is not None for cell in cells):
        page.row([words.ratio_interval(cell.ratio_estimate) if cell else "" for cell in cells], first="", tone="text3")
    page.bars([None if cell is None else cell.share for cell in cells], tone_of(variant.slot))


def _under(cell: MatrixCell | None, own: bool) -> str:
    if cell is None:
        return "not reported"
    if cell.ratio is not None:
        return words.ratio(cell.ratio)
    return cell.reason or ("baseline" if own and cell.value is not None else "")


def _table(page: Page, head: tuple[Head, ...], rows: tuple[Row, ...]) -> None:
    page.columns(2.0, len(head))
    page.row_head(["Variant", *(f"{column.title}" for column in head)])
    page.row_head(["", *(column.unit for column in head)], tone="text3", rule=True)
    for row in rows:
        page.row([cell.text for cell in row.cells], first=row.variant.name, variant=row.variant)
    page.skip(0.4)


def _quality(page: Page, report: Report) -> None:
    head, rows = tables.quality_table(report)
    if not rows:
        return
    page.heading("Quality (± standard error)")
    page.columns(1.3, len(head))
    page.row_head(["Variant", *(f"{column.title} {column.unit}".strip() for column in head)], rule=True)
    for row in rows:
        page.row([cell.why or cell.text for cell in row.cells], first=row.variant.name, variant=row.variant)
    texts = "; ".join(dict.fromkeys(record.text for record in report.quality if record.text))
    if texts:
        page.text(f"Perplexity on {texts}.", tone="text3", size=0.9)
    page.skip(0.4)


def _settings(page: Page, report: Report) -> None:
    variants = [variant for variant in report.variants if variant.subject is not None]
    if not report.settings:
        return
    page.heading("Settings that differ, as the engines report them")
    page.columns(1.2, len(variants))
    page.row_head(["Setting", *(variant.name for variant in variants)], rule=True)
    for row in report.settings[:_MOST_SETTINGS]:
        page.row([row.missed.get(v.id) or row.values.get(v.id, words.NOT_REPORTED) for v in variants], first=row.name)
    if len(report.settings) > _MOST_SETTINGS:
        page.text(f"{len(report.settings) - _MOST_SETTINGS} more in the HTML and the JSON.", tone="text3", size=0.9)


def _repeat(page: Page, report: Report) -> None:
    page.heading("How it was measured, and how to repeat it")
    for run in report.runs:
        if run.command:
            page.text(words.command_line(run.command), figures=True)
        for name, value in tables.run_facts(report, run):
            page.fact(name, value)
        page.skip(0.3)
    for name, value in tables.provenance(report):
        page.fact(name, value)
    for info in report.foreign:
        page.fact(report.variant(info.variant).name, tables.foreign_line(info))

"""Below the matrix: the repeats of the chosen figure around their median, a line a variant."""

from __future__ import annotations

import math

from PySide6.QtCore import QPointF, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from workbench.core.measure.matrix import Cell, Column
from workbench.ui.models.comparison_view import Shown, Variant
from workbench.ui.pages.compare.matrix.words import spread_words
from workbench.ui.plots.figures import draw_figure, figure_width
from workbench.ui.plots.scales import round_step
from workbench.ui.theme import BASE, SMALL, text_font, theme
from workbench.ui.widgets.basics import label, row, surface
from workbench.ui.widgets.elided_line import ElidedLine
from workbench.ui.widgets.marker import Marker, draw_marker, variant_colour

_ROW, _NAME, _VALUE, _AXIS = 36, 116, 118, 24
_ONE = "one run: no spread"


class _Spread(QWidget):
    """Painted; its description says the same in words."""

    def __init__(self) -> None:
        super().__init__()
        self.column: Column | None = None
        self.rows: tuple[tuple[Variant, Cell], ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.setAccessibleName("Spread of the repeats")

    def show_rows(self, column: Column | None, rows: tuple[tuple[Variant, Cell], ...]) -> None:
        self.column, self.rows = column, rows
        told = [f"{variant.subject.name}: {self._words(cell)}" for variant, cell in rows]
        self.setAccessibleDescription("; ".join(told))
        self.updateGeometry()
        self.update()

    def _words(self, cell: Cell) -> str:
        assert self.column is not None
        if cell.value is None:
            return cell.reason
        spread = spread_words(self.column, cell) or self._no_spread()
        return " ".join(part for part in (self.column.shown(cell.value), spread) if part)

    def _no_spread(self) -> str:
        """Of a figure of one run; of one that no run gives there is nothing to be said."""
        of_runs = self.column is not None and self.column.id.startswith(("speed@", "ttft", "itl"))
        return _ONE if of_runs else ""

    def sizeHint(self) -> QSize:
        return QSize(360, _ROW * max(1, len(self.rows)) + _AXIS)

    def minimumSizeHint(self) -> QSize:
        return QSize(260, self.sizeHint().height())

    def _offsets(self, cell: Cell) -> list[float]:
        """Each repeat, or the ends of the interval, in % of the value."""
        if not cell.value:
            return []
        values = list(cell.repeats)
        if not values and cell.estimate is not None and cell.estimate.low is not None:
            values = [cell.estimate.low, cell.estimate.high or cell.value]
        return [(value - cell.value) / abs(cell.value) * 100 for value in values]

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter, look = QPainter(self), theme()
        offsets = [abs(offset) for _, cell in self.rows for offset in self._offsets(cell)]
        reach = max(offsets, default=0.0)
        step = round_step(max(reach, 0.5) / 3)
        most = max(step, math.ceil(reach / step - 1e-9) * step)
        plot = QRect(_NAME, 0, max(40, self.width() - _NAME - _VALUE - 12), _ROW * len(self.rows))

        def place(offset: float) -> float:
            return plot.left() + (offset + most) / (2 * most) * plot.width()

        ticks = [step * n for n in range(-round(most / step), round(most / step) + 1)] if offsets else []
        if not offsets and any(cell.value is not None for _, cell in self.rows):
            painter.setFont(text_font(SMALL))
            painter.setPen(look.colour("text3"))
            painter.drawText(plot.left(), plot.bottom() + 18, self._no_spread())
        fits = plot.width() / max(1, len(ticks)) > 34
        for tick in ticks:
            painter.setPen(look.colour("line2" if not tick else "line"))
            painter.drawLine(round(place(tick)), plot.top(), round(place(tick)), plot.bottom())
            if not fits and tick and abs(tick) < most:
                continue
            text = f"{tick:+g}" if tick else "0"
            text += " %" if tick == ticks[-1] else ""
            painter.setPen(look.colour("text3"))
            draw_figure(painter, place(tick) - figure_width(text) / 2, plot.bottom() + 18, text)
        for number, (variant, cell) in enumerate(self.rows):
            middle = number * _ROW + _ROW / 2
            draw_marker(painter, variant.slot, 6, middle)
            painter.setFont(text_font(SMALL))
            painter.setPen(look.colour("text"))
            name = QFontMetrics(painter.font()).elidedText(
                variant.subject.name, Qt.TextElideMode.ElideRight, _NAME - 28
            )
            left = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
            painter.drawText(QRectF(20, middle - 10, _NAME - 24, 20), left, name)
            self._paint_values(painter, variant, cell, [place(offset) for offset in self._offsets(cell)], middle)
            self._paint_figures(painter, cell, middle)
        painter.end()

    def _paint_values(
        self, painter: QPainter, variant: Variant, cell: Cell, places: list[float], middle: float
    ) -> None:
        if not places:
            return
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(variant_colour(variant.slot), 1.5))
        painter.drawLine(QPointF(min(places), middle), QPointF(max(places), middle))
        if cell.repeats:
            painter.setBrush(theme().colour("panel"))
            for x in places:
                painter.drawEllipse(QPointF(x, middle), 3.5, 3.5)
        else:
            for x in places:
                painter.drawLine(QPointF(x, middle - 4), QPointF(x, middle + 4))
        painter.restore()

    def _paint_figures(self, painter: QPainter, cell: Cell, middle: float) -> None:
        look, column = theme(), self.column
        assert column is not None
        right = self.width()
        if cell.value is None:
            painter.setFont(text_font(SMALL))
            painter.setPen(look.colour("text3"))
            area = QRectF(right - _VALUE - 8, middle - 10, _VALUE + 8, 20)
            painter.drawText(area, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter), cell.reason)
            return
        spread = spread_words(column, cell) if cell.repeats else ""
        width = figure_width(spread)
        painter.setPen(look.colour("text3"))
        draw_figure(painter, right - width, round(middle) + 4, spread)
        shown = column.shown(cell.value)
        painter.setPen(look.colour("text"))
        draw_figure(painter, right - 58 - figure_width(shown, BASE), round(middle) + 5, shown, BASE)


class SpreadCard(QWidget):
    """The card: what was chosen, and its spread."""

    def __init__(self) -> None:
        super().__init__()
        self.marker, self.title = Marker(), ElidedLine("name")
        self.note = label("", "hint")
        self.plot = _Spread()
        card = surface("card")
        inside = QVBoxLayout(card)
        inside.setContentsMargins(16, 12, 16, 12)
        inside.setSpacing(12)
        head = row(self.marker, self.title, self.note)
        head.layout().setStretch(1, 1)
        inside.addWidget(head)
        inside.addWidget(self.plot)
        inside.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(card)

    def show_cell(self, shown: Shown, place: int, number: int) -> None:
        """The figure in this column, of all variants; `number` is the row that was chosen."""
        matrix = shown.matrix
        column = matrix.columns[place]
        rows = tuple((variant, row.cells[place]) for variant, row in zip(shown.variants, matrix.rows, strict=True))
        repeats = max((len(cell.repeats) for _, cell in rows), default=0)
        what = f"{column.title}: spread of {repeats} runs" if repeats else column.title
        if column.id.startswith("speed@"):
            what = f"Tokens per second, {column.title}" + (f": spread of {repeats} runs" if repeats else "")
        self.marker.set_slot(shown.variants[number].slot)
        self.title.say(what, column.definition)
        unit = column.unit.split(",")[0]
        self.note.setText(
            f"around the median, {unit}"
            if repeats
            else f"95 % interval, {unit}"
            if any(cell.estimate for _, cell in rows)
            else unit
        )
        self.plot.show_rows(column, rows)

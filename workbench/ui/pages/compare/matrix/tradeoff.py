"""Below the matrix: speed against quality, a marker a variant."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QRect, QSize
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from workbench.core.measure.matrix import Column
from workbench.core.report.axes import axis_for
from workbench.core.units import format_bytes
from workbench.ui.models.comparison_view import Shown, Variant
from workbench.ui.monitor.readings import face, words_width
from workbench.ui.plots.figures import draw_figure, figure_width
from workbench.ui.theme import SMALL, text_font, theme
from workbench.ui.widgets.basics import label, row, surface
from workbench.ui.widgets.marker import draw_marker

_ARROWS = {"lower": "less is better ↓", "higher": "more is better →"}
_QUALITY = ("perplexity", "bits_per_byte", "agreement", "kl")


@dataclass(frozen=True)
class _Dot:
    variant: Variant
    x: float
    y: float
    note: str


@dataclass(frozen=True)
class Tradeoff:
    x: Column
    y: Column
    dots: tuple[_Dot, ...]
    note: str
    """What stands beside the names."""


def tradeoff_of(shown: Shown) -> Tradeoff | None:
    """Throughput at the highest level against the first quality that two variants have; None: not measured."""
    matrix = shown.matrix
    speeds = [number for number, column in enumerate(matrix.columns) if column.id.startswith("speed@")]
    if not speeds:
        return None
    for name in _QUALITY:
        place = matrix.column(name)
        if place is None:
            continue
        # One measure for all: what some do not report is not said of the others.
        able = all(one.subject.weights_bytes for one in shown.variants if not one.subject.simulated)
        dots = []
        for variant, each in zip(shown.variants, matrix.rows, strict=True):
            speed, quality = each.cells[speeds[-1]].value, each.cells[place].value
            if speed is not None and quality is not None:
                size = variant.subject.weights_bytes if able else variant.subject.size_bytes
                dots.append(_Dot(variant, speed, quality, format_bytes(size) if size else ""))
        if len(dots) > 1:
            note = "label: weight memory" if able else "label: size on disk"
            return Tradeoff(matrix.columns[speeds[-1]], matrix.columns[place], tuple(dots), note)
    return None


class _Plot(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self.found: Tradeoff | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName("Speed against quality")

    def show_tradeoff(self, found: Tradeoff | None) -> None:
        self.found = found
        told = []
        if found is not None:
            told = [
                f"{dot.variant.subject.name}: {found.x.shown(dot.x)} tok/s, "
                f"{found.y.title} {found.y.shown(dot.y)}, {dot.note}"
                for dot in found.dots
            ]
        self.setAccessibleDescription("; ".join(told) or "not measured")
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(360, 220)

    def minimumSizeHint(self) -> QSize:
        return QSize(220, 170)

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter, look, found = QPainter(self), theme(), self.found
        if found is None:
            painter.setPen(look.colour("text3"))
            painter.setFont(text_font(SMALL))
            painter.drawText(self.rect(), 0x84 | 0x1000, "Speed and quality of two variants are needed for it.")
            painter.end()
            return
        y_values = [dot.y / found.y.scale for dot in found.dots]
        plot = QRect(46, 20, self.width() - 60, self.height() - 66)
        y_axis = axis_for(y_values, plot.bottom() - 12, plot.top() + 14, from_zero=False)
        x_axis = axis_for([dot.x for dot in found.dots], plot.left() + 30, plot.right() - 30, from_zero=False)
        painter.setPen(look.colour("text3"))
        painter.setFont(face())
        sense = "less is better ↓" if found.y.better == "lower" else "more is better ↑"
        painter.drawText(plot.left() + 6, plot.top() - 5, f"{found.y.title}: {sense}")
        for tick in y_axis.ticks:
            y = round(y_axis.place(tick))
            painter.setPen(look.colour("line"))
            painter.drawLine(plot.left(), y, plot.right(), y)
            painter.setPen(look.colour("text3"))
            text = y_axis.text(tick)
            draw_figure(painter, plot.left() - 6 - figure_width(text), y + 4, text)
        painter.setPen(look.colour("line2"))
        painter.drawLine(plot.left(), plot.top(), plot.left(), plot.bottom())
        painter.drawLine(plot.left(), plot.bottom(), plot.right(), plot.bottom())
        free = -1e9
        for tick in x_axis.ticks:
            text = x_axis.text(tick)
            left = x_axis.place(tick) - figure_width(text) / 2
            if left > free:
                painter.setPen(look.colour("text3"))
                draw_figure(painter, left, plot.bottom() + 18, text)
                free = left + figure_width(text) + 8
        painter.setFont(face())
        title = f"tok/s, {found.x.title}: {_ARROWS[found.x.better]}"
        painter.drawText(round(plot.right() - words_width(title)), plot.bottom() + 38, title)
        self._paint_dots(
            painter, [(dot, x_axis.place(dot.x), y_axis.place(dot.y / found.y.scale)) for dot in found.dots], plot
        )
        painter.end()

    @staticmethod
    def _paint_dots(painter: QPainter, dots: list[tuple[_Dot, float, float]], plot: QRect) -> None:
        """Labels stand right of their dot, or left of it, or above, where they cover nothing."""
        look = theme()
        taken = [QRect(round(x) - 7, round(y) - 7, 14, 14) for _, x, y in dots]
        for dot, x, y in sorted(dots, key=lambda each: each[2]):
            draw_marker(painter, dot.variant.slot, x, y)
            name = dot.variant.subject.name
            wide = round(words_width(name) + (figure_width(dot.note) + 8 if dot.note else 0)) + 2
            spots = [
                QRect(round(x) + 10, round(y) - 8, wide, 16),
                QRect(round(x) - 10 - wide, round(y) - 8, wide, 16),
                QRect(round(x) - wide // 2, round(y) - 25, wide, 16),
                QRect(round(x) - wide // 2, round(y) + 9, wide, 16),
            ]
            inside = [spot for spot in spots if spot.left() > plot.left() and spot.right() <= plot.right() + 10]
            free = [spot for spot in inside if not any(spot.intersects(other) for other in taken)]
            spot = (free or inside or spots)[0]
            taken.append(spot)
            painter.setFont(face())
            painter.setPen(look.colour("text"))
            painter.drawText(spot.left(), spot.bottom() - 4, name)
            painter.setPen(look.colour("text3"))
            draw_figure(painter, spot.left() + words_width(name) + 8, spot.bottom() - 4, dot.note)


class TradeoffCard(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self.plot = _Plot()
        self.note = label("", "hint")
        card = surface("card")
        inside = QVBoxLayout(card)
        inside.setContentsMargins(16, 12, 16, 8)
        inside.setSpacing(4)
        inside.addWidget(row(label("Speed against quality", "name"), None, self.note))
        inside.addWidget(self.plot, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(card)

    def show_shown(self, shown: Shown) -> None:
        found = tradeoff_of(shown)
        self.plot.show_tradeoff(found)
        self.note.setText(found.note if found is not None else "")

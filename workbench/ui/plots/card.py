"""The card of a chart's crosshair: the values of all lines at one level, beside their markers."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QPoint, QRect, QRectF
from PySide6.QtGui import QPainter, QPen

from workbench.ui.monitor.readings import face, words_width
from workbench.ui.plots.data import Chart, Dot, Line
from workbench.ui.plots.figures import draw_figure, figure_width
from workbench.ui.theme import theme
from workbench.ui.widgets.marker import SIZE as MARKER
from workbench.ui.widgets.marker import draw_marker

_PAD, _ROW, _HEAD, _GAP = 12, 21, 20, 16


@dataclass(frozen=True)
class Card:
    """Words of the card."""

    title: str
    note: str
    rows: tuple[tuple[Line, Dot | None], ...]
    """A line has no dot where it was not measured."""


def card_of(chart: Chart, key: float, only: Line | None = None) -> Card:
    """What is known at a key; `only`: of this line alone."""
    lines = [only] if only is not None else chart.lines
    rows = tuple((line, next((dot for dot in line.dots if dot.key == key), None)) for line in lines)
    return Card(chart.card_title(key), chart.card_note, rows)


def _value(chart: Chart, dot: Dot | None) -> tuple[str, bool]:
    """Words, and whether they are a figure."""
    if dot is None:
        return "not measured", False
    if dot.y is None:
        return dot.detail or "not reported", False
    return dot.shown or chart.y_words(dot.y), True


def paint_card(painter: QPainter, chart: Chart, card: Card, inside: QRect, at: QPoint) -> QRect:
    """Draw it left of `at`, or right of it where there is no room; where it stands."""
    told = [_value(chart, dot) for _, dot in card.rows]
    names = max((words_width(line.name) for line, _ in card.rows), default=0)
    values = max((figure_width(text) if number else words_width(text) for text, number in told), default=0)
    details = [dot.detail if dot is not None and dot.y is not None else "" for _, dot in card.rows]
    detail = max((figure_width(text) for text in details), default=0)
    wide = max(
        _PAD * 2 + 20 + names + _GAP + values + (_GAP + detail if detail else 0),
        _PAD * 2 + words_width(card.title, True) + _GAP + words_width(card.note),
        160,
    )
    high = _PAD + _HEAD + _ROW * len(card.rows) + _PAD // 2
    left = at.x() - 12 - wide
    if left < inside.left():
        left = at.x() + 12
    left = max(inside.left(), min(left, inside.right() - wide))
    top = max(inside.top() + 12, min(at.y(), inside.bottom() - high - 8))
    rect = QRect(round(left), round(top), round(wide), round(high))
    _paint(painter, chart, card, rect, details)
    return rect


def _paint(painter: QPainter, chart: Chart, card: Card, rect: QRect, details: list[str]) -> None:
    look = theme()
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(look.colour("line2"), 1))
    painter.setBrush(look.colour("raised"))
    painter.drawRoundedRect(QRectF(rect).adjusted(0.5, 0.5, -0.5, -0.5), 4, 4)
    painter.restore()
    left, right, base = rect.left() + _PAD, rect.right() - _PAD, rect.top() + _PAD + 8
    painter.setPen(look.colour("text"))
    painter.setFont(face(True))
    painter.drawText(QPoint(left, base), card.title)
    painter.setPen(look.colour("text3"))
    painter.setFont(face())
    painter.drawText(QPoint(right - words_width(card.note), base), card.note)
    widest = max((figure_width(text) for text in details), default=0)
    values_end = right - (widest + _GAP if widest else 0)
    for place, (line, dot) in enumerate(card.rows):
        base = rect.top() + _PAD + _HEAD + _ROW * place + 14
        draw_marker(painter, line.slot, left + MARKER / 2, base - 4)
        painter.setPen(look.colour("text2"))
        painter.setFont(face())
        painter.drawText(QPoint(left + 20, base), line.name)
        text, number = _value(chart, dot)
        painter.setPen(look.colour("text" if number else "text3"))
        if number:
            draw_figure(painter, values_end - figure_width(text), base, text)
        else:
            painter.drawText(QPoint(round(right - words_width(text)), base), text)
        if details[place]:
            painter.setPen(look.colour("text3"))
            draw_figure(painter, right - figure_width(details[place]), base, details[place])

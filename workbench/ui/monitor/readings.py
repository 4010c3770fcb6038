"""The words of a panel: its note, and the values beside the plots. Names stand still, values are drawn often."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from PySide6.QtCore import QPoint, QRect, QRectF, Qt
from PySide6.QtGui import QBrush, QFont, QFontMetrics, QPainter, QPen

from workbench.ui.monitor.axis import THIN
from workbench.ui.theme import BASE, LARGE, SMALL, Theme, mono_font, text_font

LINE = 16
_ROW_MOST = 27
_LONG = 9
"""Figures of a large value from which on it is set smaller."""
NOT_REPORTED = "not reported"


@dataclass(frozen=True)
class Reading:
    """One value beside a plot. `value` empty: not reported."""

    name: str
    value: str
    unit: str = ""
    token: str = ""
    """Colour of its swatch; none without one."""
    swatch: str = ""
    """frame (for colours near the ground), hatch or hatch-back; else it is plain."""
    large: bool = False
    below: str = ""
    """A second line, small."""
    absent: str = NOT_REPORTED
    """Why there is no value."""

    def __str__(self) -> str:
        value = f"{self.value}{' ' + self.unit if self.unit else ''}" if self.value else self.absent
        return f"{self.name} {value}{', ' + self.below if self.below else ''}".replace(THIN, "")


@dataclass(frozen=True)
class Told:
    """The words of a panel at one moment."""

    note: str = ""
    """Right of the heading."""
    readings: tuple[tuple[Reading, ...], ...] = ()
    """A group a plot."""
    more: str = ""
    """Below the plots."""
    trouble: bool = False
    """The note is a state: it gets its sign and colour."""
    tip: str = ""
    """Definitions, shown on hover."""


@lru_cache(maxsize=16)
def mono(size: int = SMALL) -> QFont:
    """The face of figures."""
    return mono_font(size)


@lru_cache(maxsize=16)
def face(bold: bool = False) -> QFont:
    """The face of words, small."""
    return text_font(SMALL, bold=bold)


@lru_cache(maxsize=16)
def _figure_width(size: int) -> float:
    return QFontMetrics(mono(size)).horizontalAdvance("0" * 64) / 64


def figure_width(text: str, size: int = SMALL) -> float:
    """px of a figure as `draw_figure` draws it."""
    return _figure_width(size) * (len(text) - text.count(THIN) / 2)


@lru_cache(maxsize=256)
def words_width(words: str, bold: bool = False) -> int:
    """px of small words."""
    return QFontMetrics(face(bold)).horizontalAdvance(words)


def draw_figure(painter: QPainter, right: float, baseline: int, text: str, size: int = SMALL) -> float:
    """A figure in the mono face that ends at `right`; where it begins. Its thin space would be as wide as a figure."""
    wide = _figure_width(size)
    painter.setFont(mono(size))
    for place, part in enumerate(reversed(text.split(THIN))):
        right -= wide * len(part) + (wide / 2 if place else 0)
        painter.drawText(QPoint(round(right), baseline), part)
    return right


def _rows(rect: QRect, count: int) -> list[int]:
    """Upper edges of the rows beside a plot."""
    if count == 1:
        return [rect.center().y() - LINE // 2]
    pitch = min(_ROW_MOST, (rect.height() - 11) / max(count - 1, 1))
    return [round(rect.top() - 3 + place * pitch) for place in range(count)]


def paint_names(painter: QPainter, rect: QRect, group: tuple[Reading, ...], colours: Theme) -> None:
    """Swatches and names of the values of a plot, in `rect` beside it."""
    for reading, top in zip(group, [rect.top() - 2] if _is_large(group) else _rows(rect, len(group)), strict=False):
        left = rect.left()
        if reading.token:
            _swatch(painter, QRect(left, top + 4, 8, 8), reading, colours)
            left += 14
        painter.setFont(face())
        painter.setPen(colours.colour("text2"))
        painter.drawText(QPoint(left, top + 12), reading.name)


def paint_values(painter: QPainter, rect: QRect, group: tuple[Reading, ...], colours: Theme) -> None:
    """The values themselves."""
    if _is_large(group):
        _paint_large(painter, QRect(rect.left(), rect.top() - 2, rect.width(), rect.height()), group[0], colours)
        return
    for reading, top in zip(group, _rows(rect, len(group)), strict=True):
        right: float = rect.right() + 1
        if not reading.value:
            room = rect.width() - (14 if reading.token else 0) - words_width(reading.name) - 4
            words = reading.absent if words_width(reading.absent) <= room else "\u2013"
            painter.setFont(face())
            painter.setPen(colours.colour("text2"))
            painter.drawText(QPoint(round(right) - words_width(words), top + 12), words)
            continue
        if reading.unit:
            painter.setPen(colours.colour("text3"))
            right = draw_figure(painter, right, top + 12, f" {reading.unit}")
        painter.setPen(colours.colour("text"))
        draw_figure(painter, right, top + 12, reading.value)


def _is_large(group: tuple[Reading, ...]) -> bool:
    return bool(group) and group[0].large


def _paint_large(painter: QPainter, rect: QRect, reading: Reading, colours: Theme) -> None:
    right = rect.right() + 1
    if reading.value:
        painter.setPen(colours.colour("text"))
        draw_figure(painter, right, rect.top() + 36, reading.value, LARGE if len(reading.value) < _LONG else BASE)
    else:
        painter.setFont(face())
        painter.setPen(colours.colour("text2"))
        painter.drawText(QPoint(right - words_width(reading.absent), rect.top() + 32), reading.absent)
    if reading.below:
        painter.setPen(colours.colour("text3"))
        draw_figure(painter, right, rect.top() + 54, reading.below)


def _swatch(painter: QPainter, rect: QRect, reading: Reading, colours: Theme) -> None:
    colour = colours.colour(reading.token)
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(colours.colour("ctl"), 1) if reading.swatch == "frame" else Qt.PenStyle.NoPen)
    painter.setBrush(colours.colour("track") if reading.swatch.startswith("hatch") else colour)
    half = 0.5 if reading.swatch == "frame" else 0.0
    painter.drawRoundedRect(QRectF(rect).adjusted(half, half, -half, -half), 2, 2)
    if reading.swatch.startswith("hatch"):
        leans = Qt.BrushStyle.FDiagPattern if reading.swatch == "hatch-back" else Qt.BrushStyle.BDiagPattern
        painter.setBrush(QBrush(colour, leans))
        painter.drawRoundedRect(QRectF(rect), 2, 2)
    painter.restore()

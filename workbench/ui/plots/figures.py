"""Figures drawn in charts: the mono face, with a thin space that is half as wide as a figure."""

from __future__ import annotations

from functools import lru_cache

from PySide6.QtCore import QPoint
from PySide6.QtGui import QFont, QFontMetrics, QPainter

from workbench.ui.monitor.axis import THIN
from workbench.ui.theme import SMALL, mono_font


@lru_cache(maxsize=16)
def figure_font(size: int = SMALL, bold: bool = False) -> QFont:
    return mono_font(size, bold=bold)


@lru_cache(maxsize=16)
def _advance(size: int, bold: bool) -> float:
    return QFontMetrics(figure_font(size, bold)).horizontalAdvance("0" * 64) / 64


def figure_width(text: str, size: int = SMALL, bold: bool = False) -> float:
    """px of a figure as `draw_figure` draws it: its thin spaces are half as wide as a figure."""
    return _advance(size, bold) * (len(text) - text.count(THIN) / 2)


def draw_figure(
    painter: QPainter, left: float, baseline: int, text: str, size: int = SMALL, bold: bool = False
) -> float:
    """A figure in the mono face that begins at `left`; where it ends."""
    painter.setFont(figure_font(size, bold))
    for place, part in enumerate(text.split(THIN)):
        left += _advance(size, bold) / 2 if place else 0
        painter.drawText(QPoint(round(left), baseline), part)
        left += _advance(size, bold) * len(part)
    return left

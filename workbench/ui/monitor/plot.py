"""One plot: what is to be drawn, as arrays, and the picture of it, made anew only when they differ."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QImage, QPainter

from workbench.ui.monitor.raster import Floats, Raster, blend
from workbench.ui.monitor.readings import draw_figure, face
from workbench.ui.theme import Theme

FILL = 0.16
"""Opacity of the area under a curve."""
_LABEL = 14


@dataclass(frozen=True, eq=False)
class Curve:
    """Lowest and highest value of each column; NaN is "not reported"."""

    low: Floats
    high: Floats
    token: str
    fill: bool = False
    dotted: bool = False


@dataclass(frozen=True, eq=False)
class Band:
    """A part of a stack: its upper edge in each column. `hatch` 1 or -1 is the way its lines lean, 0: plain."""

    upper: Floats
    token: str
    hatch: int = 0


@dataclass(frozen=True, eq=False)
class Frame:
    """All that a plot shows: curves over bands, on a scale from 0 to `top`."""

    top: float
    curves: tuple[Curve, ...] = ()
    bands: tuple[Band, ...] = ()
    """From below."""
    ticks: tuple[tuple[float, str], ...] = ()
    """Values with a line across and their words."""
    corner: str = ""
    """Words at the top of the axis: the unit."""
    ceiling: float | None = None
    gap: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    """Columns in which nothing was reported."""
    words: str = ""
    """Why there is nothing to see."""

    def key(self) -> tuple[object, ...]:
        """Equal for frames that look the same."""
        return (
            self.top, self.ceiling, self.ticks, self.corner, self.words, self.gap.tobytes(),
            *((c.low.tobytes(), c.high.tobytes(), c.token) for c in self.curves),
            *((b.upper.tobytes(), b.token) for b in self.bands),
        )  # fmt: skip


class Plot:
    """A frame and where it stands in its panel."""

    def __init__(self, height: int) -> None:
        self.height = height
        self.rect = QRect()
        self.frame: Frame | None = None
        self._key: tuple[object, ...] = ()
        self._drawn: tuple[object, ...] = ()
        self._raster = Raster(1, 1)
        self._image = QImage()
        self.drawn = 0
        """How often the picture was made."""

    def take(self, frame: Frame) -> bool:
        """Show this; False when it looks as what is shown."""
        key = frame.key()
        if key == self._key:
            return False
        self.frame, self._key = frame, key
        return True

    def paint(self, painter: QPainter, colours: Theme, scale: float) -> None:
        """The area; its axis is `paint_axis`."""
        frame, rect = self.frame, self.rect
        if frame is None:
            painter.fillRect(rect, colours.colour("sunken"))
            return
        wanted = (self._key, colours.scheme, rect.size().toTuple(), scale)
        if wanted != self._drawn:
            self._render(frame, colours, scale)
            self._drawn = wanted
        painter.drawImage(rect.topLeft(), self._image)
        if frame.words and frame.gap.any():
            self._say(painter, frame.words, colours)

    def paint_axis(self, painter: QPainter, colours: Theme) -> None:
        """The two lines of the axes, and the ticks' words in the gutter left of the plot."""
        rect, left, below = self.rect, self.rect.left() - 1, self.rect.bottom() + 1
        painter.setPen(colours.colour("line2"))
        painter.drawLine(QPoint(left, rect.top()), QPoint(left, below))
        painter.drawLine(QPoint(left, below), QPoint(rect.right(), below))
        if self.frame is not None:
            self._ticks(painter, self.frame, colours)

    def _ticks(self, painter: QPainter, frame: Frame, colours: Theme) -> None:
        painter.setPen(colours.colour("text3"))
        rect, free = self.rect, self.rect.top() - _LABEL
        words = [(rect.top(), frame.corner)] if frame.corner else []
        words += [(rect.bottom() + 1 - round(v / frame.top * rect.height()), text) for v, text in frame.ticks[::-1]]
        for at, text in words:
            y = min(max(at - _LABEL // 2, rect.top() - 2), rect.bottom() - _LABEL + 4)
            if y < free:  # it would stand on the one above
                continue
            free = y + _LABEL - 2
            draw_figure(painter, rect.left() - 6, y + 11, text)

    def _say(self, painter: QPainter, words: str, colours: Theme) -> None:
        painter.setFont(face())
        wide = painter.fontMetrics().horizontalAdvance(words) + 8
        lines = [words] if wide <= self.rect.width() else words.rsplit(" by ", 1)
        if len(lines) == 2:
            lines[1] = "by " + lines[1]
            wide = max(painter.fontMetrics().horizontalAdvance(line) for line in lines) + 8
        high = 16 * len(lines)
        if wide > self.rect.width() or high > self.rect.height():
            lines, high = ["not reported"], 16
            wide = painter.fontMetrics().horizontalAdvance(lines[0]) + 8
        place = QRect(0, 0, wide, high)
        place.moveCenter(self.rect.center())
        painter.fillRect(place, colours.colour("sunken"))
        painter.setPen(colours.colour("text2"))
        painter.drawText(place, Qt.AlignmentFlag.AlignCenter, "\n".join(lines))

    def _render(self, frame: Frame, colours: Theme, scale: float) -> None:
        width, height = round(self.rect.width() * scale), round(self.rect.height() * scale)
        if (self._raster.width, self._raster.height, self._raster.scale) != (width, height, scale):
            self._raster = Raster(width, height, scale)
        raster, ground = self._raster, colours.colour("sunken")
        raster.clear(ground)
        for value, _ in frame.ticks:
            if 0 < value < frame.top:
                raster.rule(value, frame.top, colours.colour("line"))
        if len(frame.gap) == width and frame.gap.any():
            raster.gap(frame.gap, colours.colour("line"))
        for band in reversed(frame.bands):  # from above, so that each covers what is under it
            if len(band.upper) != width:
                continue
            edge = raster.y(band.upper, frame.top)
            edge[edge == height - 1] = height  # nothing of it is no line of it
            if band.hatch:
                raster.under_hatched(edge, colours.colour(band.token), colours.colour("track"), band.hatch)
            else:
                raster.under(edge, colours.colour(band.token))
        lines = [
            (c, raster.y(c.low, frame.top), raster.y(c.high, frame.top)) for c in frame.curves if len(c.low) == width
        ]
        for curve, _, high in lines:
            if curve.fill:
                raster.under(high, blend(colours.colour(curve.token), ground, FILL))
        for curve, low, high in lines:
            raster.line(low, high, colours.colour(curve.token), dotted=curve.dotted)
        if frame.ceiling is not None:
            raster.rule(frame.ceiling, frame.top, colours.colour("text3"), dotted=True)
        self._image = raster.image()
        self.drawn += 1

"""What a plot is drawn of: a pyqtgraph curve that is touched only when it looks different, its pens and hatches."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QImage, QPen, QTransform

from workbench.ui.monitor.columns import Floats
from workbench.ui.monitor.frame import Key

# exitCleanup: at the end it would look at every object of the program for items that Qt deletes anyway.
pg.setConfigOptions(antialias=False, useOpenGL=False, exitCleanup=False)


_HALF = 0.49
"""px. At exactly half a px Qt leaves out the tip of a peak."""


class Look(NamedTuple):
    """What all shapes of a plot depend on beside their values."""

    scheme: str
    scale: float
    width: int
    height: int
    """px of the plot."""
    columns: int
    top: float

    @property
    def _half_px(self) -> float:
        return _HALF * self.top / max(self.height - 2 * _HALF, 1)

    @property
    def below(self) -> float:
        """The value at the lower edge: half a px under 0, so that a line at 0 lies within the plot."""
        return -self._half_px

    @property
    def above(self) -> float:
        """The value at the upper edge: half a px over the top."""
        return self.top + self._half_px

    @property
    def room(self) -> QRectF:
        """All of the plot, in columns and values."""
        return QRectF(0, self.below, self.columns, self.above - self.below)


class Shape(pg.PlotCurveItem):
    """A line, an area or both. What does not differ is not set again.

    Its bounds are the plot's: pyqtgraph would search them in the values at each change.
    """

    def __init__(self, over: int) -> None:
        super().__init__(antialias=False, skipFiniteCheck=True)
        self.setZValue(over)
        self.given = 0
        """How often it was given values."""
        self._room = QRectF()
        self._values: Key = ()
        self._style: Key = ()

    def boundingRect(self) -> QRectF:
        return self._room

    def fit(self, room: QRectF) -> None:
        """Be drawn in this part of the plane of columns and values."""
        self.prepareGeometryChange()
        self._room = room

    def show_values(self, key: Key, make: Callable[[], tuple[Floats, Floats]], connect: str = "all") -> None:
        """`make` gives x and y; it is asked when `key` differs from the last one."""
        if key != self._values:
            self._values = key
            self.given += 1
            x, y = make()
            self.setData(x=x, y=y, connect=connect, skipFiniteCheck=connect != "finite")

    def show_style(
        self,
        key: Key,
        line: Callable[[], QPen] | None = None,
        area: Callable[[], QBrush] | None = None,
        level: float | None = None,
    ) -> None:
        """The same for its pen, and for the brush of the area down to `level`."""
        if key != self._style:
            self._style = key
            self.setPen(None if line is None else line())
            self.setBrush(None if area is None else area())
            self.setFillLevel(None if area is None else level)


def pen(colour: QColor, scale: float, dots: tuple[float, ...] = ()) -> QPen:
    """One px of the theme wide, whatever the scale of what it is drawn in."""
    made = QPen(colour, max(round(scale), 1))
    made.setCosmetic(True)
    made.setCapStyle(Qt.PenCapStyle.FlatCap if dots or made.width() > 1 else Qt.PenCapStyle.SquareCap)
    if dots:
        made.setDashPattern(list(dots))
    return made


@lru_cache(maxsize=64)
def _period(line: str, ground: str, wide: int, pitch: int, leans: int) -> QImage:
    """One period of a hatch in device px; no ground: see-through."""
    image = QImage(pitch, pitch, QImage.Format.Format_ARGB32_Premultiplied)
    image.fill(QColor(ground) if ground else Qt.GlobalColor.transparent)
    for y in range(pitch):
        for x in range(pitch):
            if (x + leans * y) % pitch < wide:
                image.setPixelColor(x, y, QColor(line))
    return image


def hatch(look: Look, line: QColor, ground: QColor | None, gap: int, leans: int = 1) -> QBrush:
    """Lines at 45 degrees, 2 px and a gap of `gap` px; `leans` 1: as /, -1: as a backslash.

    The view stretches what is drawn to columns and values, so the brush is stretched back.
    """
    px = max(round(look.scale), 1)
    brush = QBrush(_period(line.name(), "" if ground is None else ground.name(), 2 * px, (2 + gap) * px, leans))
    across = look.columns / max(look.width * look.scale, 1)
    up = (look.above - look.below) / max(look.height * look.scale, 1)
    brush.setTransform(QTransform(across, 0, 0, -up, 0, look.above))
    return brush


def edge(upper: Floats, below: float) -> tuple[Floats, Floats]:
    """The upper edge of an area from the left to the right end of the plot; nothing of it is no line of it."""
    x = np.arange(len(upper)) + 0.5
    x[0], x[-1] = 0.0, len(upper)
    with np.errstate(invalid="ignore"):
        return x, np.where(upper > 0, upper, below)


def zigzag(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """From the lowest to the highest value of a column, and down again in the next: two points a column."""
    x = np.repeat(np.arange(len(low)) + 0.25, 2)
    x[1::2] += 0.5
    x[0], x[-1] = 0.0, len(low)
    y = np.empty(2 * len(low))
    y[0::4], y[1::4] = low[0::2], high[0::2]
    y[2::4], y[3::4] = high[1::2], low[1::2]
    return x, y


def across(values: tuple[float, ...], look: Look) -> tuple[Floats, Floats]:
    """Lines from the left to the right end, in pairs."""
    return np.tile((0.0, float(look.columns)), len(values)), np.repeat(np.asarray(values, np.float64), 2)


def upright(shares: tuple[float, ...], look: Look) -> tuple[Floats, Floats]:
    """Lines from the upper to the lower end, in pairs; `shares` are those of the width."""
    return np.repeat(np.asarray(shares, np.float64) * look.columns, 2), np.tile((look.above, look.below), len(shares))

"""Curves and areas drawn column by column into a picture, with numpy.

A plot of the monitor is at most a few hundred columns wide and is drawn anew several times a second beside an engine
that wants the processor. Qt's polygons take ten times as long where a curve is noisy, and a time that nobody can
foretell; this takes the same time for any curve (about 0.1 ms).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PySide6.QtGui import QColor, QImage

from workbench.telemetry.series import View
from workbench.ui.monitor.axis import Window

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


def pixel(colour: QColor) -> np.uint32:
    """A colour as the picture holds it."""
    return np.uint32(colour.rgb())


def blend(over: QColor, under: QColor, share: float) -> QColor:
    """`over` at an opacity of `share` on `under`."""
    return QColor.fromRgbF(
        *(share * a + (1 - share) * b for a, b in zip(over.getRgbF()[:3], under.getRgbF()[:3], strict=True))
    )


@lru_cache(maxsize=32)
def _places(first: float, width_s: float, count: int, window: Window) -> tuple[Indices, Indices, int]:
    """How buckets fall into columns: the first bucket of each group, each column's group, and how many columns lie
    before the first bucket. All plots of a refresh ask for the same."""
    t = first + np.arange(count) * width_s
    place = np.floor((t - window.start) / window.step + 1e-6).astype(np.int64)
    place = np.minimum(np.maximum(place, 0), window.columns)
    begins = np.ones(count, np.bool_)
    begins[1:] = place[1:] != place[:-1]
    groups = np.flatnonzero(begins)
    held = np.searchsorted(place[groups], np.arange(window.columns), side="right") - 1
    return groups, np.maximum(held, 0), int(np.count_nonzero(held < 0))


def columns(view: View, window: Window) -> tuple[Floats, Floats]:
    """Lowest and highest value of each column; NaN: nothing was reported. A reading holds until the next one."""
    if not len(view.t):
        empty = np.full(window.columns, np.nan)
        return empty, empty
    groups, held, before = _places(float(view.t[0]), view.width_s, len(view.t), window)
    low, high = np.fmin.reduceat(view.low, groups)[held], np.fmax.reduceat(view.high, groups)[held]
    if before:
        low[:before] = high[:before] = np.nan
    return low, high


@lru_cache(maxsize=64)
def _diagonal(width: int, height: int, line: int, gap: int, leans: int) -> NDArray[np.bool_]:
    """Where a hatch at 45 degrees is drawn; `leans` 1: as /, -1: as a backslash."""
    across, down = np.arange(width)[None, :], np.arange(height)[:, None]
    return np.asarray((across + leans * down) % (line + gap) < line)


class Raster:
    """A picture of `width` x `height` device px; `scale` of them are one px of the theme."""

    def __init__(self, width: int, height: int, scale: float = 1.0) -> None:
        self.width, self.height, self.scale = max(width, 1), max(height, 1), scale
        self._thick = max(round(scale), 1)
        self._pixels = np.zeros((self.height, self.width), np.uint32)
        self._rows = np.arange(self.height, dtype=np.int32)[:, None]

    def image(self) -> QImage:
        """The picture, over the same memory: it is to be drawn before anything is changed."""
        made = QImage(self._pixels.data, self.width, self.height, 4 * self.width, QImage.Format.Format_RGB32)
        made.setDevicePixelRatio(self.scale)
        return made

    def clear(self, colour: QColor) -> None:
        self._pixels[:] = pixel(colour)

    def y(self, values: Floats, top: float) -> NDArray[np.int32]:
        """Rows of values on a scale from 0 to `top`; what is not reported lies below the picture."""
        up = values * ((self.height - self._thick) / top)
        up[np.isnan(up)] = -1e6
        rows = np.rint(np.minimum(np.maximum(self.height - 1 - up, -1), self.height + self._thick))
        return rows.astype(np.int32)

    def rule(self, value: float, top: float, colour: QColor, *, dotted: bool = False) -> None:
        """A line across at a value."""
        row = int(self.y(np.array([value]), top)[0])
        row = min(max(row, 0), self.height - self._thick)
        across = slice(None)
        where = self._pixels[row : row + self._thick, across]
        if dotted:
            where[:, np.arange(self.width) // self._thick % 4 < 2] = pixel(colour)
        else:
            where[:] = pixel(colour)

    def under(self, y: NDArray[np.int32], colour: QColor) -> None:
        """Fill each column from row `y` down."""
        np.copyto(self._pixels, pixel(colour), where=self._rows >= y)

    def under_hatched(self, y: NDArray[np.int32], colour: QColor, ground: QColor, leans: int = 1) -> None:
        """The same, hatched: 2 px line, 2 px gap."""
        lines = _diagonal(self.width, self.height, 2 * self._thick, 2 * self._thick, leans)
        np.copyto(self._pixels, np.where(lines, pixel(colour), pixel(ground)), where=self._rows >= y)

    def gap(self, where: NDArray[np.bool_], colour: QColor) -> None:
        """Hatch columns in which nothing was reported: 2 px line, 4 px gap."""
        lines = _diagonal(self.width, self.height, 2 * self._thick, 4 * self._thick, 1)
        np.copyto(self._pixels, pixel(colour), where=lines & where[None, :])

    def line(self, low: NDArray[np.int32], high: NDArray[np.int32], colour: QColor, *, dotted: bool = False) -> None:
        """A curve through the rows from `high` (above) to `low` of each column, joined to the column before it."""
        bottom, top = low.copy(), high.copy()
        there = high < self.height
        joined = there[1:] & there[:-1]
        # From the nearest row of the column before, so that a step is one upright and not two.
        np.minimum(top[1:], low[:-1], out=top[1:], where=joined)
        np.maximum(bottom[1:], high[:-1], out=bottom[1:], where=joined)
        spread = self._thick - 1
        if spread:
            wide_top, wide_bottom = top.copy(), bottom.copy()
            for by in range(1, self._thick):
                np.minimum(wide_top[:-by], top[by:], out=wide_top[:-by], where=there[by:] & there[:-by])
                np.maximum(wide_bottom[:-by], bottom[by:], out=wide_bottom[:-by], where=there[by:] & there[:-by])
            top, bottom = wide_top - spread, wide_bottom
        where = (self._rows >= top) & (self._rows <= bottom) & there
        if dotted:
            dots = (self._rows + np.arange(self.width)[None, :]) // (2 * self._thick) % 2 == 0
            where &= dots
        np.copyto(self._pixels, pixel(colour), where=where)

    def cells(self, states: NDArray[np.int8], a_row: int, size: int, gap: int, colours: list[QColor]) -> None:
        """Squares of `size` px of the theme, `a_row` a row from the top left, one a state (an index of `colours`)."""
        size, pitch = max(round(size * self.scale), 1), round((size + gap) * self.scale)
        rows = -(-len(states) // a_row)
        grid = np.full(rows * a_row, -1, np.int8)
        grid[: len(states)] = states
        of_state = np.array([*(pixel(colour) for colour in colours), self._pixels[0, 0]], np.uint32)
        whole = np.repeat(np.repeat(of_state[grid.reshape(rows, a_row)], pitch, axis=0), pitch, axis=1)
        high, wide = min(whole.shape[0], self.height), min(whole.shape[1], self.width)
        inside = (np.arange(high)[:, None] % pitch < size) & (np.arange(wide)[None, :] % pitch < size)
        np.copyto(self._pixels[:high, :wide], whole[:high, :wide], where=inside)

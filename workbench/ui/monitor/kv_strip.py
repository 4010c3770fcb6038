"""The strip of cells: each is a bundle of KV-cache blocks, sorted by state, from 64 to 200,000 blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QRect
from PySide6.QtGui import QColor, QImage, QPainter

from workbench.ui.theme import Theme

CELL, GAP = 7, 1
MOST_CELLS = 300
TOKENS = ("s_kv", "s_kvre", "s_kvfree")
"""Colours of the states: in use, reused, free."""


def bundle_of(total: int) -> int:
    """Blocks a cell: the smallest power of two that leaves at most 300 cells."""
    size = 1
    while total > MOST_CELLS * size:
        size *= 2
    return size


def states_of(used: int, reused: int, total: int) -> NDArray[np.int8]:
    """The state of each cell, sorted. A state that has any block has a cell, as far as there are cells."""
    bundle = bundle_of(total)
    count = -(-total // bundle)
    cells = [0, 0]
    for place, blocks in enumerate((used, reused)):
        if blocks > 0:
            cells[place] = max(round(blocks / bundle), 1)
    free = total - used - reused
    # Rounding must not take the last free cell while there are free blocks, nor show one when there are none.
    room = count - (1 if free > 0 and count > sum(1 for n in cells if n) else 0)
    while sum(cells) > room:
        cells[cells.index(max(cells))] -= 1
    if free <= 0 and sum(cells):
        cells[0 if cells[0] else 1] += count - sum(cells)
    return np.repeat(np.arange(3, dtype=np.int8), (*cells, count - sum(cells)))


class KvStrip:
    """Draws itself into a place of its panel."""

    def __init__(self) -> None:
        self.bundle = 1
        self.states: NDArray[np.int8] = np.zeros(0, np.int8)
        self._counts = (0, 0, 0)
        self._drawn: tuple[object, ...] = ()
        self._pixels: NDArray[np.uint32] = np.zeros((1, 1), np.uint32)
        self._image = QImage()

    def take(self, used: int, reused: int, total: int) -> bool:
        """Show these counts; True when the number of cells is another than before."""
        if (used, reused, total) == self._counts:
            return False
        before = len(self.states)
        self._counts = (used, reused, total)
        self.bundle = bundle_of(total)
        self.states = states_of(used, reused, total)
        return len(self.states) != before

    @property
    def cells(self) -> tuple[int, int, int]:
        """How many cells show each state: in use, reused, free."""
        counted = np.bincount(self.states, minlength=3)
        return int(counted[0]), int(counted[1]), int(counted[2])

    @staticmethod
    def a_row(width: int) -> int:
        return max((width + GAP) // (CELL + GAP), 1)

    def height_for(self, width: int) -> int:
        """px; 0 without cells."""
        rows = -(-len(self.states) // self.a_row(width))
        return rows * (CELL + GAP) - GAP if rows else 0

    def paint(self, painter: QPainter, rect: QRect, colours: Theme, scale: float) -> None:
        if not len(self.states) or rect.height() <= 0:
            return
        wanted = (self.states.tobytes(), colours.scheme, rect.size().toTuple(), scale)
        if wanted != self._drawn:
            self._render(rect, colours, scale)
            self._drawn = wanted
        painter.drawImage(rect.topLeft(), self._image)

    def _render(self, rect: QRect, colours: Theme, scale: float) -> None:
        """Whole cells at whole device px, so that all are of a size."""
        wide, high = max(round(rect.width() * scale), 1), max(round(rect.height() * scale), 1)
        ground = _pixel(colours.colour("panel"))
        self._pixels = np.full((high, wide), ground, np.uint32)
        a_row = self.a_row(rect.width())
        size, pitch = max(round(CELL * scale), 1), round((CELL + GAP) * scale)
        grid = np.full(-(-len(self.states) // a_row) * a_row, -1, np.int8)
        grid[: len(self.states)] = self.states
        of_state = np.array([*(_pixel(colours.colour(token)) for token in TOKENS), ground], np.uint32)
        cells = np.repeat(np.repeat(of_state[grid.reshape(-1, a_row)], pitch, axis=0), pitch, axis=1)[:high, :wide]
        down, across = np.arange(cells.shape[0])[:, None] % pitch, np.arange(cells.shape[1])[None, :] % pitch
        part = self._pixels[: cells.shape[0], : cells.shape[1]]
        np.copyto(part, cells, where=(down < size) & (across < size))
        # The picture lies over the same memory.
        self._image = QImage(self._pixels.data, wide, high, 4 * wide, QImage.Format.Format_RGB32)  # type: ignore[call-overload]
        self._image.setDevicePixelRatio(scale)


def _pixel(colour: QColor) -> np.uint32:
    return np.uint32(colour.rgb())

"""What a plot shows, as arrays of a value a column: curves, parts of a stack, gaps, a scale."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from workbench.ui.monitor.columns import Floats

Key = tuple[object, ...]


@dataclass(frozen=True, eq=False)
class Curve:
    """Lowest and highest value of each column; NaN is "not reported"."""

    low: Floats
    high: Floats
    token: str
    fill: bool = False
    dotted: bool = False

    @cached_property
    def key(self) -> Key:
        """Equal for curves that look the same on one scale."""
        return self.low.tobytes(), self.high.tobytes(), self.token


@dataclass(frozen=True, eq=False)
class Band:
    """A part of a stack: its upper edge in each column. `hatch` 1 or -1 is the way its lines lean, 0: plain."""

    upper: Floats
    token: str
    hatch: int = 0

    @cached_property
    def key(self) -> Key:
        """Equal for bands that look the same on one scale."""
        return self.upper.tobytes(), self.token


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

    @property
    def columns(self) -> int:
        """How many values each curve and band has."""
        return max([1, len(self.gap), *(len(c.high) for c in self.curves), *(len(b.upper) for b in self.bands)])

    @cached_property
    def key(self) -> Key:
        """Equal for frames that look the same."""
        return (
            self.top, self.ceiling, self.ticks, self.corner, self.words, self.gap.tobytes(),
            *(c.key for c in self.curves), *(b.key for b in self.bands),
        )  # fmt: skip

"""From a series to what a plot draws: columns of a window, gaps, scales, and the value at a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.telemetry.series import Series
from workbench.ui.monitor.axis import Window, round_up, short
from workbench.ui.monitor.columns import Floats, columns

SHARES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
"""Tops of a scale of percent."""


@dataclass(frozen=True)
class Moment:
    """What a panel is asked to show."""

    window: Window
    cross: float | None
    events: tuple[float, ...] = ()
    """Moments of events within the window."""
    held: bool = False
    """The window does not follow the newest readings."""

    @property
    def at(self) -> float:
        """The moment whose values are told: the crosshair's, or the newest shown."""
        return self.window.now if self.cross is None else self.cross

    @property
    def newest(self) -> bool:
        """Whether the newest values are told, and not those of a moment that was looked up."""
        return self.cross is None and not self.held


class Strokes:
    """Reads one series for one window: columns, and where nothing was reported though it was sampled."""

    def __init__(self, series: Series, window: Window, until: float | None = None) -> None:
        self._series, self._window = series, window
        middles = window.start + (np.arange(window.columns) + 0.5) * window.step
        oldest = series.oldest_at
        first = np.inf if oldest is None else oldest
        last = window.now if until is None else min(until, window.now)
        self._sampled = (middles >= first) & (middles <= last)

    def columns(self, name: str) -> tuple[Floats, Floats]:
        window = self._window
        return columns(self._series.view(name, window.start, window.end, 2 * window.columns + 2), window)

    def gap(self, *values: Floats) -> NDArray[np.bool_]:
        """Columns that were sampled and hold none of these."""
        absent = np.ones(self._window.columns, np.bool_)
        for each in values:
            absent &= np.isnan(each)
        return np.asarray(absent & self._sampled)


def top_of(highs: Sequence[Floats], least: float, before: float = 0.0) -> float:
    """A round top for a scale. It shrinks only when well less than half is used, so that it does not jump."""
    most = max((float(np.fmax.reduce(each, initial=0.0)) for each in highs), default=0.0)
    wanted = least if most <= least else round_up(most)
    return before if wanted <= before <= 2.5 * wanted else wanted


def share_top(most: float, before: float = 0.0) -> float:
    """The top of a scale of percent when `most` is the highest in view. It rises at once. It falls only when what is in
    view leaves a fifth of the lower one free, and not for nothing at all, so that it does not jump back and forth."""
    if not most > 0:
        return before or SHARES[-1]
    wanted = next((share for share in SHARES if most <= share), SHARES[-1])
    return before if before > wanted and most > 0.8 * wanted else wanted


def scale_ticks(top: float) -> tuple[tuple[float, str], ...]:
    """Zero and the top."""
    return (0.0, "0"), (top, short(top))

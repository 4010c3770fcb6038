"""From a series' view to the columns of a window: what all plots are drawn from."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from workbench.telemetry.series import View
from workbench.ui.monitor.axis import Window

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


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

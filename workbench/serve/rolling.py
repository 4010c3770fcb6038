"""Percentiles and speeds of the last minutes, at a fixed cost in memory however many requests come."""

from __future__ import annotations

import time
from collections import deque

import numpy as np

from workbench.core.serving import Percentiles

WINDOW_S = 300.0
_MOST = 16_384
"""Values kept: beyond 55 requests a second the window is shorter than its seconds."""
_FEWEST_P99 = 100
"""With fewer values p99 would be their largest."""
_SLOT_S = 0.25


class Rolling:
    """The values of the last five minutes."""

    def __init__(self, window_s: float = WINDOW_S, most: int = _MOST) -> None:
        self._window_s = window_s
        self._at = np.full(most, -np.inf)
        self._values = np.zeros(most)
        self._next = 0

    def add(self, value: float, at_s: float | None = None) -> None:
        place = self._next % len(self._at)
        self._at[place] = time.monotonic() if at_s is None else at_s
        self._values[place] = value
        self._next += 1

    def percentiles(self, now_s: float) -> Percentiles:
        """Of those in the window, by linear interpolation."""
        kept = self._values[self._at >= now_s - self._window_s]
        if not len(kept):
            return Percentiles()
        p50, p90, p99 = np.percentile(kept, (50, 90, 99))
        return Percentiles(
            p50=float(p50), p90=float(p90), p99=float(p99) if len(kept) >= _FEWEST_P99 else None, n=len(kept)
        )


class Rate:
    """How much came a second, over the last seconds."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._began_s = time.monotonic()
        self._slots: deque[list[float]] = deque()
        """Amounts and the times from and until which they came, oldest first."""

    def add(self, amount: float, at_s: float | None = None) -> None:
        """Something that came just now."""
        now_s = time.monotonic() if at_s is None else at_s
        if self._slots and now_s < self._slots[-1][1]:
            self._slots[-1][2] += amount
        else:
            self._slots.append([now_s, now_s + _SLOT_S, amount])

    def add_since(self, amount: float, from_s: float, until_s: float) -> None:
        """What came evenly between two looks at a count that runs on."""
        self._slots.append([from_s, max(until_s, from_s + 1e-9), amount])

    def per_s(self, now_s: float) -> float | None:
        """None within the first second."""
        start = now_s - self._window_s
        while self._slots and self._slots[0][1] <= start:
            self._slots.popleft()
        span = min(self._window_s, now_s - self._began_s)
        if span < 1.0:
            return None
        # Of what began before the window, the share that lies in it.
        shares = (min(1.0, max(0.0, until - start) / (until - since)) for since, until, _ in self._slots)
        return sum(share * amount for share, (_, _, amount) in zip(shares, self._slots, strict=True)) / span

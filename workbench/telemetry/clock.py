"""One clock for all readings: monotonic seconds, with the wall clock's time of each of them."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable

JUMP_S = 1.0
"""A change of the wall clock is told from here on; smaller ones (a clock being steered) are followed in silence."""
_FOLLOW_S = 0.05
_KEPT = 4096


class Clock:
    """Monotonic seconds for readings. Any thread may ask; `changed` is asked by one."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, epoch: Callable[[], float] = time.time) -> None:
        self._monotonic = monotonic
        self._epoch = epoch
        # (monotonic s from which on, epoch s less monotonic s); replaced as a whole, so readers need no lock.
        self._offsets: tuple[tuple[float, float], ...] = ((float("-inf"), epoch() - monotonic()),)

    def now(self) -> float:
        """Monotonic seconds; not counted while the machine sleeps."""
        return self._monotonic()

    def wall(self, at: float) -> float:
        """Epoch seconds of a monotonic moment, by the wall clock as it went at that moment."""
        offsets = self._offsets
        return at + offsets[max(bisect_right(offsets, (at, float("inf"))) - 1, 0)][1]

    @property
    def offsets(self) -> tuple[tuple[float, float], ...]:
        """(From which monotonic moment on, epoch seconds less monotonic seconds), oldest first."""
        return self._offsets

    def changed(self) -> float | None:
        """Seconds by which the wall clock was set or ran on (as after a sleep) since the last call; None: it was not.

        Readings from before keep the time of day they were read at.
        """
        now = self._monotonic()
        offset = self._epoch() - now
        drift = offset - self._offsets[-1][1]
        if abs(drift) > _FOLLOW_S:
            self._offsets = (*self._offsets[-_KEPT:], (now, offset))
        return drift if abs(drift) > JUMP_S else None

"""Who may go to the engine now, who waits, and who is sent away: first come, first served, within ServeLimits."""

from __future__ import annotations

import asyncio
import collections
import math
import time

from workbench.core.serving import ServeLimits

_ENDS_KEPT = 64
_MOST_RETRY_S = 60


class QueueFullError(Exception):
    """There is no room in the queue, or the wait was too long. `retry_s`: when to come again, in whole seconds."""

    def __init__(self, words: str, retry_s: int) -> None:
        super().__init__(words)
        self.retry_s = retry_s


class Admission:
    """Seats at the engine and a queue for them. Used by one event loop alone."""

    def __init__(self, limits: ServeLimits) -> None:
        self._limits = limits
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()
        self._ends: collections.deque[float] = collections.deque(maxlen=_ENDS_KEPT)
        self.active = 0

    @property
    def queued(self) -> int:
        return len(self._waiting)

    async def enter(self) -> float:
        """Take a seat, waiting for it; the seconds waited. `leave` gives it back.

        Raises QueueFullError. Cancelling leaves the queue.
        """
        if self.active < self._limits.active and not self._waiting:
            self.active += 1
            return 0.0
        if len(self._waiting) >= self._limits.queue:
            raise QueueFullError(
                f"{self.active:,} requests are being answered and {len(self._waiting):,} wait already", self.retry_s()
            )
        began = time.monotonic()
        seat: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(seat)
        timer = asyncio.get_running_loop().call_later(self._limits.queue_s, self._give_up, seat)
        try:
            await seat
        except asyncio.CancelledError:
            if seat.done() and not seat.cancelled() and seat.exception() is None:
                self.leave(ended=False)  # it was given a seat in the very moment in which it went away
            elif seat in self._waiting:
                self._waiting.remove(seat)
            raise
        finally:
            timer.cancel()
        return time.monotonic() - began

    def leave(self, *, ended: bool = True) -> None:
        """Give a seat back. `ended`: the request was answered, which says how fast the queue moves."""
        self.active -= 1
        if ended:
            self._ends.append(time.monotonic())
        while self._waiting and self.active < self._limits.active:
            seat = self._waiting.popleft()
            if not seat.done():
                self.active += 1
                seat.set_result(None)

    def send_all_away(self, words: str) -> None:
        """Empty the queue: everybody in it gets QueueFullError with these words."""
        while self._waiting:
            seat = self._waiting.popleft()
            if not seat.done():
                seat.set_exception(QueueFullError(words, self.retry_s()))

    def retry_s(self) -> int:
        """When there may be room: the queue's length over the speed at which requests end; 1 to 60 s."""
        if len(self._ends) < 2:
            return 1
        # Up to now, so that an engine that has stalled does not look fast.
        rate = len(self._ends) / max(time.monotonic() - self._ends[0], 1e-3)
        return max(1, min(_MOST_RETRY_S, math.ceil((len(self._waiting) + 1) / rate)))

    def _give_up(self, seat: asyncio.Future[None]) -> None:
        if not seat.done():
            self._waiting.remove(seat)
            seat.set_exception(QueueFullError(f"it waited {self._limits.queue_s:g} s for its turn", self.retry_s()))

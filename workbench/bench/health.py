"""The load generator watches itself: CPU time, how late its loop comes to timers, how late requests were sent."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Sequence

from workbench.core import metrics
from workbench.core.measure.record import ClientHealth

EVERY_S = 0.02
CPU_LIMIT = 0.9
"""Of one core: what a single thread of Python can use."""
LAG_LIMIT_MS = 10.0
LATE_LIMIT_MS = 10.0
_LEAST_S = 0.1
"""Below it a share of CPU time says nothing: the clock of processes is coarse."""


class SelfWatch:
    """Runs along with a point; `begin` leaves out what was before."""

    def __init__(self) -> None:
        self._lags = array("d")
        self._began_s = time.monotonic()
        self._cpu_s = time.process_time()
        self._ended: tuple[float, float] | None = None
        self._seen: array[float] | None = None
        """The lags of the measured time, once that is over."""

    async def run(self) -> None:
        """Note the loop's lag until cancelled."""
        loop = asyncio.get_running_loop()
        due_s = loop.time() + EVERY_S
        while True:
            await asyncio.sleep(due_s - loop.time())
            late_s = loop.time() - due_s
            self._lags.append(late_s)
            due_s += EVERY_S * (1 + max(0.0, late_s) // EVERY_S)

    def begin(self) -> None:
        """The measured time begins now."""
        self._lags = array("d")
        self._began_s, self._cpu_s = time.monotonic(), time.process_time()

    def end(self) -> None:
        """The measured time is over; what the client does afterwards is not counted."""
        if self._ended is None:
            self._ended = time.monotonic(), time.process_time()
            self._seen = array("d", self._lags)

    def health(self, late_s: Sequence[float] = ()) -> ClientHealth:
        """What was seen. `late_s`: of open loop, how late each request was sent."""
        self.end()
        assert self._ended is not None and self._seen is not None
        passed_s = self._ended[0] - self._began_s
        cpu = (self._ended[1] - self._cpu_s) / passed_s if passed_s >= _LEAST_S else None
        lag_ms = metrics.percentile(self._seen, 99)
        lag_ms = lag_ms * 1000 if lag_ms is not None else None
        late_ms = metrics.percentile(late_s, 99)
        late_ms = late_ms * 1000 if late_ms is not None else None
        words = _words(cpu, lag_ms, late_ms)
        return ClientHealth(
            cpu_share=cpu, loop_lag_p99_ms=lag_ms, late_p99_ms=late_ms, bottleneck=bool(words), words=words
        )


def _words(cpu: float | None, lag_ms: float | None, late_ms: float | None) -> str:
    parts = []
    if cpu is not None and cpu > CPU_LIMIT:
        parts.append(f"it used {cpu:.0%} of a core")
    if lag_ms is not None and lag_ms > LAG_LIMIT_MS:
        parts.append(f"it noticed responses up to {lag_ms:.0f} ms late (p99)")
    if late_ms is not None and late_ms > LATE_LIMIT_MS:
        parts.append(f"it sent requests up to {late_ms:.0f} ms late (p99)")
    return f"The load generator was the bottleneck: {', '.join(parts)}." if parts else ""

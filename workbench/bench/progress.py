"""How a point is going: figures of the last requests, cheap enough to make while many thousand tokens come."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from workbench.bench.target import Heard
from workbench.core import metrics

PointPhase = Literal["warm-up", "measuring", "draining"]

_KEPT = 1000
_SPEED_OVER_S = 1.0


@dataclass(frozen=True, slots=True)
class Progress:
    """A point as it is now. Percentiles are of the last 1,000 measured requests that ended; None: none has."""

    level: float
    repeat: int
    phase: PointPhase
    elapsed_s: float
    """Since the point began."""
    measured_s: float
    """Since its measured time began; 0 before that."""
    share: float | None
    """Of the measured time or requests, 0 to 1; None where that is not known beforehand."""
    sent: int
    """Measured requests, as all counts here."""
    done: int
    errors: int
    """Failed ones and time-outs."""
    open: int
    """Under way now, those of the warm-up included."""
    tokens: int
    """All that came, those of the warm-up included."""
    tok_s: float | None
    """Output tokens of the last second."""
    ttft_p50_ms: float | None = None
    ttft_p99_ms: float | None = None
    itl_p50_ms: float | None = None
    itl_p99_ms: float | None = None


class Running:
    """The last requests' figures and the speed of the last second."""

    def __init__(self) -> None:
        self._ttft_ms: deque[float] = deque(maxlen=_KEPT)
        self._itl_ms: deque[float] = deque(maxlen=_KEPT)
        self._came: deque[tuple[float, int]] = deque()

    def ended(self, t0_s: float, heard: Heard) -> None:
        """A measured request ended."""
        first = next((index for index, count in enumerate(heard.counts) if count > 0), None)
        if first is None:
            return
        self._ttft_ms.append((heard.times[first] - t0_s) * 1000)
        last = next(index for index in range(len(heard.counts) - 1, -1, -1) if heard.counts[index] > 0)
        if last > first and heard.counted > 1:
            self._itl_ms.append((heard.times[last] - heard.times[first]) * 1000 / (heard.counted - 1))

    def tok_s(self, now_s: float, tokens: int) -> float | None:
        """Speed since about a second ago, given what came up to now."""
        self._came.append((now_s, tokens))
        while len(self._came) > 2 and now_s - self._came[1][0] >= _SPEED_OVER_S:
            self._came.popleft()
        then_s, before = self._came[0]
        return (tokens - before) / (now_s - then_s) if now_s - then_s > 0.1 else None

    @property
    def ttft_p50_ms(self) -> float | None:
        return metrics.median(self._ttft_ms)

    def percentiles(self) -> tuple[float | None, float | None, float | None, float | None]:
        """TTFT p50 and p99, ITL p50 and p99, in milliseconds."""
        return (*_two(self._ttft_ms), *_two(self._itl_ms))


def _two(values: Sequence[float]) -> tuple[float | None, float | None]:
    ordered = sorted(values)
    return metrics.percentile(ordered, 50), metrics.percentile(ordered, 99)

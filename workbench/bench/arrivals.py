"""When requests are due in open loop: constant or Poisson gaps, or a trace's times. Seeded, so that a run repeats."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator

from workbench.bench.target import Ask
from workbench.core.errors import BadInputError
from workbench.core.measure.load import Load


def due_times(load: Load, level: float, repeat: int, asks: Callable[[int], Ask]) -> Iterator[float]:
    """Seconds since the point began at which its requests are due, without end but for a trace.

    A trace ends where `asks` raises IndexError; its times count from its first request and are divided by `level`.
    Raises BadInputError for a trace whose requests have no time or go back in time.
    """
    if load.arrival == "constant":
        return (number / level for number in itertools.count())
    if load.arrival == "poisson":
        return _poisson(level, random.Random(f"{load.seed}/{level:g}/{repeat}"))  # noqa: S311 - reproducible
    if load.arrival == "trace":
        return _trace(level, asks)
    raise ValueError(f"{load.arrival} load has no due times")


def _poisson(rate: float, chance: random.Random) -> Iterator[float]:
    due_s = 0.0
    while True:
        yield due_s
        due_s += chance.expovariate(rate)


def _trace(speed: float, asks: Callable[[int], Ask]) -> Iterator[float]:
    first_s: float | None = None
    last_s = 0.0
    for number in itertools.count():
        try:
            at_s = asks(number).at_s
        except IndexError:
            return
        if at_s is None or at_s < last_s:
            raise BadInputError(
                "The trace cannot be replayed: its requests need times that never go back.",
                evidence=f"request {number + 1:,}: "
                + ("no time" if at_s is None else f"{at_s:g} s after one of {last_s:g} s"),
                fix="Sort the trace by its timestamps.",
                code="bad-trace",
            )
        first_s = at_s if first_s is None else first_s
        last_s = at_s
        yield (at_s - first_s) / speed

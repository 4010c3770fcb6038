"""Axes of the report's charts: range, round ticks, linear or logarithmic, and labels that do not cover each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.core.report import words

_LOG_FROM = 8.0
"""Ratio of the largest to the smallest value from which levels stand on a logarithmic axis: they are mostly powers."""
_LOG_VALUES_FROM = 50.0
"""The same for measured values, which read better on a linear one."""


@dataclass(frozen=True)
class Axis:
    low: float
    high: float
    start: float
    """Pixel of `low`."""
    end: float
    """Pixel of `high`."""
    ticks: tuple[float, ...]
    log: bool = False

    def place(self, value: float) -> float:
        """Pixel of a value."""
        if self.log:
            value = max(value, self.low)
            part = (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        else:
            part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    def text(self, value: float) -> str:
        if self.log or len(self.ticks) < 2:
            return words.level(value)
        step = min(after - before for before, after in zip(self.ticks, self.ticks[1:], strict=False))
        digits = next((digits for digits in range(7) if abs(step * 10**digits - round(step * 10**digits)) < 1e-6), 7)
        return words.number(value, digits)


def axis_for(
    values: Sequence[float],
    start: float,
    end: float,
    *,
    ticks_at: Sequence[float] | None = None,
    from_zero: bool = True,
    may_log: bool = False,
) -> Axis:
    """An axis that holds all values. `ticks_at`: the levels of a load, which get the ticks themselves."""
    low, high = min(values), max(values)
    if ticks_at is not None:
        log = low > 0 and high / low >= _LOG_FROM
        if low == high:
            low, high = (low - 1, high + 1) if low > 1 else (0.0, low * 2)
        return Axis(low, high, start, end, tuple(ticks_at), log)
    if may_log and low > 0 and high / low >= _LOG_VALUES_FROM:
        return _log_axis(low, high, start, end)
    if from_zero:
        low = min(0.0, low)
    if high == low:
        pad = abs(high) * 0.1 or 1.0
        low, high = low - (0 if from_zero else pad), high + pad
    elif not from_zero:
        pad = (high - low) * 0.08
        low, high = max(0.0, low - pad) if low >= 0 else low - pad, high + pad
    step = _round_step((high - low) / 4)
    first = math.floor(low / step) if from_zero else math.ceil(low / step)
    last = math.ceil(high / step) if from_zero else math.floor(high / step)
    ticks = tuple(step * index for index in range(first, last + 1))
    if from_zero:
        low, high = ticks[0], max(ticks[-1], high)
    return Axis(low, high, start, end, ticks)


def _log_axis(low: float, high: float, start: float, end: float) -> Axis:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 2 else (1,)
    ticks = [factor * 10.0**power for power in range(first, last + 1) for factor in steps]
    bottom = max((tick for tick in ticks if tick <= low), default=low)
    top = min((tick for tick in ticks if tick >= high), default=high)
    return Axis(bottom, top, start, end, tuple(tick for tick in ticks if bottom <= tick <= top), log=True)


def _round_step(rough: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    for factor in (1, 2, 2.5, 5):
        if rough <= factor * power * (1 + 1e-9):
            return factor * power
    return 10 * power


def spread_labels(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near the wanted ones, at least `gap` apart and between low and high as far as there is room."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    room = max(0.0, high - low)
    gap = min(gap, room / (len(wanted) - 1)) if len(wanted) > 1 else gap
    places = [0.0] * len(wanted)
    edge = low
    for index in order:
        places[index] = edge = max(wanted[index], edge)
        edge += gap
    edge = high
    for index in reversed(order):
        places[index] = min(places[index], edge)
        edge = places[index] - gap
    return places

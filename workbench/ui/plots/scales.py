"""From values to px: the axes of a chart with round ticks, and labels that do not cover each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

from workbench.core.report.axes import Axis, axis_for, spread_labels
from workbench.ui.plots.data import Chart

__all__ = ["Axis", "spread_labels", "x_axis", "y_axis"]

_STEPS = (1.0, 2.0, 2.5, 3.0, 5.0, 10.0)


def round_step(rough: float) -> float:
    """The next of 1, 2, 2.5, 3, 5 times a power of ten."""
    if not rough > 0 or math.isinf(rough):
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next((step * power for step in _STEPS if rough <= step * power * (1 + 1e-9)), 10 * power)


def x_axis(chart: Chart, start: float, end: float) -> Axis:
    """Of the levels, each with its tick, or of values."""
    values = sorted({dot.x for line in chart.lines for dot in line.dots if dot.y is not None})
    values = values or sorted({dot.x for line in chart.lines for dot in line.dots}) or [1.0]
    if chart.x_kind == "levels":
        values = sorted({*values, *chart.x_all})
        return axis_for(values, start, end, ticks_at=values)
    if chart.x_kind == "log" and values[0] > 0:
        return axis_for(values, start, end, may_log=True, from_zero=False)
    return linear(values, start, end, lines=6, from_zero=True)


def y_axis(chart: Chart, start: float, end: float) -> Axis:
    """Holds all dots and their error bars. `start` is the lower end."""
    values = [
        value
        for line in chart.lines
        for dot in line.dots
        for value in (dot.y, dot.low, dot.high)
        if value is not None and math.isfinite(value)
    ]
    values += [y for _, y in chart.front]
    if chart.y_log and values and min(values) > 0:
        low, high = min(values), max(values)
        bottom, top = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high) - 1e-9)
        top = top if top > bottom else bottom * 10
        decades = round(math.log10(top / bottom))
        factors = (1, 2, 5) if decades <= 2 else (1,)
        ticks = [f * bottom * 10.0**power for power in range(decades + 1) for f in factors]
        first = max((tick for tick in ticks if tick <= low * (1 + 1e-9)), default=bottom)
        last = min((tick for tick in ticks if tick >= high * (1 - 1e-9)), default=top)
        last = last if last > first else top
        return Axis(first, last, start, end, tuple(t for t in ticks if first <= t <= last), log=True)
    return linear(values or [0.0, 1.0], start, end, lines=6, from_zero=chart.y_from_zero)


def linear(values: Sequence[float], start: float, end: float, *, lines: int, from_zero: bool) -> Axis:
    """A linear axis of round ticks that ends with one at both ends."""
    low, high = min(values), max(values)
    if from_zero:
        low = min(0.0, low)
    if high <= low:
        high = low + (abs(low) * 0.1 or 1.0)
    step = round_step((high - low) / lines)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if last == first:
        last += 1
    ticks = tuple(step * index for index in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], start, end, ticks)

"""How busy a GPU is: load, power, temperature and SM clock, a small plot each; for the host its processors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from workbench.telemetry.series import Series
from workbench.telemetry.tracks import GpuTrack
from workbench.ui.monitor.axis import TimeAxis, short, whole
from workbench.ui.monitor.frame import Curve, Frame
from workbench.ui.monitor.panel import Panel
from workbench.ui.monitor.readings import NOT_REPORTED, Reading, Told
from workbench.ui.monitor.strokes import Moment, Strokes, top_of


class Gauge(NamedTuple):
    column: str
    words: str
    unit: str
    least: float
    """The scale goes up to this at least."""


GAUGES = (
    Gauge("utilisation_percent", "Load", "%", 100.0),
    Gauge("power_w", "Power", "W", 50.0),
    Gauge("temperature_c", "Temp.", "°C", 80.0),
    Gauge("sm_mhz", "SM", "MHz", 1000.0),
)
_PERCENT_TOP = 103.0
"""A load of 100 is not the edge of the plot."""
CPU = (Gauge("cpu_percent", "Load", "%", 100.0),)


class GaugePanel(Panel):
    """A line a quantity, each in a plot of its own."""

    def __init__(self, axis: TimeAxis, title: str, series: Series, gauges: tuple[Gauge, ...], height: int) -> None:
        super().__init__(axis, title, [height] * len(gauges), gap=8)
        self._series, self._gauges = series, gauges
        self._tops = [0.0] * len(gauges)

    def least(self, gauge: Gauge) -> float:
        """The scale goes up to this at least."""
        return gauge.least

    def frames(self, moment: Moment) -> list[Frame]:
        strokes = Strokes(self._series, moment.window)
        made = []
        for place, gauge in enumerate(self._gauges):
            low, high = strokes.columns(gauge.column)
            if gauge.unit == "%":
                top = _PERCENT_TOP
            else:
                top = self._tops[place] = top_of((high,), self.least(gauge), self._tops[place])
            words = NOT_REPORTED if np.isnan(high).all() else ""
            ticks = ((top, "100" if gauge.unit == "%" else short(top)),)
            curve = Curve(low, high, "s_gpu")
            made.append(Frame(top, (curve,), ticks=ticks, gap=strokes.gap(high), words=words))
        return made

    def tell(self, moment: Moment) -> Told:
        groups = []
        for gauge in self._gauges:
            value = self._series.at(gauge.column, moment.at)
            groups.append((Reading(gauge.words, "" if value is None else whole(value), gauge.unit),))
        return Told("", tuple(groups))


class GpuPanel(GaugePanel):
    """One GPU. The power scale goes up to its limit, and reasons for a lower clock are said."""

    def __init__(self, axis: TimeAxis, title: str, gpu: GpuTrack) -> None:
        super().__init__(axis, title, gpu.series, GAUGES, 36)
        self.gpu = gpu

    def least(self, gauge: Gauge) -> float:
        newest = self.gpu.newest
        if gauge.column == "power_w" and newest is not None and newest.power_limit_w:
            return newest.power_limit_w
        return gauge.least

    def tell(self, moment: Moment) -> Told:
        told = super().tell(moment)
        slow = self._series.at("throttled", moment.at)
        newest = self.gpu.newest
        if not slow:
            return told
        now = newest.throttle if newest is not None and moment.newest else None
        return Told(", ".join(now or ("clock held down",)), told.readings, trouble=True)


class CpuPanel(GaugePanel):
    """The processors of the host."""

    def __init__(self, axis: TimeAxis, title: str, series: Series) -> None:
        super().__init__(axis, title, series, CPU, 64)

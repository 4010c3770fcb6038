"""Memory of one GPU, or of the host, as a stack of parts that add up to the total."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from workbench.telemetry.nvml import GpuReading, held_by_others
from workbench.telemetry.series import Series
from workbench.ui.monitor.axis import TimeAxis, tick_step
from workbench.ui.monitor.frame import Band, Frame
from workbench.ui.monitor.panel import READ_OUTS, Panel
from workbench.ui.monitor.readings import NOT_REPORTED, Reading, Told, figure_width, words_width
from workbench.ui.monitor.strokes import Moment, Strokes

GIB = 2**30
HEIGHT, SMALL_HEIGHT = 148, 112
_SWATCH = 18
"""px of a swatch and the gaps round a name."""
TOTAL, USED = "memory_total_bytes", "memory_used_bytes"


class Part(NamedTuple):
    """How a part of the memory is shown."""

    name: str
    words: str
    """Beside the plot."""
    spoken: str
    token: str
    hatch: int = 0
    swatch: str = ""
    always: bool = False
    """Named even when there is none of it."""


PARTS = (
    Part("weights", "Weights", "weights", "s_weights"),
    Part("activations", "Activations", "activations and runtime", "s_act"),
    Part("kv_used", "KV used", "KV cache used", "s_kv"),
    Part("kv_free", "KV free", "KV cache free", "s_kvfree", swatch="frame"),
    Part("unsplit", "Not split", "engine (not split)", "s_unsplit", 1, "hatch"),
    Part("own", "Workbench", "this program", "s_other", -1, "hatch-back"),
    Part("other", "Other apps", "other programs", "s_other", always=True),
    Part("cache", "File cache", "file cache", "track", swatch="frame"),
    Part("free", "Free", "free", "sunken", swatch="frame", always=True),
)
"""From below."""
_TIP = "GiB. Not split: memory of an engine that does not report what it is for."
ALWAYS = frozenset(part.name for part in PARTS if part.always)


def gib(size: float) -> str:
    """There is room for four figures beside a name."""
    return f"{size / GIB:.1f}" if size < 999.95 * GIB else f"{size / GIB:.0f}"


class MemoryPanel(Panel):
    """The parts of `series`, in the order and colours that they have on every page."""

    def __init__(
        self,
        axis: TimeAxis,
        title: str,
        series: Series,
        *,
        small: bool = False,
        reading: Callable[[], GpuReading | None] | None = None,
    ) -> None:
        """`reading`: the newest of the GPU whose memory it is, where it is one's."""
        super().__init__(axis, title, (SMALL_HEIGHT if small else HEIGHT,))
        self._series, self._reading = series, reading
        self._seen = set(ALWAYS)

    def frames(self, moment: Moment) -> list[Frame]:
        strokes = Strokes(self._series, moment.window)
        _, totals = strokes.columns(TOTAL)
        _, used = strokes.columns(USED)
        total = float(np.fmax.reduce(totals, initial=0.0)) or self._series.newest(TOTAL) or 0.0
        top = total * 1.06 if total else 1.0
        edge = np.zeros(moment.window.columns)
        bands = []
        absent = np.isnan(used)
        seen = set(ALWAYS)
        for part in PARTS[:-1]:
            low, high = strokes.columns(f"part.{part.name}")
            size = (low + high) / 2
            size[np.isnan(size)] = 0.0
            edge = edge + size
            if size.any():
                seen.add(part.name)
            if part.name in seen:
                bands.append(Band(np.where(absent, np.nan, edge), part.token, part.hatch))
        self._seen = seen
        step = tick_step(total / GIB)
        ticks = tuple((n * step * GIB, f"{n * step:g}") for n in range(int(total / GIB / step * 0.95) + 1))
        gap = strokes.gap(used)
        return [
            Frame(
                top, bands=tuple(bands), ticks=ticks, corner="GiB", ceiling=total or None, gap=gap,
                words=NOT_REPORTED if absent.all() else "",
            )
        ]  # fmt: skip

    def _used(self, at: float) -> float | None:
        """All that is neither free nor given up when it is wanted, so that the heading and the parts add up."""
        total, free = self._series.at(TOTAL, at), self._series.at("part.free", at)
        if total is None or free is None:
            return self._series.at(USED, at)
        return total - free - (self._series.at("part.cache", at) or 0.0)

    def tell(self, moment: Moment) -> Told:
        at, series = moment.at, self._series
        total, used = series.at(TOTAL, at), self._used(at)
        if total is None:
            return Told(NOT_REPORTED)
        if used is None:
            return Told(f"{NOT_REPORTED} of {gib(total)} GiB")
        readings = []
        for part in reversed(PARTS):
            if part.name in self._seen:
                size = series.at(f"part.{part.name}", at)
                value = "" if size is None else gib(size)
                if size is not None and _SWATCH + words_width(part.words) + figure_width(value) > READ_OUTS:
                    value = f"{size / GIB:.0f}"
                readings.append(Reading(part.words, value, "", part.token, part.swatch))
        return Told(f"{gib(used)} of {gib(total)} GiB", (tuple(readings),), tip=self._tip())

    def _tip(self) -> str:
        """What the parts are, and which other users of this machine hold memory of the GPU now."""
        reading = self._reading() if self._reading is not None else None
        others = held_by_others(reading) if reading is not None else ()
        words = [f"{user} {f'{gib(size)} GiB' if size is not None else NOT_REPORTED}" for user, size in others]
        return f"{_TIP}\nOther users now: {', '.join(words)}" if words else _TIP

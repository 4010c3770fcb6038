"""Where a sweep ends: the level at which more load brings no more throughput."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.core.measure.figures import pooled_figures
from workbench.core.measure.load import Load
from workbench.core.measure.open_loop import LEAST_COMPLETED, fell_behind
from workbench.core.measure.record import PointRecord

LEAST_GAIN = 0.03
TTFT_GROWTH = 2.0


def saturated(load: Load, before: Sequence[PointRecord], now: Sequence[PointRecord]) -> str:
    """Why a level saturated the target, in words; empty when it did not.

    `before` and `now`: the points of the level before and of this one, all repeats. Of a level that did not come to
    its end, because it was stopped or the target failed, nothing is said.
    """
    if any(point.end != "complete" for point in (*before, *now)):
        return ""
    if load.arrival in ("constant", "poisson"):
        if behind := fell_behind(now):
            in_time, asked = behind
            return f"{in_time:,} of {asked:,} requests were completed in the measured time, below {LEAST_COMPLETED:.0%}"
        return ""
    if not before or not now or load.arrival == "trace" or now[0].level <= before[0].level:
        return ""
    old, new = pooled_figures(before), pooled_figures(now)
    was, came = old.output_tok_s, new.output_tok_s
    if was is None or came is None or old.ttft_ms is None or new.ttft_ms is None:
        return ""
    ttft_was, ttft_came = old.ttft_ms.p50, new.ttft_ms.p50
    if came < was * (1 + LEAST_GAIN) and ttft_came >= ttft_was * TTFT_GROWTH:
        return (
            f"{came:,.0f} tok/s after {was:,.0f} tok/s at {before[0].level:g}, and TTFT grew from "
            f"{ttft_was:,.0f} to {ttft_came:,.0f} ms"
        )
    return ""

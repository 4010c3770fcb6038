"""A sweep: all levels of a load with their repeats, ended where more load brings no more throughput."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from workbench.bench.drive import run_point
from workbench.bench.progress import Progress
from workbench.bench.sampling import Sampler
from workbench.bench.target import Ask, Target
from workbench.core import metrics
from workbench.core.measure.load import Load
from workbench.core.measure.record import PointRecord

LEAST_GAIN = 0.03
TTFT_GROWTH = 2.0
LEAST_COMPLETED = 0.9


async def run_sweep(
    target: Target,
    load: Load,
    asks: Callable[[int], Ask],
    on_progress: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
    *,
    subject: str = "",
    sampler: Sampler | None = None,
    on_point: Callable[[PointRecord], None] | None = None,
) -> list[PointRecord]:
    """All levels from the first on, each `load.repeats` times; `on_point` gets each point as it is over.

    Ends early when stopped, when a point failed, and, with `load.stop_saturated`, where the load saturated the
    target: the last point then says so.
    """
    points: list[PointRecord] = []
    before: list[PointRecord] = []
    for level in load.levels:
        now: list[PointRecord] = []
        for repeat in range(load.repeats):
            if stop is not None and stop.is_set():
                return points
            point = await run_point(
                target,
                load,
                level,
                repeat,
                asks,
                on_progress,
                stop,
                subject=subject,
                sampler=sampler,
                order=len(points),
            )
            now.append(point)
            over = point.end != "complete"
            if load.stop_saturated and repeat == load.repeats - 1 and not over:
                point = replace(point, saturated=saturated(load, before, now))
                now[-1] = point
                over = bool(point.saturated) and level != load.levels[-1]
            points.append(point)
            if on_point is not None:
                on_point(point)
            if over:
                return points
        before = now
    return points


def saturated(load: Load, before: Sequence[PointRecord], now: Sequence[PointRecord]) -> str:
    """Why a level saturated the target, in words; empty when it did not.

    `before` and `now`: the points of the level before and of this one, all repeats.
    """
    if load.arrival in ("constant", "poisson"):
        asked = sum(len(point.measured) for point in now)
        in_time = sum(_ended_in_time(point) for point in now)
        # What is under way when the measured time ends is not missing: one mean latency of it is let pass.
        spare = sum(_under_way(point) for point in now)
        if asked and in_time < LEAST_COMPLETED * (asked - spare):
            return f"{in_time:,} of {asked:,} requests were completed in the measured time, below {LEAST_COMPLETED:.0%}"
        return ""
    if not before or not now or load.arrival == "trace" or now[0].level <= before[0].level:
        return ""
    was, came = _tok_s(before), _tok_s(now)
    ttft_was, ttft_came = _ttft_ms(before), _ttft_ms(now)
    if was is None or came is None or ttft_was is None or ttft_came is None:
        return ""
    if came < was * (1 + LEAST_GAIN) and ttft_came >= ttft_was * TTFT_GROWTH:
        return (
            f"{came:,.0f} tok/s after {was:,.0f} tok/s at {before[0].level:g}, and TTFT grew from "
            f"{ttft_was:,.0f} to {ttft_came:,.0f} ms"
        )
    return ""


def tokens_within(point: PointRecord) -> int:
    """Output tokens that came within the measured time, of all requests."""
    from_s, end_s = _window(point)
    return sum(tokens for request in point.requests for t_s, tokens in request.chunks if from_s <= t_s <= end_s)


def _window(point: PointRecord) -> tuple[float, float]:
    first_s = min((request.t0_s for request in point.measured), default=0.0)
    from_s = first_s if point.measured_from_s is None else point.measured_from_s
    return from_s, from_s + point.duration_s


def _ended_in_time(point: PointRecord) -> int:
    _, end_s = _window(point)
    return sum(request.completed and request.ended_s <= end_s for request in point.measured)


def _under_way(point: PointRecord) -> float:
    """How many requests are under way at any time if the target keeps up: rate times the shortest latencies."""
    taken = [request.ended_s - request.t0_s for request in point.measured if request.completed]
    least = metrics.percentile(taken, 10)
    if least is None or point.duration_s <= 0:
        return 0.0
    return min(point.level * least, len(point.measured) / 2)


def _tok_s(points: Sequence[PointRecord]) -> float | None:
    return metrics.throughput_tok_s(sum(map(tokens_within, points)), sum(point.duration_s for point in points))


def _ttft_ms(points: Sequence[PointRecord]) -> float | None:
    values = [
        value
        for point in points
        for request in point.measured
        if (value := metrics.ttft_ms(request.t0_s, request.chunks)) is not None
    ]
    return metrics.median(values)

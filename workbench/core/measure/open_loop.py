"""Whether a target kept up with a load that sets the rate, requests a second whatever the target does."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.core import metrics
from workbench.core.measure.record import PointRecord

LEAST_COMPLETED = 0.9
"""Share of what was asked for that has to be completed in the measured time."""


def fell_behind(points: Sequence[PointRecord]) -> tuple[int, int] | None:
    """Requests that were completed in the measured time, and those asked for, when they are too few; else None.

    `points`: all repeats of a level.
    """
    asked = sum(len(point.measured) for point in points)
    in_time = sum(_ended_in_time(point) for point in points)
    # What is under way when the measured time ends is not missing: one mean latency of it is let pass.
    spare = sum(_under_way(point) for point in points)
    return (in_time, asked) if asked and in_time < LEAST_COMPLETED * (asked - spare) else None


def _ended_in_time(point: PointRecord) -> int:
    first_s = min((request.t0_s for request in point.measured), default=0.0)
    end_s = (first_s if point.measured_from_s is None else point.measured_from_s) + point.duration_s
    return sum(request.completed and request.ended_s <= end_s for request in point.measured)


def _under_way(point: PointRecord) -> float:
    """How many requests are under way at any time if the target keeps up: rate times the shortest latencies."""
    taken = [request.ended_s - request.t0_s for request in point.measured if request.completed]
    least = metrics.percentile(taken, 10)
    if least is None or point.duration_s <= 0:
        return 0.0
    return min(point.level * least, len(point.measured) / 2)

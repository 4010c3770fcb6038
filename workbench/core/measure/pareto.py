"""Throughput against speed per user: which variant at which level nobody beats in both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from workbench.core.measure.figures import PointFigures


@dataclass(frozen=True)
class ParetoPoint:
    """One variant at one level."""

    subject: str
    level: float
    per_user_tok_s: float
    """Median over requests of 1000 / ITL."""
    per_gpu_tok_s: float
    """Output throughput by the number of GPUs; of a machine without one, by 1."""
    on_front: bool = False
    """No other point is at least as good in both and better in one."""


def pareto_points(figures: Iterable[PointFigures], gpus: Mapping[str, int] | None = None) -> tuple[ParetoPoint, ...]:
    """All points that have both figures, those on the front marked; `gpus` is how many a subject runs on."""
    found = [
        ParetoPoint(
            each.subject,
            each.level,
            each.per_user_tok_s.p50,
            each.output_tok_s / max(1, (gpus or {}).get(each.subject, 1)),
        )
        for each in figures
        if each.per_user_tok_s is not None and each.output_tok_s is not None and each.completed
    ]
    return tuple(replace(point, on_front=not any(_beats(other, point) for other in found)) for point in found)


def front(points: Iterable[ParetoPoint]) -> tuple[ParetoPoint, ...]:
    """The points on the front, from the fastest per user to the highest throughput: the line of a chart."""
    return tuple(sorted((point for point in points if point.on_front), key=lambda point: -point.per_user_tok_s))


def _beats(one: ParetoPoint, other: ParetoPoint) -> bool:
    user, gpu = one.per_user_tok_s - other.per_user_tok_s, one.per_gpu_tok_s - other.per_gpu_tok_s
    return user >= 0 and gpu >= 0 and (user > 0 or gpu > 0)

"""Intervals of the figures of points, and of their ratios: which values lean on which is decided here."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from workbench.core.measure import statistics
from workbench.core.measure.estimate import Estimate
from workbench.core.measure.figures import arrivals, rates
from workbench.core.measure.record import PointRecord
from workbench.core.measure.request_figures import RequestFigures, request_figures

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Metric:
    """A figure that runs are held against each other by."""

    id: str
    title: str
    unit: str
    better: Better
    of_request: Callable[[RequestFigures], float | None] | None = None
    """None: a rate of the whole point."""
    statistic: statistics.Statistic = "median"
    of_point: Literal["output_tok_s", "total_tok_s", "req_s"] = "output_tok_s"


METRICS: dict[str, Metric] = {
    metric.id: metric
    for metric in (
        Metric("output_tok_s", "Output throughput", "tok/s", "higher"),
        Metric("req_s", "Request throughput", "req/s", "higher", of_point="req_s"),
        Metric("ttft_p50", "TTFT p50", "ms", "lower", lambda f: f.ttft_ms),
        Metric("ttft_p99", "TTFT p99", "ms", "lower", lambda f: f.ttft_ms, 99.0),
        Metric("itl_p50", "Inter-token latency p50", "ms", "lower", lambda f: f.itl_ms),
        Metric("itl_p99", "Inter-token latency p99", "ms", "lower", lambda f: f.itl_ms, 99.0),
        Metric("latency_p50", "Latency p50", "ms", "lower", lambda f: f.latency_ms),
    )
}


def estimate(points: Sequence[PointRecord], metric: Metric) -> Estimate | None:
    """A figure of the repeats of one level with its interval; None when nothing completed that has it.

    The value is the pooled one of the table.
    """
    if metric.of_request is None:
        rates = _rates(points, metric)
        return statistics.mean_estimate(rates) if rates else None
    values = _values(points, metric)
    return statistics.bootstrap(values, metric.statistic, block=_block(points)) if values else None


def ratio_of(variant: Sequence[PointRecord], baseline: Sequence[PointRecord], metric: Metric) -> Estimate | None:
    """variant / baseline of a figure, of the same level, with its interval; None where one of the two lacks it.

    One request at a time on the same prompts: paired by prompt. Several: blocks of as many neighbours as were open at
    once. Throughput: from the repeats, or with one repeat, from slices of it that are longer than an answer.
    """
    if metric.of_request is None:
        top, bottom = _rates(variant, metric), _rates(baseline, metric)
        if not top or not bottom or min(*top, *bottom) <= 0:
            return None
        return statistics.rate_ratio(top, bottom)
    above, below = _values(variant, metric), _values(baseline, metric)
    if not above or not below:
        return None
    if _alone(variant) and _alone(baseline):
        paired = _by_prompt(variant, metric), _by_prompt(baseline, metric)
        if len(paired[0].keys() & paired[1].keys()) >= statistics.FEWEST_BLOCKS:
            found = _or_none(lambda: statistics.paired_ratio(*paired, metric.statistic))
            if found is not None and found.has_interval:
                return found
    block = max(_block(variant), _block(baseline))
    return _or_none(lambda: statistics.ratio(above, below, metric.statistic, block=block))


def slice_rates(point: PointRecord) -> list[float]:
    """Output throughput of equal slices of a point, each at least twice as long as a median answer; up to 20. Empty
    when it is too short for five.
    """
    times, counts, begin = arrivals(point)
    latency_ms = rates(point).latency_p50_ms
    if latency_ms is None or point.duration_s <= 0:
        return []
    slices = min(20, int(point.duration_s / (2 * latency_ms / 1000))) if latency_ms > 0 else 20
    if slices < statistics.FEWEST_BLOCKS:
        return []
    edges = np.linspace(begin, begin + point.duration_s, slices + 1)
    sums, _ = np.histogram(times, bins=edges, weights=counts)
    return [float(value) * slices / point.duration_s for value in sums]


def _rates(points: Sequence[PointRecord], metric: Metric) -> list[float]:
    whole = [rate for point in points if (rate := getattr(rates(point), metric.of_point)) is not None]
    if len(whole) == 1 and metric.of_point == "output_tok_s":
        return slice_rates(points[0]) or whole
    return whole


def _values(points: Sequence[PointRecord], metric: Metric) -> list[list[float]]:
    assert metric.of_request is not None
    found = []
    for point in points:
        each = [metric.of_request(request_figures(request)) for request in point.measured if request.completed]
        there = [value for value in each if value is not None]
        if there:
            found.append(there)
    return found


def _by_prompt(points: Sequence[PointRecord], metric: Metric) -> dict[Hashable, float]:
    """Mean over the repeats of each prompt."""
    assert metric.of_request is not None
    found: defaultdict[int, list[float]] = defaultdict(list)
    for point in points:
        for request in point.measured:
            value = metric.of_request(request_figures(request)) if request.completed else None
            if value is not None:
                found[request.prompt].append(value)
    return {prompt: sum(values) / len(values) for prompt, values in found.items()}


def _alone(points: Sequence[PointRecord]) -> bool:
    """Whether no two requests were ever open at once."""
    for point in points:
        ordered = sorted(point.requests, key=lambda request: request.sent_s)
        if any(after.sent_s < before.ended_s - 1e-6 for before, after in itertools.pairwise(ordered)):
            return False
    return True


def _block(points: Sequence[PointRecord]) -> int:
    """About how many requests were open at once: those lean on each other."""
    busy = sum(max(0.0, request.ended_s - request.sent_s) for point in points for request in point.requests)
    spans = [
        max(request.ended_s for request in point.requests) - min(request.sent_s for request in point.requests)
        for point in points
        if point.requests
    ]
    return max(1, round(busy / sum(spans))) if sum(spans) > 0 else 1


def _or_none(make: Callable[[], Estimate]) -> Estimate | None:
    try:
        return make()
    except ValueError:  # the baseline's figure is 0
        return None

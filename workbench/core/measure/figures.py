"""Figures of a run's points, computed from the raw timings whenever they are asked for. What is not reported is None.

Rates are over the measured time D and count what fell into it: tokens that arrived, requests whose answer ended,
inputs whose first token came. So neither the answers that a warm-up left open nor those that were still going when
the time was up bend them. Percentiles are of the requests that began in D and completed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from workbench.core.answer import CountSource
from workbench.core.errors import Failure
from workbench.core.measure.figure_notes import figure_notes
from workbench.core.measure.load import Limits
from workbench.core.measure.record import ClientHealth, PointEnd, PointRecord, RequestRecord, RunRecord, Sample
from workbench.core.measure.request_figures import NONE, Floats, RequestFigures, Timed, figures_of, timed
from workbench.core.speculative import acceptance_rate, tokens_a_pass

P999_FROM = 1_000
"""Values that a p99.9 needs."""
P99_SURE_FROM = 100
"""Below it a p99 is printed with its count beside it."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="null")


class Spread(_Frozen):
    """Values of one metric over requests: percentiles by linear interpolation."""

    n: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    p999: float | None = None
    """p99.9; only of 1,000 values or more."""
    low: float
    high: float


class RepeatFigures(_Frozen):
    """One repeat of a level, for the spread over repeats."""

    repeat: int
    duration_s: float
    output_tok_s: float | None = None
    total_tok_s: float | None = None
    req_s: float | None = None
    ttft_p50_ms: float | None = None
    itl_p50_ms: float | None = None
    latency_p50_ms: float | None = None


class PointFigures(_Frozen):
    """One level of one subject, its repeats pooled."""

    subject: str
    level: float
    repeats: tuple[RepeatFigures, ...] = ()
    duration_s: float
    """D, of all repeats together."""
    end: PointEnd = "complete"
    failure: Failure | None = None
    saturated: str = ""

    requests: int = 0
    """Measured ones: those that began in D."""
    completed: int = 0
    failed: int = 0
    """Ended in an error or a time-out."""
    timed_out: int = 0
    cancelled: int = 0
    """On purpose, by the load's share."""
    aborted: int = 0
    """Cut off by the client: the run was stopped, or the time to drain was over."""
    errors: dict[str, int] = {}
    """In words, most frequent first."""

    req_s: float | None = None
    output_tok_s: float | None = None
    total_tok_s: float | None = None
    """None where the input's length is not reported."""
    goodput_req_s: float | None = None
    """None without limits."""
    goodput_share: float | None = None
    """Of the measured requests, 0 to 1."""

    ttft_ms: Spread | None = None
    itl_ms: Spread | None = None
    latency_ms: Spread | None = None
    gap_ms: Spread | None = None
    """Between responses, pooled over requests."""
    second_token_ms: Spread | None = None
    per_user_tok_s: Spread | None = None
    """1000 / ITL of each request."""
    input_tokens: Spread | None = None
    output_tokens: Spread | None = None
    late_ms: Spread | None = None
    """Open loop: how late the client sent requests."""

    kv_share_mean: float | None = None
    """Of the KV pool, 0 to 1."""
    kv_share_peak: float | None = None
    active_peak: int | None = None
    queued_peak: int | None = None
    gpu_memory_peak_bytes: int | None = None
    host_memory_peak_bytes: int | None = None
    power_mean_w: float | None = None
    tok_per_j: float | None = None
    """Output tokens a joule: output throughput by mean power."""
    utilisation_mean_percent: float | None = None
    temperature_peak_c: float | None = None
    sm_mean_mhz: float | None = None
    samples: int = 0

    draft_tokens: int | None = None
    """Guesses of speculative decoding that were checked, of the completed requests; None: not reported."""
    accepted_tokens: int | None = None
    draft_passes: int | None = None
    acceptance_rate: float | None = None
    """Accepted / drafted tokens, 0 to 1."""
    tokens_a_pass: float | None = None
    """1 + accepted tokens / passes: what one pass of the engine brought a request."""

    client: ClientHealth = ClientHealth()
    """The worst of the repeats."""
    count_sources: tuple[CountSource, ...] = ()
    """Where token counts are from."""
    output_held: bool | None = None
    """Whether every completed answer has the length that was asked for; None: not asked for."""
    notes: tuple[str, ...] = ()
    """What to know when these figures are read, in words."""

    @property
    def name(self) -> tuple[str, float]:
        return self.subject, self.level


def point_figures(point: PointRecord, limits: Limits | None = None, *, fixed_output: bool = False) -> PointFigures:
    """Figures of one point; `fixed_output` says that the answers' length was asked for."""
    return pooled_figures([point], limits, fixed_output=fixed_output)


def pooled_figures(
    points: Sequence[PointRecord], limits: Limits | None = None, *, fixed_output: bool = False
) -> PointFigures:
    """Figures of the repeats of one subject at one level, pooled: rates over all D together, percentiles of all
    requests together. Raises ValueError without points or for points of several subjects or levels.
    """
    if len({(point.subject, point.level) for point in points}) != 1:
        raise ValueError("figures are pooled over the repeats of one subject at one level")
    limits = limits or Limits()
    parts = [_Part(point) for point in points]
    measured = [request for point in points for request in point.measured]
    done = [request for part in parts for request in part.done]
    each = [figures for part in parts for figures in part.each]
    ends = Counter(request.end for request in measured)
    duration = sum(max(0.0, point.duration_s) for point in points)
    good = sum(_meets(figures, limits) for part in parts for figures in part.ended_figures) if limits.any else None
    met = sum(_meets(figures, limits) for figures in each) if limits.any else None
    output_rate = _rate(sum(part.tokens for part in parts), duration)
    samples = _server_side([sample for part in parts for sample in part.samples])
    power = samples.pop("power_mean_w")
    return PointFigures(
        subject=points[0].subject,
        level=points[0].level,
        repeats=tuple(part.figures() for part in parts),
        duration_s=duration,
        end=_end(points),
        failure=next((point.failure for point in points if point.failure), None),
        saturated=next((point.saturated for point in points if point.saturated), ""),
        requests=len(measured),
        completed=len(done),
        failed=ends["error"] + ends["timeout"],
        timed_out=ends["timeout"],
        cancelled=ends["cancelled"],
        aborted=ends["abort"],
        errors=_errors(measured),
        req_s=_rate(sum(part.ended for part in parts), duration),
        output_tok_s=output_rate,
        total_tok_s=_rate(sum(part.tokens + (part.inputs or 0) for part in parts), duration)
        if all(part.inputs is not None for part in parts)
        else None,
        goodput_req_s=None if good is None else _rate(good, duration),
        goodput_share=met / len(measured) if met is not None and measured else None,
        ttft_ms=spread(f.ttft_ms for f in each),
        itl_ms=spread(f.itl_ms for f in each),
        latency_ms=spread(f.latency_ms for f in each),
        gap_ms=_spread_of(np.concatenate([NONE, *(gap for part in parts for gap in part.gaps)]) * 1000),
        second_token_ms=spread(f.second_token_ms for f in each),
        per_user_tok_s=spread(1000 / f.itl_ms if f.itl_ms else None for f in each),
        input_tokens=spread(request.input_tokens for request in done),
        output_tokens=spread(f.tokens for f in each),
        late_ms=spread((request.sent_s - request.due_s) * 1000 for request in measured)
        if any(request.sent_s != request.due_s for request in measured)
        else None,
        power_mean_w=power,
        tok_per_j=output_rate / power if output_rate is not None and power else None,
        client=_worst_client([point.client for point in points]),
        count_sources=tuple(sorted({request.count_source for request in done if request.count_source})),
        **_drafts(done),
        output_held=all(f.tokens == request.wanted_tokens for f, request in zip(each, done, strict=True))
        if fixed_output and done
        else None,
        notes=(*figure_notes(points, measured, done, each, fixed_output=fixed_output), *_too_short(parts, duration)),
        **samples,
    )


def run_figures(run: RunRecord) -> tuple[PointFigures, ...]:
    """All of a run: subjects in their order, of each the levels from low to high, repeats pooled."""
    order = {subject.id: index for index, subject in enumerate(run.head.subjects)}
    groups: dict[tuple[str, float], list[PointRecord]] = {}
    for point in run.points:
        groups.setdefault((point.subject, point.level), []).append(point)
    named = sorted(groups, key=lambda key: (order.get(key[0], len(order)), key[1]))
    load, fixed = run.head.load, run.head.workload.fixed_output
    return tuple(pooled_figures(groups[key], load.limits, fixed_output=fixed) for key in named)


def spread(values: Iterable[float | int | None]) -> Spread | None:
    """Percentiles of what is there; None when nothing is."""
    return _spread_of(np.array([value for value in values if value is not None], dtype=np.float64))


def rates(point: PointRecord) -> RepeatFigures:
    """The rates and medians of one point alone: less work than all its figures."""
    return _Part(point).figures()


def arrivals(point: PointRecord) -> tuple[Floats, Floats, float]:
    """When tokens came in D, how many each response stands for, and when D began."""
    part = _Part(point)
    found = [timed(request) for request in point.requests]
    times = np.concatenate([NONE, *(each.times for each in found)])
    counts = np.concatenate([NONE, *(each.counts for each in found)])
    inside = part.holds(times)
    return times[inside], counts[inside], part.begin_s


def _spread_of(values: Floats) -> Spread | None:
    if not len(values):
        return None
    p50, p90, p95, p99, p999 = (float(value) for value in np.percentile(values, (50, 90, 95, 99, 99.9)))
    return Spread(
        n=len(values),
        mean=float(values.mean()),
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
        p999=p999 if len(values) >= P999_FROM else None,
        low=float(values.min()),
        high=float(values.max()),
    )


class _Part:
    """One point: what fell into its D, and its requests' figures."""

    def __init__(self, point: PointRecord) -> None:
        self.point = point
        begin = point.measured_from_s
        if begin is None:
            begin = min((request.t0_s for request in point.measured), default=0.0)
        self.begin_s = begin
        # Timings are kept in microseconds: the last token of a point that ends with it is not lost to rounding.
        self._low, self._high = begin - 1e-6, begin + max(0.0, point.duration_s) + 1e-6
        self.tokens = 0.0
        self.inputs: int | None = 0
        self.ended = 0
        self.done: list[RequestRecord] = []
        """Measured and completed."""
        self.each: list[RequestFigures] = []
        """Of those."""
        self.gaps: list[Floats] = []
        self.ended_figures: list[RequestFigures] = []
        """Of what completed within D, whenever it began."""
        for request in point.requests:
            self._add(request, timed(request))
        self.samples = [sample for sample in point.samples if self._within(sample.t_s)]

    def _add(self, request: RequestRecord, found: Timed) -> None:
        times = found.times
        figures = figures_of(request, found) if request.completed else None
        if figures is not None and not request.warmup:
            self.done.append(request)
            self.each.append(figures)
            self.gaps.append(np.diff(times))
        if not len(times):
            return
        first, last = float(times[0]), float(times[-1])
        if self._low <= first and last <= self._high:
            self.tokens += found.tokens
        else:
            self.tokens += float(found.counts[self.holds(times)].sum())
        if figures is not None and self._within(last):
            self.ended += 1
            self.ended_figures.append(figures)
        if self._within(first):
            missing = request.input_tokens is None or self.inputs is None
            self.inputs = None if missing else (self.inputs or 0) + (request.input_tokens or 0)

    def holds(self, times: Floats) -> NDArray[np.bool_]:
        """Which of them lie in D."""
        return np.asarray((times >= self._low) & (times <= self._high))

    def _within(self, t_s: float) -> bool:
        return self._low <= t_s <= self._high

    def figures(self) -> RepeatFigures:
        duration = self.point.duration_s
        return RepeatFigures(
            repeat=self.point.repeat,
            duration_s=duration,
            output_tok_s=_rate(self.tokens, duration),
            total_tok_s=None if self.inputs is None else _rate(self.tokens + self.inputs, duration),
            req_s=_rate(self.ended, duration),
            ttft_p50_ms=_median(f.ttft_ms for f in self.each),
            itl_p50_ms=_median(f.itl_ms for f in self.each),
            latency_p50_ms=_median(f.latency_ms for f in self.each),
        )


def _drafts(done: Sequence[RequestRecord]) -> dict[str, Any]:
    """Of the answers that tell of guesses: short ones may have had none."""
    drafted, accepted, passes = (
        [value for request in done if (value := getattr(request, name)) is not None]
        for name in ("draft_tokens", "accepted_tokens", "draft_passes")
    )
    if not accepted:
        return {}
    guesses = sum(drafted) if drafted else None
    return {
        "draft_tokens": guesses,
        "accepted_tokens": sum(accepted),
        "draft_passes": sum(passes) if passes else None,
        "acceptance_rate": acceptance_rate(guesses, sum(accepted)),
        "tokens_a_pass": tokens_a_pass(sum(accepted), sum(passes)),
    }


def _rate(amount: float, duration_s: float) -> float | None:
    return amount / duration_s if duration_s > 0 else None


def _median(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.median(there)) if there else None


def _meets(figures: RequestFigures, limits: Limits) -> bool:
    """A metric that is missing fails its limit."""
    pairs = (
        (limits.ttft_ms, figures.ttft_ms),
        (limits.itl_ms, figures.itl_ms),
        (limits.latency_ms, figures.latency_ms),
    )
    return all(limit is None or (value is not None and value <= limit) for limit, value in pairs)


def _end(points: Sequence[PointRecord]) -> PointEnd:
    ends = {point.end for point in points}
    return "failed" if "failed" in ends else "stopped" if "stopped" in ends else "complete"


def _errors(requests: Iterable[RequestRecord]) -> dict[str, int]:
    words = Counter(
        request.error or ("no answer in time" if request.end == "timeout" else "failed, no reason given")
        for request in requests
        if request.end in ("error", "timeout")
    )
    return dict(words.most_common())


def _worst_client(clients: Sequence[ClientHealth]) -> ClientHealth:
    return max(clients, key=lambda client: (client.bottleneck, client.cpu_share or 0.0, client.loop_lag_p99_ms or 0.0))


def _server_side(samples: Sequence[Sample]) -> dict[str, float | int | None]:
    shares = [_kv_share(sample) for sample in samples]
    return {
        "kv_share_mean": _mean(shares),
        "kv_share_peak": _peak(shares),
        "active_peak": _peak(sample.requests_active for sample in samples),
        "queued_peak": _peak(sample.requests_queued for sample in samples),
        "gpu_memory_peak_bytes": _peak(sample.gpu_memory_bytes for sample in samples),
        "host_memory_peak_bytes": _peak(sample.host_memory_bytes for sample in samples),
        "power_mean_w": _mean(sample.power_w for sample in samples),
        "utilisation_mean_percent": _mean(sample.utilisation_percent for sample in samples),
        "temperature_peak_c": _peak(sample.temperature_c for sample in samples),
        "sm_mean_mhz": _mean(sample.sm_mhz for sample in samples),
        "samples": len(samples),
    }


def _kv_share(sample: Sample) -> float | None:
    if sample.kv_share is not None:
        return sample.kv_share
    if sample.kv_blocks_used is None or not sample.kv_blocks_total:
        return None
    return sample.kv_blocks_used / sample.kv_blocks_total


def _mean(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def _peak(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _too_short(parts: Sequence[_Part], duration_s: float) -> tuple[str, ...]:
    if not any(part.done for part in parts) or any(part.ended for part in parts):
        return ()
    return (f"No answer ended within the {duration_s:g} s that count: requests a second is 0. Measure longer.",)

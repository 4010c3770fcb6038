"""The points of a report, from the figures of a run."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.core.measure.comparison import Comparison, Price
from workbench.core.measure.cost import per_million
from workbench.core.measure.figures import PointFigures, Spread
from workbench.core.measure.pareto import pareto_points
from workbench.core.report.model import Point, RunInfo

_SPREADS = (("ttft", "ttft_ms"), ("itl", "itl_ms"), ("latency", "latency_ms"), ("chunk_gap", "gap_ms"))


def points_of(comparison: Comparison, figures: Sequence[PointFigures], runs: Sequence[RunInfo]) -> tuple[Point, ...]:
    if comparison.run is None:
        return ()
    load, price = comparison.run.head.load, comparison.head.price
    front = {(point.subject, point.level): point.on_front for point in pareto_points(figures)}
    made = []
    for one in figures:
        # Ids of several runs are `r1.s1`: the number is the run's.
        several = one.subject.startswith("r") and "." in one.subject
        run_id = runs[int(one.subject.partition(".")[0][1:]) - 1].id if several else comparison.run.head.id
        made.append(_point(one, load.unit, run_id, price, front.get(one.name)))
    return tuple(made)


def _point(figures: PointFigures, unit: str, run_id: str, price: Price | None, on_front: bool | None) -> Point:
    speeds = [repeat.output_tok_s for repeat in figures.repeats if repeat.output_tok_s is not None]
    several = len(speeds) > 1
    spreads: dict[str, float | int | None] = {}
    for ours, theirs in _SPREADS:
        spreads |= _spread(ours, getattr(figures, theirs))
    second, user = figures.second_token_ms, figures.per_user_tok_s
    return Point(
        variant=figures.subject,
        level=figures.level,
        level_unit=unit,
        run=run_id,
        end=figures.end,
        repeats=len(figures.repeats),
        duration_s=figures.duration_s,
        requests=figures.requests,
        completed=figures.completed,
        failed=figures.failed,
        timed_out=figures.timed_out,
        cancelled=figures.cancelled,
        aborted=figures.aborted,
        request_throughput_req_s=figures.req_s,
        output_throughput_tok_s=figures.output_tok_s,
        output_throughput_low_tok_s=min(speeds) if several else None,
        output_throughput_high_tok_s=max(speeds) if several else None,
        total_throughput_tok_s=figures.total_tok_s,
        output_speed_per_user_p50_tok_s=user.p50 if user else None,
        output_speed_per_user_mean_tok_s=user.mean if user else None,
        goodput_req_s=figures.goodput_req_s,
        goodput_share=figures.goodput_share,
        second_token_p50_ms=second.p50 if second else None,
        second_token_p99_ms=second.p99 if second else None,
        second_token_n=second.n if second else None,
        input_tokens_mean=figures.input_tokens.mean if figures.input_tokens else None,
        output_tokens_mean=figures.output_tokens.mean if figures.output_tokens else None,
        late_p99_ms=figures.late_ms.p99 if figures.late_ms else None,
        kv_share_mean=figures.kv_share_mean,
        kv_share_peak=figures.kv_share_peak,
        requests_active_peak=figures.active_peak,
        requests_queued_peak=figures.queued_peak,
        gpu_memory_peak_bytes=figures.gpu_memory_peak_bytes,
        host_memory_peak_bytes=figures.host_memory_peak_bytes,
        power_mean_w=figures.power_mean_w,
        output_tokens_per_joule=figures.tok_per_j,
        utilisation_mean_percent=figures.utilisation_mean_percent,
        temperature_peak_c=figures.temperature_peak_c,
        sm_mean_mhz=figures.sm_mean_mhz,
        draft_acceptance_share=figures.acceptance_rate,
        tokens_a_pass=figures.tokens_a_pass,
        cost_per_million_output_tokens=per_million(price.per_hour, figures.output_tok_s) if price is not None else None,
        on_pareto_front=on_front,
        count_source=", ".join(figures.count_sources),
        output_held=figures.output_held,
        errors=figures.errors,
        client_bottleneck=figures.client.bottleneck,
        saturated=figures.saturated,
        notes=figures.notes,
        **spreads,
    )


def _spread(name: str, spread: Spread | None) -> dict[str, float | int | None]:
    if spread is None:
        return {}
    found: dict[str, float | int | None] = {
        f"{name}_{part}_ms": getattr(spread, part) for part in ("mean", "p50", "p90", "p95", "p99")
    }
    return {**found, f"{name}_p99_9_ms": spread.p999, f"{name}_n": spread.n}

"""Figures of points whose timings are known by hand."""

from __future__ import annotations

import dataclasses

import pytest

from tests.core.measure.made import one_after_the_other, point, request, run
from workbench.core import metrics
from workbench.core.measure.figures import point_figures, pooled_figures, run_figures
from workbench.core.measure.load import Limits, Load
from workbench.core.measure.record import ClientHealth, RequestRecord, Sample
from workbench.core.metrics import Chunk


def test_the_metrics_formulas_hold() -> None:
    one = request(0, 1.0, 0.2, 0.05, 11, per_chunk=2)
    found = point_figures(point([one], 2.0))
    for spread, value in (
        (found.ttft_ms, metrics.ttft_ms(1.0, one.chunks)),
        (found.itl_ms, metrics.itl_ms(one.chunks)),
        (found.latency_ms, metrics.latency_ms(1.0, one.chunks)),
        (found.second_token_ms, metrics.second_token_ms(one.chunks)),
        (found.per_user_tok_s, metrics.output_tok_s(one.chunks)),
    ):
        assert spread is not None and spread.p50 == pytest.approx(value)
    assert found.gap_ms is not None and found.gap_ms.n == 5 and found.gap_ms.p50 == pytest.approx(100.0)
    assert found.output_tok_s == pytest.approx(11 / 2)
    assert found.total_tok_s == pytest.approx(21 / 2)
    assert found.req_s == pytest.approx(0.5)
    assert found.goodput_req_s is None and found.power_mean_w is None and found.kv_share_peak is None
    assert found.notes == ("One request completed: percentiles are of that one.",)


def test_rates_count_what_fell_into_the_measured_time() -> None:
    """A request that the warm-up left open, one within, and one that is still going when the time is up."""
    requests = [
        request(0, 0.0, 0.5, 0.1, 11, warmup=True),  # tokens at 0.5 to 1.5: six of them from 1.0 on
        request(1, 1.5, 0.1, 0.1, 5),  # 1.6 to 2.0
        request(2, 2.5, 0.3, 0.1, 10),  # 2.8 to 3.7: three until 3.0
    ]
    found = point_figures(point(requests, 2.0, measured_from_s=1.0))
    assert found.output_tok_s == pytest.approx((6 + 5 + 3) / 2)
    assert found.req_s == pytest.approx(2 / 2)  # the first two ended in it
    assert found.total_tok_s == pytest.approx((6 + 5 + 3 + 10 + 10) / 2)  # the last two began to answer in it
    assert found.requests == found.completed == 2
    assert found.ttft_ms is not None and found.ttft_ms.n == 2


def test_a_steady_load_has_its_true_throughput_whatever_the_edges() -> None:
    """64 streams at 20 ms a token without a pause: 3,200 tok/s, also when no request fits into the window."""
    for tokens, length_s in ((50, 3.0), (400, 3.0)):
        requests = [
            request(stream * 1000 + turn, stream * 0.013 + turn * tokens * 0.02, 0.02, 0.02, tokens)
            for stream in range(64)
            for turn in range(max(2, int(6 / (tokens * 0.02))))
        ]
        requests = [dataclasses.replace(one, warmup=one.sent_s < 2.0) for one in requests if one.sent_s < 5.0]
        found = point_figures(point(requests, length_s, level=64.0, measured_from_s=2.0))
        assert found.output_tok_s == pytest.approx(3200, rel=0.01)


def test_failures_are_apart_and_named() -> None:
    requests = [
        request(0, 0.0, 0.1, 0.01, 4),
        RequestRecord(1, 0.2, 0.2, (Chunk(0.4, 2),), "error", 0.5, error="HTTP 503"),
        RequestRecord(2, 0.2, 0.2, (), "error", 0.5, error="HTTP 503"),
        RequestRecord(3, 0.2, 0.2, (), "timeout", 9.0, error="no end within 8 s"),
        RequestRecord(4, 0.2, 0.2, (Chunk(0.3, 1),), "cancelled", 0.4),
        RequestRecord(5, 0.2, 0.2, (), "abort", 0.4),
    ]
    found = point_figures(point(requests, 1.0, end="stopped"))
    assert (found.requests, found.completed, found.failed, found.timed_out) == (6, 1, 3, 1)
    assert (found.cancelled, found.aborted) == (1, 1)
    assert found.errors == {"HTTP 503": 2, "no end within 8 s": 1}
    assert found.req_s == pytest.approx(1.0) and found.ttft_ms is not None and found.ttft_ms.n == 1
    assert found.output_tok_s == pytest.approx(7.0)  # tokens that came are tokens that were made
    assert found.end == "stopped" and any("It was stopped" in note for note in found.notes)
    assert any("3 of 6 requests failed" in note for note in found.notes)


def test_what_was_cut_off_and_what_was_assumed_is_said() -> None:
    """Requests that outlast the drain are the slowest of all: without a word the percentiles would flatter."""
    slow = [RequestRecord(n, 0.2, 0.2, (), "abort", 40.0) for n in range(3)]
    found = point_figures(point([request(9, 0.0, 0.1, 0.01, 4), *slow], 1.0))
    assert found.aborted == 3 and any("3 of 4 requests were not over" in note for note in found.notes)
    stopped = point_figures(point([request(9, 0.0, 0.1, 0.01, 4), *slow], 1.0, end="stopped"))
    assert not any("not over" in note for note in stopped.notes), "that it was stopped is said"
    assumed = point_figures(point([request(0, 0.0, 0.1, 0.01, 4, count_source=None, malformed=2)], 1.0))
    assert any("one token a response is assumed" in note for note in assumed.notes)
    assert any("were passed over: 2." in note for note in assumed.notes)
    empty = point_figures(point([request(0, 0.0, 0.1, 0.01, 4), RequestRecord(1, 0.1, 0.1, (), "stop", 0.2)], 1.0))
    assert empty.notes == ("1 of 2 answers held no token at all.",)
    assert point_figures(point([request(0, 0.0, 0.1, 0.01, 4)], 1.0)).notes == (
        "One request completed: percentiles are of that one.",
    )


@pytest.mark.parametrize("requests", [[], [RequestRecord(0, 0.0, 0.0, (), "error", 1.0, error="down")]])
def test_nothing_completed_leaves_figures_absent(requests: list[RequestRecord]) -> None:
    found = point_figures(point(requests, 1.0), Limits(ttft_ms=100))
    assert found.ttft_ms is None and found.itl_ms is None and found.latency_ms is None and found.per_user_tok_s is None
    assert found.output_tok_s == 0.0 and found.goodput_req_s == 0.0
    assert found.notes[0] == ("No request completed." if requests else "No request was measured.")
    assert point_figures(point(requests, 0.0)).output_tok_s is None


def test_goodput_needs_every_limit_and_a_missing_metric_fails_it() -> None:
    requests = [
        request(0, 0.0, 0.1, 0.01, 10),
        request(1, 0.0, 0.5, 0.01, 10),  # TTFT too long
        request(2, 0.0, 0.1, 0.10, 10),  # ITL too long
        request(3, 0.0, 0.1, 0.01, 1),  # no ITL at all
    ]
    found = point_figures(point(requests, 2.0), Limits(ttft_ms=200, itl_ms=50))
    assert found.goodput_req_s == pytest.approx(0.5) and found.goodput_share == pytest.approx(0.25)


def test_open_loop_counts_from_when_a_request_was_due() -> None:
    late = request(0, 1.0, 0.1, 0.01, 4, due_s=0.6)
    found = point_figures(point([late], 2.0))
    assert found.ttft_ms is not None and found.ttft_ms.p50 == pytest.approx(500.0)
    assert found.late_ms is not None and found.late_ms.high == pytest.approx(400.0)


def test_a_length_that_was_not_held_is_said() -> None:
    requests = [request(0, 0.0, 0.1, 0.01, 8), request(1, 1.0, 0.1, 0.01, 5, wanted_tokens=8, end="stop")]
    held = point_figures(point(requests[:1], 1.0), fixed_output=True)
    short = point_figures(point(requests, 2.0), fixed_output=True)
    assert held.output_held is True and short.output_held is False
    assert any("1 of 2 answers" in note and "5 tokens of 8" in note for note in short.notes)
    assert point_figures(point(requests, 2.0)).output_held is None


def test_tokens_that_only_usage_reports() -> None:
    chunks = (Chunk(0.1, 0), Chunk(0.2, 0), Chunk(0.3, 0))
    one = RequestRecord(0, 0.0, 0.0, chunks, "stop", 0.3, reported_tokens=6, count_source="server usage")
    found = point_figures(point([one], 1.0))
    assert found.ttft_ms is not None and found.ttft_ms.p50 == pytest.approx(100.0)
    assert found.itl_ms is not None and found.itl_ms.p50 == pytest.approx(200 / 5)
    assert found.output_tok_s == pytest.approx(6.0) and found.total_tok_s is None
    none = point_figures(point([dataclasses.replace(one, reported_tokens=None)], 1.0))
    assert none.ttft_ms is None and any("no token count" in note for note in none.notes)


def test_p999_only_of_a_thousand() -> None:
    many = one_after_the_other(1000)
    found, fewer = point_figures(many), point_figures(dataclasses.replace(many, requests=many.requests[:999]))
    assert found.ttft_ms is not None and fewer.ttft_ms is not None
    assert found.ttft_ms.p999 is not None and fewer.ttft_ms.p999 is None
    times = [metrics.ttft_ms(one.t0_s, one.chunks) or 0.0 for one in many.requests]
    assert found.ttft_ms.p99 == pytest.approx(metrics.percentile(times, 99))


def test_repeats_are_pooled_and_kept_apart_as_well() -> None:
    points = [one_after_the_other(10, speed, noise=0, repeat=repeat) for repeat, speed in enumerate((1.0, 2.0))]
    found = pooled_figures(points)
    assert [round(each.output_tok_s or 0, 3) for each in found.repeats] == [64.0, 128.0]
    assert found.duration_s == pytest.approx(3.75)
    assert found.output_tok_s == pytest.approx(320 / 3.75)
    assert found.ttft_ms is not None and found.ttft_ms.n == 20
    with pytest.raises(ValueError, match="one subject at one level"):
        pooled_figures([points[0], dataclasses.replace(points[1], level=8.0)])


def test_the_servers_side_and_the_clients() -> None:
    samples = [
        Sample(t_s=0.5, kv_blocks_used=2, kv_blocks_total=10, power_w=100.0, requests_queued=1),
        Sample(t_s=1.5, kv_share=0.6, power_w=300.0, gpu_memory_bytes=5),
        Sample(t_s=9.0, kv_share=1.0, power_w=900.0),  # after D
    ]
    busy = ClientHealth(
        cpu_share=0.99, bottleneck=True, words="The load generator was the bottleneck: it used 99 % of its core."
    )
    found = point_figures(point([request(0, 0.0, 0.1, 0.1, 10)], 2.0, samples=tuple(samples), client=busy))
    assert found.kv_share_mean == pytest.approx(0.4) and found.kv_share_peak == pytest.approx(0.6)
    assert found.power_mean_w == pytest.approx(200.0) and found.tok_per_j == pytest.approx(5 / 200)
    assert found.queued_peak == 1 and found.active_peak is None and found.gpu_memory_peak_bytes == 5
    assert busy.words in found.notes


def test_a_run_comes_in_the_order_of_subjects_and_levels() -> None:
    points = [one_after_the_other(3, level=level, repeat=repeat) for level in (8.0, 1.0) for repeat in (0, 1)]
    found = run_figures(run(points, load=Load(requests=3, limits=Limits(ttft_ms=1000))))
    assert [each.name for each in found] == [("s1", 1.0), ("s1", 8.0)]
    assert all(len(each.repeats) == 2 and each.goodput_share == 1.0 for each in found)
    assert found[0].output_held is True

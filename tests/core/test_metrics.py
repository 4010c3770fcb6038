"""The formulas of the metrics on timings small enough to do by hand."""

from __future__ import annotations

import pytest

from workbench.core import metrics
from workbench.core.metrics import Chunk

CHUNKS = [Chunk(10.0, 0), Chunk(10.2, 1), Chunk(10.3, 1), Chunk(10.6, 3)]


def test_an_empty_first_response_does_not_count() -> None:
    assert metrics.ttft_ms(10.0, CHUNKS) == pytest.approx(200.0)


def test_itl_is_the_time_after_the_first_token_over_the_tokens_after_it() -> None:
    assert metrics.output_tokens(CHUNKS) == 5
    assert metrics.itl_ms(CHUNKS) == pytest.approx(400.0 / 4)
    assert metrics.output_tok_s(CHUNKS) == pytest.approx(10.0)


def test_latency_ends_with_the_last_token_and_not_with_the_last_message() -> None:
    assert metrics.latency_ms(10.0, [*CHUNKS, Chunk(99.0, 0)]) == pytest.approx(600.0)


def test_gaps_and_second_token() -> None:
    assert metrics.chunk_gaps_ms(CHUNKS) == pytest.approx([100.0, 300.0])
    assert metrics.second_token_ms(CHUNKS) == pytest.approx(100.0)


@pytest.mark.parametrize("chunks", [[], [Chunk(1.0, 0)]])
def test_what_is_not_defined_is_none(chunks: list[Chunk]) -> None:
    assert metrics.ttft_ms(0.0, chunks) is None
    assert metrics.latency_ms(0.0, chunks) is None
    assert metrics.itl_ms(chunks) is None
    assert metrics.output_tok_s(chunks) is None
    assert metrics.second_token_ms(chunks) is None
    assert metrics.chunk_gaps_ms(chunks) == []


def test_one_token_or_one_response_has_no_itl() -> None:
    assert metrics.itl_ms([Chunk(1.0, 1)]) is None
    assert metrics.itl_ms([Chunk(1.0, 8)]) is None


def test_throughput_needs_time() -> None:
    assert metrics.throughput_tok_s(100, 4.0) == 25.0
    assert metrics.throughput_tok_s(100, 0.0) is None
    assert metrics.request_throughput(8, 2.0) == 4.0
    assert metrics.request_throughput(8, 0.0) is None


def test_a_missing_metric_fails_its_limit_and_no_other() -> None:
    one_token = [Chunk(1.0, 1)]
    assert metrics.meets_limits(0.9, one_token, ttft_limit_ms=150)
    assert not metrics.meets_limits(0.9, one_token, ttft_limit_ms=50)
    assert not metrics.meets_limits(0.9, one_token, ttft_limit_ms=150, itl_limit_ms=1000)
    assert metrics.meets_limits(10.0, CHUNKS, ttft_limit_ms=201, itl_limit_ms=101, latency_limit_ms=601)


def test_percentiles_interpolate_linearly() -> None:
    values = [4.0, 1.0, 3.0, 2.0]
    assert metrics.percentile(values, 0) == 1.0
    assert metrics.percentile(values, 50) == pytest.approx(2.5)
    assert metrics.percentile(values, 90) == pytest.approx(3.7)
    assert metrics.percentile(values, 100) == 4.0
    assert metrics.median([5.0]) == 5.0
    assert metrics.percentile([], 50) is None
    assert metrics.mean([]) is None
    assert metrics.mean([1.0, 2.0]) == 1.5
    with pytest.raises(ValueError, match="101"):
        metrics.percentile(values, 101)

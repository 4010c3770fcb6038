"""Where a sweep ends: more load brings nothing, and nothing else is taken for that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bench.made import measure_http
from tests.fakes.openai_server import Behaviour, serving
from workbench.bench.sweep import saturated
from workbench.core.measure.figures import point_figures
from workbench.core.measure.load import Load
from workbench.core.measure.record import PointRecord, RequestRecord
from workbench.core.metrics import Chunk


@pytest.mark.slow
def test_open_loop_above_what_a_server_can_do_is_saturated_and_below_is_not() -> None:
    # Room for 4 answers of about 50 ms each: 80 a second.
    with serving(Behaviour(ttft_s=0.02, itl_s=0.01), most_active=4) as server:
        load = Load(arrival="constant", duration_s=0.6, levels=(30.0,))
        calm, _ = measure_http(server.url, load, 4)
        busy, _ = measure_http(server.url, load.model_copy(update={"levels": (300.0,)}), 4)
    assert saturated(load, (), [calm]) == ""
    assert "requests were completed in the measured time" in saturated(load, [calm], [busy])


def made(level: float, ttft_s: float, gap_s: float, count: int = 20) -> PointRecord:
    """A point of one request after the other."""
    chunks = lambda at_s: (Chunk(at_s + ttft_s, 1), Chunk(at_s + ttft_s + gap_s, 1))  # noqa: E731
    requests = tuple(
        RequestRecord(n, n * 0.1, n * 0.1, chunks(n * 0.1), "length", n * 0.1 + ttft_s + gap_s) for n in range(count)
    )
    return PointRecord("s", level, 0, 0.0, count * 0.1, "complete", requests)


@pytest.mark.parametrize(
    ("before", "now", "ends"),
    [
        (made(1, 0.010, 0.01), made(2, 0.021, 0.01), True),
        (made(1, 0.010, 0.01), made(2, 0.019, 0.01), False),
        (made(1, 0.010, 0.01, 19), made(2, 0.021, 0.01, 20), True),
    ],
    ids=["TTFT doubled and no more throughput", "TTFT not doubled", "the same a second however many there are"],
)
def test_both_signs_are_needed_in_closed_loop(before: PointRecord, now: PointRecord, ends: bool) -> None:
    assert bool(saturated(Load(requests=20, levels=(1.0, 2.0)), [before], [now])) is ends


def test_more_throughput_is_no_saturation_whatever_ttft_does() -> None:
    before, now = made(1, 0.01, 0.01), made(2, 0.09, 0.001)
    twice = tuple(RequestRecord(r.number, r.due_s, r.sent_s, r.chunks * 2, "length", r.ended_s) for r in now.requests)
    assert saturated(Load(requests=1, levels=(1.0, 2.0)), [before], [made(2, 0.09, 0.001)]) != ""
    more = PointRecord("s", 2, 0, 0.0, now.duration_s, "complete", twice)
    assert saturated(Load(requests=1, levels=(1.0, 2.0)), [before], [more]) == ""


def test_only_tokens_of_the_measured_time_count_and_those_of_all_requests() -> None:
    requests = (
        RequestRecord(0, 0.0, 0.0, (Chunk(0.5, 1), Chunk(1.5, 2)), "length", 1.5, warmup=True),
        RequestRecord(1, 1.0, 1.0, (Chunk(1.9, 4), Chunk(2.1, 8)), "length", 2.1),
    )
    point = PointRecord("s", 1, 0, 0.0, 1.0, "complete", requests, measured_from_s=1.0)
    assert point_figures(point).output_tok_s == 6


def test_a_level_that_was_stopped_or_whose_target_failed_did_not_saturate() -> None:
    """Few answers came in time, and that is nobody's limit."""
    load = Load(arrival="constant", duration_s=2.0, levels=(10.0, 20.0))
    whole = made(10, 0.01, 0.01)
    cut = tuple(replace(request, end="abort") for request in whole.requests[5:])
    point = replace(whole, requests=(*whole.requests[:5], *cut))
    assert saturated(load, (), [point]) != ""
    for end in ("stopped", "failed"):
        assert saturated(load, (), [replace(point, end=end)]) == ""  # type: ignore[arg-type]

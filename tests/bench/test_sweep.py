"""Sweeps: all levels with their repeats, and an end where more load brings nothing."""

from __future__ import annotations

import threading

import pytest

from tests.bench.made import Clockwork, asks, measure_http
from tests.fakes.openai_server import Behaviour, serving
from workbench.bench.http_target import HttpTarget
from workbench.bench.loop import run_blocking
from workbench.bench.sweep import run_sweep, saturated, tokens_within
from workbench.core.endpoint import dialect_of
from workbench.core.measure.load import Load
from workbench.core.measure.record import PointRecord, RequestRecord
from workbench.core.metrics import Chunk


def sweep(target: Clockwork, load: Load, **options: object) -> list[PointRecord]:
    return run_blocking(lambda: run_sweep(target, load, asks(), **options))  # type: ignore[arg-type]


def test_every_level_and_repeat_in_order() -> None:
    told: list[PointRecord] = []
    points = sweep(Clockwork(), Load(requests=4, levels=(1.0, 2.0), repeats=2), on_point=told.append, subject="s1")
    assert [(p.level, p.repeat, p.order) for p in points] == [(1.0, 0, 0), (1.0, 1, 1), (2.0, 0, 2), (2.0, 1, 3)]
    assert told == points and {point.subject for point in points} == {"s1"}
    assert not any(point.saturated for point in points)


@pytest.mark.slow
def test_a_server_with_room_for_two_ends_the_sweep_where_it_is_full() -> None:
    load = Load(requests=12, levels=(1.0, 2.0, 4.0, 8.0))

    async def work(url: str, of: Load) -> list[PointRecord]:
        target = HttpTarget(url, "mock", dialect=dialect_of("vllm"))
        try:
            return await run_sweep(target, of, asks(4))
        finally:
            await target.close()

    with serving(Behaviour(ttft_s=0.03, itl_s=0.02), most_active=2) as server:
        points = run_blocking(lambda: work(server.url, load))
        assert [point.level for point in points] == [1.0, 2.0, 4.0]
        assert "tok/s at 2, and TTFT grew from" in points[-1].saturated
        on = run_blocking(lambda: work(server.url, load.model_copy(update={"stop_saturated": False, "requests": 4})))
    assert [point.level for point in on] == list(load.levels)


@pytest.mark.slow
def test_open_loop_above_what_a_server_can_do_is_saturated_and_below_is_not() -> None:
    # Room for 4 answers of about 50 ms each: 80 a second.
    with serving(Behaviour(ttft_s=0.02, itl_s=0.01), most_active=4) as server:
        load = Load(arrival="constant", duration_s=0.6, levels=(30.0,))
        calm, _ = measure_http(server.url, load, 4)
        busy, _ = measure_http(server.url, load.model_copy(update={"levels": (300.0,)}), 4)
    assert saturated(load, (), [calm]) == ""
    assert "requests were completed in the measured time" in saturated(load, [calm], [busy])


def test_a_stop_ends_the_sweep_with_what_there_is() -> None:
    stop = threading.Event()
    told = lambda point: stop.set() if point.level == 2.0 else None  # noqa: E731
    points = sweep(Clockwork(), Load(requests=4, levels=(1.0, 2.0, 4.0)), stop=stop, on_point=told)
    assert [(point.level, point.end) for point in points] == [(1.0, "complete"), (2.0, "complete")]


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
    quick = PointRecord("s", 2, 0, 0.0, 1.0, "complete", now.requests[:20])
    assert tokens_within(quick) / quick.duration_s < tokens_within(before) / before.duration_s * 1.03
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
    assert tokens_within(point) == 6

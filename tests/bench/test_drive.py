"""Closed and open loop: who is sent when, what counts, and how a point ends."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import pytest

from tests.bench.made import Clockwork, asks, measure
from workbench.bench.arrivals import due_times
from workbench.bench.drive import run_point
from workbench.bench.loop import run_blocking
from workbench.bench.progress import Progress
from workbench.bench.target import Ask, Ended
from workbench.core import metrics
from workbench.core.errors import BadInputError, Failure
from workbench.core.measure.figures import point_figures
from workbench.core.measure.load import Load
from workbench.core.measure.record import Sample


def test_closed_loop_keeps_so_many_open_and_sends_as_many_as_asked_for() -> None:
    target = Clockwork()
    point = measure(target, Load(requests=30), 4)
    assert (point.end, len(point.requests), target.most_open) == ("complete", 30, 4)
    assert [request.number for request in point.requests] == list(range(30))
    assert all(request.end == "length" and metrics.output_tokens(request.chunks) == 4 for request in point.requests)
    assert all(request.due_s == request.sent_s <= request.chunks[0].t_s for request in point.requests)
    assert all(request.count_source == "engine ids" and request.input_tokens == 3 for request in point.requests)
    ends = max(request.ended_s for request in point.requests)
    assert point.measured_from_s is not None
    assert point.duration_s == pytest.approx(ends - point.measured_from_s)


def test_closed_loop_by_duration_measures_exactly_that_long_and_lets_answers_end() -> None:
    point = measure(Clockwork(ttft_s=0.03), Load(duration_s=0.2), 2)
    assert point.duration_s == 0.2
    assert point.end == "complete"
    assert {request.end for request in point.requests} == {"length"}
    assert max(request.ended_s for request in point.requests) > 0.2 > max(request.sent_s for request in point.requests)


def test_a_warm_up_by_requests_ends_before_the_measured_time_begins() -> None:
    point = measure(Clockwork(), Load(requests=8, warmup_requests=5), 2)
    assert [request.warmup for request in point.requests] == [True] * 5 + [False] * 8
    assert len(point.measured) == 8
    assert point.measured_from_s is not None
    assert max(r.ended_s for r in point.requests if r.warmup) <= point.measured_from_s
    assert min(r.sent_s for r in point.measured) >= point.measured_from_s


def test_a_warm_up_by_time_rolls_into_the_measured_time() -> None:
    point = measure(Clockwork(), Load(duration_s=0.15, warmup_s=0.1), 2)
    assert point.measured_from_s is not None and point.measured_from_s >= 0.1
    assert point.measured and min(request.sent_s for request in point.measured) >= point.measured_from_s
    # One worker's last request may be on its way while the other begins: it stays a warm-up.
    late = [request for request in point.requests if request.warmup and request.sent_s >= point.measured_from_s]
    assert len(late) < 2 and any(request.warmup for request in point.requests)


def test_both_a_count_and_a_duration_end_with_whichever_comes_first() -> None:
    assert len(measure(Clockwork(), Load(requests=3, duration_s=30.0)).requests) == 3
    point = measure(Clockwork(), Load(requests=100_000, duration_s=0.1))
    assert point.duration_s == 0.1 and len(point.requests) < 100


def test_constant_rate_is_kept() -> None:
    point = measure(Clockwork(), Load(arrival="constant", requests=40), 200.0)
    assert [request.due_s for request in point.requests] == pytest.approx([n / 200 for n in range(40)], abs=1e-6)
    assert all(request.sent_s >= request.due_s for request in point.requests)


def test_open_loop_never_waits_and_a_stall_of_the_target_shows_in_full() -> None:
    """Coordinated omission: a target that answers nothing for 0.3 s delays all that were due meanwhile."""
    target = Clockwork(ttft_s=0.001, itl_s=0.0, stall=(0.1, 0.4))
    point = measure(target, Load(arrival="constant", duration_s=0.5), 100.0, tokens=1)
    assert len(point.requests) == 50
    stalled = [r for r in point.requests if 0.11 < r.due_s < 0.38]
    assert len(stalled) >= 25, "requests went on being sent"
    for request in stalled:
        took = metrics.ttft_ms(request.t0_s, request.chunks)
        assert took is not None and took >= (0.4 - request.due_s) * 1000 - 15


@pytest.mark.slow
def test_a_stall_of_two_seconds_is_in_the_percentiles() -> None:
    """100 a second for 2.5 s, nothing answered from 0.1 to 2.1 s: 200 of 250 wait, evenly from 2 s down. A closed
    loop would see one slow request.
    """
    target = Clockwork(ttft_s=0.001, itl_s=0.0, stall=(0.1, 2.1))
    found = point_figures(measure(target, Load(arrival="constant", duration_s=2.5), 100.0, tokens=1))
    assert found.completed == 250 and found.ttft_ms is not None
    assert found.ttft_ms.p50 == pytest.approx(750, abs=60)
    assert found.ttft_ms.p90 == pytest.approx(1750, abs=60)
    assert found.ttft_ms.p99 == pytest.approx(1975, abs=60)


def test_a_request_that_is_sent_late_counts_from_when_it_was_due() -> None:
    def block(progress: Progress) -> None:
        time.sleep(0.2)

    point = measure(Clockwork(ttft_s=0.0, itl_s=0.0), Load(arrival="constant", requests=60), 100.0, on_progress=block)
    late = [request for request in point.requests if request.sent_s - request.due_s > 0.05]
    assert late, "the loop was held up"
    for request in late:
        taken = metrics.ttft_ms(request.t0_s, request.chunks)
        assert taken is not None and taken > 50
    assert point.client.bottleneck
    assert "late" in point.client.words


def test_poisson_arrivals_are_seeded_and_of_the_right_rate() -> None:
    load = Load(arrival="poisson", requests=1, seed=7)

    def first(level: float, repeat: int, of: Load = load) -> list[float]:
        times = due_times(of, level, repeat, asks())
        return [next(times) for _ in range(4000)]

    assert first(50.0, 0) == first(50.0, 0)
    assert first(50.0, 0) != first(50.0, 1)
    assert first(50.0, 0) != first(50.0, 0, load.model_copy(update={"seed": 8}))
    gaps = [after - before for before, after in pairwise(first(50.0, 0))]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(1 / 50, rel=0.06)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert deviation == pytest.approx(mean, rel=0.1), "exponential gaps spread as much as they are long"


def test_open_loop_by_duration_lasts_that_long_however_quick_the_answers() -> None:
    begin = time.monotonic()
    point = measure(Clockwork(ttft_s=0.0, itl_s=0.0), Load(arrival="constant", duration_s=0.3), 10.0)
    assert (point.duration_s, len(point.requests)) == (0.3, 3)
    assert time.monotonic() - begin >= 0.3


def test_open_loop_leaves_out_its_warm_up() -> None:
    load = Load(arrival="constant", duration_s=0.2, warmup_s=0.1, warmup_requests=5)
    point = measure(Clockwork(), load, 100.0)
    assert sum(request.warmup for request in point.requests) == 10
    assert point.measured_from_s == pytest.approx(0.1, abs=1e-6)
    assert len(point.measured) == 20


def trace(number: int) -> Ask:
    return Ask(number, 2, text="x", at_s=[5.0, 5.05, 5.05, 5.3][number])


def test_a_trace_is_replayed_at_its_times_divided_by_the_level() -> None:
    load = Load(arrival="trace")
    point = run_blocking(lambda: run_point(Clockwork(), load, 2.0, 0, trace))
    assert [r.due_s for r in point.requests] == pytest.approx([0.0, 0.025, 0.025, 0.15], abs=1e-6)
    assert point.end == "complete"


def test_a_trace_that_goes_back_in_time_is_refused_in_words() -> None:
    def back(number: int) -> Ask:
        return Ask(number, 1, text="x", at_s=[1.0, 0.5][number])

    with pytest.raises(BadInputError, match="never go back"):
        run_blocking(lambda: run_point(Clockwork(), Load(arrival="trace"), 1.0, 0, back))


def test_a_stop_keeps_what_came_and_marks_it() -> None:
    stop = threading.Event()
    target = Clockwork(itl_s=0.01)
    threading.Timer(0.15, stop.set).start()
    begin = time.monotonic()
    point = measure(target, Load(duration_s=60.0), 2, tokens=1000, stop=stop)
    assert time.monotonic() - begin < 2
    assert point.end == "stopped"
    assert [request.end for request in point.requests] == ["abort", "abort"]
    assert all(len(request.chunks) > 3 for request in point.requests)
    assert 0.1 < point.duration_s < 1.5
    assert target.cancelled == 2


def test_a_stop_in_open_loop_sends_no_more() -> None:
    stop = threading.Event()
    threading.Timer(0.12, stop.set).start()
    point = measure(Clockwork(), Load(arrival="constant", duration_s=60.0), 50.0, stop=stop)
    assert point.end == "stopped" and 3 <= len(point.requests) < 40


def test_a_stop_beforehand_sends_nothing() -> None:
    stop = threading.Event()
    stop.set()
    for load in (Load(requests=3), Load(arrival="constant", requests=3)):
        point = measure(Clockwork(), load, stop=stop)
        assert (point.end, point.requests, point.duration_s) == ("stopped", (), 0.0)


def test_a_request_that_takes_too_long_is_given_up_and_the_next_one_goes() -> None:
    target = Clockwork(ttft_s=0.0, itl_s=0.05)
    point = measure(target, Load(requests=3, timeout_s=0.08), tokens=50)
    assert [request.end for request in point.requests] == ["timeout"] * 3
    assert {request.error for request in point.requests} == {"no end within 0.08 s"}
    assert (target.cancelled, point.end) == (3, "complete")
    assert all(request.chunks and not request.completed for request in point.requests)


def test_answers_that_outlast_the_drain_are_cut_off() -> None:
    point = measure(Clockwork(itl_s=0.02), Load(duration_s=0.1, drain_s=0.05), 2, tokens=1000)
    assert [request.end for request in point.requests] == ["abort", "abort"]
    assert (point.end, point.duration_s) == ("complete", 0.1)


def test_a_share_of_requests_is_cancelled_half_way_and_the_same_ones_each_time() -> None:
    load = Load(requests=60, cancel_share=0.3)
    first, second = measure(Clockwork(0.001, 0.001), load, 8, 10), measure(Clockwork(0.001, 0.001), load, 8, 10)
    cut = {request.number for request in first.requests if request.end == "cancelled"}
    assert 8 <= len(cut) <= 30
    assert cut == {request.number for request in second.requests if request.end == "cancelled"}
    assert all(len(request.chunks) == 5 for request in first.requests if request.number in cut)
    assert all(request.end == "length" for request in first.requests if request.number not in cut)


def test_a_failed_request_is_kept_with_its_words_beside_the_others() -> None:
    target = Clockwork(ended=lambda n: Ended("error", error="507: no room") if n % 3 == 0 else None)
    point = measure(target, Load(requests=9), 2)
    assert point.end == "complete"
    assert [request.error for request in point.requests if request.end == "error"] == ["507: no room"] * 3


def test_a_target_that_raises_is_a_failed_request_and_not_the_end() -> None:
    class Broken(Clockwork):
        async def send(self, ask: Ask, heard: object) -> Ended:
            raise RuntimeError("a fault of ours")

    point = measure(Broken(), Load(requests=2))
    assert [request.error for request in point.requests] == ["RuntimeError: a fault of ours"] * 2


def test_a_target_that_fails_everything_ends_the_point_instead_of_spinning() -> None:
    target = Clockwork(ended=lambda n: Ended("error", error="500: the server failed"))
    point = measure(target, Load(arrival="constant", duration_s=60.0), 500.0)
    assert point.end == "failed"
    assert point.failure is not None and "500: the server failed" in point.failure.evidence
    assert len(target.sent) <= 110


@pytest.mark.slow
def test_closed_loop_holds_back_between_failures() -> None:
    target = Clockwork(ended=lambda n: Ended("error", error="500: the server failed"))
    begin = time.monotonic()
    point = measure(target, Load(duration_s=60.0), 1)
    assert point.failure is not None and point.failure.code == "all-failed"
    assert (len(target.sent) <= 25) and time.monotonic() - begin > 1


def test_a_target_that_is_gone_ends_the_point_at_once() -> None:
    gone = Failure(code="killed", what="The engine host was killed.")
    target = Clockwork(ended=lambda n: Ended("error", error="gone", fatal=gone) if n == 2 else None)
    point = measure(target, Load(requests=1000), 1)
    assert (point.end, point.failure, len(point.requests)) == ("failed", gone, 3)


def test_requests_that_were_launched_and_had_not_begun_end_with_the_point() -> None:
    gone = Failure(code="killed", what="The engine host was killed.")
    target = Clockwork(ended=lambda n: Ended("error", error="gone", fatal=gone))
    point = measure(target, Load(arrival="constant", requests=50), 1e6)
    assert point.end == "failed"
    assert len(point.requests) > len(target.sent) == 1
    assert [request.end for request in point.requests] == ["error"] + ["abort"] * (len(point.requests) - 1)


def test_progress_is_told_at_most_five_times_a_second_and_says_how_it_goes() -> None:
    seen: list[Progress] = []
    measure(Clockwork(), Load(duration_s=0.65), 4, on_progress=seen.append)
    assert 1 <= len(seen) <= 4
    last = seen[-1]
    assert last.done > 10 and last.errors == 0 and last.tokens >= last.done * 4
    assert last.ttft_p50_ms is not None and 9 < last.ttft_p50_ms < 60
    assert last.itl_p50_ms is not None and last.ttft_p99_ms is not None and last.ttft_p99_ms >= last.ttft_p50_ms
    assert last.share is not None and 0.3 < last.share <= 1
    assert seen[-1].tok_s is not None and seen[-1].tok_s > 100


def test_what_the_callback_raises_is_not_lost() -> None:
    def fail(progress: Progress) -> None:
        raise KeyError("a fault in the callback")

    with pytest.raises(KeyError, match="a fault in the callback"):
        measure(Clockwork(), Load(duration_s=0.4), on_progress=fail)


def test_the_servers_side_is_sampled_along_and_a_sampler_that_fails_is_passed_over() -> None:
    asked = []

    def sampler() -> Sample:
        asked.append(threading.current_thread())
        if len(asked) == 2:
            raise OSError("no connection")
        return Sample(t_s=0.0, kv_share=0.25)

    point = measure(Clockwork(), Load(duration_s=0.05), sampler=sampler)
    assert [sample.kv_share for sample in point.samples] == [0.25]
    assert asked[0] is not threading.current_thread()
    assert 0 <= point.samples[0].t_s < 0.05

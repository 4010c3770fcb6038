"""What engines report: speeds over the last second, means, and reports that stop, jump or cannot be."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workbench.core.messages import Ready, Stats
from workbench.telemetry.engine import EngineTrack

LOADED = 1000.0


def track(total: int | None = 100) -> EngineTrack:
    return EngineTrack("e1", "demo", "openvino", 4242, Ready(kv_blocks_total=total), LOADED)


def stats(generated: int | None = None, context: int | None = None, active: int | None = 1, **more: object) -> Stats:
    return Stats(generated_tokens=generated, context_tokens=context, requests_active=active, requests_queued=0, **more)


def test_a_steady_engine_has_its_speed() -> None:
    engine = track()
    for i in range(1, 51):
        engine.take(stats(generated=i * 3, context=200), LOADED + i * 0.1)
    assert engine.series.newest("generation_tok_s") == pytest.approx(30.0)
    assert engine.series.newest("prefill_tok_s") == pytest.approx(0.0)
    assert engine.generation_mean.busy_tok_s == pytest.approx(30.0, rel=0.05)
    assert engine.generation_mean.all_tok_s == pytest.approx(30.0, rel=0.05)


def test_a_slow_stream_of_stats_gives_the_mean_between_two() -> None:
    engine = track()
    for i in range(1, 6):
        engine.take(stats(generated=i * 40), LOADED + i * 4.0)
    assert engine.series.newest("generation_tok_s") == pytest.approx(10.0)


def test_after_a_pause_speed_counts_from_the_new_work() -> None:
    engine = track()
    engine.take(stats(generated=100), LOADED + 1)
    engine.take(stats(generated=110, active=0), LOADED + 2)
    engine.take(stats(generated=130, active=1), LOADED + 602)
    assert engine.series.newest("generation_tok_s") == pytest.approx(20.0)


def test_the_mean_says_which_time_it_is_over() -> None:
    engine = track()
    engine.take(stats(generated=0, active=1), LOADED + 10.0)
    engine.take(stats(generated=50, active=1), LOADED + 11.0)
    engine.take(stats(generated=100, active=0), LOADED + 12.0)
    engine.take(stats(generated=100, active=0), LOADED + 100.0)
    mean = engine.generation_mean
    assert mean.busy_tok_s == pytest.approx(100 / 2.1)
    assert mean.all_tok_s == pytest.approx(1.0)
    assert engine.mean("generation", LOADED + 200.0).all_tok_s == pytest.approx(0.5)
    nothing = track().prefill_mean
    assert nothing.busy_tok_s is None and nothing.all_tok_s is None


def test_an_idle_engine_falls_to_zero_and_stands() -> None:
    engine = track()
    for i in range(1, 21):
        engine.take(stats(generated=i * 5, kv_blocks_used=7), LOADED + i * 0.1)
    engine.take(stats(generated=100, active=0, kv_blocks_used=0), LOADED + 2.1)
    assert (engine.series.newest("generation_tok_s") or 0) > 0
    engine.tick(LOADED + 2.5)
    assert (engine.series.newest("generation_tok_s") or 0) > 0, "not before a second is over"
    engine.tick(LOADED + 3.2)
    engine.tick(LOADED + 4.2)
    assert engine.series.newest("generation_tok_s") == 0.0
    assert engine.series.at("kv_blocks_used", LOADED + 500) == 0.0, "idle engines say nothing more"
    assert engine.series.newest_at == LOADED + 3.2


def test_stats_that_stop_while_requests_are_open_become_a_gap() -> None:
    engine = track()
    for i in range(1, 11):
        engine.take(stats(generated=i, kv_blocks_used=5), LOADED + i * 0.1)
    assert engine.busy
    assert engine.silent_s(LOADED + 31.0) == pytest.approx(30.0)
    assert engine.series.at("kv_blocks_used", LOADED + 1.9) == 5.0
    assert engine.series.at("kv_blocks_used", LOADED + 4.0) is None
    engine.take(stats(generated=20, kv_blocks_used=6), LOADED + 30.0)
    view = engine.series.view("kv_blocks_used", LOADED, LOADED + 30.0)
    middle = (view.t > LOADED + 4) & (view.t < LOADED + 29)
    assert np.isnan(view.low[middle]).all()


def test_a_long_iteration_is_no_gap() -> None:
    engine = track()
    engine.take(stats(generated=1, kv_blocks_used=5, iteration_ms=4000.0), LOADED + 1)
    assert engine.series.at("kv_blocks_used", LOADED + 8.0) == 5.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kv_blocks_used", -1),
        ("kv_blocks_free", -5),
        ("kv_blocks_reused", -5),
        ("requests_active", -2),
        ("requests_queued", -2),
        ("iteration_ms", -0.5),
        ("iteration_ms", math.inf),
        ("iteration_ms", math.nan),
        ("kv_blocks_used", 101),
        ("kv_blocks_free", 5000),
    ],
)
def test_what_cannot_be_is_left_out_and_noted(name: str, value: float) -> None:
    engine = track(100)
    engine.take(Stats.model_construct(**{**Stats(generated_tokens=1).model_dump(), name: value}), LOADED + 1)
    assert engine.series.newest(name) is None
    assert len(engine.notes) == 1 and name in engine.notes[0]
    engine.take(stats(generated=2, kv_blocks_used=4, kv_blocks_free=96), LOADED + 1.1)
    assert engine.series.newest("kv_blocks_used") == 4.0, "the next one counts"


@pytest.mark.parametrize("wrong", [-1, 3, 10**9, 2**62])
def test_a_counter_that_goes_back_or_jumps_is_not_drawn(wrong: int) -> None:
    engine = track()
    for i in range(1, 21):
        engine.take(stats(generated=i * 5), LOADED + i * 0.1)
    engine.take(stats(generated=wrong), LOADED + 2.1)
    assert engine.series.newest("generation_tok_s") is None
    assert len(engine.notes) == 1 and "generation counter" in engine.notes[0]
    base = max(wrong, 100)
    if wrong in (3, 10**9, 2**62):
        base = wrong
    rates = []
    for i in range(1, 31):
        engine.take(stats(generated=base + i * 5), LOADED + 2.1 + i * 0.1)
        rates.append(engine.series.newest("generation_tok_s"))
    assert rates[-1] == pytest.approx(50.0)
    assert all(rate is None or rate < 60 for rate in rates)
    mean = engine.generation_mean
    assert mean.busy_tok_s is not None and mean.busy_tok_s < 60, "a jump is not work"


def test_what_is_not_reported_is_none_and_never_zero() -> None:
    engine = track(None)
    engine.take(Stats(requests_active=1), LOADED + 1)
    for name in engine.series.names:
        assert engine.series.newest(name) == (1.0 if name == "requests_active" else None)
    assert engine.kv_used_share is None
    assert engine.generation_mean.all_tok_s is None


def test_the_pool_is_as_large_as_the_host_said_when_it_was_ready() -> None:
    engine = track(200)
    engine.take(Stats(kv_blocks_used=50), LOADED + 1)
    assert engine.series.newest("kv_blocks_total") == 200.0
    assert engine.kv_used_share == pytest.approx(0.25)


def test_time_that_goes_back_is_passed_over() -> None:
    engine = track()
    engine.take(stats(generated=10), LOADED + 2)
    engine.take(stats(generated=20), LOADED + 2)
    engine.take(stats(generated=30), LOADED + 1)
    assert engine.newest_at == LOADED + 2
    assert engine.newest is not None and engine.newest.generated_tokens == 10


def test_a_detached_engine_is_a_gap_and_takes_nothing() -> None:
    engine = track()
    engine.take(stats(generated=10, kv_blocks_used=5), LOADED + 1)
    engine.detach(LOADED + 1.5)
    engine.take(stats(generated=20), LOADED + 2)
    engine.tick(LOADED + 9)
    assert not engine.busy
    assert engine.newest_at == LOADED + 1
    assert engine.series.at("kv_blocks_used", LOADED + 1.4) == 5.0
    assert engine.series.at("kv_blocks_used", LOADED + 1.6) is None


def test_memory_of_before_stays_where_a_report_brings_none() -> None:
    engine = track()
    engine.take(Stats(memory_bytes={"kv_pool": 10, "process": -3}), LOADED + 1)
    assert engine.memory_bytes == {"kv_pool": 10}
    engine.take(Stats(), LOADED + 2)
    assert engine.memory_bytes == {"kv_pool": 10}


def test_an_idle_engine_that_says_nothing_more_is_no_gap() -> None:
    engine = track()
    engine.take(stats(kv_blocks_used=3, active=0), LOADED + 1)
    assert engine.series.at("kv_blocks_used", LOADED + 3000.0) == 3.0
    assert engine.silent_s(LOADED + 3000.0) == 0.0


def test_an_engine_that_was_only_loaded_has_a_speed_of_zero() -> None:
    engine = track()
    engine.take(stats(generated=0, context=0, active=0), LOADED + 0.05)
    assert engine.series.newest("generation_tok_s") == 0.0 and engine.series.newest("prefill_tok_s") == 0.0
    silent = track()
    silent.take(stats(active=0), LOADED + 0.05)
    assert silent.series.newest("generation_tok_s") is None, "no counter, no speed"


def test_a_count_of_reused_blocks_is_no_part_of_the_pool() -> None:
    engine = track(total=100)
    engine.take(stats(active=1, kv_blocks_used=7, kv_blocks_reused_since_load=5000), LOADED + 1.0)
    assert engine.series.newest("kv_blocks_reused_since_load") == 5000 and engine.series.newest("kv_blocks_used") == 7
    assert engine.series.newest("kv_blocks_reused") is None

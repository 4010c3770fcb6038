"""Speculative decoding over time: shares of the last seconds, from counters since the engine was loaded."""

from __future__ import annotations

import pytest

from workbench.core.messages import Ready, Stats
from workbench.telemetry.engine import EngineTrack


def track() -> EngineTrack:
    return EngineTrack("e1", "demo", "openvino", 1, Ready(), 100.0)


def stats(drafted: int | None, accepted: int | None, passes: int | None) -> Stats:
    return Stats(requests_active=1, draft_tokens=drafted, accepted_tokens=accepted, draft_passes=passes)


def test_nothing_is_reported_by_an_engine_without_guesses() -> None:
    engine = track()
    engine.take(stats(None, None, None), 101.0)
    assert not engine.drafts and "acceptance" not in engine.series.names


def test_the_share_is_of_the_last_seconds_and_not_since_it_was_loaded() -> None:
    engine = track()
    engine.take(stats(100, 90, 20), 101.0)
    assert engine.drafts and engine.series.newest("acceptance") == pytest.approx(0.9)
    for second in range(1, 11):
        engine.take(stats(100 + 10 * second, 90 + 2 * second, 20 + 2 * second), 101.0 + second)
    assert engine.series.newest("acceptance") == pytest.approx(0.2)
    assert engine.series.newest("tokens_a_pass") == pytest.approx(2.0)


def test_without_guesses_in_that_time_there_is_no_share() -> None:
    engine = track()
    engine.take(stats(100, 50, 20), 101.0)
    engine.take(stats(100, 50, 20), 107.0)
    engine.take(stats(100, 50, 20), 113.0)
    assert engine.series.newest("acceptance") is None


def test_a_lookup_has_a_length_and_no_share() -> None:
    engine = track()
    engine.take(stats(None, 30, 10), 101.0)
    assert engine.series.newest("tokens_a_pass") == pytest.approx(4.0)
    assert "acceptance" not in engine.series.names


def test_counters_that_begin_again_are_counted_anew() -> None:
    engine = track()
    engine.take(stats(100, 90, 20), 101.0)
    engine.take(stats(10, 5, 2), 102.0)
    assert engine.series.newest("acceptance") == pytest.approx(0.5)

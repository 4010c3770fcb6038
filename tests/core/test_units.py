"""How bytes, durations, counts and ranges are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from workbench.core.units import Range, format_bytes, format_count, format_duration


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"), (1, "1 B"), (1023, "1023 B"), (1024, "1 KiB"), (131072, "128 KiB"), (1.5 * 2**30, "1.5 GiB"),
        (2**31, "2 GiB"), (2**30 - 1, "1 GiB"), (138 * 2**20, "138 MiB"), (2**40, "1 TiB"), (2**70, "1048576 PiB"),
    ],
)  # fmt: skip
def test_bytes(size: float, text: str) -> None:
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (950, "950"),
        (134_515_008, "134.5 M"),
        (8_030_261_248, "8.03 B"),
        (999_999, "1.00 M"),
        (1000, "1.00 k"),
    ],
)
def test_counts(count: float, text: str) -> None:
    assert format_count(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"), (0.0123, "12 ms"), (0.9999, "1.0 s"), (4.24, "4.2 s"), (9.96, "10 s"), (59.4, "59 s"),
        (59.7, "1 min 00 s"), (185, "3 min 05 s"), (3599.6, "1 h 00 min"), (3720, "1 h 02 min"), (90_000, "1 d 01 h"),
        (-5, "-5.0 s"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(0, 1e18))
def test_bytes_are_near_in_the_unit_they_are_given_in(size: float) -> None:
    value, unit = format_bytes(size).split(" ")
    scale = 1024.0 ** ["B", "KiB", "MiB", "GiB", "TiB", "PiB"].index(unit)
    assert abs(float(value) * scale - size) <= max(0.05 * size, 0.5)


def span(low: float, high: float, unit: str = "bytes") -> Range:
    return Range(low=low, high=high, unit=unit, formula=f"{low} to {high}", source="a test")  # type: ignore[arg-type]


def test_range_in_words() -> None:
    assert str(span(2**20, 2**30)) == "1 MiB to 1 GiB"
    assert str(span(2**20, 2**20)) == "1 MiB"
    assert str(span(5, 90, "seconds")) == "5.0 s to 1 min 30 s"
    assert str(span(1000, 2500, "tokens")) == "1,000 tokens to 2,500 tokens"


def test_range_sum() -> None:
    total = span(1, 2) + span(10, 20)
    assert (total.low, total.high, total.source) == (11, 22, "a test")
    assert "1 to 2" in total.formula and "10 to 20" in total.formula
    with pytest.raises(ValueError, match="do not add up"):
        span(1, 2) + span(1, 2, "seconds")


def test_range_helpers() -> None:
    whole = Range.bytes(1.2, 3.4, formula="f", source="s")
    assert (whole.low, whole.high, whole.exact) == (1, 4, False)
    assert Range.bytes(7, formula="f", source="s").exact
    assert whole.covers(2) and not whole.covers(5)


@pytest.mark.parametrize(("low", "high"), [(2, 1), (-1, 1), (float("nan"), 1)])
def test_a_range_is_ordered(low: float, high: float) -> None:
    with pytest.raises(ValidationError):
        span(low, high)

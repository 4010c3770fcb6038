"""Figures in words."""

from __future__ import annotations

import math

import pytest

from workbench.core.measure.estimate import Estimate
from workbench.core.report import words


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, None, "\u2013"),
        (math.nan, 1, "\u2013"),
        (0.0, None, "0"),
        (59_581.4, None, "59\u202f581"),
        (12.44, None, "12.4"),
        (3.651, None, "3.65"),
        (0.00412, None, "0.0041"),
        (3.0, 2, "3.00"),
    ],
)
def test_numbers(value: float | None, digits: int | None, text: str) -> None:
    assert words.number(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1.53, "1.53\u00d7"), (1.004, "1.004\u00d7"), (1.0, "1.00\u00d7"), (None, "")]
)
def test_ratios(value: float | None, text: str) -> None:
    assert words.ratio(value) == text


def test_estimates_and_intervals() -> None:
    assert words.estimated(Estimate(value=7.2134, stderr=0.0123), 3) == "7.213 \u00b1 0.012"
    assert words.estimated(Estimate(value=7.2134), 2) == "7.21"
    assert words.estimated(None) == "\u2013"
    assert words.interval(Estimate(value=1.5, low=1.4, high=1.6)) == "1.40 to 1.60"
    assert words.interval(Estimate(value=1.5)) == ""


def test_commands_can_be_pasted() -> None:
    assert words.command_line(["workbench", "bench", "my engine", "it's"]) == "workbench bench 'my engine' 'it'\"'\"'s'"


def test_moments_say_their_zone() -> None:
    assert words.moment(0) == "1970-01-01 00:00 UTC"
    assert words.moment(None) == "\u2013"

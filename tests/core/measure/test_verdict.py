"""Verdicts say no more than the interval does."""

from __future__ import annotations

import pytest

from workbench.core.measure.estimate import Estimate
from workbench.core.measure.verdict import Better, VerdictKind, percent, signed, verdict


@pytest.mark.parametrize(
    ("low", "value", "high", "better", "kind", "words"),
    [
        (0.995, 1.001, 1.008, "lower", "within", "within 1 % of the baseline"),
        (1.02, 1.035, 1.05, "lower", "worse", "between 2 % and 5 % worse"),
        (1.02, 1.035, 1.05, "higher", "better", "between 2 % and 5 % better"),
        (0.95, 0.97, 0.98, "higher", "worse", "between 2 % and 5 % worse"),
        (0.5, 0.6, 0.7, "lower", "better", "between 30 % and 50 % better"),
        (0.97, 1.0, 1.04, "lower", "unsure", "cannot tell: the interval is -3 % to +4 %"),
        (1.002, 1.008, 1.015, "lower", "worse", "between 0.2 % and 1.5 % worse"),
        (3.5, 3.5, 3.5, "higher", "better", "250 % better"),
    ],
)
def test_an_interval_in_words(
    low: float, value: float, high: float, better: Better, kind: VerdictKind, words: str
) -> None:
    found = verdict(Estimate(value=value, low=low, high=high), better)
    assert (found.kind, found.words) == (kind, words)


def test_no_interval_is_no_verdict() -> None:
    found = verdict(Estimate(value=1.0004, n=3), "lower")
    assert found.kind == "unsure" and found.words == "cannot tell: +0.04 % measured, too little for an interval"
    assert verdict(None, "lower").words == "cannot tell: not reported"


def test_another_closeness() -> None:
    assert verdict(Estimate(value=1.02, low=0.98, high=1.04), "lower", within=0.05).words.startswith("within 5 %")


def test_percentages_have_two_digits_that_count() -> None:
    shares = (0.0, 0.00004, 0.0004, 0.0021, 0.0099, 0.02, 0.0999, 0.123, 2.5)
    assert [percent(share) for share in shares] == [
        "0 %", "0 %", "0.04 %", "0.2 %", "1 %", "2 %", "10 %", "12 %", "250 %"
    ]  # fmt: skip
    assert [signed(share) for share in (-0.03, 0.004, 0.00001)] == ["-3 %", "+0.4 %", "0 %"]

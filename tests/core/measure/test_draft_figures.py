"""Speculative decoding in figures: pooled over the answers that tell of guesses, and beside them in a comparison."""

from __future__ import annotations

import dataclasses

import pytest

from tests.core.measure.things import a_comparison, a_point, a_subject
from workbench.core.measure.figures import point_figures
from workbench.core.measure.matrix import make_matrix
from workbench.core.measure.record import PointRecord

COUNTS = ("draft_tokens", "accepted_tokens", "draft_passes")


def guessed(point: PointRecord, *told: tuple[int | None, int | None, int | None]) -> PointRecord:
    """The point with what its requests tell of guesses; the last tells of all the others."""
    rest = [told[min(place, len(told) - 1)] for place in range(len(point.requests))]
    requests = tuple(
        dataclasses.replace(request, **dict(zip(COUNTS, counts, strict=True)))  # type: ignore[arg-type]
        for request, counts in zip(point.requests, rest, strict=True)
    )
    return dataclasses.replace(point, requests=requests)


def test_rates_are_of_all_guesses_together() -> None:
    point = guessed(a_point("s1", 4), (10, 9, 2), (30, 3, 6), (0, 0, 0))
    found = point_figures(point)
    assert (found.draft_tokens, found.accepted_tokens, found.draft_passes) == (40, 12, 8)
    assert found.acceptance_rate == pytest.approx(0.3), "not the mean of 90 % and 10 %"
    assert found.tokens_a_pass == pytest.approx(2.5)


def test_without_guesses_nothing_is_reported() -> None:
    found = point_figures(a_point("s1", 4))
    assert (found.draft_tokens, found.acceptance_rate, found.tokens_a_pass) == (None, None, None)


def test_a_lookup_has_a_length_and_no_rate() -> None:
    found = point_figures(guessed(a_point("s1", 4), (None, 6, 3)))
    assert found.draft_tokens is None and found.acceptance_rate is None and found.tokens_a_pass == pytest.approx(3.0)


def test_a_comparison_shows_them_where_any_variant_has_them() -> None:
    plain, drafted = a_subject("s1", "FP16"), a_subject("s2", "FP16 drafted")
    points = (a_point("s1", 1), guessed(a_point("s2", 1), (20, 10, 4)), guessed(a_point("s2", 4), (20, 2, 4)))
    matrix = make_matrix(a_comparison((plain, drafted), (*points, a_point("s1", 4))))
    rate, length = matrix.cell("s2", "acceptance"), matrix.cell("s2", "tokens_a_pass")
    assert rate is not None and rate.value == pytest.approx(18 / 100), "one answer at one user, four at four"
    assert length is not None and length.value == pytest.approx(1 + 18 / 20)
    none = matrix.cell("s1", "acceptance")
    assert none is not None and none.value is None and none.reason == "no guesses"
    only_plain = make_matrix(a_comparison((plain,), (a_point("s1", 1),)))
    assert only_plain.column("acceptance") is None, "a column that no variant has is left out"

"""Log-likelihoods and KL against their definitions, written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workbench.workers.scoring.numbers import kl_nats, log_softmax, log_total, nll_of, top_two

ROWS = np.array([[1.0, 2.0, -3.0, 0.0], [100.0, 99.0, 0.0, -5.0]], dtype=np.float32)


def test_log_likelihoods_are_those_of_the_definition() -> None:
    for row, target in ((0, 1), (1, 3)):
        total = sum(math.exp(value) for value in ROWS[row].tolist())
        wanted = math.log(total) - float(ROWS[row, target])
        assert nll_of(ROWS[row : row + 1], np.array([target]))[0] == pytest.approx(wanted, abs=1e-6)
    assert np.exp(log_softmax(ROWS)).sum(axis=-1) == pytest.approx([1.0, 1.0])


def test_logits_that_would_overflow_do_not() -> None:
    assert log_total(np.array([[3e38, 0.0]], dtype=np.float32))[0] == pytest.approx(3e38, rel=1e-6)


def test_kl_is_that_of_the_definition_and_zero_for_the_same() -> None:
    p, q = np.array([[0.5, 0.25, 0.25]]), np.array([[0.25, 0.5, 0.25]])
    assert kl_nats(np.log(p), np.log(q))[0] == pytest.approx(0.5 * math.log(2) - 0.25 * math.log(2))
    assert kl_nats(np.log(p), np.log(p))[0] == 0.0


def test_a_probability_of_zero_adds_nothing_and_one_that_is_missed_is_infinite() -> None:
    with np.errstate(divide="ignore"):
        p, q = np.log(np.array([[1.0, 0.0]])), np.log(np.array([[0.5, 0.5]]))
    assert kl_nats(p, q)[0] == pytest.approx(math.log(2))
    assert kl_nats(q, p)[0] == math.inf


def test_columns_that_only_pad_the_vocabulary_are_left_out() -> None:
    padded = np.concatenate([ROWS, np.full((2, 3), 5.0, dtype=np.float32)], axis=-1)
    assert kl_nats(log_softmax(ROWS), log_softmax(padded)) == pytest.approx([0.0, 0.0], abs=1e-9)


def test_what_is_not_a_number_stays_so() -> None:
    broken = ROWS.copy()
    broken[0, 2] = np.nan
    assert math.isnan(nll_of(broken, np.array([0, 0]))[0])
    assert math.isnan(kl_nats(log_softmax(ROWS), log_softmax(broken))[0])
    assert kl_nats(log_softmax(ROWS), log_softmax(broken))[1] == pytest.approx(0.0, abs=1e-9)
    assert top_two(log_softmax(broken)[0]) == []


def test_the_two_likeliest_come_in_order() -> None:
    (first, p_first), (second, p_second) = top_two(log_softmax(ROWS)[0])
    assert (first, second) == (1, 0)
    assert p_first > p_second > 0

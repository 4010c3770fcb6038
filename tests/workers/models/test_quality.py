"""Agreement and KL against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workbench.workers.models.quality import Comparison, kl_divergence_nats, log_softmax


def test_kl_of_two_known_distributions() -> None:
    p, q = np.array([[0.5, 0.5]]), np.array([[0.9, 0.1]])
    by_hand = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert kl_divergence_nats(np.log(p), np.log(q))[0] == pytest.approx(by_hand, rel=1e-12)


def test_kl_is_baseline_first() -> None:
    p, q = np.log([[0.5, 0.5]]), np.log([[0.9, 0.1]])
    assert kl_divergence_nats(p, q)[0] != pytest.approx(kl_divergence_nats(q, p)[0])


def test_a_constant_added_to_all_logits_changes_nothing() -> None:
    logits = np.random.default_rng(1).standard_normal((5, 40)) * 10
    assert kl_divergence_nats(logits, logits + 1234.5) == pytest.approx(np.zeros(5), abs=1e-9)


def test_large_logits_do_not_overflow() -> None:
    assert log_softmax([[50_000.0, 0.0]])[0].tolist() == [0.0, -50_000.0]


def test_every_position_weighs_the_same_and_chunks_do_not_show() -> None:
    random = np.random.default_rng(2)
    base, other = random.standard_normal((200, 30)), random.standard_normal((200, 30))
    whole, parts = Comparison(), Comparison()
    whole.add("all", base, other)
    parts.add("a", base[:7], other[:7])
    parts.add("b", base[7:], other[7:])
    expected = float((base.argmax(-1) == other.argmax(-1)).mean())
    assert whole.agreement == parts.agreement == expected
    assert whole.kl_nats == pytest.approx(float(kl_divergence_nats(base, other).mean()))
    assert whole.kl_nats == pytest.approx(parts.kl_nats)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_one_value_that_is_no_number_makes_the_mean_nan_and_that_prompt_the_worst(bad: float) -> None:
    base = np.eye(4)
    broken = base.copy()
    broken[2, 1] = bad
    comparison = Comparison()
    comparison.add("fine", base, base)
    comparison.add("broken", base, broken)
    assert math.isnan(comparison.kl_nats)
    assert comparison.worst(1)[0].name == "broken"


def test_logits_of_another_vocabulary_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        Comparison().add("x", np.zeros((3, 10)), np.zeros((3, 11)))


def test_an_empty_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="no position"):
        Comparison().add("x", np.zeros((0, 10)), np.zeros((0, 10)))

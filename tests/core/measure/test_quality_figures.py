"""Quality figures against their definitions and against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workbench.core.measure.estimate import Estimate
from workbench.core.measure.quality import TokenChoice
from workbench.core.measure.quality_figures import (
    agreement,
    bits_per_byte,
    kl_nats,
    perplexity,
    perplexity_ratio,
    prompt_scores,
    ratio_of_sums,
    record_of,
    share,
    t_95,
)
from workbench.core.measure.scores import (
    DIFFERENT_TOKENIZER,
    UNKNOWN_TOKENIZER,
    Difference,
    PassageResult,
    PromptResult,
    Scores,
)
from workbench.core.measure.verdict import verdict


def passage(name: str, nll: float | None, tokens: int = 10, size: int = 40) -> PassageResult:
    return PassageResult(name=name, tokens=tokens, nll=nll, bytes=size)


def prompt(name: str, agreed: str, kl: float | None = 0.1) -> PromptResult:
    return PromptResult(name=name, agreed=tuple(c == "x" for c in agreed), kl_nats=(kl,) * len(agreed))


def test_the_error_of_a_ratio_covers_the_truth_as_often_as_it_says() -> None:
    drawing, covered, rounds = np.random.default_rng(7), 0, 600
    for _ in range(rounds):
        sizes = drawing.integers(20, 60, size=40)
        means = 2.0 + drawing.normal(scale=0.5, size=40)  # what tokens of one passage have in common
        sums = [float(drawing.normal(mean, 1.0, size=size).sum()) for mean, size in zip(means, sizes, strict=True)]
        value, error = ratio_of_sums(zip(sums, map(float, sizes), strict=True))
        assert error is not None
        covered += abs(value - 2.0) <= 1.96 * error
    assert 0.91 < covered / rounds < 0.97


@pytest.mark.parametrize(
    ("clusters", "quantile"), [(2, 12.706), (4, 3.182), (11, 2.228), (12, 2.201), (31, 2.042), (10_001, 1.960)]
)
def test_few_clusters_are_told_by_students_t(clusters: int, quantile: float) -> None:
    assert t_95(clusters) == pytest.approx(quantile, abs=1e-3)


def test_two_passages_do_not_carry_a_claim_that_thirty_do() -> None:
    def ratio(count: int) -> Estimate | None:
        base = [passage(str(n), 300.0, tokens=100) for n in range(count)]
        return perplexity_ratio([passage(p.name, 300.2 + 0.2 * (n % 2), 100) for n, p in enumerate(base)], base)

    assert verdict(ratio(30), "lower").kind == "within"
    assert verdict(ratio(2), "lower").kind == "unsure", "normal errors would call it within 1 %"


def test_likelihoods_beyond_what_a_number_holds_have_no_interval_and_end_nothing() -> None:
    wild = [passage("a", 5_000.0), passage("b", 8_000.0)]
    found = perplexity(wild)
    assert found is not None and found.value == pytest.approx(math.exp(650.0)) and not found.has_interval
    assert perplexity([passage("a", 9_000.0), passage("b", 8_000.0)]) is None


def test_wilson_is_that_of_the_textbook_and_stays_within_bounds() -> None:
    found = share(0.8, None, 100)  # Wilson 1927: 0.711 to 0.867
    assert found.low == pytest.approx(0.7112, abs=1e-3) and found.high == pytest.approx(0.8666, abs=1e-3)
    sure = share(1.0, 0.0, 334)
    assert sure.stderr is None, "all of a few is not certainty"
    assert sure.high == pytest.approx(1.0) and 0.98 < sure.low < 0.99  # type: ignore[operator]


def test_clusters_that_differ_make_the_interval_of_a_share_wider() -> None:
    even = agreement([prompt(str(n), "xxxxxxxxx.") for n in range(10)])
    lumped = agreement([prompt(str(n), "x" * 10 if n else "." * 10) for n in range(10)])
    assert even is not None and lumped is not None
    assert even.value == lumped.value == pytest.approx(0.9)
    assert even.n == lumped.n == 100
    assert lumped.high - lumped.low > 1.5 * (even.high - even.low)  # type: ignore[operator]


def test_perplexity_and_bits_per_byte_are_those_of_the_sums() -> None:
    passages = [passage("a", 20.0), passage("b", 60.0, tokens=20, size=60)]
    assert perplexity(passages).value == pytest.approx(math.exp(80 / 30))  # type: ignore[union-attr]
    assert bits_per_byte(passages).value == pytest.approx(80 / math.log(2) / 100)  # type: ignore[union-attr]
    assert perplexity([]) is None
    assert perplexity([passage("a", None), passage("b", 1.0)]) is None
    alone = perplexity(passages[:1])
    assert alone is not None and alone.low is None, "one passage tells nothing of how sure it is"


def test_a_paired_ratio_is_far_surer_than_either_perplexity() -> None:
    base = [passage(str(n), 10.0 + 3 * n) for n in range(12)]
    worse = [passage(str(n), (10.0 + 3 * n) + 0.1 + 0.01 * (n % 3)) for n in range(12)]
    ratio, alone = perplexity_ratio(worse, base), perplexity(worse)
    assert ratio is not None and alone is not None
    assert ratio.value == pytest.approx(math.exp(0.011), rel=1e-6)
    assert 1.0 < ratio.low < ratio.high < 1.02  # type: ignore[operator]
    assert (alone.high - alone.low) / alone.value > 0.5  # type: ignore[operator]
    assert perplexity_ratio(worse[1:], base) is None
    assert perplexity_ratio([passage("0", 1.0, tokens=9), *worse[1:]], base) is None


def test_the_worst_prompts_come_first() -> None:
    difference = Difference(
        position=1,
        baseline=TokenChoice(text="a", probability=0.6),
        variant=TokenChoice(text="b", probability=0.5),
    )
    given = [
        prompt("good", "xxxx", 0.01),
        prompt("bad", "x...", 0.5).model_copy(update={"difference": difference}),
        prompt("far", "xxxx", 0.4),
        prompt("broken", "xx..", None),
    ]
    found = prompt_scores(given)
    assert [score.name for score in found] == ["broken", "bad", "far", "good"]
    assert found[1].first_difference == 1 and found[1].variant_choice.text == "b"  # type: ignore[union-attr]
    assert found[2].first_difference is None


def test_a_record_says_why_a_figure_is_missing() -> None:
    scores = Scores(tokenizer="t", passages=(passage("a", 20.0), passage("b", 30.0)), prompts=(prompt("p", "xx."),))
    alone = record_of(scores, subject="s2", baseline="s1", baseline_scores=None)
    assert alone.perplexity is not None and alone.perplexity_ratio is None
    assert alone.not_reported["perplexity_ratio"] == "the baseline could not be scored"
    other = record_of(scores, subject="s2", baseline="s1", baseline_scores=scores.model_copy(update={"tokenizer": "u"}))
    assert other.not_reported["perplexity_ratio"] == DIFFERENT_TOKENIZER
    unknown = record_of(
        scores.model_copy(update={"tokenizer": ""}), subject="s2", baseline="s1", baseline_scores=scores
    )
    assert unknown.not_reported["perplexity_ratio"] == UNKNOWN_TOKENIZER
    nothing = Scores(tokenizer="t")
    empty = record_of(nothing, subject="s2", baseline="s1", baseline_scores=nothing)
    assert empty.not_reported["perplexity"] == empty.not_reported["perplexity_ratio"]
    assert empty.not_reported["perplexity"] == "no passage of two tokens or more"
    same = record_of(scores, subject="s1", baseline="s1", baseline_scores=scores)
    assert same.perplexity_ratio is not None and same.perplexity_ratio.value == 1.0
    assert same.agreement is None and same.kl_nats is None and not same.prompts, "it is held against nothing"
    assert not same.not_reported


def test_perplexities_of_other_contexts_are_not_held_against_each_other() -> None:
    scores = Scores(tokenizer="t", passages=(passage("a", 20.0), passage("b", 30.0)), window_tokens=512)
    shorter = scores.model_copy(update={"window_tokens": 8})
    told = record_of(shorter, subject="s2", baseline="s1", baseline_scores=scores)
    assert told.perplexity_ratio is None and told.perplexity is not None
    assert told.not_reported["perplexity_ratio"] == "its context is 8 tokens here and the baseline's 512"
    enough = scores.model_copy(update={"window_tokens": 64})
    assert record_of(enough, subject="s2", baseline="s1", baseline_scores=scores).perplexity_ratio is not None


def test_what_is_not_a_number_is_said() -> None:
    broken = Scores(tokenizer="t", passages=(passage("a", None), passage("b", 1.0)), prompts=(prompt("p", "..", None),))
    record = record_of(broken, subject="s2", baseline="s1", baseline_scores=broken)
    assert record.perplexity is None and record.kl_nats is None
    assert any("1 of 2 passages" in words for words in record.warnings)
    assert any("2 answer positions" in words for words in record.warnings)
    assert "not numbers" in record.not_reported["kl_nats"]
    assert kl_nats(broken.prompts) is None

"""From what score workers wrote to a QualityRecord: means with their standard errors, worst prompts first.

Tokens of one passage, and positions of one answer, resemble each other. So errors come from the spread between
passages (prompts), not between tokens: the linearised error of a ratio of sums over clusters (Cochran, Sampling
Techniques, 6.4; Miller, Adding Error Bars to Evals, 2024).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from workbench.core.measure.estimate import Estimate
from workbench.core.measure.quality import PromptScore, QualityRecord, TaskScore
from workbench.core.measure.scores import DIFFERENT_TOKENIZER, PassageResult, PromptResult, Scores

Z_95 = 1.959964
PREVIEW_CHARACTERS = 120


def ratio_of_sums(pairs: Iterable[tuple[float, float]]) -> tuple[float, float | None]:
    """sum(y) / sum(x) over clusters (y, x), and its standard error; None with fewer than two clusters.

    Raises ZeroDivisionError when all x are 0.
    """
    clusters = list(pairs)
    total = sum(x for _, x in clusters)
    mean = sum(y for y, _ in clusters) / total
    count = len(clusters)
    if count < 2:
        return mean, None
    spread = sum((y - mean * x) ** 2 for y, x in clusters) * count / (count - 1)
    return mean, math.sqrt(spread) / total


def share(value: float, stderr: float | None, count: int) -> Estimate:
    """A share from 0 to 1 with Wilson's interval. Where clusters spread more than `count` independent answers would,
    the count is made smaller by as much (Kish's design effect)."""
    effective = float(count)
    if stderr and 0.0 < value < 1.0:
        effective = min(effective, value * (1.0 - value) / stderr**2)
    z2 = Z_95**2
    middle = (value + z2 / (2 * effective)) / (1 + z2 / effective)
    half = Z_95 * math.sqrt(value * (1 - value) / effective + z2 / (4 * effective**2)) / (1 + z2 / effective)
    low = 0.0 if value == 0.0 else max(middle - half, 0.0)
    high = 1.0 if value == 1.0 else min(middle + half, 1.0)
    return Estimate(value=value, low=low, high=high, stderr=stderr, n=count)


def _normal(value: float, stderr: float | None, count: int, *, floor: float = -math.inf) -> Estimate:
    if stderr is None:
        return Estimate(value=value, n=count)
    return Estimate(
        value=value,
        low=max(value - Z_95 * stderr, floor),
        high=value + Z_95 * stderr,
        stderr=stderr,
        n=count,
    )


def _exp(log: float, stderr: float | None, count: int) -> Estimate:
    """exp of a mean, its interval carried over; the standard error by the delta method."""
    value = math.exp(log)
    if stderr is None:
        return Estimate(value=value, n=count)
    return Estimate(
        value=value,
        low=math.exp(log - Z_95 * stderr),
        high=math.exp(log + Z_95 * stderr),
        stderr=value * stderr,
        n=count,
    )


def perplexity(passages: Sequence[PassageResult]) -> Estimate | None:
    """exp of the mean negative log-likelihood a token; None without a token or with one that is not a number."""
    known = [(p.nll, p.tokens) for p in passages if p.tokens]
    if not known or any(nll is None for nll, _ in known):
        return None
    mean, stderr = ratio_of_sums((nll or 0.0, tokens) for nll, tokens in known)
    if mean > 700:
        return None
    return _exp(mean, stderr, sum(tokens for _, tokens in known))


def bits_per_byte(passages: Sequence[PassageResult]) -> Estimate | None:
    """Negative log-likelihood in bits over UTF-8 bytes of the text: comparable between tokenizers; n: bytes."""
    known = [(p.nll, p.bytes) for p in passages if p.bytes > 0]
    if not known or any(nll is None for nll, _ in known):
        return None
    mean, stderr = ratio_of_sums(((nll or 0.0) / math.log(2), size) for nll, size in known)
    return _normal(mean, stderr, sum(size for _, size in known), floor=0.0)


def perplexity_ratio(variant: Sequence[PassageResult], baseline: Sequence[PassageResult]) -> Estimate | None:
    """The variant's perplexity over the baseline's, paired by passage on the very same tokens: what passages have in
    common falls out, so the interval is much narrower than that of either perplexity. None unless all pair up."""
    others = {p.name: p for p in baseline}
    pairs = []
    for passage in variant:
        other = others.get(passage.name)
        if other is None or other.tokens != passage.tokens or passage.nll is None or other.nll is None:
            return None
        pairs.append((passage.nll - other.nll, float(passage.tokens)))
    if not pairs or len(pairs) != len(others):
        return None
    mean, stderr = ratio_of_sums(pairs)
    return _exp(mean, stderr, int(sum(tokens for _, tokens in pairs))) if abs(mean) < 700 else None


def agreement(prompts: Sequence[PromptResult]) -> Estimate | None:
    """Share of positions whose greedy token is the baseline's; None without a position."""
    clusters = [(float(sum(p.agreed)), float(len(p.agreed))) for p in prompts if p.agreed]
    if not clusters:
        return None
    value, stderr = ratio_of_sums(clusters)
    return share(value, stderr, int(sum(size for _, size in clusters)))


def kl_nats(prompts: Sequence[PromptResult]) -> Estimate | None:
    """Mean KL divergence over positions, nats; None where it is not reported or one is not a number."""
    clusters = []
    for prompt in prompts:
        if prompt.kl_nats is None or any(kl is None for kl in prompt.kl_nats):
            return None
        if prompt.kl_nats:
            clusters.append((sum(kl or 0.0 for kl in prompt.kl_nats), float(len(prompt.kl_nats))))
    if not clusters:
        return None
    value, stderr = ratio_of_sums(clusters)
    return _normal(value, stderr, int(sum(size for _, size in clusters)), floor=0.0)


def prompt_scores(prompts: Sequence[PromptResult]) -> tuple[PromptScore, ...]:
    """A score a prompt, worst first: not a number, then the lowest agreement, then the largest KL."""
    found = []
    for prompt in prompts:
        if not prompt.agreed:
            continue
        count = len(prompt.agreed)
        kls = prompt.kl_nats
        kl = None
        if kls and not any(each is None for each in kls):
            # One prompt's positions are all there is, so they count as independent.
            mean, stderr = ratio_of_sums((each or 0.0, 1.0) for each in kls)
            kl = _normal(mean, stderr, count, floor=0.0)
        first = prompt.difference.position if prompt.difference else None
        if first is None and not all(prompt.agreed):
            first = prompt.agreed.index(False)
        found.append(
            PromptScore(
                name=prompt.name,
                text=" ".join(prompt.text.split())[:PREVIEW_CHARACTERS],
                positions=count,
                agreement=share(sum(prompt.agreed) / count, None, count),
                kl_nats=kl,
                first_difference=first,
                baseline_choice=prompt.difference.baseline if prompt.difference else None,
                variant_choice=prompt.difference.variant if prompt.difference else None,
            )
        )

    def rank(score: PromptScore) -> tuple[bool, float, float]:
        kl = score.kl_nats.value if score.kl_nats else 0.0
        return score.kl_nats is not None, score.agreement.value, -kl

    return tuple(sorted(found, key=rank))


def record_of(
    scores: Scores,
    *,
    subject: str,
    baseline: str,
    baseline_scores: Scores | None,
    kind: Literal["engine", "simulated", "endpoint"] = "engine",
    text: str = "",
    tasks: tuple[TaskScore, ...] = (),
    warnings: Sequence[str] = (),
    seconds: float | None = None,
) -> QualityRecord:
    """The record of one subject. `baseline_scores`: None when the baseline failed; the subject's own when it is it."""
    missing = dict(scores.not_reported)
    agree, divergence = agreement(scores.prompts), kl_nats(scores.prompts)
    ppl = perplexity(scores.passages)
    ratio = None
    same = baseline_scores is not None and scores.tokenizer == baseline_scores.tokenizer != ""
    if baseline_scores is not None and same:
        ratio = perplexity_ratio(scores.passages, baseline_scores.passages)
    if baseline_scores is None:
        for name in ("agreement", "kl_nats", "perplexity_ratio"):
            missing.setdefault(name, "the baseline could not be scored")
    elif not same:
        missing.setdefault("perplexity_ratio", DIFFERENT_TOKENIZER)
    if ppl is None and scores.passages:
        missing.setdefault("perplexity", "log-likelihoods that are not numbers")
    if divergence is None and any(p.kl_nats for p in scores.prompts):
        missing.setdefault("kl_nats", "probabilities that are not numbers")
    found = tuple(dict.fromkeys((*scores.warnings, *warnings, *_not_numbers(scores))))
    return QualityRecord(
        subject=subject,
        baseline=baseline,
        kind=kind,
        perplexity=ppl,
        perplexity_ratio=ratio,
        bits_per_byte=bits_per_byte(scores.passages),
        agreement=agree,
        kl_nats=divergence,
        text=text,
        tasks=tasks,
        prompts=prompt_scores(scores.prompts),
        not_reported=missing,
        warnings=found,
        seconds=seconds,
    )


def _not_numbers(scores: Scores) -> list[str]:
    passages = sum(p.nll is None for p in scores.passages)
    positions = sum(kl is None for p in scores.prompts for kl in p.kl_nats or ())
    words = []
    if passages:
        words.append(f"{passages} of {len(scores.passages)} passages have logits that are not numbers (NaN)")
    if positions:
        words.append(f"{positions:,} answer positions have logits that are not numbers (NaN)")
    return words

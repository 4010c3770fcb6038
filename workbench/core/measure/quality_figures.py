"""From what score workers wrote to a QualityRecord: means with their standard errors, worst prompts first.

Tokens of one passage, and positions of one answer, resemble each other. So errors come from the spread between
passages (prompts), not between tokens: the linearised error of a ratio of sums over clusters (Cochran, Sampling
Techniques, 6.4; Miller, Adding Error Bars to Evals, 2024). An error that few clusters tell is itself uncertain, so
intervals of means go by Student's t: with two passages they are six times as wide as the normal ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from workbench.core.measure.estimate import Estimate
from workbench.core.measure.quality import PromptScore, QualityRecord, TaskScore
from workbench.core.measure.scores import (
    DIFFERENT_TOKENIZER,
    UNKNOWN_TOKENIZER,
    PassageResult,
    PromptResult,
    Scores,
)

Z_95 = 1.959964
PREVIEW_CHARACTERS = 120
_MOST_LOG = 700.0
"""exp of it is still a number."""
_T_95 = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)
"""Student's t, 97.5 %, by degrees of freedom from 1."""


def t_95(clusters: int) -> float:
    """How many standard errors of a mean over `clusters` clusters its 95 % interval reaches: Student's t, from a table
    up to 10 degrees of freedom and beyond by Cornish and Fisher's expansion (right to 0.001)."""
    freedom = max(clusters - 1, 1)
    if freedom <= len(_T_95):
        return _T_95[freedom - 1]
    z = Z_95
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


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
    the count is made smaller by as much (Kish's design effect). Of all or none there is no standard error: the formula
    gives 0, which is not how sure one may be."""
    effective = float(count)
    if stderr and 0.0 < value < 1.0:
        effective = min(effective, value * (1.0 - value) / stderr**2)
    z2 = Z_95**2
    middle = (value + z2 / (2 * effective)) / (1 + z2 / effective)
    half = Z_95 * math.sqrt(value * (1 - value) / effective + z2 / (4 * effective**2)) / (1 + z2 / effective)
    low = 0.0 if value == 0.0 else max(middle - half, 0.0)
    high = 1.0 if value == 1.0 else min(middle + half, 1.0)
    return Estimate(value=value, low=low, high=high, stderr=stderr if 0.0 < value < 1.0 else None, n=count)


def _mean(value: float, stderr: float | None, count: int, clusters: int, *, floor: float = -math.inf) -> Estimate:
    if stderr is None:
        return Estimate(value=value, n=count)
    half = t_95(clusters) * stderr
    return Estimate(
        value=value,
        low=max(value - half, floor),
        high=value + half,
        stderr=stderr,
        n=count,
    )


def _exp(log: float, stderr: float | None, count: int, clusters: int) -> Estimate:
    """exp of a mean, its interval carried over; the standard error by the delta method. No interval where its end is
    beyond what a number holds."""
    value = math.exp(log)
    if stderr is None or log + t_95(clusters) * stderr > _MOST_LOG:
        return Estimate(value=value, n=count)
    half = t_95(clusters) * stderr
    return Estimate(
        value=value,
        low=math.exp(log - half),
        high=math.exp(log + half),
        stderr=value * stderr,
        n=count,
    )


def perplexity(passages: Sequence[PassageResult]) -> Estimate | None:
    """exp of the mean negative log-likelihood a token; None without a token or with one that is not a number."""
    known = [(p.nll, p.tokens) for p in passages if p.tokens]
    if not known or any(nll is None for nll, _ in known):
        return None
    mean, stderr = ratio_of_sums((nll or 0.0, tokens) for nll, tokens in known)
    if mean > _MOST_LOG:
        return None
    return _exp(mean, stderr, sum(tokens for _, tokens in known), len(known))


def bits_per_byte(passages: Sequence[PassageResult]) -> Estimate | None:
    """Negative log-likelihood in bits over UTF-8 bytes of the text: comparable between tokenizers; n: bytes."""
    known = [(p.nll, p.bytes) for p in passages if p.bytes > 0]
    if not known or any(nll is None for nll, _ in known):
        return None
    mean, stderr = ratio_of_sums(((nll or 0.0) / math.log(2), size) for nll, size in known)
    return _mean(mean, stderr, sum(size for _, size in known), len(known), floor=0.0)


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
    if abs(mean) > _MOST_LOG:
        return None
    return _exp(mean, stderr, int(sum(tokens for _, tokens in pairs)), len(pairs))


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
    return _mean(value, stderr, int(sum(size for _, size in clusters)), len(clusters), floor=0.0)


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
            kl = _mean(mean, stderr, count, count, floor=0.0)
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
    # The baseline is held against nothing: that it agrees with itself was not measured.
    prompts = scores.prompts if subject != baseline else ()
    agree, divergence = agreement(prompts), kl_nats(prompts)
    ppl = perplexity(scores.passages)
    ratio = None
    if baseline_scores is None:
        for name in ("agreement", "kl_nats", "perplexity_ratio"):
            missing.setdefault(name, "the baseline could not be scored")
    else:
        why = _unpaired(scores, baseline_scores)
        if why:
            missing.setdefault("perplexity_ratio", why)
        else:
            ratio = perplexity_ratio(scores.passages, baseline_scores.passages)
    if ppl is None:
        why = "log-likelihoods that are not numbers" if scores.passages else "no passage of two tokens or more"
        missing.setdefault("perplexity", why)
    if ratio is None:
        missing.setdefault("perplexity_ratio", missing.get("perplexity", "the baseline has no perplexity"))
    if divergence is None and any(p.kl_nats for p in prompts):
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
        prompts=prompt_scores(prompts),
        not_reported=missing,
        warnings=found,
        seconds=seconds,
    )


def _unpaired(scores: Scores, baseline: Scores) -> str:
    """Why the two perplexities must not be held against each other by passage; empty: they may be."""
    if not scores.tokenizer or not baseline.tokenizer:
        return UNKNOWN_TOKENIZER
    if scores.tokenizer != baseline.tokenizer:
        return DIFFERENT_TOKENIZER
    ours, theirs = scores.window_tokens, baseline.window_tokens
    if ours and theirs and ours != theirs and any(p.tokens >= min(ours, theirs) for p in scores.passages):
        return f"its context is {ours:,} tokens here and the baseline's {theirs:,}"
    return ""


def _not_numbers(scores: Scores) -> list[str]:
    passages = sum(p.nll is None for p in scores.passages)
    positions = sum(kl is None for p in scores.prompts for kl in p.kl_nats or ())
    words = []
    if passages:
        words.append(f"{passages} of {len(scores.passages)} passages have logits that are not numbers (NaN)")
    if positions:
        words.append(f"{positions:,} answer positions have logits that are not numbers (NaN)")
    return words

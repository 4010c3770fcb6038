"""The values of a matrix's cells: what is known of a variant, and why it is not."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from workbench.core.measure.comparison import Price
from workbench.core.measure.cost import per_million
from workbench.core.measure.estimate import Estimate
from workbench.core.measure.figures import PointFigures
from workbench.core.measure.quality import QualityRecord
from workbench.core.measure.record import Subject
from workbench.core.speculative import acceptance_rate, tokens_a_pass


@dataclass(frozen=True)
class Facts:
    """All that is known of one variant."""

    subject: Subject
    levels: dict[float, PointFigures]
    quality: QualityRecord | None
    price: Price | None
    comparable: bool
    """Whether its tokens are the baseline's kind."""
    sequence_tokens: float | None
    is_baseline: bool


Value = tuple[float | None, str, tuple[float, ...], Estimate | None]


def told_value(facts: Facts, value: float | None) -> Value:
    return (value, "" if value is not None else _unmeasured(facts) or "not reported", (), None)


def reported_value(facts: Facts, value: float | None) -> Value:
    """What an engine says of itself once it was loaded; before that nobody has asked it."""
    subject = facts.subject
    asked = subject.load_s is not None or bool(subject.settings) or subject.toolchain == "endpoint"
    reason = _unmeasured(facts) or ("not reported" if asked else "not measured")
    return (value, "" if value is not None else reason, (), None)


def _unmeasured(facts: Facts) -> str:
    if facts.subject.simulated:
        return "simulated"
    return "not loaded" if facts.subject.failure is not None else ""


def point_value(
    facts: Facts,
    level: float,
    value: Callable[[PointFigures], float | None],
    of_repeat: Callable[..., float | None],
) -> Value:
    figures = facts.levels.get(level)
    if figures is None:
        return None, _unmeasured(facts) or "not measured", (), None
    repeats = tuple(one for one in (of_repeat(repeat) for repeat in figures.repeats) if one is not None)
    found = _standing(repeats, value(figures))
    if not figures.completed or found is None:
        return None, "no request completed" if not figures.completed else "not reported", (), None
    return found, "", repeats if len(repeats) > 1 else (), None


def _standing(repeats: Sequence[float], alone: float | None) -> float | None:
    """The median of the repeats stands for them; one repeat is itself."""
    return statistics.median(repeats) if len(repeats) > 1 else alone


def throughput(figures: PointFigures) -> float | None:
    """Output tokens a second at a level, as every part of a comparison gives it: the median of its repeats."""
    repeats = [one.output_tok_s for one in figures.repeats if one.output_tok_s is not None]
    return _standing(repeats, figures.output_tok_s)


def draft_value(facts: Facts, kind: Literal["rate", "length"]) -> Value:
    """Speculative decoding over all levels: the share of guesses kept, or the tokens a pass brought."""
    found = [one for one in facts.levels.values() if one.accepted_tokens is not None]
    if not found:
        return None, _unmeasured(facts) or ("no guesses" if facts.levels else "not measured"), (), None
    accepted = sum(one.accepted_tokens or 0 for one in found)
    if kind == "rate":
        value = acceptance_rate(sum(one.draft_tokens or 0 for one in found), accepted)
    else:
        passes = sum(one.draft_passes or 0 for one in found)
        value = tokens_a_pass(accepted, passes)
    return value, "" if value is not None else "not reported", (), None


def quality_value(facts: Facts, name: str) -> Value:
    record = facts.quality
    if record is None:
        return None, "not measured", (), None
    estimate: Estimate | None = getattr(record, name)
    if estimate is None:
        why = record.not_reported.get(name, "")
        return None, why or ("failed" if record.failure is not None else "not measured"), (), None
    return estimate.value, "", (), estimate


def held_value(facts: Facts, name: str) -> Value:
    """A figure that is against the baseline: the baseline is held against nothing, whatever its record says."""
    return (None, "baseline", (), None) if facts.is_baseline else quality_value(facts, name)


def task_value(facts: Facts, name: str, metric: str) -> Value:
    tasks = facts.quality.tasks if facts.quality is not None else ()
    found = next((task for task in tasks if (task.name, task.metric) == (name, metric)), None)
    if found is not None:
        return found.score.value, "", (), found.score
    why = facts.quality.not_reported.get(name, "") if facts.quality is not None else ""
    failed = facts.quality is not None and facts.quality.failure is not None
    return None, why or ("failed" if failed else "not measured"), (), None


def cost_value(facts: Facts) -> Value:
    speeds = [speed for figures in facts.levels.values() if figures.completed and (speed := throughput(figures))]
    if facts.price is None or not speeds:
        return None, _unmeasured(facts) or "not measured", (), None
    return per_million(facts.price.per_hour, max(speeds)), "", (), None

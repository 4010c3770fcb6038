"""Quality of a comparison in lines: what the interval of the perplexity allows to say, and each figure with its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from workbench.core.measure.comparison import Comparison
from workbench.core.measure.estimate import Estimate
from workbench.core.measure.quality import QualityRecord, TaskScore
from workbench.core.measure.verdict import verdict

_MISSING = {
    "perplexity": "perplexity",
    "perplexity_ratio": "perplexity against the baseline",
    "bits_per_byte": "bits a byte",
    "agreement": "agreement",
    "kl_nats": "KL",
}


def quality_lines(comparison: Comparison) -> Iterator[str]:
    """A heading, a line on each variant that was scored, and what is to be known of how; nothing without quality."""
    if not comparison.quality:
        return
    names = {subject.id: subject.name for subject in comparison.head.subjects}
    yield "Quality against the baseline, 95 % intervals:"
    for record in comparison.quality:
        yield f"  {names.get(record.subject, record.subject)}: {'; '.join(_said(record))}"
    for text in dict.fromkeys(record.text for record in comparison.quality if record.text):
        yield f"  perplexity on: {text}"
    for record in comparison.quality:
        for words in record.warnings:
            yield f"  {names.get(record.subject, record.subject)}: {words}"


def verdict_words(record: QualityRecord | None) -> str:
    """What the interval of the perplexity's ratio to the baseline allows to say; empty where there is none."""
    if record is None or record.perplexity_ratio is None or record.subject == record.baseline:
        return ""
    return verdict(record.perplexity_ratio, "lower").words


def _said(record: QualityRecord) -> list[str]:
    if record.failure is not None:
        return [f"{record.failure.what} {record.failure.evidence}".rstrip()]
    is_baseline = record.subject == record.baseline
    said = ["baseline"] if is_baseline else []
    claim = verdict_words(record)
    if claim:
        said.append(f"perplexity {claim}")
    if record.kind == "simulated":
        said.append("simulated, no engine of it was measured")
    said += _estimated("perplexity", record.perplexity, lambda value: f"{value:.3f}")
    if record.perplexity_ratio is None:
        said += _estimated("bits a byte", record.bits_per_byte, lambda value: f"{value:.4f}")
    if not is_baseline:
        said += _estimated("agreement", record.agreement, lambda value: f"{value * 100:.1f} %")
        said += _estimated("KL", record.kl_nats, lambda value: f"{value:.4f}", " nats")
    said += [_task(task) for task in record.tasks]
    said += [f"{_MISSING.get(name, name)} not reported: {why}" for name, why in record.not_reported.items()]
    return said


def _estimated(name: str, found: Estimate | None, say: Callable[[float], str], unit: str = "") -> list[str]:
    if found is None:
        return []
    within = ", no interval"
    if found.low is not None and found.high is not None:
        within = f" ({say(found.low)} to {say(found.high)})"
    return [f"{name} {say(found.value)}{unit}{within}"]


def _task(task: TaskScore) -> str:
    """`arc acc 66.7 % (20.8 % to 93.9 %) of 3 questions, -20.1 to +20.1 points against the baseline`."""
    of = f" of {task.score.n:,} questions" if task.score.n else ""
    name = f"{task.name} {task.metric}"
    words = "".join(_estimated(name, task.score, lambda value: f"{value * 100:.1f} %")) + of
    change = task.difference
    if change is not None and change.low is not None and change.high is not None:
        words += f", {change.low * 100:+.1f} to {change.high * 100:+.1f} points against the baseline"
    return words

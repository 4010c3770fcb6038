"""What a reader has to know before the figures are believed: said by the report itself, in one sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from workbench.core.measure.comparison import Comparison
from workbench.core.measure.figures import PointFigures
from workbench.core.measure.record import Environment
from workbench.core.report.model import RunInfo, Statement, Tone
from workbench.core.units import format_bytes

_RANK: dict[Tone, int] = {"error": 0, "warning": 1, "ok": 2, "note": 3}
_Told = tuple[Tone, str]


def statements_of(comparison: Comparison, runs: Sequence[RunInfo], figures: Sequence[PointFigures]) -> list[Statement]:
    """Most serious first; each sentence once. `figures` are the run's."""
    told = [
        *_about_status(runs),
        *_about_subjects(comparison),
        *_about_points(comparison, figures),
        *_about_quality(comparison),
        *_about_conditions(comparison, runs),
    ]
    ordered = sorted(dict.fromkeys(told), key=lambda one: _RANK[one[0]])
    return [Statement(tone=tone, text=text) for tone, text in ordered]


def _about_status(runs: Sequence[RunInfo]) -> Iterator[_Told]:
    for run in runs:
        name = run.title or run.id
        if run.status == "stopped":
            yield "warning", f"{name} was stopped: what was measured until then is shown."
        elif run.status == "failed":
            yield "error", f"{name} failed: what was measured until then is shown."
        elif run.status == "running":
            yield "warning", f"{name} was still running when this report was made."
        for note in run.notes:
            yield "note", note


def _about_subjects(comparison: Comparison) -> Iterator[_Told]:
    for subject in comparison.head.subjects:
        if subject.failure is not None:
            yield "error", f"{subject.name} has no figures: {subject.failure.what}"
        if subject.simulated:
            yield "note", f"{subject.name} is simulated: its quality was computed, no engine of it was measured."
        for name, words in subject.not_applied.items():
            yield "warning", f"{subject.name} does not run as it was asked to: {name}: {words}."
    known = {subject.tokenizer for subject in comparison.head.subjects if subject.tokenizer}
    if len(known) > 1:
        yield "warning", "The tokenizers differ: figures by tokens are not compared between them."


def _about_points(comparison: Comparison, found: Sequence[PointFigures]) -> Iterator[_Told]:
    run = comparison.run
    if run is None:
        return
    names = {subject.id: subject.name for subject in run.head.subjects}
    limited = run.head.load.unit
    for figures in found:
        where = f"{names.get(figures.subject, figures.subject)} at {figures.level:g} {limited}"
        if figures.failure is not None:
            yield "error", f"{where}: {figures.failure.what}"
        if figures.client.bottleneck:
            yield "warning", f"{where}: {figures.client.words}"
        if figures.failed:
            first = next(iter(figures.errors), "")
            yield (
                "warning",
                f"{where}: {figures.failed:,} of {figures.requests:,} requests failed: {first}".rstrip(": "),
            )
        elif not figures.completed:
            yield "warning", f"{where}: no request completed."
        if figures.output_held is False:
            yield "warning", f"{where}: not every answer has the length that was asked for."
        if figures.saturated:
            yield "note", f"{where}: the sweep ended here: {figures.saturated}"
    answered = [figures for figures in found if figures.completed]
    if run.head.workload.fixed_output and answered and all(figures.output_held for figures in answered):
        yield (
            "note",
            "Answers had a fixed length whatever the model wanted to say (ignore_eos), so speeds are of equal work.",
        )
    elif answered and not run.head.workload.fixed_output:
        yield "note", "Answers ended where the model ended them: speeds are not of equal work."


def _about_quality(comparison: Comparison) -> Iterator[_Told]:
    names = {subject.id: subject.name for subject in comparison.head.subjects}
    for record in comparison.quality:
        name = names.get(record.subject, record.subject)
        if record.failure is not None:
            yield "warning", f"The quality of {name} was not measured: {record.failure.what}"
        for warning in record.warnings:
            yield "warning", f"Quality of {name}: {warning}"


def _about_conditions(comparison: Comparison, runs: Sequence[RunInfo]) -> Iterator[_Told]:
    for text in dict.fromkeys(_of_environment(run.environment) for run in runs):
        for part in text:
            yield "note", part
    if len({(run.workload_words, run.prompts_sha256) for run in runs if run.kind == "bench"}) > 1:
        yield "warning", "The runs had different workloads: their figures cannot be held against each other."
    if (
        len({(run.environment.gpus, run.environment.driver, run.environment.cpu) for run in runs if run.environment.os})
        > 1
    ):
        yield "warning", "The runs were made on different machines or drivers."
    for subject in comparison.head.subjects:
        if subject.url and not any(part in subject.url for part in ("//127.", "//localhost", "//[::1]")):
            yield "note", f"{subject.name} is another machine: its TTFT contains the way through the network."


def _of_environment(environment: Environment) -> tuple[str, ...]:
    told = []
    if environment.gpus and environment.clocks_locked is False:
        told.append("The GPU's clocks were not locked.")
    if environment.other_gpu_bytes:
        told.append(f"Other processes held {format_bytes(environment.other_gpu_bytes)} of GPU memory when it began.")
    return tuple(told)

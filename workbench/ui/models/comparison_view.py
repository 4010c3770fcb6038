"""What the Compare page shows, made from what was measured: pure, frozen, and computed in a thread."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from workbench.core.answer import AnswerRecord
from workbench.core.measure.answer_diff import AnswerDiff, answer_diff
from workbench.core.measure.comparison import AnswerOf, Comparison, ComparisonHead, SettingsRow, settings_rows
from workbench.core.measure.figures import PointFigures, pooled_figures
from workbench.core.measure.load import Load
from workbench.core.measure.matrix import Matrix, make_matrix
from workbench.core.measure.quality import QualityRecord
from workbench.core.measure.record import PointRecord, RunRecord, Subject
from workbench.core.measure.scaling import Scaling, scaling_of
from workbench.core.measure.workload import WORKLOADS
from workbench.core.report.build import report_of_comparison
from workbench.core.report.model import Statement
from workbench.measure import events as ev
from workbench.measure.subjects import same_tokenizer

FIRST_LOAD = Load(levels=(1.0, 4.0, 8.0), duration_s=20.0, warmup_requests=2, repeats=3)
FIRST_WORKLOAD = WORKLOADS["demo"]
STATUS_WORDS = {"running": "not finished", "stopped": "stopped", "failed": "failed"}
"""Of a comparison that is not complete. One that was broken off with the program still says that it is running."""
_KINDS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
"""One word for a precision, however the toolchain calls it."""


@dataclass(frozen=True)
class Variant:
    """A chip of the page. Its slot gives colour and marker; the baseline's is 0."""

    subject: Subject
    slot: int
    measured: bool

    @property
    def id(self) -> str:
        return self.subject.id

    @property
    def is_baseline(self) -> bool:
        return self.slot == 0


@dataclass(frozen=True)
class Shown:
    """All that the page's tabs show."""

    comparison: Comparison
    variants: tuple[Variant, ...]
    matrix: Matrix
    figures: tuple[PointFigures, ...] = ()
    differing: tuple[SettingsRow, ...] = ()
    settings: tuple[SettingsRow, ...] = ()
    diffs: Mapping[tuple[str, int], AnswerDiff] = field(default_factory=dict)
    """By subject and prompt: an answer held against the baseline's."""
    statements: tuple[Statement, ...] = ()
    """What has to be known to judge the figures, the most serious first."""
    scaling: Scaling = field(default_factory=Scaling)
    """What more GPUs bring, where they differ."""
    folder: Path | None = None

    @property
    def when_words(self) -> str:
        """`2026-05-14 16:05, stopped`."""
        if not self.measured:
            return "not yet"
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.head.created_at))
        return when if self.head.status == "complete" else f"{when}, {STATUS_WORDS[self.head.status]}"

    @property
    def head(self) -> ComparisonHead:
        return self.comparison.head

    def variant(self, subject_id: str) -> Variant | None:
        return next((one for one in self.variants if one.id == subject_id), None)

    def answer(self, subject_id: str, prompt: int) -> AnswerOf | None:
        return next((one for one in self.comparison.answers_to(prompt) if one.subject == subject_id), None)

    @property
    def measured(self) -> bool:
        """Whether anything was measured."""
        found = self.comparison
        return bool(found.quality or found.answers or (found.run is not None and found.run.points))


def fold(comparison: Comparison | None, event: ev.Event) -> Comparison | None:
    """The comparison with what an event brings. None before it has begun."""
    if isinstance(event, ev.ComparisonBegan):
        return Comparison(event.head)
    if comparison is None:
        return None
    head, run = comparison.head, comparison.run
    if isinstance(event, ev.RunBegan):
        return replace(comparison, run=RunRecord(event.head))
    if isinstance(event, ev.SubjectKnown):
        return replace(comparison, head=head.with_subject(event.subject))
    if isinstance(event, ev.SubjectFailed):
        failed = comparison.subject(event.subject).model_copy(update={"failure": event.failure})
        return replace(comparison, head=head.with_subject(failed))
    if isinstance(event, ev.PointDone) and run is not None:
        return replace(comparison, run=replace(run, points=(*run.points, event.point)))
    if isinstance(event, ev.QualityDone):
        return replace(comparison, quality=(*comparison.quality, event.record))
    if isinstance(event, ev.AnswerDone):
        return with_answer(comparison, event.answer)
    if isinstance(event, ev.Noted):
        return replace(comparison, head=head.model_copy(update={"notes": (*head.notes, event.words)}))
    return comparison


def with_answer(comparison: Comparison, answer: AnswerOf) -> Comparison:
    """An answer in the place of an older one to the same prompt."""
    kept = [one for one in comparison.answers if (one.subject, one.prompt) != (answer.subject, answer.prompt)]
    return replace(comparison, answers=(*kept, answer))


def view_of(comparison: Comparison | None, chips: Sequence[Subject]) -> Comparison:
    """The comparison of the chosen variants alone, the first of them the baseline: some may not be measured yet, and
    some that were measured may not be shown.
    """
    head = comparison.head if comparison is not None else blank_head(chips)
    baseline = chips[0].id
    kept = {subject.id for subject in chips}
    quality = comparison.quality if comparison is not None else ()
    head = head.model_copy(update={"subjects": tuple(chips), "baseline": baseline})
    return Comparison(
        head,
        comparison.run if comparison is not None else None,
        tuple(_against(one, baseline, head) for one in quality if one.subject in kept),
        tuple(one for one in comparison.answers if one.subject in kept) if comparison is not None else (),
    )


def _against(record: QualityRecord, baseline: str, head: ComparisonHead) -> QualityRecord:
    """Quality without what was measured against another baseline than the one that is shown."""
    if record.baseline == baseline:
        return record
    words = "measured against another baseline"
    lost = {name: words for name in ("agreement", "kl_nats", "perplexity_ratio")}
    tasks = tuple(task.model_copy(update={"difference": None}) for task in record.tasks)
    return record.model_copy(
        update={
            "agreement": None,
            "kl_nats": None,
            "perplexity_ratio": None,
            "prompts": (),
            "tasks": tasks,
            "not_reported": {**record.not_reported, **lost},
        }
    )


def blank_head(chips: Sequence[Subject]) -> ComparisonHead:
    """Of variants that were not measured yet."""
    return ComparisonHead(
        id="",
        created_at=0.0,
        status="complete",
        baseline=chips[0].id,
        subjects=tuple(chips),
        workload=FIRST_WORKLOAD,
        load=FIRST_LOAD,
    )


def title_of(chips: Sequence[Subject]) -> str:
    """The model's name where it is one, else the variants'."""
    models = list(dict.fromkeys(subject.model for subject in chips if subject.model))
    return models[0] if len(models) == 1 else ", ".join(subject.name for subject in chips)


class Known:
    """What was computed before and holds still: while a comparison is measured only what is new costs time, since
    the load generator wants the processor. For one thread at a time.
    """

    def __init__(self) -> None:
        self._figures: dict[tuple[str, float], tuple[tuple[PointRecord, ...], PointFigures]] = {}
        self._diffs: dict[tuple[int, int, bool], tuple[AnswerRecord, AnswerRecord, AnswerDiff]] = {}

    def figures(self, view: Comparison) -> dict[tuple[str, float], PointFigures]:
        """Variants in the order of the chips, of each the levels from low to high."""
        found = {}
        for subject in view.head.subjects:
            groups: dict[float, list[PointRecord]] = {}
            for point in view.run.points_of(subject.id) if view.run is not None else ():
                groups.setdefault(point.level, []).append(point)
            for level in sorted(groups):
                found[subject.id, level] = self._pooled(view, subject.id, level, tuple(groups[level]))
        return found

    def _pooled(self, view: Comparison, subject: str, level: float, points: tuple[PointRecord, ...]) -> PointFigures:
        points_before, figures = self._figures.get((subject, level), ((), None))
        same = len(points) == len(points_before) and all(a is b for a, b in zip(points, points_before, strict=True))
        if figures is None or not same:
            head = view.head
            figures = pooled_figures(points, head.load.limits, fixed_output=head.workload.fixed_output)
            self._figures[subject, level] = points, figures
        return figures

    def diff(self, base: AnswerRecord, answer: AnswerRecord, *, same_tokenizer: bool) -> AnswerDiff:
        key = id(base), id(answer), same_tokenizer
        before = self._diffs.get(key)
        if before is not None and before[0] is base and before[1] is answer:
            return before[2]
        found = answer_diff(base, answer, same_tokenizer=same_tokenizer)
        self._diffs[key] = base, answer, found  # which holds the records, so that their ids stay theirs
        return found


def make_shown(
    comparison: Comparison | None,
    chips: Sequence[Subject],
    folder: Path | None,
    known: Known | None = None,
    *,
    running: bool = False,
) -> Shown | None:
    """Compute all that is shown; takes a while with many requests: not for the GUI thread.

    While it is `running`, what has to be known to judge the figures is not said yet.
    """
    if not chips:
        return None
    known = known or Known()
    view = view_of(comparison, chips)
    there = {subject.id for subject in comparison.head.subjects} if comparison is not None else set()
    figures = known.figures(view)
    variants = tuple(Variant(subject, slot, subject.id in there) for slot, subject in enumerate(chips))
    return Shown(
        comparison=view,
        variants=variants,
        matrix=make_matrix(view, figures),
        figures=tuple(figures.values()),
        differing=_differing(chips),
        settings=settings_rows(chips, everything=True),
        diffs=_diffs(view, known),
        statements=_statements(view) if view.head.id and not running else (),
        scaling=scaling_of(view),
        folder=folder,
    )


def _differing(chips: Sequence[Subject]) -> tuple[SettingsRow, ...]:
    """What differs between those that were loaded; what a variant cannot report, as the settings of a server that is
    an endpoint, differs not.
    """
    silent = [not subject.settings or subject.toolchain == "endpoint" for subject in chips]
    return tuple(
        row
        for row in settings_rows(chips)
        if any(row.missed)
        or len({value for value, quiet in zip(row.values, silent, strict=True) if value is not None or not quiet}) > 1
    )


def _statements(view: Comparison) -> tuple[Statement, ...]:
    return report_of_comparison(view, created_at=time.time()).statements


def _diffs(view: Comparison, known: Known) -> dict[tuple[str, int], AnswerDiff]:
    base = view.baseline
    own = {answer.prompt: answer.record for answer in view.answers if answer.subject == base.id}
    found = {}
    for answer in view.answers:
        reference = own.get(answer.prompt)
        if answer.subject == base.id or answer.record is None or reference is None:
            continue
        subject = next((one for one in view.head.subjects if one.id == answer.subject), None)
        same = subject is not None and same_tokenizer(base, subject) is True
        found[answer.subject, answer.prompt] = known.diff(reference, answer.record, same_tokenizer=same)
    return found


def detail_words(subject: Subject) -> str:
    """The line under a variant's name: what its toolchain is and what it really keeps its KV cache in."""
    if subject.simulated:
        return "simulated, no engine"
    if subject.toolchain == "endpoint":
        return "OpenAI-compatible endpoint"
    kv = subject.settings.get("kv_cache_precision", "")
    kv = _KINDS.get(kv, kv)
    return f"{kv.upper() if len(kv) < 6 else kv} KV cache" if kv else subject.toolchain_title or subject.toolchain


def missed_words(subject: Subject) -> str:
    """How the variant runs otherwise than it was asked to; empty: as asked."""
    return "; ".join(f"{name.replace('_', ' ')}: {words}" for name, words in subject.not_applied.items())

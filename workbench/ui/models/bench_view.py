"""A benchmark run as the page shows it: figures of its points, and how it goes while it is measured. All frozen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from workbench.bench.progress import Progress
from workbench.core.measure.figures import PointFigures, pooled_figures, run_figures
from workbench.core.measure.matrix import level_words
from workbench.core.measure.record import PointRecord, RunHead, RunRecord, Subject
from workbench.core.measure.run_file import load_run
from workbench.measure.events import (
    Event,
    Noted,
    PointBegan,
    PointDone,
    PointProgress,
    RunBegan,
    Stage,
    SubjectFailed,
    SubjectKnown,
)


@dataclass(frozen=True)
class RunView:
    """A run, or as much of it as there is."""

    folder: Path
    head: RunHead
    figures: tuple[PointFigures, ...] = ()
    """Subjects in their order, of each the levels from low to high, repeats pooled."""
    points: int = 0
    """Points that were measured, each repeat counted."""
    expected: int = 0
    """Points that were to be measured at most."""

    def slot(self, subject_id: str) -> int:
        """Place of a subject among the colours and markers; the first is the baseline's."""
        return next((place for place, one in enumerate(self.head.subjects) if one.id == subject_id), 0)

    def subject(self, subject_id: str) -> Subject | None:
        return next((one for one in self.head.subjects if one.id == subject_id), None)

    def of(self, subject_id: str) -> tuple[PointFigures, ...]:
        """Points of one subject, from low to high."""
        return tuple(one for one in self.figures if one.subject == subject_id)

    def point(self, subject_id: str, level: float) -> PointFigures | None:
        return next((one for one in self.of(subject_id) if one.level == level), None)

    @property
    def levels(self) -> tuple[float, ...]:
        """All that were measured."""
        return tuple(sorted({one.level for one in self.figures}))

    @property
    def errors(self) -> dict[str, int]:
        """Of all points, in words, most frequent first."""
        found: Counter[str] = Counter()
        for one in self.figures:
            found.update(one.errors)
        return dict(found.most_common())

    def level_words(self, level: float) -> str:
        """`32 users`, `2.5 req/s`."""
        return level_words(self.head.load.arrival, level)


@dataclass(frozen=True)
class Live:
    """How a run goes at the moment."""

    stage: str = "starting"
    subject: str = ""
    """Name of the subject; empty: all, or none yet."""
    share: float | None = None
    """Of the stage, 0 to 1."""
    point: PointBegan | None = None
    progress: Progress | None = None
    stopping: bool = False
    failed: tuple[str, ...] = field(default=())
    """Subjects that could not be loaded or died, and why, in words."""

    @property
    def run_share(self) -> float | None:
        """Of all points."""
        if self.point is None or not self.point.of:
            return None
        now = self.progress.share or 0.0 if self.progress is not None else 0.0
        return (self.point.number - 1 + now) / self.point.of


def view_of(run: RunRecord, folder: Path) -> RunView:
    """Computes the figures from the raw timings: not for the GUI thread."""
    load = run.head.load
    return RunView(
        folder,
        run.head,
        run_figures(run),
        len(run.points),
        len(run.head.subjects) * len(load.levels) * load.repeats,
    )


def open_view(folder: Path) -> RunView:
    """A kept run. Reads all of its raw timings. Raises BadInputError."""
    return view_of(load_run(folder), folder)


class Folding:
    """Makes views of what a measurement tells; lives in the thread that measures.

    Figures are computed there, between two points: in another thread they would take the interpreter's time from the
    load generator while it measures.
    """

    def __init__(self) -> None:
        self.view: RunView | None = None
        self.live = Live()
        self._points: dict[tuple[str, float], list[PointRecord]] = {}
        self._done: dict[tuple[str, float], PointFigures] = {}

    def hear(self, event: Event) -> tuple[RunView | None, Live]:
        """What is to be shown after this event."""
        if isinstance(event, RunBegan):
            self.view = RunView(event.folder, event.head, expected=event.points)
        elif isinstance(event, Stage):
            self.live = replace(
                self.live, stage=event.words, subject=self._name(event.subject), share=event.share, progress=None
            )
        elif isinstance(event, SubjectKnown):
            self._subject(event.subject)
        elif isinstance(event, SubjectFailed):
            self._fail(event)
        elif isinstance(event, PointBegan):
            self.live = replace(
                self.live, stage="measuring", subject=self._name(event.subject), share=0.0, point=event, progress=None
            )
        elif isinstance(event, PointProgress):
            self.live = replace(
                self.live, stage=event.progress.phase, share=event.progress.share, progress=event.progress
            )
        elif isinstance(event, PointDone):
            self._done_one(event.point)
        elif isinstance(event, Noted) and self.view is not None:
            head = self.view.head
            self.view = replace(self.view, head=head.model_copy(update={"notes": (*head.notes, event.words)}))
        return self.view, self.live

    def _name(self, subject_id: str) -> str:
        found = self.view.subject(subject_id) if self.view is not None else None
        return found.name if found is not None else subject_id

    def _subject(self, told: Subject) -> None:
        if self.view is not None:
            subjects = tuple(told if one.id == told.id else one for one in self.view.head.subjects)
            self.view = replace(self.view, head=self.view.head.model_copy(update={"subjects": subjects}))

    def _fail(self, event: SubjectFailed) -> None:
        words = f"{self._name(event.subject)}: {event.failure.what}"
        self.live = replace(self.live, failed=(*self.live.failed, words))
        found = self.view.subject(event.subject) if self.view is not None else None
        if found is not None:
            self._subject(found.model_copy(update={"failure": event.failure}))

    def _done_one(self, point: PointRecord) -> None:
        if self.view is None:
            return
        head, key = self.view.head, (point.subject, point.level)
        self._points.setdefault(key, []).append(point)
        self._done[key] = pooled_figures(self._points[key], head.load.limits, fixed_output=head.workload.fixed_output)
        order = {one.id: place for place, one in enumerate(head.subjects)}
        named = sorted(self._done, key=lambda each: (order.get(each[0], len(order)), each[1]))
        figures = tuple(self._done[each] for each in named)
        self.view = replace(self.view, figures=figures, points=self.view.points + 1)

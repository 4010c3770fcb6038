"""A comparison from end to end: every variant's speed and answers in one go, then quality; kept as it comes."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from workbench.core.errors import BadInputError, CancelledError, WorkbenchError
from workbench.core.home import Home
from workbench.core.measure.comparison import (
    MOST_VARIANTS,
    AnswerOf,
    Comparison,
    ComparisonHead,
    Price,
)
from workbench.core.measure.comparison_file import (
    SPEED_FOLDER,
    write_answers,
    write_comparison_head,
    write_quality,
)
from workbench.core.measure.load import Load
from workbench.core.measure.quality import QualityRecord
from workbench.core.measure.quality_options import QualityOptions, simulated_id
from workbench.core.measure.record import RunRecord, Subject
from workbench.core.measure.workload import Workload
from workbench.core.messages import Sampling
from workbench.measure.answers import answers_of
from workbench.measure.events import (
    ComparisonBegan,
    Event,
    Listener,
    Noted,
    QualityDone,
    Stage,
    SubjectFailed,
    SubjectKnown,
)
from workbench.measure.quality import QualityEvent, QualityTarget, score_targets
from workbench.measure.quality_material import read_material
from workbench.measure.running import RunRequest, new_id, run_bench
from workbench.measure.subjects import Asked, Opened, describe, unique_names
from workbench.measure.surroundings import read_environment


@dataclass(frozen=True)
class CompareRequest:
    """What to compare."""

    engines: tuple[Asked, ...]
    workload: Workload
    load: Load
    baseline: int = 0
    """Which of `engines` the others are held against."""
    quality: QualityOptions | None = None
    """None: speed alone."""
    speed: bool = True
    prompts: tuple[str, ...] = ()
    """Asked of all, for the answers side by side."""
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=128))
    price: Price | None = None
    alternated: bool = False
    title: str = ""
    command: tuple[str, ...] = ()
    folder: Path | None = None


def run_compare(home: Home, request: CompareRequest, listen: Listener, stop: threading.Event) -> Comparison:
    """Measure, blocking; all is kept in a folder of the home as it comes, also when it is stopped half-way.

    Raises BadInputError when the request makes no sense.
    """
    return _Comparing(home, request, listen, stop).measure()


class _Comparing:
    def __init__(self, home: Home, request: CompareRequest, listen: Listener, stop: threading.Event) -> None:
        _refuse(request)
        if request.quality is not None:
            read_material(request.quality)  # a broken file is said now, and not after speed was measured for minutes
        self._home, self._request, self._listen, self._stop = home, request, listen, stop
        self._run: RunRecord | None = None
        self._quality: list[QualityRecord] = []
        self._answers: list[AnswerOf] = []
        self._notes: list[str] = []

    def measure(self) -> Comparison:
        request = self._request
        engines = [describe(self._home, asked, f"s{n}")[0] for n, asked in enumerate(request.engines, 1)]
        subjects = (*unique_names(engines), *self._simulated(engines[request.baseline]))
        comparison_id = new_id()
        self._folder = request.folder or self._home.comparisons / comparison_id
        self._head = ComparisonHead(
            id=comparison_id,
            title=request.title or _title(subjects),
            created_at=time.time(),
            baseline=subjects[request.baseline].id,
            subjects=subjects,
            workload=request.workload,
            load=request.load,
            prompts=request.prompts,
            sampling=request.sampling,
            price=request.price,
            command=request.command,
            environment=read_environment(),
        )
        write_comparison_head(self._folder, self._head)
        self._listen(ComparisonBegan(self._folder, self._head))
        status: str = "failed"
        try:
            self._measure_speed()
            self._score()
            status = "complete"
        except CancelledError:
            status = "stopped"
        finally:
            self._write(status=status, finished_at=time.time())
        return Comparison(self._head, self._run, tuple(self._quality), tuple(self._answers))

    def _simulated(self, baseline: Subject) -> tuple[Subject, ...]:
        options = self._request.quality
        return tuple(
            Subject(
                id=simulated_id(precision),
                name=f"{precision.upper().replace('_', ' ')} simulated",
                toolchain="modelopt",
                toolchain_title="ModelOpt, simulated",
                precision=precision,
                model=baseline.model,
                model_digest=baseline.model_digest,
                tokenizer=baseline.tokenizer,
                simulated=True,
            )
            for precision in (options.simulate if options is not None else ())
        )

    def _measure_speed(self) -> None:
        request = self._request
        if not request.speed and not request.prompts:
            return
        run = RunRequest(
            request.engines,
            request.workload,
            request.load,
            request.alternated,
            title=self._head.title,
            command=request.command,
            folder=self._folder / SPEED_FOLDER,
            when_loaded=self._ask,
            points=request.speed,
        )
        self._run = run_bench(self._home, run, self._hear, self._stop)
        if not request.speed:
            self._run = replace(self._run, points=())
        if self._stop.is_set():
            raise CancelledError("The comparison was stopped.", code="stopped")

    def _ask(self, opened: Opened) -> None:
        """A variant is loaded: its answers to the prompts come first, which also warms it up."""
        if any(answer.subject == opened.subject.id for answer in self._answers):
            return  # loaded again for its next turn
        for answer in answers_of(opened, self._request.prompts, self._request.sampling, self._listen, self._stop):
            self._answers.append(answer)
            write_answers(self._folder, tuple(self._answers))

    def _hear(self, event: Event) -> None:
        """Subjects as the run comes to know them are the comparison's."""
        if isinstance(event, SubjectKnown):
            self._replace(event.subject)
        elif isinstance(event, SubjectFailed):
            subject = next(one for one in self._head.subjects if one.id == event.subject)
            self._replace(subject.model_copy(update={"failure": event.failure}))
        elif isinstance(event, Noted):
            self._note(event.words)
            return
        self._listen(event)

    def _replace(self, subject: Subject) -> None:
        self._write(subjects=self._head.with_subject(subject).subjects)

    def _score(self) -> None:
        request = self._request
        if request.quality is None:
            return
        failed = {one.id for one in self._head.subjects if one.failure is not None}
        targets = [QualityTarget(f"s{n}", asked.path, asked.overrides) for n, asked in enumerate(request.engines, 1)]
        # The others are held against the baseline, so it is tried in any case.
        scored = [one for one in targets if one.subject not in failed or one.subject == self._head.baseline]
        baseline = [one.subject for one in scored].index(self._head.baseline)
        try:
            score_targets(
                self._home,
                scored,
                baseline,
                request.quality,
                environ=os.environ,
                folder=self._folder / "quality",
                on_event=self._hear_quality,
                stop=self._stop,
            )
        except CancelledError:
            raise
        except WorkbenchError as error:
            self._note(f"Quality was not measured: {error.failure.what} {error.failure.evidence}".strip())
            self._write(failure=error.failure)

    def _hear_quality(self, event: QualityEvent) -> None:
        if event.record is not None:
            self._quality.append(event.record)
            write_quality(self._folder, tuple(self._quality))
            self._listen(QualityDone(event.record))
            return
        share = event.done / event.total if event.done is not None and event.total else None
        self._listen(Stage(f"quality: {event.phase}", event.subject, share))

    def _note(self, words: str) -> None:
        if words not in self._notes:
            self._notes.append(words)
            self._write()
            self._listen(Noted(words))

    def _write(self, **changes: object) -> None:
        self._head = self._head.model_copy(update={"notes": tuple(self._notes), **changes})
        write_comparison_head(self._folder, self._head)


def _refuse(request: CompareRequest) -> None:
    count = len(request.engines)
    if not 0 <= request.baseline < max(count, 1):
        raise BadInputError("The baseline is none of the variants.", code="bad-baseline")
    simulated = len(request.quality.simulate) if request.quality is not None else 0
    if count == 0 or count + simulated < 2:
        raise BadInputError(
            "A comparison needs two variants at least.",
            fix="Name a baseline and another engine, or a precision to simulate.",
            code="too-few-variants",
        )
    if count > MOST_VARIANTS:
        raise BadInputError(
            f"A comparison is of {MOST_VARIANTS} variants at most.", evidence=f"{count} were named", code="too-many"
        )
    seen: set[tuple[Path, tuple[str, ...]]] = set()
    for asked in request.engines:
        key = (asked.path, asked.overrides)
        if key in seen:
            raise BadInputError(
                "The same engine is named twice.", evidence=str(asked.path), fix="Name each once.", code="named-twice"
            )
        seen.add(key)


def _title(subjects: tuple[Subject, ...]) -> str:
    models = list(dict.fromkeys(subject.model for subject in subjects if subject.model))
    return models[0] if len(models) == 1 else ", ".join(subject.name for subject in subjects)

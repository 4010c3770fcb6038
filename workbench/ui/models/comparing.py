"""The comparison of the Compare page: which variants, what was measured of them, and the measuring itself."""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Qt, Signal

from workbench.core.errors import Failure, WorkbenchError
from workbench.core.measure.compare_command import compare_command
from workbench.core.measure.comparison import MOST_VARIANTS, AnswerOf, Comparison, ComparisonHead, Price
from workbench.core.measure.comparison_file import load_comparison
from workbench.core.measure.load import Load
from workbench.core.measure.matrix import level_words
from workbench.core.measure.quality_options import QualityOptions
from workbench.core.measure.record import Environment, Subject
from workbench.core.measure.workload import Workload
from workbench.core.messages import Sampling
from workbench.measure import events as ev
from workbench.measure.prompting import PromptRequest, ask_variants
from workbench.measure.subjects import Asked, describe, unique_names
from workbench.ui.models.comparison_view import (
    FIRST_LOAD,
    FIRST_WORKLOAD,
    Known,
    Shown,
    blank_head,
    fold,
    make_shown,
    title_of,
)
from workbench.ui.session import Session

_QUALITY = QualityOptions()
_SAMPLING = Sampling(max_tokens=128, temperature=0.0, seed=1234)
_log = logging.getLogger("workbench.ui")


@dataclass(frozen=True)
class Settings:
    """What the form asks for."""

    workload: Workload = FIRST_WORKLOAD
    load: Load = FIRST_LOAD
    speed: bool = True
    quality: QualityOptions | None = _QUALITY
    prompts: tuple[str, ...] = ()
    sampling: Sampling = _SAMPLING
    price: Price | None = None
    alternated: bool = False


@dataclass(frozen=True)
class Doing:
    """What is being done, for the strip."""

    words: str = "starting"
    share: float | None = None
    """Of all points, or of the stage; None: not known."""
    figures: str = ""
    """Running figures in words."""


class Comparing(QObject):
    """One comparison at a time; methods are for the GUI thread and never wait.

    Signals: `changed` (Shown, or None when nothing is chosen), `progressed` (Doing), `running_changed`, `failed`
    (Failure), `text` (subject id, prompt, text so far), `ended` (status).
    """

    changed = Signal(object)
    progressed = Signal(object)
    running_changed = Signal(bool)
    failed = Signal(object)
    text = Signal(str, int, str)
    ended = Signal(str)
    _heard = Signal(int, object)

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.comparison: Comparison | None = None
        self.folder: Path | None = None
        self.chips: tuple[Subject, ...] = ()
        """The chosen variants, the baseline first."""
        self.settings = Settings()
        self.shown: Shown | None = None
        self.doing = Doing()
        self.failure: Failure | None = None
        """Why the last measuring, or opening, did not work."""
        self._stop: threading.Event | None = None
        self._run = 0
        """Number of the measuring that is listened to."""
        self._new = 0
        self._points = 0
        self._point: ev.PointBegan | None = None
        self._deriving = self._stale = False
        self._known = Known()
        self._closed = False
        self._heard.connect(self._hear, Qt.ConnectionType.QueuedConnection)

    # -- which variants

    @property
    def running(self) -> bool:
        return self._stop is not None

    @property
    def stopping(self) -> bool:
        return self._stop is not None and self._stop.is_set()

    @property
    def room_left(self) -> int:
        """Engines that can still be added."""
        return MOST_VARIANTS - sum(not subject.simulated for subject in self.chips)

    def add(self, paths: Sequence[Path]) -> None:
        """Take engines in that are not there yet; what is known of each is read in a thread."""
        there = {Path(subject.path) for subject in self.chips if subject.path and not subject.overrides}
        wanted = [path for path in dict.fromkeys(paths) if path not in there]
        if not wanted:
            return
        if len(wanted) > self.room_left:
            what = f"A comparison is of {MOST_VARIANTS} variants at most."
            fix = "Take one away first."
            self._session.notices.say("warning", what, fix)
            wanted = wanted[: max(0, self.room_left)]
        home, first = self._session.home, self._new
        self._new += len(wanted)

        def read() -> tuple[tuple[Subject, ...], tuple[Failure, ...]]:
            found, lost = [], []
            for number, path in enumerate(wanted, first):
                try:
                    found.append(describe(home, Asked(path), f"new-{number}")[0])
                except WorkbenchError as error:
                    lost.append(error.failure)
            return tuple(found), tuple(lost)

        self._session.tasks.run(read, self._take_new, self._session.notices.fail)

    def start_with(self, paths: Sequence[Path]) -> None:
        """A new comparison of these engines; what was shown stays in its folder."""
        if self.running:
            self._session.notices.say("warning", "A comparison is being measured.", "Stop it first, or wait.")
            return
        self.comparison = self.folder = self.failure = None
        self.chips = ()
        self.add(paths)
        self._derive()

    def remove(self, subject_id: str) -> None:
        """Show the comparison without a variant; what was measured of it stays in the folder."""
        kept = tuple(subject for subject in self.chips if subject.id != subject_id)
        if not self.running and kept != self.chips:
            self.chips = kept
            self._derive()

    def set_baseline(self, subject_id: str) -> None:
        """Hold the others against this variant."""
        chosen = next((subject for subject in self.chips if subject.id == subject_id), None)
        if chosen is not None and not chosen.simulated and not self.running:
            self.chips = (chosen, *(subject for subject in self.chips if subject is not chosen))
            self._derive()

    def _take_new(self, found: tuple[tuple[Subject, ...], tuple[Failure, ...]]) -> None:
        subjects, lost = found
        for failure in lost:
            self._session.notices.fail(failure)
        if subjects and not self.running:
            self.chips = unique_names((*self.chips, *subjects))
            self._derive()

    # -- measuring

    def measure(self, settings: Settings) -> None:
        """Measure the chosen variants anew, in a folder of its own."""
        engines = [subject for subject in self.chips if not subject.simulated]
        if self.running or not engines:
            return
        self.settings = settings
        self._run += 1
        self._stop = threading.Event()
        self._points, self._point, self.failure = 0, None, None
        self.doing = Doing()
        home, stop, number = self._session.home, self._stop, self._run
        listen = self._listener(number)

        def work() -> Comparison:
            from workbench.measure.comparing import CompareRequest, run_compare

            command = compare_command(
                [one.path for one in engines],
                settings.workload,
                settings.load,
                overrides=[one.overrides for one in engines],
                quality=settings.quality,
                speed=settings.speed,
                prompts=settings.prompts,
                price=settings.price,
                alternated=settings.alternated,
            )
            request = CompareRequest(
                engines=tuple(Asked(Path(one.path), one.overrides, one.name) for one in engines),
                workload=settings.workload,
                load=settings.load,
                quality=settings.quality,
                speed=settings.speed,
                prompts=settings.prompts,
                sampling=settings.sampling,
                price=settings.price,
                alternated=settings.alternated,
                command=command,
            )
            return run_compare(home, request, listen, stop)

        self._session.tasks.run(work, partial(self._end, number), partial(self._fail, number))
        self.running_changed.emit(True)
        self.progressed.emit(self.doing)

    @property
    def prompts(self) -> tuple[str, ...]:
        """Those of the comparison; before there is one, those that are to be asked."""
        return self.comparison.head.prompts if self.comparison is not None else self.settings.prompts

    def add_prompts(self, texts: Sequence[str]) -> int:
        """Put prompts that are not there yet behind the others; the number of the first of them."""
        prompts = tuple(dict.fromkeys((*self.prompts, *texts)))
        self.settings = replace(self.settings, prompts=prompts)
        if self.comparison is not None:
            head = self.comparison.head.model_copy(update={"prompts": prompts})
            self.comparison = replace(self.comparison, head=head)
        self._derive()
        return prompts.index(texts[0]) if texts else 0

    def set_sampling(self, sampling: object) -> None:
        """How the answers are drawn from now on."""
        if isinstance(sampling, Sampling):
            self.settings = replace(self.settings, sampling=sampling)

    def ask(self, numbers: Sequence[int], subjects: Sequence[str], sampling: Sampling, *, together: bool) -> None:
        """Put prompts to variants; the answers become the comparison's."""
        chosen = tuple(one for one in self.chips if one.id in subjects and not one.simulated)
        prompts = self.prompts
        if self.running or not chosen or not numbers:
            return
        self.settings = replace(self.settings, sampling=sampling)
        self._run += 1
        self._stop = threading.Event()
        self.failure, self._point, self.doing = None, None, Doing("loading")
        if self.comparison is None or self.folder is None:
            run_id = new_id()
            self.folder = self._session.home.comparisons / run_id
            now = time.time()
            head = blank_head(self.chips).model_copy(
                update={"id": run_id, "created_at": now, "finished_at": now, "environment": Environment()}
            )
            self.comparison = Comparison(head.model_copy(update={"title": title_of(self.chips)}))
        else:
            told = {one.id for one in self.comparison.head.subjects}
            added = tuple(one for one in self.chips if one.id not in told)
            head = self.comparison.head
            head = head.model_copy(update={"subjects": (*head.subjects, *added)})
            self.comparison = replace(self.comparison, head=head)
        head = self.comparison.head.model_copy(update={"prompts": prompts, "sampling": sampling})
        self.comparison = replace(self.comparison, head=head)
        request = PromptRequest(
            chosen,
            tuple((number, prompts[number]) for number in numbers),
            sampling,
            head,
            self.folder,
            self.comparison.answers,
            together,
        )
        number, stop = self._run, self._stop
        work = partial(ask_variants, self._session.home, request, self._listener(number), stop)
        self._session.tasks.run(work, partial(self._answered, number), partial(self._fail, number))
        self.running_changed.emit(True)
        self.progressed.emit(self.doing)

    def _answered(self, number: int, found: tuple[ComparisonHead, tuple[AnswerOf, ...]]) -> None:
        if number != self._run or self._closed or self.comparison is None:
            return
        self._stop = None
        head, answers = found
        self.comparison = replace(self.comparison, head=head, answers=answers)
        self.running_changed.emit(False)
        self._derive()

    def _listener(self, number: int) -> Callable[[ev.Event], None]:
        def listen(event: ev.Event) -> None:
            with contextlib.suppress(RuntimeError):  # the window is gone
                self._heard.emit(number, event)

        return listen

    def stop(self) -> None:
        """End the measuring; what was measured stays and is marked as stopped."""
        if self._stop is not None and not self._stop.is_set():
            self._stop.set()
            self.doing = Doing("stopping: what was measured stays")
            self.progressed.emit(self.doing)

    def close(self) -> None:
        """The window closes."""
        self._closed = True
        if self._stop is not None:
            self._stop.set()

    def _hear(self, number: int, event: object) -> None:
        if number != self._run or self._closed or not self.running:
            return
        if isinstance(event, ev.ComparisonBegan):
            self.folder = event.folder
            self.comparison, self._known = fold(None, event), Known()
            base = event.head.baseline
            others = tuple(subject for subject in event.head.subjects if subject.id != base)
            self.chips = (next(one for one in event.head.subjects if one.id == base), *others)
        else:
            self.comparison = fold(self.comparison, event)  # type: ignore[arg-type]
        if isinstance(event, ev.SubjectKnown | ev.SubjectFailed) and self.comparison is not None:
            told = {subject.id: subject for subject in self.comparison.head.subjects}
            self.chips = tuple(told.get(subject.id, subject) for subject in self.chips)
        if isinstance(event, ev.AnswerText):
            self.text.emit(event.subject, event.prompt, event.text)
            return
        if isinstance(event, ev.RunBegan):
            self._points = event.points
        self._say(event)
        if not isinstance(event, ev.Stage | ev.PointBegan | ev.PointProgress):
            self._derive()

    def _say(self, event: object) -> None:
        doing = self.doing
        if isinstance(event, ev.Stage):
            name = f"{self._name(event.subject)}: " if event.subject else ""
            doing = Doing(f"{name}{event.words}", event.share)
        elif isinstance(event, ev.PointBegan):
            self._point = event
            doing = Doing(self._point_words(event), (event.number - 1) / event.of if event.of else None)
        elif isinstance(event, ev.PointProgress) and self._point is not None:
            point, now = self._point, event.progress
            share = (point.number - 1 + (now.share or 0.0)) / point.of if point.of else None
            speed = f"{now.tok_s:,.0f} tok/s".replace(",", "\u202f") if now.tok_s is not None else ""
            done = f"{now.done} requests done" + (f", {now.errors} failed" if now.errors else "")
            doing = Doing(self._point_words(point), share, ", ".join(part for part in (speed, done) if part))
        if doing != self.doing and not self.stopping:
            self.doing = doing
            self.progressed.emit(doing)

    def _point_words(self, point: ev.PointBegan) -> str:
        load = self.comparison.head.load if self.comparison is not None else self.settings.load
        again = f", repeat {point.repeat + 1} of {load.repeats}" if load.repeats > 1 else ""
        level = level_words(load.arrival, point.level)
        return f"{self._name(point.subject)}: {level}{again} (point {point.number} of {point.of})"

    def _name(self, subject_id: str) -> str:
        return next((subject.name for subject in self.chips if subject.id == subject_id), subject_id)

    def _end(self, number: int, comparison: Comparison) -> None:
        if number != self._run or self._closed:
            return
        self._stop = None
        self.comparison = comparison
        told = {subject.id: subject for subject in comparison.head.subjects}
        self.chips = tuple(told.get(subject.id, subject) for subject in self.chips)
        self.failure = comparison.head.failure
        self.running_changed.emit(False)
        self._derive()
        self.ended.emit(comparison.head.status)

    def _fail(self, number: int, failure: Failure) -> None:
        if number != self._run or self._closed:
            return
        self._stop = None
        self.failure = failure
        self.running_changed.emit(False)
        self._derive()
        self.failed.emit(failure)

    # -- comparisons that are kept

    def open(self, folder: Path) -> None:
        """Show a comparison of before."""
        if not self.running:
            self._session.tasks.run(
                partial(load_comparison, folder),
                partial(self._opened, folder),
                self._session.notices.fail,
                key="compare.open",
            )

    def show(self, comparison: Comparison, folder: Path | None = None) -> None:
        """Show a comparison that was measured."""
        self.comparison, self.folder, self.failure = comparison, folder, comparison.head.failure
        self._known = Known()
        base = comparison.head.baseline
        first = [subject for subject in comparison.head.subjects if subject.id == base]
        self.chips = (*first, *(subject for subject in comparison.head.subjects if subject.id != base))
        head = comparison.head
        self.settings = replace(
            self.settings, workload=head.workload, load=head.load, prompts=head.prompts, price=head.price
        )
        self._derive()

    def _opened(self, folder: Path, comparison: Comparison) -> None:
        if not self.running:
            self.show(comparison, folder)

    # -- what is shown of it

    def _derive(self) -> None:
        """Compute anew, in a thread; while that goes on, once more after it."""
        if self._closed:
            return
        if self._deriving:
            self._stale = True
            return
        self._deriving, self._stale = True, False
        work = partial(make_shown, self.comparison, self.chips, self.folder, self._known, running=self.running)
        self._session.tasks.run(work, self._derived, self._not_derived)

    def _derived(self, shown: Shown | None) -> None:
        self._deriving = False
        self.shown = shown
        self.changed.emit(shown)
        if self._stale:
            self._derive()

    def _not_derived(self, failure: Failure) -> None:
        self._deriving = False
        self._session.notices.fail(failure)


def new_id() -> str:
    """As those of measured comparisons: in order of time."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"

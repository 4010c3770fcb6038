"""The comparison of the Compare page: which variants, what was measured of them, and the measuring itself."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from PySide6.QtCore import QObject, Qt, Signal

from workbench.core.errors import Failure, WorkbenchError
from workbench.core.measure.comparison import MOST_VARIANTS, AnswerOf, Comparison, ComparisonHead
from workbench.core.measure.comparison_file import load_comparison
from workbench.core.measure.record import Environment, Subject
from workbench.core.messages import Sampling
from workbench.measure import events as ev
from workbench.measure.prompting import PromptRequest, ask_variants
from workbench.measure.subjects import Asked, describe, unique_names
from workbench.ui.models.compare_doing import Doing, Teller
from workbench.ui.models.compare_settings import Settings, request_of
from workbench.ui.models.comparison_view import Known, Shown, blank_head, fold, make_shown, title_of
from workbench.ui.session import Session

_CLOSE_S = 20.0
"""So long the window waits for engines to end."""
_OURS = "A comparison"
T = TypeVar("T")


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
        self._chosen = 0
        """Number of the choice that engines are being read for."""
        self._over = threading.Event()
        """The measuring's thread has ended."""
        self._teller = Teller(self._name)
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
        home, names = self._session.home, [self._new_id() for _ in wanted]

        def read() -> tuple[tuple[Subject, ...], tuple[Failure, ...]]:
            found, lost = [], []
            for name, path in zip(names, wanted, strict=True):
                try:
                    found.append(describe(home, Asked(path), name)[0])
                except WorkbenchError as error:
                    lost.append(error.failure)
            return tuple(found), tuple(lost)

        self._session.tasks.run(read, partial(self._take_new, self._chosen), self._session.notices.fail)

    def _new_id(self) -> str:
        """One that no variant has: comparisons of before may hold variants that were called so when they were new."""
        held = self.comparison.head.subjects if self.comparison is not None else ()
        taken = {subject.id for subject in (*self.chips, *held)}
        while True:
            self._new += 1
            if (name := f"new-{self._new}") not in taken:
                return name

    def start_with(self, paths: Sequence[Path]) -> None:
        """A new comparison of these engines; what was shown stays in its folder."""
        if self.running:
            self._session.notices.say("warning", "A comparison is being measured.", "Stop it first, or wait.")
            return
        self.comparison = self.folder = self.failure = None
        self.chips = ()
        self._chosen += 1
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

    def _take_new(self, number: int, found: tuple[tuple[Subject, ...], tuple[Failure, ...]]) -> None:
        subjects, lost = found
        for failure in lost:
            self._session.notices.fail(failure)
        if number != self._chosen or self.running:
            return  # others were chosen meanwhile
        there = {(subject.path, subject.overrides) for subject in self.chips}
        added = [one for one in subjects if (one.path, one.overrides) not in there][: self.room_left]
        if added:
            self.chips = unique_names((*self.chips, *added))
            self._derive()

    # -- measuring

    def measure(self, settings: Settings) -> None:
        """Measure the chosen variants anew, in a folder of its own."""
        engines = [subject for subject in self.chips if not subject.simulated]
        if self.running or not engines:
            return
        self.settings = settings
        home = self._session.home

        def work(listen: Callable[[ev.Event], None], stop: threading.Event) -> Comparison:
            from workbench.measure.comparing import run_compare

            return run_compare(home, request_of(engines, settings), listen, stop)

        self._begin(Doing(), work, self._end)

    def _begin(
        self,
        doing: Doing,
        work: Callable[[Callable[[ev.Event], None], threading.Event], T],
        done: Callable[[int, T], None],
    ) -> None:
        """Measure in a thread; not while something else is measured."""
        if (busy := self._session.refuse_measuring()) is not None:
            self.failed.emit(busy)
            return
        self._session.measuring = _OURS
        self._run += 1
        number, stop, over = self._run, threading.Event(), threading.Event()
        self._stop, self._over = stop, over
        self.failure, self.doing, self._teller = None, doing, Teller(self._name)
        listen = self._listener(number)

        def run() -> T:
            try:
                return work(listen, stop)
            finally:
                over.set()

        self._session.tasks.run(run, partial(done, number), partial(self._fail, number))
        self.running_changed.emit(True)
        self.progressed.emit(self.doing)

    @property
    def free(self) -> bool:
        """Whether nothing is measured, here or on another page."""
        return not self._session.measuring

    def _over_with(self) -> None:
        self._stop = None
        self._session.measuring = ""
        self.running_changed.emit(False)

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
        if (busy := self._session.refuse_measuring()) is not None:
            self.failed.emit(busy)
            return
        self.settings = replace(self.settings, sampling=sampling)
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
        self._begin(Doing("loading"), partial(ask_variants, self._session.home, request), self._answered)

    def _answered(self, number: int, found: tuple[ComparisonHead, tuple[AnswerOf, ...]]) -> None:
        if number != self._run or self._closed or self.comparison is None:
            return
        head, answers = found
        self.comparison = replace(self.comparison, head=head, answers=answers)
        self._over_with()
        self._derive()

    def _listener(self, number: int) -> Callable[[ev.Event], None]:
        def listen(event: ev.Event) -> None:
            if self._closed:
                return  # the window is about to go, and with it what would be told
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
        """The window closes: the measuring ends, and so do its engines; what was measured is kept already."""
        self._closed = True
        if self._stop is not None:
            self._stop.set()
            self._over.wait(_CLOSE_S)

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
        self._say(event)
        if not isinstance(event, ev.Stage | ev.PointBegan | ev.PointProgress):
            self._derive()

    def _say(self, event: object) -> None:
        load = self.comparison.head.load if self.comparison is not None else self.settings.load
        doing = self._teller.tell(event, load)
        if doing is not None and doing != self.doing and not self.stopping:
            self.doing = doing
            self.progressed.emit(doing)

    def _name(self, subject_id: str) -> str:
        return next((subject.name for subject in self.chips if subject.id == subject_id), subject_id)

    def _end(self, number: int, comparison: Comparison) -> None:
        if number != self._run or self._closed:
            return
        self.comparison = comparison
        told = {subject.id: subject for subject in comparison.head.subjects}
        self.chips = tuple(told.get(subject.id, subject) for subject in self.chips)
        self.failure = comparison.head.failure
        self._over_with()
        self._derive()
        self.ended.emit(comparison.head.status)

    def _fail(self, number: int, failure: Failure) -> None:
        if number != self._run or self._closed:
            return
        self.failure = failure
        if self.comparison is not None and self.comparison.head.status == "running":
            head = self.comparison.head.model_copy(update={"status": "failed"})
            self.comparison = replace(self.comparison, head=head)
        self._over_with()
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
            self.settings,
            workload=head.workload,
            load=head.load,
            prompts=head.prompts,
            sampling=head.sampling,
            price=head.price,
        )
        self._chosen += 1
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

    @property
    def deriving(self) -> bool:
        """Whether what is shown is being computed anew."""
        return self._deriving

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

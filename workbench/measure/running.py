"""A benchmark run: every subject under every level of the load, each point kept the moment it is measured."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from workbench.bench.drive import run_point
from workbench.bench.loop import run_blocking
from workbench.bench.progress import Progress
from workbench.bench.sweep import saturated
from workbench.bench.target import Ask, Target
from workbench.bench.workloads import Prompts, make_prompts
from workbench.core.errors import BadInputError, CancelledError, Failure, WorkbenchError
from workbench.core.home import Home
from workbench.core.measure.load import Load
from workbench.core.measure.record import PointRecord, RunHead, RunRecord, Sample, Subject
from workbench.core.measure.run_file import append_point, start_run, write_head
from workbench.core.measure.workload import Workload
from workbench.measure.events import (
    Listener,
    Noted,
    PointBegan,
    PointDone,
    PointProgress,
    RunBegan,
    Stage,
    SubjectFailed,
    SubjectKnown,
)
from workbench.measure.subjects import Asked, Opened, describe, open_subject, same_tokenizer, unique_names, with_memory
from workbench.measure.surroundings import SideReader, read_environment
from workbench.measure.targets import target_of
from workbench.toolchains.running import EngineStart


@dataclass(frozen=True)
class RunRequest:
    """What to measure."""

    engines: tuple[Asked, ...]
    workload: Workload
    load: Load
    alternated: bool = False
    """Subjects take turns at every level and repeat (A/B), instead of one after the other."""
    title: str = ""
    command: tuple[str, ...] = ()
    """The command line that does the same."""
    folder: Path | None = None
    """Where to keep it; None: a new folder of the home."""
    when_loaded: Callable[[Opened], None] | None = None
    """Called each time a subject was loaded, before it is measured."""
    points: bool = True
    """Off: subjects are loaded, and nothing is measured of their speed."""


@dataclass
class _Slot:
    """A subject of the run and whether it is loaded."""

    subject: Subject
    start: EngineStart | None
    opened: Opened | None = None
    failure: Failure | None = None
    prompts: Prompts | None = None
    levels: list[list[PointRecord]] = field(default_factory=list)
    """Its points, those of one level together: each level is held against the one before."""
    over: bool = False
    """Its sweep ended early: it is saturated, or it answers no more."""


def new_id() -> str:
    """`20261121-193012-3fa9c1`, unique and in order of time."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def run_bench(home: Home, request: RunRequest, listen: Listener, stop: threading.Event) -> RunRecord:
    """Measure, blocking, and keep everything as it comes; the record of what was measured.

    A subject that cannot be loaded or dies is told and left out; the others go on. Once `stop` is set, what was
    measured stays and the run says that it was stopped.
    Raises BadInputError when there is nothing to measure or the request makes no sense.
    """
    return _Run(home, request, listen, stop).measure()


class _Run:
    def __init__(self, home: Home, request: RunRequest, listen: Listener, stop: threading.Event) -> None:
        if not request.engines:
            raise BadInputError("There is no engine to measure.", fix="Name one at least.", code="no-engine")
        self._home, self._request, self._listen, self._stop = home, request, listen, stop
        self._slots: list[_Slot] = []
        self._points: list[PointRecord] = []
        self._notes: list[str] = []

    def measure(self) -> RunRecord:
        request = self._request
        self._slots = [_Slot(*describe(self._home, asked, f"s{n}")) for n, asked in enumerate(request.engines, 1)]
        for slot, subject in zip(self._slots, unique_names([slot.subject for slot in self._slots]), strict=True):
            slot.subject = subject
        run_id = new_id()
        self._folder = request.folder or self._home.runs / run_id
        self._head = RunHead(
            id=run_id,
            title=request.title or _title(self._slots),
            created_at=time.time(),
            workload=request.workload,
            load=request.load,
            order="alternated" if request.alternated else "grouped",
            subjects=tuple(slot.subject for slot in self._slots),
            command=request.command,
            environment=read_environment(),
        )
        start_run(self._folder, self._head)
        count = len(request.load.levels) * request.load.repeats * len(self._slots)
        self._listen(RunBegan(self._folder, self._head, count))
        status = "failed"
        try:
            self._all_points(count)
            status = "complete"
        except CancelledError:
            status = "stopped"
        finally:
            for slot in self._slots:
                self._close(slot)
            if status == "complete" and self._request.points and not self._points:
                status = "failed"
            self._write(status=status, finished_at=time.time())
        return RunRecord(self._head, tuple(self._points))

    # -- the order of things

    def _all_points(self, count: int) -> None:
        numbers = itertools.count(1)
        for slot, level, repeat in self._turns():
            if self._stop.is_set():
                raise CancelledError("The run was stopped.", code="stopped")
            number = next(numbers)
            if slot.failure is not None or slot.over:
                continue
            if not self._load(slot) or not self._request.points:
                continue
            self._listen(PointBegan(slot.subject.id, level, repeat, number, count))
            self._one(slot, level, repeat, number)
            if self._stop.is_set():
                raise CancelledError("The run was stopped.", code="stopped")

    def _turns(self) -> Iterator[tuple[_Slot, float, int]]:
        load = self._request.load
        levels = sorted(load.levels)
        if not self._request.alternated:
            for slot in self._slots:
                for level in levels:
                    for repeat in range(load.repeats):
                        yield slot, level, repeat
                self._close(slot)
            return
        turns = itertools.count()
        for level in levels:
            for repeat in range(load.repeats):
                # Whoever came first comes last the next time, so that a drift of the machine weighs on all alike.
                yield from ((slot, level, repeat) for slot in self._slots[:: 1 if next(turns) % 2 == 0 else -1])

    # -- subjects

    def _load(self, slot: _Slot) -> bool:
        """Whether the subject is loaded now."""
        if slot.opened is not None and slot.opened.client.failure is None:
            return True
        self._close(slot)
        assert slot.start is not None
        self._listen(Stage("loading", slot.subject.id))
        step = self._stepper(slot.subject.id)
        try:
            try:
                slot.opened = open_subject(
                    self._home, slot.subject, slot.start, step, self._stop, self._loaded_names(slot), for_speed=True
                )
            except WorkbenchError as error:
                others = [one for one in self._slots if one is not slot and one.opened is not None]
                if isinstance(error, CancelledError) or not others:
                    raise
                # No room for both: they take turns on the machine, too.
                self._note(
                    f"{slot.subject.name} does not fit beside {', '.join(one.subject.name for one in others)}: "
                    "each is loaded for its turn alone."
                )
                for other in others:
                    self._close(other)
                slot.opened = open_subject(self._home, slot.subject, slot.start, step, self._stop, for_speed=True)
        except CancelledError:
            raise
        except WorkbenchError as error:
            self._fail(slot, error.failure)
            return False
        slot.subject = slot.opened.subject
        self._write()
        self._listen(SubjectKnown(slot.subject))
        if self._request.when_loaded is not None:
            self._request.when_loaded(slot.opened)
            self._learn(slot, slot.opened)
        if slot.prompts is None and self._request.points:
            self._make_prompts(slot)
        return True

    def _stepper(self, subject_id: str) -> Callable[[str], None]:
        return lambda words: self._listen(Stage(f"loading: {words}", subject_id))

    def _loaded_names(self, slot: _Slot) -> tuple[str, ...]:
        return tuple(one.subject.name for one in self._slots if one is not slot and one.opened is not None)

    def _close(self, slot: _Slot) -> None:
        if slot.opened is not None:
            slot.opened.close()
            slot.opened = None

    def _fail(self, slot: _Slot, failure: Failure) -> None:
        slot.failure = failure
        slot.subject = slot.subject.model_copy(update={"failure": failure})
        self._write()
        self._listen(SubjectFailed(slot.subject.id, failure))

    def _make_prompts(self, slot: _Slot) -> None:
        """The same prompts for all; only where the tokenizer is another one, tokens differ, and that is noted."""
        made = next((one for one in self._slots if one.prompts is not None), None)
        if made is not None:
            slot.prompts = made.prompts
            if same_tokenizer(made.subject, slot.subject) is False:
                self._note(
                    f"{slot.subject.name} has another tokenizer than {made.subject.name}: the same text is another "
                    "number of tokens, and tokens a second are not the same work."
                )
            return
        self._listen(Stage("making prompts", slot.subject.id))
        opened, workload = slot.opened, self._request.workload
        assert opened is not None
        slot.prompts = make_prompts(workload, lambda text: opened.count_tokens(text, chat=workload.chat))
        for words in slot.prompts.notes:
            self._note(words)
        self._write(prompts_sha256=slot.prompts.sha256)

    # -- points

    def _one(self, slot: _Slot, level: float, repeat: int, number: int) -> None:
        opened, prompts = slot.opened, slot.prompts
        assert opened is not None and prompts is not None
        load = self._request.load
        told = lambda progress: self._listen(PointProgress(slot.subject.id, level, repeat, progress))  # noqa: E731
        point = measure_point(opened, load, level, repeat, prompts, told, self._stop, number)
        if not slot.levels or slot.levels[-1][0].level != level:
            slot.levels.append([])
        slot.levels[-1].append(point)
        if load.stop_saturated and len(slot.levels[-1]) == load.repeats and level != max(load.levels):
            words = saturated(load, slot.levels[-2] if len(slot.levels) > 1 else (), slot.levels[-1])
            if words:
                point = replace(point, saturated=words)
                slot.over = True
        append_point(self._folder, point)
        self._points.append(point)
        self._listen(PointDone(point))
        again = prompts.note_for(len(point.requests)) if opened.subject.settings.get("prefix_caching") == "on" else ""
        if again:
            self._note(again)
        self._learn(slot, opened)
        gone = opened.client.failure
        if gone is not None and not self._stop.is_set():
            self._fail(slot, gone)
            self._close(slot)
        elif point.failure is not None:
            # It is loaded and fails every request: higher levels and repeats would fail as this one did.
            slot.over = True
            self._note(f"{slot.subject.name} is measured no further than {level:g}: {point.failure.what}")

    def _learn(self, slot: _Slot, opened: Opened) -> None:
        """What the engine has said of itself meanwhile."""
        told = with_memory(slot.subject, opened.client.stats)
        if told.weights_bytes != slot.subject.weights_bytes:
            slot.subject = opened.subject = told
            self._write()
            self._listen(SubjectKnown(told))

    # -- what is written

    def _note(self, words: str) -> None:
        if words not in self._notes:
            self._notes.append(words)
            self._listen(Noted(words))
            self._write()

    def _write(self, **changes: object) -> None:
        self._head = self._head.model_copy(
            update={"subjects": tuple(slot.subject for slot in self._slots), "notes": tuple(self._notes), **changes}
        )
        write_head(self._folder, self._head)


def measure_point(
    opened: Opened,
    load: Load,
    level: float,
    repeat: int,
    ask: Callable[[int], Ask],
    told: Callable[[Progress], None],
    stop: threading.Event,
    number: int = 0,
) -> PointRecord:
    """One point on a loaded subject, blocking; the server's side is read along."""
    gpus = opened.start.preset.gpus if opened.start.on_gpu else 0
    pid = opened.client.hello.pid if opened.client.hello is not None else None
    side = SideReader(None if opened.subject.url else pid, gpus)

    def sample() -> Sample:
        return side.read(opened.client.stats)

    async def work() -> PointRecord:
        target: Target = target_of(opened)
        try:
            return await run_point(
                target,
                load,
                level,
                repeat,
                ask,
                told,
                stop,
                subject=opened.subject.id,
                order=number,
                sampler=sample,
            )
        finally:
            await target.close()

    try:
        return run_blocking(work, stop)
    finally:
        side.close()


def _title(slots: list[_Slot]) -> str:
    models = {slot.subject.model for slot in slots if slot.subject.model}
    names = ", ".join(slot.subject.name for slot in slots)
    return f"{models.pop()}: {names}" if len(models) == 1 else names

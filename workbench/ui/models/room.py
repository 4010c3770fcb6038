"""The engines that are loaded: at most two, each a host of its own that dies with the window."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from workbench.core.errors import Failure, WorkbenchError
from workbench.core.home import Home
from workbench.core.messages import Stats
from workbench.jobs.engine import EngineClient
from workbench.ui.bridge import Tasks
from workbench.ui.models.loading import (
    LOG_FILE,
    EngineFacts,
    LoadedEngine,
    LoadStep,
    prepare,
    refuse_without_room,
    start_host,
)

if TYPE_CHECKING:  # it brings numpy
    from workbench.telemetry.hub import Telemetry

MOST_ENGINES = 2
STATS_S = 0.1
"""How often a loaded engine is asked how it is; a host that has nothing to do says nothing."""
_CLOSE_S = 3.0
_BEGUN = LoadStep("starting")


@dataclass(frozen=True, eq=False)
class Loading:
    """An engine that is being loaded."""

    id: str
    path: Path
    name: str
    step: LoadStep = _BEGUN
    instead_of: str = ""
    """Id of the engine that goes once it is known that there is room for this one."""
    gone: str = ""
    """Name of that engine, once it is gone."""
    stop: threading.Event = field(default_factory=threading.Event, repr=False)


class EngineRoom(QObject):
    """Loads, swaps and unloads engines; all methods are for the GUI thread, none waits.

    Signals: `changed` (what is loaded, being loaded or chosen changed), `stepped` (loading goes on), `failed` (name,
    Failure: an engine could not be loaded), `died` (LoadedEngine, Failure: its host is gone; what it was asked has
    ended as failed before), `left` (two names: the first was unloaded to make room for the second, which was given
    up). No engine takes the place of one that died: prompts go nowhere until one is chosen.
    """

    changed = Signal()
    stepped = Signal()
    failed = Signal(str, object)
    died = Signal(object, object)
    left = Signal(str, str)
    _step = Signal(str, object)
    _cleared = Signal(str)
    _ended = Signal(str, object)

    def __init__(self, home: Home, tasks: Tasks, telemetry: Callable[[], Telemetry]) -> None:
        """`telemetry` gives the one that is told of engines; it is asked for when there is something to tell."""
        super().__init__()
        self._home, self._tasks, self._telemetry = home, tasks, telemetry
        self._numbers = itertools.count(1)
        self._engines: list[LoadedEngine] = []
        self._loading: Loading | None = None
        self._current = ""
        self._closed = False
        self._gone: list[EngineClient] = []
        """Hosts that were told to end and may not have yet."""
        self._step.connect(self._take_step)
        self._cleared.connect(self._take_cleared)
        self._ended.connect(self._take_end)

    # -- what is there

    @property
    def engines(self) -> tuple[LoadedEngine, ...]:
        return tuple(self._engines)

    @property
    def loading(self) -> Loading | None:
        return self._loading

    @property
    def current(self) -> LoadedEngine | None:
        """The engine that prompts go to."""
        return self.engine(self._current)

    def engine(self, engine_id: str) -> LoadedEngine | None:
        return next((one for one in self._engines if one.id == engine_id), None)

    def choose(self, engine_id: str) -> None:
        """Let prompts go to this engine."""
        if self.engine(engine_id) is not None and engine_id != self._current:
            self._current = engine_id
            self.changed.emit()

    # -- verbs

    def load(self, path: Path, overrides: tuple[str, ...] = (), *, instead_of: str = "") -> None:
        """Load an engine beside what is there, or in the place of one, which goes only when it is known that there is
        room for the new one. What is being loaded is given up first.
        """
        self.stop_loading()
        leaving = self.engine(instead_of)
        if leaving is None and len(self._engines) >= MOST_ENGINES:
            names = " and ".join(one.name for one in self._engines)
            fix = f"Unload one of {names} first, or load it in the place of one."
            self.failed.emit(
                path.name, Failure(code="room-full", what=f"{MOST_ENGINES} engines are loaded already.", fix=fix)
            )
            return
        mine = Loading(f"e{next(self._numbers)}", path, path.name, instead_of=leaving.id if leaving else "")
        self._loading = mine
        self._mark(f"loading {mine.name}")
        self.changed.emit()
        home, loaded = self._home, tuple(one.name for one in self._engines if one is not leaving)
        gone = tuple(client for client in self._gone if client.failure is None)
        log_name = self._free_log()

        def work() -> tuple[EngineFacts, EngineClient]:
            for client in gone:
                client.close(_CLOSE_S)  # what it held is free only when it is gone
            start, facts = prepare(home, path, overrides)
            self._step.emit(mine.id, facts)
            refuse_without_room(start, facts, loaded, leaving)
            if leaving is not None and not mine.stop.is_set():
                self._cleared.emit(mine.id)
                leaving.client.close(_CLOSE_S)
            log = home.logs / log_name
            return facts, start_host(
                home, start, log, partial(self._step.emit, mine.id), partial(self._ended.emit, mine.id), mine.stop
            )

        self._tasks.run(work, partial(self._take_loaded, mine), partial(self._take_failure, mine))

    def _free_log(self) -> str:
        """A log that no host writes to now: what one printed must not be taken for another's."""
        taken = {client.log_path.name for client in (*(one.client for one in self._engines), *self._gone)}
        names = (LOG_FILE.format(number) for number in itertools.count(1))
        return next(name for name in names if name not in taken)

    def reload(self, engine_id: str, overrides: tuple[str, ...]) -> None:
        """The same engine with other runtime settings; what it was asked ends."""
        engine = self.engine(engine_id)
        if engine is not None:
            self.load(engine.facts.path, overrides, instead_of=engine_id)

    def stop_loading(self) -> None:
        """Give up what is being loaded."""
        mine = self._loading
        if mine is None:
            return
        mine.stop.set()
        self._loading = None
        self.changed.emit()
        if mine.gone:
            self.left.emit(mine.gone, mine.name)

    def unload(self, engine_id: str) -> None:
        """End an engine's host in the background; open requests end as failed."""
        engine = self.engine(engine_id)
        if engine is None:
            return
        self._take_out(engine)
        if not self._current and self._engines:
            self._current = self._engines[-1].id
        self._mark(f"{engine.name} unloaded")
        self._tasks.run(partial(engine.client.close, _CLOSE_S))
        self.changed.emit()

    def close(self) -> None:
        """The window closes: end all hosts, without waiting long; they die with this process in any case."""
        self._closed = True
        if self._loading is not None:
            self._loading.stop.set()
            self._loading = None
        ends = [threading.Thread(target=one.client.close, args=(0.5,), daemon=True) for one in self._engines]
        for thread in ends:
            thread.start()
        for thread in ends:
            thread.join(2.0)
        self._engines.clear()

    # -- answers

    def _take_step(self, engine_id: str, step: object) -> None:
        mine = self._loading
        if mine is None or mine.id != engine_id:
            return
        if isinstance(step, EngineFacts):
            self._loading = replace(mine, name=step.name)
        elif isinstance(step, LoadStep):
            share = step.share if step.share is not None else mine.step.share
            self._loading = replace(mine, step=LoadStep(step.words or mine.step.words, share))
        self.stepped.emit()

    def _take_cleared(self, engine_id: str) -> None:
        """There is room for the new engine: the one that it replaces goes."""
        mine = self._loading
        engine = self.engine(mine.instead_of) if mine is not None and mine.id == engine_id else None
        if engine is not None and mine is not None:
            self._loading = replace(mine, gone=engine.name)
            self._take_out(engine)
            self._mark(f"{engine.name} unloaded")
            self.changed.emit()

    def _take_loaded(self, mine: Loading, made: tuple[EngineFacts, EngineClient]) -> None:
        facts, client = made
        if mine.stop.is_set() or self._closed:
            self._tasks.run(partial(client.close, 0.0))
            return
        if client.failure is not None:  # it died between its first word and this one
            self._take_failure(mine, client.failure)
            return
        self._loading = None
        engine = LoadedEngine(mine.id, facts, client)
        self._engines.append(engine)
        self._current = engine.id
        self._watch(engine)
        self._mark(f"{engine.name} loaded")
        self.changed.emit()

    def _watch(self, engine: LoadedEngine) -> None:
        telemetry = self._telemetry()
        pid = engine.client.hello.pid if engine.client.hello is not None else None
        track = telemetry.attach_engine(engine.id, engine.name, engine.facts.toolchain_title, pid, engine.ready)
        clock = telemetry.clock

        def take(stats: Stats) -> None:
            track.take(stats, clock.now())

        engine.client.on_stats = take
        with contextlib.suppress(WorkbenchError):  # it died just now, which is told by itself
            engine.client.set_stats_interval(STATS_S)

    def _take_failure(self, mine: Loading, failure: Failure) -> None:
        if mine.stop.is_set() or self._closed:
            return
        name = self._loading.name if self._loading is not None else mine.name
        self._loading = None
        self._mark(f"{name} was not loaded")
        self.changed.emit()
        self.failed.emit(name, failure)

    def _take_end(self, engine_id: str, failure: object) -> None:
        engine = self.engine(engine_id)
        if engine is None or not isinstance(failure, Failure):
            return  # it was unloaded, or never ready
        self._take_out(engine)
        self._mark(f"{engine.name} ended")
        self.changed.emit()
        if failure.code != "closed":  # else it was asked to go, by a loading that was given up just then
            self.died.emit(engine, failure)

    def _take_out(self, engine: LoadedEngine) -> None:
        self._engines.remove(engine)
        self._gone = [client for client in self._gone if client.failure is None] + [engine.client]
        self._telemetry().detach_engine(engine.id)
        if self._current == engine.id:
            self._current = ""

    def _mark(self, words: str) -> None:
        self._telemetry().mark(words, "engine")

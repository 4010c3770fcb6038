"""The benchmark that is measured, or the kept one that is shown: work in a thread, frozen views of it here."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt, Signal

from workbench.core.errors import Failure
from workbench.core.measure.record import RunRecord
from workbench.ui.models.bench_apart import open_view
from workbench.ui.models.bench_view import Folding, Live, RunView
from workbench.ui.models.bench_watch import BenchWatch
from workbench.ui.session import Session

if TYPE_CHECKING:
    from workbench.measure.events import Event
    from workbench.measure.running import RunRequest

_END_S = 20.0


class Benching(QObject):
    """One run at a time; methods are for the GUI thread and never wait.

    Signals: `changed` (RunView: other points or another run are to be shown), `progressed` (Live), `running_changed`
    (bool), `ended` (RunView: it is over, complete or stopped), `failed` (Failure: it could not go on, or could not be
    opened).
    """

    changed = Signal(object)
    progressed = Signal(object)
    running_changed = Signal(bool)
    ended = Signal(object)
    failed = Signal(object)
    _heard = Signal(int, object, object)

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.view: RunView | None = None
        self.live = Live()
        self.failure: Failure | None = None
        """Why the last run could not be made."""
        self._stop: threading.Event | None = None
        self._over = threading.Event()
        self._number = 0
        self._closed = False
        self._heard.connect(self._hear, Qt.ConnectionType.QueuedConnection)

    @property
    def running(self) -> bool:
        return self._stop is not None

    def start(self, request: RunRequest) -> bool:
        """Measure; whether it is on its way. A run that still goes on is not replaced."""
        if self.running or self._closed:
            return False
        if (busy := self._session.refuse_measuring()) is not None:
            self.failed.emit(busy)
            return False
        self._session.measuring = "A benchmark"
        self._number += 1
        number, stop, over = self._number, threading.Event(), threading.Event()
        self._stop, self._over = stop, over
        self.view, self.live, self.failure = None, Live(), None
        home, folding = self._session.home, Folding()
        watch = BenchWatch(lambda: self._session.telemetry, number)
        request = replace(request, when_loaded=watch.take)

        def listen(event: Event) -> None:
            with contextlib.suppress(RuntimeError):  # the window is gone
                self._heard.emit(number, *folding.hear(event))

        def work() -> RunView | None:
            from workbench.measure.running import run_bench

            try:
                run: RunRecord = run_bench(home, request, listen, stop)
                return replace(folding.view, head=run.head) if folding.view is not None else None
            finally:
                watch.close()
                over.set()

        self._session.tasks.run(work, partial(self._end, number), partial(self._fail, number))
        self.running_changed.emit(True)
        self._say()
        return True

    def stop(self) -> None:
        """End the run; what was measured stays and is marked as stopped."""
        if self._stop is not None and not self._stop.is_set():
            self._stop.set()
            self.live = replace(self.live, stopping=True)
            self._say()

    def open(self, folder: Path) -> None:
        """Show a kept run, read in a thread."""
        if not self.running:
            self._session.tasks.run(partial(open_view, folder), self._opened, self._not_opened, key="bench.open")

    def show(self, view: RunView) -> None:
        """Show a run that was measured."""
        if not self.running:
            self._opened(view)

    def close(self) -> None:
        """The window closes: the run ends, and so do the engines that it holds; what was measured is kept already."""
        self._closed = True
        if self._stop is not None:
            self._stop.set()
            self._over.wait(_END_S)

    def _hear(self, number: int, view: RunView | None, live: Live) -> None:
        if number != self._number or self._closed or not self.running:
            return
        changed = view is not self.view
        self.view, self.live = view, replace(live, stopping=self._stop is not None and self._stop.is_set())
        if changed and view is not None:
            self.changed.emit(view)
        self._say()

    def _say(self) -> None:
        self.progressed.emit(self.live)
        point = self.live.point
        words = f"Benchmark: point {point.number} of {point.of}" if point is not None else "Benchmark"
        self._session.events.doing.emit("Benchmark: stopping" if self.live.stopping else words)

    def _end(self, number: int, view: RunView | None) -> None:
        if number != self._number or self._closed:
            return
        self._over_with()
        self.view = view
        if view is not None:
            self.changed.emit(view)
            self.ended.emit(view)

    def _fail(self, number: int, failure: Failure) -> None:
        if number == self._number and not self._closed:
            self.failure = failure
            self._over_with()
            if self.view is not None:
                self.view = replace(self.view, head=self.view.head.model_copy(update={"status": "failed"}))
                self.changed.emit(self.view)
            self.failed.emit(failure)

    def _over_with(self) -> None:
        self._stop = None
        self._session.measuring = ""
        self.running_changed.emit(False)
        self._session.events.doing.emit("")

    def _opened(self, view: RunView) -> None:
        if not self.running:
            self.view, self.failure = view, None
            self.changed.emit(view)

    def _not_opened(self, failure: Failure) -> None:
        if not self.running:
            self.failed.emit(failure)

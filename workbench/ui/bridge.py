"""From threads to the window: work that must not run on the GUI thread, and its answers there.

The GUI thread does no I/O and no waiting. What is handed over is frozen (models, tuples), never shared.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar

from PySide6.QtCore import QObject, Qt, QTimer, Signal, Slot

from workbench.core.errors import Failure, WorkbenchError

T = TypeVar("T")
_log = logging.getLogger(__name__)
_WAIT_S = 5.0
_SLOW_S = 2.0
"""A task that runs longer no longer counts among the threads that others may wait for."""
_TURN_MS = 5
"""Between two turns of `run_here`, for what the person does meanwhile."""
_MOST_THREADS = 32


class _Asked(NamedTuple):
    key: str
    done: Callable[[Any], None] | None
    failed: Callable[[Failure], None] | None


class Tasks(QObject):
    """Runs functions in a few threads and calls back on the GUI thread.

    With a `key`, only the answer to the latest task of that key is delivered (the last one wins): typing asks many
    times, and only what was asked last counts. The threads are daemons: one that hangs on a dead network share keeps
    neither the window nor the program from ending.
    """

    idle = Signal()
    """Nothing is running any more."""
    _arrived = Signal(int, object, object)

    def __init__(self, parent: QObject | None = None, threads: int = 4) -> None:
        super().__init__(parent)
        self._most = threads
        self._threads: list[threading.Thread] = []
        self._todo: SimpleQueue[tuple[int, str, Callable[[], Any]] | None] = SimpleQueue()
        self._since: dict[int, float] = {}
        self._room = QTimer(self)
        self._room.setInterval(int(_SLOW_S * 500))
        self._room.timeout.connect(self._make_room)
        self._here: deque[Callable[[], object]] = deque()
        self._turn = QTimer(self)
        self._turn.setInterval(_TURN_MS)
        self._turn.timeout.connect(self._take_turn)
        self._numbers = itertools.count(1)
        self._latest: dict[str, int] = {}
        self._open: dict[int, _Asked] = {}
        self._closed = False
        self._arrived.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    @property
    def busy(self) -> int:
        """Tasks whose answer has not come, and turns that are to come."""
        return len(self._open) + len(self._here)

    def run(
        self,
        function: Callable[[], T],
        done: Callable[[T], None] | None = None,
        failed: Callable[[Failure], None] | None = None,
        *,
        key: str = "",
    ) -> None:
        """Run `function` in a thread; then `done` with its result or `failed` on the GUI thread."""
        if self._closed:
            return
        number = next(self._numbers)
        if key:
            self._latest[key] = number
        self._open[number] = _Asked(key, done, failed)
        self._todo.put((number, key, function))
        self._make_room()
        if not self._room.isActive():
            self._room.start()

    def run_here(self, functions: Iterable[Callable[[], object]]) -> None:
        """Run short functions that belong on the GUI thread one after another, one at a turn of its loop."""
        if not self._closed:
            self._here.extend(functions)
            self._turn.start()

    @Slot()
    def _take_turn(self) -> None:
        if self._here:
            self._here.popleft()()
        if not self._here:
            self._turn.stop()
            if not self._open:
                self.idle.emit()

    @Slot()
    def _make_room(self) -> None:
        """A thread more when all are taken: up to `threads`, and one for each task that runs long or hangs."""
        now = time.monotonic()
        slow = sum(now - since > _SLOW_S for since in list(self._since.values()))
        if len(self._threads) < min(self._most + slow, len(self._open), _MOST_THREADS):
            thread = threading.Thread(target=self._work, name=f"window-task-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self, wait_s: float = _WAIT_S) -> bool:
        """Deliver nothing more and wait for what runs; False when something did not end in time."""
        self._closed = True
        self._room.stop()
        self._turn.stop()
        self._here.clear()
        self._open.clear()
        for _ in self._threads:
            self._todo.put(None)
        ends = time.monotonic() + wait_s
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (asked := self._todo.get()) is not None:
            if self._closed:
                continue
            number, key, function = asked
            result: Any = None
            failure: Failure | None = None
            self._since[number] = time.monotonic()
            try:
                if not key or self._latest.get(key) == number:  # else something newer was asked meanwhile
                    result = function()
            except WorkbenchError as error:
                failure = error.failure
            except Exception as error:
                _log.exception("a background task failed")
                failure = Failure(
                    code="internal",
                    what="The window could not do that: this is an error of the program's own.",
                    evidence=f"{type(error).__name__}: {str(error)[:300]}",
                    fix="The full text is in the window's log; please report it.",
                )
            finally:
                self._since.pop(number, None)
            if self._closed:
                continue
            try:
                self._arrived.emit(number, result, failure)
            except RuntimeError:
                return  # the window is gone

    @Slot(int, object, object)
    def _deliver(self, number: int, result: Any, failure: Failure | None) -> None:
        asked = self._open.pop(number, None)
        if asked is None or self._closed:
            return
        if not asked.key or self._latest.get(asked.key) == number:
            if failure is None:
                if asked.done is not None:
                    asked.done(result)
            elif asked.failed is not None:
                asked.failed(failure)
        if not self._open:
            self._room.stop()
            if not self._here:
                self.idle.emit()


class Poll(QObject, Generic[T]):
    """Asks again and again, never twice at once: the next question is put `interval_ms` after the last answer.

    `answered` is sent only when the answer differs from the one before.
    """

    answered = Signal(object)
    failed = Signal(object)

    def __init__(self, tasks: Tasks, ask: Callable[[], T], interval_ms: int, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._tasks, self._ask = tasks, ask
        self._last: T | None = None
        self._asking = False
        self._again = False
        self._on = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(interval_ms)
        self._timer.timeout.connect(self.now)

    def set_interval(self, interval_ms: int) -> None:
        self._timer.setInterval(interval_ms)

    def start(self) -> None:
        self.now()

    def stop(self) -> None:
        """Ask no more; an answer that is under way is still sent."""
        self._on = False
        self._timer.stop()
        self._again = False

    @Slot()
    def now(self) -> None:
        """Ask at once; while an answer is awaited, once more after it."""
        self._on = True
        if self._asking:
            self._again = True
            return
        self._asking = True
        self._timer.stop()
        self._tasks.run(self._ask, self._take, self._fail)

    def _take(self, answer: T) -> None:
        if answer != self._last:
            self._last = answer
            self.answered.emit(answer)
        self._next()

    def _fail(self, failure: Failure) -> None:
        self.failed.emit(failure)
        self._next()

    def _next(self) -> None:
        self._asking = False
        if self._again:
            self._again = False
            self.now()
        elif self._on:
            self._timer.start()

"""Asks for preflight while a person types: after a short pause, off the GUI thread, and only the last answer counts."""

from __future__ import annotations

import time

from PySide6.QtCore import QObject, QTimer, Signal

from workbench.ui.bridge import Tasks
from workbench.ui.models.preflight import Answer, Preflights, Question

PAUSE_MS = 40
"""After the last keystroke."""
SLOW_MS = 3000
LATE_S = 1.0
_CLOSE_S = 0.2


class Asker(QObject):
    """One question at a time for a model folder: a share that stalls holds up one thread and not all of them."""

    answered = Signal(object)
    """An Answer, to the question that was asked last."""
    slow = Signal(str)
    """The model folder that has not answered for SLOW_MS."""

    def __init__(self, preflights: Preflights, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._preflights = preflights
        self._tasks = Tasks(self)
        self._asked: Question | None = None
        self._open: dict[str, float] = {}
        """Model folder -> when reading it was begun, in seconds of the monotonic clock."""
        self._again = False
        self._pause, self._watch = QTimer(self), QTimer(self)
        for timer, milliseconds, do in ((self._pause, PAUSE_MS, self._send), (self._watch, SLOW_MS, self._say_slow)):
            timer.setSingleShot(True)
            timer.setInterval(milliseconds)
            timer.timeout.connect(do)

    @property
    def waiting(self) -> bool:
        """Whether the last question is not answered yet."""
        return self._pause.isActive() or self._again or bool(self._asked and self._asked.model in self._open)

    def ask(self, question: Question) -> None:
        """Ask soon; what was asked before is not answered any more."""
        self._asked = question
        self._pause.start()

    def close(self) -> None:
        """Deliver nothing more. A thread that waits for a dead share is left to end with the program."""
        self._pause.stop()
        self._watch.stop()
        self._tasks.close(_CLOSE_S)

    def _send(self) -> None:
        question = self._asked
        if question is None:
            return
        self._watch.start()
        self._again = self._held_up(question.model)
        if self._again:
            return
        self._open[question.model] = time.monotonic()
        self._tasks.run(
            lambda: self._preflights.answer(question),
            lambda answer: self._take(question, answer),
            lambda failure: self._take(question, Answer(question, failure=failure)),
        )

    def _held_up(self, model: str) -> bool:
        """Whether this folder is being read, or for long one whose name begins as this one does: each letter of a path
        that is typed on a dead share would hold one more thread."""
        if model in self._open:
            return True
        late = [m for m, began in self._open.items() if time.monotonic() - began > LATE_S]
        return any(model.startswith(m) or m.startswith(model) for m in late)

    def _take(self, question: Question, answer: Answer) -> None:
        self._open.pop(question.model, None)
        if self._asked is question:
            self._again = False
            self._watch.stop()
            self.answered.emit(answer)
        elif self._again:
            self._send()

    def _say_slow(self) -> None:
        if self._asked is not None:
            self.slow.emit(self._asked.model)

"""The one door for what the window has to say: a strip under the header, and a list of what was said before."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QObject, Signal

from workbench.core.errors import Failure

Level = Literal["info", "ok", "warning", "error"]
KEPT = 200


@dataclass(frozen=True)
class Notice:
    """One thing that was said. `do` is what its button does."""

    level: Level
    text: str
    detail: str = ""
    """Evidence and what to do, in words."""
    button: str = ""
    do: Callable[[], None] | None = None
    at: float = 0.0
    """Seconds since the epoch."""
    times: int = 1
    """How often it was said in a row."""


class Notices(QObject):
    """Says things; `said` is sent for each. Errors stay until they are closed, the rest goes by itself."""

    said = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._kept: list[Notice] = []

    @property
    def kept(self) -> tuple[Notice, ...]:
        """What was said, oldest first."""
        return tuple(self._kept)

    def say(
        self, level: Level, text: str, detail: str = "", button: str = "", do: Callable[[], None] | None = None
    ) -> None:
        last = self._kept[-1] if self._kept else None
        again = last is not None and (last.level, last.text, last.detail) == (level, text, detail)
        notice = Notice(level, text, detail, button, do, time.time(), last.times + 1 if last and again else 1)
        self._kept = [*(self._kept[:-1] if again else self._kept), notice][-KEPT:]
        self.said.emit(notice)

    def fail(self, failure: Failure) -> None:
        """A failure in its three lines: what happened, what shows it, what to do."""
        self.say("error", failure.what, "\n".join(failure.lines()[1:]))

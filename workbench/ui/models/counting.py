"""How many tokens the prompt would be, asked of the engine itself in the background; only the last question counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as NoAnswer
from functools import partial

from PySide6.QtCore import QObject, Signal

from workbench.core.conversation import Conversation
from workbench.core.errors import WorkbenchError
from workbench.core.messages import Counted
from workbench.ui.models.loading import LoadedEngine
from workbench.ui.session import Session

_WAIT_S = 30.0


class Counting(QObject):
    """`counted` is sent with what the engine said (None: nothing) and the text that was asked about."""

    counted = Signal(object, str)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    def ask(self, engine: LoadedEngine | None, conversation: Conversation, text: str) -> None:
        """Count the prompt that saying `text` in the conversation would make."""
        if engine is None or not text.strip() or "\0" in text:
            self.counted.emit(None, text)
            return
        step = partial(conversation.say, text, time.time())
        self._run(engine, step, lambda found: self.counted.emit(found, text), "playground.count")

    def check(
        self,
        engine: LoadedEngine,
        step: Callable[[], Conversation],
        done: Callable[[Counted | None], None],
    ) -> None:
        """Count the prompt of the conversation that `step` makes; `done` gets None when the engine does not say."""
        self._run(engine, step, done, "playground.check")

    def _run(
        self,
        engine: LoadedEngine,
        step: Callable[[], Conversation],
        done: Callable[[Counted | None], None],
        key: str,
    ) -> None:
        def work() -> Counted | None:
            try:
                said = step()
                raw = said.mode == "raw"
                future = engine.client.count(
                    messages=None if raw else said.messages(), prompt=said.prompt() if raw else None
                )
                return future.result(_WAIT_S)
            except NoAnswer:
                return None
            except WorkbenchError as error:
                if error.failure.code == "closed" or engine.client.failure is not None:
                    return None
                return Counted(request="", problem=" ".join(error.failure.lines()[:2]).rstrip("."))

        self._session.tasks.run(work, done, key=key)

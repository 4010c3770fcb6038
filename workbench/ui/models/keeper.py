"""Conversations on their way to the store: the newest of each is written, in the background, and none is lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from PySide6.QtCore import QObject, Signal

from workbench.core.conversation import Conversation
from workbench.core.errors import Failure, WorkbenchError
from workbench.store.conversations import Conversations
from workbench.ui.session import Session

_END_S = 2.0
_log = logging.getLogger("workbench.ui")

Source = Callable[[], Conversation | None]
"""Gives what is to be written, in a background thread; None: there is nothing any more."""


class Keeper(QObject):
    """`kept` is sent when all that was asked for is written. Methods are for the GUI thread."""

    kept = Signal()

    def __init__(self, session: Session, store: Conversations) -> None:
        super().__init__()
        self._session, self._store = session, store
        self._waiting: dict[str, Source] = {}
        self._forgotten: set[str] = set()
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._busy = False

    def keep(self, conversation: Conversation, source: Source | None = None) -> None:
        """Write it, or what `source` makes of it, in place of what was to be written of it before."""
        with self._lock:
            self._waiting[conversation.id] = source or (lambda: conversation)
        if not self._busy:
            self._busy = True
            self._session.tasks.run(self._write_all, self._done, self._failed)

    @property
    def idle(self) -> bool:
        """Whether nothing is to be written."""
        return not self._busy

    def forget(self, conversation_id: str) -> None:
        """It was deleted: what was to be written of it must not bring it back."""
        with self._lock:
            self._waiting.pop(conversation_id, None)
            self._forgotten.add(conversation_id)

    def close(self) -> None:
        """The window closes, and tasks that have not begun are dropped: write what is left, without waiting long."""
        last = threading.Thread(target=self._write_last, name="conversation-save", daemon=True)
        last.start()
        last.join(_END_S)

    def _write_all(self) -> None:
        """One conversation after the other, until none waits. Raises BadInputError when one cannot be written."""
        while True:
            with self._lock:
                if not self._waiting:
                    return
                name = next(iter(self._waiting))
                source = self._waiting.pop(name)
            with self._writing:  # who comes later has the newer one, and waits here
                conversation = source()
                if conversation is not None and name not in self._forgotten:
                    self._store.save(conversation)

    def _write_last(self) -> None:
        try:
            self._write_all()
        except WorkbenchError as error:
            _log.warning("a conversation was not kept: %s", error)

    def _done(self, _: object) -> None:
        self._busy = False
        if self._waiting:  # it came between the last look and now
            self._busy = True
            self._session.tasks.run(self._write_all, self._done, self._failed)
        else:
            self.kept.emit()

    def _failed(self, failure: Failure) -> None:
        self._busy = False
        self._session.notices.fail(failure)

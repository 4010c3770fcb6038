"""What can be done with a server from the window: start, stop, copy what asks it, hand it on to other pages."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QWidget

from workbench.core.errors import Failure
from workbench.serve.client import ServeRequest
from workbench.toolchains.secrets import Secret
from workbench.ui.models.serving import (
    KeyChoice,
    ServerRow,
    Started,
    base_url,
    curl_text,
    endpoint_of,
    keep_key,
    openai_text,
    remove_server,
    start_server,
    stop_server,
)
from workbench.ui.session import Session
from workbench.ui.widgets.delete_question import DeleteQuestion


class ServingVerbs(QObject):
    """`started` gives a Started, `failed` a Failure of starting; `changed`: look at the servers again."""

    started = Signal(object)
    failed = Signal(object)
    changed = Signal()
    kept = Signal(str)
    """Words for the keyring that a key was put into."""

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self._session = session
        self._question = DeleteQuestion(parent)
        self.starting = False
        self._kept_as: dict[Path, str] = {}
        """Entries of the keyring, of servers whose new key was put there from here."""

    def start(self, request: ServeRequest, key: KeyChoice) -> None:
        """Check and start a server; one at a time."""
        if self.starting:
            return
        self.starting = True
        home = self._session.home
        self._session.tasks.run(lambda: start_server(home, request, key), self._take_started, self._take_failure)

    def _take_started(self, result: Started) -> None:
        self.starting = False
        self.started.emit(result)

    def _take_failure(self, failure: Failure) -> None:
        self.starting = False
        self.failed.emit(failure)

    def do(self, verb: str, row: ServerRow) -> None:
        """One of: stop, stop-now, curl, openai, url, prompt, bench, remove."""
        verbs: dict[str, Callable[[ServerRow], None]] = {
            "stop": partial(self._stop, now=False),
            "stop-now": partial(self._stop, now=True),
            "curl": partial(self._copy, curl_text, "The curl command"),
            "openai": partial(self._copy, openai_text, "The program"),
            "url": self._copy_url,
            "prompt": partial(self._hand_on, to="playground"),
            "bench": partial(self._hand_on, to="benchmark"),
            "remove": self._ask_remove,
        }
        verbs[verb](row)

    def _stop(self, row: ServerRow, *, now: bool) -> None:
        self._session.tasks.run(
            lambda: stop_server(row.path, now=now), lambda _: self.changed.emit(), self._session.notices.fail
        )

    def _copy(self, make: Callable[[ServerRow], str], what: str, row: ServerRow) -> None:
        if row.spec is not None:
            QGuiApplication.clipboard().setText(make(row))
            self._session.notices.say("ok", f"{what} is on the clipboard.")

    def _copy_url(self, row: ServerRow) -> None:
        QGuiApplication.clipboard().setText(base_url(row))
        self._session.notices.say("ok", "The server's URL is on the clipboard.")

    def _hand_on(self, row: ServerRow, *, to: str) -> None:
        """Add an endpoint for it, and go to the page with that."""
        home, session = self._session.home, self._session
        kept = self._kept_as.get(row.path, "")

        def go(folder: Path) -> None:
            # The page first: it is made when it is first shown, and hears nothing before.
            session.events.show_page.emit(to)
            if to == "playground":
                session.events.prompt_with.emit(str(folder))
            else:
                session.events.bench_with.emit((folder,))

        session.tasks.run(lambda: endpoint_of(home, row, kept), go, session.notices.fail)

    def _ask_remove(self, row: ServerRow) -> None:
        self._question.ask(
            "Forget this server",
            f"Forget the server of {row.name}?",
            f"{row.path}\nIts readings and logs are deleted; the engine is not touched.",
            "Forget it",
            partial(self._remove, row),
        )

    def _remove(self, row: ServerRow) -> None:
        self._session.tasks.run(
            lambda: remove_server(row.path), lambda _: self.changed.emit(), self._session.notices.fail
        )

    def keep(self, path: Path, name: str, key: Secret) -> None:
        """Put a new key into the keyring; it may ask the person."""

        def done(where: str) -> None:
            self._kept_as[path] = name
            self.kept.emit(where)

        self._session.tasks.run(lambda: keep_key(name, key), done, self._session.notices.fail)

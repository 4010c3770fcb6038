"""What can be done on the playground beside sending a message; the page's buttons, keys and palette call these."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QWidget

from workbench.core.conversation import Conversation
from workbench.ui.models.chat import Chat
from workbench.ui.models.loading import LOG_FILE, EngineFacts
from workbench.ui.pages.playground.composer import Composer
from workbench.ui.pages.playground.engine.picker import EnginePicker
from workbench.ui.pages.playground.kept.export import ask_export
from workbench.ui.pages.playground.kept.history import HistoryDialog
from workbench.ui.pages.playground.kept.prompts import PromptsDialog
from workbench.ui.pages.playground.system_bar import SystemBar
from workbench.ui.pages.playground.talk.conversation import ConversationView
from workbench.ui.session import Session


class Verbs:
    """Acts on the room, the conversation and what is written; `owner` is the parent of its dialogs, `last` gives the
    engine that was loaded last.
    """

    def __init__(
        self,
        session: Session,
        owner: QWidget,
        chat: Chat,
        view: ConversationView,
        composer: Composer,
        bar: SystemBar,
        last: Callable[[], EngineFacts | None],
    ) -> None:
        self._session, self._owner, self._room = session, owner, session.room
        self._chat, self._view, self._composer, self._bar, self._last = chat, view, composer, bar, last
        self.asked_path: Path | None = None
        """The engine that was asked for last, loaded or not."""
        self._picker: EnginePicker | None = None
        self._history: HistoryDialog | None = None

    # -- engines

    def pick_engine(self) -> None:
        """Choose an engine to load, beside what is loaded or in its place."""
        if self._picker is None:
            self._picker = EnginePicker(self._session, self._room, self._owner)
        self._picker.open()

    def load_folder(self, folder: str) -> None:
        """Load this engine in the place of the one that is loaded; nothing happens when it is loaded already."""
        path = Path(folder)
        self._session.events.show_page.emit("playground")
        for engine in self._room.engines:
            if engine.facts.path == path:
                self._room.choose(engine.id)
                return
        self.asked_path = path
        current = self._room.current
        self._room.load(path, instead_of=current.id if current is not None else "")

    def load_again(self) -> None:
        """Load the engine whose answer failed, else the one that was there last, with the same settings; if it is
        loaded already, prompts go to it.
        """
        last = self._chat.failed or self._last()
        if last is None:
            self.pick_engine()
            return
        for engine in self._room.engines:
            if engine.facts.path == last.path:
                self._room.choose(engine.id)
                return
        if self._room.loading is not None and self._room.loading.path == last.path:
            return
        self.asked_path = last.path
        self._room.load(last.path, last.overrides)

    def unload(self) -> None:
        if self._room.current is not None:
            self._room.unload(self._room.current.id)

    def build_demo(self) -> None:
        events = self._session.events
        events.show_page.emit("build")
        events.build_with.emit("demo", "")

    def open_log(self) -> None:
        """What the engine's host printed last, in the system's program for text."""
        self._session.tasks.run(partial(_newest_log, self._session.home.logs), self._open)

    def _open(self, path: Path) -> None:
        if not QDesktopServices.openUrl(QUrl.fromLocalFile(str(path))):
            self._session.notices.say("info", "No program here opens text files; the log is at", str(path))

    # -- the conversation

    def new(self) -> None:
        self._chat.fresh()
        self._composer.edit.setFocus()

    def regenerate_last(self) -> None:
        """Another answer to the last message."""
        path = self._chat.conversation.path()
        if path and not self._chat.streaming:
            self._view.regenerate.emit(path[-1].id)

    def edit_last(self) -> None:
        """Open the last message for editing, in its place."""
        asked = [turn for turn in self._chat.conversation.path() if turn.role == "user"]
        if asked and not self._chat.streaming:
            self._view.edit(asked[-1].id)

    def open_history(self) -> None:
        if self._history is None:
            self._history = HistoryDialog(self._session, self._chat.store, self._owner)
            self._history.opened.connect(self._chat.open)
            self._history.renamed.connect(self._chat.take_name)
            self._history.deleted.connect(self._chat.forget)
        conversation = self._chat.conversation
        self._history.open_fresh(conversation.id if conversation.turns else "")

    def open_kept(self, conversation_id: str) -> None:
        """Go on with a conversation that was kept, if it is still there."""
        self._session.tasks.run(
            partial(self._chat.store.load, conversation_id), self._take_kept, lambda _: None, key="playground.kept"
        )

    def _take_kept(self, conversation: Conversation) -> None:
        if not self._chat.conversation.turns:  # else the person has begun another one meanwhile
            self._chat.open(conversation)

    def open_prompts(self) -> None:
        """Saved prompts: one can be inserted, and what stands in the composer can be saved."""
        dialog = PromptsDialog(self._session, self._composer.text(), self._bar.system.toPlainText(), self._owner)
        dialog.chosen.connect(self._insert)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def refuse_link(self, address: str) -> None:
        """A link of an answer that leads elsewhere than to the web or to mail."""
        self._session.notices.say("info", "This link is not opened: only http, https and mailto are.", address)

    def _insert(self, text: str, system: str) -> None:
        if system:
            self._bar.system.setPlainText(system)
            self._bar.flush()
        if text:
            self._composer.set_text(text)
        self._composer.edit.setFocus()

    def export(self) -> None:
        """Ask for a file, and write the conversation there as Markdown or JSON."""
        conversation = self._chat.conversation
        if not conversation.turns:
            self._session.notices.say("info", "There is nothing to export yet.")
            return
        ask_export(self._session, self._owner, conversation.shown_title, lambda: conversation)


def _newest_log(folder: Path) -> Path:
    """The log that a host wrote to last; the folder where there is none."""
    written = [(log.stat().st_mtime, log) for log in folder.glob(LOG_FILE.format("*"))]
    return max(written)[1] if written else folder

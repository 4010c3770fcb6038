"""What can be done on the playground beside sending a message; the page's buttons, keys and palette call these."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices

from workbench.core.conversation import Conversation
from workbench.ui.models.loading import LOG_FILE
from workbench.ui.pages.playground.engine.picker import EnginePicker
from workbench.ui.pages.playground.kept.export import ask_export
from workbench.ui.pages.playground.kept.history import HistoryDialog
from workbench.ui.pages.playground.kept.prompts import PromptsDialog

if TYPE_CHECKING:
    from workbench.ui.pages.playground.page import PlaygroundPage


class Verbs:
    """Acts on a page's room, conversation and dialogs."""

    def __init__(self, page: PlaygroundPage) -> None:
        self._page = page
        self.asked_path: Path | None = None
        """The engine that was asked for last, loaded or not."""
        self._picker: EnginePicker | None = None
        self._history: HistoryDialog | None = None

    # -- engines

    def pick_engine(self) -> None:
        """Choose an engine to load, beside what is loaded or in its place."""
        if self._picker is None:
            self._picker = EnginePicker(self._page.session, self._page.room, self._page)
        self._picker.open()

    def load_folder(self, folder: str) -> None:
        """Load this engine in the place of the one that is loaded; nothing happens when it is loaded already."""
        page, path = self._page, Path(folder)
        page.session.events.show_page.emit("playground")
        for engine in page.room.engines:
            if engine.facts.path == path:
                page.room.choose(engine.id)
                return
        self.asked_path = path
        current = page.room.current
        page.room.load(path, instead_of=current.id if current is not None else "")

    def load_again(self) -> None:
        """Load the engine that was there last, with the same settings."""
        last = self._page.last
        if last is None:
            self.pick_engine()
            return
        self.asked_path = last.path
        self._page.room.load(last.path, last.overrides)

    def unload(self) -> None:
        if self._page.room.current is not None:
            self._page.room.unload(self._page.room.current.id)

    def build_demo(self) -> None:
        events = self._page.session.events
        events.show_page.emit("build")
        events.build_with.emit("demo", "")

    def open_log(self) -> None:
        """What the engine's host printed, in the system's program for text."""
        path = self._page.session.home.logs / LOG_FILE
        if not QDesktopServices.openUrl(QUrl.fromLocalFile(str(path))):
            self._page.session.notices.say("info", "No program here opens text files; the log is at", str(path))

    # -- the conversation

    def new(self) -> None:
        self._page.chat.fresh()
        self._page.composer.edit.setFocus()

    def regenerate_last(self) -> None:
        """Another answer to the last message."""
        path = self._page.chat.conversation.path()
        if path and not self._page.chat.streaming:
            self._page.view.regenerate.emit(path[-1].id)

    def edit_last(self) -> None:
        """Open the last message for editing, in its place."""
        asked = [turn for turn in self._page.chat.conversation.path() if turn.role == "user"]
        if asked and not self._page.chat.streaming:
            self._page.view.edit(asked[-1].id)

    def open_history(self) -> None:
        if self._history is None:
            self._history = HistoryDialog(self._page.session, self._page.chat.store, self._page)
            self._history.opened.connect(self._page.chat.open)
            self._history.renamed.connect(self._page.chat.take_name)
            self._history.deleted.connect(self._page.chat.forget)
        conversation = self._page.chat.conversation
        self._history.open_fresh(conversation.id if conversation.turns else "")

    def open_kept(self, conversation_id: str) -> None:
        """Go on with a conversation that was kept, if it is still there."""
        page = self._page
        page.session.tasks.run(
            partial(page.chat.store.load, conversation_id), self._take_kept, lambda _: None, key="playground.kept"
        )

    def _take_kept(self, conversation: Conversation) -> None:
        if not self._page.chat.conversation.turns:  # else the person has begun another one meanwhile
            self._page.chat.open(conversation)

    def open_prompts(self) -> None:
        """Saved prompts: one can be inserted, and what stands in the composer can be saved."""
        page = self._page
        dialog = PromptsDialog(page.session, page.composer.text(), page.bar.system.toPlainText(), page)
        dialog.chosen.connect(self._insert)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def refuse_link(self, address: str) -> None:
        """A link of an answer that leads elsewhere than to the web or to mail."""
        self._page.session.notices.say("info", "This link is not opened: only http, https and mailto are.", address)

    def _insert(self, text: str, system: str) -> None:
        page = self._page
        if system:
            page.bar.system.setPlainText(system)
            page.bar.flush()
        if text:
            page.composer.set_text(text)
        page.composer.edit.setFocus()

    def export(self) -> None:
        """Ask for a file, and write the conversation there as Markdown or JSON."""
        page, conversation = self._page, self._page.chat.conversation
        if not conversation.turns:
            page.session.notices.say("info", "There is nothing to export yet.")
            return
        ask_export(page.session, page, conversation.shown_title, lambda: conversation)

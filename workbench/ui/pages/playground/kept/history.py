"""Conversations that were kept: find one, open it, name it, export it, delete it."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtWidgets import QWidget

from workbench.core.conversation import Conversation
from workbench.core.errors import Failure
from workbench.store.conversations import Conversations, Kept
from workbench.ui.pages.engines.table import date_words, spaced
from workbench.ui.pages.playground.engine.faces import FailureText
from workbench.ui.pages.playground.kept.export import ask_export
from workbench.ui.session import Session
from workbench.ui.theme import mono_font, text_font
from workbench.ui.widgets.basics import EmptyState, button, label, row
from workbench.ui.widgets.cause_card import breakable
from workbench.ui.widgets.delete_question import DeleteQuestion
from workbench.ui.widgets.list_dialog import ListDialog
from workbench.ui.widgets.list_table import (
    ROW_ROLE,
    SEARCH_ROLE,
    SIGN_ROLE,
    SORT_ROLE,
    TOKEN_ROLE,
    ListTable,
)
from workbench.ui.widgets.table_parts import NONE, Index, RowsModel, side

_SIZE = (820, 520)
_COLUMNS = (("Title", False, ""), ("Engine", False, ""), ("Turns", True, ""), ("Mode", False, ""), ("When", True, ""))
TITLE, ENGINE, TURNS, MODE, WHEN = range(len(_COLUMNS))
_MODES = {"chat": "chat", "raw": "completion"}


class HistoryModel(RowsModel):
    """Kept conversations, newest first; a title that is edited is sent as `renaming`."""

    headings = _COLUMNS
    rows: tuple[Kept, ...] = ()
    renaming = Signal(object, str)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.open_id = ""

    def take(self, rows: tuple[Kept, ...]) -> None:
        if rows != self.rows:
            self.beginResetModel()
            self.rows = rows
            self.endResetModel()

    def flags(self, index: Index) -> Qt.ItemFlag:
        found = super().flags(index)
        can = index.isValid() and index.column() == TITLE and not self.rows[index.row()].problem
        return found | Qt.ItemFlag.ItemIsEditable if can else found

    def setData(self, index: Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        kept = self.rows[index.row()]
        title = " ".join(str(value).split())
        if role != Qt.ItemDataRole.EditRole or kept.problem or title == kept.title:
            return False
        self.renaming.emit(kept, title)
        return True

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        kept, column = self.rows[index.row()], index.column()
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return _cell(kept, column)
        if role == ROW_ROLE:
            return kept
        if role == SORT_ROLE:
            return {TURNS: kept.turns, WHEN: kept.changed_at}.get(column, _cell(kept, column).casefold())
        if role == SEARCH_ROLE:
            damaged = "damaged" if kept.problem else ""
            return " ".join((kept.title, kept.engine, _cell(kept, MODE), kept.path.name, damaged))
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return side(_COLUMNS[column][1])
        if role == TOKEN_ROLE:
            if kept.problem:
                return "err" if column == MODE else "text3"
            return "text" if column in (TITLE, TURNS) else "text2"
        if role == SIGN_ROLE and column == MODE and kept.problem:
            return "error"
        if role == Qt.ItemDataRole.FontRole:
            if column == TITLE:
                return text_font(bold=kept.id == self.open_id)
            return mono_font(12) if _COLUMNS[column][1] else None
        if role == Qt.ItemDataRole.ToolTipRole:
            if kept.problem:
                return kept.problem
            if column == WHEN:
                return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(kept.changed_at))
            return f"{kept.title}\n{kept.path}" if column == TITLE else None
        if role == Qt.ItemDataRole.AccessibleTextRole:
            said = self.said(column, _cell(kept, column))
            return f"{said}. Damaged: {kept.problem}" if kept.problem and column == TITLE else said
        return None


def _cell(kept: Kept, column: int) -> str:
    if kept.problem and column in (ENGINE, TURNS, MODE):
        return "damaged" if column == MODE else NONE
    return {
        TITLE: kept.title,
        ENGINE: kept.engine,
        TURNS: spaced(kept.turns),
        MODE: _MODES.get(kept.mode, kept.mode),
        WHEN: date_words(kept.changed_at),
    }[column] or NONE


class HistoryDialog(ListDialog):
    """`opened` gives the chosen conversation, read in a task; the dialog closes then.

    Whoever holds a conversation listens to `renamed` and `deleted`: what is saved later would undo them.
    """

    opened = Signal(object)
    """Conversation."""
    renamed = Signal(object)
    """Conversation with its new title, as it is kept now."""
    deleted = Signal(str)
    """A conversation's id."""

    def __init__(self, session: Session, conversations: Conversations, parent: QWidget | None = None) -> None:
        super().__init__("Conversations", "history-dialog", _SIZE, parent)
        self._session, self._kept = session, conversations
        self._question = DeleteQuestion(self)
        self.model = HistoryModel(self)
        self.make_list(
            self.model,
            EmptyState("No conversation was kept yet.", "What you ask and what is answered is kept here."),
            name="Conversations, newest first",
            hint="Search by title, engine, mode",
            search_name="Search the conversations",
        )
        self.table.setEditTriggers(ListTable.EditTrigger.EditKeyPressed)
        self.said = label("", "small", wrap=True)
        self.said.setAccessibleName("About the chosen conversation")
        self.failure = FailureText()
        self.delete_button = button("Delete\N{HORIZONTAL ELLIPSIS}", self.ask_delete, icon_name="trash")
        self.rename_button = button("Rename", self.rename, tip="F2")
        self.export_button = button("Export\N{HORIZONTAL ELLIPSIS}", self.export, icon_name="save")
        self.export_button.setToolTip("As Markdown or JSON")
        self.close_button = button("Close", self.reject)
        self.open_button = button("Open", self.open_chosen, primary=True)
        verbs = (self.delete_button, self.rename_button, self.export_button)
        self.lay_out(self.said, self.failure, row(*verbs, None, self.close_button, self.open_button))
        self.failure.hide()
        self.open_button.setDefault(True)
        self.table.doubleClicked.connect(lambda _: self.open_chosen())
        self.model.renaming.connect(self._rename)
        self._show_choice()

    # -- what is there

    def open_fresh(self, open_id: str = "") -> None:
        """Show what is kept now; `open_id` is the conversation that the page shows."""
        self.model.open_id = open_id
        self.open()

    def _shown(self) -> None:
        self.failure.hide()
        self.refresh()

    def refresh(self) -> None:
        """Read the list again; the choice stays with its conversation."""
        self._session.tasks.run(self._kept.list, self._take, self._fail, key="history.list")

    def _take(self, rows: tuple[Kept, ...]) -> None:
        chosen = self.table.chosen()
        place = self.table.currentIndex().row()
        self.model.take(rows)
        self.show_list(bool(rows), self.close_button)
        if chosen is None or not self.table.choose(lambda kept: kept.id == chosen.id):
            # The one that was deleted leaves its place to the next.
            self.table.selectRow(min(max(place, 0), self.filter.rowCount() - 1))
        self._show_choice()

    def chosen(self) -> Kept | None:
        found = self.table.chosen()
        return found if isinstance(found, Kept) else None

    def _show_choice(self) -> None:
        kept = self.chosen()
        whole = kept is not None and not kept.problem
        for made in (self.open_button, self.rename_button, self.export_button):
            made.setEnabled(whole)
        self.delete_button.setEnabled(kept is not None)
        if kept is None:
            self.said.setText("No conversation has these words." if self.model.rows else "")
        else:
            self.said.setText(breakable(kept.problem))
            self.said.setToolTip(kept.problem)

    def _fail(self, failure: Failure) -> None:
        self.failure.show_failure(failure)
        self.failure.show()

    # -- verbs

    def open_chosen(self) -> None:
        """Read the chosen conversation; `opened` gives it and the dialog closes."""
        kept = self.chosen()
        if kept is None or kept.problem:
            return

        def done(found: Conversation) -> None:
            self.accept()
            self.opened.emit(found)

        self.failure.hide()
        self._session.tasks.run(partial(self._kept.load, kept.id), done, self._lost, key="history.open")

    def _lost(self, failure: Failure) -> None:
        self._fail(failure)
        self.refresh()

    def rename(self) -> None:
        """Edit the title in its place."""
        for index in self.table.selectionModel().selectedRows(TITLE):
            self.table.setFocus()
            self.table.edit(index)

    def _rename(self, kept: Kept, title: str) -> None:
        store = self._kept

        def work() -> Conversation:
            named = store.load(kept.id).renamed(title)
            store.save(named)
            return named

        def done(named: Conversation) -> None:
            self.renamed.emit(named)
            self.refresh()

        self.failure.hide()
        self._session.tasks.run(work, done, self._lost)

    def export(self) -> None:
        """Ask for a file and write the chosen conversation there."""
        kept = self.chosen()
        if kept is not None and not kept.problem:
            ask_export(self._session, self, kept.title, partial(self._kept.load, kept.id))

    def ask_delete(self) -> None:
        """Ask, then delete the chosen conversation for good."""
        kept = self.chosen()
        if kept is not None:
            branches = "" if kept.problem else ", with all its branches"
            self._question.ask(
                "Delete the conversation",
                f"Delete \N{LEFT DOUBLE QUOTATION MARK}{kept.title}\N{RIGHT DOUBLE QUOTATION MARK}?",
                f"It is removed for good{branches}.",
                "Delete",
                partial(self._delete, kept),
            )

    def _delete(self, kept: Kept) -> None:
        def done(_: None) -> None:
            self.deleted.emit(kept.id)
            self.refresh()

        self.failure.hide()
        self._session.tasks.run(partial(self._kept.delete, kept.id), done, self._lost)

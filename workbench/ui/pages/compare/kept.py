"""All comparisons that were kept: find one and show it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtWidgets import QWidget

from workbench.measure.kept import Kept, kept_results
from workbench.ui.pages.engines.table import date_words
from workbench.ui.session import Session
from workbench.ui.theme import mono_font, text_font
from workbench.ui.widgets.basics import EmptyState, button, label, row
from workbench.ui.widgets.list_dialog import ListDialog
from workbench.ui.widgets.list_table import ROW_ROLE, SEARCH_ROLE, SIGN_ROLE, SORT_ROLE, TOKEN_ROLE
from workbench.ui.widgets.table_parts import NONE, Index, RowsModel, side

_SIZE = (820, 500)
_COLUMNS = (
    ("Title", False, ""),
    ("Variants", False, ""),
    ("Workload", False, ""),
    ("State", False, ""),
    ("When", True, ""),
)
TITLE, VARIANTS, WORKLOAD, STATE, WHEN = range(len(_COLUMNS))


class KeptModel(RowsModel):
    """Comparisons, newest first."""

    headings = _COLUMNS
    rows: tuple[Kept, ...] = ()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.shown: Path | None = None

    def take(self, rows: tuple[Kept, ...]) -> None:
        if rows != self.rows:
            self.beginResetModel()
            self.rows = rows
            self.endResetModel()

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        kept, column = self.rows[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return _cell(kept, column)
        if role == ROW_ROLE:
            return kept
        if role == SORT_ROLE:
            return kept.created_at if column == WHEN else _cell(kept, column).casefold()
        if role == SEARCH_ROLE:
            return " ".join(_cell(kept, each) for each in range(len(_COLUMNS))) + f" {kept.folder.name}"
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return side(_COLUMNS[column][1])
        if role == TOKEN_ROLE:
            if kept.problem:
                return "err" if column == STATE else "text3"
            return "text" if column == TITLE else "text2"
        if role == SIGN_ROLE and column == STATE:
            return "error" if kept.problem else None
        if role == Qt.ItemDataRole.FontRole:
            if column == TITLE:
                return text_font(bold=kept.folder == self.shown)
            return mono_font(12) if column == WHEN else None
        if role == Qt.ItemDataRole.ToolTipRole:
            if kept.problem:
                return kept.problem
            if column == WHEN:
                return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(kept.created_at))
            return f"{_cell(kept, column)}\n{kept.folder}" if column == TITLE else _cell(kept, column)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return self.said(column, _cell(kept, column))
        return None


def _cell(kept: Kept, column: int) -> str:
    if kept.problem:
        return {TITLE: kept.folder.name, STATE: "damaged"}.get(column, NONE)
    return {
        TITLE: kept.title or kept.id,
        VARIANTS: ", ".join(kept.subjects),
        WORKLOAD: kept.workload,
        STATE: kept.status,
        WHEN: date_words(kept.created_at),
    }[column] or NONE


class KeptDialog(ListDialog):
    """`chosen` gives the folder."""

    chosen = Signal(object)

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__("All comparisons", "kept-comparisons", _SIZE, parent)
        self._session = session
        self.model = KeptModel(self)
        self.make_list(
            self.model,
            EmptyState("Nothing was compared yet.", "What is measured on this page is kept, and stands here."),
            name="Comparisons",
            hint="Search by title, variant, workload",
            search_name="Search the comparisons",
        )
        self.said = label("", "small", wrap=True)
        self.said.setMinimumHeight(self.said.fontMetrics().lineSpacing())
        self.close_button = button("Close", self.reject)
        self.show_button = button("Show", self._show_chosen, primary=True)
        self.lay_out(self.said, row(None, self.close_button, self.show_button))
        self.table.doubleClicked.connect(lambda _: self._show_chosen())

    def ask(self, shown: Path | None) -> None:
        self.model.shown = shown
        self.open()

    def _shown(self) -> None:
        home = self._session.home
        self._session.tasks.run(
            lambda: tuple(kept_results(home, "comparison")), self._take, self._session.notices.fail, key="kept"
        )

    def _take(self, rows: tuple[Kept, ...]) -> None:
        self.model.take(rows)
        self.show_list(bool(rows), self.close_button)
        if rows and self.table.chosen() is None:
            self._choose_one()
        self._show_choice()

    def _show_choice(self) -> None:
        chosen: Kept | None = self.table.chosen()
        self.show_button.setEnabled(chosen is not None and not chosen.problem)
        self.said.setText(chosen.problem if chosen is not None else "")

    def _show_chosen(self) -> None:
        chosen: Kept | None = self.table.chosen()
        if chosen is not None and not chosen.problem:
            self.accept()
            self.chosen.emit(chosen.folder)

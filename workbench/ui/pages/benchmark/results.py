"""All benchmark runs of the home: open one, or choose the one that another is held against."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtWidgets import QWidget

from workbench.core.errors import Failure
from workbench.measure.kept import Kept, kept_results
from workbench.ui.pages.engines.table import date_words
from workbench.ui.session import Session
from workbench.ui.theme import mono_font, text_font
from workbench.ui.widgets.basics import EmptyState, button, label, row
from workbench.ui.widgets.editors import spaced
from workbench.ui.widgets.list_dialog import ListDialog
from workbench.ui.widgets.list_table import ROW_ROLE, SEARCH_ROLE, SIGN_ROLE, SORT_ROLE, TOKEN_ROLE
from workbench.ui.widgets.table_parts import NONE, Index, RowsModel, side

_SIZE = (900, 520)
_COLUMNS = (
    ("Engines", False, ""),
    ("Workload", False, ""),
    ("State", False, "Whether it was measured to its end"),
    ("When", True, ""),
)
ENGINES, WORKLOAD, STATE, WHEN = range(len(_COLUMNS))
_SIGNS = {"damaged": ("error", "err"), "failed": ("error", "err"), "stopped": ("warn", "warn")}


class ResultsModel(RowsModel):
    """Kept runs, newest first."""

    headings = _COLUMNS
    rows: tuple[Kept, ...] = ()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.shown = Path()

    def take(self, rows: tuple[Kept, ...], shown: Path | None) -> None:
        self.beginResetModel()
        self.rows, self.shown = rows, shown or Path()
        self.endResetModel()

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        kept, column = self.rows[index.row()], index.column()
        text = _cell(kept, column)
        if role == Qt.ItemDataRole.DisplayRole:
            return text
        if role == ROW_ROLE:
            return kept
        if role == SORT_ROLE:
            return kept.created_at if column == WHEN else text.casefold()
        if role == SEARCH_ROLE:
            return " ".join((kept.title, *kept.subjects, kept.workload, kept.status, kept.id))
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return side(_COLUMNS[column][1])
        if role == TOKEN_ROLE:
            if column == STATE:
                return _SIGNS.get(kept.status, ("", "text2"))[1]
            return "text3" if kept.problem else "text" if column == ENGINES else "text2"
        if role == SIGN_ROLE and column == STATE:
            return _SIGNS.get(kept.status, ("", ""))[0] or None
        if role == Qt.ItemDataRole.FontRole:
            if column == ENGINES:
                return text_font(bold=kept.folder == self.shown)
            return mono_font(12) if column == WHEN else None
        if role == Qt.ItemDataRole.ToolTipRole:
            if kept.problem:
                return kept.problem
            if column == WHEN:
                return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(kept.created_at))
            return f"{text}\n{kept.folder}" if column == ENGINES else text
        if role == Qt.ItemDataRole.AccessibleTextRole:
            said = self.said(column, text)
            return f"{said}. Damaged: {kept.problem}" if kept.problem and column == ENGINES else said
        return None


def _cell(kept: Kept, column: int) -> str:
    return {
        ENGINES: ", ".join(kept.subjects) or kept.title or kept.id,
        WORKLOAD: spaced(kept.workload),
        STATE: kept.status,
        WHEN: date_words(kept.created_at),
    }[column] or NONE


class ResultsDialog(ListDialog):
    """`chosen` gives the folder of a run. `ask` says for what."""

    chosen = Signal(object)

    def __init__(self, session: Session, parent: QWidget | None = None, empty: EmptyState | None = None) -> None:
        super().__init__("All results", "bench-results", _SIZE, parent)
        self._session = session
        self.find: Callable[[], list[Kept]] = partial(kept_results, session.home, "bench")
        """Which runs it lists; called in a thread."""
        self._now: Path | None = None
        self._without: Path | None = None
        self.model = ResultsModel(self)
        self.make_list(
            self.model,
            empty or EmptyState("Nothing was measured yet.", "Every run is kept here, also one that was stopped."),
            name="Benchmark runs, newest first",
            hint="Search by engine, workload, state",
            search_name="Search the runs",
        )
        self.said = label("", "small", wrap=True)
        self.said.setMinimumHeight(self.said.fontMetrics().lineSpacing())
        self.said.setAccessibleName("About the chosen run")
        self.close_button = button("Close", self.reject)
        self.open_button = button("Open", self._open, primary=True)
        self.lay_out(self.said, row(None, self.close_button, self.open_button))
        self.table.doubleClicked.connect(lambda _: self._open() if self.open_button.isEnabled() else None)

    def ask(self, title: str, verb: str, shown: Path | None, *, without: Path | None = None) -> None:
        """Open it. `shown`: the run that is open; `without`: a run that cannot be chosen."""
        self.setWindowTitle(title)
        self.open_button.setText(verb)
        self.open_button.setAccessibleName(verb)
        self._now, self._without = shown, without
        self.open()

    def _take(self, found: list[Kept]) -> None:
        rows = tuple(one for one in found if one.folder != self._without)
        self.model.take(rows, self._now)
        self.show_list(bool(rows), self.close_button)
        if not self.table.choose(lambda each: each.folder == self._now):
            self._choose_one()
        self._show_choice()

    def _fail(self, failure: Failure) -> None:
        self.said.setText(failure.what)

    def _show_choice(self) -> None:
        kept: Kept | None = self.table.chosen()
        self.open_button.setEnabled(kept is not None and not kept.problem)
        self.said.setText(kept.problem if kept is not None else "")

    def _shown(self) -> None:
        self._session.tasks.run(self.find, self._take, self._fail, key=f"{self.objectName()}.rows")

    def _open(self) -> None:
        kept: Kept | None = self.table.chosen()
        if kept is not None and not kept.problem:
            self.accept()
            self.chosen.emit(kept.folder)

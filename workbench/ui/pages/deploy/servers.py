"""The list of servers: those that run, and those that ended, whoever started them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from PySide6.QtCore import QItemSelectionModel, QSortFilterProxyModel, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QHeaderView

from workbench.core.report import words
from workbench.core.units import format_duration
from workbench.ui.models.serving import STATUS_WORDS, ServerRow, Servers, base_url
from workbench.ui.theme import mono_font
from workbench.ui.widgets.list_table import ROW_ROLE, SIGN_ROLE, SORT_ROLE, TOKEN_ROLE, ListTable
from workbench.ui.widgets.table_parts import NONE, Index, RowsModel, side

_SIGNS = {"ok": "check", "err": "error", "warn": "warn", "accent": "play", "plain": "dash"}
_TOKENS = {"ok": "ok", "err": "err", "warn": "warn", "accent": "accent", "plain": "text3"}
NAME, STATUS, ADDRESS, MODEL, ACTIVE, QUEUED, TOKENS, ANSWERED, UP = range(9)
_WIDE, _ROOMY, _SMALL = 940, 720, 580
_FIGURES = (ADDRESS, ACTIVE, QUEUED, TOKENS, ANSWERED, UP)


def up_words(row: ServerRow, now: float) -> str:
    """How long it has been, or was, ready."""
    begun = row.state.ready_at
    if begun is None:
        return NONE
    return format_duration(max(0.0, (row.state.ended_at or now) - begun))


class ServersModel(RowsModel):
    """One server a row."""

    headings = (
        ("Engine", False, "The engine that answers"),
        ("Status", False, "draining: it takes no new requests and answers those it has"),
        ("Address", False, "Where clients find it"),
        ("Model", False, "The model name that clients send"),
        ("Active", True, "Requests that the engine works on"),
        ("Queued", True, "Requests that wait"),
        ("tok/s", True, "Generated tokens a second, over the last seconds"),
        ("Answered", True, "Requests answered since the start"),
        ("Up", True, "Since it was ready"),
    )
    rows: tuple[ServerRow, ...] = ()

    def take(self, rows: tuple[ServerRow, ...]) -> bool:
        """Show these; True when rows came or went, which loses what is chosen."""
        same = [row.path for row in rows] == [row.path for row in self.rows]
        if same:
            self.rows = rows
            self.all_changed()
            return False
        self.beginResetModel()
        self.rows = rows
        self.endResetModel()
        return True

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row, column = self.rows[index.row()], index.column()
        if role == ROW_ROLE:
            return row
        if role == Qt.ItemDataRole.DisplayRole:
            return self.cell(row, column)
        if role == SORT_ROLE:
            return self._sort_value(row, column)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return side(self.headings[column][1])
        if role == Qt.ItemDataRole.FontRole and column in _FIGURES:
            return mono_font()
        kind = STATUS_WORDS[row.state.status][1]
        if column == STATUS and role == SIGN_ROLE:
            return _SIGNS[kind]
        if role == TOKEN_ROLE:
            return _TOKENS[kind] if column == STATUS else "text" if row.running else "text3"
        if role == Qt.ItemDataRole.ToolTipRole:
            return row.problem or (row.spec.engine if row.spec is not None and column == NAME else None)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return self.said(column, self.cell(row, column))
        return None

    @staticmethod
    def cell(row: ServerRow, column: int) -> str:
        """The text of a cell."""
        reading, running = row.reading, row.running
        if column == NAME:
            return row.name
        if column == STATUS:
            return "cannot be read" if row.problem else STATUS_WORDS[row.state.status][0]
        if column == ADDRESS:
            return base_url(row).removesuffix("/v1").removeprefix("http://") or NONE
        if column == MODEL:
            return row.model or NONE
        if column == UP:
            return up_words(row, time.time())
        if reading is None or (not running and column != ANSWERED):
            return NONE
        if column == ACTIVE:
            return words.number(reading.active)
        if column == QUEUED:
            return words.number(reading.queued)
        if column == TOKENS:
            return words.number(reading.output_tok_s, 0)
        return words.number(reading.completed)

    @staticmethod
    def _sort_value(row: ServerRow, column: int) -> Any:
        reading = row.reading
        if column == UP:
            begun = row.state.ready_at
            return -1.0 if begun is None else (row.state.ended_at or time.time()) - begun
        if reading is not None and column in (ACTIVE, QUEUED, TOKENS, ANSWERED):
            found = {ACTIVE: reading.active, QUEUED: reading.queued, TOKENS: reading.output_tok_s or 0.0}
            return float(found.get(column, reading.completed))
        return -1.0 if column in (ACTIVE, QUEUED, TOKENS, ANSWERED) else ServersModel.cell(row, column).casefold()


class ServersTable(ListTable):
    """`picked` is sent with the path of the chosen server, or None."""

    picked = Signal(object)

    def __init__(self) -> None:
        self.servers = ServersModel()
        proxy = QSortFilterProxyModel()
        proxy.setSourceModel(self.servers)
        proxy.setSortRole(SORT_ROLE)
        super().__init__(proxy, "Servers")
        proxy.setParent(self)
        self.servers.setParent(self)
        header = self.horizontalHeader()
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        self._picked: Path | None = None
        self.selectionModel().selectionChanged.connect(lambda *_: self._pick())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        # What the server's own pane says too gives way first.
        self.setColumnHidden(MODEL, event.size().width() < _WIDE)
        self.setColumnHidden(ANSWERED, event.size().width() < _WIDE)
        self.setColumnHidden(UP, event.size().width() < _ROOMY)
        self.setColumnHidden(ADDRESS, event.size().width() < _SMALL)

    def show_servers(self, found: Servers) -> None:
        """Show these; the chosen one stays chosen, else the first is."""
        wanted = self._picked
        if self.servers.take(found.rows):
            if wanted is None or not self.choose(lambda row: row.path == wanted):
                self._picked = None
                self.choose(lambda _: True)
            self._pick()

    def pick(self, path: Path) -> None:
        """Choose a server, now or once it is listed."""
        self._picked = path
        self.choose(lambda row: row.path == path)

    @property
    def wanted(self) -> Path | None:
        """What was picked last; another thread may ask."""
        return self._picked

    @property
    def picked_path(self) -> Path | None:
        row = self.chosen()
        return row.path if isinstance(row, ServerRow) else None

    def _pick(self) -> None:
        path = self.picked_path
        if path is not None:
            self._picked = path
        self.picked.emit(path)

    def clear_choice(self) -> None:
        """Choose none."""
        self.selectionModel().select(self.model().index(-1, -1), QItemSelectionModel.SelectionFlag.Clear)

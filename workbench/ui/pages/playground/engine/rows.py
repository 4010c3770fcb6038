"""The engines of the home as the picker's table shows them, with what is loaded now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Qt

from workbench.core.units import format_bytes
from workbench.ui.models.engines import EngineRow
from workbench.ui.pages.engines.table import badge_words, date_words
from workbench.ui.theme import mono_font, text_font
from workbench.ui.widgets.list_table import ROW_ROLE, SEARCH_ROLE, SIGN_ROLE, SORT_ROLE, TOKEN_ROLE
from workbench.ui.widgets.table_parts import NONE, NOT_REPORTED, Index, RowsModel, side

_COLUMNS = (
    # title, figure at the right, tool tip of the heading
    ("Name", False, ""),
    ("Model", False, ""),
    ("Precision", False, "Weights, and the KV cache where it has a precision of its own"),
    ("Toolchain", False, ""),
    ("Size", True, "Size of its files"),
    ("Built", True, ""),
    ("State", False, ""),
)
NAME, MODEL, PRECISION, TOOLCHAIN, SIZE, BUILT, STATE = range(len(_COLUMNS))


@dataclass(frozen=True)
class Now:
    """What the room holds, by the engine's folder."""

    loaded: Mapping[Path, str]
    """Folder -> id of the engine."""
    current: Path | None
    """That of the engine which prompts go to."""
    loading: Path | None


NOTHING = Now({}, None, None)


def state_words(row: EngineRow, now: Now) -> tuple[str, str, str, str]:
    """Word, token of its colour, icon, and the whole of it for the tool tip."""
    if row.path in now.loaded:
        if row.path == now.current:
            return "in use", "accent", "check", "Loaded, and prompts go to it"
        return "loaded", "ok", "check", "Loaded beside the engine that prompts go to"
    if row.path == now.loading:
        return "loading", "accent", "play", "It is being loaded"
    word, kind, reason = badge_words(row)
    if kind == "ok":
        return word, "text2", "", reason
    return word, kind or "text3", {"warn": "warn", "err": "error"}.get(kind, ""), reason


def precision_cell(row: EngineRow) -> str:
    """`INT4 AWQ weights, FP8 KV cache`, as the header of the page has it."""
    weights = f"{row.weights} weights" if row.weights else ""
    return ", ".join(part for part in (weights, f"{row.kv} KV cache" if row.kv else "") if part)


def _cell(row: EngineRow, column: int, now: Now) -> str:
    return {
        NAME: row.name,
        MODEL: row.model,
        PRECISION: precision_cell(row),
        TOOLCHAIN: f"{row.toolchain} {row.toolchain_version}".strip(),
        SIZE: format_bytes(row.size_bytes),
        BUILT: date_words(row.created_at),
        STATE: state_words(row, now)[0],
    }[column] or NONE


class PickModel(RowsModel):
    """Rows of a snapshot: what is loaded first, then what runs here, the newest first."""

    headings = _COLUMNS
    rows: tuple[EngineRow, ...] = ()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.now = NOTHING

    def take(self, rows: tuple[EngineRow, ...]) -> None:
        """Other rows; the model is reset unless they are the same."""
        ordered = tuple(sorted(rows, key=lambda row: (row.path not in self.now.loaded, not row.usable)))
        if ordered != self.rows:
            self.beginResetModel()
            self.rows = ordered
            self.endResetModel()

    def show_now(self, now: Now) -> None:
        """What is loaded has changed; the rows stay where they are."""
        if now != self.now:
            self.now = now
            self.all_changed()

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row, column = self.rows[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return _cell(row, column, self.now)
        if role == ROW_ROLE:
            return row
        if role == SORT_ROLE:
            return {SIZE: row.size_bytes, BUILT: row.created_at}.get(column, _cell(row, column, self.now).casefold())
        if role == SEARCH_ROLE:
            state = state_words(row, self.now)[0] + (" loaded" if row.path in self.now.loaded else "")
            words = (row.name, row.model, row.path.name, precision_cell(row), row.toolchain, state, *row.tags)
            return " ".join(words)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return side(_COLUMNS[column][1])
        if role == TOKEN_ROLE:
            return self._token(row, column)
        if role == SIGN_ROLE and column == STATE:
            return state_words(row, self.now)[2] or None
        if role == Qt.ItemDataRole.FontRole:
            return text_font(bold=True) if column == NAME else mono_font(12) if _COLUMNS[column][1] else None
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tip(row, column)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            said = self.said(column, _cell(row, column, self.now))
            reason = self._reason(row)
            return f"{said}. Does not run here: {reason}" if reason and column in (NAME, STATE) else said
        return None

    def _token(self, row: EngineRow, column: int) -> str:
        if column == STATE:
            return state_words(row, self.now)[1]
        if self._reason(row):
            return "text3"
        return "text" if column in (NAME, SIZE) else "text2"

    def _reason(self, row: EngineRow) -> str:
        """Why it cannot be loaded; empty when it can, or nobody knows yet."""
        return reason_against(row)

    def _tip(self, row: EngineRow, column: int) -> str | None:
        if reason := self._reason(row):
            return reason
        if column == STATE:
            return state_words(row, self.now)[3] or None
        if _cell(row, column, self.now) == NONE:
            return NOT_REPORTED
        return str(row.path) if column == NAME else None


def reason_against(row: EngineRow) -> str:
    """Why an engine cannot be loaded here; empty when it can, or nobody looked yet."""
    if not row.looked or row.usable:
        return ""
    return row.missing or row.remark

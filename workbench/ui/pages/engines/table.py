"""The table of engines: model, filter, and the delegate that draws names bold and the "runs here" badge."""

from __future__ import annotations

import time
from typing import Any

from PySide6.QtCore import (
    QModelIndex,
    QRect,
    QSize,
    QSortFilterProxyModel,
    Qt,
)
from PySide6.QtGui import QFont, QFontMetrics, QPainter
from PySide6.QtWidgets import QHeaderView, QStyledItemDelegate, QStyleOptionViewItem, QTableView, QWidget

from workbench.core.units import format_duration
from workbench.ui.icons import pixmap
from workbench.ui.models.engines import EngineRow
from workbench.ui.models.gallery import TOOLCHAIN_TITLES
from workbench.ui.theme import SMALL, mono_font, text_font, theme
from workbench.ui.widgets.list_table import ROW_HEIGHT, ROW_ROLE, SORT_ROLE
from workbench.ui.widgets.table_parts import NONE, NOT_REPORTED, Index, RowsModel, paint_ground, side, whole_rows

_COLUMNS = (
    # title, right-aligned figure, tool tip of the header
    ("Name", False, ""),
    ("Model", False, ""),
    ("Weights", False, "Precision of the weights"),
    ("KV", False, "Precision of the KV cache"),
    ("Toolchain", False, ""),
    ("Built for", False, "GPU or CPU that it was compiled on, or compute capabilities that it was compiled for"),
    ("Batch", True, "Largest batch, in sequences"),
    ("Pass", True, "Most tokens in one forward pass"),
    ("Sequence", True, "Longest sequence, in tokens"),
    ("Size MiB", True, "Size of its files"),
    ("Build", True, "Time that its steps took, the reused ones as they took then"),
    ("Date", True, ""),
    ("Runs here", True, ""),
)
NAME, MODEL, WEIGHTS, KV, TOOLCHAIN, BUILT_FOR, BATCH, PASS, SEQUENCE, SIZE, BUILD, DATE, RUNS = range(len(_COLUMNS))
_SPARED = (PASS, KV, BUILD, BATCH, SEQUENCE, BUILT_FOR, TOOLCHAIN, MODEL, SIZE, DATE)
"""Columns that give way where the window is narrow, the first first; the details below have them all."""
RTX = TOOLCHAIN_TITLES["tensorrt_rtx"]
"""Where no GPU is, ONNX Runtime runs the ONNX model that its engines are made of."""
_PAD, _LEAST = 8, 120
"""px around a cell's text, and of the narrowest column of names."""
_LEFT, _RIGHT = (int(side(right).value) for right in (False, True))


def spaced(number: int) -> str:
    """A whole number with U+202F between the thousands."""
    return f"{number:,}".replace(",", "\u202f")


def mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.1f}".replace(",", "\u202f")


def date_words(epoch_seconds: float, now: float | None = None) -> str:
    """`11-21 08:35` in this year, `2025-11-21` before."""
    then = time.localtime(epoch_seconds)
    this_year = time.localtime(now).tm_year
    return time.strftime("%m-%d %H:%M" if then.tm_year == this_year else "%Y-%m-%d", then)


def badge_words(row: EngineRow) -> tuple[str, str, str]:
    """The badge's word, its kind (ok, warn, err; empty: nothing is known yet) and the reason in full."""
    if not row.looked:
        return "\N{HORIZONTAL ELLIPSIS}", "", "Its folder is being looked at"
    if row.missing:
        return "not whole", "err", row.missing
    if not row.runs:
        short = row.remark.split(";")[0]
        return (short if len(short) <= 24 else "does not run"), "warn", row.remark
    if row.remark and row.toolchain == RTX:
        return "runs as ONNX", "ok", row.remark
    return "runs here", "ok", row.remark


class EnginesModel(RowsModel):
    """Rows of a snapshot. `take` replaces them and keeps what stays where it is."""

    headings = _COLUMNS
    rows: tuple[EngineRow, ...] = ()

    def take(self, rows: tuple[EngineRow, ...]) -> None:
        if [row.path for row in rows] == [row.path for row in self.rows]:
            self.rows = rows
            self.all_changed()
            return
        more, old = len(rows) - len(self.rows), len(self.rows)
        if old and more > 0 and [row.path for row in rows[:old]] == [row.path for row in self.rows]:
            # What is chosen and where the table was scrolled to stays.
            self.beginInsertRows(QModelIndex(), old, old + more - 1)
            self.rows = rows
            self.endInsertRows()
            self.dataChanged.emit(self.index(0, 0), self.index(old - 1, len(_COLUMNS) - 1))
            return
        self.beginResetModel()
        self.rows = rows
        self.endResetModel()

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self.rows[index.row()]
        column = index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return cell(row, column)
        if role == SORT_ROLE:
            return _sort_key(row, column)
        if role == ROW_ROLE:
            return row
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tip(row, column)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return side(_COLUMNS[column][1])
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return self.said(column, cell(row, column))
        return None

    def _tip(self, row: EngineRow, column: int) -> str | None:
        if column == RUNS:
            return badge_words(row)[2] or None
        if cell(row, column) == NONE:
            return NOT_REPORTED
        if column == NAME:
            return f"{row.path}\nshared: used from here, and never changed" if row.shared else str(row.path)
        if column == BUILT_FOR:
            return row.built_for_more or row.built_for
        return None


def cell(row: EngineRow, column: int) -> str:
    """The text of a cell; a dash stands for what was not reported, and the tool tip says so."""
    limits = {BATCH: row.max_batch_size, PASS: row.max_num_tokens, SEQUENCE: row.max_seq_len}
    if column in limits:
        value = limits[column]
        return NONE if value is None else spaced(value)
    return {
        NAME: f"{row.name} (shared)" if row.shared else row.name,
        MODEL: row.model,
        WEIGHTS: row.weights,
        KV: row.kv,
        TOOLCHAIN: f"{row.toolchain} {row.toolchain_version}".strip(),
        BUILT_FOR: row.built_for,
        SIZE: mib(row.size_bytes),
        BUILD: format_duration(row.build_seconds),
        DATE: date_words(row.created_at),
        RUNS: badge_words(row)[0],
    }[column] or NONE


def _sort_key(row: EngineRow, column: int) -> Any:
    numbers: dict[int, float | None] = {
        BATCH: row.max_batch_size,
        PASS: row.max_num_tokens,
        SEQUENCE: row.max_seq_len,
        SIZE: row.size_bytes,
        BUILD: row.build_seconds,
        DATE: row.created_at,
        RUNS: 0 if row.missing else 2 if row.runs else 1,
    }
    if column in numbers:
        value = numbers[column]
        return -1.0 if value is None else float(value)
    return cell(row, column).casefold()


class EnginesFilter(QSortFilterProxyModel):
    """Keeps rows that hold every word of the search in name, model, folder or tags, and fit the chosen filters."""

    def __init__(self, source: EnginesModel) -> None:
        super().__init__()
        self._words: list[str] = []
        self._model = self._weights = self._toolchain = ""
        self._only_here = False
        self.setSourceModel(source)
        self.setSortRole(SORT_ROLE)

    def ask(self, *, text: str, model: str, weights: str, toolchain: str, only_here: bool) -> None:
        asked = (text.casefold().split(), model, weights, toolchain, only_here)
        if asked == (self._words, self._model, self._weights, self._toolchain, self._only_here):
            return  # a model that was reset has been filtered already
        self._words, self._model, self._weights, self._toolchain, self._only_here = asked
        self.invalidate()

    def filterAcceptsRow(self, source_row: int, source_parent: Index) -> bool:
        model = self.sourceModel()
        assert isinstance(model, EnginesModel)
        row = model.rows[source_row]
        if (self._model and row.model != self._model) or (self._weights and row.weights != self._weights):
            return False
        if (self._toolchain and row.toolchain != self._toolchain) or (self._only_here and not row.usable):
            return False
        text = " ".join((row.name, row.model, row.path.name, row.weights, *row.tags)).casefold()
        return all(word in text for word in self._words)


class _Cells(QStyledItemDelegate):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._name, self._text, self._figure = text_font(bold=True), text_font(), mono_font(12)
        self._small = text_font(SMALL)
        # Made once: a table that opens measures and paints a thousand cells.
        self._metrics = {id(f): QFontMetrics(f) for f in (self._name, self._text, self._figure, self._small)}

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(self.width(index.data(ROW_ROLE), index.column()), ROW_HEIGHT)

    def width(self, row: EngineRow, column: int) -> int:
        """Pixels that a cell needs."""
        font, more = (self._small, 34) if column == RUNS else (self._font(column), 2)
        return self._metrics[id(font)].horizontalAdvance(cell(row, column)) + 2 * _PAD + more

    def _font(self, column: int) -> QFont:
        if column == NAME:
            return self._name
        return self._figure if _COLUMNS[column][1] else self._text

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        row: EngineRow = index.data(ROW_ROLE)
        column = index.column()
        look = theme()
        painter.save()
        rect = paint_ground(painter, option, index)
        inner = rect.adjusted(_PAD, 0, -_PAD, 0)
        if column == RUNS:
            self._paint_badge(painter, inner, row)
        else:
            font = self._font(column)
            painter.setFont(font)
            painter.setPen(look.colour("text" if row.usable and column != MODEL else "text2"))
            metrics = self._metrics[id(font)]
            text = metrics.elidedText(cell(row, column), Qt.TextElideMode.ElideRight, inner.width())
            painter.drawText(inner, _RIGHT if _COLUMNS[column][1] else _LEFT, text)
        painter.restore()

    def _paint_badge(self, painter: QPainter, inner: QRect, row: EngineRow) -> None:
        text, kind, _ = badge_words(row)
        look = theme()
        metrics = self._metrics[id(self._small)]
        if not kind:
            painter.setFont(self._small)
            painter.setPen(look.colour("text3"))
            painter.drawText(inner, _RIGHT, text)
            return
        width = min(metrics.horizontalAdvance(text) + 34, inner.width())
        place = QRect(inner.right() - width + 1, inner.center().y() - 10, width, 21)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(look.colour(f"{kind}_bg"))
        painter.drawRoundedRect(place, 4, 4)
        sign = {"ok": "check", "warn": "warn", "err": "error"}[kind]
        scale = painter.device().devicePixelRatioF()
        painter.drawPixmap(place.left() + 7, place.center().y() - 6, pixmap(sign, kind, 12, scale))
        painter.setFont(self._small)
        painter.setPen(look.colour(kind))
        words = place.adjusted(24, 0, -6, 0)
        painter.drawText(
            words,
            _LEFT,
            metrics.elidedText(text, Qt.TextElideMode.ElideRight, words.width()),
        )


class EnginesTable(QTableView):
    """Sorted by date at first; columns that are less asked for give way where there is no room."""

    def __init__(self, model: QSortFilterProxyModel) -> None:
        super().__init__()
        self.setModel(model)
        self.setItemDelegate(_Cells(self))
        self.setAccessibleName("Engines")
        whole_rows(self, ROW_HEIGHT)
        self.setSelectionMode(QTableView.SelectionMode.ExtendedSelection)
        self.setHorizontalScrollMode(QTableView.ScrollMode.ScrollPerPixel)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        header.setMinimumSectionSize(40)
        self.setSortingEnabled(True)
        self.sortByColumn(DATE, Qt.SortOrder.DescendingOrder)
        self._widths: list[int] = []

    def measure(self) -> None:
        """Measure what the columns need; called when rows change."""
        model = self.model()
        count = min(model.rowCount(), 60)  # the first of a long list stand for all
        delegate = self.itemDelegate()
        assert isinstance(delegate, _Cells)
        rows: list[EngineRow] = [model.index(row, NAME).data(ROW_ROLE) for row in range(count)]
        self._widths = []
        metrics = QFontMetrics(text_font(SMALL, bold=True))
        for column in range(model.columnCount()):
            head = metrics.horizontalAdvance(_COLUMNS[column][0]) + 34
            cells = [delegate.width(row, column) for row in rows]
            most = {NAME: 280, MODEL: 220, BUILT_FOR: 130, TOOLCHAIN: 190}.get(column, 400)
            self._widths.append(max(min(max([head, *cells]), most), _LEAST if column in (NAME, MODEL) else 0))
        self._share()

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._share()

    def _share(self) -> None:
        if not self._widths:
            return
        room = self.viewport().width()
        hidden: set[int] = set()
        for column in _SPARED:
            if sum(w for c, w in enumerate(self._widths) if c not in hidden) <= room:
                break
            hidden.add(column)
        for column, width in enumerate(self._widths):
            self.setColumnHidden(column, column in hidden)
            self.setColumnWidth(column, width)
        rest = room - sum(w for c, w in enumerate(self._widths) if c not in hidden)
        shown = [column for column in (NAME, MODEL) if column not in hidden]
        for column in shown:
            self.setColumnWidth(column, max(_LEAST, self._widths[column] + rest // len(shown)))

    def current_rows(self) -> list[EngineRow]:
        """The rows that are chosen, in the order of the table."""
        return [index.data(ROW_ROLE) for index in sorted(self.selectionModel().selectedRows(), key=lambda i: i.row())]

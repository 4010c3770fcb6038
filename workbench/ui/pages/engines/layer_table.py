"""The table of a compiled engine's layers: model, filter, cells, and rows to copy."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QSortFilterProxyModel, Qt
from PySide6.QtGui import QFontMetrics, QGuiApplication, QKeyEvent, QKeySequence, QPainter
from PySide6.QtWidgets import QHeaderView, QStyledItemDelegate, QStyleOptionViewItem, QTableView, QWidget

from workbench.core.tensorrt_rtx.layer_words import LayerRow
from workbench.core.units import format_bytes
from workbench.ui.theme import SMALL, mono_font, theme
from workbench.ui.widgets.list_table import ROW_ROLE, SORT_ROLE
from workbench.ui.widgets.table_parts import NONE, Index, RowsModel, paint_ground, side, whole_rows

_COLUMNS = (
    ("Layer", False, "Name of the layer in the compiled engine"),
    ("Type", False, "As TensorRT calls it: gemm is a matrix product, kgen is code made for these operations"),
    ("Precision", False, "Of its weights, else of its first output"),
    ("Constants", True, "Weights, scales and other numbers that are stored for it"),
    ("Inputs", False, "Name, type and shape; ? is known when the engine runs"),
    ("Outputs", False, "Name, type and shape; ? is known when the engine runs"),
    ("Made from", False, "Nodes of the ONNX model that went into it"),
    ("Profile", False, "Optimisation profile that it belongs to: each has layers of its own"),
)
NAME, TYPE, PRECISION, CONSTANTS, INPUTS, OUTPUTS, ORIGIN, PROFILE = range(len(_COLUMNS))
_WIDTHS = (250, 136, 84, 92, 270, 270, 300, 80)
_ROW_HEIGHT, _PAD = 22, 8
_TIP_LETTERS = 1200


def cell(row: LayerRow, column: int) -> str:
    """The text of a cell; a dash where there is nothing."""
    if column == CONSTANTS:
        return format_bytes(row.constants_bytes) if row.constants_bytes else NONE
    texts = (row.name, row.type, row.precision, "", row.inputs, row.outputs, row.origin, row.profile)
    return texts[column] or NONE


class LayersModel(RowsModel):
    """Rows of one engine."""

    headings = _COLUMNS
    rows: tuple[LayerRow, ...] = ()

    def take(self, rows: tuple[LayerRow, ...]) -> None:
        self.beginResetModel()
        self.rows = rows
        self.endResetModel()

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row, column = self.rows[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return cell(row, column)
        if role == SORT_ROLE:
            return row.constants_bytes if column == CONSTANTS else cell(row, column).casefold()
        if role == ROW_ROLE:
            return row
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tip(row, column)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return side(_COLUMNS[column][1])
        if role == Qt.ItemDataRole.AccessibleTextRole:
            text = cell(row, column)
            return f"{_COLUMNS[column][0]}: {'none' if text == NONE else text}"
        return None

    @staticmethod
    def _tip(row: LayerRow, column: int) -> str | None:
        if column == NAME:
            return f"{row.name}\nkernel {row.kernel}" if row.kernel else row.name
        if column == CONSTANTS:
            return f"{row.constants_bytes:,} bytes" if row.constants_bytes else None
        text = {INPUTS: row.inputs, OUTPUTS: row.outputs, ORIGIN: row.origin}.get(column, "")
        lines = text.replace("; ", "\n").replace(", ", "\n") if text else ""
        return lines[:_TIP_LETTERS] + ("\n…" if len(lines) > _TIP_LETTERS else "") or None


class LayersFilter(QSortFilterProxyModel):
    """Keeps layers that hold every word of the search and are of the chosen type and profile."""

    def __init__(self, source: LayersModel) -> None:
        super().__init__()
        self._words: list[str] = []
        self._type = self._profile = ""
        self._source = source
        self.setSourceModel(source)
        self.setSortRole(SORT_ROLE)

    def ask(self, *, text: str, type_: str, profile: str) -> None:
        """What is looked for; empty: anything."""
        asked = (text.casefold().split(), type_, profile)
        if asked != (self._words, self._type, self._profile):
            self._words, self._type, self._profile = asked
            self.invalidate()

    def filterAcceptsRow(self, source_row: int, source_parent: Index) -> bool:
        row = self._source.rows[source_row]
        if (self._type and row.type != self._type) or (self._profile and row.profile != self._profile):
            return False
        return all(word in row.search for word in self._words)


class _Cells(QStyledItemDelegate):
    """One line a cell in the figures' face; names give way in their middle."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._font = mono_font(SMALL)
        self._metrics = QFontMetrics(self._font)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        painter.save()
        inner = paint_ground(painter, option, index).adjusted(_PAD, 0, -_PAD, 0)
        column, text = index.column(), str(index.data())
        painter.setFont(self._font)
        painter.setPen(theme().colour("text" if column in (NAME, CONSTANTS) else "text2"))
        how = Qt.TextElideMode.ElideMiddle if column == NAME else Qt.TextElideMode.ElideRight
        shown = self._metrics.elidedText(text, how, inner.width())
        painter.drawText(inner, int(side(_COLUMNS[column][1]).value), shown)
        painter.restore()


class LayersTable(QTableView):
    """In the engine's order until a heading is clicked; Ctrl+C copies the chosen rows."""

    def __init__(self, model: LayersFilter) -> None:
        super().__init__()
        self.setModel(model)
        self.setItemDelegate(_Cells(self))
        self.setAccessibleName("Layers")
        whole_rows(self, _ROW_HEIGHT)
        self.setSelectionMode(QTableView.SelectionMode.ExtendedSelection)
        self.setHorizontalScrollMode(QTableView.ScrollMode.ScrollPerPixel)
        head = self.horizontalHeader()
        head.setSortIndicatorClearable(True)
        head.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        head.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        head.setMinimumSectionSize(48)
        self.setSortingEnabled(True)
        for column, width in enumerate(_WIDTHS):
            self.setColumnWidth(column, width)
        theme().changed.connect(self.viewport().update)

    def rows_to_copy(self) -> list[LayerRow]:
        """Those that are chosen, in the order shown; all that are shown where fewer than two are."""
        chosen = sorted(self.selectionModel().selectedRows(), key=lambda index: index.row())
        if len(chosen) > 1:
            return [index.data(ROW_ROLE) for index in chosen]
        model = self.model()
        return [model.index(number, 0).data(ROW_ROLE) for number in range(model.rowCount())]

    def copy(self, rows: list[LayerRow]) -> None:
        """Put rows on the clipboard as lines with tabs between, headings first."""
        QGuiApplication.clipboard().setText(as_lines(rows))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Copy):
            chosen = sorted(self.selectionModel().selectedRows(), key=lambda index: index.row())
            self.copy([index.data(ROW_ROLE) for index in chosen])
            event.accept()
            return
        super().keyPressEvent(event)


def as_lines(rows: list[LayerRow]) -> str:
    """Rows for a spreadsheet: sizes in bytes, tabs between."""
    lines = ["\t".join((*(title for title, _, _ in _COLUMNS), "Kernel"))]
    for row in rows:
        lines.append(
            "\t".join(
                (row.name, row.type, row.precision, str(row.constants_bytes), row.inputs, row.outputs, row.origin,
                 row.profile, row.kernel)
            )
        )  # fmt: skip
    return "\n".join(lines) + "\n"

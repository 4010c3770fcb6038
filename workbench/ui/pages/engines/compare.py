"""Two engines beside each other: what differs in their provenance, and only that."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtWidgets import QHeaderView, QTableView, QVBoxLayout, QWidget

from workbench.core.provenance_diff import ABSENT, Difference
from workbench.ui.theme import SMALL, mono_font
from workbench.ui.widgets.basics import GAP, MARGIN, label

_NOWHERE = QModelIndex()


class DifferencesModel(QAbstractTableModel):
    def __init__(self) -> None:
        super().__init__()
        self.rows: tuple[Difference, ...] = ()
        self._names = ("", "")

    def take(self, rows: tuple[Difference, ...], names: tuple[str, str]) -> None:
        self.beginResetModel()
        self.rows, self._names = rows, names
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | QPersistentModelIndex = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | QPersistentModelIndex = _NOWHERE) -> int:
        return 0 if parent.isValid() else 4

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return ("Part", "Entry", *self._names)[section]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        return None

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self.rows[index.row()]
        texts = (row.section, row.name, row.first, row.second)
        if role == Qt.ItemDataRole.DisplayRole:
            above = self.rows[index.row() - 1].section if index.row() else ""
            if index.column() == 0 and above == row.section:
                return ""
            text = texts[index.column()]
            return "none" if index.column() > 1 and text == ABSENT else text
        if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole):
            return texts[index.column()] or "none"
        if role == Qt.ItemDataRole.FontRole and index.column() > 0:
            return mono_font(SMALL)
        return None


class ComparePane(QWidget):
    """Shown in place of the details while two engines are chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.model = DifferencesModel()
        self.table = QTableView()
        self.table.setModel(self.model)
        self.table.setAccessibleName("What differs between the two engines")
        self.table.setShowGrid(False)
        self.table.setWordWrap(False)
        self.table.setTabKeyNavigation(False)
        self.table.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.table.verticalHeader().setDefaultSectionSize(24)
        self.words = label("", "text2")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, GAP, MARGIN, 0)
        layout.addWidget(self.words)
        layout.addWidget(self.table, 1)

    def show_differences(self, rows: tuple[Difference, ...], names: tuple[str, str]) -> None:
        self.model.take(rows, names)
        self.words.setText(f"{len(rows)} entries differ" if rows else "Nothing differs but time and place.")
        self.table.setVisible(bool(rows))
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        for column, most in ((0, 160), (1, 260)):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Interactive)
            self.table.resizeColumnToContents(column)
            self.table.setColumnWidth(column, min(self.table.columnWidth(column) + 12, most))

"""One row of the doctor's list in full: the problem, packages found and wanted, and the fix."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QHeaderView, QLabel, QTableView, QVBoxLayout, QWidget

from workbench.ui.icons import icon
from workbench.ui.models.doctor import DoctorRow, PackageRow
from workbench.ui.pages.doctor.rows import SIGNS, WORDS
from workbench.ui.theme import SMALL, mono_font, theme
from workbench.ui.widgets.basics import GAP, MARGIN, button, label, row, set_sign

_NOWHERE = QModelIndex()
_TITLES = ("Package", "Found", "Wanted")
_ROW_PX, _HEAD_PX = 24, 30


class PackagesModel(QAbstractTableModel):
    def __init__(self) -> None:
        super().__init__()
        self.rows: tuple[PackageRow, ...] = ()

    def take(self, rows: tuple[PackageRow, ...]) -> None:
        self.beginResetModel()
        self.rows = rows
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | QPersistentModelIndex = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | QPersistentModelIndex = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(_TITLES)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return _TITLES[section]
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        return None

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        package = self.rows[index.row()]
        column = index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return (package.name, package.found or "none", package.wanted)[column]
        if role == Qt.ItemDataRole.DecorationRole and column == 0:
            return icon(*SIGNS[package.state], 12)
        if role == Qt.ItemDataRole.FontRole:
            return mono_font(SMALL)
        if role == Qt.ItemDataRole.ForegroundRole:
            return theme().colour(
                "err" if package.state == "err" and column == 1 else "text" if column < 2 else "text2"
            )
        if role == Qt.ItemDataRole.ToolTipRole:
            return package.problem or f"{package.name}: {package.found or 'none'} found, {package.wanted}"
        if role == Qt.ItemDataRole.AccessibleTextRole and column == 0:
            return f"{package.name}: {WORDS[package.state]}"
        return None


class DoctorPane(QFrame):
    """`extra` widgets stand under the fix; the page shows them where they apply."""

    def __init__(self, extra: QWidget) -> None:
        super().__init__()
        self.setProperty("surface", "bg")
        self._row: DoctorRow | None = None
        self._sign = QLabel()
        self.title = label("", "name", wrap=True)
        self.text = label("", "text2", wrap=True, selectable=True)
        self.evidence = label("", wrap=True, selectable=True)
        self.evidence.setFont(mono_font(SMALL))
        self._box = QFrame()
        self._box.setProperty("surface", "sunken")
        inside = QVBoxLayout(self._box)
        inside.setContentsMargins(GAP, GAP, GAP, GAP)
        inside.addWidget(self.evidence)
        self.packages = PackagesModel()
        self.table = QTableView()
        self.table.setModel(self.packages)
        self.table.setAccessibleName("Packages found and wanted")
        self.table.setShowGrid(False)
        self.table.setProperty("padded", True)
        self.table.setTabKeyNavigation(False)
        self.table.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.table.verticalHeader().setDefaultSectionSize(_ROW_PX)
        self._fix_title = label("Fix", "heading")
        self.fix = label("", "", wrap=True, selectable=True)
        self.copy_fix = button("Copy fix", self._copy_fix, icon_name="copy", small=True)
        self._fix_row = row(self.copy_fix, None)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        layout.setSpacing(GAP)
        head = row(self._sign, self.title)
        head.layout().setStretch(1, 1)
        for widget in (head, self.text, self._box, self.table, self._fix_title, self.fix, self._fix_row, extra):
            layout.addWidget(widget)
        layout.addStretch(1)
        self.setMinimumWidth(300)

    def show_row(self, shown: DoctorRow | None) -> None:
        self._row = shown
        self._box.setVisible(shown is not None)
        self.table.setVisible(bool(shown and shown.packages))
        for widget in (self._fix_title, self.fix, self._fix_row):
            widget.setVisible(bool(shown and shown.fix))
        if shown is None:
            self.title.setText("")
            self.text.setText("")
            self._sign.clear()
            return
        sign, colour = SIGNS[shown.state]
        set_sign(self._sign, sign, colour)
        self._sign.setAccessibleName(WORDS[shown.state])
        self.title.setText(shown.name)
        # A problem is said once: with its evidence where there is any, else as the row has it.
        self.text.setText(shown.text)
        evidence = [shown.what] if shown.what and shown.what != shown.text else []
        self.evidence.setText("\n".join([*evidence, *([shown.place] if shown.place else []), *shown.details]))
        self._box.setVisible(bool(self.evidence.text()))
        self.fix.setText(shown.fix)
        self.packages.take(shown.packages)
        self.table.setFixedHeight(_HEAD_PX + _ROW_PX * len(shown.packages) + 4)

    def _copy_fix(self) -> None:
        if self._row is not None:
            QGuiApplication.clipboard().setText(self._row.fix)

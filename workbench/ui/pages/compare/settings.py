"""What differs between the variants and only that; all of it on request. Settings are what the engines report."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtWidgets import QCheckBox, QHeaderView, QVBoxLayout, QWidget

from workbench.core.measure.comparison import SettingsRow
from workbench.ui.models.comparison_view import Shown, Variant
from workbench.ui.theme import mono_font, text_font
from workbench.ui.widgets.basics import MARGIN, label, row
from workbench.ui.widgets.list_table import (
    ROW_ROLE,
    SEARCH_ROLE,
    SIGN_ROLE,
    SORT_ROLE,
    TOKEN_ROLE,
    ListTable,
    RowFilter,
)
from workbench.ui.widgets.marker import marker_icon, short_heading
from workbench.ui.widgets.table_parts import NONE, NOT_REPORTED, Index, RowsModel

_NOWHERE = QModelIndex()
_LEAST = 164


class SettingsModel(RowsModel):
    """A row a setting, a column a variant."""

    rows: tuple[SettingsRow, ...] = ()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.variants: tuple[Variant, ...] = ()

    def take(self, rows: tuple[SettingsRow, ...], variants: tuple[Variant, ...]) -> None:
        if (rows, variants) != (self.rows, self.variants):
            self.beginResetModel()
            self.rows, self.variants = rows, variants
            self.endResetModel()

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else 1 + len(self.variants)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return short_heading(self.variants[section - 1].subject.name) if section else "Setting"
        if role == Qt.ItemDataRole.ToolTipRole and section:
            subject = self.variants[section - 1].subject
            return "\n".join(part for part in (subject.name, subject.path) if part)
        if role == Qt.ItemDataRole.DecorationRole and section:
            return marker_icon(self.variants[section - 1].slot)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        one, column = self.rows[index.row()], index.column()
        value = one.name.replace("_", " ") if not column else one.values[column - 1]
        missed = one.missed[column - 1] if column else ""
        if role in (Qt.ItemDataRole.DisplayRole, SORT_ROLE):
            return missed or value or NONE
        if role == ROW_ROLE:
            return one
        if role == SEARCH_ROLE:
            return f"{one.name} {' '.join(value or '' for value in one.values)}"
        if role == Qt.ItemDataRole.FontRole:
            return mono_font(12) if column else text_font(bold=True)
        if role == TOKEN_ROLE:
            same = column > 1 and value == one.values[0]
            return "warn" if missed else "text3" if value is None or same else "text"
        if role == SIGN_ROLE:
            return "warn" if missed else None
        if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole):
            if not column:
                return one.name
            name = self.variants[column - 1].subject.name
            return f"{name}, {one.name}: {missed or value or NOT_REPORTED}"
        return None


class SettingsTab(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self._shown: Shown | None = None
        self.model = SettingsModel(self)
        proxy = RowFilter(self)
        proxy.setSourceModel(self.model)
        self.table = ListTable(proxy, "Settings of the variants")
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.table.horizontalHeader().setMinimumSectionSize(_LEAST)
        self.everything = QCheckBox("All settings")
        self.everything.setToolTip("Also those that are the same in all variants")
        self.everything.toggled.connect(lambda _: self._fill())
        self.words = label("", "text2", wrap=True)
        head = row(self.words, self.everything, margins=(MARGIN, 8, MARGIN, 8))
        head.layout().setStretch(0, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(head)
        layout.addWidget(self.table, 1)

    def show_shown(self, shown: Shown) -> None:
        self._shown = shown
        self._fill()

    def _fill(self) -> None:
        shown = self._shown
        if shown is None:
            return
        rows = shown.settings if self.everything.isChecked() else shown.differing
        self.model.take(rows, shown.variants)
        missed = sum(any(one.missed) for one in shown.settings)
        same = len(shown.settings) - len(shown.differing)
        many, differ = len(shown.differing), "setting differs" if len(shown.differing) == 1 else "settings differ"
        words = f"{many} {differ}, {same} are the same in all that report them."
        if missed:
            words += f" {missed} {'was' if missed == 1 else 'were'} not applied as asked."
        if any(not variant.subject.settings and not variant.subject.simulated for variant in shown.variants):
            words += " What an engine really applies is known once it was loaded: measure."
        self.words.setText(words)

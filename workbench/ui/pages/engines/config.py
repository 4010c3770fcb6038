"""The engine's configuration as a tree that can be searched."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QModelIndex, QSortFilterProxyModel, Qt
from PySide6.QtGui import QResizeEvent, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QHeaderView, QLineEdit, QTreeView, QVBoxLayout, QWidget

from workbench.ui.theme import SMALL, mono_font
from workbench.ui.widgets.basics import GAP, MARGIN, label, row

_MOST_ENTRIES = 5000
"""Of one engine; a vocabulary inside a config would only slow the tree."""


class ConfigPane(QWidget):
    """Each file is a branch; the search keeps keys and values that hold the text, with what is above them."""

    def __init__(self) -> None:
        super().__init__()
        self._model = QStandardItemModel(0, 2, self)
        self.proxy = QSortFilterProxyModel(self)
        self.proxy.setSourceModel(self._model)
        self.proxy.setRecursiveFilteringEnabled(True)
        self.proxy.setAutoAcceptChildRows(True)
        self.proxy.setFilterKeyColumn(-1)
        self.proxy.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.tree = QTreeView()
        self.tree.setModel(self.proxy)
        self.tree.setAccessibleName("Configuration")
        self.tree.setHeaderHidden(True)
        self.tree.setUniformRowHeights(True)
        self.tree.setIndentation(14)
        self.tree.setEditTriggers(QTreeView.EditTrigger.NoEditTriggers)
        self.tree.setFont(mono_font(SMALL))
        self.tree.setTabKeyNavigation(False)
        self.tree.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Find a key")
        self.search.setAccessibleName("Find a key in the configuration")
        self.search.setClearButtonEnabled(True)
        self.search.setMaximumWidth(160)
        self.search.textChanged.connect(self._find)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, GAP, GAP, 0)
        layout.setSpacing(4)
        layout.addWidget(row(label("Configuration", "heading"), None, self.search))
        layout.addWidget(self.tree, 1)

    def show_config(self, config: tuple[tuple[str, Any], ...]) -> None:
        self._model.clear()
        self._model.setColumnCount(2)
        self._left = _MOST_ENTRIES
        for name, value in config:
            self._add(self._model.invisibleRootItem(), name, value)
        header = self.tree.header()
        header.setStretchLastSection(True)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Interactive)
        for number in range(self.proxy.rowCount()):
            self.tree.setExpanded(self.proxy.index(number, 0), True)
        self._find(self.search.text())
        self._share()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._share()

    def _share(self) -> None:
        """Keys are shown whole as long as two fifths are left for the values."""
        wanted = max(self.tree.sizeHintForColumn(0) + GAP, 80)
        self.tree.setColumnWidth(0, min(wanted, self.tree.viewport().width() * 3 // 5))

    def _add(self, parent: QStandardItem, name: str, value: Any) -> None:
        if self._left <= 0:
            return
        self._left -= 1
        key, text = QStandardItem(name), QStandardItem("")
        key.setToolTip(name)
        entries: list[tuple[str, Any]] = []
        if isinstance(value, dict):
            entries = list(value.items())
        elif isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
            entries = [(str(number), one) for number, one in enumerate(value)]
        if entries:
            text.setText(f"{len(entries)} entries" if len(entries) > 1 else "1 entry")
        else:
            text.setText(_scalar(value))
            text.setToolTip(_scalar(value))
        parent.appendRow([key, text])
        for child, one in entries:
            self._add(key, str(child), one)

    def _find(self, text: str) -> None:
        self.proxy.setFilterFixedString(text.strip())
        if text.strip():
            self.tree.expandAll()

    def texts(self) -> list[str]:
        """All keys that are shown, top down; for tests and screen readers."""
        found: list[str] = []

        def walk(parent: QModelIndex) -> None:
            for number in range(self.proxy.rowCount(parent)):
                index = self.proxy.index(number, 0, parent)
                found.append(str(index.data()))
                walk(index)

        walk(QModelIndex())
        return found


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(str(one) for one in value[:20]) + (" …" if len(value) > 20 else "") or "[]"
    return str(value) if value != {} else "{}"

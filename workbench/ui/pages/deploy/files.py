"""The files of an export as a tree, and the text of the chosen one."""

from __future__ import annotations

from collections.abc import Iterator

from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtGui import QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QPlainTextEdit, QSplitter, QTreeView, QVBoxLayout, QWidget

from workbench.core.units import format_bytes
from workbench.ui.models.exporting import FileRow
from workbench.ui.theme import SMALL, mono_font
from workbench.ui.widgets.basics import GAP, column
from workbench.ui.widgets.elided_line import ElidedLine
from workbench.ui.widgets.table_parts import side

_ROW = Qt.ItemDataRole.UserRole + 1
_LONGEST = 200_000
"""Characters of a file that are shown."""
_MOST_SHOWN = 40
"""A folder with more files is folded at first."""
_FIRST = ("tensorrt_llm/config.pbtxt", "config.pbtxt", "model.yaml", "run.sh", "launch.sh", "README.md")


class FilesPane(QSplitter):
    """The tree at the left, the chosen file's text at the right."""

    def __init__(self) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.setHandleWidth(1)
        self.setChildrenCollapsible(False)
        self._files: tuple[FileRow, ...] = ()
        self._model = QStandardItemModel(0, 2, self)
        self.tree = QTreeView()
        self.tree.setModel(self._model)
        self.tree.setAccessibleName("Files of the export")
        self.tree.setHeaderHidden(True)
        self.tree.setUniformRowHeights(True)
        self.tree.setIndentation(14)
        self.tree.setEditTriggers(QTreeView.EditTrigger.NoEditTriggers)
        self.tree.setFont(mono_font(SMALL))
        self.tree.setTabKeyNavigation(False)
        self.tree.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.tree.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.tree.selectionModel().currentChanged.connect(lambda now, _: self._show(now))
        self.title = ElidedLine("hint")
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setTabChangesFocus(True)
        self.text.setFont(mono_font(SMALL))
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.text.setFrameShape(QPlainTextEdit.Shape.NoFrame)
        self.text.setAccessibleName("Text of the chosen file")
        self.text.document().setDocumentMargin(10)
        title = QWidget()
        inside = QVBoxLayout(title)
        inside.setContentsMargins(12, 8, 12, 6)
        inside.addWidget(self.title)
        right = column(title, column(self.text, margins=(12, 0, 12, 12)), gap=0)
        right.layout().setStretch(1, 1)
        self.addWidget(column(self.tree, margins=(GAP, GAP, GAP, GAP)))
        self.addWidget(right)
        self.tree.setFrameShape(QTreeView.Shape.NoFrame)
        self.tree.setMinimumWidth(180)
        right.setMinimumWidth(240)
        self.setStretchFactor(0, 2)
        self.setStretchFactor(1, 3)
        self.setSizes([340, 520])

    @property
    def chosen(self) -> str:
        """Path of the chosen file; empty: none, or a folder."""
        row = self.tree.currentIndex().siblingAtColumn(0).data(_ROW)
        return row.path if isinstance(row, FileRow) else ""

    def show_files(self, files: tuple[FileRow, ...]) -> None:
        """Show these; the chosen file stays chosen, and what was folded stays so."""
        if files == self._files:
            return
        chosen = self.chosen
        same = [file.path for file in files] == [file.path for file in self._files]
        self._files = files
        if same:
            for item, row in zip(self._items(), files, strict=True):
                item.setData(row, _ROW)
                item.parent_size.setText(format_bytes(row.bytes))  # type: ignore[attr-defined]
            self._show(self.tree.currentIndex())
            return
        self._model.clear()
        self._model.setColumnCount(2)
        folders: dict[str, QStandardItem] = {}
        for row in files:
            self._add(row, folders)
        header = self.tree.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        for path, item in folders.items():
            inside = sum(file.path.startswith(f"{path}/") for file in files)
            self.tree.setExpanded(item.index(), inside <= _MOST_SHOWN)
        if not self.choose(chosen):
            self._choose_first()

    def _add(self, row: FileRow, folders: dict[str, QStandardItem]) -> None:
        parent = self._model.invisibleRootItem()
        parts = row.path.split("/")
        for depth, part in enumerate(parts[:-1], 1):
            path = "/".join(parts[:depth])
            if path not in folders:
                folders[path] = QStandardItem(part)
                folders[path].setToolTip(path)
                parent.appendRow([folders[path], QStandardItem("")])
            parent = folders[path]
        name, size = _FileItem(parts[-1]), QStandardItem(format_bytes(row.bytes))
        name.setData(row, _ROW)
        name.setToolTip(f"{row.path}\ncopied from {row.source}" if row.source is not None else row.path)
        name.parent_size = size
        size.setTextAlignment(side(True))
        parent.appendRow([name, size])

    def _items(self) -> Iterator[_FileItem]:
        """Of files, in the order in which they were added."""
        found: list[_FileItem] = []

        def walk(item: QStandardItem) -> None:
            for number in range(item.rowCount()):
                child = item.child(number)
                if isinstance(child, _FileItem):
                    found.append(child)
                walk(child)

        walk(self._model.invisibleRootItem())
        return iter(sorted(found, key=lambda item: item.data(_ROW).path))

    def choose(self, path: str) -> bool:
        """Choose a file by its path; whether it is there."""
        found = next((item for item in self._items() if item.data(_ROW).path == path), None) if path else None
        if found is not None:
            self.tree.setCurrentIndex(found.index())
        return found is not None

    def _choose_first(self) -> None:
        texts = [file for file in self._files if file.text is not None]
        first = next((f for name in _FIRST for f in texts if f"/{f.path}".endswith(f"/{name}")), None)
        self.choose(first.path if first is not None else texts[0].path if texts else "")
        if not self.chosen:
            self.title.say("")
            self.text.setPlainText("")

    def _show(self, index: QModelIndex) -> None:
        row = index.siblingAtColumn(0).data(_ROW)
        if not isinstance(row, FileRow):
            self.title.say("")
            self.text.setPlainText("")
            return
        mark = ", can be run" if row.executable else ""
        self.title.say(f"{row.path}, {format_bytes(row.bytes)}{mark}")
        if row.text is None:
            shown = f"Copied as it is from\n{row.source}"
        else:
            shown = row.text if len(row.text) <= _LONGEST else f"{row.text[:_LONGEST]}\n… cut here"
        if shown != self.text.toPlainText():
            self.text.setPlainText(shown)


class _FileItem(QStandardItem):
    """The name of a file, with the item that has its size."""

    parent_size: QStandardItem

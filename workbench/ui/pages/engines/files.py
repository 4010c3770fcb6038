"""Files of an engine, and the notes and tags that a person gives it."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, QTimer
from PySide6.QtWidgets import QHeaderView, QLineEdit, QTableView, QTextEdit, QVBoxLayout, QWidget

from workbench.core.artifact import FileEntry
from workbench.core.units import format_bytes
from workbench.store.notes import Note
from workbench.ui.models.engines import EngineDetail
from workbench.ui.theme import SMALL, mono_font
from workbench.ui.widgets.basics import GAP, MARGIN, label

_SAVE_MS = 600
"""Notes are kept this long after the last key."""
_NOWHERE = QModelIndex()


class _Files(QAbstractTableModel):
    def __init__(self) -> None:
        super().__init__()
        self._files: tuple[FileEntry, ...] = ()

    def take(self, files: tuple[FileEntry, ...]) -> None:
        self.beginResetModel()
        self._files = tuple(sorted(files, key=lambda entry: -entry.bytes))
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | QPersistentModelIndex = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self._files)

    def columnCount(self, parent: QModelIndex | QPersistentModelIndex = _NOWHERE) -> int:
        return 0 if parent.isValid() else 2

    def data(
        self, index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole
    ) -> object | None:
        entry = self._files[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return entry.path if index.column() == 0 else format_bytes(entry.bytes)
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{entry.path}\n{entry.bytes:,} bytes\nsha256 {entry.sha256}"
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() == 1:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None


class FilesPane(QWidget):
    """`save` is called with the key and the note a moment after the last change, and before another engine comes."""

    def __init__(self, save: Callable[[str, Note], None]) -> None:
        super().__init__()
        self._save = save
        self._key = ""
        self._kept = Note()
        self.files = _Files()
        self.table = QTableView()
        self.table.setModel(self.files)
        self.table.setAccessibleName("Files")
        self.table.setFont(mono_font(SMALL))
        self.table.setShowGrid(False)
        self.table.setTabKeyNavigation(False)
        self.table.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        self.table.horizontalHeader().hide()
        self.table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.table.horizontalHeader().setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.table.verticalHeader().setDefaultSectionSize(20)
        self.tags = QLineEdit()
        self.tags.setPlaceholderText("tags, with commas between")
        self.tags.setAccessibleName("Tags")
        self.notes = QTextEdit()
        self.notes.setAcceptRichText(False)
        self.notes.setTabChangesFocus(True)
        self.notes.setPlaceholderText("Notes on this engine")
        self.notes.setAccessibleName("Notes")
        self.notes.setMinimumHeight(48)
        self.title = label("Files", "heading")
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SAVE_MS)
        self._timer.timeout.connect(self.flush)
        self.tags.textEdited.connect(lambda text: self._timer.start())
        self.notes.textChanged.connect(self._timer.start)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
        layout.setSpacing(4)
        layout.addWidget(self.title)
        layout.addWidget(self.table, 3)
        layout.addSpacing(4)
        layout.addWidget(label("Tags", "heading"))
        layout.addWidget(self.tags)
        layout.addSpacing(4)
        layout.addWidget(label("Notes", "heading"))
        layout.addWidget(self.notes, 2)

    def show_detail(self, detail: EngineDetail) -> None:
        """The same engine again leaves what is being typed as it is."""
        self.files.take(detail.provenance.files)
        self.title.setText(f"Files  {len(detail.provenance.files)}, {format_bytes(detail.provenance.size_bytes)}")
        if detail.provenance.key == self._key:
            return
        self.flush()
        self._key, self._kept = detail.provenance.key, detail.note
        self.tags.setText(", ".join(detail.note.tags))
        self.notes.setPlainText(detail.note.text)
        self._timer.stop()

    def note(self) -> Note:
        """What is written now."""
        tags = tuple(dict.fromkeys(tag.strip() for tag in self.tags.text().split(",") if tag.strip()))
        return Note(text=self.notes.toPlainText(), tags=tags)

    def flush(self) -> None:
        """Keep what was written, if it changed."""
        self._timer.stop()
        if self._key and (note := self.note()) != self._kept:
            self._kept = note
            self._save(self._key, note)

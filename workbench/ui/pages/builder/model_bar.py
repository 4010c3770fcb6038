"""Which model: a folder that is typed, dropped, browsed to or used before, or a repository's name to download."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QComboBox, QFileDialog, QGridLayout, QWidget

from workbench.core.model import ModelSpec
from workbench.core.units import format_bytes, format_count
from workbench.ui.widgets.basics import GAP, MARGIN, button, icon_button, label
from workbench.ui.widgets.search_box import Choice

RECENT = 12


class ModelBar(QWidget):
    """`changed` is sent with each change of the text, `download` when a repository is to be fetched."""

    changed = Signal()
    download = Signal()
    search = Signal()
    """Look for a model on the Hugging Face Hub."""

    def __init__(self) -> None:
        super().__init__()
        self.setAcceptDrops(True)
        self._recent: list[str] = []
        self._shared: list[str] = []
        self.field = Choice()
        self.field.setEditable(True)
        self.field.setCompleter(None)  # it would put a folder that was used before in the place of what is typed
        self.field.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.field.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.field.setMinimumContentsLength(16)
        self.field.setAccessibleName("Model folder")
        self.field.setAccessibleDescription("A Hugging Face folder with config.json and *.safetensors, or a name")
        edit = self.field.lineEdit()
        assert edit is not None
        edit.setPlaceholderText("A folder, or a name such as org/model; or drop a folder here")
        edit.setAccessibleName("Model folder")
        edit.textEdited.connect(lambda _: self.changed.emit())
        self.edit = edit
        self.field.activated.connect(lambda _: self.changed.emit())
        self.browse = icon_button("folder", "Choose the model folder", self.choose, flat=False)
        self.get = button("Download", self.download.emit, icon_name="plus", tip="Download it by a job of its own")
        self.get.hide()
        self.find = button(
            "Search…", self.search.emit, icon_name="search", name="Search Hugging Face", tip="Search Hugging Face"
        )
        self.facts = label("", "hint", wrap=True)
        grid = QGridLayout(self)
        grid.setContentsMargins(MARGIN, 12, MARGIN, GAP)
        grid.setHorizontalSpacing(6)
        grid.setVerticalSpacing(4)
        name = label("Model folder", "text2")
        name.setMinimumWidth(132 + 16)
        name.setBuddy(self.field)
        grid.addWidget(name, 0, 0)
        grid.addWidget(self.field, 0, 1)
        grid.addWidget(self.browse, 0, 2)
        grid.addWidget(self.find, 0, 3)
        grid.addWidget(self.facts, 1, 1, 1, 2)
        grid.addWidget(self.get, 1, 3)
        grid.setColumnStretch(1, 1)

    @property
    def model(self) -> str:
        """What is meant, as it was typed."""
        return self.edit.text().strip()

    def set_model(self, model: str) -> None:
        """Show a folder or name; `changed` is sent."""
        self.edit.setText(model)
        self.changed.emit()

    @property
    def recent(self) -> list[str]:
        return list(self._recent)

    def set_recent(self, folders: list[str]) -> None:
        """Folders that were used, the newest first."""
        self._recent = folders[:RECENT]
        self._fill()

    def set_shared(self, names: list[str]) -> None:
        """Models of the shared folders, by the names that they can be given by; below those that were used."""
        if names != self._shared:
            self._shared = names
            self._fill()

    def _fill(self) -> None:
        text = self.edit.text()
        self.field.clear()
        self.field.addItems(self._recent)
        if self._recent and self._shared:
            self.field.insertSeparator(self.field.count())
        self.field.addItems([name for name in self._shared if name not in self._recent])
        self.field.setCurrentIndex(-1)
        self.edit.setText(text)

    def remember(self) -> None:
        """Put what stands there first among the folders that were used."""
        if self.model:
            self.set_recent([self.model, *[one for one in self.recent if one != self.model]])

    def show_facts(self, model: ModelSpec | None, repository: str = "", waiting: str = "") -> None:
        """The line under the field: what is known of the model, or what is awaited."""
        self.get.setVisible(bool(repository))
        if model is not None:
            stored = format_bytes(model.weight_bytes) if model.weights_present else "no weights in the folder"
            self.facts.setText(
                f"{model.architecture}, {format_count(model.parameters)} parameters, {model.layers} layers, "
                f"{model.kv_heads} KV heads, head size {model.head_size}, {model.dtype.upper()}, {stored}"
            )
        elif repository:
            self.facts.setText(f"{repository} is not on this machine. Download it first; a job does it.")
        else:
            self.facts.setText(waiting)

    def choose(self) -> None:
        """Ask for a folder."""
        start = self.model or (self.recent[0] if self.recent else str(Path.home()))
        if folder := QFileDialog.getExistingDirectory(self, "Choose the model folder", start):
            self.set_model(folder)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        for url in event.mimeData().urls():
            if url.isLocalFile() and not url.toLocalFile().endswith(".toml"):
                event.setDropAction(Qt.DropAction.CopyAction)
                event.accept()
                self.set_model(url.toLocalFile())
                return
        event.ignore()  # a preset file is the window's to take

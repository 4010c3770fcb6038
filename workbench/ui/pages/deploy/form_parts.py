"""What the forms of exports are made of: cards of fields, folds, and a field for a folder."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QFrame, QVBoxLayout, QWidget

from workbench.ui.widgets.basics import GAP, MARGIN, icon_button, label
from workbench.ui.widgets.fields import Field, Segments, SwitchField, grid_of
from workbench.ui.widgets.fold import Fold

LABEL, WIDE, WIDE_FOLDER = 104, 208, 172


def folder_field(name: str, empty: str, tip: str, parent: QWidget) -> Field:
    """A folder, typed or chosen; empty means what `empty` says."""
    choose = icon_button("folder", f"{name}: choose", lambda: ask_folder(parent, name, made), flat=False)
    made = Field(name, _folder, empty=empty, wide=True, tip=tip, extra=(choose,))
    made.edit.setFixedWidth(WIDE_FOLDER)
    return made


def ask_folder(parent: QWidget, name: str, field: Field) -> None:
    """Choose a folder for a field."""
    dialog = QFileDialog(parent, name, field.text())
    dialog.setObjectName("choose-folder")
    dialog.setFileMode(QFileDialog.FileMode.Directory)
    dialog.setOption(QFileDialog.Option.ShowDirsOnly)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)

    def take(folder: str) -> None:
        field.set_text(folder)
        field.changed.emit()

    dialog.fileSelected.connect(take)
    dialog.open()


def _folder(text: str) -> Path:
    return Path(text).expanduser()


def card(title: str, *fields: Field | SwitchField | Segments) -> QFrame:
    """A frame with a heading and fields."""
    made = QFrame()
    made.setProperty("surface", "card")
    layout = QVBoxLayout(made)
    layout.setContentsMargins(MARGIN, 12, MARGIN, 12)
    layout.setSpacing(GAP)
    layout.addWidget(label(title, "name"), 0, Qt.AlignmentFlag.AlignLeft)
    layout.addWidget(grid_of(*fields))
    return made


def framed(*folds: Fold) -> QFrame:
    """Folds in a frame of their own."""
    made = QFrame()
    made.setProperty("surface", "card")
    layout = QVBoxLayout(made)
    layout.setContentsMargins(1, 0, 1, 6)
    layout.setSpacing(0)
    for fold in folds:
        layout.addWidget(fold)
    return made


def padded(part: QWidget) -> QWidget:
    """What a fold holds, with its margins."""
    made = QWidget()
    layout = QVBoxLayout(made)
    layout.setContentsMargins(MARGIN, GAP, MARGIN, 12)
    layout.addWidget(part)
    return made


def padded_fields(*fields: Field | SwitchField | Segments) -> QWidget:
    """Fields as a fold holds them."""
    return padded(grid_of(*fields))

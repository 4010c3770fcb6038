"""Asks for the file that a report is written to: the same kinds and the same dialog on every page that exports."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QMenu, QWidget

KINDS = (
    ("html", "HTML, one file to read and print"),
    ("pdf", "PDF, one page"),
    ("json", "JSON, with schema and version"),
    ("csv", "CSV, one row a point"),
)
"""Ending of the file, and what it is for people."""


def report_menu(parent: QWidget, ask: Callable[[str], None]) -> QMenu:
    """A menu of the kinds; `ask` gets the one that was chosen."""
    menu = QMenu(parent)
    for kind, words in KINDS:
        menu.addAction(words, partial(ask, kind))
    return menu


def ask_report_file(parent: QWidget, title: str, name: str, kind: str, chosen: Callable[[Path], None]) -> None:
    """Open the dialog, without waiting for it; `name` is the file's, without its ending."""
    dialog = QFileDialog(parent, title)
    dialog.setObjectName("export-file")
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setNameFilters([f"{dict(KINDS)[kind].partition(',')[0]} (*.{kind})"])
    dialog.setDefaultSuffix(kind)
    dialog.selectFile(f"{name}.{kind}")
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.fileSelected.connect(lambda path: chosen(Path(path)))
    dialog.open()

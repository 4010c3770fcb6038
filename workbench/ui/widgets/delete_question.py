"""The question before something is deleted; whoever presses Enter or Esc keeps it."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QMessageBox, QWidget


class DeleteQuestion:
    """Asked over `parent`, one at a time: another is not asked while one is open."""

    def __init__(self, parent: QWidget) -> None:
        self._parent = parent
        self._open: QMessageBox | None = None

    def ask(self, title: str, text: str, details: str, verb: str, delete: Callable[[], None]) -> None:
        """Ask with the verb and "Keep" as the buttons; `delete` is called once the verb was chosen."""
        if self._open is not None:
            return
        box = self._open = QMessageBox(self._parent)
        box.setObjectName("delete-question")
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle(title)
        box.setTextFormat(Qt.TextFormat.PlainText)
        box.setText(text)
        box.setInformativeText(details)
        yes = box.addButton(verb, QMessageBox.ButtonRole.AcceptRole)
        keep = box.addButton("Keep", QMessageBox.ButtonRole.RejectRole)
        box.setDefaultButton(keep)
        box.setEscapeButton(keep)

        def answered(_: int) -> None:
            chosen = box.clickedButton() is yes
            self._open = None
            box.deleteLater()
            if chosen:
                delete()

        box.finished.connect(answered)
        box.open()

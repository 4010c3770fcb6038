"""Commands to read and copy: wrapped, selectable, each with its program marked, at most a few lines high."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSize
from PySide6.QtGui import QFontMetrics
from PySide6.QtWidgets import QPlainTextEdit, QSizePolicy

_LINES = 3


class CommandBox(QPlainTextEdit):
    """Read-only; Tab leaves it."""

    def __init__(self) -> None:
        super().__init__()
        self.setReadOnly(True)
        self.setTabChangesFocus(True)
        self.setAccessibleName("Commands")
        self.setPlaceholderText("The commands appear here once a model is chosen.")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.lines: list[str] = []

    def sizeHint(self) -> QSize:
        return QSize(200, QFontMetrics(self.font()).lineSpacing() * _LINES + 14)

    def minimumSizeHint(self) -> QSize:
        return QSize(100, self.sizeHint().height())

    def set_lines(self, lines: Sequence[str]) -> None:
        if list(lines) != self.lines:
            self.lines = list(lines)
            self.setPlainText("\n".join(lines))

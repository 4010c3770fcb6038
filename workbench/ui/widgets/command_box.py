"""Commands to read and copy: wrapped, selectable, each with its program marked, at most a few lines high."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QFont, QFontMetrics, QSyntaxHighlighter, QTextCharFormat
from PySide6.QtWidgets import QPlainTextEdit, QSizePolicy

_LINES = 3
_LONGEST = 4000
"""Characters of a line that are shown; copying gives all of them."""


class _Programs(QSyntaxHighlighter):
    """The first word of each line in bold."""

    def highlightBlock(self, text: str) -> None:
        self.setFormat(0, len(text.split(" ", 1)[0]), _bold())


def _bold() -> QTextCharFormat:
    made = QTextCharFormat()
    made.setFontWeight(QFont.Weight.DemiBold)
    return made


def _shown(line: str) -> str:
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} … ({len(line):,} characters in all)"


class CommandBox(QPlainTextEdit):
    """Read-only; Tab leaves it."""

    def __init__(self) -> None:
        super().__init__()
        self.setReadOnly(True)
        self.setTabChangesFocus(True)
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self._programs = _Programs(self.document())
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
            self.setPlainText("\n".join(_shown(line) for line in lines))

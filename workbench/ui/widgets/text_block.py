"""Text to read and copy in the mono face: wrapped anywhere, as high as it is, at most so many lines."""

from __future__ import annotations

import math

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QFontMetricsF, QResizeEvent, QTextOption
from PySide6.QtWidgets import QPlainTextEdit, QSizePolicy

from workbench.ui.theme import SMALL, mono_font

_FRAME = 16


class TextBlock(QPlainTextEdit):
    """Read-only; Tab leaves it."""

    def __init__(self, name: str, most_lines: int = 18) -> None:
        super().__init__()
        self._most = most_lines
        self.setReadOnly(True)
        self.setTabChangesFocus(True)
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.setFont(mono_font(SMALL))
        self.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.document().setDocumentMargin(6)
        self.setAccessibleName(name)

    def text(self) -> str:
        return self.toPlainText()

    def say(self, text: str) -> None:
        """Show this."""
        if text != self.toPlainText():
            self.setPlainText(text)
            self._fit()

    def sizeHint(self) -> QSize:
        return QSize(200, self.height())

    def minimumSizeHint(self) -> QSize:
        return QSize(80, self._pitch() + _FRAME)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self._fit()

    def _fit(self) -> None:
        # The height of a plain text's document is its number of lines.
        lines = max(1, round(self.document().size().height()))
        self.setFixedHeight(self._pitch() * min(lines, self._most) + _FRAME)

    def _pitch(self) -> int:
        """px of a line: a document rounds each line up."""
        return math.ceil(QFontMetricsF(self.font()).lineSpacing())

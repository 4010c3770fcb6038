"""A search box with its sign and a choice that the wheel passes over."""

from __future__ import annotations

from PySide6.QtGui import QPainter, QPaintEvent, QWheelEvent
from PySide6.QtWidgets import QComboBox, QLineEdit

from workbench.ui.icons import pixmap

_SIGN = 16


class SearchBox(QLineEdit):
    """A field with a magnifier at its left."""

    def __init__(self, placeholder: str, name: str) -> None:
        super().__init__()
        self.setPlaceholderText(placeholder)
        self.setAccessibleName(name)
        self.setClearButtonEnabled(True)
        self.setTextMargins(_SIGN + 6, 0, 0, 0)

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        painter = QPainter(self)
        painter.drawPixmap(9, (self.height() - _SIGN) // 2, pixmap("search", "text3", _SIGN, self.devicePixelRatioF()))
        painter.end()


class Choice(QComboBox):
    """A combo box. The wheel scrolls the page and changes no choice."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()

"""A search box with its sign and a choice that the wheel passes over."""

from __future__ import annotations

from PySide6.QtGui import QAction, QPainter, QPaintEvent, QWheelEvent
from PySide6.QtWidgets import QComboBox, QLineEdit, QToolButton

from workbench.ui.icons import icon, pixmap
from workbench.ui.theme import theme

_SIGN = 16


class SearchBox(QLineEdit):
    """A field with a magnifier at its left."""

    def __init__(self, placeholder: str, name: str) -> None:
        super().__init__()
        self.setPlaceholderText(placeholder)
        self.setAccessibleName(name)
        self.setClearButtonEnabled(True)
        self.setTextMargins(_SIGN + 6, 0, 0, 0)
        if (clear := self.findChild(QToolButton)) is not None:
            clear.setAccessibleName(f"{name}: empty it")
        self._draw_clear()
        theme().changed.connect(self._draw_clear)

    def _draw_clear(self) -> None:
        """Qt's own is a black blot that no theme changes."""
        for action in self.findChildren(QAction):
            action.setIcon(icon("close", "text3", _SIGN))

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        painter = QPainter(self)
        painter.drawPixmap(9, (self.height() - _SIGN) // 2, pixmap("search", "text3", _SIGN, self.devicePixelRatioF()))
        painter.end()


class Choice(QComboBox):
    """A combo box. The wheel scrolls the page and changes no choice."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()

"""A search box with its sign and a choice with its arrow: what the style sheet's own controls lack."""

from __future__ import annotations

from PySide6.QtGui import QPainter, QPaintEvent
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
    """A combo box whose arrow is drawn in the theme's colour."""

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        token = "text3" if self.isEnabled() else "disabled"
        painter = QPainter(self)
        arrow = pixmap("chevron-down", token, 12, self.devicePixelRatioF())
        painter.drawPixmap(self.width() - 18, (self.height() - 12) // 2, arrow)
        painter.end()

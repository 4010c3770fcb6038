"""A row of tabs: words of which the chosen one is underlined. Left and Right walk them."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QAbstractButton, QButtonGroup, QHBoxLayout, QSizePolicy, QWidget

from workbench.ui.theme import text_font, theme

_HEIGHT, _PAD, _NARROW_PAD = 44, 12, 6


class _Tab(QAbstractButton):
    def __init__(self, words: str) -> None:
        super().__init__()
        self.setText(words)
        self.setCheckable(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName(f"Show {words}")
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.pad = _PAD

    def sizeHint(self) -> QSize:
        return QSize(QFontMetrics(text_font(bold=True)).horizontalAdvance(self.text()) + 2 * self.pad, _HEIGHT)

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter, look = QPainter(self), theme()
        painter.setFont(text_font(bold=self.isChecked()))
        painter.setPen(look.colour("text" if self.isChecked() or self.underMouse() else "text2"))
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, self.text())
        if self.isChecked():
            painter.fillRect(QRectF(4, self.height() - 2, self.width() - 8, 2), look.colour("accent"))
        if self.hasFocus():
            painter.setPen(QPen(look.colour("accent"), 2))
            painter.drawRoundedRect(QRectF(self.rect()).adjusted(3, 8, -3, -8), 4, 4)
        painter.end()


class Tabs(QWidget):
    """`chosen` is sent with the number of the tab."""

    chosen = Signal(int)

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__()
        self._group = QButtonGroup(self)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for number, text in enumerate(words):
            tab = _Tab(text)
            self._group.addButton(tab, number)
            layout.addWidget(tab)
        self._group.button(0).setChecked(True)
        self._group.idToggled.connect(lambda number, on: self.chosen.emit(number) if on else None)

    def set_narrow(self, narrow: bool) -> None:
        """Closer together, where there is little room."""
        for made in self.findChildren(_Tab):
            made.pad = _NARROW_PAD if narrow else _PAD
            made.updateGeometry()

    @property
    def current(self) -> int:
        return self._group.checkedId()

    def choose(self, number: int) -> None:
        self._group.button(number).setChecked(True)

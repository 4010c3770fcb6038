"""A fenced code block of an answer: its language, a button that copies it, and its lines unwrapped."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from workbench.ui.pages.playground.talk.markdown import visible
from workbench.ui.pages.playground.talk.text_part import TextPart
from workbench.ui.theme import theme
from workbench.ui.widgets.basics import button, label

_PAD, _HEAD, _BAR = 12, 30, 10
_RADIUS = 6


class CodeBlock(QWidget):
    """One block of a fence. A long fence is several: `first` has the head, `last` the lower edge."""

    def __init__(
        self, language: str, copy: Callable[[], None], *, first: bool, last: bool, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._first, self._last = first, last
        shown = visible(language)
        self.setAccessibleName(f"Code, {shown}" if shown else "Code")
        self.text = TextPart(code=True, name=self.accessibleName(), parent=self)
        self.copy_button = None
        self._language = None
        if first:
            self._language = label(shown or "code", "hint")
            self._language.setParent(self)
            self.copy_button = button("Copy", copy, icon_name="copy", small=True, name="Copy this code")
            self.copy_button.setProperty("flat", True)
            self.copy_button.setParent(self)
            QWidget.setTabOrder(self.text, self.copy_button)

    def set_last(self, last: bool) -> None:
        if last != self._last:
            self._last = last
            self.update()

    def set_code(self, text: str) -> None:
        self.text.set_plain(text.removesuffix("\n"))

    def fit(self, width: int) -> int:
        """Place what is inside at `width` px; the height that it takes."""
        top = _HEAD if self._first else 0
        height = self.text.fit(width - 2 * _PAD)
        # Room for the scroll bar; between blocks of one fence only where there is one.
        height += _BAR if self._last or self.text.document().idealWidth() > width - 2 * _PAD else 0
        self.text.setGeometry(_PAD, top + (2 if self._first else 0), width - 2 * _PAD, height)
        if self._language is not None and self.copy_button is not None:
            wanted = self.copy_button.sizeHint()
            self.copy_button.setGeometry(width - wanted.width() - 4, 3, wanted.width(), 24)
            self._language.setGeometry(_PAD, 3, max(width - wanted.width() - 2 * _PAD, 0), 24)
        return top + (2 if self._first else 0) + height + (2 if self._last else 0)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        # Blocks of one fence meet: edges between them lie outside.
        top = 0.5 if self._first else -_RADIUS
        bottom = self.height() - 0.5 if self._last else self.height() + _RADIUS
        path = QPainterPath()
        path.addRoundedRect(QRectF(0.5, top, self.width() - 1, bottom - top), _RADIUS, _RADIUS)
        painter.setPen(QPen(theme().colour("line"), 1))
        painter.setBrush(theme().colour("sunken"))
        painter.drawPath(path)
        if self._first:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
            painter.setPen(QPen(theme().colour("line"), 1))
            painter.drawLine(1, _HEAD - 1, self.width() - 2, _HEAD - 1)
        painter.setPen(Qt.PenStyle.NoPen)

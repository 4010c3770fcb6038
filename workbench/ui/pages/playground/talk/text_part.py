"""A piece of a conversation's text: read only, as high as its text, selectable by mouse and keyboard. It loads nothing:
pictures are named and not fetched, links are opened by a click alone, and HTML stays text.
"""

from __future__ import annotations

import math
import re
from typing import Any

from PySide6.QtCore import QEvent, QPoint, QRectF, Qt, QUrl, Signal
from PySide6.QtGui import (
    QFont,
    QFontMetricsF,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QTextBlock,
    QTextBlockFormat,
    QTextCursor,
    QTextDocument,
    QTextOption,
    QWheelEvent,
)
from PySide6.QtWidgets import QFrame, QTextBrowser, QToolTip, QWidget

from workbench.ui.pages.playground.talk.dress import AT_LEAST, CODE_LINE, EXACTLY, LINE, direction, dress
from workbench.ui.pages.playground.talk.markdown import kept_lines, visible
from workbench.ui.theme import BASE, mono_font, text_font, theme

_FEATURES = QTextDocument.MarkdownFeature.MarkdownDialectGitHub | QTextDocument.MarkdownFeature.MarkdownNoHTML
_CARET_W = 7
_LONG_WORD = re.compile(r"\S{256}")
_PASSED_ON = (Qt.Key.Key_PageUp, Qt.Key.Key_PageDown)


class Document(QTextDocument):
    """A document that asks nobody for anything."""

    def __init__(self, font: QFont, parent: QWidget) -> None:
        super().__init__(parent)
        self.setUndoRedoEnabled(False)
        self.setDocumentMargin(0)
        self.setDefaultFont(font)
        self.setIndentWidth(24)

    def loadResource(self, kind: int, name: QUrl | str) -> Any:
        return None


class TextPart(QTextBrowser):
    """Prose or code; with `code` its lines are not wrapped."""

    dragged = Signal(object)
    """A selection is drawn past the edge of this part: the place on the screen; None: it begins here."""
    whole_wanted = Signal()
    """Ctrl+A: all of the message."""
    copy_wanted = Signal()

    def __init__(self, *, code: bool = False, name: str = "Text", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._code = code
        self._caret = False
        self._said = ""
        """The plain text that is shown, as far as it can be appended to."""
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setOpenLinks(False)
        self.setAccessibleName(name)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        if not code:
            self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setLineWrapMode(QTextBrowser.LineWrapMode.NoWrap if code else QTextBrowser.LineWrapMode.FixedPixelWidth)
        self.setWordWrapMode(QTextOption.WrapMode.NoWrap if code else QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.setTabChangesFocus(True)
        self.viewport().setAutoFillBackground(False)
        flags = Qt.TextInteractionFlag
        self.setTextInteractionFlags(
            flags.TextSelectableByMouse
            | flags.TextSelectableByKeyboard
            | flags.LinksAccessibleByMouse
            | flags.LinksAccessibleByKeyboard
        )
        self.setDocument(self._new_document())

    # -- what it shows

    def set_markdown(self, source: str) -> None:
        """Finished Markdown (GitHub dialect). A selection stays."""
        cursor = self.textCursor()
        made = self._new_document()
        made.setMarkdown(kept_lines(source), _FEATURES)
        dress(made)
        self._said = ""
        self._wrap_for(source)
        self._show(made, cursor)

    def set_plain(self, text: str) -> None:
        """Text as it is; what only adds to the text of before is appended."""
        if self._said and text.startswith(self._said):
            self._append(text[len(self._said) :])
        else:
            cursor = self.textCursor()
            made = self._new_document()
            self._said = ""
            self._wrap_for(text)
            self._append(text, made)
            self._show(made, cursor)
        self._said = text

    def set_caret(self, shown: bool) -> None:
        """The streaming caret after the last character."""
        if shown != self._caret:
            self._caret = shown
            self.viewport().update()

    def set_width(self, width: int) -> None:
        """The width in px that text set from now on is laid out in."""
        if not self._code and self.lineWrapColumnOrWidth() != width:
            self.setLineWrapColumnOrWidth(width)

    def fit(self, width: int) -> int:
        """Lay the text out in `width` px; the height that it takes."""
        self.set_width(width)
        return max(math.ceil(self.document().size().height()), CODE_LINE if self._code else LINE)

    def selected(self) -> str:
        return self.textCursor().selection().toPlainText()

    def select(self, start: int, end: int) -> None:
        """Positions in the document; -1 is its end."""
        cursor = QTextCursor(self.document())
        last = max(self.document().characterCount() - 1, 0)
        cursor.setPosition(last if start < 0 else min(start, last))
        cursor.setPosition(last if end < 0 else min(end, last), QTextCursor.MoveMode.KeepAnchor)
        self.setTextCursor(cursor)

    def position_at(self, place: QPoint) -> int:
        """The document position next to a place on the screen."""
        return self.cursorForPosition(self.viewport().mapFromGlobal(place)).position()

    # -- inside

    def _new_document(self) -> Document:
        made = Document(mono_font(BASE) if self._code else text_font(BASE), self)
        if self._code:
            made.setDefaultTextOption(_code_option())
        return made

    def _wrap_for(self, text: str) -> None:
        """Looking for a place to break costs Qt the square of the length of a word."""
        if not self._code:
            modes = QTextOption.WrapMode
            anywhere = _LONG_WORD.search(text) is not None
            self.setWordWrapMode(modes.WrapAnywhere if anywhere else modes.WrapAtWordBoundaryOrAnywhere)

    def _show(self, made: Document, before: QTextCursor) -> None:
        old = self.document()
        anchor, position = before.anchor(), before.position()
        self.setDocument(made)
        if isinstance(old, Document) and old is not made:
            old.deleteLater()
        if anchor != position:
            self.select(anchor, position)

    def _append(self, text: str, document: QTextDocument | None = None) -> None:
        document = document or self.document()
        cursor = QTextCursor(document)
        cursor.movePosition(QTextCursor.MoveOperation.End)
        first = cursor.block()
        fresh = cursor.atBlockStart() or document.isEmpty()
        cursor.beginEditBlock()
        cursor.insertText(visible(text))
        shape = QTextBlockFormat()
        if self._code:
            shape.setLineHeight(CODE_LINE, EXACTLY)
            shape.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
            _merge(document, first if fresh else first.next(), shape)
        else:
            block = first if fresh or len(first.text()) < 64 else first.next()
            while block.isValid():
                shape = QTextBlockFormat()
                shape.setLineHeight(LINE, AT_LEAST)
                shape.setLayoutDirection(direction(block.text()))
                QTextCursor(block).mergeBlockFormat(shape)
                block = block.next()
        cursor.endEditBlock()

    # -- Qt

    def loadResource(self, kind: int, name: QUrl | str) -> Any:
        return None

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip:
            place = event.globalPos()  # type: ignore[attr-defined]
            address = self.anchorAt(self.viewport().mapFromGlobal(place))
            QToolTip.showText(place, address[:400], self)
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.SelectAll):
            self.whole_wanted.emit()
        elif event.matches(QKeySequence.StandardKey.Copy):
            self.copy_wanted.emit()
        elif event.key() in _PASSED_ON and not event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            event.ignore()
        else:
            super().keyPressEvent(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self.dragged.emit(None)
        super().mousePressEvent(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        super().mouseMoveEvent(event)
        if event.buttons() & Qt.MouseButton.LeftButton:
            self.dragged.emit(event.globalPosition().toPoint())

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        super().mouseReleaseEvent(event)
        event.accept()

    def wheelEvent(self, event: QWheelEvent) -> None:
        across = event.angleDelta().x() or event.modifiers() & Qt.KeyboardModifier.ShiftModifier
        if self._code and across and self.horizontalScrollBar().maximum():
            super().wheelEvent(event)
        else:
            event.ignore()

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if self._caret:
            cursor = QTextCursor(self.document())
            cursor.movePosition(QTextCursor.MoveOperation.End)
            at = self.cursorRect(cursor)
            painter = QPainter(self.viewport())
            left = min(at.left() + 2, self.viewport().width() - _CARET_W)
            high = min(at.height(), 16)
            painter.fillRect(QRectF(left, at.center().y() - high / 2, _CARET_W, high), theme().colour("accent"))


def _code_option() -> QTextOption:
    option = QTextOption()
    option.setWrapMode(QTextOption.WrapMode.NoWrap)
    option.setTextDirection(Qt.LayoutDirection.LeftToRight)
    option.setTabStopDistance(QFontMetricsF(mono_font(BASE)).horizontalAdvance("0") * 4)
    return option


def _merge(document: QTextDocument, first: QTextBlock, shape: QTextBlockFormat) -> None:
    if first.isValid():
        cursor = QTextCursor(first)
        cursor.movePosition(QTextCursor.MoveOperation.End, QTextCursor.MoveMode.KeepAnchor)
        cursor.mergeBlockFormat(shape)

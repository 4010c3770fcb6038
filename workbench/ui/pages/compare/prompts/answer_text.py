"""An answer as text, with what differs from the baseline tinted, and the first difference framed."""

from __future__ import annotations

from PySide6.QtCore import QRect, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QTextBlockFormat, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QTextEdit

from workbench.core.measure.answer_diff import Span
from workbench.ui.theme import text_font, theme
from workbench.ui.widgets.marker import variant_colour

_TINT = 0.30
_LINE = 165
"""Line height in % of the face's own: 13 px in lines of 22."""
MOST_CHARS = 200_000


class AnswerText(QTextEdit):
    """Read-only; `show_spans` for an answer that has ended, `stream` while it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.setReadOnly(True)
        self.setAcceptRichText(False)
        self.setTabChangesFocus(True)
        self.setUndoRedoEnabled(False)
        self.setFrameShape(QTextEdit.Shape.NoFrame)
        self.setFont(text_font())
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.document().setDocumentMargin(4)
        self.viewport().setAutoFillBackground(False)
        self.setStyleSheet("QTextEdit { background: transparent; border: none; padding: 0; }")
        self._slot = 0
        self._spans: tuple[Span, ...] = ()
        self._frame: tuple[int, int] | None = None
        self._gaps: tuple[int, ...] = ()
        self._streamed = ""
        theme().changed.connect(self._recolour)

    def show_spans(self, spans: tuple[Span, ...], slot: int) -> None:
        """Show an answer; without differences one span."""
        if (spans, slot) == (self._spans, self._slot):
            return
        self._spans, self._slot, self._streamed = spans, slot, ""
        self._fill()

    def stream(self, text: str) -> None:
        """An answer so far."""
        self._frame, self._gaps, self._spans = None, (), ()
        if self._streamed and text.startswith(self._streamed):
            cursor = QTextCursor(self.document())
            cursor.movePosition(QTextCursor.MoveOperation.End)
            cursor.insertText(text[len(self._streamed) :])
        else:
            self._write([(text[:MOST_CHARS], QTextCharFormat())])
        self._streamed = text

    def _fill(self) -> None:
        tint = variant_colour(self._slot)
        ground, share = theme().colour("panel"), _TINT
        mixed = QColor.fromRgbF(
            *(t * share + g * (1 - share) for t, g in zip(tint.getRgbF()[:3], ground.getRgbF()[:3], strict=True))
        )
        parts: list[tuple[str, QTextCharFormat]] = []
        at, gaps = 0, []
        self._frame = None
        for span in self._spans:
            # Blanks before a word are not part of what is said.
            bare = span.text.lstrip()
            blank = span.text[: len(span.text) - len(bare)]
            if span.left_out:
                gaps.append(at)
            made = QTextCharFormat()
            if span.differs:
                made.setBackground(mixed)
            for text, how in ((blank, QTextCharFormat()), (bare, made)):
                if text:
                    parts.append((text, how))
                    if span.first and text is bare:
                        self._frame = at, at + len(text.encode("utf-16-le")) // 2
                    at += len(text.encode("utf-16-le")) // 2
        self._gaps = tuple(gaps)
        self._write(parts)

    def _write(self, parts: list[tuple[str, QTextCharFormat]]) -> None:
        self.clear()
        cursor = QTextCursor(self.document())
        block = QTextBlockFormat()
        block.setLineHeight(_LINE, QTextBlockFormat.LineHeightTypes.ProportionalHeight.value)
        cursor.setBlockFormat(block)
        for text, how in parts:
            cursor.insertText(text, how)
        self.moveCursor(QTextCursor.MoveOperation.Start)  # it went along with what was written: read from the top

    def _recolour(self) -> None:
        if self._spans:
            self._fill()

    def _rects(self, begin: int, end: int) -> list[QRect]:
        """Where the letters from `begin` to `end` stand, one rectangle a line."""
        cursor = QTextCursor(self.document())
        last = self.document().characterCount() - 1
        found: list[QRect] = []
        for place in range(min(begin, last), min(end, last)):
            cursor.setPosition(place)
            left = self.cursorRect(cursor)
            cursor.setPosition(place + 1)
            right = self.cursorRect(cursor)
            if left.top() != right.top():
                continue
            letter = QRect(left.left(), left.top(), max(1, right.left() - left.left()), left.height())
            if found and found[-1].top() == letter.top():
                found[-1] = found[-1].united(letter)
            else:
                found.append(letter)
        return found

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        painter, look = QPainter(self.viewport()), theme()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self._frame is not None:
            painter.setPen(QPen(look.colour("text"), 1.5))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            for rect in self._rects(*self._frame):
                painter.drawRoundedRect(QRectF(rect).adjusted(-2.5, -1.5, 2.5, 1.5), 3, 3)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        painter.setPen(QPen(look.colour("text2"), 1, Qt.PenStyle.DotLine))
        cursor = QTextCursor(self.document())
        for place in self._gaps:
            cursor.setPosition(min(place, self.document().characterCount() - 1))
            rect = self.cursorRect(cursor)
            painter.drawLine(rect.left(), rect.top(), rect.left(), rect.bottom())
        painter.end()

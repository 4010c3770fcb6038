"""A log as numbered lines: paints only what is visible, whatever the length. It holds a window of lines, no file."""

from __future__ import annotations

from PySide6.QtCore import QPoint, QPointF, QRect, QRectF, Qt, Signal
from PySide6.QtGui import (
    QAccessible,
    QAccessibleEvent,
    QFocusEvent,
    QFontMetrics,
    QFontMetricsF,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
)
from PySide6.QtWidgets import QAbstractScrollArea, QWidget

from workbench.ui.models.log import LogCounts, LogWindow
from workbench.ui.models.log_lines import LogLine
from workbench.ui.theme import SMALL, mono_font, theme

LINE_HEIGHT = 18
MARGIN_ROWS = 80
"""Rows held above and below what is visible."""
_PAD = 12
_NO_COUNTS = LogCounts()
_SOURCE_CHARS = 14
_LETTER = {"debug": "D", "info": "I", "warning": "W", "error": "E"}
_LETTER_COLOUR = {"debug": "text3", "info": "text3", "warning": "warn", "error": "err"}
_TEXT_COLOUR = {"debug": "text3", "info": "text2", "warning": "text", "error": "text"}


class LogView(QAbstractScrollArea):
    """Told of windows of lines; asks for others when it is scrolled.

    Up, Down, PgUp, PgDn, Home and End move the current line, with Shift they select, Ctrl+A selects all, Ctrl+C copies.
    """

    wanted = Signal()
    """Other rows are needed: look at `request`."""
    follow_changed = Signal(bool)
    unfold = Signal(int)
    """Line number (from 1) of a fold that was opened."""
    copy_rows = Signal(int, int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Log")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setFrameShape(QAbstractScrollArea.Shape.NoFrame)
        self.viewport().setCursor(Qt.CursorShape.IBeamCursor)
        self.setFont(mono_font(SMALL))
        metrics = QFontMetrics(mono_font(SMALL))
        self._char = QFontMetricsF(mono_font(SMALL)).horizontalAdvance("0" * 100) / 100
        """Width of a character in px: not a whole number."""
        self._base = (LINE_HEIGHT - metrics.height()) // 2 + metrics.ascent()
        self._window = LogWindow(0, (), 0, _NO_COUNTS)
        self._current = self._anchor = -1
        self._match = -1
        self._times = False
        self._follow, self._wrap = True, False
        self.verticalScrollBar().setSingleStep(1)
        self.verticalScrollBar().valueChanged.connect(self._scrolled)
        self.horizontalScrollBar().setSingleStep(int(self._char * 4))

    # -- what it shows

    @property
    def following(self) -> bool:
        return self._follow

    @property
    def window_shown(self) -> LogWindow:
        return self._window

    @property
    def current(self) -> int:
        """The row that the keys move; -1: none."""
        return self._current

    def clear(self) -> None:
        """Show nothing: another log follows."""
        self._window = LogWindow(0, (), 0, _NO_COUNTS)
        self._current = self._anchor = self._match = -1
        self._times = False
        self._set_ranges()
        self.viewport().update()

    def request(self) -> tuple[int, int, bool]:
        """(first row, count, whether the end is wanted instead) of the window that should be held."""
        count = self._page() + 2 * MARGIN_ROWS
        return max(self.verticalScrollBar().value() - MARGIN_ROWS, 0), count, self._follow

    def show_window(self, window: LogWindow) -> None:
        """Take lines; while following, go to the end."""
        if window == self._window:
            return
        if window.filter != self._window.filter:
            self._current = self._anchor = -1
        self._window = window
        self._times = self._times or any(line.time for line in window.lines)
        self._set_ranges()
        self.viewport().update()

    def set_follow(self, on: bool) -> None:
        if on != self._follow:
            self._follow = on
            self.follow_changed.emit(on)
        if on:
            self.verticalScrollBar().setValue(self.verticalScrollBar().maximum())
            self.wanted.emit()

    def set_wrap(self, on: bool) -> None:
        self._wrap = on
        self._set_ranges()
        self.viewport().update()

    def go_to(self, row: int, number: int) -> None:
        """Bring a row to the middle and mark it as the match of the search; `number` is its line, from 0."""
        self._match = number
        self._current = self._anchor = row
        self._set_follow_quietly(False)
        bar = self.verticalScrollBar()
        bar.setMaximum(max(bar.maximum(), row))
        bar.setValue(max(row - self._page() // 2, 0))
        self.wanted.emit()
        self.viewport().update()

    def line_at(self, row: int) -> LogLine | None:
        place = row - self._window.first
        return self._window.lines[place] if 0 <= place < len(self._window.lines) else None

    # -- sizes

    def _page(self) -> int:
        return max(self.viewport().height() // LINE_HEIGHT, 1)

    def _text_left(self) -> int:
        digits = max(len(str(self._window.counts.lines)), 4)
        chars = digits + 2 + (10 if self._times else 0) + 3 + _SOURCE_CHARS + 1
        return _PAD + round(chars * self._char)

    def _columns(self) -> int:
        return max(int((self.viewport().width() - self._text_left() - _PAD) / self._char), 20)

    def _set_ranges(self) -> None:
        bar, across = self.verticalScrollBar(), self.horizontalScrollBar()
        bar.blockSignals(True)
        bar.setPageStep(self._page())
        most = max(self._window.rows - (1 if self._wrap else self._page()), 0)
        bar.setRange(0, most)
        if self._follow:
            bar.setValue(most)
        bar.blockSignals(False)
        longest = 0 if self._wrap else max((len(line.text) for line in self._window.lines), default=0)
        wide = self._text_left() + round(longest * self._char) + _PAD
        across.setPageStep(self.viewport().width())
        across.setRange(0, max(wide - self.viewport().width(), 0))

    def _height(self, row: int) -> int:
        line = self.line_at(row) if self._wrap else None
        if line is None or line.folded:
            return LINE_HEIGHT
        return LINE_HEIGHT * max(-(-len(line.text) // self._columns()), 1)

    def _layout(self) -> list[tuple[int, int, int]]:
        """(row, top, height) of what is visible; from the bottom up when the end is shown."""
        bar, height = self.verticalScrollBar(), self.viewport().height()
        found = []
        if self._wrap and self._follow:
            y = height
            row = self._window.rows - 1
            while row >= 0 and y > 0:
                size = self._height(row)
                y -= size
                found.append((row, y, size))
                row -= 1
            if row < 0 and y > 0:
                found = [(place, top - y, size) for place, top, size in found]
            return found
        y, row = 0, bar.value()
        while row < self._window.rows and y < height:
            size = self._height(row)
            found.append((row, y, size))
            y, row = y + size, row + 1
        return found

    def row_at(self, point: QPoint) -> int:
        """The row under a point of the viewport; -1 below the last."""
        for row, top, size in self._layout():
            if top <= point.y() < top + size:
                return row
        return -1

    # -- painting

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self.viewport())
        painter.setFont(mono_font(SMALL))
        colours = theme()
        painter.fillRect(self.viewport().rect(), colours.colour("sunken"))
        first, last = sorted((self._current, self._anchor))
        shift = -self.horizontalScrollBar().value()
        for row, top, size in self._layout():
            line = self.line_at(row)
            chosen = first <= row <= last and row >= 0
            if line is not None:
                self._paint_line(painter, line, QRect(0, top, self.viewport().width(), size), shift, chosen)
        if self.hasFocus():
            painter.setPen(QPen(colours.colour("accent_line"), 1))
            painter.drawRect(self.viewport().rect().adjusted(0, 0, -1, -1))

    def _paint_line(self, painter: QPainter, line: LogLine, rect: QRect, shift: int, chosen: bool) -> None:
        colours, char, base = theme(), self._char, rect.top() + self._base
        if line.level == "error":
            painter.fillRect(rect, colours.colour("err_bg"))
            painter.fillRect(QRect(rect.left(), rect.top(), 2, rect.height()), colours.colour("err"))
        if chosen and line.level == "error":
            painter.setPen(QPen(colours.colour("accent_line"), 1))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(rect.adjusted(2, 0, -1, -1))
        elif chosen:
            painter.fillRect(rect, colours.colour("accent_bg"))
        left = self._text_left()
        if line.folded:
            painter.setPen(colours.colour("text3"))
            words = f"▸ {line.folded} known harmless warning{'s' if line.folded > 1 else ''}: {line.harmless}"
            painter.drawText(left + shift, base, words)
            return
        x = float(_PAD + shift)
        digits = max(len(str(self._window.counts.lines)), 4)
        painter.setPen(colours.colour("text3"))
        painter.drawText(QPointF(x, base), str(line.number).rjust(digits))
        x += (digits + 2) * char
        if self._times:
            painter.drawText(QPointF(x, base), line.time)
            x += 10 * char
        painter.setPen(colours.colour(_LETTER_COLOUR[line.level]))
        painter.drawText(QPointF(x, base), _LETTER[line.level])
        x += 3 * char
        source = line.source
        painter.setPen(colours.colour("text3"))
        painter.drawText(
            QPointF(x, base), source if len(source) <= _SOURCE_CHARS else source[: _SOURCE_CHARS - 1] + "…"
        )
        self._paint_text(painter, line, QRect(left + shift, rect.top(), rect.width(), rect.height()))

    def _paint_text(self, painter: QPainter, line: LogLine, rect: QRect) -> None:
        colours, char = theme(), self._char
        columns = self._columns() if self._wrap else max(len(line.text), 1)
        for start, end in line.spans:
            painter.setPen(colours.colour("accent" if line.number - 1 == self._match else "accent_line"))
            painter.setBrush(colours.colour("accent_bg"))
            place = start
            while place < end:
                part = min(end, (place // columns + 1) * columns)
                x, y = rect.left() + place % columns * char, rect.top() + place // columns * LINE_HEIGHT
                painter.drawRect(QRectF(x - 1, y + 1, (part - place) * char + 1, LINE_HEIGHT - 3))
                place = part
        painter.setPen(colours.colour(_TEXT_COLOUR[line.level]))
        if self._wrap:
            for number, at in enumerate(range(0, len(line.text), columns)):
                y = rect.top() + number * LINE_HEIGHT + self._base
                painter.drawText(rect.left(), y, line.text[at : at + columns])
        else:
            # Only what can be seen: a line may have thousands of characters.
            skip = max(int(-rect.left() / char) - 1, 0)
            seen = line.text[skip : skip + int(self.viewport().width() / char) + 3]
            painter.drawText(QPointF(rect.left() + skip * char, rect.top() + self._base), seen)

    # -- being moved

    def _scrolled(self, value: int) -> None:
        at_end = value >= self.verticalScrollBar().maximum()
        if self._follow and not at_end:
            self._set_follow_quietly(False)
        page = self._page()
        first, last = self._window.first, self._window.first + len(self._window.lines)
        if value < first or min(value + page, self._window.rows) > last:
            self.wanted.emit()
        self.viewport().update()

    def _set_follow_quietly(self, on: bool) -> None:
        if on != self._follow:
            self._follow = on
            self.follow_changed.emit(on)

    def scrollContentsBy(self, dx: int, dy: int) -> None:
        self.viewport().update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._set_ranges()
        self.wanted.emit()

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self.viewport().update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.viewport().update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        row = self.row_at(event.position().toPoint())
        if row < 0 or event.button() != Qt.MouseButton.LeftButton:
            return
        line = self.line_at(row)
        if line is not None and line.folded:
            self.unfold.emit(line.number)
        self._move_to(row, extend=bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier), scroll=False)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        row = self.row_at(event.position().toPoint())
        if row >= 0 and event.buttons() & Qt.MouseButton.LeftButton:
            self._move_to(row, extend=True, scroll=False)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        page, last = self._page(), self._window.rows - 1
        now = self._current if self._current >= 0 else self.verticalScrollBar().value()
        targets = {
            Qt.Key.Key_Up: now - 1,
            Qt.Key.Key_Down: now + 1,
            Qt.Key.Key_PageUp: now - page,
            Qt.Key.Key_PageDown: now + page,
            Qt.Key.Key_Home: 0,
            Qt.Key.Key_End: last,
        }
        key = Qt.Key(event.key())
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy()
        elif event.matches(QKeySequence.StandardKey.SelectAll):
            self._anchor, self._current = 0, last
            self.viewport().update()
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and (line := self.line_at(self._current)):
            if line.harmless:
                self.unfold.emit(line.number)
        elif key in targets and last >= 0:
            extend = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            self._move_to(min(max(targets[key], 0), last), extend=extend)
        else:
            super().keyPressEvent(event)

    def _move_to(self, row: int, *, extend: bool = False, scroll: bool = True) -> None:
        self._current = row
        if not extend or self._anchor < 0:
            self._anchor = row
        bar, page = self.verticalScrollBar(), self._page()
        if scroll:
            if row < bar.value():
                bar.setValue(row)
            elif row >= bar.value() + page:
                bar.setValue(row - page + 1)
        if (line := self.line_at(row)) is not None:
            said = f"Line {line.number}, {line.level}: {line.text[:400]}"
            self.setAccessibleDescription(said)
            QAccessible.updateAccessibility(QAccessibleEvent(self, QAccessible.Event.DescriptionChanged))
        self.viewport().update()

    def copy(self) -> None:
        """Ask for the selected lines to be copied; without a selection all."""
        first, last = sorted((self._current, self._anchor))
        self.copy_rows.emit(*((first, last) if first >= 0 else (0, self._window.rows - 1)))

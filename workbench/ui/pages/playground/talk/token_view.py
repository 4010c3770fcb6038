"""An answer as cells, one a token, coloured by log-probability: one painted widget, whatever the number of tokens."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable
from typing import NamedTuple

from PySide6.QtCore import QEvent, QPoint, QPointF, QRect, QRectF, Qt
from PySide6.QtGui import (
    QAccessible,
    QAccessibleEvent,
    QFocusEvent,
    QFontMetricsF,
    QGuiApplication,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
)
from PySide6.QtWidgets import QToolTip, QWidget

from workbench.core.answer import Piece
from workbench.ui.models.jobs import grouped
from workbench.ui.pages.playground.talk.markdown import visible
from workbench.ui.theme import BASE, SMALL, mono_font, text_font, theme

LINE = 24
_CELL = 20
_GAP = 1
LOWEST = -5.0
"""Natural logarithm of the probability that has the full tint."""
_MOST_OPACITY = 0.6
_SCALE_CELLS, _SCALE_CELL_W = 8, 10


class Cell(NamedTuple):
    """A token; or a response of several tokens whose texts came as one."""

    text: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]

    @property
    def logprob(self) -> float | None:
        """Of several tokens the mean; None when not reported."""
        found = [value for value in self.logprobs if not math.isnan(value)]
        return math.fsum(found) / len(found) if found else None

    @property
    def shown(self) -> str:
        text = visible(self.text).replace("\n", "↵").replace("\t", "⇥").replace("\u2028", "↵")
        return text or "·"

    @property
    def words(self) -> str:
        """All that is known of it, a line each."""
        quoted = f"“{visible(self.text)}”".replace("\n", "↵") if self.text else "no text yet: part of a character"
        if len(self.ids) > 1:
            quoted += f", {len(self.ids)} tokens in one response"
        lines = [quoted, "id " + ", ".join(map(str, self.ids)) if self.ids else "id not reported"]
        if not self.logprobs:
            lines.append("probability not reported")
        for value in self.logprobs[:16]:
            percent = math.exp(min(value, 0.0)) * 100
            shown = f"{percent:.1f}" if percent >= 0.05 else f"{percent:.2g}"
            lines.append(
                "probability not reported" if math.isnan(value) else f"probability {shown} %, log p {value:.3f}"
            )
        return "\n".join(lines)


def cells_of(pieces: Iterable[Piece]) -> list[Cell]:
    """The cells of an answer; responses without a token and without text are none."""
    return [Cell(piece.text, piece.ids, piece.logprobs or ()) for piece in pieces if piece.text or piece.ids]


def opacity(logprob: float) -> float:
    """Tint of a cell: 0 at log p 0, the most at -5 and below."""
    return _MOST_OPACITY * min(max(logprob / LOWEST, 0.0), 1.0)


class TokenView(QWidget):
    """Arrow keys walk the cells, Shift with them or the mouse selects, Ctrl+C copies."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName(name)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self._cells: list[Cell] = []
        self._shown: list[str] = []
        self._x: list[float] = []
        self._wide: list[float] = []
        self._lines: list[int] = []
        """Number of the first cell of each line."""
        self._next = 0.0
        self._break = True
        self._for_width = 0
        self._current, self._anchor = -1, -1
        self._metrics = QFontMetricsF(text_font(BASE))
        self._widths: dict[str, float] = {}
        self._base = round((_CELL - self._metrics.height()) / 2 + self._metrics.ascent())

    @property
    def cells(self) -> list[Cell]:
        return self._cells

    @property
    def current(self) -> int:
        """Number of the cell that the keys move; -1: none."""
        return self._current

    @property
    def reported(self) -> bool:
        """Whether any cell has a log-probability."""
        return any(cell.logprobs for cell in self._cells)

    def set_cells(self, cells: list[Cell]) -> None:
        self._cells, self._current, self._anchor = [], -1, -1
        self._forget()
        self.add(cells)

    def add(self, cells: Iterable[Cell]) -> None:
        """More of a streaming answer, O(new cells)."""
        first = len(self._cells)
        self._cells.extend(cells)
        if self._for_width:
            self._lay(first)
        self._describe()
        self.update()

    def fit(self, width: int) -> int:
        """Lay the cells out in `width` px; the height that they take."""
        if width != self._for_width:
            self._for_width = width
            self._forget()
            self._lay(0)
        return max(len(self._lines), 1) * LINE

    def _forget(self) -> None:
        self._shown, self._x, self._wide, self._lines = [], [], [], []
        self._next, self._break = 0.0, True

    def _lay(self, first: int) -> None:
        x, breaks, most = self._next, self._break, self._for_width
        for number in range(first, len(self._cells)):
            shown = self._cells[number].shown
            wide = self._widths.get(shown)
            if wide is None:
                wide = self._widths[shown] = min(math.ceil(self._metrics.horizontalAdvance(shown)) + _GAP, most)
            if breaks or x + wide > most:
                self._lines.append(number)
                x = 0.0
            self._shown.append(shown)
            self._x.append(x)
            self._wide.append(wide)
            x += wide
            breaks = "↵" in shown
        self._next, self._break = x, breaks

    # -- where is what

    def _line_of(self, number: int) -> int:
        return bisect.bisect_right(self._lines, number) - 1

    def rect_of(self, number: int) -> QRect:
        """Place of a cell in the widget."""
        top = self._line_of(number) * LINE + (LINE - _CELL) // 2
        return QRectF(self._x[number], top, self._wide[number] - _GAP, _CELL).toRect()

    def cell_at(self, place: QPoint, *, nearest: bool = False) -> int:
        """Number of the cell there; -1: none."""
        if not self._lines:
            return -1
        line = place.y() // LINE
        if nearest:
            line = min(max(line, 0), len(self._lines) - 1)
        if not 0 <= line < len(self._lines):
            return -1
        first = self._lines[line]
        end = self._lines[line + 1] if line + 1 < len(self._lines) else len(self._cells)
        number = bisect.bisect_right(self._x, place.x(), first, end) - 1
        if nearest:
            return max(number, first)
        inside = number >= first and place.x() < self._x[number] + self._wide[number]
        return number if inside else -1

    # -- walking and copying

    def move_to(self, number: int, *, extend: bool = False) -> None:
        """Make a cell the current one."""
        if not self._cells:
            return
        self._current = min(max(number, 0), len(self._cells) - 1)
        if not extend or self._anchor < 0:
            self._anchor = self._current
        self._describe()
        self.update()

    def selected_text(self) -> str:
        first, last = sorted((self._anchor, self._current))
        return "".join(cell.text for cell in self._cells[max(first, 0) : last + 1])

    def _describe(self) -> None:
        total = len(self._cells)
        if self._current >= 0:
            words = self._cells[self._current].words.replace("\n", ", ")
            said = f"Token {grouped(self._current + 1)} of {grouped(total)}: {words}"
        else:
            said = f"{grouped(total)} tokens. Arrow keys walk them."
        if said != self.accessibleDescription():
            self.setAccessibleDescription(said)
            QAccessible.updateAccessibility(QAccessibleEvent(self, QAccessible.Event.DescriptionChanged))

    # -- Qt

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Copy):
            QGuiApplication.clipboard().setText(self.selected_text())
            return
        if event.matches(QKeySequence.StandardKey.SelectAll):
            self._anchor, self._current = 0, len(self._cells) - 1
            self._describe()
            self.update()
            return
        now = max(self._current, 0)
        goals = {
            Qt.Key.Key_Left: now - 1,
            Qt.Key.Key_Right: self._current + 1,
            Qt.Key.Key_Up: self._beside(now, -1),
            Qt.Key.Key_Down: self._beside(now, 1),
            Qt.Key.Key_Home: 0,
            Qt.Key.Key_End: len(self._cells) - 1,
        }
        key = Qt.Key(event.key())
        if key not in goals or not self._cells:
            super().keyPressEvent(event)
            return
        self.move_to(goals[key], extend=bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier))
        rect = self.rect_of(self._current)
        self.updateMicroFocus()
        QToolTip.showText(self.mapToGlobal(rect.bottomLeft()), self._cells[self._current].words, self)

    def _beside(self, number: int, lines: int) -> int:
        line = self._line_of(number) + lines
        if not 0 <= line < len(self._lines):
            return number
        return self.cell_at(QPoint(round(self._x[number] + 1), line * LINE), nearest=True)

    def inputMethodQuery(self, query: Qt.InputMethodQuery) -> object:
        if query == Qt.InputMethodQuery.ImCursorRectangle:
            return self.rect_of(self._current) if self._current >= 0 and self._x else QRect(0, 0, 1, LINE)
        return super().inputMethodQuery(query)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        number = self.cell_at(event.position().toPoint(), nearest=True)
        if number >= 0 and event.button() == Qt.MouseButton.LeftButton:
            self.move_to(number, extend=bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        number = self.cell_at(event.position().toPoint(), nearest=True)
        if number >= 0 and event.buttons() & Qt.MouseButton.LeftButton:
            self.move_to(number, extend=True)

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip:
            number = self.cell_at(event.pos())  # type: ignore[attr-defined]
            words = self._cells[number].words if number >= 0 else ""
            QToolTip.showText(event.globalPos(), words, self)  # type: ignore[attr-defined]
            return True
        return super().event(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        if self._current < 0:
            self.move_to(0)
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        QToolTip.hideText()
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        colours = theme()
        painter.setFont(text_font(BASE))
        tint, edge, text = colours.colour("s_pre"), colours.colour("line2"), colours.colour("text")
        chosen = sorted((self._anchor, self._current))
        clip = event.rect()
        for line in range(max(clip.top() // LINE, 0), min(clip.bottom() // LINE + 1, len(self._lines))):
            end = self._lines[line + 1] if line + 1 < len(self._lines) else len(self._cells)
            top = line * LINE + (LINE - _CELL) // 2
            for number in range(self._lines[line], end):
                rect = QRectF(self._x[number], top, self._wide[number] - _GAP, _CELL)
                value = self._cells[number].logprob
                if value is not None and (share := opacity(value)) > 0.004:
                    tint.setAlphaF(share)
                    painter.fillRect(rect, tint)
                if chosen[0] != chosen[1] and chosen[0] <= number <= chosen[1]:
                    painter.setPen(QPen(colours.colour("accent_line"), 1))
                    painter.drawRect(rect.adjusted(0, 0, -1, -1))
                painter.setPen(edge)
                painter.drawLine(QPointF(rect.left(), rect.bottom()), QPointF(rect.left(), rect.bottom() - 4))
                painter.setPen(text)
                painter.drawText(QPointF(rect.left(), top + self._base), self._shown[number])
        if self.hasFocus() and self._current >= 0 and self._x:
            painter.setPen(QPen(colours.colour("accent"), 2))
            painter.drawRect(self.rect_of(self._current).adjusted(0, 0, -1, -1))


class LogpScale(QWidget):
    """The scale of the tints: `log p 0 … -5`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Scale of log-probability")
        self.setToolTip(
            "Tint of a token by the natural logarithm of its probability: none at 0, the most at -5 and below."
        )
        self._words = "log p"
        small, mono = QFontMetricsF(text_font(SMALL)), QFontMetricsF(mono_font(SMALL))
        self._zero = small.horizontalAdvance(self._words) + 6
        self._strip = self._zero + mono.horizontalAdvance("0") + 6
        self._last = self._strip + _SCALE_CELLS * _SCALE_CELL_W + 6
        self.setFixedSize(round(self._last + mono.horizontalAdvance("-5")) + 2, LINE)
        self._base = round((LINE - mono.height()) / 2 + mono.ascent())

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        colours = theme()
        painter.setFont(text_font(SMALL))
        painter.setPen(colours.colour("text3"))
        painter.drawText(QPointF(0, self._base), self._words)
        painter.setFont(mono_font(SMALL))
        painter.setPen(colours.colour("text2"))
        painter.drawText(QPointF(self._zero, self._base), "0")
        painter.drawText(QPointF(self._last, self._base), "-5")
        tint = colours.colour("s_pre")
        for number in range(_SCALE_CELLS):
            tint.setAlphaF(opacity(LOWEST * number / (_SCALE_CELLS - 1)))
            painter.fillRect(QRectF(self._strip + number * _SCALE_CELL_W, 7, _SCALE_CELL_W - 1, 10), tint)

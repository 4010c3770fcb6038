"""Above and below the panels: events in words with the crosshair's time, and the labels of the time axis."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QPoint, QRect, Qt
from PySide6.QtGui import QHelpEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QToolTip, QWidget

from workbench.ui.monitor.axis import Window, ago
from workbench.ui.theme import SMALL, mono_font, text_font, theme

_LANE, _LABELS = 22, 24
_LEAST_ROOM = 40


@dataclass(frozen=True)
class Mark:
    """An event as the lane shows it."""

    at: float
    text: str


def clock_words(epoch_s: float, tenths: bool = False) -> str:
    """`14:03:07` of this machine's time zone."""
    words = time.strftime("%H:%M:%S", time.localtime(epoch_s))
    return f"{words}.{int(epoch_s % 1 * 10)}" if tenths else words


class _Strip(QWidget):
    """Drawn at the same places as the plots of the panels."""

    def __init__(self, height: int, left: Callable[[], int], width: Callable[[], int]) -> None:
        super().__init__()
        self.setFixedHeight(height)
        self._left, self._width = left, width

    def _x(self, at: float, window: Window) -> int | None:
        share = (at - window.start) / (window.end - window.start)
        return self._left() + min(int(share * self._width()), self._width() - 1) if 0 <= share <= 1 else None


class EventLane(_Strip):
    """Ticks with words; where there is no room the tick alone, and the words as a tool tip."""

    def __init__(self, left: Callable[[], int], width: Callable[[], int]) -> None:
        super().__init__(_LANE, left, width)
        self.marks: tuple[Mark, ...] = ()
        self.tag = ""
        """Time of the crosshair."""
        self._cross: float | None = None
        self._window: Window | None = None
        self._places: list[tuple[QRect, str]] = []
        self.setAccessibleName("Events in the monitor's window")

    def show_marks(self, window: Window, marks: tuple[Mark, ...], cross: float | None, tag: str) -> None:
        state = (marks, cross, tag, window.start)
        if state == (self.marks, self._cross, self.tag, self._window.start if self._window else None):
            return
        if marks != self.marks:
            self.setAccessibleDescription("; ".join(mark.text for mark in marks) or "none")
        self.marks, self._cross, self.tag, self._window = marks, cross, tag, window
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter, colours = QPainter(self), theme()
        painter.fillRect(event.rect(), colours.colour("panel"))
        window = self._window
        if window is None:
            return
        painter.setFont(text_font(SMALL))
        self._places = []
        ticks = [(x, mark.text) for mark in self.marks if (x := self._x(mark.at, window)) is not None]
        for place, (x, text) in enumerate(ticks):
            ends = ticks[place + 1][0] if place + 1 < len(ticks) else self.width() - 4
            painter.setPen(colours.colour("text3"))
            painter.drawLine(QPoint(x, 8), QPoint(x, 20))
            self._places.append((QRect(x - 3, 0, max(ends - x, 6), _LANE), text))
            room = ends - x - 8
            if room >= min(_LEAST_ROOM, painter.fontMetrics().horizontalAdvance(text)):
                painter.setPen(colours.colour("text2"))
                shown = painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, room)
                painter.drawText(QPoint(x + 4, 18), shown)
        if self._cross is not None and self.tag and (x := self._x(self._cross, window)) is not None:
            self._paint_tag(painter, x)

    def _paint_tag(self, painter: QPainter, x: int) -> None:
        colours = theme()
        painter.setFont(mono_font(SMALL))
        wide = painter.fontMetrics().horizontalAdvance(self.tag) + 8
        box = QRect(0, 4, wide, 16)
        box.moveLeft(min(max(x - wide // 2, 4), self.width() - wide - 4))
        painter.fillRect(box, colours.colour("accent"))
        painter.setPen(colours.colour("on_accent"))
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, self.tag)

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent):
            words = [text for place, text in self._places if place.contains(event.pos())]
            QToolTip.showText(event.globalPos(), words[-1] if words else "", self)
            return True
        return super().event(event)


class TimeLabels(_Strip):
    """The ends and the middle of the window: how long ago while it follows, else the time of day."""

    def __init__(self, left: Callable[[], int], width: Callable[[], int]) -> None:
        super().__init__(_LABELS, left, width)
        self.words: tuple[str, str, str] = ("", "", "")

    def show_window(self, window: Window, follows: bool, wall: Callable[[float], float]) -> None:
        """`follows`: the newest moment is now."""
        span = window.end - window.start
        if follows:
            words = (ago(span), ago(span / 2), "now")
        else:
            start, middle, end = (
                clock_words(wall(at)) for at in (window.now - span, window.now - span / 2, window.now)
            )
            words = (start, middle, end)
        if words != self.words:
            self.words = words
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter, colours = QPainter(self), theme()
        painter.fillRect(event.rect(), colours.colour("panel"))
        painter.setFont(mono_font(SMALL))
        painter.setPen(colours.colour("text3"))
        line = QRect(self._left(), 4, self._width(), 16)
        for words, side in zip(
            self.words,
            (Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignHCenter, Qt.AlignmentFlag.AlignRight),
            strict=True,
        ):
            painter.drawText(line, side, words)

"""One plot of a panel: its frame, the view that draws it, the words over it, and its axis in the gutter beside it."""

from __future__ import annotations

from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QWidget

from workbench.ui.monitor.frame import Frame, Key
from workbench.ui.monitor.readings import draw_figure, face
from workbench.ui.monitor.view import PlotView
from workbench.ui.theme import Theme, theme

_LABEL = 14


class Plot:
    """A frame and where it stands in its panel."""

    def __init__(self, height: int, panel: QWidget) -> None:
        self.height = height
        self.rect = QRect()
        self.frame: Frame | None = None
        self._key: Key = ()
        self._shown: Key = ()
        self.view = PlotView(panel, self._paint_words)

    @property
    def drawn(self) -> int:
        """How often it was painted."""
        return self.view.painted

    def take(self, frame: Frame) -> bool:
        """Show this from `draw` on; False when it looks as what is shown."""
        if frame.key == self._key:
            return False
        self.frame, self._key = frame, frame.key
        return True

    def place(self, rect: QRect) -> None:
        """Stand there."""
        self.rect = rect
        self.view.setGeometry(rect)

    def draw(self, scale: float, events: tuple[float, ...], cross: tuple[float, ...]) -> None:
        """Give the view what it does not show yet. Moments are shares of the width."""
        if self.frame is None:
            return
        colours = theme()
        wanted = (self._key, colours.scheme, self.rect.size().toTuple(), scale)
        if wanted != self._shown:
            self._shown = wanted
            self.view.show_frame(self.frame, colours, scale)
        self.view.show_moments(events, cross, colours)

    # -- beside it and over it

    def paint_axis(self, painter: QPainter, colours: Theme) -> None:
        """The two lines of the axes, and the ticks' words in the gutter left of the plot."""
        rect, left, below = self.rect, self.rect.left() - 1, self.rect.bottom() + 1
        painter.setPen(colours.colour("line2"))
        painter.drawLine(QPoint(left, rect.top()), QPoint(left, below))
        painter.drawLine(QPoint(left, below), QPoint(rect.right(), below))
        if self.frame is not None:
            self._ticks(painter, self.frame, colours)

    def _ticks(self, painter: QPainter, frame: Frame, colours: Theme) -> None:
        painter.setPen(colours.colour("text3"))
        rect, free = self.rect, self.rect.top() - _LABEL
        words = [(rect.top(), frame.corner)] if frame.corner else []
        words += [(rect.bottom() + 1 - round(v / frame.top * rect.height()), text) for v, text in frame.ticks[::-1]]
        for at, text in words:
            y = min(max(at - _LABEL // 2, rect.top() - 2), rect.bottom() - _LABEL + 4)
            if y < free:  # it would stand on the one above
                continue
            free = y + _LABEL - 2
            draw_figure(painter, rect.left() - 6, y + 11, text)

    def _paint_words(self, painter: QPainter) -> None:
        """Why there is nothing to see, in the middle of the view."""
        frame = self.frame
        if frame is None or not frame.words or not frame.gap.any():
            return
        inside, words = QRect(QPoint(0, 0), self.rect.size()), frame.words
        painter.setFont(face())
        wide = painter.fontMetrics().horizontalAdvance(words) + 8
        lines = [words] if wide <= inside.width() else words.rsplit(" by ", 1)
        if len(lines) == 2:
            lines[1] = "by " + lines[1]
            wide = max(painter.fontMetrics().horizontalAdvance(line) for line in lines) + 8
        high = 16 * len(lines)
        if wide > inside.width() or high > inside.height():
            lines, high = ["not reported"], 16
            wide = painter.fontMetrics().horizontalAdvance(lines[0]) + 8
        place = QRect(0, 0, wide, high)
        place.moveCenter(inside.center())
        painter.fillRect(place, theme().colour("sunken"))
        painter.setPen(theme().colour("text2"))
        painter.drawText(place, Qt.AlignmentFlag.AlignCenter, "\n".join(lines))

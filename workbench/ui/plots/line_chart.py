"""Lines with markers over the levels of a load: error bars, a crosshair with a card, names at the lines' ends."""

from __future__ import annotations

import math
from collections.abc import Iterator

from PySide6.QtCore import QEvent, QLineF, QPoint, QPointF, QRect, QSize, Qt, Signal
from PySide6.QtGui import QFocusEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF, QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from workbench.ui.monitor.readings import face, words_width
from workbench.ui.plots.card import card_of, paint_card
from workbench.ui.plots.data import Chart, Dot, Line
from workbench.ui.plots.figures import draw_figure, figure_width
from workbench.ui.plots.scales import Axis, spread_labels, x_axis, y_axis
from workbench.ui.theme import SMALL, text_font, theme
from workbench.ui.widgets.marker import SIZE as MARKER
from workbench.ui.widgets.marker import draw_marker, variant_colour

_TOP, _BELOW, _TICK, _LABEL_GAP, _LABEL_PITCH = 24, 44, 8, 14, 38
_INSET = 20
"""px between the axis and the first level."""
_HIT = 14


class LineChart(QWidget):
    """Shows a chart. The pointer or the arrow keys move the crosshair, a click or Return chooses its point."""

    crossed = Signal(object)
    """The key under the crosshair, or None when it left."""
    chosen = Signal(object, object)
    """Key of the point, and id of the line where one dot was meant, else empty."""

    def __init__(self, name: str = "Chart") -> None:
        super().__init__()
        self._chart = Chart()
        self._x = Axis(0, 1, 0, 1, ())
        self._y = Axis(0, 1, 1, 0, ())
        self._plot = QRect()
        self._cross: float | None = None
        self._line = ""
        self._marked: float | None = None
        self._pointer: QPoint | None = None
        self._name = name
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName(name)

    # -- what is shown

    @property
    def chart(self) -> Chart:
        return self._chart

    def show_chart(self, chart: Chart) -> None:
        """Draw this from now on; the crosshair stays where its key is measured there too."""
        self._chart = chart
        if self._cross not in self.keys():
            self._cross = None
        if not chart.nearest:
            self._line = ""
        self.setAccessibleDescription(chart.summary())
        self._measure()
        self.update()

    def keys(self) -> list[float]:
        """Of all dots, from left to right in the order of keys."""
        return sorted({dot.key for line in self._chart.lines for dot in line.dots})

    @property
    def cross(self) -> float | None:
        """The key under the crosshair."""
        return self._cross

    def set_cross(self, key: float | None, line: str = "") -> None:
        """Move the crosshair there; None takes it away."""
        if (key, line) != (self._cross, self._line):
            self._cross, self._line = key, line
            self.update()
            self.crossed.emit(key)

    def mark(self, key: float | None) -> None:
        """The point that is chosen on the page: its crosshair stays when the pointer leaves."""
        if key != self._marked:
            self._marked = key
            self.update()

    @property
    def plot_rect(self) -> QRect:
        """Where the plot itself stands."""
        return QRect(self._plot)

    def place_of(self, dot: Dot) -> QPointF:
        """Where a dot stands; only of one whose value is reported."""
        return QPointF(self._x.place(dot.x), self._y.place(dot.y if dot.y is not None else 0.0))

    def sizeHint(self) -> QSize:
        return QSize(640, 320)

    def minimumSizeHint(self) -> QSize:
        return QSize(280, 160)

    # -- where things stand

    def _measure(self) -> None:
        """Axes for the size of now."""
        chart = self._chart
        probe = y_axis(chart, 1.0, 0.0)
        ticks = max((figure_width(probe.text(tick)) for tick in probe.ticks), default=10)
        left = round(ticks) + 16
        ends = max((self._end_width(line) for line in chart.lines), default=0)
        right = min(round(ends) + _LABEL_GAP + 20, self.width() // 3) if ends else 16
        self._plot = QRect(left, _TOP, max(self.width() - left - right, 40), max(self.height() - _TOP - _BELOW, 40))
        inset = _INSET if chart.x_kind == "levels" else 0
        self._x = x_axis(chart, self._plot.left() + inset, self._plot.right() - inset)
        self._y = y_axis(chart, self._plot.bottom(), self._plot.top())

    @staticmethod
    def _end_width(line: Line) -> float:
        return max(words_width(line.name, True) * 1.2, figure_width(line.end))

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._measure()
        super().resizeEvent(event)

    # -- painting

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        look = theme()
        painter.fillRect(self._plot.adjusted(0, 0, 0, 1), look.colour("sunken"))
        if not self._chart.lines:
            painter.setPen(look.colour("text2"))
            painter.setFont(text_font())
            painter.drawText(self._plot, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, self._chart.empty)
            return
        self._paint_axes(painter)
        cross = self._cross if self._cross is not None else self._marked
        if cross is not None and not self._chart.nearest:
            x = self._x_of(cross)
            if x is not None:
                painter.setPen(QPen(look.colour("accent"), 1))
                painter.drawLine(round(x), self._plot.top(), round(x), self._plot.bottom())
        self._paint_front(painter)
        for line in self._chart.lines:
            self._paint_line(painter, line)
        for line in self._chart.lines:
            self._paint_dots(painter, line)
        self._paint_ends(painter)
        if self._cross is not None:
            self._paint_card(painter)
        if self.hasFocus():
            painter.setPen(QPen(look.colour("accent"), 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(self.rect().adjusted(1, 1, -1, -1))

    def _paint_axes(self, painter: QPainter) -> None:
        look, plot, chart = theme(), self._plot, self._chart
        for tick in self._y.ticks:
            y = round(self._y.place(tick))
            painter.setPen(look.colour("line" if y < plot.bottom() else "line2"))
            painter.drawLine(plot.left(), y, plot.right(), y)
            painter.setPen(look.colour("text3"))
            text = self._y.text(tick)
            draw_figure(painter, plot.left() - 8 - figure_width(text), y + 4, text)
        painter.setPen(look.colour("line2"))
        painter.drawLine(plot.left(), plot.top(), plot.left(), plot.bottom())
        painter.drawLine(plot.left(), plot.bottom(), plot.right(), plot.bottom())
        painter.setPen(look.colour("text3"))
        painter.setFont(face())
        painter.drawText(QPoint(max(plot.left() - 48, 2), plot.top() - 9), chart.y_title)
        painter.drawText(QPoint(plot.right() - words_width(chart.x_title), plot.bottom() + 38), chart.x_title)
        free = -math.inf
        for tick in self._x.ticks:
            text = self._x.text(tick)
            x, wide = self._x.place(tick), figure_width(text)
            painter.setPen(look.colour("line2"))
            painter.drawLine(round(x), plot.bottom(), round(x), plot.bottom() + 4)
            if x - wide / 2 < free:  # it would stand on the one before
                continue
            free = x + wide / 2 + 6
            painter.setPen(look.colour("text3"))
            draw_figure(painter, x - wide / 2, plot.bottom() + 19, text)

    def _paint_front(self, painter: QPainter) -> None:
        if len(self._chart.front) < 2:
            return
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(theme().colour("text3"), 1, Qt.PenStyle.DashLine))
        painter.drawPolyline(QPolygonF([QPointF(self._x.place(x), self._y.place(y)) for x, y in self._chart.front]))
        painter.restore()

    def _paint_line(self, painter: QPainter, line: Line) -> None:
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        pen = QPen(variant_colour(line.slot), 1.5, Qt.PenStyle.DashLine if line.dashed else Qt.PenStyle.SolidLine)
        painter.setPen(pen)
        if line.joined:
            for before, after in zip(line.dots, line.dots[1:], strict=False):
                if before.y is not None and after.y is not None:
                    painter.drawLine(QLineF(self.place_of(before), self.place_of(after)))
        painter.setPen(QPen(variant_colour(line.slot), 1.25))
        for dot in line.dots:
            if dot.y is None or dot.low is None or dot.high is None or dot.low == dot.high:
                continue
            x, low, high = self._x.place(dot.x), self._y.place(dot.low), self._y.place(dot.high)
            painter.drawLine(QLineF(x, low, x, high))
            for end in (low, high):
                painter.drawLine(QLineF(x - 3.5, end, x + 3.5, end))
        painter.restore()

    def _paint_dots(self, painter: QPainter, line: Line) -> None:
        look = theme()
        for dot in line.dots:
            if dot.y is None:
                continue
            place = self.place_of(dot)
            chosen = dot.key in (self._cross, self._marked) and self._chart.nearest
            if chosen and (not self._line or self._line == line.id or dot.key == self._marked):
                painter.save()
                painter.setRenderHint(QPainter.RenderHint.Antialiasing)
                painter.setPen(QPen(look.colour("accent"), 1.5))
                painter.drawEllipse(place, MARKER, MARKER)
                painter.restore()
            draw_marker(painter, line.slot, place.x(), place.y())
            if self._chart.names_dots and dot.name:
                painter.setPen(look.colour("text3"))
                draw_figure(painter, place.x() + 9, round(place.y()) - 5, dot.name)

    def _paint_ends(self, painter: QPainter) -> None:
        look = theme()
        ended = [(line, last) for line in self._chart.lines if (last := _last(line)) is not None]
        wanted = [self.place_of(dot).y() for _, dot in ended]
        places = spread_labels(wanted, _LABEL_PITCH, self._plot.top() + 6, self._plot.bottom() - 16)
        left = self._plot.right() + _LABEL_GAP
        room = self.width() - left - 20
        for (line, _), y in zip(ended, places, strict=True):
            draw_marker(painter, line.slot, left + MARKER / 2, y)
            painter.setPen(look.colour("text"))
            painter.setFont(text_font(SMALL + 1, bold=True))
            name = painter.fontMetrics().elidedText(line.name, Qt.TextElideMode.ElideRight, room)
            painter.drawText(QPoint(left + 16, round(y) + 4), name)
            painter.setPen(look.colour("text3"))
            draw_figure(painter, left + 16, round(y) + 20, line.end)

    def _paint_card(self, painter: QPainter) -> None:
        key = self._cross
        assert key is not None
        only = next((line for line in self._chart.lines if line.id == self._line), None) if self._line else None
        x = self._x_of(key, only)
        if x is None:
            return
        y = self._pointer.y() - 40 if self._pointer is not None else self._plot.top() + 14
        paint_card(painter, self._chart, card_of(self._chart, key, only), self._plot, QPoint(round(x), y))

    def _x_of(self, key: float, only: Line | None = None) -> float | None:
        lines = [only] if only is not None else self._chart.lines
        return next((self._x.place(dot.x) for line in lines for dot in line.dots if dot.key == key), None)

    # -- the pointer and the keyboard

    def _dots(self) -> Iterator[tuple[Line, Dot]]:
        for line in self._chart.lines:
            for dot in line.dots:
                if dot.y is not None:
                    yield line, dot

    def _under(self, at: QPoint) -> tuple[float | None, str]:
        """Key and line under the pointer."""
        if not self._plot.adjusted(-_HIT, -_HIT, _HIT, _HIT).contains(at):
            return None, ""
        if self._chart.nearest:
            found = min(
                self._dots(), key=lambda pair: (self.place_of(pair[1]) - QPointF(at)).manhattanLength(), default=None
            )
            return (found[1].key, found[0].id) if found is not None else (None, "")
        keys = [(abs(x - at.x()), key) for key in self.keys() if (x := self._x_of(key)) is not None]
        return (min(keys)[1] if keys else None), ""

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self._pointer = event.position().toPoint()
        self.set_cross(*self._under(self._pointer))
        self.update()

    def leaveEvent(self, event: QEvent) -> None:
        self._pointer = None
        self.set_cross(None)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            key, line = self._under(event.position().toPoint())
            if key is not None:
                self.chosen.emit(key, line)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        keys = self.keys()
        if event.key() in (Qt.Key.Key_Left, Qt.Key.Key_Right) and keys:
            now = self._cross if self._cross is not None else self._marked
            step = 1 if event.key() == Qt.Key.Key_Right else -1
            place = keys.index(now) + step if now in keys else (0 if step > 0 else len(keys) - 1)
            self._pointer = None
            self.set_cross(keys[min(max(place, 0), len(keys) - 1)], self._line)
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space) and self._cross is not None:
            self.chosen.emit(self._cross, self._line)
        elif event.key() == Qt.Key.Key_Escape and self._cross is not None:
            self.set_cross(None)
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.update()


def _last(line: Line) -> Dot | None:
    return next((dot for dot in reversed(line.dots) if dot.y is not None), None)

"""A small plot of what a server did in the last minutes: lines over one time axis, with their values beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QPoint, QPointF, QRect, QSize, Qt, Signal
from PySide6.QtGui import QBrush, QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QWidget

from workbench.core.report import words
from workbench.ui.monitor.readings import face, words_width
from workbench.ui.plots.figures import draw_figure, figure_width
from workbench.ui.plots.scales import round_step
from workbench.ui.theme import BASE, theme

GUTTER, _HEAD, _FOOT, _SIDE, _PAD = 48, 28, 22, 108, 16
_GAP_S = 3.0
"""Readings further apart than this are not joined: nothing was reported between."""
_FILL = 0.16
_ROW = 18
NOT_REPORTED = "not reported"


@dataclass(frozen=True)
class Series:
    """One quantity; `values` stand at the frame's times, None: not reported."""

    name: str
    token: str
    values: tuple[float | None, ...]
    fill: bool = False
    dotted: bool = False

    @property
    def last(self) -> float | None:
        return self.values[-1] if self.values else None


@dataclass(frozen=True)
class RunFrame:
    """What is shown: series over `times` (seconds since the epoch, rising), of the `span_s` before `now`."""

    times: tuple[float, ...] = ()
    series: tuple[Series, ...] = ()
    now: float = 0.0
    span_s: float = 300.0
    top: float | None = None
    """End of the axis where it is given, such as 100 for a share."""
    end: str = "now"
    """What `now` is called."""


class RunPlot(QWidget):
    """Shows a frame. Pointer and arrow keys move a crosshair, whose moment all plots of a server share by `crossed`."""

    crossed = Signal(object)
    """Seconds since the epoch, or None."""

    def __init__(self, title: str, unit: str, digits: int | None = None) -> None:
        super().__init__()
        self._title, self._unit, self._digits = title, unit, digits
        self._frame = RunFrame()
        self._cross: float | None = None
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName(f"{title}, {unit}" if unit else title)

    def sizeHint(self) -> QSize:
        return QSize(360, 150)

    def minimumSizeHint(self) -> QSize:
        return QSize(240, 108)

    @property
    def frame(self) -> RunFrame:
        return self._frame

    def show_frame(self, frame: RunFrame) -> None:
        """Draw this from now on."""
        if frame != self._frame:
            self._frame = frame
            self.setAccessibleDescription("; ".join(f"{one.name} {self._value(one.last)}" for one in frame.series))
            self.update()

    def set_cross(self, at: float | None) -> None:
        """Show the values of this moment beside the plot; None: the newest."""
        if at != self._cross:
            self._cross = at
            self.update()

    # -- where things stand

    @property
    def plot_rect(self) -> QRect:
        return QRect(
            GUTTER, _HEAD, max(self.width() - GUTTER - _SIDE - _PAD, 40), max(self.height() - _HEAD - _FOOT, 30)
        )

    def _top(self) -> float:
        if self._frame.top is not None:
            return self._frame.top
        start = self._frame.now - self._frame.span_s
        highest = max(
            (
                value
                for one in self._frame.series
                for at, value in zip(self._frame.times, one.values, strict=True)
                if value is not None and math.isfinite(value) and at >= start
            ),
            default=0.0,
        )
        step = round_step(max(highest, 1e-9) * 1.05 / 2)
        return max(step * math.ceil(highest * 1.05 / step), 1.0 if self._digits == 0 else step)

    def _x(self, at: float, plot: QRect) -> float:
        frame = self._frame
        return plot.left() + (at - frame.now + frame.span_s) / frame.span_s * plot.width()

    def _at(self) -> int | None:
        """Which reading the crosshair is at."""
        if not self._frame.times:
            return None
        if self._cross is None:
            return len(self._frame.times) - 1
        cross = self._cross
        return min(range(len(self._frame.times)), key=lambda place: abs(self._frame.times[place] - cross))

    def _value(self, value: float | None) -> str:
        if value is None:
            return NOT_REPORTED
        return f"{words.number(value, self._digits)} {self._unit}".strip()

    # -- painting

    def paintEvent(self, event: QPaintEvent) -> None:
        painter, look, plot = QPainter(self), theme(), self.plot_rect
        painter.fillRect(plot, look.colour("sunken"))
        painter.setPen(look.colour("text2"))
        painter.setFont(face(True))
        painter.drawText(QPoint(_PAD, 19), self._title)
        painter.setPen(look.colour("text3"))
        painter.setFont(face())
        painter.drawText(QPoint(_PAD + round(words_width(self._title, True)) + 8, 19), self._unit)
        top = self._top()
        self._paint_axes(painter, plot, top)
        painter.save()
        painter.setClipRect(plot.adjusted(0, -1, 0, 1))
        for one in self._frame.series:
            self._paint_series(painter, plot, one, top)
        painter.restore()
        place = self._at()
        if self._cross is not None and place is not None:
            painter.setPen(look.colour("accent"))
            x = round(self._x(self._frame.times[place], plot))
            painter.drawLine(x, plot.top(), x, plot.bottom())
        if not any(value is not None for one in self._frame.series for value in one.values):
            painter.setPen(look.colour("text2"))
            painter.setFont(face())
            said = NOT_REPORTED if self._frame.times else "nothing yet"
            painter.drawText(plot, Qt.AlignmentFlag.AlignCenter, said)
        self._paint_readings(painter, plot, place)
        if self.hasFocus():
            painter.setPen(QPen(look.colour("accent"), 2))
            painter.drawRect(plot.adjusted(-1, -1, 1, 1))

    def _paint_axes(self, painter: QPainter, plot: QRect, top: float) -> None:
        look = theme()
        for share in (0.0, 0.5, 1.0):
            y = plot.bottom() - round(share * plot.height())
            if share == 0.5:
                painter.setPen(look.colour("line"))
                painter.drawLine(plot.left(), y, plot.right(), y)
            text = words.number(top * share, 0 if top * share == int(top * share) else None)
            painter.setPen(look.colour("text3"))
            if share != 0.5 or plot.height() > 50:
                base = min(max(y + 4, plot.top() + 8), plot.bottom())
                draw_figure(painter, plot.left() - 6 - figure_width(text), base, text)
        painter.setPen(look.colour("line2"))
        painter.drawLine(plot.left() - 1, plot.top(), plot.left() - 1, plot.bottom() + 1)
        painter.drawLine(plot.left() - 1, plot.bottom() + 1, plot.right(), plot.bottom() + 1)
        painter.setPen(look.colour("text3"))
        minutes = self._frame.span_s / 60
        draw_figure(painter, plot.left(), plot.bottom() + 15, f"-{minutes:g} min")
        draw_figure(painter, plot.right() - figure_width(self._frame.end), plot.bottom() + 15, self._frame.end)

    def _paint_series(self, painter: QPainter, plot: QRect, one: Series, top: float) -> None:
        colour = theme().colour(one.token)
        for points in self._runs(plot, one, top):
            if one.fill and len(points) > 1:
                area = QColor(colour)
                area.setAlphaF(_FILL)
                below = plot.bottom() + 1
                corners = [QPointF(points[0].x(), below), *points, QPointF(points[-1].x(), below)]
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(QBrush(area))
                painter.drawPolygon(QPolygonF(corners))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(colour, 1, Qt.PenStyle.DotLine if one.dotted else Qt.PenStyle.SolidLine))
            if len(points) == 1:
                painter.drawEllipse(points[0], 1.5, 1.5)
            else:
                painter.drawPolyline(QPolygonF(points))

    def _runs(self, plot: QRect, one: Series, top: float) -> list[list[QPointF]]:
        """Points that are joined: a value that is not reported, and a pause, part them."""
        found: list[list[QPointF]] = []
        before: float | None = None
        start = self._frame.now - self._frame.span_s
        for at, value in zip(self._frame.times, one.values, strict=True):
            if value is None or not math.isfinite(value) or at < start - _GAP_S:
                before = None
                continue
            if before is None or at - before > _GAP_S:
                found.append([])
            found[-1].append(QPointF(self._x(at, plot), plot.bottom() - value / top * plot.height()))
            before = at
        return found

    def _paint_readings(self, painter: QPainter, plot: QRect, place: int | None) -> None:
        look, left = theme(), plot.right() + _PAD
        right = self.width() - _PAD
        for number, one in enumerate(self._frame.series):
            base = plot.top() + 10 + number * (_ROW * 2 if self._roomy else _ROW)
            painter.fillRect(left, base - 7, 7, 7, look.colour(one.token))
            painter.setPen(look.colour("text2"))
            painter.setFont(face())
            painter.drawText(QPoint(left + 13, base), one.name)
            value = one.values[place] if place is not None else None
            text = words.number(value, self._digits) if value is not None else words.NOT_REPORTED
            size = BASE
            painter.setPen(look.colour("text" if value is not None else "text3"))
            at = base + _ROW if self._roomy else base
            draw_figure(painter, right - figure_width(text, size), at, text, size)

    @property
    def _roomy(self) -> bool:
        """Whether a value has a line of its own below its name."""
        return len(self._frame.series) * _ROW * 2 <= self.plot_rect.height() + 8

    # -- the pointer and the keyboard

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        plot = self.plot_rect
        if not plot.contains(event.position().toPoint()):
            self.crossed.emit(None)
            return
        share = (event.position().x() - plot.left()) / plot.width()
        self.crossed.emit(self._frame.now - self._frame.span_s * (1 - share))

    def leaveEvent(self, event: QEvent) -> None:
        self.crossed.emit(None)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        place = self._at()
        step = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()), 0)
        if step and place is not None:
            self.crossed.emit(self._frame.times[min(max(place + step, 0), len(self._frame.times) - 1)])
        elif event.key() == Qt.Key.Key_Escape and self._cross is not None:
            self.crossed.emit(None)
        else:
            super().keyPressEvent(event)


def thinned(times: Sequence[float], most: int) -> list[int]:
    """Places of at most so many readings, evenly, the last among them."""
    count = len(times)
    if count <= most:
        return list(range(count))
    step = count / most
    return sorted({min(count - 1, round((place + 1) * step) - 1) for place in range(most)})

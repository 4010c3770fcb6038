"""The area of a plot: a pyqtgraph view whose items are fed from a frame.

No AxisItem, no grid and no antialias, since each of these costs more than the curves; no PlotDataItem, since a pair of
values a column comes already; no menu, which would be a window. A view is painted when something in it changed, and an
item whose values are the same keeps its path.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QRect, QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QGraphicsView, QWidget

from workbench.ui.monitor.frame import Band, Curve, Frame
from workbench.ui.monitor.shape import Look, Shape, across, edge, hatch, pen, upright, zigzag
from workbench.ui.theme import Theme

FILL = 0.16
"""Opacity of the area under a curve."""
_CURVE_DOTS, _RULE_DOTS, _EVENT_DOTS = (1.0, 1.0), (2.0, 2.0), (2.0, 3.0)
_TICKS, _GAP, _BANDS, _CURVES, _CEILING, _EVENTS, _CROSS = range(0, 700, 100)
"""What lies over what."""
_NO_LOOK = Look("", 1.0, 0, 0, 1, 1.0)


class PlotView(pg.GraphicsView):
    """Shows a frame. The pointer and the keyboard pass through it to its panel, which also tells it in words."""

    def __init__(self, panel: QWidget, foreground: Callable[[QPainter], None]) -> None:
        super().__init__(panel, useOpenGL=False, background=None)
        self._foreground, self._look = foreground, _NO_LOOK
        self.painted = 0
        """How often it was painted."""
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.viewport().setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.viewport().setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.NoContextMenu)
        self.setAcceptDrops(False)
        self.setCacheMode(QGraphicsView.CacheModeFlag(0))
        self.setViewportUpdateMode(QGraphicsView.ViewportUpdateMode.FullViewportUpdate)
        self.box = pg.ViewBox(enableMouse=False, enableMenu=False)
        self.box.disableAutoRange()
        self.setCentralItem(self.box)
        self.curves: list[Shape] = []
        self.bands: list[Shape] = []
        self.ticks, self.gap = self._add(_TICKS), self._add(_GAP)
        self.ceiling, self.events, self.cross = self._add(_CEILING), self._add(_EVENTS), self._add(_CROSS)

    def _add(self, over: int) -> Shape:
        made = Shape(over)
        made.fit(self._look.room)
        self.box.addItem(made, ignoreBounds=True)
        return made

    def _have(self, shapes: list[Shape], count: int, over: int, step: int) -> None:
        while len(shapes) < count:
            shapes.append(self._add(over + step * len(shapes)))
        while len(shapes) > count:
            self.box.removeItem(shapes.pop())

    # -- what is shown

    def show_frame(self, frame: Frame, colours: Theme, scale: float) -> None:
        """Draw this; what looks as it did is not touched."""
        self._have(self.bands, len(frame.bands), _BANDS + 99, -1)  # each covers what is under it
        self._have(self.curves, len(frame.curves), _CURVES, 1)
        look = Look(colours.scheme, scale, self.width(), self.height(), frame.columns, frame.top)
        if look != self._look:
            self._take_look(look, colours)
        ticks = tuple(value for value, _ in frame.ticks if 0 < value < frame.top)
        self.ticks.show_values((ticks, look.columns), lambda: across(ticks, look), "pairs")
        self.ticks.show_style(look, lambda: pen(colours.colour("line"), scale))
        ceiling = () if frame.ceiling is None else (frame.ceiling,)
        self.ceiling.show_values((ceiling, look.columns), lambda: across(ceiling, look), "pairs")
        self.ceiling.show_style(look, lambda: pen(colours.colour("text3"), scale, _RULE_DOTS))
        upper = np.where(frame.gap, look.above, look.below) if frame.gap.any() else np.full(1, look.below)
        self.gap.show_values((upper.tobytes(),), lambda: edge(upper, look.below))
        self.gap.show_style(look, area=lambda: hatch(look, colours.colour("line"), None, 4), level=look.below)
        for band, shape in zip(frame.bands, self.bands, strict=True):
            self._show_band(band, shape, look, colours)
        for curve, shape in zip(frame.curves, self.curves, strict=True):
            self._show_curve(curve, shape, look, colours)

    def _take_look(self, look: Look, colours: Theme) -> None:
        before, self._look = self._look, look
        if look.scheme != before.scheme:
            self.setBackgroundBrush(colours.colour("sunken"))
        if look.room != before.room:
            self.box.setRange(
                xRange=(0, look.columns), yRange=(look.below, look.above), padding=0, disableAutoRange=False
            )
        for shape in (self.ticks, self.gap, *self.bands, *self.curves, self.ceiling, self.events, self.cross):
            shape.fit(look.room)

    @staticmethod
    def _show_band(band: Band, shape: Shape, look: Look, colours: Theme) -> None:
        def area() -> QBrush:
            colour = colours.colour(band.token)
            return hatch(look, colour, colours.colour("track"), 2, band.hatch) if band.hatch else QBrush(colour)

        shape.show_values((band.key, look.below), lambda: edge(band.upper, look.below))
        shape.show_style((band.token, band.hatch, *look), area=area, level=look.below)

    @staticmethod
    def _show_curve(curve: Curve, shape: Shape, look: Look, colours: Theme) -> None:
        def line() -> QPen:
            return pen(colours.colour(curve.token), look.scale, _CURVE_DOTS if curve.dotted else ())

        def area() -> QBrush:
            colour = QColor(colours.colour(curve.token))
            colour.setAlphaF(FILL)
            return QBrush(colour)

        reported = not np.isnan(curve.high).any()
        shape.show_values(curve.key, lambda: zigzag(curve.low, curve.high), "all" if reported else "finite")
        key = (curve.token, curve.dotted, curve.fill, *look)
        shape.show_style(key, line, area if curve.fill else None, look.below)

    def show_moments(self, events: tuple[float, ...], cross: tuple[float, ...], colours: Theme) -> None:
        """Lines at moments over all else, given as shares of the width; a frame was shown before."""
        look = self._look
        self.events.show_values((events, *look), lambda: upright(events, look), "pairs")
        self.events.show_style(look, lambda: pen(colours.colour("text3"), look.scale, _EVENT_DOTS))
        self.cross.show_values((cross, *look), lambda: upright(cross, look), "pairs")
        self.cross.show_style(look, lambda: pen(colours.colour("accent"), look.scale))

    # -- painting

    def paintEvent(self, event: QPaintEvent) -> None:
        self.painted += 1
        super().paintEvent(event)

    def drawForeground(self, painter: QPainter, rect: QRectF | QRect) -> None:
        """Words over all; what is drawn here is in px of the plot."""
        painter.save()
        self._foreground(painter)
        painter.restore()

"""What all panels have in common: heading, plots on the shared time axis, read-outs, events, crosshair, keyboard."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import QEvent, QPoint, QRect, QSize, Qt
from PySide6.QtGui import QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QPixmap, QRegion
from PySide6.QtWidgets import QSizePolicy, QWidget

from workbench.ui.icons import pixmap
from workbench.ui.monitor.axis import THIN, TimeAxis, Window
from workbench.ui.monitor.frame import Frame
from workbench.ui.monitor.plot import Plot
from workbench.ui.monitor.readings import Told, draw_figure, face, figure_width, paint_names, paint_values, words_width
from workbench.ui.monitor.strokes import Moment
from workbench.ui.theme import Theme, theme

MARGIN, GUTTER, READ_OUTS, READ_GAP = 16, 34, 98, 10
_TOP, _HEAD, _BOTTOM = 9, 22, 11
_NOTE_MOST = 170


class Panel(QWidget):
    """A heading, plots one below the other, and read-outs beside them. Classes below say what they hold."""

    def __init__(self, axis: TimeAxis, title: str, heights: Sequence[int], gap: int = 7) -> None:
        super().__init__()
        self.axis, self.title = axis, title
        self.plots = [Plot(height, self) for height in heights]
        self.told = Told()
        self.below = 0
        """px kept under the plots for what a panel draws there."""
        self.last = False
        """No line below it."""
        self.scale: float | None = None
        """Device px a px, while a picture is made; None: those of the screen."""
        self._still = QPixmap()
        self._still_of: tuple[object, ...] = ()
        self._gap = gap
        self._moment: Moment | None = None
        self._dragged: tuple[int, float] | None = None
        self._described = ""
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setAccessibleName(title)

    # -- what a panel says and draws

    def frames(self, moment: Moment) -> list[Frame]:
        """What each plot shows."""
        raise NotImplementedError

    def tell(self, moment: Moment) -> Told:
        """The words of the moment that is read."""
        raise NotImplementedError

    def draw_below(self, painter: QPainter, rect: QRect, colours: Theme) -> None:
        """Draw in the room kept under the plots."""

    # -- told by the board

    def set_title(self, title: str) -> None:
        if title != self.title:
            self.title = title
            self.setAccessibleName(title)
            self.update_words()

    def show_moment(self, moment: Moment) -> bool:
        """Draw what is new; False when nothing looks different."""
        changed = False
        for plot, frame in zip(self.plots, self.frames(moment), strict=True):
            changed |= plot.take(frame)
        return self.show_words(moment) or changed

    def show_words(self, moment: Moment) -> bool:
        """The crosshair or the words alone; False when nothing looks different."""
        told = self.tell(moment)
        before = self._moment
        same = (
            told == self.told
            and before is not None
            and (before.cross, before.events, before.window) == (moment.cross, moment.events, moment.window)
        )
        if told != self.told:
            self.told = told
            self.setToolTip("\n".join(filter(None, (self.title if " · " in self.title else "", told.tip))))
            self._describe()
        self._moment = moment
        self.draw_plots()
        if not same:
            self.update_words()
        return not same

    def draw_plots(self) -> None:
        """Give the views what looks different: values, size, colours, events, the crosshair."""
        moment = self._moment
        if moment is None:
            return
        events, cross = self._shares(moment.events, moment), self._shares((moment.cross,), moment)
        scale = self.scale or self.devicePixelRatioF()
        for plot in self.plots:
            plot.draw(scale, events, cross)

    def update_words(self) -> None:
        """Paint all anew but the plots' areas: those look after themselves."""
        around = QRegion(self.rect())
        for plot in self.plots:
            around -= plot.rect
        self.update(around)

    def recolour(self) -> None:
        """The theme is another."""
        self.draw_plots()
        self.update()

    def _describe(self) -> None:
        """Plots are opaque to screen readers: the newest values in words."""
        words = [self.told.note] if self.told.note else []
        words += [str(reading) for group in self.told.readings for reading in group]
        words += [self.told.more] if self.told.more else []
        described = "; ".join(words).replace(THIN, "")
        if described != self._described:
            self._described = described
            self.setAccessibleDescription(described)

    # -- places

    @property
    def plot_width(self) -> int:
        """px of all plots; the same in all panels of a width."""
        return max(self.width() - 2 * MARGIN - GUTTER - READ_GAP - READ_OUTS, 40)

    def plot_left(self) -> int:
        return MARGIN + GUTTER

    def _plots_height(self) -> int:
        return sum(plot.height for plot in self.plots) + self._gap * (len(self.plots) - 1)

    def sizeHint(self) -> QSize:
        return QSize(360, _TOP + _HEAD + self._plots_height() + self.below + _BOTTOM)

    def minimumSizeHint(self) -> QSize:
        return QSize(2 * MARGIN + GUTTER + READ_GAP + READ_OUTS + 40, self.sizeHint().height())

    def lay_out(self) -> None:
        """Place the plots."""
        y = _TOP + _HEAD
        for plot in self.plots:
            plot.place(QRect(self.plot_left(), y, self.plot_width, plot.height))
            y += plot.height + self._gap

    def resizeEvent(self, event: QEvent) -> None:
        self.lay_out()

    # -- painting

    def paintEvent(self, event: QPaintEvent) -> None:
        painter, colours = QPainter(self), theme()
        scale = self.scale or self.devicePixelRatioF()
        key = self._still_key(colours, scale)
        if key != self._still_of:
            self._still, self._still_of = self._make_still(colours, scale), key
        painter.drawPixmap(0, 0, self._still)
        self._paint_note(painter, colours)
        for place, plot in enumerate(self.plots):
            if place < len(self.told.readings):
                paint_values(painter, self._beside(plot), self.told.readings[place], colours)
        if self.below:
            top = _TOP + _HEAD + self._plots_height()
            self.draw_below(painter, QRect(MARGIN, top, self.width() - 2 * MARGIN, self.below), colours)
        if self.hasFocus():
            painter.setPen(QPen(colours.colour("accent"), 2))
            painter.drawRect(self.rect().adjusted(3, 2, -4, -4))

    def _beside(self, plot: Plot) -> QRect:
        """Where the values of a plot stand."""
        left = plot.rect.right() + 1 + READ_GAP
        return QRect(left, plot.rect.top(), self.width() - MARGIN - left, plot.rect.height())

    def _still_key(self, colours: Theme, scale: float) -> tuple[object, ...]:
        """Differs when what stands still has to be drawn anew."""
        names = tuple((r.name, r.token, r.swatch, r.large) for group in self.told.readings for r in group)
        axes = tuple((f.top, f.ticks, f.corner) if (f := plot.frame) else None for plot in self.plots)
        return colours.scheme, scale, self.size().toTuple(), self.title, self._note_room(), self.last, names, axes

    def _make_still(self, colours: Theme, scale: float) -> QPixmap:
        """Heading, axes, names and lines: all but values and curves."""
        still = QPixmap(self.size() * scale)
        still.setDevicePixelRatio(scale)
        still.fill(colours.colour("panel"))
        painter = QPainter(still)
        painter.setFont(face(True))
        painter.setPen(colours.colour("text"))
        room = self.width() - 2 * MARGIN - self._note_room()
        # The end of an engine's name tells it from another: what gives way is its middle.
        kind, dot, name = self.title.partition(" · ")
        left = room - painter.fontMetrics().horizontalAdvance(kind + dot)
        title = kind + dot + painter.fontMetrics().elidedText(name, Qt.TextElideMode.ElideMiddle, left)
        painter.drawText(QPoint(MARGIN, _TOP + 12), title)
        for place, plot in enumerate(self.plots):
            plot.paint_axis(painter, colours)
            if place < len(self.told.readings):
                paint_names(painter, self._beside(plot), self.told.readings[place], colours)
        if not self.last:
            painter.fillRect(QRect(0, self.height() - 1, self.width(), 1), colours.colour("line"))
        painter.end()
        return still

    def _note_room(self) -> int:
        """px that the heading leaves to the note."""
        note = self.told.note
        wide = figure_width(note) if note[:1].isdigit() else words_width(note) + 16
        return min(round(wide), _NOTE_MOST) + 8 if note else 0

    def _paint_note(self, painter: QPainter, colours: Theme) -> None:
        note, right = self.told.note, self.width() - MARGIN
        if not note:
            return
        painter.setPen(colours.colour("warn" if self.told.trouble else "text2"))
        if note[:1].isdigit():
            draw_figure(painter, right, _TOP + 12, note)
            return
        painter.setFont(face())
        shown = painter.fontMetrics().elidedText(note, Qt.TextElideMode.ElideRight, _NOTE_MOST - 16)
        left = right - words_width(shown)
        painter.drawText(QPoint(left, _TOP + 12), shown)
        if self.told.trouble:
            painter.drawPixmap(left - 16, _TOP + 2, pixmap("warn", "warn", 12, self.devicePixelRatioF()))

    def x_of(self, at: float, window: Window) -> int | None:
        """Where a moment is drawn; None outside the plots."""
        share = (at - window.start) / (window.end - window.start)
        return self.plot_left() + min(int(share * self.plot_width), self.plot_width - 1) if 0 <= share <= 1 else None

    def _shares(self, moments: Sequence[float | None], moment: Moment) -> tuple[float, ...]:
        """The middle of each px in which one is drawn, as a share of the plots' width."""
        places = [None if at is None else self.x_of(at, moment.window) for at in moments]
        return tuple((x - self.plot_left() + 0.5) / self.plot_width for x in places if x is not None)

    # -- pointer and keyboard

    def _share_at(self, x: float) -> float:
        return (x - self.plot_left() + 0.5) / self.plot_width

    def _over_a_plot(self, place: QPoint) -> bool:
        return any(plot.rect.contains(place) for plot in self.plots)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and self._over_a_plot(event.position().toPoint()):
            self._dragged = (round(event.position().x()), self.axis.end)
            self.setCursor(Qt.CursorShape.ClosedHandCursor)
        else:
            super().mousePressEvent(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._dragged is not None:
            pressed_at, end = self._dragged
            moved = event.position().x() - pressed_at
            self.axis.drag(moved / self.plot_width * self.axis.span_s, end)
        over = self._dragged is not None or self._over_a_plot(event.position().toPoint())
        self.axis.point_at(self._share_at(event.position().x()) if over else None)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        self._dragged = None
        self.unsetCursor()

    def leaveEvent(self, event: QEvent) -> None:
        self.axis.point_at(None)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Arrows move the crosshair by a px, with Shift by ten; Home and End to the ends; Escape lets it go."""
        step = self.axis.span_s / self.plot_width * (10 if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 1)
        keys: dict[int, Callable[[], None]] = {
            Qt.Key.Key_Left: lambda: self.axis.step_cross(-step),
            Qt.Key.Key_Right: lambda: self.axis.step_cross(step),
            Qt.Key.Key_Home: lambda: self.axis.set_cross(self.axis.end - self.axis.span_s),
            Qt.Key.Key_End: lambda: self.axis.set_cross(self.axis.end),
        }
        if event.key() == Qt.Key.Key_Escape and self.axis.cross is not None:
            self.axis.set_cross(None)
        elif event.key() == Qt.Key.Key_Space:
            self.axis.pause() if self.axis.follows else self.axis.follow()
        elif event.key() in keys:
            keys[event.key()]()
        else:
            super().keyPressEvent(event)

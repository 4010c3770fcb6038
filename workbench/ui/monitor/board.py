"""The panels there are to show, one below the other, and when they are drawn anew.

The window competes with an engine for the processor: at most four times a second while something changes, once a
second while no engine works, never while hidden, and nothing is drawn that looks as it did.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from PySide6.QtCore import QEvent, QPoint, QSize, Qt, QTimer
from PySide6.QtGui import QHideEvent, QImage, QPainter, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QScrollArea, QVBoxLayout, QWidget

from workbench.telemetry.nvml import GpuReading
from workbench.telemetry.tracks import GpuTrack, Readings
from workbench.ui.monitor.axis import TimeAxis, Window
from workbench.ui.monitor.drafts_panel import DraftsPanel
from workbench.ui.monitor.engines import Story, stories
from workbench.ui.monitor.gpu_panel import CpuPanel, GpuPanel
from workbench.ui.monitor.kv_panel import KvPanel
from workbench.ui.monitor.lane import EventLane, Mark, TimeLabels, clock_words
from workbench.ui.monitor.memory_panel import MemoryPanel
from workbench.ui.monitor.panel import GUTTER, MARGIN, READ_GAP, READ_OUTS, Panel
from workbench.ui.monitor.requests_panel import RequestsPanel
from workbench.ui.monitor.strokes import Moment
from workbench.ui.monitor.tokens_panel import TokensPanel
from workbench.ui.theme import theme
from workbench.ui.widgets.basics import label, surface

BUSY_MS, IDLE_S = 250, 0.99
_SMALL_FROM = 2
"""GPUs from which on their memory panels are lower."""


class Board(QWidget):
    """All panels of a source on one axis."""

    def __init__(self, source: Readings, axis: TimeAxis, *, live: bool = True) -> None:
        super().__init__()
        self.source, self.axis, self._live = source, axis, live
        self._panels: dict[tuple[str, str], Panel] = {}
        self._order: tuple[tuple[str, str], ...] = ()
        self._many = (False, False)
        self._marks: tuple[Mark, ...] = ()
        self._stamp: tuple[object, ...] = ()
        self._moment: Moment | None = None
        self._refreshed_at = 0.0
        self._stale: set[Panel] = set()
        self.refreshes = 0
        """How often panels were drawn anew."""
        self._note = label("", "hint", wrap=True)
        self._note.setContentsMargins(MARGIN, 8, MARGIN, 0)
        self._note.hide()
        self._inside = surface("panel")
        self._column = QVBoxLayout(self._inside)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(0)
        self._column.addWidget(self._note)
        self._scroll = _Scroll()
        self._scroll.setWidget(self._inside)
        self._scroll.verticalScrollBar().valueChanged.connect(self._scrolled)
        self.lane = EventLane(self._left, self._plot_width)
        self.labels = TimeLabels(self._left, self._plot_width)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.lane)
        layout.addWidget(self._scroll, 1)
        layout.addWidget(self.labels)
        layout.addStretch(0)
        self._timer = QTimer(self)
        self._timer.setInterval(BUSY_MS)
        self._timer.timeout.connect(self.tick)
        axis.changed.connect(self._axis_changed)
        axis.crossed.connect(self.show_cross)
        theme().changed.connect(self._recolour)

    # -- what there is

    @property
    def panels(self) -> tuple[Panel, ...]:
        """From above."""
        return tuple(self._panels[key] for key in self._order)

    def _stories(self, window: Window) -> tuple[Story, ...]:
        """Engines that are loaded, or were within the window."""
        tracks = (*self.source.past_engines, *self.source.engines)
        return tuple(
            story
            for story in stories(tracks)
            if (story.last.detached_at is None or story.last.detached_at > window.start)
            and story.tracks[0].attached_at < window.end
        )

    def _arrange(self, window: Window) -> bool:
        """Make the panels that are wanted; False when they are there."""
        gpus, engines = self.source.gpus, self._stories(window)
        tracks: dict[tuple[str, str], object] = {}
        for gpu in gpus:
            tracks[("memory", gpu.uuid)] = gpu
        if not gpus:
            tracks[("memory", "")] = None
        named = list(zip(story_keys(engines), engines, strict=True))
        for name, story in named:
            tracks[("tokens", name)] = story
            if story.drafts:
                tracks[("drafts", name)] = story
            tracks[("kv", name)] = story
        for gpu in gpus:
            tracks[("gpu", gpu.uuid)] = gpu
        if not gpus:
            tracks[("cpu", "")] = None
        for name, story in named:
            tracks[("requests", name)] = story
        for key, panel in self._panels.items():
            track = tracks.get(key)
            if isinstance(track, Story) and isinstance(panel, TokensPanel | DraftsPanel | KvPanel | RequestsPanel):
                panel.story = track
            elif isinstance(track, GpuTrack) and isinstance(panel, GpuPanel):
                panel.gpu = track
        many = (len(gpus) > 1, len(engines) > 1)
        if (tuple(tracks), many) == (self._order, self._many):
            return False
        self._order, self._many = tuple(tracks), many
        for key in [key for key in self._panels if key not in tracks]:
            gone = self._panels.pop(key)
            self._column.removeWidget(gone)
            self._stale.discard(gone)
            gone.hide()
            gone.deleteLater()
        for place, (key, track) in enumerate(tracks.items()):
            title = self._title(key[0], track, many)
            if key not in self._panels:
                self._panels[key] = self._make(key, track, title, small=len(gpus) >= _SMALL_FROM)
            self._panels[key].set_title(title)
            self._column.insertWidget(place + 1, self._panels[key])
        before: QWidget | None = None
        for panel in self.panels:  # Tab goes from above to below, whenever each was made
            if before is not None:
                QWidget.setTabOrder(before, panel)
            before = panel
            panel.last = panel is self.panels[-1]
        for panel in self.panels:
            panel.show()
        self._fit()
        return True

    def _fit(self) -> None:
        """Give the panels their places at once, and not in the three turns of the event loop that Qt takes."""
        self._column.activate()
        self._scroll.fit()
        layout = self.layout()
        if layout is not None:
            layout.activate()

    def _make(self, key: tuple[str, str], track: object, title: str, *, small: bool) -> Panel:
        kind, axis = key[0], self.axis
        if isinstance(track, Story):
            made: dict[str, type[TokensPanel] | type[DraftsPanel] | type[KvPanel] | type[RequestsPanel]] = {
                "tokens": TokensPanel, "drafts": DraftsPanel, "kv": KvPanel, "requests": RequestsPanel,
            }  # fmt: skip
            return made[kind](axis, title, track)
        if isinstance(track, GpuTrack):
            if kind == "gpu":
                return GpuPanel(axis, title, track)
            return MemoryPanel(axis, title, track.series, small=small, reading=partial(self._newest, track.uuid))
        if kind == "cpu":
            return CpuPanel(axis, title, self.source.host)
        return MemoryPanel(axis, title, self.source.host)

    def _newest(self, uuid: str) -> GpuReading | None:
        """What a GPU said last."""
        return next((track.newest for track in self.source.gpus if track.uuid == uuid), None)

    @staticmethod
    def _title(kind: str, track: object, many: tuple[bool, bool]) -> str:
        several_gpus, several_engines = many
        if isinstance(track, Story):
            words = {
                "tokens": "Tokens per second", "drafts": "Speculative decoding", "kv": "KV-cache blocks",
                "requests": "Requests",
            }[kind]  # fmt: skip
            return f"{words} · {track.name}" if several_engines else words
        if isinstance(track, GpuTrack):
            mig = track.newest.mig if track.newest is not None else None
            words = f"GPU {track.index}{f' {mig}' if mig else ''}" if several_gpus or mig else "GPU"
            return f"{words} memory" if kind == "memory" else words
        return "Host memory" if kind == "memory" else "CPU"

    def _say_no_gpu(self) -> None:
        """Once somebody looked for one."""
        none = not self.source.gpus and self.source.host.newest_at is not None
        reason = f" ({self.source.gpu_problem})" if self.source.gpu_problem else ""
        words = f"No NVIDIA GPU found: this is the host.{reason}" if none else ""
        if words != self._note.text():
            self._note.setText(words)
            self._note.setVisible(none)
            self._fit()

    def shown(self) -> Window:
        """The stretch of time that is drawn."""
        return self.axis.window(self._columns())

    # -- when it is drawn

    def tick(self) -> None:
        """Look whether there is something new, and draw it; nothing is looked at while the picture is held."""
        now = self.source.clock.now()
        self.axis.tell_now(now)
        if not self.axis.follows or self.window().isMinimized():
            return
        busy = any(engine.busy for engine in self.source.engines)
        if not busy and time.monotonic() - self._refreshed_at < IDLE_S and self._moment is not None:
            return
        stamp = self._stamp_of()
        if stamp != self._stamp:
            self.refresh()

    def _stamp_of(self) -> tuple[object, ...]:
        """Differs when there is something new to draw."""
        source = self.source
        series = [source.host, *(gpu.series for gpu in source.gpus), *(engine.series for engine in source.engines)]
        return (
            *(each.newest_at for each in series),
            *(engine.detached_at for engine in source.engines),
            len(series),
            self.shown().end,
        )

    def refresh(self, *, again: bool = False) -> None:
        """Draw what looks different now, of the panels in view; when hidden, once it is shown."""
        if not self.isVisible():
            return
        self.axis.tell_now(self.source.clock.now())
        self._stamp, self._refreshed_at = self._stamp_of(), time.monotonic()
        oldest = [at for at in (self.source.host.oldest_at, *(g.series.oldest_at for g in self.source.gpus)) if at]
        self.axis.oldest = min(oldest, default=self.axis.now)
        window = self.shown()
        self._arrange(window)
        self._say_no_gpu()
        marks = tuple(Mark(event.at, event.text) for event in self.source.events(window.start, window.end))
        self._moment = Moment(window, self.axis.cross, tuple(m.at for m in marks), not self.axis.follows)
        self._marks = marks
        self.refreshes += 1
        for panel in self.panels:
            self._draw(panel)
        if self._inside.sizeHint().height() != self._scroll.maximumHeight():
            self._fit()
        self._show_frame()
        if self._columns() != window.columns and not again:  # a scroll bar came or went
            self.refresh(again=True)

    def _axis_changed(self) -> None:
        self.refresh()

    def _draw(self, panel: Panel) -> None:
        if self._moment is None:
            return
        if panel.isVisible() and panel.visibleRegion().isEmpty():
            self._stale.add(panel)
            return
        self._stale.discard(panel)
        panel.show_moment(self._moment)

    def show_cross(self) -> None:
        """The crosshair moved: the words and the line, no curve."""
        before = self._moment
        if before is None:
            return
        self._moment = replace(before, cross=self.axis.cross)
        for panel in self.panels:
            if panel in self._stale:
                continue
            panel.show_words(self._moment)
        self._show_frame()

    def _show_frame(self) -> None:
        moment = self._moment
        if moment is None:
            return
        wall = self.source.clock.wall
        cross = moment.cross
        tag = "" if cross is None else clock_words(wall(cross), tenths=self.axis.span_s <= 60)
        self.lane.show_marks(moment.window, self._marks, cross, tag)
        self.labels.show_window(moment.window, self.axis.follows and self._live, wall)

    def _scrolled(self) -> None:
        for panel in list(self._stale):
            self._draw(panel)

    def _recolour(self) -> None:
        for panel in self.panels:
            panel.recolour()

    # -- places

    @staticmethod
    def _left() -> int:
        return MARGIN + GUTTER

    def _plot_width(self) -> int:
        """px of all plots; each panel is as wide as the scroll area's inside."""
        return max(self._inside.width() - 2 * MARGIN - GUTTER - READ_GAP - READ_OUTS, 40)

    def _columns(self) -> int:
        return round(self._plot_width() * self.devicePixelRatioF())

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._live:
            self._timer.start()
        self._stamp = ()
        QTimer.singleShot(0, self, self.refresh)

    def hideEvent(self, event: QHideEvent) -> None:
        self._timer.stop()
        super().hideEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        QTimer.singleShot(0, self, self.refresh)

    # -- a picture

    def _parts(self) -> list[QWidget]:
        """From above, also those that are scrolled away."""
        note = [] if self._note.isHidden() else [self._note]
        return [self.lane, *note, *self.panels, self.labels]

    def picture(self, scale: float = 2.0) -> QImage:
        """All panels in one picture, also those that are scrolled away."""
        parts = self._parts()
        size = QSize(self._inside.width(), sum(part.height() for part in parts))
        image = QImage(round(size.width() * scale), round(size.height() * scale), QImage.Format.Format_RGB32)
        image.setDevicePixelRatio(scale)
        image.fill(theme().colour("panel"))
        if self._moment is None:
            self.refresh()
        moment = self._moment
        if moment is None:
            return image
        sharp = replace(moment, window=self.axis.window(round(self._plot_width() * scale)))
        painter = QPainter(image)
        y = 0
        for part in parts:
            if isinstance(part, Panel):
                part.scale = scale
                part.show_moment(sharp)
            part.render(painter, QPoint(0, y))
            if isinstance(part, Panel):
                part.scale = None
                part.show_moment(moment)
            y += part.height()
        painter.end()
        return image


def story_keys(found: tuple[Story, ...]) -> list[str]:
    """A name for each that stays while it is loaded anew; two of one name at once are told apart."""
    seen: dict[str, int] = {}
    keys = []
    for story in found:
        seen[story.name] = seen.get(story.name, 0) + 1
        keys.append(f"{story.name}#{seen[story.name]}")
    return keys


class _Scroll(QScrollArea):
    """As high as the panels and no higher, so that the time axis stands right below the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Panels of the monitor")
        self.setWidgetResizable(True)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def fit(self) -> None:
        self.setMaximumHeight(max(self.widget().sizeHint().height(), 1))

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.LayoutRequest:
            self.fit()
        return super().event(event)

"""The monitor's dock: its head with span, pause, export, pin and undock; the panels are made when it is first shown.

Panels bring numpy and pyqtgraph, so this file imports none of them: the window is painted before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QButtonGroup, QDockWidget, QMenu, QPushButton, QToolButton, QVBoxLayout, QWidget

from workbench.ui.importing import import_ground, import_in_turns
from workbench.ui.monitor.axis import FIRST_SPAN, SPANS, TimeAxis
from workbench.ui.session import Session
from workbench.ui.shell.header import HEIGHT
from workbench.ui.widgets.basics import icon_button, label, row, rule, segments, set_icon, surface

if TYPE_CHECKING:
    from workbench.telemetry.tracks import Readings
    from workbench.ui.monitor.board import Board

WIDTH = 360
_SEGMENTS = {1: 27, 5: 27, 15: 33, 60: 33}


_GROUND = ("numpy", "workbench.telemetry.export")
_BOARD = ("pyqtgraph", "workbench.ui.monitor.board", "workbench.ui.monitor.export")
"""What the panels stand on; pyqtgraph, which they would import anyway, takes the longest."""


class Monitor(QDockWidget):
    """The panels of a source, on one axis, beside every page or in a window of their own."""

    board_made = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__("Monitor")
        self.setObjectName("monitor")
        self._session = session
        self._source: Readings | None = None
        self.axis = TimeAxis(self)
        self.board: Board | None = None
        self._spans = QButtonGroup(self)
        self._pinned = False
        self.pause_button = icon_button("pause", "Pause the monitor", self._pause)
        self.pause_button.setCheckable(True)
        self.export_button = self._make_export()
        self.pin_button = icon_button("pin", "Keep the monitor on top of other windows", self._pin)
        self.pin_button.setCheckable(True)
        self.float_button = icon_button("open", "Take the monitor out of the window", self._float)
        head = row(
            label("Monitor", "name"), 10, segments(self._span_buttons()), 6, label("min", "hint"), None,
            self.pause_button, self.export_button, self.pin_button, self.float_button, margins=(16, 0, 8, 0), gap=0,
        )  # fmt: skip
        head.setFixedHeight(HEIGHT)
        frame = surface("panel")
        self._layout = QVBoxLayout(frame)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(0)
        self._layout.addWidget(head)
        self._layout.addWidget(rule())
        self._layout.addStretch(1)
        self.setWidget(frame)
        self.setMinimumWidth(WIDTH)
        self._no_title = QWidget()
        self.setTitleBarWidget(self._no_title)
        self.topLevelChanged.connect(self._floats)
        self.axis.changed.connect(self._show_axis)
        session.events.show_moment.connect(self.show_time)
        self._add_actions()

    # -- the source

    def show_source(self, source: Readings) -> None:
        """Show this from now on; its panels are made when the dock is in view."""
        self._source = source
        self._make_board()

    def _make_board(self) -> None:
        if self._source is not None and self.board is None and self.isVisible():
            tasks = self._session.tasks
            tasks.run(
                lambda: import_ground(_GROUND),
                lambda _: import_in_turns(tasks, _BOARD, self._put_board),
                key="monitor.import",
            )

    def _put_board(self) -> None:
        if self._source is None or self.board is not None:
            return
        from workbench.ui.monitor.board import Board

        self.board = Board(self._source, self.axis)
        self._layout.takeAt(self._layout.count() - 1)  # the stretch that kept its place
        self._layout.addWidget(self.board, 1)
        before: QWidget = self.float_button
        for panel in self.board.panels:
            QWidget.setTabOrder(before, panel)
            before = panel
        self.export_button.setEnabled(True)
        self.board_made.emit()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._make_board()

    def hideEvent(self, event: QHideEvent) -> None:
        self.axis.point_at(None)
        super().hideEvent(event)

    # -- head

    def _span_buttons(self) -> list[QPushButton]:
        made = []
        for place, minutes in enumerate(SPANS):
            span = QPushButton(str(minutes))
            span.setProperty("small", True)
            span.setAccessibleName(f"Show {minutes} minute{'s' if minutes > 1 else ''}")
            span.setFixedWidth(_SEGMENTS[minutes])
            span.setCheckable(True)
            span.setChecked(minutes == FIRST_SPAN)
            self._spans.addButton(span, place)
            span.clicked.connect(lambda _=False, m=minutes: self.set_minutes(m))
            made.append(span)
        return made

    def _make_export(self) -> QToolButton:
        made = icon_button("download", "Export what the monitor shows")
        menu = QMenu(made)
        menu.setAccessibleName("Export what the monitor shows")
        menu.addAction("Values as CSV…", self.export_csv)
        menu.addAction("Picture as PNG…", self.export_png)
        made.setMenu(menu)
        made.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        made.setEnabled(False)
        return made

    def _add_actions(self) -> None:
        actions = self._session.actions
        for name, words, do, drawn in (
            ("pause", "Pause or go on", self._pause, "pause"),
            ("csv", "Export values as CSV…", self.export_csv, "download"),
            ("png", "Export picture as PNG…", self.export_png, "download"),
            ("float", "Take out of the window or put back", self._float, "open"),
            ("pin", "Keep on top of other windows or not", self._pin, "pin"),
        ):
            actions.add(f"monitor.{name}", words, do, icon_name=drawn, group="Monitor:")

    @property
    def minutes(self) -> int:
        return self.axis.minutes

    def set_minutes(self, minutes: int) -> None:
        self.axis.set_minutes(minutes)

    def _show_axis(self) -> None:
        self._spans.button(SPANS.index(self.axis.minutes)).setChecked(True)
        held = not self.axis.follows
        self.pause_button.setChecked(held)
        words = "Follow the newest values again" if held else "Pause the monitor"
        self.pause_button.setToolTip(words)
        self.pause_button.setAccessibleName(words)
        set_icon(self.pause_button, "play" if held else "pause")

    def _pause(self) -> None:
        self.axis.pause() if self.axis.follows else self.axis.follow()
        self._show_axis()

    def show_time(self, at: float) -> None:
        """Put the crosshair on a moment (seconds of the telemetry's clock), and hold a window that holds it."""
        if self._source is not None:
            self.axis.tell_now(self._source.clock.now())
        if not self.axis.end - self.axis.span_s <= at <= self.axis.end:
            self.axis.look_at(at + self.axis.span_s / 2)
        self.axis.set_cross(at)
        self.show()

    def export_csv(self) -> None:
        """Ask for a file and write the values in view to it."""
        if self.board is not None:
            from workbench.ui.monitor.export import ask_csv

            ask_csv(self._session, self.board, self)

    def export_png(self) -> None:
        """Ask for a file and write a picture of all panels to it."""
        if self.board is not None:
            from workbench.ui.monitor.export import ask_png

            ask_png(self._session, self.board, self)

    # -- in the window, out of it, on top

    def _float(self) -> None:
        self.setFloating(not self.isFloating())

    def _pin(self) -> None:
        """On top of other windows; to be that it has to be out of ours."""
        self.set_pinned(not self._pinned)
        if self._pinned and not self.isFloating():
            self.setFloating(True)

    @property
    def pinned(self) -> bool:
        return self._pinned

    def set_pinned(self, pinned: bool) -> None:
        """On top of other windows, whenever it is out of the main one."""
        self._pinned = pinned
        self.pin_button.setChecked(pinned)
        words = "No longer keep the monitor on top" if pinned else "Keep the monitor on top of other windows"
        self.pin_button.setToolTip(words)
        self.pin_button.setAccessibleName(words)
        self._stay_on_top()

    def _stay_on_top(self) -> None:
        if not self.isFloating():
            return
        hint = Qt.WindowType.WindowStaysOnTopHint
        if bool(self.windowFlags() & hint) != self._pinned:
            shown, place = self.isVisible(), self.geometry()
            self.setWindowFlag(hint, self._pinned)  # hides it
            self.setGeometry(place)
            self.setVisible(shown)

    def _floats(self, floating: bool) -> None:
        """Out of the window it needs the system's title bar to be moved by."""
        self.setTitleBarWidget(None if floating else self._no_title)  # type: ignore[arg-type]
        words = "Put the monitor back into the window" if floating else "Take the monitor out of the window"
        self.float_button.setToolTip(words)
        self.float_button.setAccessibleName(words)
        self._stay_on_top()

    # -- between starts

    def state(self) -> dict[str, object]:
        """What is remembered beside its minutes: whether it is out of the window, where, and pinned."""
        place = self.geometry().getRect() if self.isFloating() else None
        return {"floating": self.isFloating(), "pinned": self._pinned, "place": place}

    def restore(self, state: dict[str, object]) -> None:
        """Take back what `state` gave; anything else in it is passed over."""
        self.set_pinned(state.get("pinned") is True)
        if state.get("floating") is True:
            self.setFloating(True)
            place = state.get("place")
            if isinstance(place, list) and len(place) == 4 and all(isinstance(n, int) for n in place):
                self.setGeometry(*place)

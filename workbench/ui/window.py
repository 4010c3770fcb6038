"""The main window: puts rail, header, pages, monitor and status line together and wires them. It holds no logic."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import QByteArray, Qt
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QHBoxLayout, QMainWindow, QStackedWidget, QVBoxLayout, QWidget

from workbench.telemetry.memory import MemorySample, MemorySampler, Ring
from workbench.ui.bridge import Poll
from workbench.ui.pages.base import Page
from workbench.ui.session import Session
from workbench.ui.shell.header import Header
from workbench.ui.shell.monitor import SPANS, WIDTH, Monitor
from workbench.ui.shell.palette import Palette
from workbench.ui.shell.rail import Rail
from workbench.ui.shell.status import StatusLine
from workbench.ui.shell.strip import NoticeStrip
from workbench.ui.theme import MODES, theme
from workbench.ui.widgets.basics import recolour

SIZE = (1280, 800)
SAMPLE_MS = 1000


class Window(QMainWindow):
    """The window of one WORKBENCH_HOME. Pages are made when they are first shown."""

    def __init__(
        self, session: Session, pages: Sequence[type[Page]], at_the_end: tuple[str, ...] = ("doctor",)
    ) -> None:
        super().__init__()
        self.session = session
        self.setWindowTitle("Engine Workbench")
        self.setObjectName("window")
        self.setMinimumSize(960, 600)
        self.resize(*SIZE)
        self.setAcceptDrops(True)
        self._kinds = {kind.name: kind for kind in pages}
        self._pages: dict[str, Page] = {}
        self._now = ""
        self._ring = Ring(SPANS[-1] * 60)
        self._sampler = MemorySampler()
        self._poll: Poll[MemorySample] = Poll(session.tasks, self._sampler.sample, SAMPLE_MS, self)
        self._poll.answered.connect(self._take_sample)

        self.rail = Rail([(k.name, k.title, k.icon_name) for k in pages], at_the_end)
        self.header = Header(self.open_palette, self.toggle_monitor)
        self.strip = NoticeStrip()
        self.status = StatusLine()
        self.stack = QStackedWidget()
        self.monitor = Monitor(session, self._ring)
        self.palette_dialog: Palette | None = None
        session.actions.belong_to(self)
        self._lay_out()
        self._add_actions()
        self.rail.chosen.connect(self.show_page)
        session.notices.said.connect(self.strip.show_notice)
        session.events.show_page.connect(self.show_page)
        session.events.show_job.connect(lambda _: self.show_page("jobs"))
        session.events.jobs_changed.connect(lambda jobs: self.status.show_running(jobs.running_text(time.time())))
        theme().changed.connect(self._recolour)
        self._restore()

    # -- pages

    def show_page(self, name: str) -> None:
        """Go to a page; it is made the first time."""
        if name not in self._kinds:
            return
        page = self._pages.get(name) or self._make(name)
        if name != self._now:
            self._remember_monitor()
        self._now = name
        self.stack.setCurrentWidget(page)
        self.rail.show_chosen(name)
        self.header.show_page(page.title, page.subtitle, page.header_widgets())
        shown = bool(self.session.state.get(f"monitor.{name}", True))
        self.monitor.setVisible(shown)
        self.header.monitor.setChecked(shown)
        page.opened()

    def page(self, name: str) -> Page:
        """A page, made if need be. Raises KeyError."""
        return self._pages.get(name) or self._make(name)

    def _make(self, name: str) -> Page:
        page = self._kinds[name](self.session)
        self._pages[name] = page
        self.stack.addWidget(page)
        page.subtitle_changed.connect(lambda text, own=page: self._say_subtitle(own, text))
        page.badge_changed.connect(partial(self.rail.set_badge, name))
        page.restore(self.session.state.get(f"page.{name}", {}))
        return page

    def _say_subtitle(self, page: Page, text: str) -> None:
        if self.stack.currentWidget() is page:
            self.header.set_subtitle(text)

    # -- frame

    def _lay_out(self) -> None:
        middle = QVBoxLayout()
        middle.setContentsMargins(0, 0, 0, 0)
        middle.setSpacing(0)
        middle.addWidget(self.header)
        middle.addWidget(self.strip)
        middle.addWidget(self.stack, 1)
        whole = QWidget()
        across = QHBoxLayout(whole)
        across.setContentsMargins(0, 0, 0, 0)
        across.setSpacing(0)
        across.addWidget(self.rail)
        across.addLayout(middle, 1)
        self.setCentralWidget(whole)
        self.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self.monitor)
        self.resizeDocks([self.monitor], [WIDTH], Qt.Orientation.Horizontal)
        line = self.statusBar()
        line.setSizeGripEnabled(False)
        line.addWidget(self.status, 1)

    def _add_actions(self) -> None:
        actions = self.session.actions
        for number, (name, kind) in enumerate(self._kinds.items(), 1):
            actions.add(
                f"go.{name}", kind.title, partial(self.show_page, name), key=f"Ctrl+{number}", icon_name=kind.icon_name,
                group="Go to",
            )  # fmt: skip
        actions.add("palette", "Search actions", self.open_palette, key="Ctrl+K", icon_name="search")
        actions.add("monitor", "Show or hide the monitor", self.toggle_monitor, key="Ctrl+M", icon_name="monitor")
        for mode in MODES:
            words = {"system": "Follow the system's colours", "dark": "Dark colours", "light": "Light colours"}[mode]
            actions.add(f"theme.{mode}", words, partial(self._set_mode, mode), group="Look:")
        actions.add("quit", "Quit", self.close, key="Ctrl+Q", icon_name="close")

    def open_palette(self) -> None:
        if self.palette_dialog is None:
            self.palette_dialog = Palette(self.session.actions, self)
        self.palette_dialog.open_fresh()

    def toggle_monitor(self) -> None:
        shown = not self.monitor.isVisible()
        self.monitor.setVisible(shown)
        self.header.monitor.setChecked(shown)
        self._remember_monitor()

    def _remember_monitor(self) -> None:
        if self._now:
            self.session.state.put(f"monitor.{self._now}", not self.monitor.isHidden())

    def _set_mode(self, mode: str) -> None:
        theme().set_mode(mode)  # type: ignore[arg-type]
        self.session.state.put("theme", mode)

    def _recolour(self) -> None:
        self.session.actions.recolour()
        for widget in self.findChildren(QWidget):
            recolour(widget)
            widget.update()

    # -- samples

    def start(self) -> None:
        """Begin to sample, and to watch the jobs; called once the window is shown."""
        self._poll.start()
        if "jobs" in self._kinds:
            self.page("jobs")  # its badge and the status line tell of jobs on every page

    def _take_sample(self, sample: MemorySample) -> None:
        self._ring.add(sample)
        self.status.show_memory(sample)
        if self.monitor.isVisible():
            self.monitor.refresh()

    # -- between starts

    def _restore(self) -> None:
        state = self.session.state
        if geometry := state.get("geometry"):
            self.restoreGeometry(QByteArray.fromBase64(str(geometry).encode()))
        self.monitor.set_minutes(int(state.get("monitor.minutes", 5)))
        first = str(state.get("page", ""))
        self.show_page(first if first in self._kinds else next(iter(self._kinds)))

    def remember(self) -> None:
        """Put geometry, page and forms into the state and write it."""
        state = self.session.state
        self._remember_monitor()
        state.put("geometry", bytes(self.saveGeometry().toBase64().data()).decode())
        state.put("monitor.minutes", self.monitor.minutes)
        state.put("page", self._now)
        for name, page in self._pages.items():
            state.put(f"page.{name}", page.state())
        state.save()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Jobs go on without the window; only what belongs to it ends."""
        self.remember()
        self._poll.stop()
        for page in self._pages.values():
            page.close_page()
        self.session.tasks.close()
        self._sampler.close()
        super().closeEvent(event)

    # -- a second start, and things dropped on the window

    def raise_up(self) -> None:
        """Come to the front: a second start asked for it."""
        self.setWindowState(self.windowState() & ~Qt.WindowState.WindowMinimized)
        self.show()
        self.raise_()
        self.activateWindow()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """A folder is a model for the Build page, a .toml file a preset."""
        self.show_page("build")  # first, since it listens once it is made
        for url in event.mimeData().urls():
            path = url.toLocalFile()
            if path.endswith(".toml"):
                self.session.events.build_with.emit(path, "")
            elif path:
                self.session.events.build_with.emit("", path)

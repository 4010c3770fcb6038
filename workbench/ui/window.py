"""The main window: puts rail, header, pages, monitor and status line together and wires them. It holds no logic."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QByteArray, Qt, QTimer, Signal
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QDialog, QHBoxLayout, QMainWindow, QStackedWidget, QVBoxLayout, QWidget

from workbench.core.errors import Failure
from workbench.core.opening import Given, sort_out
from workbench.core.settings import LoadedSettings, load_settings, save_setting
from workbench.ui.monitor.axis import FIRST_SPAN
from workbench.ui.monitor.dock import WIDTH, Monitor
from workbench.ui.pages.base import Page, PageKind
from workbench.ui.session import Session
from workbench.ui.shell.header import Header
from workbench.ui.shell.palette import Palette
from workbench.ui.shell.rail import Rail
from workbench.ui.shell.status import StatusLine
from workbench.ui.shell.strip import NoticeStrip
from workbench.ui.theme import MODES, theme
from workbench.ui.widgets.basics import icon_button, recolour, rule
from workbench.ui.widgets.past_notices import PastNotices

if TYPE_CHECKING:
    from workbench.telemetry.hub import Telemetry
    from workbench.ui.help.window import HelpWindow

SIZE = (1280, 800)
STATUS_MS, FIRST_STATUS_MS = 1000, 100
SAVE_MS = 30_000
_END_S = 4.0
_log = logging.getLogger("workbench.ui")


class Window(QMainWindow):
    """The window of one WORKBENCH_HOME. Pages are made when they are first shown."""

    closing = Signal()
    """The state is saved; only what still runs in the background is waited for."""

    def __init__(
        self,
        session: Session,
        pages: Sequence[PageKind],
        at_the_end: tuple[str, ...] = ("doctor", "settings"),
        *,
        page_later: bool = False,
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
        self._looking = QTimer(self)
        self._looking.setInterval(FIRST_STATUS_MS)
        self._looking.timeout.connect(self._show_status)
        self._saving = QTimer(self)
        self._saving.setInterval(SAVE_MS)
        self._saving.timeout.connect(self._save_now_and_then)
        self._unsaved = False
        self._restored = False
        """Whether the monitor was put where it had been."""

        self.rail = Rail([(k.name, k.title, k.icon_name) for k in pages], at_the_end)
        self.header = Header(self.open_palette, self.toggle_monitor, self.open_help)
        self.strip = NoticeStrip()
        self.status = StatusLine()
        self.stack = QStackedWidget()
        self.monitor = Monitor(session)
        self.monitor.visibilityChanged.connect(lambda _: self.header.monitor.setChecked(not self.monitor.isHidden()))
        self.palette_dialog: Palette | None = None
        self.past_dialog: PastNotices | None = None
        self.help_dialog: HelpWindow | None = None
        self.past_button = icon_button("history", "Show past notices", self.open_past_notices)
        session.actions.belong_to(self)
        self._lay_out()
        self._add_actions()
        self.rail.chosen.connect(self.show_page)
        session.notices.said.connect(self.strip.show_notice)
        session.events.show_page.connect(self.show_page)
        session.events.show_job.connect(lambda _: self.show_page("jobs"))
        session.events.jobs_changed.connect(lambda jobs: self.status.show_running(jobs.running_text(time.time())))
        session.events.doing.connect(self.status.show_doing)
        session.events.serving.connect(self.status.show_serving)
        session.events.show_help.connect(lambda link: self._help().open_link(link))
        session.events.explain.connect(lambda code: self._help().open_failure(code))
        theme().changed.connect(self._recolour)
        self._first = self._restore()
        if page_later:
            self._show_frame(self._first)
            self.header.show_page(self._kinds[self._first].title, "", [])
        else:
            self.show_page(self._first)

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
        self._show_frame(name)
        self.header.show_page(page.title, page.subtitle, page.header_widgets())
        page.opened()

    def _show_frame(self, name: str) -> None:
        """What stands round a page, which need not be made yet."""
        self.rail.show_chosen(name)
        shown = bool(self.session.state.get(f"monitor.{name}", self._kinds[name].with_monitor))
        self.monitor.setVisible(shown)
        self.header.monitor.setChecked(shown)

    def page(self, name: str) -> Page:
        """A page, made if need be. Raises KeyError."""
        return self._pages.get(name) or self._make(name)

    @property
    def made_pages(self) -> tuple[Page, ...]:
        """Pages that were shown so far."""
        return tuple(self._pages.values())

    def _make(self, name: str) -> Page:
        page = self._kinds[name](self.session)
        self._pages[name] = page
        self.stack.addWidget(page)
        page.subtitle_changed.connect(lambda text, own=page: self._say_subtitle(own, text))
        page.badge_changed.connect(partial(self.rail.set_badge, name))
        try:
            page.restore(self.session.state.table(f"page.{name}"))
        except Exception:  # a hand in the file, or an older version's: the page is as new
            _log.exception("page %s cannot take back its state", name)
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
        middle.addWidget(rule())
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
        line.addPermanentWidget(self.past_button)

    def _add_actions(self) -> None:
        actions = self.session.actions
        for number, (name, kind) in enumerate(self._kinds.items(), 1):
            actions.add(
                f"go.{name}", kind.title, partial(self.show_page, name), key=f"Ctrl+{number}", icon_name=kind.icon_name,
                group="Go to",
            )  # fmt: skip
        actions.add("palette", "Search actions", self.open_palette, key="Ctrl+K", icon_name="search")
        actions.add("notices", "Show past notices", self.open_past_notices, icon_name="history")
        actions.add("help", "Explain this page", self.open_help, key="F1", icon_name="help")
        actions.add("help.guide", "Open the user guide", self.open_guide, icon_name="help")
        actions.add("monitor", "Show or hide the monitor", self.toggle_monitor, key="Ctrl+M", icon_name="monitor")
        for mode in MODES:
            words = {"system": "Follow the system's colours", "dark": "Dark colours", "light": "Light colours"}[mode]
            actions.add(f"theme.{mode}", words, partial(self._set_mode, mode), group="Look:")
        actions.add("quit", "Quit", self.close, key="Ctrl+Q", icon_name="close")

    def open_palette(self) -> None:
        if self.palette_dialog is None:
            self.palette_dialog = Palette(self.session.actions, self)
        self.palette_dialog.open_fresh()

    def open_past_notices(self) -> None:
        """What was said before, newest first."""
        if self.past_dialog is None:
            self.past_dialog = PastNotices(self.session.notices, self)
        self.past_dialog.open_fresh()

    def open_help(self) -> None:
        """The user guide, at the page that is shown."""
        self._help().open_window_page(self._now)

    def open_guide(self) -> None:
        """The user guide, at its contents."""
        self._help().open_link("index.md")

    def _help(self) -> HelpWindow:
        from workbench.ui.help.window import HelpWindow

        if self.help_dialog is None:
            self.help_dialog = HelpWindow(self.session.tasks, self)
        return self.help_dialog

    def toggle_monitor(self) -> None:
        shown = not self.monitor.isVisible()
        self.monitor.setVisible(shown)
        self.header.monitor.setChecked(shown)
        self._remember_monitor()

    def _remember_monitor(self) -> None:
        if self._now:
            self.session.state.put(f"monitor.{self._now}", not self.monitor.isHidden())

    def _set_mode(self, mode: str) -> None:
        home = self.session.home
        theme().set_mode(mode)  # type: ignore[arg-type]
        self.session.tasks.run(
            lambda: save_setting(home, None, "window.theme", mode), self._mode_saved, self._mode_kept
        )

    def _mode_saved(self, _: LoadedSettings) -> None:
        self.session.events.settings_changed.emit("window.theme")

    def _mode_kept(self, failure: Failure) -> None:
        """It could not be saved: a locked look comes back, another lasts until the window is closed."""
        self.session.notices.fail(failure)
        if failure.code == "locked":
            home = self.session.home
            self.session.tasks.run(lambda: load_settings(home).values.window.theme, lambda mode: theme().set_mode(mode))

    def _recolour(self) -> None:
        self.session.actions.recolour()
        for widget in self.findChildren(QWidget):
            recolour(widget)
            widget.update()

    # -- samples

    def start(self) -> None:
        """Make the first page if it was left for later, begin to sample, and to watch the jobs; called once the window
        is shown, and at work as soon as it is painted."""
        if self._now:
            self._begin()
        else:
            QTimer.singleShot(0, self._begin_when_painted)

    def _begin_when_painted(self, looks: int = 50) -> None:
        if not self.isVisible():
            return  # closed already
        handle = self.windowHandle()
        if looks and not (handle is not None and handle.isExposed()):
            QTimer.singleShot(4, partial(self._begin_when_painted, looks - 1))
            return
        if not self._now:
            self.show_page(self._first)
        self._begin()

    def _begin(self) -> None:
        self.monitor.restore(self.session.state.table("monitor.dock"))
        self._restored = True
        self.session.tasks.run(self._start_telemetry, self._telemetry_runs)
        self._saving.start()
        if "jobs" in self._kinds:
            self.page("jobs")  # its badge and the status line tell of jobs on every page

    def _start_telemetry(self) -> Telemetry:
        """In a thread: what samples takes longer to import than a window to open."""
        telemetry = self.session.telemetry
        telemetry.start()
        return telemetry

    def _telemetry_runs(self, telemetry: Telemetry) -> None:
        self.monitor.show_source(telemetry)
        self._looking.start()

    def _show_status(self) -> None:
        snapshot = self.session.telemetry.snapshot()
        self.status.show_snapshot(snapshot)
        self._looking.setInterval(STATUS_MS if snapshot.host is not None else FIRST_STATUS_MS)

    # -- between starts

    def _restore(self) -> str:
        """Take back geometry and monitor; the name of the page to show."""
        state = self.session.state
        if geometry := state.get("geometry"):
            self.restoreGeometry(QByteArray.fromBase64(str(geometry).encode()))
        self.monitor.set_minutes(state.get("monitor.minutes", FIRST_SPAN))
        first = str(state.get("page", ""))
        return first if first in self._kinds else next(iter(self._kinds))

    def remember(self) -> None:
        """Put geometry, page and forms into the state; `save` writes it."""
        state = self.session.state
        self._remember_monitor()
        state.put("geometry", bytes(self.saveGeometry().toBase64().data()).decode())
        state.put("monitor.minutes", self.monitor.minutes)
        if self._restored:
            state.put("monitor.dock", self.monitor.state())
        state.put("page", self._now or self._first)
        for name, page in self._pages.items():
            state.put(f"page.{name}", page.state())

    def _save_now_and_then(self) -> None:
        """Write what changed, so that little is lost when the display, or the process, goes away."""
        self.remember()
        state, content = self.session.state, self.session.state.snapshot()
        self.session.tasks.run(lambda: state.save(content), self._saved, key="window.save")

    def _saved(self, done: bool) -> None:
        """Say once that nothing can be kept."""
        if not done and not self._unsaved:
            self.session.notices.say(
                "warning",
                "What the window remembers between starts could not be saved.",
                f"Make room at {self.session.home.root}, or look at its owner and mode.",
            )
        self._unsaved = not done

    def _save_at_the_end(self) -> None:
        """In a thread, since the home may be on a share that hangs; the end does not wait for it longer than for
        tasks."""
        state, content = self.session.state, self.session.state.snapshot()
        done: list[bool] = []
        thread = threading.Thread(target=lambda: done.append(state.save(content)), name="window-save", daemon=True)
        thread.start()
        thread.join(_END_S)
        if done != [True]:
            _log.warning("the window's state was not saved: %s", "no answer" if not done else "disk full or no right")

    def closeEvent(self, event: QCloseEvent) -> None:
        """Jobs go on without the window; only what belongs to it ends."""
        self.remember()
        self._save_at_the_end()
        self._saving.stop()
        self._looking.stop()
        self.strip.close_notice()
        for page in self._pages.values():
            page.close_page()
        self.session.close_room()
        for dialog in self.findChildren(QDialog):
            dialog.close()
        self.monitor.hide()  # it may be out of this window
        self.hide()
        self.closing.emit()
        self.session.tasks.close(_END_S)
        if self.session.has_telemetry:
            self.session.telemetry.close()
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
        self.open_paths(tuple(url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()))

    def asked(self, paths: tuple[str, ...]) -> None:
        """A second start: come to the front, and open what it was given."""
        self.raise_up()
        if paths:
            self.open_paths(paths)

    def open_paths(self, paths: tuple[str, ...]) -> None:
        """Open presets and model folders on the Build page, by absolute paths."""
        self.session.tasks.run(lambda: sort_out(paths), self._open_given, self.session.notices.fail)

    def _open_given(self, given: Given) -> None:
        if given.preset or given.model:
            self.show_page("build")  # first, since it listens once it is made
            self.session.events.build_with.emit(given.preset, given.model)
        for failure in given.refused:
            self.session.notices.fail(failure)
        if given.left:
            names = ", ".join(Path(path).name for path in given.left)
            self.session.notices.say("info", f"One at a time: not opened were {names}.")

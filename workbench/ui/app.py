"""The application: its style, its log, and the window over a WORKBENCH_HOME with what it was asked to open."""

from __future__ import annotations

import gc
import logging
import logging.handlers
import os
import sys
import tempfile
from collections.abc import Sequence

from PySide6.QtCore import QTimer, QtMsgType, qInstallMessageHandler
from PySide6.QtWidgets import QApplication

from workbench.core.errors import Failure, WorkbenchError
from workbench.core.home import HOME_VARIABLE, Home
from workbench.core.home_choice import home_from
from workbench.core.opening import absolute_paths
from workbench.core.settings import DEFAULT, is_locked, load_settings
from workbench.store.upgrade import newer_store
from workbench.ui.actions import Actions
from workbench.ui.bridge import Tasks
from workbench.ui.importing import import_ground, import_in_turns
from workbench.ui.instance import Answer, OneInstance, alone
from workbench.ui.notices import Notices
from workbench.ui.pages.base import PageKind
from workbench.ui.session import STATE_FILE, Session, State
from workbench.ui.stopping import StopSignals, tell_own_errors
from workbench.ui.theme import MODES, Mode, Theme, load_fonts
from workbench.ui.window import Window

LOG_FILE = "window.log"
DESKTOP_ID = "org.engineworkbench.EngineWorkbench"
"""Name of the desktop entry and of the icon, by which a desktop knows the window as the program's."""
_SWITCH_S = 0.0005
IDLE_MS = 300
"""Work that is not needed yet is begun so long after the window is shown."""
_log = logging.getLogger("workbench.ui")


def make_application(argv: Sequence[str]) -> QApplication:
    """The QApplication with our style and fonts; the one that exists, if any."""
    existing = QApplication.instance()
    app = existing if isinstance(existing, QApplication) else QApplication(list(argv))
    app.setApplicationName("engine-workbench")
    app.setApplicationDisplayName("Engine Workbench")
    app.setDesktopFileName(DESKTOP_ID)
    app.setStyle("Fusion")
    # The GUI thread asks for the interpreter many times a frame; a busy background thread lets go of it only so often
    # (5 ms by default), and a frame would take a quarter of a second.
    sys.setswitchinterval(_SWITCH_S)
    load_fonts(app)
    return app


def make_window(app: QApplication, home: Home, pages: Sequence[PageKind], *, page_later: bool = False) -> Window:
    """The window over a home; not shown yet. With `page_later` its first page is made when its frame is painted."""
    state = State(home.root / STATE_FILE, app)
    theme = app.findChild(Theme) or Theme(app, _mode(home, state), home.root / "theme.json")
    notices = Notices(app)
    session = Session(home, Tasks(app), notices, Actions(), state)
    window = Window(session, pages, page_later=page_later)
    # What a file of settings says wrong may be what was to keep this machine offline; what is locked is shown there.
    settings = [problem for problem in load_settings(home).problems if problem.code != "locked"]
    for failure in (state.problem, theme.problem.failure if theme.problem else None, *settings):
        if failure is not None:
            notices.fail(failure)
    return window


def _mode(home: Home, state: State) -> Mode:
    """The look by the settings; where they leave it open, what version 0.1 kept among the window's own things."""
    loaded = load_settings(home)
    before = state.get("theme")
    is_open = loaded.origins["window.theme"] == DEFAULT and not is_locked(loaded, "window.theme")
    return before if is_open and before in MODES else loaded.values.window.theme


def prepare_pages(window: Window) -> None:
    """Once the window is there, import the other pages; the collector of cycles, which the start put off, works from
    then on, and never looks at what was imported."""
    from workbench.ui.pages.all import PAGE_MODULES

    tasks = window.session.tasks

    def collect() -> None:
        gc.freeze()
        gc.enable()

    def begin() -> None:
        collect()
        tasks.run(import_ground, lambda _: turns(), lambda _: turns())

    def turns() -> None:
        import_in_turns(tasks, PAGE_MODULES, collect)

    QTimer.singleShot(IDLE_MS, window, begin)


def home_problem(home: Home) -> Failure | None:
    """Why nothing can be kept in the home, be it that a newer version wrote its store; None when it can."""
    try:
        home.make()
        with tempfile.TemporaryFile(dir=home.root) as trial:
            trial.write(b"\0" * 4096)
            trial.flush()
    except WorkbenchError as error:
        return error.failure
    except OSError as error:
        return Failure(
            code="home-not-writable",
            what=f"Nothing can be written to the workbench's own folder: {home.root}",
            evidence=str(error),
            fix=f"Make room or set its owner and mode, or set {HOME_VARIABLE} to another folder, and start again. "
            "Until then nothing can be built, and what you set here is forgotten.",
            exit_code=2,
        )
    return newer_store(home)


def set_up_log(home: Home) -> None:
    """Warnings of the window, of Qt and unexpected errors go to a file of the home, never to a person's face."""
    logging.raiseExceptions = False  # a full disk is no reason to write tracebacks to the terminal
    handler: logging.Handler
    try:
        home.logs.mkdir(parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(home.logs / LOG_FILE, maxBytes=2 << 20, backupCount=2)
    except OSError:
        handler = logging.NullHandler()  # the window says what is wrong with the home
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.getLogger("workbench").addHandler(handler)

    def from_qt(kind: QtMsgType, context: object, text: str) -> None:
        level = logging.ERROR if kind in (QtMsgType.QtCriticalMsg, QtMsgType.QtFatalMsg) else logging.WARNING
        _log.log(level, "Qt: %s", text)

    qInstallMessageHandler(from_qt)


def _told_by_second(answer: Answer, paths: Sequence[str], home: Home) -> str:
    if answer is Answer.NONE:
        return (
            f"Engine Workbench runs already for {home.root}, and its window does not answer: close or end it, "
            f"or set {HOME_VARIABLE} to another folder.\n"
        )
    if paths and answer is Answer.RAISED:
        return (
            f"The window that is open is of an older version and cannot be handed {paths[0]}: close it and start "
            "again.\n"
        )
    return ""


def main(argv: Sequence[str] | None = None) -> int:
    """Start the window; 0 when it was closed, or when another one of this home was raised, 128 and the number when a
    signal ended it. Raises WorkbenchError."""
    from workbench.ui.pages.all import PAGES

    home = home_from(os.environ)
    set_up_log(home)
    app = make_application(sys.argv if argv is None else argv)
    paths = absolute_paths(app.arguments()[1:])  # Qt took its own options out
    one = OneInstance(home, app)
    other = alone(one, paths)
    if other is not None:
        sys.stderr.write(_told_by_second(other, paths, home))
        return 2 if other is Answer.NONE or (paths and other is not Answer.OPENED) else 0
    signals = StopSignals(app)  # from here on a signal closes the window, whenever it comes
    window = make_window(app, home, PAGES, page_later=True)
    tell_own_errors(window.session.notices)
    one.listen(window.asked)
    window.closing.connect(one.release)  # who starts again while the last tasks end gets a window

    def stop(number: int) -> None:
        window.close()
        app.exit(128 + number)

    signals.asked.connect(stop)
    window.show()
    window.start()
    if paths:
        window.open_paths(paths)
    prepare_pages(window)
    window.session.tasks.run(
        lambda: home_problem(home), lambda failure: window.session.notices.fail(failure) if failure else None
    )
    code = app.exec()
    signals.release()
    one.release()
    if not window.session.tasks.close(0.0):
        _log.warning("closed while a task still ran")
        logging.shutdown()
        sys.stderr.flush()
        os._exit(code)  # a thread that hangs in the system must not hold up the end, or die among Qt's remains
    return code

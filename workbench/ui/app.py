"""The application: one window a WORKBENCH_HOME; a second start raises the first and ends."""

from __future__ import annotations

import gc
import hashlib
import logging
import logging.handlers
import os
import stat
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QLockFile, QObject, QStandardPaths, QTimer, QtMsgType, qInstallMessageHandler
from PySide6.QtNetwork import QLocalServer, QLocalSocket
from PySide6.QtWidgets import QApplication

from workbench.core.errors import Failure, WorkbenchError
from workbench.core.home import HOME_VARIABLE, Home, home_from
from workbench.ui.actions import Actions
from workbench.ui.bridge import Tasks
from workbench.ui.notices import Notices
from workbench.ui.pages.base import PageKind
from workbench.ui.session import STATE_FILE, Session, State
from workbench.ui.stopping import StopSignals, tell_own_errors
from workbench.ui.theme import MODES, Theme, load_fonts
from workbench.ui.window import Window

LOG_FILE = "window.log"
_SWITCH_S = 0.0005
IDLE_MS = 300
"""Work that is not needed yet is begun so long after the window is shown."""
_RAISE, _RAISED = b"raise\n", b"raised\n"
_REACH_MS = 1000
_PATIENCE_S = 8.0
"""How long a second start waits for the first, which may be starting or ending, before it gives up."""
_LONGEST_PLACE = 56
_log = logging.getLogger("workbench.ui")


def make_application(argv: Sequence[str]) -> QApplication:
    """The QApplication with our style and fonts; the one that exists, if any."""
    existing = QApplication.instance()
    app = existing if isinstance(existing, QApplication) else QApplication(list(argv))
    app.setApplicationName("engine-workbench")
    app.setApplicationDisplayName("Engine Workbench")
    app.setStyle("Fusion")
    # The GUI thread asks for the interpreter many times a frame; a busy background thread lets go of it only so often
    # (5 ms by default), and a frame would take a quarter of a second.
    sys.setswitchinterval(_SWITCH_S)
    load_fonts(app)
    return app


def make_window(app: QApplication, home: Home, pages: Sequence[PageKind], *, page_later: bool = False) -> Window:
    """The window over a home; not shown yet. With `page_later` its first page is made when its frame is painted."""
    state = State(home.root / STATE_FILE, app)
    mode = state.get("theme", "system")
    theme = app.findChild(Theme) or Theme(app, mode if mode in MODES else "system", home.root / "theme.json")
    notices = Notices(app)
    session = Session(home, Tasks(app), notices, Actions(), state)
    window = Window(session, pages, page_later=page_later)
    for failure in (state.problem, theme.problem.failure if theme.problem else None):
        if failure is not None:
            notices.fail(failure)
    return window


def prepare_pages(window: Window) -> None:
    """Once the window is there, import the other pages in the background; the collector of cycles, which the start
    put off, works from then on, and never looks at what was imported."""
    from workbench.ui.pages.all import import_pages

    def collect(_: object = None) -> None:
        gc.freeze()
        gc.enable()

    def begin() -> None:
        collect()
        window.session.tasks.run(import_pages, collect)

    QTimer.singleShot(IDLE_MS, window, begin)


def home_problem(home: Home) -> Failure | None:
    """Why nothing can be kept in the home; None when it can."""
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
    return None


def socket_place(place: Path) -> Path:
    """A folder whose sockets have names that the kernel takes (107 bytes; Qt makes a folder of its own in between)."""
    if len(os.fsencode(place)) <= _LONGEST_PLACE:
        return place
    short = Path(tempfile.gettempdir()) / f"engine-workbench-{os.getuid()}"
    short.mkdir(mode=0o700, exist_ok=True)
    seen = short.lstat()
    if seen.st_uid != os.getuid() or seen.st_mode & 0o077 or not stat.S_ISDIR(seen.st_mode):
        return place  # somebody else's: then a second start is not answered, and says so
    return short


class OneInstance(QObject):
    """Holds the home's lock, and raises the window when a second start knocks."""

    def __init__(self, home: Home, parent: QObject | None = None) -> None:
        super().__init__(parent)
        place = Path(QStandardPaths.writableLocation(QStandardPaths.StandardLocation.RuntimeLocation) or home.root)
        tag = hashlib.sha256(str(home.root.resolve()).encode()).hexdigest()[:12]
        self._lock = QLockFile(str(place / f"engine-workbench-{tag}.lock"))
        self._lock.setStaleLockTime(0)
        self._name = str(socket_place(place) / f"engine-workbench-{tag}.sock")
        self._server: QLocalServer | None = None

    def first(self) -> bool:
        """Whether this is the only window of the home; the lock is then held. Where none can be made, it is taken
        for the only one."""
        if self._lock.tryLock(0):
            return True
        if self._lock.error() == QLockFile.LockError.LockFailedError:
            return False
        _log.warning("no lock can be made at %s: a second window would not be noticed", self._lock.fileName())
        return True

    def knock(self) -> bool:
        """Ask the first window to come up; whether it answered that it did."""
        socket = QLocalSocket()
        socket.connectToServer(self._name)
        if not socket.waitForConnected(_REACH_MS):
            return False
        socket.write(_RAISE)
        raised = socket.waitForReadyRead(_REACH_MS) and bytes(socket.readAll().data()).startswith(_RAISED)
        socket.disconnectFromServer()
        return raised

    def listen(self, window: Window) -> None:
        """Raise `window` when somebody knocks. The socket is for this user alone."""
        QLocalServer.removeServer(self._name)
        self._server = QLocalServer(self)
        self._server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        self._server.newConnection.connect(lambda: self._answer(window))
        if not self._server.listen(self._name):
            _log.warning("a second start will not find this window: %s", self._server.errorString())

    def _answer(self, window: Window) -> None:
        assert self._server is not None
        while socket := self._server.nextPendingConnection():
            socket.disconnected.connect(socket.deleteLater)
            window.raise_up()
            socket.write(_RAISED)
            socket.flush()

    def release(self) -> None:
        if self._server is not None:
            self._server.close()
        self._lock.unlock()


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


def alone(one: OneInstance) -> bool | None:
    """True: this is the only window. False: another was raised. None: another is there and does not answer."""
    ends = time.monotonic() + _PATIENCE_S
    while True:
        if one.first():
            return True
        if one.knock():
            return False
        if time.monotonic() > ends:
            return None
        time.sleep(0.2)


def main(argv: Sequence[str] | None = None) -> int:
    """Start the window; 0 when it was closed, or when another one of this home was raised, 128 and the number when a
    signal ended it. Raises WorkbenchError."""
    from workbench.ui.pages.all import PAGES

    home = home_from(os.environ)
    set_up_log(home)
    app = make_application(sys.argv if argv is None else argv)
    one = OneInstance(home, app)
    only = alone(one)
    if not only:
        if only is None:
            sys.stderr.write(
                f"Engine Workbench runs already for {home.root}, and its window does not answer: close or end it, "
                f"or set {HOME_VARIABLE} to another folder.\n"
            )
        return 0 if only is False else 2
    signals = StopSignals(app)  # from here on a signal closes the window, whenever it comes
    window = make_window(app, home, PAGES, page_later=True)
    tell_own_errors(window.session.notices)
    one.listen(window)
    window.closing.connect(one.release)  # who starts again while the last tasks end gets a window

    def stop(number: int) -> None:
        window.close()
        app.exit(128 + number)

    signals.asked.connect(stop)
    window.show()
    window.start()
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

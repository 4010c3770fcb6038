"""The application: one window a WORKBENCH_HOME; a second start raises the first and ends."""

from __future__ import annotations

import hashlib
import logging
import logging.handlers
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QLockFile, QObject, QStandardPaths, QtMsgType, qInstallMessageHandler
from PySide6.QtNetwork import QLocalServer, QLocalSocket
from PySide6.QtWidgets import QApplication

from workbench.core.errors import WorkbenchError
from workbench.core.home import Home, home_from
from workbench.ui.actions import Actions
from workbench.ui.bridge import Tasks
from workbench.ui.notices import Notices
from workbench.ui.pages.base import Page
from workbench.ui.session import STATE_FILE, Session, State
from workbench.ui.theme import MODES, Theme, load_fonts
from workbench.ui.window import Window

LOG_FILE = "window.log"
_RAISE = b"raise\n"
_REACH_MS = 1000
_log = logging.getLogger("workbench.ui")


def make_application(argv: Sequence[str]) -> QApplication:
    """The QApplication with our style and fonts; the one that exists, if any."""
    existing = QApplication.instance()
    app = existing if isinstance(existing, QApplication) else QApplication(list(argv))
    app.setApplicationName("engine-workbench")
    app.setApplicationDisplayName("Engine Workbench")
    app.setStyle("Fusion")
    load_fonts(app)
    return app


def make_window(app: QApplication, home: Home, pages: Sequence[type[Page]]) -> Window:
    """The window over a home; not shown yet."""
    state = State(home.root / STATE_FILE, app)
    mode = state.get("theme", "system")
    theme = app.findChild(Theme) or Theme(app, mode if mode in MODES else "system", home.root / "theme.json")
    notices = Notices(app)
    session = Session(home, Tasks(app), notices, Actions(), state)
    window = Window(session, pages)
    if theme.problem is not None:
        notices.fail(theme.problem.failure)
    return window


class OneInstance(QObject):
    """Holds the home's lock, and raises the window when a second start knocks."""

    def __init__(self, home: Home, parent: QObject | None = None) -> None:
        super().__init__(parent)
        place = Path(QStandardPaths.writableLocation(QStandardPaths.StandardLocation.RuntimeLocation) or home.root)
        tag = hashlib.sha256(str(home.root.resolve()).encode()).hexdigest()[:12]
        self._lock = QLockFile(str(place / f"engine-workbench-{tag}.lock"))
        self._lock.setStaleLockTime(0)
        self._name = str(place / f"engine-workbench-{tag}.sock")
        self._server: QLocalServer | None = None

    def first(self) -> bool:
        """Whether this is the only window of the home; the lock is then held."""
        return self._lock.tryLock(0)

    def knock(self) -> bool:
        """Ask the first window to come up; whether it was reached."""
        socket = QLocalSocket()
        socket.connectToServer(self._name)
        if not socket.waitForConnected(_REACH_MS):
            return False
        socket.write(_RAISE)
        done = socket.waitForBytesWritten(_REACH_MS)
        socket.disconnectFromServer()
        return done

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

    def release(self) -> None:
        if self._server is not None:
            self._server.close()
        self._lock.unlock()


def set_up_log(home: Home) -> None:
    """Warnings of the window, of Qt and unexpected errors go to a file of the home, never to a person's face."""
    home.logs.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(home.logs / LOG_FILE, maxBytes=2 << 20, backupCount=2)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.getLogger("workbench").addHandler(handler)

    def from_qt(kind: QtMsgType, context: object, text: str) -> None:
        level = logging.ERROR if kind in (QtMsgType.QtCriticalMsg, QtMsgType.QtFatalMsg) else logging.WARNING
        _log.log(level, "Qt: %s", text)

    qInstallMessageHandler(from_qt)


def main(argv: Sequence[str] | None = None) -> int:
    """Start the window; 0 when it was closed, or when another one of this home was raised."""
    from workbench.ui.pages.all import PAGES

    try:
        home = home_from(os.environ)
        home.root.mkdir(parents=True, exist_ok=True)
        set_up_log(home)
    except (WorkbenchError, OSError) as error:
        sys.stderr.write(f"Engine Workbench cannot start: {error}\n")
        return 2
    app = make_application(sys.argv if argv is None else argv)
    one = OneInstance(home, app)
    if not one.first():
        if one.knock():
            return 0
        sys.stderr.write("Engine Workbench is running already for this home, and its window does not answer.\n")
        return 2
    window = make_window(app, home, PAGES)
    one.listen(window)
    window.show()
    window.start()
    code = app.exec()
    one.release()
    return code

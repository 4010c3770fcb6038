"""One window a WORKBENCH_HOME: a second start hands the first window what to open, raises it and ends."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import tempfile
import time
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path

from PySide6.QtCore import QLockFile, QObject, QStandardPaths
from PySide6.QtNetwork import QLocalServer, QLocalSocket

from workbench.core.home import Home

TOKEN_VARIABLE = "XDG_ACTIVATION_TOKEN"
"""With it a Wayland desktop lets a window come to the front that was not clicked; the second start was given it."""
_RAISE, _RAISED, _OPENED = b"raise\n", b"raised\n", b"opened\n"
_OPEN = b"open "
_REACH_MS = 1000
_PATIENCE_S = 8.0
"""How long a second start waits for the first, which may be starting or ending, before it gives up."""
_LONGEST_PLACE = 56
_MOST_BYTES = 256 << 10
_log = logging.getLogger("workbench.ui")


class Answer(Enum):
    """What the first window said to a second start."""

    NONE = "none"
    RAISED = "raised"
    """It came to the front; where it was asked to open something, it is of a version that cannot."""
    OPENED = "opened"


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
    """Holds the home's lock, and answers when a second start knocks."""

    def __init__(self, home: Home, parent: QObject | None = None) -> None:
        super().__init__(parent)
        place = Path(QStandardPaths.writableLocation(QStandardPaths.StandardLocation.RuntimeLocation) or home.root)
        tag = hashlib.sha256(str(home.root.resolve()).encode()).hexdigest()[:12]
        self._lock = QLockFile(str(place / f"engine-workbench-{tag}.lock"))
        self._lock.setStaleLockTime(0)
        self._name = str(socket_place(place) / f"engine-workbench-{tag}.sock")
        self._server: QLocalServer | None = None
        self._callers: list[QLocalSocket] = []
        self._asked: Callable[[tuple[str, ...]], None] = lambda _: None

    def first(self) -> bool:
        """Whether this is the only window of the home; the lock is then held. Where none can be made, it is taken
        for the only one."""
        if self._lock.tryLock(0):
            return True
        if self._lock.error() == QLockFile.LockError.LockFailedError:
            return False
        _log.warning("no lock can be made at %s: a second window would not be noticed", self._lock.fileName())
        return True

    def knock(self, paths: Sequence[str] = ()) -> Answer:
        """Ask the first window to come up, and to open `paths` (absolute)."""
        socket = QLocalSocket()
        socket.connectToServer(self._name)
        if not socket.waitForConnected(_REACH_MS):
            return Answer.NONE
        token = os.environ.get(TOKEN_VARIABLE, "")
        words = json.dumps({"paths": list(paths), "token": token}).encode()
        socket.write(_OPEN + words + b"\n" if paths or token else _RAISE)
        said = bytes(socket.readAll().data()) if socket.waitForReadyRead(_REACH_MS) else b""
        socket.disconnectFromServer()
        return {_OPENED: Answer.OPENED, _RAISED: Answer.RAISED}.get(said, Answer.NONE)

    def listen(self, asked: Callable[[tuple[str, ...]], None]) -> None:
        """Call `asked` with the paths to open, if any, when somebody knocks. The socket is for this user alone."""
        self._asked = asked
        QLocalServer.removeServer(self._name)
        self._server = QLocalServer(self)
        self._server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        self._server.newConnection.connect(self._let_in)
        if not self._server.listen(self._name):
            _log.warning("a second start will not find this window: %s", self._server.errorString())

    def _let_in(self) -> None:
        while self._server is not None and (socket := self._server.nextPendingConnection()):
            self._callers.append(socket)
            socket.readyRead.connect(self._answer)
            socket.disconnected.connect(self._let_go)
        self._answer()

    def _answer(self) -> None:
        """Those whose whole line is there."""
        for socket in tuple(self._callers):
            if socket.canReadLine():
                line = bytes(socket.readLine().data())
                self._asked(_understood(line))
                socket.write(_OPENED if line.startswith(_OPEN) else _RAISED)
                socket.flush()
            elif socket.bytesAvailable() > _MOST_BYTES:
                socket.abort()

    def _let_go(self) -> None:
        ended = QLocalSocket.LocalSocketState.UnconnectedState
        for socket in [socket for socket in self._callers if socket.state() == ended]:
            self._callers.remove(socket)
            socket.deleteLater()

    def release(self) -> None:
        for socket in tuple(self._callers):
            socket.abort()
        if self._server is not None:
            self._server.close()
        self._lock.unlock()


def _understood(line: bytes) -> tuple[str, ...]:
    """Paths to open; the token that came with them goes where Qt looks for it."""
    if not line.startswith(_OPEN):
        return ()
    try:
        data = json.loads(line.removeprefix(_OPEN))
        token, paths = str(data.get("token") or ""), data.get("paths")
    except (ValueError, AttributeError, RecursionError):
        _log.warning("a second start said something that is not understood: %r", line[:80])
        return ()
    if token.isascii() and token.isprintable() and 0 < len(token) <= 256:
        os.environ[TOKEN_VARIABLE] = token
    return tuple(path for path in paths if isinstance(path, str)) if isinstance(paths, list) else ()


def alone(one: OneInstance, paths: Sequence[str] = ()) -> Answer | None:
    """None: this is the only window. RAISED or OPENED: another one is there, and answered so. NONE: it does not
    answer."""
    ends = time.monotonic() + _PATIENCE_S
    while True:
        if one.first():
            return None
        if (answer := one.knock(paths)) is not Answer.NONE:
            return answer
        if time.monotonic() > ends:
            return Answer.NONE
        time.sleep(0.2)

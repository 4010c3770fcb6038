"""Ends that come from outside the window: Ctrl+C, SIGTERM, a terminal that goes away, and errors of our own."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import sys
from types import TracebackType

from PySide6.QtCore import QObject, QSocketNotifier, Signal

from workbench.ui.notices import Notices

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_log = logging.getLogger("workbench.ui")


class StopSignals(QObject):
    """Sends `asked` with the signal's number on the GUI thread.

    Qt's loop is C++ and runs no Python handler by itself; Python's wake-up descriptor makes it look.
    """

    asked = Signal(int)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._notifier = QSocketNotifier(self._reader.fileno(), QSocketNotifier.Type.Read, self)
        self._notifier.activated.connect(self._read)
        self._before = {
            number: signal.signal(number, lambda *_: None)
            for number in SIGNALS
            if signal.getsignal(number) is not signal.SIG_IGN  # nohup: it was asked to live on
        }
        self._old = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in self._reader.recv(64):
                if number in self._before:
                    self.asked.emit(number)

    def release(self) -> None:
        """Give the signals back to who had them."""
        self._notifier.setEnabled(False)
        signal.set_wakeup_fd(self._old)
        for number, before in self._before.items():
            signal.signal(number, before if before is not None else signal.SIG_DFL)
        self._reader.close()
        self._writer.close()


def tell_own_errors(notices: Notices) -> None:
    """Errors of the program's own go to the log and are said in a sentence: a traceback is nobody's business."""

    def say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        _log.error("an error of the program's own", exc_info=(kind, error, trace))
        with contextlib.suppress(RuntimeError):  # the window is gone
            notices.say(
                "error",
                "The window could not do that: this is an error of the program's own.",
                f"{kind.__name__}: {str(error)[:300]}\nThe full text is in the window's log; please report it.",
            )

    sys.excepthook = say

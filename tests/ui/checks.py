"""What a test of the window must not leave behind: Qt's complaints, threads, timers, open windows."""

from __future__ import annotations

import gc
import threading
import time

import shiboken6
from PySide6.QtCore import QCoreApplication, QEvent, QMessageLogContext, QObject, QThread, QTimer, QtMsgType
from PySide6.QtCore import qInstallMessageHandler as install_message_handler
from PySide6.QtWidgets import QApplication, QWidget

HARMLESS = (
    "This plugin does not support propagateSizeHints()",
    "This plugin does not support raise()",
    "XDG_RUNTIME_DIR not set",
)
"""What the offscreen platform and the machine say of themselves, and not of us."""
_COMPLAINTS = (QtMsgType.QtWarningMsg, QtMsgType.QtCriticalMsg, QtMsgType.QtFatalMsg)


def named(thing: QObject) -> str:
    """An object in words: its class and name, and those of its parents that have one."""
    found = []
    at: QObject | None = thing
    while at is not None:
        name = at.objectName() or (at.accessibleName() if isinstance(at, QWidget) else "")
        if name or at is thing or not type(at).__name__.startswith("Q"):
            found.append(f"{type(at).__name__} {name!r}" if name else type(at).__name__)
        at = at.parent()
    return " in ".join(found)


def _kinds(kind: type) -> set[type]:
    found = {kind}
    for below in type.__subclasses__(kind):
        found |= _kinds(below)
    return found


def alive(kind: type[QObject]) -> list[QObject]:
    """All objects of a class that Python knows or that hang below a widget."""
    kinds = _kinds(kind)
    known = [thing for thing in gc.get_objects() if type(thing) in kinds]  # of a million: no call for each
    below = [child for widget in QApplication.topLevelWidgets() for child in widget.findChildren(kind)]
    return [thing for thing in {id(thing): thing for thing in [*known, *below]}.values() if shiboken6.isValid(thing)]


class Watch:
    """Notes what is there when it is made; `findings` tells what came on top and stayed."""

    def __init__(self) -> None:
        self.said: list[str] = []
        # The objects themselves and not their ids alone: the id of one that is gone is soon another one's.
        self._threads = {id(thread): thread for thread in threading.enumerate()}
        self._widgets = {id(widget): widget for widget in QApplication.topLevelWidgets()}
        self._timers = {id(timer): timer for timer in alive(QTimer) if timer.isActive()}  # type: ignore[attr-defined]
        self._before = install_message_handler(self._note)

    def _note(self, kind: QtMsgType, context: QMessageLogContext, text: str) -> None:
        if kind in _COMPLAINTS and not any(words in text for words in HARMLESS):
            self.said.append(text)

    def findings(self, grace_s: float = 2.0) -> list[str]:
        """What is wrong, a line each; a thread that was told to end has `grace_s` for it.

        Windows that were closed are deleted after they were looked at.
        """
        found = [f"a window is left open: {named(widget)}" for widget in self._open()]
        # Before anything is deleted: a timer that ran on in a closed window would go with it.
        for timer in alive(QTimer):
            if timer.isActive() and id(timer) not in self._timers:  # type: ignore[attr-defined]
                found.append(f"a timer still runs: {named(timer)}")
                timer.stop()  # type: ignore[attr-defined]
        for qthread in alive(QThread):
            if qthread.isRunning() and qthread is not QThread.currentThread() and qthread.parent() is None:  # type: ignore[attr-defined]
                found.append(f"a QThread still runs: {named(qthread)}")
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        found += [f"a thread still runs: {thread.name}" for thread in self._left(grace_s)]
        return [*found, *(f"Qt says: {text}" for text in self.said)]

    def close(self) -> None:
        """Give Qt's messages back to who had them, and close what was left open."""
        for widget in self._open():
            widget.close()
        install_message_handler(self._before)

    def _open(self) -> list[QWidget]:
        return [w for w in QApplication.topLevelWidgets() if w.isVisible() and id(w) not in self._widgets]

    def _left(self, grace_s: float) -> list[threading.Thread]:
        ends = time.monotonic() + grace_s
        while True:
            left = [thread for thread in threading.enumerate() if id(thread) not in self._threads]
            if not left or time.monotonic() > ends:
                return left
            time.sleep(0.01)

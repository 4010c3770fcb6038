"""The relay's end of the worker protocol: it is to its starter what a worker is."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import threading
import time

from workbench.core.messages import Error, Hello, Log, LogLevel, Message, Phase, Progress, Stats
from workbench.remote.transport import PARENT_VARIABLE

_PR_SET_PDEATHSIG = 1
ALIVE_SECONDS = 45.0
"""A starter takes a worker that says and does nothing for long for a dead one."""


class Wire:
    """Messages to whoever started us, on the first standard output; that is moved to the log at once."""

    def __init__(self) -> None:
        self._out = os.dup(1)
        os.set_inheritable(self._out, False)
        os.dup2(2, 1)
        self._lock = threading.Lock()
        self._progress_at = 0.0
        self._progress_done = -1.0
        self._said_at = time.monotonic()

    def send(self, message: Message) -> None:
        stamped = message.model_copy(update={"t": time.monotonic()})
        self.lines(stamped.model_dump_json(exclude_none=True).encode() + b"\n")

    def lines(self, data: bytes) -> None:
        """Messages that are lines already."""
        view = memoryview(data)
        with self._lock:
            self._said_at = time.monotonic()
            while view:
                view = view[os.write(self._out, view) :]

    def hello(self, protocol: int, worker: str) -> None:
        self.send(Hello(protocol=protocol, worker=worker, pid=os.getpid()))

    def phase(self, name: str, index: int, of: int) -> None:
        self._progress_at, self._progress_done = 0.0, -1.0
        self.send(Phase(name=name, index=index, of=of))

    def progress(self, done: float, total: float | None) -> None:
        """Bytes moved; at most ten messages a second."""
        now = time.monotonic()
        if now - self._progress_at >= 0.1 or (total is not None and self._progress_done < total <= done):
            self._progress_at, self._progress_done = now, done
            self.send(Progress(done=done, total=total, unit="B"))

    def log(self, text: str, level: LogLevel = "info") -> None:
        self.send(Log(level=level, text=text))

    def error(self, code: str, message: str, cause: str = "", hint: str = "") -> None:
        self.send(Error(code=code, message=message, cause=cause, hint=hint))

    def stay_alive(self) -> None:
        """A thread that says something which changes nothing when nothing else was said for a while: the far side may
        work in silence, and whether it hangs is judged by what the keeper sees of it."""

        def beat() -> None:
            while True:
                time.sleep(ALIVE_SECONDS / 3)
                if time.monotonic() - self._said_at > ALIVE_SECONDS:
                    self.send(Stats())

        threading.Thread(target=beat, daemon=True).start()

    def raw(self, data: bytes) -> None:
        """What the worker printed: to the raw log."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(2, view) :]
            except BlockingIOError:  # a program that has it too made it so
                select.select([], [2], [])


def tie_to_parent() -> None:
    """End with the starter (Linux), and at once if it is gone already."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    expected = os.environ.pop(PARENT_VARIABLE, "")
    if expected and os.getppid() != int(expected):
        os._exit(1)


def read_first() -> tuple[bytes, bytes]:
    """The first line of our input, and what came with it already. An empty line: there was none."""
    text = b""
    while b"\n" not in text:
        data = os.read(0, 1 << 16)
        if not data:
            break
        text += data
    line, _, rest = text.partition(b"\n")
    return line, rest


def end_with_input() -> None:
    """A thread that ends this process when its starter closes our input. What runs far away goes on."""

    def watch() -> None:
        while os.read(0, 1 << 16):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

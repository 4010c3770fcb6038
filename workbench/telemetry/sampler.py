"""The loop of a sampler thread: one source, read at a rate that may change at any moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_JOIN_S = 5.0


class Sampler:
    """Calls `read` every `interval()` seconds in a thread of its own, from one beginning, so that it does not drift."""

    def __init__(
        self,
        name: str,
        read: Callable[[float], None],
        interval: Callable[[], float],
        failed: Callable[[Exception], None] | None = None,
        end: Callable[[], None] | None = None,
    ) -> None:
        self._read = read
        self._interval = interval
        self._failed = failed
        self._end = end
        self._wake = threading.Event()
        self._stop = False
        # A driver that hangs in a call must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name=f"telemetry-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """The interval may be shorter now."""
        self._wake.set()

    def stop(self) -> None:
        """Ask it to end; `join` waits."""
        self._stop = True
        self._wake.set()

    def join(self) -> bool:
        """True when it ended; False when its source hangs."""
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop:
            interval = self._interval()
            try:
                self._read(interval)
            except Exception as error:  # a source that fails once is asked again
                if self._failed is not None:
                    self._failed(error)
            due += interval
            now = time.monotonic()
            if due < now - interval:
                due = now  # what was missed is not made up for
            while not self._stop and (left := due - time.monotonic()) > 0:
                if self._wake.wait(left):
                    self._wake.clear()
                    due = min(due, time.monotonic() + self._interval())
        if self._end is not None:
            self._end()

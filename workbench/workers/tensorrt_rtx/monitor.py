"""What the builder tells while it runs, and how it is stopped: logger, progress monitor, cancelling within 2 s.

The builder runs in a thread of its own and gives up Python's lock; the main thread listens, reports, and hears
SIGTERM. A cancelled build ends by the monitor at its next step; while a profile is compiled there is no step, so the
process ends itself after `HARD_END_SECONDS`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from workbench.core.tensorrt_rtx.log import BuilderLog, format_lines
from workbench.core.tensorrt_rtx.progress import BuildProgress
from workbench.workers.protocol import Channel

HARD_END_SECONDS = 1.5
_TICK_SECONDS = 0.1

T = TypeVar("T")


def make_logger(trt: Any, log: BuilderLog) -> Any:
    """An ILogger that feeds `log`, and writes what a person should see to stderr, the raw log."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            # An exception here would end in C++.
            with contextlib.suppress(Exception):
                if log.feed(severity.name, message):
                    write_raw("".join(f"{line}\n" for line in format_lines(severity.name, message, datetime.now())))

    return Logger()


def make_monitor(trt: Any, progress: BuildProgress, cancelled: Callable[[], bool]) -> Any:
    """An IProgressMonitor that feeds `progress` and ends the build at the next step once `cancelled`."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with contextlib.suppress(Exception):
                progress.phase_start(phase_name, num_steps, time.monotonic())

        def step_complete(self, phase_name: str, step: int) -> bool:
            with contextlib.suppress(Exception):
                progress.step(phase_name, step, time.monotonic())
            return not cancelled()

        def phase_finish(self, phase_name: str) -> None:
            with contextlib.suppress(Exception):
                progress.phase_finish(phase_name, time.monotonic())

    return Monitor()


def write_raw(text: str) -> None:
    """To the raw log."""
    data = text.encode("utf-8", "replace")
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(2, data) :]


class Cancel:
    """SIGTERM as a wish to stop, from `with` on: heard by `wanted`, obeyed within 2 s in any case.

    `tidy` is called before the process ends; nothing else is.
    """

    def __init__(self, channel: Channel, tidy: Callable[[], None]) -> None:
        self._channel, self._tidy = channel, tidy
        self._asked_s: float | None = None

    def __enter__(self) -> Cancel:
        self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        # Taking the handler away lets one that came in the last moment be heard, and nobody else looks for it.
        signal.signal(signal.SIGTERM, self._before)
        if self.wanted():
            self.end("it was nearly done")

    def _ask(self, *_: object) -> None:
        self._asked_s = self._asked_s or time.monotonic()

    def wanted(self) -> bool:
        return self._asked_s is not None

    def overdue(self) -> bool:
        return self._asked_s is not None and time.monotonic() - self._asked_s >= HARD_END_SECONDS

    def end(self, how: str) -> None:
        """Tidy up and end the process as an unheard SIGTERM would have. Does not return."""
        took = time.monotonic() - (self._asked_s or time.monotonic())
        with contextlib.suppress(Exception):
            self._tidy()
        with contextlib.suppress(Exception):
            self._channel.log(f"cancelled: {how} after {took:.1f} s", "warning")
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()


def run_beside(work: Callable[[], T], cancel: Cancel, tick: Callable[[], None]) -> T:
    """Run `work` in a thread, `tick` meanwhile and once more at its end; its result, or its exception raised here.

    A wish to stop ends the process: when `work` is over, or when it has had its time.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # raised again by who waits
            errors.append(error)

    thread = threading.Thread(target=run, name="builder", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_TICK_SECONDS)
        if cancel.wanted() and not thread.is_alive():
            cancel.end("the builder stopped")
        if cancel.overdue():
            cancel.end("the builder said nothing meanwhile and was ended")
        tick()
    if cancel.wanted():
        cancel.end("the builder stopped")
    if errors:
        raise errors[0]
    return results[0]

"""Runs one worker process to its end, from whatever thread asks: messages passed on, cancellable, its output logged."""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.core.errors import CancelledError, StepFailedError
from workbench.core.messages import Error, Hello, Log, Message, Phase, Progress, Result, StepSpec
from workbench.jobs.folder import last_log_line
from workbench.jobs.outcome import explain
from workbench.jobs.worker import WorkerProcess

GRACE_SECONDS = 5.0
HELLO_SECONDS = 120.0
STALL_SECONDS = 600.0
"""With neither a message nor processor time nor I/O for so long, a worker hangs."""


def run_to_end(
    argv: Sequence[str],
    env: Mapping[str, str],
    spec: StepSpec,
    *,
    folder: Path,
    log_path: Path,
    title: str,
    on_message: Callable[[Phase | Progress], None],
    stop: threading.Event | None = None,
    stall_seconds: float = STALL_SECONDS,
) -> dict[str, Any]:
    """The result's data. Raises StepFailedError in the worker's words, CancelledError when `stop` is set,
    BadInputError when the program cannot be started."""
    worker = WorkerProcess(argv, env, folder, spec, log_path, title)
    run = _Run(worker, title, log_path, on_message)
    try:
        run.follow(stop, stall_seconds)
    finally:
        outcome = worker.end()
    if run.error is not None:
        raise StepFailedError(run.error.message, evidence=run.error.cause, fix=run.error.hint, code=run.error.code)
    if outcome.ok and run.result is not None:
        return run.result.data
    failure = explain(outcome, title, last_log_line(log_path))
    raise StepFailedError(failure.what, evidence=failure.evidence, fix=failure.fix, code=failure.code)


class _Run:
    """What has come of a worker."""

    def __init__(
        self, worker: WorkerProcess, title: str, log_path: Path, on_message: Callable[[Phase | Progress], None]
    ) -> None:
        self._worker, self._title, self._log_path, self._on_message = worker, title, log_path, on_message
        self._greeted = False
        self.error: Error | None = None
        self.result: Result | None = None

    def follow(self, stop: threading.Event | None, stall_seconds: float) -> None:
        began = looked = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._worker.output_handle, selectors.EVENT_READ)
            selector.register(self._worker.exit_handle, selectors.EVENT_READ)
            while not self._worker.has_ended():
                selector.select(0.2)
                if stop is not None and stop.is_set():
                    self._cancel()
                self._read()
                now = time.monotonic()
                if now - looked >= min(5.0, stall_seconds / 4):
                    looked = now
                    self._check_alive(stall_seconds, now - began)
        self._read()

    def _cancel(self) -> None:
        self._worker.ask_to_stop()
        end = time.monotonic() + GRACE_SECONDS
        while not self._worker.has_ended() and time.monotonic() < end:
            time.sleep(0.02)
            with contextlib.suppress(StepFailedError):
                self._read()
        raise CancelledError(f"{self._title} was stopped.", code="cancelled")

    def _check_alive(self, stall_seconds: float, since_start: float) -> None:
        idle = self._worker.idle_seconds()
        if idle < stall_seconds and (self._greeted or since_start < HELLO_SECONDS):
            return
        raise StepFailedError(
            f"{self._title} hangs: it neither says nor does anything.",
            evidence=f"no message, processor time or I/O for {idle:.0f} s",
            fix="Try again; the log may show why.",
            code="stalled",
        )

    def _read(self) -> None:
        for message in self._worker.read():
            self._take(message)

    def _take(self, message: Message | str) -> None:
        match message:
            case str():
                self._log(message)
            case Hello():
                self._greeted = True
            case Phase() | Progress():
                self._on_message(message)
            case Log():
                self._log(f"{message.level}: {message.text}")
            case Result():
                self.result = message
            case Error():
                self.error = message
            case _:
                self._log(f"message of type {type(message).__name__}")

    def _log(self, text: str) -> None:
        append_log(self._log_path, f"[{self._title}] {text}")


def append_log(path: Path, text: str) -> None:
    """A line in a log that workers write to as well."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, text.encode("utf-8", "replace") + b"\n")
        finally:
            os.close(handle)

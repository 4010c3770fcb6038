"""The worker's end of the wire: JSON lines out on the first standard output, commands in on stdin.

Nothing heavy may be imported before `open_channel()`: it moves file descriptor 1 to 2 first, so that whatever C++
or MPI prints lands on stderr (the raw log), and ties the worker's life to its parent's. The message schema is
workbench.core.messages, re-exported here since it is this protocol's.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import IO, Any

from workbench.core.messages import (
    MAX_LINE_BYTES,
    PROTOCOL_VERSION,
    ArtifactMade,
    Error,
    Hello,
    Log,
    LogLevel,
    Message,
    Phase,
    Progress,
    Result,
    StepSpec,
)

__all__ = ["MAX_LINE_BYTES", "Channel", "WorkerError", "run_worker", "tie_to_parent", "versions_of"]

_PR_SET_PDEATHSIG = 1
PARENT_VARIABLE = "WORKBENCH_PARENT_PID"


class WorkerError(Exception):
    """A failure that the worker can explain; becomes an `error` message."""

    def __init__(self, message: str, *, code: str = "failed", cause: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message, self.code, self.cause, self.hint = message, code, cause, hint


class Channel:
    """What a worker says and hears. `send` may be called from any thread."""

    def __init__(self, out: IO[bytes], lines: Iterator[bytes]) -> None:
        self._out = out
        self._lines = lines
        self._lock = threading.Lock()
        self._last_progress = 0.0

    def send(self, message: Message) -> None:
        line = message.model_copy(update={"t": time.monotonic()}).model_dump_json(exclude_none=True).encode()
        if len(line) > MAX_LINE_BYTES:
            raise WorkerError(
                f"a {type(message).__name__} message of {len(line):,} bytes is over the limit of {MAX_LINE_BYTES:,}",
                code="line-too-long",
            )
        self.send_lines(line + b"\n")

    def send_lines(self, data: bytes) -> None:
        """Send messages that are lines already, each within the limit: for hosts, which send thousands a second."""
        view = memoryview(data)
        with self._lock:
            while view:  # a raw pipe may take less than all of it when a signal comes
                view = view[self._out.write(view) :]

    def phase(self, name: str, index: int, of: int) -> None:
        self._last_progress = 0.0
        self.send(Phase(name=name, index=index, of=of))

    def progress(self, done: float, total: float | None, unit: str = "", *, left_s: float | None = None) -> None:
        """Report progress; at most ten messages a second get through, the last one (done >= total) always.

        With the unit "%" it is that of the whole step and not of the phase. `left_s`: seconds that the whole step
        still takes.
        """
        now = time.monotonic()
        if (total is not None and done >= total) or now - self._last_progress >= 0.1:
            self._last_progress = now
            self.send(Progress(done=done, total=total, unit=unit, left_s=left_s))

    def log(self, text: str, level: LogLevel = "info") -> None:
        self.send(Log(level=level, text=text))

    def artifact(self, kind: str, path: str, size_bytes: int) -> None:
        self.send(ArtifactMade(kind=kind, path=path, bytes=size_bytes))

    def commands(self) -> Iterator[bytes]:
        """Lines that follow the spec, until end of file. For hosts; other workers leave them to the watcher."""
        return self._lines


def tie_to_parent() -> None:
    """Die with the parent: SIGKILL by the kernel when it goes (Linux), and at once if it is gone already."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    expected = os.environ.pop(PARENT_VARIABLE, "")
    if expected and os.getppid() != int(expected):
        os._exit(1)


def die_with_me() -> Callable[[], None]:
    """`preexec_fn` for a worker's own children, so that a killed worker leaves none behind."""
    libc = ctypes.CDLL(None, use_errno=True)

    def set_death_signal() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    return set_death_signal


def versions_of(*packages: str) -> dict[str, str]:
    """Installed versions by distribution name, without importing anything; absent ones are left out."""
    found = {"python": ".".join(str(part) for part in sys.version_info[:3])}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def run_worker(
    name: str,
    work: Callable[[StepSpec, Channel], dict[str, Any]],
    packages: tuple[str, ...] = (),
    *,
    reads_commands: bool = False,
) -> None:
    """Run `work` as worker `name`: read the spec, say hello, work, send `result` or `error`, exit.

    `work` returns the result's data. Unless `reads_commands` is set, a thread watches stdin and ends the whole
    process group when it closes: whoever started the worker is gone. So the starter keeps stdin open.
    """
    tie_to_parent()
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.set_inheritable(out.fileno(), False)
    os.dup2(2, 1)
    lines = iter(sys.stdin.buffer.readline, b"")
    channel = Channel(out, lines)
    first = next(lines, b"")
    if not first.strip():
        os._exit(1)
    try:
        spec = StepSpec.model_validate_json(first)
        if spec.protocol != PROTOCOL_VERSION:
            raise WorkerError(
                f"this worker speaks protocol {PROTOCOL_VERSION}, its starter speaks {spec.protocol}",
                code="protocol",
                hint="Use the worker files of the same Engine Workbench version.",
            )
        channel.send(Hello(protocol=PROTOCOL_VERSION, worker=name, pid=os.getpid(), versions=versions_of(*packages)))
        if not reads_commands:
            threading.Thread(target=_end_with_stdin, args=(lines,), daemon=True).start()
        data = work(spec, channel)
        json.dumps(data)
        channel.send(Result(data=data))
        code = 0
    except WorkerError as error:
        traceback.print_exc()
        channel.send(Error(code=error.code, message=error.message, cause=error.cause, hint=error.hint))
        code = 3
    except MemoryError:
        traceback.print_exc()
        channel.send(
            Error(
                code="out-of-memory",
                message=f"{name} ran out of host memory",
                hint="Close other programs or choose a smaller model.",
            )
        )
        code = 3
    except OSError as error:
        traceback.print_exc()
        channel.send(_explain_os_error(name, error))
        code = 3
    except BaseException as error:
        traceback.print_exc()
        channel.send(
            Error(
                code="crashed",
                message=f"{name} stopped on an unexpected {type(error).__name__}",
                cause=_first_line(error),
                hint="The job's log has the full traceback.",
            )
        )
        code = 3
    sys.stderr.flush()
    # Threads and destructors of C++ runtimes have hung here on exit; all that matters is written by now.
    os._exit(code)


def _end_with_stdin(lines: Iterator[bytes]) -> None:
    for _ in lines:
        pass
    if os.getpgrp() == os.getpid():  # started as a group of its own: the children go too
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _explain_os_error(name: str, error: OSError) -> Error:
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Error(
            code="disk-full",
            message="The disk is full.",
            cause=str(error),
            hint="Free space there, then retry: finished steps are reused.",
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return Error(
            code="not-writable",
            message=f"{name} may not read or write a file it needs.",
            cause=str(error),
            hint="Check the folder's owner and mode.",
        )
    return Error(
        code="os-error",
        message=f"{name} stopped on a file or system error.",
        cause=str(error),
        hint="The job's log has the full traceback.",
    )


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:500] if text else ""

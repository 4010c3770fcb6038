"""What a far side must be able to do, whatever carries it: run a program there, keep a stream open, move files."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

Tick = Callable[[float, float | None], None]
"""Called with bytes moved and in all (None: not known)."""
_PR_SET_PDEATHSIG = 1
PARENT_VARIABLE = "WORKBENCH_PARENT_PID"


class CutError(Exception):
    """The connection is gone, or could not be made for now; what was asked may be asked again."""


@dataclass(frozen=True)
class Done:
    """A program that ran to its end there."""

    code: int
    out: bytes
    err: str


class Transport(Protocol):
    """A way to another machine. Paths there are strings: they are no paths here.

    All methods raise CutError when the connection breaks, and WorkbenchError for what trying again does not mend.
    """

    @property
    def title(self) -> str:
        """The machine, for people: `gpu-box`."""
        ...

    @property
    def copies(self) -> bool:
        """Whether files must be sent and fetched; else the same folders are seen there under the same names."""
        ...

    def connect(self) -> None:
        """Make the connection, or make it again."""
        ...

    def run(self, words: Sequence[str], *, data: bytes = b"", seconds: float = 60.0) -> Done:
        """Run a program there to its end, `data` on its standard input."""
        ...

    def open(self, words: Sequence[str], *, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start a program there whose output is read while it runs; its standard error is this process's."""
        ...

    def send(self, source: Path, far: str, tick: Tick, *, like: Sequence[str] = ()) -> None:
        """Make the folder `far`, which is there, hold what `source` holds, a folder's content or a file.

        One that was cut goes on where it was.

        `like`: folders there that may hold equal files, which are then linked and not sent.
        """
        ...

    def fetch(self, far: str, target: Path, tick: Tick) -> None:
        """Make the folder `target` hold what the folder `far` holds."""
        ...

    def close(self) -> None:
        """End the connection. Idempotent."""
        ...


def dies_with_us() -> Callable[[], None]:
    """`preexec_fn` of a program of ours: the kernel kills it when the thread that started it ends (Linux)."""
    libc = ctypes.CDLL(None, use_errno=True)

    def set_death_signal() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    return set_death_signal


def own_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment for programs whose words are read: in plain English, and none of our own marks."""
    environ = {name: value for name, value in os.environ.items() if name not in (PARENT_VARIABLE, "PYTHONPATH")}
    return {**environ, "LC_ALL": "C", "LANGUAGE": "C", **(extra or {})}


def run_here(argv: Sequence[str], *, data: bytes = b"", seconds: float = 60.0) -> Done:
    """Run a program here to its end, in a session of its own: a signal to our group is not one to it.

    Raises FileNotFoundError when there is no such program, TimeoutError when it takes longer than `seconds`.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            preexec_fn=dies_with_us(),
            env=own_environment(),
        )
        try:
            out, _ = process.communicate(data, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"no answer in {seconds:.0f} s") from None
        finally:
            end_group(process)
        errors.seek(0)
        return Done(process.returncode, out, errors.read().decode("utf-8", "replace").strip())


def open_here(argv: Sequence[str], *, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Start a program here whose output is read while it runs."""
    with _own_errors() as errors:
        return subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            start_new_session=True,
            preexec_fn=dies_with_us(),
            env=own_environment(),
        )


@contextlib.contextmanager
def _own_errors() -> Iterator[int | None]:
    """Our standard error opened anew: ssh makes its own unblocking, and what it shares with us would be so for us."""
    try:
        handle = os.open("/proc/self/fd/2", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except OSError:  # a socket, or no /proc
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


def open_here_with_errors(argv: Sequence[str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """The same, with its standard error in a file."""
    return subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        bufsize=0,
        start_new_session=True,
        preexec_fn=dies_with_us(),
        env=own_environment(),
    )


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a program that we started, and reap it. Idempotent."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()

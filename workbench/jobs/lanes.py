"""Lanes: first come, first served locks across processes that the kernel frees when their holder dies.

Each lane is a folder of numbered tickets. Whoever wants the lane takes the next number, holds its own ticket file
locked (flock) and waits until no lower ticket is locked any more. A killed process loses its lock at once, so
nothing is ever left to clean up by hand.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

_POLL_SECONDS = 0.05


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def is_locked(path: Path) -> bool:
    """Whether another open file holds a lock on this file. False when it does not exist."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


class Lane:
    """One lane by name under a folder. Not thread-safe; one object waits or holds once at a time."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        readable = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:40]
        self._folder = folder / f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        self._handle: int | None = None
        self._ticket: Path | None = None
        self._number = 0

    def take_ticket(self) -> None:
        """Join the queue; from now on the order is fixed."""
        if self._handle is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        gate = _open(self._folder / "gate")
        try:
            fcntl.flock(gate, fcntl.LOCK_EX)
            last = os.pread(gate, 32, 0).decode("ascii", "replace").strip()
            number = max(int(last) if last.isdigit() else 0, *self._numbers(), 0) + 1
            os.ftruncate(gate, 0)
            os.pwrite(gate, str(number).encode(), 0)
            path = self._folder / f"{number:012d}.ticket"
            self._handle = _open(path)
            fcntl.flock(self._handle, fcntl.LOCK_EX)
            self._ticket, self._number = path, number
        finally:
            os.close(gate)

    def _numbers(self) -> list[int]:
        return [int(p.stem) for p in self._folder.glob("*.ticket") if p.stem.isdigit()]

    def is_mine(self) -> bool:
        """Whether all that came before are gone. Removes their tickets."""
        if self._handle is None:
            return False
        for number in sorted(self._numbers()):
            if number >= self._number:
                break
            path = self._folder / f"{number:012d}.ticket"
            if is_locked(path):
                return False
            path.unlink(missing_ok=True)
        return True

    def acquire(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the lane. False when the time is over; the ticket is given back then."""
        self.take_ticket()
        end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while not self.is_mine():
            if end is not None and time.monotonic() >= end:
                self.release()
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def release(self) -> None:
        """Leave the lane or the queue for it. May be called at any time."""
        if self._ticket is not None:
            self._ticket.unlink(missing_ok=True)
        if self._handle is not None:
            os.close(self._handle)
        self._handle = self._ticket = None


def lanes_in_order(folder: Path, names: Iterable[str]) -> list[Lane]:
    """Lanes sorted by name: taken in that order by everyone, so that two jobs can never wait for each other."""
    return [Lane(folder, name) for name in sorted(set(names))]


@contextlib.contextmanager
def held(folder: Path, name: str) -> Iterator[None]:
    """Hold one lane for the length of a block."""
    lane = Lane(folder, name)
    lane.acquire()
    try:
        yield
    finally:
        lane.release()

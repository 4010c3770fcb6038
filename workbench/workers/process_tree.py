"""Leaves no process behind: what a worker's child started and did not end becomes the worker's own, and is ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_WAIT_SECONDS = 5.0


def adopt_orphans() -> None:
    """From now on grandchildren whose parent ends become this process's children (Linux; elsewhere nothing happens)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> list[int]:
    """Process ids of this process's direct children; zombies are left out."""
    own, found = os.getpid(), []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name in parentheses may hold anything, so fields are counted from its end.
            fields = entry.read_text("utf-8", "replace").rpartition(")")[2].split()
            if int(fields[1]) == own and fields[0] != "Z":
                found.append(int(entry.parent.name))
    return found


def kill_children() -> None:
    """Kill all children, and theirs as they become ours; returns when none is left, or after five seconds."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        left = children()
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)

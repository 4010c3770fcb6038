"""Small files that are changed as a whole: readers see the old one or the new one, and writers wait for each other."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

_LOCK_SECONDS = 10.0
_NAME_CHARACTERS = 40
"""Of the file's own name in the temporary one's, which must not become too long for the file system."""


def write_private(path: Path, text: str) -> None:
    """Write a file whole, readable by its owner alone. Raises OSError; the old file stays then."""
    write_whole(path, text, mode=0o600)


def write_whole(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Write a file whole; `mode` is cut by the process's mask. Raises OSError; the old file stays then."""
    temporary = path.with_name(f".{path.name[:_NAME_CHARACTERS]}.{os.getpid()}.{secrets.token_hex(3)}.new")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:  # noqa: PTH123
            out.write(text.encode())
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path` against other threads and programs; its folder is made where there is none.

    Raises OSError when it cannot be had in ten seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("w") as lock:
        end = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        yield

"""`readings.jsonl`: one reading a second, bounded, and read from any moment on without reading it all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from workbench.core.serving import ServeReading

LOG_BYTES = 32 * 2**20
"""A log that another program writes is put aside from this size on, so that it and its older half stay under twice."""
LINES_KEPT = 43_200
"""Half a day; then the file is put aside as the older half, so that half a day to a day is there."""
_BLOCK = 65_536


def older_of(path: Path) -> Path:
    """Where the older half of a file of lines is kept."""
    return path.with_name(f"{path.stem}.1{path.suffix}")


class BoundedLines:
    """A file of lines that never grows without end. Not thread-safe. What cannot be written is lost, and said once."""

    def __init__(self, path: Path, most_lines: int = LINES_KEPT, most_bytes: int = 64 * 2**20) -> None:
        self._path, self._most_lines, self._most_bytes = path, most_lines, most_bytes
        self._file: IO[bytes] = path.open("ab", buffering=0)
        self._lines, self._bytes = 0, self._file.tell()
        self.problem = ""
        """Why a line could not be written, the first time."""

    def write(self, line: bytes) -> None:
        """Append one line, without its end."""
        try:
            self._file.write(line + b"\n")
            self._lines += 1
            self._bytes += len(line) + 1
            if self._lines >= self._most_lines or self._bytes >= self._most_bytes:
                self._roll()
        except (OSError, ValueError) as error:  # ValueError: it could not be opened again
            self.problem = self.problem or str(error)

    def _roll(self) -> None:
        """Put the file aside as the older half; where that fails it begins anew, since it must not grow for ever."""
        self._lines = self._bytes = 0
        try:
            self._path.replace(older_of(self._path))
        except OSError:
            self._file.truncate(0)
            raise
        self._file.close()
        self._file = self._path.open("ab", buffering=0)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


def bound_log(path: Path, most_bytes: int = LOG_BYTES) -> None:
    """Keep a log from growing for ever whose writer has it open to append: what is there becomes its older half, and
    it begins anew. Where there is no room for that, what is there is let go. Raises OSError.
    """
    if path.stat().st_size < most_bytes:
        return
    older = older_of(path)
    try:
        shutil.copyfile(path, older)
        older.chmod(0o600)
    except OSError:
        older.unlink(missing_ok=True)
        raise
    finally:
        os.truncate(path, 0)  # a line of this very moment may be lost


def log_pieces(path: Path, goes_on: Callable[[], bool], pause_s: float) -> Iterator[bytes]:
    """All of a bounded log, its older half first, and what comes while it `goes_on`, also where it is put aside then.
    Raises OSError.
    """
    with contextlib.ExitStack() as files:
        with contextlib.suppress(FileNotFoundError):
            yield from _pieces(files.enter_context(older_of(path).open("rb")))
        log = files.enter_context(path.open("rb"))
        while True:
            more = goes_on()  # before the last look
            yield from _pieces(log)
            if not more:
                return
            time.sleep(pause_s)
            if os.fstat(log.fileno()).st_size < log.tell():  # copied away, and it began anew
                log.seek(0)
            with contextlib.suppress(FileNotFoundError):  # in the moment between its two names
                if path.stat().st_ino != os.fstat(log.fileno()).st_ino:
                    yield from _pieces(log)
                    log.close()
                    log = files.enter_context(path.open("rb"))


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while data := file.read(_BLOCK):
        yield data


def line_of(reading: ServeReading) -> bytes:
    """A reading as a line; what it does not report is left out."""
    return reading.model_dump_json(exclude_defaults=True).encode()


def read_readings(path: Path, since: float, at_most: int) -> list[ServeReading]:
    """Readings after `since`, oldest first: the newest `at_most`. Damaged lines are left out."""
    found: list[ServeReading] = []
    with contextlib.suppress(OSError):
        found = _from_end(path, since, at_most)
    with contextlib.suppress(OSError):
        if len(found) < at_most and (not found or found[0].at > since):
            found = [*_from_end(older_of(path), since, at_most - len(found)), *found]
    return found


def _from_end(path: Path, since: float, at_most: int) -> list[ServeReading]:
    newest: list[ServeReading] = []
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        rest = b""
        while position > 0 and len(newest) < at_most:
            step = min(_BLOCK, position)
            position -= step
            file.seek(position)
            rest, *lines = (file.read(step) + rest).split(b"\n")
            if position == 0:
                lines = [rest, *lines]
            for line in reversed(lines):
                reading = _parsed(line)
                if reading is None:
                    continue
                if reading.at <= since or len(newest) >= at_most:
                    return newest[::-1]
                newest.append(reading)
    return newest[::-1]


def _parsed(line: bytes) -> ServeReading | None:
    try:
        return ServeReading.model_validate(json.loads(line)) if line else None
    except ValueError:
        return None

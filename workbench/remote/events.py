"""Frames that `keeper.py follow` prints -> what the worker said, with the offsets from which to go on after a cut."""

from __future__ import annotations

import json
import select
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from workbench.core.errors import StepFailedError
from workbench.core.messages import MAX_LINE_BYTES
from workbench.remote.transport import CutError

FRAMES = b"@keeper frames 1"
_BANNER_BYTES = 1 << 20
"""What a login may print before the keeper speaks."""
_FRAME_BYTES = 1 << 20
"""More than the keeper puts into one."""


@dataclass
class Position:
    """How far a run was read."""

    events: int = 0
    """Bytes of events.jsonl, whole lines."""
    log: int = 0
    rest: bytes = field(default=b"", repr=False)
    """The begin of a line whose end has not come; it is asked for again after a cut."""

    def forget_rest(self) -> None:
        self.rest = b""


@dataclass(frozen=True)
class Frame:
    """`line` (a message's line), `log` (raw output), `status`, or `end` (the last status)."""

    kind: str
    data: bytes = b""
    status: dict[str, Any] = field(default_factory=dict)


def read_frames(process: subprocess.Popen[bytes], position: Position, silent_seconds: float) -> Iterator[Frame]:
    """Frames as they come; `position` moves on once a frame was taken. Raises CutError when they end before `end`.

    The keeper says something every two seconds: `silent_seconds` without a word is a dead line too.
    """
    source = _Source(process, silent_seconds)
    source.skip_banner()
    while True:
        kind, _, rest = source.line().partition(b" ")
        if kind == b"S":
            yield Frame("status", status=json.loads(rest))
        elif kind == b"X":
            if position.rest:  # the worker died in the middle of it: no message, but something to read
                yield Frame("log", position.rest + b"\n")
            yield Frame("end", status=json.loads(rest))
            return
        elif kind in (b"E", b"L"):
            start, size = map(int, rest.split())
            if size > _FRAME_BYTES:
                raise CutError(f"a frame of {size:,} bytes")
            data = source.take(size)
            if kind == b"L":
                _expect(start, position.log)
                yield Frame("log", data)
                position.log += size
                continue
            _expect(start, position.events + len(position.rest))
            *lines, last = (position.rest + data).split(b"\n")
            for line in lines:
                if line.strip():
                    yield Frame("line", line + b"\n")
                position.events += len(line) + 1
            position.rest = last
            if len(last) > MAX_LINE_BYTES:
                raise StepFailedError(
                    "The worker there sent a line that is too long.",
                    evidence=f"{len(last):,} bytes or more; the limit is {MAX_LINE_BYTES:,}",
                    fix="This is a fault of the worker. The job's log has its output.",
                    code="line-too-long",
                )
        else:
            raise CutError(f"not a frame: {kind[:40]!r}")


def _expect(start: int, wanted: int) -> None:
    if start != wanted:
        raise CutError(f"the far side is at byte {start:,}, and byte {wanted:,} is wanted")


class _Source:
    """Bytes of the stream, with an end to waiting."""

    def __init__(self, process: subprocess.Popen[bytes], silent_seconds: float) -> None:
        assert process.stdout is not None
        self._stream, self._silent = process.stdout, silent_seconds
        self._buffer = b""

    def _more(self) -> None:
        if not select.select([self._stream], [], [], self._silent)[0]:
            raise CutError(f"nothing was heard for {self._silent:.0f} s")
        data = self._stream.read(1 << 18)
        if not data:
            raise CutError("the connection was closed")
        self._buffer += data

    def line(self) -> bytes:
        while b"\n" not in self._buffer:
            if len(self._buffer) > _BANNER_BYTES:
                raise CutError("the login there prints without an end")
            self._more()
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def skip_banner(self) -> None:
        seen = 0
        while (line := self.line()) != FRAMES:
            seen += len(line)
            if seen > _BANNER_BYTES:
                raise CutError("the login there prints without an end")

"""The engine's file, written piece by piece as the builder gives it: no second copy of the engine is held."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.core.units import format_bytes
from workbench.workers.protocol import WorkerError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class EngineFile:
    """`NAME.partial` until `finish`; `told` hears of the bytes that are written."""

    def __init__(self, path: Path, told: Callable[[int], None], stop: Callable[[], bool]) -> None:
        self.path = path
        self.partial = path.with_name(f"{path.name}.partial")
        self.written = 0
        self.error: OSError | None = None
        self._told, self._stop = told, stop
        self._file = self.partial.open("wb", buffering=0)

    def write(self, data: Any) -> int:
        """Bytes that were taken; fewer than given end the build. Never raises: the caller is C++."""
        try:
            view = memoryview(data).cast("B")
            begin = self.written
            while view and not self._stop():
                # Pieces, so that a slow disk does not hold up a cancel.
                count = self._file.write(view[: 8 << 20])
                view = view[count:]
                self.written += count
                self._told(self.written)
            return self.written - begin
        except OSError as error:
            self.error = self.error or error
        except Exception as error:  # said in place of the builder's own guess
            self.error = self.error or OSError(errno.EIO, f"{type(error).__name__}: {error}")
        return 0

    def finish(self) -> int:
        """Give it its name; its bytes. Raises OSError. Whoever seals the folder brings it to the disk."""
        self._file.close()
        self.partial.rename(self.path)
        return self.written

    def discard(self) -> None:
        """Leave nothing, also of a file that was finished."""
        self._file.close()
        self.partial.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def explain(self, error: OSError, expected: int | None) -> WorkerError | OSError:
        """Words for what the disk said; other errors are left as they are."""
        if error.errno not in _FULL:
            return error
        needed = f"; about {format_bytes(expected)} are needed" if expected else ""
        why = "the file may not grow further here" if error.errno == errno.EFBIG else "no space is left"
        return WorkerError(
            "The disk is full: the engine could not be written.",
            code="disk-full",
            cause=f"{why} after {format_bytes(self.written)}{needed} ({error.strerror})",
            hint="Free space there, then retry: finished steps are reused.",
        )


def make_writer(trt: Any, file: EngineFile) -> Any:
    """An IStreamWriter into `file`."""

    class Writer(trt.IStreamWriter):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IStreamWriter.__init__(self)

        def write(self, data: Any) -> int:
            return file.write(data)

    return Writer()

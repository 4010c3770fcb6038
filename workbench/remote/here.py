"""A far side that is this machine: a batch system whose commands are here and whose nodes see our folders."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from workbench.core.target import Target
from workbench.remote import rsync
from workbench.remote.transport import CutError, Done, Tick, open_here, run_here


class HereTransport:
    """See `Transport`."""

    def __init__(self, target: Target) -> None:
        self.target = target

    @property
    def title(self) -> str:
        return self.target.name

    @property
    def copies(self) -> bool:
        return not self.target.shared

    def connect(self) -> None:
        return

    def run(self, words: Sequence[str], *, data: bytes = b"", seconds: float = 60.0) -> Done:
        try:
            return run_here(words, data=data, seconds=seconds)
        except FileNotFoundError as error:
            return Done(127, b"", str(error))
        except TimeoutError as error:
            raise CutError(str(error)) from None

    def open(self, words: Sequence[str], *, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        return open_here(words, stdin=stdin)

    def send(self, source: Path, far: str, tick: Tick, *, like: Sequence[str] = ()) -> None:
        rsync.send(self.title, "", source, f"{far}/", tick, like=like)

    def fetch(self, far: str, target: Path, tick: Tick) -> None:
        rsync.fetch(self.title, "", f"{far}/", target, tick)

    def close(self) -> None:
        return

"""The keeper on the far side, asked through a transport."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import Any

from workbench.core.errors import StepFailedError
from workbench.remote.transport import CutError, Transport

MARK = b"@keeper "
_OF_FILES = ("room", "rename", "digest", "pipe")
_OF_HOLDING = ("start", "prepare", "hold")
"""What keeper.py itself does; run_folder.py answers for a run that was begun."""


class Far:
    """Asks `keeper.py` there. `keeper` is its path there, `python` the interpreter that runs it."""

    def __init__(self, transport: Transport, python: str, keeper: str) -> None:
        self.transport, self.python, self.keeper = transport, python, keeper

    def words(self, command: str, *words: str) -> list[str]:
        """What starts a command of the keeper, or of one of the programs beside it."""
        folder, _, keeper = self.keeper.rpartition("/")
        if command not in _OF_HOLDING:
            keeper = "far_files.py" if command in _OF_FILES else "run_folder.py"
        return [self.python, f"{folder}/{keeper}", command, *words]

    def ask(self, command: str, *words: str, data: bytes = b"", seconds: float = 60.0) -> dict[str, Any]:
        """The keeper's answer. Raises CutError, StepFailedError when it gives none."""
        done = self.transport.run(self.words(command, *words), data=data, seconds=seconds)
        for line in done.out.splitlines():
            if line.startswith(MARK):
                found: dict[str, Any] = json.loads(line[len(MARK) :])
                if found.get("state") != "error":
                    return found
                raise StepFailedError(
                    f"The keeper on {self.transport.title} could not do its work.",
                    evidence=str(found.get("text", "")),
                    fix=f"Look at the folder there: {words[0] if words else self.keeper}",
                    code="disk-full" if found.get("errno") in (28, 122) else "far-side",
                )
        if done.code == 255:
            raise CutError(done.err or "the connection was closed")
        raise StepFailedError(
            f"The keeper on {self.transport.title} gave no answer.",
            evidence=(done.err.splitlines() or [f"exit code {done.code}"])[-1],
            fix=f"See whether {self.python} runs there and is Python 3.8 or newer.",
            code="far-side",
        )

    def start(self, run: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Begin the run unless it is there already: `started` says which."""
        return self.ask("start", run, data=json.dumps(dict(request)).encode())

    def prepare(self, run: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Make the run's folder and begin nothing; its state before (`none`: it was made now). `hold` begins it."""
        return self.ask("prepare", run, data=json.dumps(dict(request)).encode())

    def hold_words(self, run: str) -> list[str]:
        """What a batch script starts: keeps the run in the foreground until its worker ends, with its exit code."""
        return self.words("hold", run)

    def status(self, run: str) -> dict[str, Any]:
        return self.ask("status", run)

    def stop(self, run: str, seconds: float, *, remove: bool = False) -> dict[str, Any]:
        """End the run, waiting `seconds` for it; its status then. `remove`: once it has ended, take it away."""
        words = ("--seconds", str(seconds), *(("--remove",) if remove else ()))
        return self.ask("stop", run, *words, seconds=seconds + 30.0)

    def remove(self, run: str) -> dict[str, Any]:
        return self.ask("remove", run, seconds=600.0)

    def runs(self, folder: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("runs", folder)["runs"]
        return found

    def digest(self, folder: str) -> dict[str, tuple[int, str]]:
        """Relative path -> size and SHA-256 of every file below."""
        files = self.ask("digest", folder, seconds=3600.0)["files"]
        return {str(name): (int(size), str(checksum)) for name, size, checksum in files}

    def follow(self, run: str, events_from: int, log_from: int) -> subprocess.Popen[bytes]:
        """A stream of frames (remote/events.py) from those offsets on."""
        return self.transport.open(
            self.words("follow", run, "--events-from", str(events_from), "--log-from", str(log_from))
        )

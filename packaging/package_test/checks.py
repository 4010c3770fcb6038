"""Checks and their outcomes: one line each while it runs, all of them kept for the table of results."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

State = Literal["ok", "FAILED", "not run"]


class Failed(Exception):
    """A check that did not hold; the text is the evidence."""


class NotRun(Exception):
    """What cannot be checked here, and why."""


@dataclass(frozen=True)
class Check:
    """One outcome."""

    group: str
    """The suite, or `package` for what needs no chroot."""
    name: str
    state: State
    seconds: float
    detail: str = ""

    def line(self) -> str:
        first = self.detail.splitlines()[0] if self.detail else ""
        return f"{self.state:8} {self.group:9} {self.seconds:7.1f} s  {self.name}{': ' + first if first else ''}"


@dataclass
class Board:
    """All checks of a run, in the order in which they were made."""

    done: list[Check] = field(default_factory=list)

    def run(self, group: str, name: str, work: Callable[[], str | None], *needs: str) -> bool:
        """Makes a check unless one that it depends on did not hold; whether it holds.

        `work` gives a word on what was seen, raises Failed or NotRun; other faults of the machine are failures too.
        """
        began = time.monotonic()
        state: State = "ok"
        if missing := [need for need in needs if not self.holds(group, need)]:
            state, detail = "not run", f"it depends on: {missing[0]}"
        else:
            try:
                detail = work() or ""
            except NotRun as error:
                state, detail = "not run", str(error)
            except (Failed, OSError, ValueError, LookupError, subprocess.SubprocessError) as error:
                state, detail = "FAILED", str(error) or type(error).__name__
        check = Check(group, name, state, time.monotonic() - began, detail.strip())
        self.done.append(check)
        print(check.line(), flush=True)
        if state == "FAILED":
            print("\n".join(f"         | {line}" for line in check.detail.splitlines()[:40]), flush=True)
        return state == "ok"

    def holds(self, group: str, name: str) -> bool:
        return any(one.state == "ok" for one in self.done if (one.group, one.name) == (group, name))

    @property
    def failed(self) -> list[Check]:
        return [one for one in self.done if one.state == "FAILED"]


def must(holds: object, evidence: str) -> None:
    """Raises Failed with the evidence unless it holds."""
    if not holds:
        raise Failed(evidence)


def call(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a program of this machine without input; its exit code is the caller's to judge."""
    words = [str(word) for word in argv]
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")


def said(*argv: str | Path) -> str:
    """What a program of this machine said. Raises Failed when it ended with a fault."""
    done = call(*argv)
    must(done.returncode == 0, f"{argv[0]} ended with {done.returncode}\n{ending(done.stdout + done.stderr)}")
    return done.stdout + done.stderr


def ending(text: str, lines: int = 12) -> str:
    """The last lines of what a program said, which is where its reason stands."""
    return "\n".join(text.strip().splitlines()[-lines:])

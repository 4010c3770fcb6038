"""How a process ended, in words a person can act on."""

from __future__ import annotations

import contextlib
import signal
from dataclasses import dataclass
from pathlib import Path

from workbench.core.errors import Failure


@dataclass(frozen=True)
class Outcome:
    """The end of a worker: its exit code, or the signal that ended it."""

    code: int | None
    signal: int | None = None
    oom_kills: int = 0
    """Out-of-memory kills that the kernel counted on this machine while it ran."""

    @property
    def ok(self) -> bool:
        return self.code == 0

    def __str__(self) -> str:
        if self.signal is not None:
            try:
                name = signal.Signals(self.signal).name
            except ValueError:
                name = f"signal {self.signal}"
            return f"ended by {name}"
        return f"exit code {self.code}"


def outcome_of_status(status: int, oom_kills: int = 0) -> Outcome:
    """From a `subprocess` return code (negative: a signal)."""
    return Outcome(None, -status, oom_kills) if status < 0 else Outcome(status, None, oom_kills)


def count_oom_kills() -> int:
    """Out-of-memory kills since the machine was started (Linux, /proc/vmstat); 0 where it is not reported."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text("ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


@dataclass(frozen=True)
class Advice:
    """What a person can do after a process ended; each but `log` a sentence."""

    again: str
    with_less: str
    """After the machine ran out of memory."""
    log: str
    """Where its output is: `The job's log`."""


JOB = Advice(
    again="Retry: finished steps are reused.",
    with_less="Close other programs, or choose a smaller model or a step with less host memory; then retry.",
    log="The job's log",
)


def explain(outcome: Outcome, title: str, last_lines: str = "", advice: Advice = JOB) -> Failure:
    """The failure of a process that ended without saying why. `last_lines` is the end of its raw log."""
    shown = f"{outcome}" + (f"; last line: {last_lines}" if last_lines else "")
    if outcome.signal == signal.SIGKILL and outcome.oom_kills:
        return Failure(
            code="out-of-memory",
            what=f"{title} was killed: the machine ran out of memory.",
            evidence=f"{outcome}; the kernel counted {outcome.oom_kills} out-of-memory kill(s) meanwhile",
            fix=advice.with_less,
        )
    if outcome.signal == signal.SIGKILL:
        return Failure(
            code="killed",
            what=f"{title} was killed from outside.",
            evidence=shown,
            fix=f"{advice.again} If it happens again, look at the machine's memory limits.",
        )
    if outcome.signal in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE):
        return Failure(
            code="crashed",
            what=f"{title} crashed in native code.",
            evidence=shown,
            fix=f"{advice.log} has its last output. Check the toolchain's versions with `workbench doctor`.",
        )
    if outcome.signal is not None:
        return Failure(
            code="killed",
            what=f"{title} was ended from outside.",
            evidence=shown,
            fix=advice.again,
        )
    if outcome.ok:
        return Failure(
            code="no-result",
            what=f"{title} ended without a result.",
            evidence=shown,
            fix=f"It and the workbench may be of different versions. {advice.log} may say more.",
        )
    return Failure(code="failed", what=f"{title} failed.", evidence=shown, fix=f"{advice.log} has the full output.")

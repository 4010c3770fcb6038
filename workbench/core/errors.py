"""Errors meant for people: what happened, what shows it, what to do. One exit code a class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from typing_extensions import Self


class Failure(BaseModel):
    """A failure in words, as it is kept in a job's state and shown by the command line and the window."""

    model_config = ConfigDict(frozen=True)

    code: str
    """Short machine-readable name, such as `killed`, `out-of-memory`, `bad-model`."""
    what: str
    """What happened, one sentence."""
    evidence: str = ""
    """The line or value that shows it."""
    fix: str = ""
    """What to do about it."""
    exit_code: int = 4
    """What the command line ends with: 2 bad input, 3 blocked by preflight, 4 a step failed, 5 cancelled."""

    def lines(self) -> list[str]:
        """The failure as one to three lines of text."""
        out = [self.what]
        if self.evidence:
            out.append(f"Seen: {self.evidence}")
        if self.fix:
            out.append(f"To do: {self.fix}")
        return out


class WorkbenchError(Exception):
    """Base of all errors that reach a person. `exit_code` is what the command line ends with."""

    exit_code = 4
    default_code = "failed"

    def __init__(self, what: str, *, evidence: str = "", fix: str = "", code: str = "") -> None:
        super().__init__(what)
        self.failure = Failure(
            code=code or self.default_code, what=what, evidence=evidence, fix=fix, exit_code=self.exit_code
        )

    @classmethod
    def of(cls, failure: Failure) -> Self:
        """The error that says a failure which is in words already."""
        return cls(failure.what, evidence=failure.evidence, fix=failure.fix, code=failure.code)

    @property
    def what(self) -> str:
        return self.failure.what

    @property
    def evidence(self) -> str:
        return self.failure.evidence

    @property
    def fix(self) -> str:
        return self.failure.fix

    def __str__(self) -> str:
        return " | ".join(self.failure.lines())


class BadInputError(WorkbenchError):
    """The person's input cannot be used: a folder, a preset, a value. Exit code 2."""

    exit_code = 2
    default_code = "bad-input"


class BlockedError(WorkbenchError):
    """Preflight says that this cannot work here. Exit code 3."""

    exit_code = 3
    default_code = "blocked"


class StepFailedError(WorkbenchError):
    """A step of a job failed. Exit code 4."""

    exit_code = 4
    default_code = "step-failed"


class CancelledError(WorkbenchError):
    """The job was cancelled. Exit code 5."""

    exit_code = 5
    default_code = "cancelled"

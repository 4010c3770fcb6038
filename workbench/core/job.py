"""The state of a job as its folder tells it: what readers show, and nothing that only the supervisor needs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from workbench.core.errors import Failure
from workbench.core.plan import Plan, StepKind

STATE_SCHEMA = 1

StepStatus = Literal["pending", "waiting", "running", "done", "reused", "none", "failed", "cancelled", "interrupted"]
JobStatus = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
FINAL: frozenset[str] = frozenset(["done", "failed", "cancelled", "interrupted"])


class StepState(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: str
    kind: StepKind
    title: str
    variant: str = ""
    status: StepStatus = "pending"
    note: str = ""
    """Why it was reused or is not needed, or what it waits for."""
    phase: str = ""
    phase_index: int = 0
    phase_of: int = 0
    done: float | None = None
    total: float | None = None
    unit: str = ""
    share: float | None = None
    """Of the whole step, 0 to 1, where its worker says it; it never goes back."""
    ends_at: float | None = None
    """When the step is over as its worker reckons, in seconds since the epoch; None: it does not say."""
    started_at: float | None = None
    finished_at: float | None = None
    artifact: str = ""
    """The folder that later steps read; with `reused`, where it was found."""
    result: dict[str, Any] = Field(default_factory=dict)
    failure: Failure | None = None

    @property
    def fraction(self) -> float | None:
        """Share done of the whole step from 0 to 1, None when the worker does not say."""
        if self.status in ("done", "reused", "none"):
            return 1.0
        if self.status != "running":
            return None
        if self.share is not None:
            return self.share
        if not self.phase_of:
            return None
        within = min(self.done / self.total, 1.0) if self.done is not None and self.total else 0.0
        return min((max(self.phase_index - 1, 0) + within) / self.phase_of, 1.0)


class JobState(BaseModel):
    model_config = ConfigDict(extra="ignore")

    schema_version: int = STATE_SCHEMA
    id: str
    title: str
    toolchain: str = ""
    status: JobStatus = "queued"
    attempt: int = 1
    supervisor_pid: int | None = None
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    steps: list[StepState]
    failure: Failure | None = None

    @property
    def finished(self) -> bool:
        return self.status in FINAL

    @property
    def artifacts(self) -> list[str]:
        """Folders that are there now, in order of the steps."""
        return [step.artifact for step in self.steps if step.artifact and step.status in ("done", "reused")]

    @property
    def current(self) -> StepState | None:
        """The step that is being run or waited for, else the one that failed."""
        for status in ("running", "waiting", "failed", "cancelled", "interrupted"):
            for step in self.steps:
                if step.status == status:
                    return step
        return None


def new_state(job_id: str, plan: Plan, now: float) -> JobState:
    """The state of a job that has not begun. `now` in seconds since the epoch."""
    return JobState(
        id=job_id,
        title=plan.title,
        toolchain=plan.toolchain,
        created_at=now,
        steps=[
            StepState(
                id=step.id,
                kind=step.kind,
                title=step.title,
                variant=step.variant,
                status="none" if step.none_reason else "pending",
                note=step.none_reason,
            )
            for step in plan.steps
        ],
    )


def reset_for_retry(state: JobState) -> JobState:
    """The state with all that did not succeed set back to pending and the attempt counted up."""
    steps = [
        step
        if step.status in ("done", "reused", "none")
        else StepState(id=step.id, kind=step.kind, title=step.title, variant=step.variant)
        for step in state.steps
    ]
    return state.model_copy(
        update={
            "steps": steps,
            "status": "queued",
            "failure": None,
            "started_at": None,
            "finished_at": None,
            "attempt": state.attempt + 1,
            "supervisor_pid": None,
        }
    )

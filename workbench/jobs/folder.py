"""A job's folder: the one truth that the supervisor writes and every reader follows."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ValidationError

from workbench.core.artifact import write_json
from workbench.core.errors import BadInputError, Failure
from workbench.core.job import JobState, new_state
from workbench.core.plan import PLAN_SCHEMA, Plan
from workbench.jobs.lanes import is_locked


class _Schema(BaseModel):
    schema_version: int = PLAN_SCHEMA


class JobFolder:
    """`plan.json`, `state.json`, `events.jsonl`, `log.txt`, and a lock that the supervisor holds while it lives."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def plan_path(self) -> Path:
        return self.path / "plan.json"

    @property
    def state_path(self) -> Path:
        return self.path / "state.json"

    @property
    def events_path(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def log_path(self) -> Path:
        return self.path / "log.txt"

    @property
    def lock_path(self) -> Path:
        return self.path / "supervisor.lock"

    @property
    def supervisor_log_path(self) -> Path:
        return self.path / "supervisor.log"

    socket_name = "control.sock"

    def plan(self) -> Plan:
        """Raises BadInputError when it is missing, damaged, or of a newer version."""
        try:
            content = self.plan_path.read_bytes()
            schema = _Schema.model_validate_json(content).schema_version
            if schema > PLAN_SCHEMA:
                raise BadInputError(
                    f"Job {self.id} was planned by a newer Engine Workbench.",
                    evidence=f"plan schema {schema}, this version knows {PLAN_SCHEMA}",
                    fix="Update this program, or start the build again with this one.",
                    code="newer-schema",
                )
            return Plan.model_validate_json(content)
        except (OSError, ValidationError) as error:
            raise _damaged(self.plan_path, error) from error

    def raw_state(self) -> JobState:
        """What state.json says, without asking whether anybody still works on it."""
        try:
            return JobState.model_validate_json(self.state_path.read_bytes())
        except (OSError, ValidationError) as error:
            raise _damaged(self.state_path, error) from error

    def state(self) -> JobState:
        """The state as it really is: a job that nobody works on and that is not finished is interrupted."""
        state = self.raw_state()
        if state.finished or self.is_supervised():
            return state
        # The supervisor may have finished between the two looks.
        state = self.raw_state()
        return state if state.finished else interrupted(state, self.state_path.stat().st_mtime)

    def is_supervised(self) -> bool:
        """Whether a supervisor lives: the kernel frees its lock with it."""
        return is_locked(self.lock_path)

    def write_state(self, state: JobState) -> None:
        write_json(self.state_path, state)


def interrupted(state: JobState, last_seen: float) -> JobState:
    """The state of an unfinished job whose supervisor is gone; `last_seen` in seconds since the epoch."""
    steps = [
        step.model_copy(update={"status": "interrupted"}) if step.status in ("running", "waiting") else step
        for step in state.steps
    ]
    return state.model_copy(
        update={
            "status": "interrupted",
            "finished_at": last_seen if state.started_at else None,
            "steps": steps,
            "failure": Failure(
                code="interrupted",
                what="The job was interrupted: its supervisor is gone.",
                evidence=f"last seen at step {current.title!r}"
                if (current := state.current)
                else "before its first step",
                fix=f"`workbench jobs retry {state.id}` goes on from there; finished steps are reused.",
            ),
        }
    )


def _damaged(path: Path, error: Exception) -> BadInputError:
    return BadInputError(
        f"The job's file cannot be read: {path}",
        evidence=str(error).splitlines()[0],
        fix="Start the build again; finished steps are reused.",
        code="bad-job",
    )


def create(jobs: Path, plan: Plan, now: float) -> JobFolder:
    """Make the folder of a new job, complete before it gets its name. `now` in seconds since the epoch."""
    # UTC with milliseconds: names sort by time, also within a second and when the clock is put back for winter.
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    job_id = f"{stamp}{int(now * 1000) % 1000:03d}-{secrets.token_hex(2)}"
    building = jobs / f".{job_id}.new"
    try:
        building.mkdir(parents=True, mode=0o700)
        folder = JobFolder(building)
        write_json(folder.plan_path, plan)
        folder.write_state(new_state(job_id, plan, now))
        for path in (folder.events_path, folder.log_path, folder.lock_path):
            path.touch(mode=0o600)
        building.rename(jobs / job_id)
    except OSError as error:
        raise BadInputError(
            f"No job can be made under {jobs}",
            evidence=str(error),
            fix="Free space there, or set WORKBENCH_HOME to another folder.",
            code="home-not-writable",
        ) from error
    return JobFolder(jobs / job_id)


def find(jobs: Path, wanted: str) -> JobFolder:
    """A job by id, by a unique start or end of it, or `last`. Raises BadInputError."""
    ids = job_ids(jobs)
    if wanted == "last" and ids:
        return JobFolder(jobs / ids[-1])
    hits = [wanted] if wanted in ids else [i for i in ids if wanted and (i.startswith(wanted) or i.endswith(wanted))]
    if len(hits) == 1:
        return JobFolder(jobs / hits[0])
    raise BadInputError(
        f"No job is called {wanted!r}." if not hits else f"{wanted!r} fits {len(hits)} jobs.",
        evidence=", ".join((hits or ids)[-5:]) or "there are no jobs yet",
        fix="`workbench jobs` lists them; the last four characters of an id are enough.",
        code="no-such-job",
    )


def job_ids(jobs: Path) -> list[str]:
    """Ids of all jobs, oldest first."""
    with contextlib.suppress(OSError):
        return sorted(e.name for e in os.scandir(jobs) if not e.name.startswith(".") and e.is_dir())
    return []


class EventTail:
    """Follow events.jsonl: each call gives the whole lines that came since the last one."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._path = path
        self._offset = offset
        self._file: IO[bytes] | None = None
        self._rest = b""

    def read(self) -> Iterator[dict[str, Any]]:
        if self._file is None:
            try:
                self._file = self._path.open("rb")
                self._file.seek(self._offset)
            except OSError:
                return
        while chunk := self._file.read(1 << 20):
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                with contextlib.suppress(ValueError):
                    event = json.loads(line)
                    if isinstance(event, dict):
                        yield event

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def last_log_line(path: Path, limit: int = 300) -> str:
    """The last line of a log that is not empty, shortened."""
    try:
        with path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - 8192))
            text = log.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:limit] if lines else ""

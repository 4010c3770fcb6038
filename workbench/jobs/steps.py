"""One step of a job: reuse it, or run its worker and turn what it made into an artefact."""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from pathlib import Path
from typing import Any, Protocol

from workbench import __version__
from workbench.core.artifact import (
    Machine,
    Provenance,
    Record,
    StepRecord,
    own_record,
    read_provenance,
    read_record,
    write_json,
)
from workbench.core.errors import BadInputError, CancelledError, StepFailedError
from workbench.core.home import Home
from workbench.core.host import read_host
from workbench.core.job import JobState, StepState
from workbench.core.messages import (
    SHARE_UNIT,
    ArtifactMade,
    Error,
    Hello,
    Log,
    Message,
    Phase,
    Progress,
    Result,
    StepSpec,
    Unknown,
)
from workbench.core.plan import Plan, Step
from workbench.core.preset_check import shown_argv
from workbench.core.sharing import root_of
from workbench.core.units import format_bytes
from workbench.jobs.checks import check_plan, check_source_files
from workbench.jobs.folder import JobFolder, last_log_line
from workbench.jobs.outcome import Outcome, explain
from workbench.jobs.sealing import (
    copy_artifact,
    discard,
    find_equal,
    hash_files,
    owner_of,
    prepare_partial,
    seal,
)
from workbench.jobs.worker import WorkerProcess, kill_orphans

GRACE_SECONDS = 5.0
"""How long a worker has between SIGTERM and SIGKILL."""
HELLO_SECONDS = 120.0
"""How long a worker may take to say hello: it imports nothing heavy before."""
STALL_VARIABLE = "WORKBENCH_STALL_SECONDS"
STALL_SECONDS = 600.0
"""A worker with no message, no processor time and no I/O for so long hangs."""


class Job(Protocol):
    """What a step needs of the job that it belongs to; the supervisor is one."""

    plan: Plan
    state: JobState
    folder: JobFolder
    selector: selectors.BaseSelector

    def event(self, kind: str, step: str = "", **fields: Any) -> None: ...
    def pass_on(self, step: str, message: Message) -> None: ...
    def log(self, text: str) -> None: ...
    def changed(self, *, now: bool = False) -> None: ...
    def heartbeat(self, seconds: float = 0.0) -> None: ...


def guards_of(step: Step, state: JobState) -> list[str]:
    """Names of the lanes that keep two jobs from making the same thing, or different things in one place, at once.

    A record is written into an artefact that an earlier step made or found, so that folder is guarded too.
    """
    guards = [f"artifact:{step.key}"] if step.key else []
    if step.output:
        guards.append(f"path:{step.output.path}")
    if step.record:
        guards += [f"path:{s.artifact}" for s in state.steps if s.id == step.inputs[0].step and s.artifact]
    return guards


class StepRunner:
    """Runs one step of a job. Leaves `state` as done or reused, or raises a WorkbenchError."""

    def __init__(self, job: Job, step: Step, state: StepState) -> None:
        self.job = job
        self.step = step
        self.state = state
        self.versions: dict[str, str] = {}
        self.result: Result | None = None
        self.error: Error | None = None
        self.seconds = 0.0
        self.owner = owner_of(job.folder.path)

    def reuse(self) -> bool:
        """Whether there is nothing to do: the step's result is there already. Its guards must be held."""
        if self.step.kind == "check":
            self.state.status = "running"
            self.state.result = check_plan(self.job.plan)
            self.state.status = "done"
            return True
        if not self._reuse(self._inputs()):
            return False
        self.state.status = "reused"
        self.job.log(f"[{self.step.id}] {self.state.note}: {self.state.artifact or self.step.record}")
        return True

    def run(self) -> None:
        """Run the worker and make its artefact or record. Its guards and resources must be held."""
        inputs = self._inputs()
        self._check_source()
        self.state.status = "running"
        self.state.started_at = time.time()  # what it waited for a lane is no part of what it took
        self.job.event("step", self.step.id, status="running")
        self.job.changed(now=True)
        partial = prepare_partial(self.step.output, self.owner) if self.step.output else None
        try:
            self._work(inputs, partial)
            self._check_source()
            if partial is not None:
                self._make_artifact(inputs, partial)
            elif self.step.record:
                self._write_record(inputs)
        finally:
            if partial is not None and partial.exists():
                with contextlib.suppress(OSError):
                    discard(partial)
        self.state.status = "done"

    def _check_source(self) -> None:
        """Before and after the model is read: a job may wait for hours, and the key stands for the files as planned."""
        plan = self.job.plan
        if plan.model is not None and any(source.path == plan.model.path for source in self.step.inputs):
            check_source_files(plan)

    # -- inputs and reuse

    def _inputs(self) -> dict[str, str]:
        """Role -> folder; artefacts of earlier steps where this run found or made them."""
        found = {}
        for source in self.step.inputs:
            path = source.path or next(s.artifact for s in self.job.state.steps if s.id == source.step)
            if not Path(path).exists():
                raise BadInputError(
                    f"{self.step.title} needs {source.role}, which is gone.",
                    evidence=path,
                    fix="Retry the job: what is missing is made again." if source.step else "Put it back, then retry.",
                    code="input-gone",
                )
            found[source.role] = path
        return found

    def _reuse(self, inputs: dict[str, str]) -> bool:
        if self.step.output is not None:
            equal = find_equal(self.step)
            if equal is None:
                return False
            path, provenance = equal
            self.state.result = provenance.result
            self.state.note = "reused"
            if self.step.output.chosen and path != Path(self.step.output.path):
                self._phase("copy", 1, 1)
                own = not root_of(self._home, path)  # a shared file gets no second name
                copy_artifact(path, provenance, self.step.output, self.owner, self._tick, link=own)
                path, self.state.note = Path(self.step.output.path), f"reused, copied from {path}"
            self.state.artifact = str(path)
            return True
        if self.step.record:
            folder = Path(inputs[self.step.inputs[0].role])
            record = self._known_record(folder, self.step)
            if record is not None:
                self.state.result = record.step.result
                self.state.note = "reused"
                return True
        return False

    def _known_record(self, folder: Path, step: Step) -> Record | None:
        """A step's record in the artefact that it looked at, or beside this home's own where that one is shared."""
        for path in (folder / step.record, own_record(self._home, folder, step.record)):
            record = read_record(path)
            if record is not None and record.key == step.key:
                return record
        return None

    @property
    def _home(self) -> Home:
        """The home that the job's folder is in."""
        return Home(self.job.folder.path.parent.parent)

    # -- the worker

    def _work(self, inputs: dict[str, str], partial: Path | None) -> None:
        spec = StepSpec(
            worker=self.step.worker, settings=self.step.settings, inputs=inputs, output=str(partial) if partial else ""
        )
        self.job.log(f"[{self.step.id}] {' '.join(shown_argv(self.step.argv))}")
        began = time.monotonic()
        worker = WorkerProcess(
            self.step.argv, self.step.env, self.job.folder.path, spec, self.job.folder.log_path, self.step.title
        )
        handles = (worker.output_handle, worker.exit_handle)
        for handle in handles:
            self.job.selector.register(handle, selectors.EVENT_READ)
        try:
            self._follow(worker)
        finally:
            for handle in handles:
                self.job.selector.unregister(handle)
            outcome = worker.end()
            kill_orphans()
            self.seconds = time.monotonic() - began
            self.job.event("worker_ended", self.step.id, outcome=str(outcome), seconds=round(self.seconds, 3))
        self._judge(outcome)

    def _follow(self, worker: WorkerProcess) -> None:
        stall_seconds = float(os.environ.get(STALL_VARIABLE, STALL_SECONDS))
        began = looked = time.monotonic()
        try:
            while not worker.has_ended():
                self.job.heartbeat(0.25)
                self._read(worker)
                now = time.monotonic()
                if now - looked >= min(5.0, stall_seconds / 4):
                    looked = now
                    self._check_alive(worker, stall_seconds, now - began)
            self._read(worker)
        except CancelledError:
            self._stop(worker)
            raise

    def _read(self, worker: WorkerProcess) -> None:
        for message in worker.read():
            self._take(message)

    def _stop(self, worker: WorkerProcess) -> None:
        self.state.note = "stopping"
        self.job.changed(now=True)
        worker.ask_to_stop()
        end = time.monotonic() + GRACE_SECONDS
        while not worker.has_ended() and time.monotonic() < end:
            time.sleep(0.02)
            with contextlib.suppress(StepFailedError):
                self._read(worker)

    def _check_alive(self, worker: WorkerProcess, stall_seconds: float, since_start: float) -> None:
        idle = worker.idle_seconds()
        if idle < stall_seconds and (self.versions or since_start < HELLO_SECONDS):
            return
        raise StepFailedError(
            f"{self.step.title} hangs: it neither says nor does anything.",
            evidence=f"no message, processor time or I/O for {idle:.0f} s"
            + (f", last phase {self.state.phase!r}" if self.state.phase else ", not even a hello"),
            fix="Retry. If it hangs again, the job's log and `workbench doctor` may show why.",
            code="stalled",
        )

    def _take(self, message: Message | str) -> None:
        if isinstance(message, str):
            self.job.log(f"[{self.step.id}] {message}")
            return
        self.job.pass_on(self.step.id, message)
        match message:
            case Hello():
                self.versions = message.versions or {"worker": message.worker}
            case Phase():
                self._phase(message.name, message.index, message.of)
            case Progress():
                self._progress(message)
            case Log():
                self.job.log(f"[{self.step.id}] {message.level}: {message.text}")
            case Result():
                self.result = message
            case Error():
                self.error = message
            case ArtifactMade():
                self.job.log(f"[{self.step.id}] {message.kind}: {message.path} ({format_bytes(message.bytes)})")
            case Unknown():
                self.job.log(f"[{self.step.id}] message of unknown type {message.type!r}: {message.raw}")

    def _phase(self, name: str, index: int, of: int) -> None:
        self.state.phase, self.state.phase_index, self.state.phase_of = name, index, of
        self.job.log(f"[{self.step.id}] {name} ({index} of {of})")
        self.state.done = self.state.total = None
        self.job.changed(now=True)

    def _progress(self, message: Progress) -> None:
        state = self.state
        state.done, state.total, state.unit = message.done, message.total, message.unit
        if message.unit == SHARE_UNIT and message.total:
            state.share = max(state.share or 0.0, min(message.done / message.total, 1.0))
        if message.left_s is not None:
            state.ends_at = time.time() + max(message.left_s, 0.0)
        self.job.changed()

    def _tick(self, done: int, total: int) -> None:
        self.state.done, self.state.total, self.state.unit = float(done), float(total), "B"
        self.job.heartbeat()

    def _judge(self, outcome: Outcome) -> None:
        if self.error is not None:
            raise StepFailedError(
                self.error.message, evidence=self.error.cause, fix=self.error.hint, code=self.error.code
            )
        if outcome.ok and self.result is not None:
            self.state.result = self.result.data
            return
        failure = explain(outcome, self.step.title, last_log_line(self.job.folder.log_path))
        raise StepFailedError(failure.what, evidence=failure.evidence, fix=failure.fix, code=failure.code)

    # -- what it made

    def _step_record(self, inputs: dict[str, str]) -> StepRecord:
        return StepRecord(
            id=self.step.id,
            kind=self.step.kind,
            worker=self.step.worker,
            argv=shown_argv(self.step.argv),
            settings=self.step.settings,
            inputs=inputs,
            versions=self.versions,
            seconds=round(self.seconds, 3),
            key=self.step.key,
            result=self.state.result,
        )

    def _make_artifact(self, inputs: dict[str, str], partial: Path) -> None:
        assert self.step.output is not None
        self._phase("checksums", max(self.state.phase_of, 1), max(self.state.phase_of, 1))
        files = hash_files(partial, self._tick)
        plan = self.job.plan
        seal(
            partial,
            self.step.output,
            Provenance(
                kind=self.step.output.kind,
                name=self.step.output.name,
                key=self.step.key,
                key_facts=self.step.key_facts,
                created_at=time.time(),
                workbench=__version__,
                toolchain=plan.toolchain,
                precision=self.step.output.precision,
                preset_id=plan.preset_id,
                preset=plan.preset,
                model=plan.model,
                machine=_machine_of(plan),
                steps=(*self._lineage(inputs), self._step_record(inputs)),
                files=files,
            ),
        )
        self.state.artifact = self.step.output.path

    def _lineage(self, inputs: dict[str, str]) -> tuple[StepRecord, ...]:
        """Records of the steps that made the inputs or looked at them, so that an engine tells its whole way."""
        records: dict[str, StepRecord] = {}
        looked_at = {step.inputs[0].step: step for step in self.job.plan.steps if step.record}
        for source in self.step.inputs:
            if source.step:
                folder = Path(inputs[source.role])
                for record in read_provenance(folder).steps:
                    records[record.key] = record
                look = looked_at.get(source.step)
                found = self._known_record(folder, look) if look is not None else None
                if found is not None:
                    records[found.key] = found.step
        return tuple(records.values())

    def _write_record(self, inputs: dict[str, str]) -> None:
        record = Record(key=self.step.key, created_at=time.time(), step=self._step_record(inputs))
        folder = Path(inputs[self.step.inputs[0].role])
        path = folder / self.step.record
        if root_of(self._home, folder):
            path = own_record(self._home, folder, self.step.record)  # what is shared is never written into
            path.parent.mkdir(mode=0o700, exist_ok=True)
        write_json(path, record, durable=True)


def _machine_of(plan: Plan) -> Machine:
    """What the steps run on: the plan's target, else this machine."""
    if plan.machine:
        return Machine.model_validate(plan.machine)
    host = read_host()
    return Machine(cpu=host.cpu_name, cpu_identity=host.cpu_identity, memory_bytes=host.memory_total_bytes, os=host.os)

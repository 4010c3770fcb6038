"""Runs as jobs of Slurm: the batch script keeps the run in the foreground of its allocation, the queue is asked about
it, and what Slurm did to it is told in words. Its commands run where the transport leads: here, or on a login host."""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.core.errors import Failure, StepFailedError
from workbench.core.target import Target
from workbench.remote.far import Far
from workbench.remote.runner import Look, Request
from workbench.remote.slurm_words import refused_words, state_failure, waiting_words
from workbench.remote.transport import CutError

LOOK_VARIABLE = "WORKBENCH_SLURM_LOOK_SECONDS"
LOOK_SECONDS = 5.0
MOST_STARTS = 4
"""How often a preempted job is queued again before it counts as failed: three times after the first."""
EXPORTED = "PATH,HOME,USER,LOGNAME,LANG,LD_LIBRARY_PATH"
"""All that the job gets of the submitting shell's environment: the rest may hold keys."""
_FIELDS = "State:30,Reason:90,PendingTime:14,TimeUsed:20,TimeLimit:20,NodeList:60,JobID:20"
_WIDTHS = [int(field.partition(":")[2]) for field in _FIELDS.split(",")]
_ALIVE = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "RESIZING", "SIGNALING", "STAGE_OUT")
_AFRESH = """
import os, shutil, sys
run = sys.argv[1]
for name in ("exit.json", "state.json", "beat.json"):
    if os.path.exists(os.path.join(run, name)):
        os.remove(os.path.join(run, name))
shutil.rmtree(os.path.join(run, "output"), ignore_errors=True)
os.mkdir(os.path.join(run, "output"))
events = os.path.join(run, "events.jsonl")
if os.path.exists(events):
    with open(events, "rb+") as file:
        file.truncate(file.read().rfind(b"\\n") + 1)
"""
"""Python for the far side: a run as it was before it began, but for the whole lines that it said."""
_FINAL_SECONDS = 12.0
"""How long a job that our keeper has ended may take to be told as ended by Slurm."""


@dataclass(frozen=True)
class SlurmJob:
    """A job as Slurm tells it; empty fields are not reported."""

    id: str
    state: str
    reason: str = ""
    pending_s: float | None = None
    used: str = ""
    """How long it runs or ran, as Slurm writes times: 1-02:03:04."""
    limit: str = ""
    nodes: str = ""
    by: str = ""
    """Who cancelled it, where the accounting tells."""

    @property
    def is_alive(self) -> bool:
        return self.state in _ALIVE

    @property
    def is_waiting(self) -> bool:
        return self.state in ("PENDING", "CONFIGURING")


class UnknownJobError(Exception):
    """Slurm does not know the job: it ended long ago, or never was."""


class Slurm:
    """Slurm's commands through a far side."""

    def __init__(self, far: Far) -> None:
        self._far = far

    def _run(self, *words: str, data: bytes = b"", seconds: float = 30.0) -> tuple[int, str, str]:
        done = self._far.transport.run(words, data=data, seconds=seconds)
        return done.code, done.out.decode("utf-8", "replace"), done.err

    def submit(self, options: Sequence[str], script: str) -> str:
        """The new job's number. Raises StepFailedError in words when it is refused."""
        code, out, err = self._run("sbatch", *options, data=script.encode())
        number = out.strip().partition(";")[0]
        if code == 0 and number.isdigit():
            return number
        raise StepFailedError(**refused_words(err or out or f"exit code {code}", self._far.transport.title))

    def find(self, name: str) -> str:
        """The number of a job of that name which is in the queue; empty: there is none."""
        code, out, err = self._run("squeue", "-h", "--me", f"--name={name}", "-o", "%i")
        if code:
            raise CutError(_no_answer(err))
        return out.split()[0] if out.split() else ""

    def look(self, job: str) -> SlurmJob:
        """How a job stands. Raises UnknownJobError, CutError when Slurm does not answer."""
        code, out, err = self._run("squeue", "-h", "-t", "all", "-j", job, "-O", _FIELDS)
        if code == 0 and out.strip():
            return parse_squeue(out.splitlines()[0])
        if code and "nvalid job id" not in err:
            raise CutError(_no_answer(err))
        return self._from_accounting(job)

    def _from_accounting(self, job: str) -> SlurmJob:
        code, out, _ = self._run("sacct", "-n", "-P", "-X", "-j", job, "-o", "State,Reason,Elapsed,Timelimit,NodeList")
        cells = out.splitlines()[0].split("|") if code == 0 and out.strip() else []
        if len(cells) < 5:
            raise UnknownJobError(job)
        state, by = re.match(r"(\S*)(?: by (\d+))?", cells[0]).groups("")  # type: ignore[union-attr]
        return SlurmJob(job, state.rstrip("+"), cells[1], None, cells[2], cells[3], cells[4], by)

    def cancel(self, job: str) -> None:
        """End it with all its processes; one that has ended is left as it is."""
        code, _, err = self._run("scancel", job)
        if code and "nvalid job id" not in err and "already completed" not in err:
            raise CutError(_no_answer(err))


def _no_answer(err: str) -> str:
    return f"Slurm does not answer: {(err.splitlines() or ['it said nothing'])[-1]}"


def parse_squeue(line: str) -> SlurmJob:
    """One line of `squeue -O` with the fields that `Slurm.look` asks for."""
    cells, at = [], 0
    for width in _WIDTHS:
        cells.append(line[at : at + width].strip())
        at += width
    state, reason, pending, used, limit, nodes, job = cells
    blank = ("", "None", "N/A", "(null)")
    return SlurmJob(
        id=job,
        state=state,
        reason="" if reason in blank else reason,
        pending_s=float(pending) if pending.isdigit() else None,
        used=used,
        limit="" if limit in blank else limit,
        nodes="" if nodes in blank else nodes,
    )


def batch_script(words: Sequence[str]) -> str:
    """A script that becomes one program: signals reach it, and its end is the job's."""
    return f"#!/bin/sh\nexec {' '.join(shlex.quote(word) for word in words)}\n"


def sbatch_options(target: Target, name: str, output: str) -> list[str]:
    """Options of sbatch for a run of this target; the person's own come first, ours that must hold last."""
    options = [f"--{key}={value}" for key, value in (("partition", target.partition), ("account", target.account),
                                                       ("time", target.time_limit)) if value]  # fmt: skip
    if target.gpus:
        options.append(f"--gres=gpu:{target.gpus}")
    options += ["--nodes=1", "--ntasks=1", f"--export={EXPORTED}", *target.options]
    return [*options, "--parsable", "--no-requeue", f"--job-name={name}", f"--output={output}", "--open-mode=append"]


class SlurmRunner:
    """See remote/runner.py's Runner. One object follows one run."""

    def __init__(self, target: Target, gpus: int | None = None) -> None:
        """`gpus`: as many as the step uses; the target's own number goes before."""
        self._target = target if target.gpus is not None else target.model_copy(update={"gpus": gpus})
        self.look_seconds = float(os.environ.get(LOOK_VARIABLE, LOOK_SECONDS))
        self._job = ""
        self._starts = 0
        self._lost = 0
        self._running = ""
        self._title = ""

    @staticmethod
    def name_of(run: str) -> str:
        """The job's name: by it a job is found again whose number was never heard."""
        return f"wb-{run.rstrip('/').rpartition('/')[2]}"

    def start(self, far: Far, run: str, request: Request) -> dict[str, Any]:
        """Queue the run, unless it is queued, runs or has ended already."""
        self._title = request.title
        status = far.prepare(run, request.to_json())
        if status["state"] not in ("none", "waiting"):
            self._job = str(status.get("slurm_job", ""))
            return {**status, "started": False}
        self._job = Slurm(far).find(self.name_of(run)) if status["state"] == "waiting" else ""
        if self._job:
            return {**status, "started": False}
        try:
            self._submit(far, run)
        except StepFailedError:
            far.remove(run)
            raise
        return {**status, "state": "waiting", "slurm_job": self._job, "started": True}

    def _submit(self, far: Far, run: str) -> None:
        options = sbatch_options(self._target, self.name_of(run), f"{run}/slurm.txt")
        self._job = Slurm(far).submit(options, batch_script(far.hold_words(run)))
        self._starts += 1
        self._lost = 0

    def look(self, far: Far, run: str, status: dict[str, Any]) -> Look:
        """What the queue says of it, in words; a failure when the job is over and its keeper never said so."""
        try:
            job = self._asked(far, run, status)
        except CutError as error:
            return Look(note=str(error))
        except UnknownJobError:
            job = SlurmJob(self._job, "UNKNOWN")
        if job.is_alive:
            self._lost = 0
            if job.is_waiting:
                return Look(note=f"job {job.id} {waiting_words(job.state, job.reason, job.pending_s)}")
            self._told(job)
            return Look()
        # The keeper's last word may still be on its way through a shared file system.
        self._lost += 1
        if self._lost < 3:
            return Look()
        return Look(failure=self._failure(far, run, job))

    def _asked(self, far: Far, run: str, status: dict[str, Any]) -> SlurmJob:
        slurm = Slurm(far)
        self._job = str(status.get("slurm_job") or self._job) or slurm.find(self.name_of(run))
        if not self._job:
            raise UnknownJobError(run)
        return slurm.look(self._job)

    def _told(self, job: SlurmJob) -> None:
        """Once, into the raw log: from now on the worker itself says what it does."""
        if job.state == "RUNNING" and self._running != job.id:
            self._running = job.id
            limit = f", time limit {job.limit}" if job.limit and job.limit != "UNLIMITED" else ""
            sys.stderr.write(f"Slurm job {job.id} runs on {job.nodes or 'its node'}{limit}\n")
            sys.stderr.flush()

    def ended(self, far: Far, run: str, status: dict[str, Any]) -> Look:
        """Why a run ended without a result, as far as it was Slurm's doing; a preempted one is queued again."""
        ended = status.get("exit") or {}
        if status.get("state") == "ended" and ended.get("code") is not None and ended.get("why") == "ended":
            return Look()  # the worker ended by itself
        try:
            job = self._final(far, run, status)
        except (UnknownJobError, CutError):
            return Look()
        if job.state in ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL") and self._starts < MOST_STARTS:
            self._again(far, run)
            what = "was preempted" if job.state == "PREEMPTED" else "lost its node"
            after = f" after {job.used}" if job.used else ""
            return Look(note=f"job {job.id} {what}{after}; queued again as job {self._job}, from the beginning")
        if job.state in ("COMPLETED", "FAILED") or job.is_alive:
            return Look()
        return Look(failure=self._failure(far, run, job))

    def _final(self, far: Far, run: str, status: dict[str, Any]) -> SlurmJob:
        end = time.monotonic() + _FINAL_SECONDS
        while True:
            job = self._asked(far, run, status)
            if not job.is_alive or time.monotonic() > end:
                return job
            time.sleep(0.3)

    def _again(self, far: Far, run: str) -> None:
        """The run as it was before it began, but for what it said: readers go on where they are."""
        done = far.transport.run([far.python, "-c", _AFRESH, run])
        if done.code:
            raise CutError(done.err or f"exit code {done.code}")
        self._submit(far, run)

    def _failure(self, far: Far, run: str, job: SlurmJob) -> Failure:
        said = ""
        if job.state in ("FAILED", "COMPLETED", "UNKNOWN"):
            done = far.transport.run(["tail", "-n", "1", "--", f"{run}/slurm.txt"])
            said = done.out.decode("utf-8", "replace").strip()[:300]
        limits = f"{job.used} of {job.limit}" if job.limit else job.used
        return state_failure(
            state=job.state,
            title=self._title or "The step",
            job=job.id,
            nodes=job.nodes,
            took=limits,
            reason=job.reason,
            said=said,
            by=job.by,
            target=self._target.name,
        )

    def stop(self, far: Far, run: str, seconds: float) -> dict[str, Any]:
        """Take the job out of the queue, or end it: Slurm and the keeper are both asked, whoever is first."""
        status = far.status(run)
        slurm = Slurm(far)
        job = str(status.get("slurm_job") or self._job) or slurm.find(self.name_of(run))
        if job:
            slurm.cancel(job)
        if status["state"] != "waiting":
            return far.stop(run, seconds)
        # It may have begun just now; if not, nothing of it runs and nobody will say how it ended.
        end = time.monotonic() + seconds
        while job and time.monotonic() < end:
            try:
                if not slurm.look(job).is_alive:
                    break
            except UnknownJobError:
                break
            time.sleep(0.1)
        status = far.status(run)
        if status["state"] == "waiting":
            return {**status, "state": "ended", "exit": {"code": None, "why": "stopped"}}
        return far.stop(run, max(1.0, end - time.monotonic()))

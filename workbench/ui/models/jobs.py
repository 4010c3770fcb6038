"""The jobs of the home as frozen rows, read from their folders in the background: only what changed is read again."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from workbench.core.errors import BadInputError, Failure
from workbench.core.job import FINAL, JobState, StepState
from workbench.core.plan import Plan, StepKind
from workbench.jobs.folder import JobFolder, job_ids

STRIP: tuple[tuple[StepKind, str], ...] = (
    ("check", "Check"), ("convert", "Convert"), ("quantize", "Quantize"), ("build", "Build"), ("verify", "Verify"),
)  # fmt: skip
"""The five columns of every strip; a fetch stands in the first."""
FIRST_JOBS = 200
"""How many jobs, newest first, the first look reads; each later one reads as many more until all are there."""
_MORE_JOBS = 500
_THIN = "\u202f"
_LEAST_SHARE, _LEAST_SECONDS = 0.05, 3.0
"""A rate is told from so much of a step on."""
_RATE_SPREAD = 0.25
"""How far off what a rate foretells may be, as a share of it: phases of a build run at different speeds."""

Mark = tuple[int, int, int]


@dataclass(frozen=True)
class StepRow:
    """One step as it stands. `fraction` is 0 to 1, None when the worker does not say."""

    id: str
    kind: StepKind
    title: str
    variant: str
    status: str
    note: str = ""
    phase: str = ""
    phase_index: int = 0
    phase_of: int = 0
    fraction: float | None = None
    amount: str = ""
    """How far the phase is, in the worker's own unit: `7 of 32 batches`."""
    started_at: float | None = None
    seconds: tuple[float, float] | None = None
    """The plan's estimate of the whole step; None where it has none."""
    measured: bool = False
    """Whether `fraction` is the worker's own share of the whole step, and not a count of phases."""
    ends_at: float | None = None
    """When it is over as its worker reckons, in seconds since the epoch."""

    def left(self, now: float) -> tuple[float, float] | None:
        """Seconds that it still takes: as its worker says, from the share that it measures, else from the plan's
        estimate; None when there is none of these."""
        if self.status in ("done", "reused", "none") or self.kind == "check":
            return (0.0, 0.0)
        if (told := self._told(now)) is not None:
            return told
        if self.seconds is None:
            return None
        low, high = self.seconds
        if self.status != "running" or self.started_at is None:
            return low, high
        if self.fraction:
            return low * (1 - self.fraction), high * (1 - self.fraction)
        gone = max(now - self.started_at, 0.0)
        return max(low - gone, 0.0), max(high - gone, 0.0)

    def _told(self, now: float) -> tuple[float, float] | None:
        """What the running step itself tells of its end; None while it tells too little."""
        if self.status != "running":
            return None
        if self.ends_at is not None:
            left = max(self.ends_at - now, 0.0)
            return left, left
        if not self.measured or not self.fraction or self.started_at is None:
            return None
        gone = now - self.started_at
        if self.fraction < _LEAST_SHARE or gone < _LEAST_SECONDS:
            return None
        left = gone * (1 - self.fraction) / self.fraction
        return left * (1 - _RATE_SPREAD), left * (1 + _RATE_SPREAD)


@dataclass(frozen=True)
class JobRow:
    """One job. Times are seconds since the epoch."""

    id: str
    title: str
    toolchain: str
    status: str
    attempt: int
    created_at: float
    started_at: float | None
    finished_at: float | None
    steps: tuple[StepRow, ...]
    failure: Failure | None
    folder: Path
    artifacts: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """The last four characters of the id: enough to name it on the command line."""
        return self.id[-4:]

    @property
    def finished(self) -> bool:
        return self.status in FINAL

    @property
    def waiting(self) -> bool:
        """It has not begun, or waits for something that another job holds."""
        now = self.current
        return self.status == "queued" or (self.status == "running" and now is not None and now.status == "waiting")

    @property
    def can_retry(self) -> bool:
        return self.status in ("failed", "cancelled", "interrupted")

    @cached_property
    def variants(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(step.variant for step in self.steps if step.variant))

    @cached_property
    def current(self) -> StepRow | None:
        """The step that runs or waits, else the one that did not succeed, else None."""
        for status in ("running", "waiting", "failed", "cancelled", "interrupted"):
            for step in self.steps:
                if step.status == status:
                    return step
        return None

    @property
    def name(self) -> str:
        """The title without the variants, which stand in a line of their own."""
        words = ", ".join(self.variants)
        return self.title.removesuffix(words).strip() or self.title

    def cells(self, kind: StepKind, variant: str = "") -> tuple[StepRow, ...]:
        """The steps of one column of the strip; of one variant and what all share, when it is given."""
        kinds = ("fetch", "check") if kind == "check" else (kind,)
        return tuple(s for s in self.steps if s.kind in kinds and (not variant or s.variant in ("", variant)))

    def elapsed_s(self, now: float) -> float | None:
        if self.started_at is None:
            return None
        return max((self.finished_at or now) - self.started_at, 0.0)

    def remaining_s(self, now: float) -> tuple[float, float] | None:
        """Seconds from and to, by what the running step says and the plan's estimates of the others; None when the job
        is over or a step has neither."""
        if self.finished:
            return None
        parts = [step.left(now) for step in self.steps]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        return sum(low for low, _ in known), sum(high for _, high in known)

    def words(self, now: float) -> tuple[str, str]:
        """What it does now, in two short lines."""
        step = self.current
        name = "" if step is None else step.title if len(self.variants) < 2 else f"{step.title} {step.variant}".strip()
        if self.status == "running" and step is not None and step.status == "running":
            bits = [f"{step.phase_index} of {step.phase_of}"] if step.phase_of > 1 else []
            bits += [step.amount] if step.amount else []
            second = ", ".join(bits) or ("stopping" if step.note == "stopping" else name if step.phase else "")
            return sentence(step.phase) or name, second
        if not self.finished:
            return "Queued", waits_for(step.note) if step else "starting"
        if self.status == "failed":
            return f"Failed in {name}" if name else "Failed", self.failure.what.rstrip(".") if self.failure else ""
        if self.status == "done":
            return "Done", ""
        return sentence(self.status), f"in {name}" if name else ""


@dataclass(frozen=True)
class JobRows:
    """All jobs that were read so far, newest first. `complete` is False while older ones are still to be read."""

    rows: tuple[JobRow, ...] = ()
    complete: bool = True
    unreadable: int = 0

    @property
    def running(self) -> tuple[JobRow, ...]:
        return tuple(row for row in self.rows if not row.finished and not row.waiting)

    @property
    def queued(self) -> tuple[JobRow, ...]:
        return tuple(row for row in self.rows if not row.finished and row.waiting)

    def row(self, job_id: str) -> JobRow | None:
        return next((row for row in self.rows if row.id == job_id), None)

    def running_text(self, now: float) -> str:
        """The status line: what runs, how far it is and what is left; empty when nothing runs."""
        running = self.running
        if not running:
            waiting = len(self.queued)
            return f"{waiting} queued" if waiting else ""
        row = running[0]
        step = row.current
        text = f"{row.tag} {step.title} {step.variant}".rstrip() if step else row.tag
        if step is not None and step.fraction is not None:
            text += f", {percent(step.fraction)}"
        if (left := row.remaining_s(now)) is not None:
            text += f", {span_text(left)} left"
        return text + (f"; {len(running) - 1} more" if len(running) > 1 else "")


class JobsReader:
    """Reads the jobs of a home; `read` is for one background thread at a time.

    What is finished rarely changes: of the finished jobs only the newest and a slice of the others are looked at each
    time. Unfinished ones are asked every time whether their supervisor lives.
    """

    def __init__(self, jobs: Path) -> None:
        self._jobs = jobs
        self._folder_mark = 0
        self._ids: list[str] = []
        self._marks: dict[str, tuple[Mark, bool]] = {}
        self._rows: dict[str, JobRow] = {}
        self._bad: dict[str, Mark] = {}
        self._estimates: dict[str, dict[str, tuple[float, float]]] = {}
        self._depth = FIRST_JOBS
        self._turn = 0
        self.reads = 0
        """State files read so far, for tests and measurements."""

    def read(self) -> JobRows:
        """The jobs as they are now."""
        with contextlib.suppress(OSError):
            mark = self._jobs.stat().st_mtime_ns
            if mark != self._folder_mark:
                self._folder_mark = mark
                self._ids = job_ids(self._jobs)[::-1]
                gone = self._rows.keys() - set(self._ids)
                for job_id in gone:
                    self._forget(job_id)
        depth, self._depth = self._depth, min(self._depth + _MORE_JOBS, max(len(self._ids), FIRST_JOBS))
        for place in self._due(depth):
            self._look(self._ids[place])
        rows = tuple(self._rows[job_id] for job_id in self._ids if job_id in self._rows)
        return JobRows(rows, depth >= len(self._ids), len(self._bad))

    def _due(self, depth: int) -> list[int]:
        """Places to look at: new, unfinished, the newest, and in turn a slice of the rest."""
        count = min(depth, len(self._ids))
        start = self._turn % max(count, 1)
        self._turn = start + _MORE_JOBS
        often = [
            place
            for place in range(count)
            if place < 50
            or start <= place < self._turn
            or (self._ids[place] not in self._bad and not self._is_over(self._ids[place]))
        ]
        return often

    def _is_over(self, job_id: str) -> bool:
        row = self._rows.get(job_id)
        return row is not None and row.finished and row.status != "interrupted"

    def _forget(self, job_id: str) -> None:
        for table in (self._rows, self._marks, self._bad, self._estimates):
            table.pop(job_id, None)  # type: ignore[attr-defined]

    def _look(self, job_id: str) -> None:
        folder = JobFolder(self._jobs / job_id)
        try:
            mark = _mark(folder.state_path)
        except OSError:
            self._rows.pop(job_id, None)
            return
        known = self._marks.get(job_id)
        over = self._is_over(job_id)
        if known is not None and known[0] == mark and (over or known[1] == folder.is_supervised()):
            return
        if self._bad.get(job_id) == mark:
            return
        try:
            state = folder.state()
            self.reads += 1
        except (BadInputError, OSError):
            self._bad[job_id] = mark
            self._rows.pop(job_id, None)
            return
        self._bad.pop(job_id, None)
        self._marks[job_id] = mark, state.status not in ("interrupted",)
        self._rows[job_id] = make_row(state, folder, self._estimates_of(folder, state))

    def _estimates_of(self, folder: JobFolder, state: JobState) -> dict[str, tuple[float, float]]:
        if state.finished:
            self._estimates.pop(state.id, None)
            return {}
        if state.id not in self._estimates:
            try:
                self._estimates[state.id] = estimates(folder.plan())
            except BadInputError:
                self._estimates[state.id] = {}
        return self._estimates[state.id]


def estimates(plan: Plan) -> dict[str, tuple[float, float]]:
    """Step id -> seconds from and to, for the steps that have an estimate."""
    return {s.id: (s.estimate.seconds.low, s.estimate.seconds.high) for s in plan.steps if s.estimate.seconds}


def make_row(state: JobState, folder: JobFolder, seconds: dict[str, tuple[float, float]]) -> JobRow:
    """The frozen row of a state."""
    return JobRow(
        id=state.id,
        title=state.title,
        toolchain=state.toolchain,
        status=state.status,
        attempt=state.attempt,
        created_at=state.created_at,
        started_at=state.started_at,
        finished_at=state.finished_at,
        steps=tuple(_step_row(step, seconds.get(step.id)) for step in state.steps),
        failure=state.failure,
        folder=folder.path,
        artifacts=tuple(state.artifacts),
    )


def _step_row(step: StepState, seconds: tuple[float, float] | None) -> StepRow:
    amount = ""
    if step.status == "running" and step.share is not None:
        amount = percent(step.share)
    elif step.status == "running" and step.done is not None and step.unit not in ("B", "bytes"):
        of = f" of {grouped(step.total)}" if step.total else ""
        amount = f"{grouped(step.done)}{of} {step.unit}".strip()
    return StepRow(
        id=step.id,
        kind=step.kind,
        title=step.title,
        variant=step.variant,
        status=step.status,
        note=step.note,
        phase=step.phase,
        phase_index=step.phase_index,
        phase_of=step.phase_of,
        fraction=step.fraction,
        amount=amount,
        started_at=step.started_at,
        seconds=seconds,
        measured=step.share is not None,
        ends_at=step.ends_at,
    )


def _mark(path: Path) -> Mark:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def waits_for(note: str) -> str:
    """A lane's name in words: `waits for gpu:0` -> `waits for GPU 0`."""
    name = note.removeprefix("waits for ")
    if name == note:
        return note or "its turn is next"
    kind, _, rest = name.partition(":")
    words = {
        "cpu": "the CPU",
        "gpu": f"GPU {rest}",
        "artifact": "another job that makes the same",
        "path": "another job at its folder",
        "fetch": "another download of it",
    }
    return f"waits for {words.get(kind, name)}"


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def percent(fraction: float) -> str:
    return f"{int(fraction * 100)}{_THIN}%"


def grouped(value: float) -> str:
    """A count with narrow spaces between thousands."""
    return f"{value:,.0f}".replace(",", _THIN) if float(value).is_integer() else f"{value:g}"


def clock_text(seconds: float | None) -> str:
    """Elapsed time: `4:48`, `1:02:03`; a dash when it has not begun."""
    if seconds is None:
        return "–"  # noqa: RUF001
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def span_text(seconds: Sequence[float] | None) -> str:
    """A range of time in one unit: `20–40 s`, `6–9 min`; a dash when it is not known."""  # noqa: RUF002
    if seconds is None:
        return "–"  # noqa: RUF001
    low, high = seconds
    size, unit = (1, "s") if high < 100 else (60, "min") if high < 100 * 60 else (3600, "h")
    first, last = int(low / size), max(round(high / size), 1)
    return f"{last} {unit}" if first >= last or low == high else f"{first}–{last} {unit}"  # noqa: RUF001

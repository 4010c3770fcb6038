"""What a run leaves behind: raw timings of every request and all that is needed to repeat it. Figures are computed
from it (`figures`), never kept instead of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from workbench.core.answer import CountSource
from workbench.core.errors import Failure
from workbench.core.measure.load import Load
from workbench.core.measure.workload import Workload
from workbench.core.metrics import Chunk

RUN_SCHEMA = 1

RequestEnd = Literal["stop", "length", "abort", "cancelled", "timeout", "error"]
"""abort: the run was stopped; cancelled: by the load's cancel_share."""
PointEnd = Literal["complete", "stopped", "failed"]


@dataclass(slots=True)
class RequestRecord:
    """One request, raw. Times are seconds since the point began, on the client's monotonic clock."""

    number: int
    """From 0, in the order they were due."""
    due_s: float
    """When it had to be sent: t0 of the metrics in open loop, so that a late client does not flatter the engine."""
    sent_s: float
    """When it was handed to the transport; equals `due_s` in closed loop."""
    chunks: tuple[Chunk, ...] = ()
    """Time and token count of each response that carried text or a token."""
    end: RequestEnd = "error"
    ended_s: float = 0.0
    prompt: int = 0
    """Number of its prompt in the workload, from 0."""
    input_tokens: int | None = None
    """As the engine or server reports it."""
    wanted_tokens: int = 0
    """Output length that was asked for."""
    reported_tokens: int | None = None
    """Output tokens as usage reports them."""
    count_source: CountSource | None = None
    """Where the token counts of `chunks` are from."""
    warmup: bool = False
    error: str = ""
    """In words, with `end` error or timeout."""
    malformed: int = 0
    """Events of its stream that were not of the protocol and were passed over: tokens may be missing."""
    draft_tokens: int | None = None
    """Guesses of speculative decoding that were checked; None: not reported."""
    accepted_tokens: int | None = None
    """Of these, those that were kept."""
    draft_passes: int | None = None
    """Passes in which guesses were checked, or could have been."""

    @property
    def completed(self) -> bool:
        return self.end in ("stop", "length")

    @property
    def t0_s(self) -> float:
        return min(self.due_s, self.sent_s)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="null")


class ClientHealth(_Frozen):
    """Whether the load generator itself held the measurement back."""

    cpu_share: float | None = None
    """Of one core, that the client used in the measured time."""
    loop_lag_p99_ms: float | None = None
    """How late its event loop came to a timer."""
    late_p99_ms: float | None = None
    """Open loop: how late requests were sent."""
    bottleneck: bool = False
    words: str = ""
    """Why it is said to be the bottleneck; empty when it was not."""


class Sample(_Frozen):
    """The server's side at one moment; None is "not reported"."""

    t_s: float
    kv_blocks_used: int | None = None
    kv_blocks_total: int | None = None
    kv_share: float | None = None
    """Of the pool, 0 to 1, where no blocks are reported."""
    requests_active: int | None = None
    requests_queued: int | None = None
    gpu_memory_bytes: int | None = None
    host_memory_bytes: int | None = None
    power_w: float | None = None
    utilisation_percent: float | None = None
    temperature_c: float | None = None
    sm_mhz: float | None = None


@dataclass(frozen=True)
class PointRecord:
    """One level of a load, once: what came of it."""

    subject: str
    """Id of the subject in the run."""
    level: float
    repeat: int
    """From 0."""
    began_at: float
    """Seconds since the epoch."""
    duration_s: float
    """D: the measured time, warm-up left out."""
    end: PointEnd
    requests: tuple[RequestRecord, ...]
    samples: tuple[Sample, ...] = ()
    client: ClientHealth = field(default_factory=ClientHealth)
    failure: Failure | None = None
    saturated: str = ""
    """Why the sweep ended here, in words."""
    order: int = 0
    """The how-manieth point of the run it was."""
    measured_from_s: float | None = None
    """When D began, on the clock of the requests; None: with the first request that is measured."""

    @property
    def measured(self) -> tuple[RequestRecord, ...]:
        """Without the warm-up."""
        return tuple(request for request in self.requests if not request.warmup)


class Environment(_Frozen):
    """What a run was made on: enough to judge whether another one may be held against it."""

    workbench: str = ""
    os: str = ""
    python: str = ""
    cpu: str = ""
    cores: int | None = None
    memory_bytes: int | None = None
    gpus: tuple[str, ...] = ()
    gpu_memory_bytes: tuple[int, ...] = ()
    driver: str = ""
    sm_mhz: float | None = None
    clocks_locked: bool | None = None
    power_limit_w: float | None = None
    other_gpu_bytes: int | None = None
    """GPU memory that other processes held when the run began."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Of the toolchain's packages, as its host reported them."""


class Subject(_Frozen):
    """What was measured: an engine or an endpoint, in words that outlive it."""

    id: str
    """Within the run: `s1`, `s2` ..."""
    name: str
    toolchain: str
    toolchain_title: str = ""
    precision: str = ""
    path: str = ""
    key: str = ""
    """The artefact's key."""
    model: str = ""
    model_digest: str = ""
    tokenizer: str = ""
    """Digest of its tokenizer's vocabulary; empty: not known."""
    url: str = ""
    """Of an endpoint."""
    gpus: int | None = None
    """GPUs that it runs on; 0: the CPU; None: not reported."""
    shape: str = ""
    """How they share it: `tp 2 x pp 1`; empty for one process."""
    overrides: tuple[str, ...] = ()
    simulated: bool = False
    """Quality of a precision that was simulated; no engine of it exists."""
    settings: dict[str, str] = Field(default_factory=dict)
    """What was really applied, as the engine reports it."""
    not_applied: dict[str, str] = Field(default_factory=dict)
    """Settings that were asked for and that the engine reports otherwise: name -> `asked for X, runs with Y`."""
    size_bytes: int | None = None
    weights_bytes: int | None = None
    kv_tokens: int | None = None
    """KV capacity: blocks times tokens a block."""
    max_seq_len: int | None = None
    build_s: float | None = None
    load_s: float | None = None
    environment: Environment = Environment()
    failure: Failure | None = None
    """It could not be loaded, or it died while it was measured; what it had done until then is kept."""


class RunHead(_Frozen):
    """A benchmark run without its points: `run.json` of its folder."""

    schema_version: int = RUN_SCHEMA
    kind: Literal["bench"] = "bench"
    id: str
    title: str = ""
    created_at: float
    finished_at: float | None = None
    status: Literal["running", "complete", "stopped", "failed"] = "running"
    workload: Workload
    load: Load
    order: Literal["grouped", "alternated"] = "grouped"
    """alternated: subjects take turns at every level and repeat, first one then the other in front."""
    subjects: tuple[Subject, ...] = ()
    prompts_sha256: str = ""
    """Of all prompts in order."""
    command: tuple[str, ...] = ()
    """The command line that runs the same again."""
    environment: Environment = Environment()
    notes: tuple[str, ...] = ()
    extra: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class RunRecord:
    """A benchmark run."""

    head: RunHead
    points: tuple[PointRecord, ...] = field(default=())

    def subject(self, subject_id: str) -> Subject:
        """Raises KeyError."""
        for subject in self.head.subjects:
            if subject.id == subject_id:
                return subject
        raise KeyError(subject_id)

    def points_of(self, subject_id: str) -> tuple[PointRecord, ...]:
        return tuple(point for point in self.points if point.subject == subject_id)

"""The report: one frozen object with all that any format shows, so that no two of them can disagree."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from workbench.core.measure.comparison import Price
from workbench.core.measure.estimate import Estimate
from workbench.core.measure.quality import QualityRecord
from workbench.core.measure.record import Environment, Subject
from workbench.core.measure.scaling import ScalingGroup

REPORT_SCHEMA = 1

Tone = Literal["ok", "note", "warning", "error"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class Variant(_Frozen):
    """One thing that was measured: an engine, an endpoint, a simulated precision or what another tool measured."""

    id: str
    """Within the report."""
    name: str
    detail: str = ""
    """Second line: toolchain, KV cache precision, "simulated", "measured by AIPerf"."""
    slot: int = Field(ge=0)
    """Which colour and marker it keeps on every page; 0 is the baseline's."""
    baseline: bool = False
    source: Literal["engine", "endpoint", "simulated", "foreign"] = "engine"
    subject: Subject | None = None
    """None for what another tool measured."""
    failure: str = ""
    """Why there are no figures of it, in words."""
    notes: tuple[str, ...] = ()


class Point(_Frozen):
    """One level of one variant, repeats pooled. None is "not reported", never 0. Names carry the units.

    Flat, and with every figure optional, since what other tools measured has to fit in as well.
    """

    variant: str
    """Id of the variant."""
    level: float
    level_unit: str
    """`concurrent requests`, `requests a second` ..."""
    run: str = ""
    """Id of the run, or name of the file, that it is from."""
    end: Literal["complete", "stopped", "failed"] = "complete"
    repeats: int | None = None
    duration_s: float | None = None
    """Measured time of all repeats together, warm-up left out."""
    requests: int | None = None
    completed: int | None = None
    failed: int | None = None
    timed_out: int | None = None
    """Part of `failed`."""
    cancelled: int | None = None
    """On purpose, by the load."""
    aborted: int | None = None
    """Because the run was stopped."""
    request_throughput_req_s: float | None = None
    output_throughput_tok_s: float | None = None
    output_throughput_low_tok_s: float | None = None
    """Of the slowest repeat."""
    output_throughput_high_tok_s: float | None = None
    """Of the fastest repeat."""
    output_throughput_per_gpu_tok_s: float | None = None
    total_throughput_tok_s: float | None = None
    output_speed_per_user_p50_tok_s: float | None = None
    output_speed_per_user_mean_tok_s: float | None = None
    goodput_req_s: float | None = None
    goodput_share: float | None = None
    ttft_mean_ms: float | None = None
    ttft_p50_ms: float | None = None
    ttft_p90_ms: float | None = None
    ttft_p95_ms: float | None = None
    ttft_p99_ms: float | None = None
    ttft_p99_9_ms: float | None = None
    ttft_n: int | None = None
    itl_mean_ms: float | None = None
    itl_p50_ms: float | None = None
    itl_p90_ms: float | None = None
    itl_p95_ms: float | None = None
    itl_p99_ms: float | None = None
    itl_p99_9_ms: float | None = None
    itl_n: int | None = None
    latency_mean_ms: float | None = None
    latency_p50_ms: float | None = None
    latency_p90_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_p99_ms: float | None = None
    latency_p99_9_ms: float | None = None
    latency_n: int | None = None
    chunk_gap_mean_ms: float | None = None
    chunk_gap_p50_ms: float | None = None
    chunk_gap_p90_ms: float | None = None
    chunk_gap_p95_ms: float | None = None
    chunk_gap_p99_ms: float | None = None
    chunk_gap_p99_9_ms: float | None = None
    chunk_gap_n: int | None = None
    second_token_p50_ms: float | None = None
    second_token_p99_ms: float | None = None
    second_token_n: int | None = None
    input_tokens_mean: float | None = None
    output_tokens_mean: float | None = None
    late_p99_ms: float | None = None
    """Open loop: how late the client sent requests."""
    kv_share_mean: float | None = None
    """Of the KV pool, 0 to 1."""
    kv_share_peak: float | None = None
    requests_active_peak: int | None = None
    requests_queued_peak: int | None = None
    gpu_memory_peak_bytes: int | None = None
    host_memory_peak_bytes: int | None = None
    power_mean_w: float | None = None
    output_tokens_per_joule: float | None = None
    utilisation_mean_percent: float | None = None
    temperature_peak_c: float | None = None
    sm_mean_mhz: float | None = None
    draft_acceptance_share: float | None = None
    """Speculative decoding: guesses kept, of those that were checked, 0 to 1."""
    tokens_a_pass: float | None = None
    """Speculative decoding: what one pass of the engine brought a request, 1 or more."""
    cost_per_million_output_tokens: float | None = None
    """In the report's currency."""
    on_pareto_front: bool | None = None
    """No other point of the report's engines is at least as good in throughput and speed per user."""
    count_source: str = ""
    """Where token counts are from: engine ids, server usage, re-tokenised."""
    output_held: bool | None = None
    """Whether every answer has the length that was asked for; None: not asked for."""
    errors: dict[str, int] = Field(default_factory=dict)
    """What failed, in words, and how often."""
    client_bottleneck: bool | None = None
    saturated: str = ""
    """Why the sweep ended here."""
    notes: tuple[str, ...] = ()


class MatrixColumn(_Frozen):
    id: str
    title: str
    unit: str = ""
    better: Literal["higher", "lower"] = "higher"
    definition: str = ""


class MatrixCell(_Frozen):
    """One figure of one variant, with its ratio to the baseline."""

    variant: str
    column: str
    value: float | None = None
    """In base units (bytes, seconds, tokens ...); None: `reason` says why."""
    shown: str = ""
    """The value in the column's unit, as people read it."""
    ratio: float | None = None
    ratio_estimate: Estimate | None = None
    """The ratio with its 95 % interval, where one was computed."""
    verdict: str = ""
    """What the interval lets one say of the ratio."""
    better: bool | None = None
    """Than the baseline; None: the same, not comparable, or the interval does not tell."""
    best: bool = False
    share: float | None = None
    """Length of its bar, of the longest in its column, 0 to 1."""
    repeats: tuple[float, ...] = ()
    estimate: Estimate | None = None
    reason: str = ""
    """Why there is no value, or why it is not comparable."""


class Matrix(_Frozen):
    columns: tuple[MatrixColumn, ...] = ()
    cells: tuple[MatrixCell, ...] = ()

    def cell(self, variant: str, column: str) -> MatrixCell | None:
        return next((cell for cell in self.cells if cell.variant == variant and cell.column == column), None)


class SettingRow(_Frozen):
    """One setting that differs between variants, as their engines report it."""

    name: str
    values: dict[str, str]
    """Variant id -> value; missing: not reported."""
    missed: dict[str, str] = Field(default_factory=dict)
    """Variant id -> `asked for X, runs with Y`, where the engine did not take a setting."""


class Statement(_Frozen):
    """A finding, verdict, caveat or warning: one sentence."""

    tone: Tone
    text: str


class RunInfo(_Frozen):
    """All that is needed to make a run again."""

    id: str
    title: str = ""
    kind: str = "bench"
    created_at: float | None = None
    finished_at: float | None = None
    status: str = ""
    command: tuple[str, ...] = ()
    workload: dict[str, Any] = Field(default_factory=dict)
    workload_words: str = ""
    load: dict[str, Any] = Field(default_factory=dict)
    load_words: str = ""
    order: str = ""
    seeds: dict[str, int] = Field(default_factory=dict)
    prompts_sha256: str = ""
    environment: Environment = Environment()
    notes: tuple[str, ...] = ()


class ForeignInfo(_Frozen):
    """Where the figures of a variant come from that another tool measured, and what its words mean here."""

    variant: str
    tool: str
    tool_version: str = ""
    file: str = ""
    model: str = ""
    command: str = ""
    created: str = ""
    """As the tool wrote it."""
    mapping: dict[str, str] = Field(default_factory=dict)
    """Our metric -> the tool's own name and definition."""


class Report(_Frozen):
    """What was measured, compared and concluded. Everything a format shows is in here."""

    schema_version: int = REPORT_SCHEMA
    kind: Literal["engine-workbench-report"] = "engine-workbench-report"
    title: str
    created_at: float
    """Seconds since the epoch."""
    workbench: str = ""
    """Version of the program that wrote it."""
    variants: tuple[Variant, ...] = ()
    matrix: Matrix = Matrix()
    points: tuple[Point, ...] = ()
    quality: tuple[QualityRecord, ...] = ()
    """`subject` and `baseline` are ids of variants."""
    scaling: tuple[ScalingGroup, ...] = ()
    """Engines that differ in their GPUs only; `subject` is the id of a variant."""
    settings: tuple[SettingRow, ...] = ()
    statements: tuple[Statement, ...] = ()
    runs: tuple[RunInfo, ...] = ()
    foreign: tuple[ForeignInfo, ...] = ()
    price: Price | None = None
    definitions: dict[str, str] = Field(default_factory=dict)
    """Metric -> its definition."""

    def variant(self, variant_id: str) -> Variant:
        """Raises KeyError."""
        for variant in self.variants:
            if variant.id == variant_id:
                return variant
        raise KeyError(variant_id)

    def points_of(self, variant_id: str) -> tuple[Point, ...]:
        """By rising level."""
        return tuple(
            sorted((point for point in self.points if point.variant == variant_id), key=lambda point: point.level)
        )

    @property
    def baseline(self) -> Variant | None:
        return next((variant for variant in self.variants if variant.baseline), None)

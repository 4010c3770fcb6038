"""What a preset holds: Pydantic models whose titles, help, units and limits also make the forms.

Rules here hold for any model and machine; what a toolchain or a GPU can do is checked by the plan.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, Strict, field_validator, model_validator

from workbench.core.errors import BadInputError
from workbench.core.gpu import find_gpu
from workbench.core.home import expanded
from workbench.core.precision import KvPrecision, Precision, ToolchainName
from workbench.core.preset_base import CONFLICT as CONFLICT
from workbench.core.preset_base import PresetTable, conflict, preset_field, preset_table
from workbench.core.preset_speculative import SpeculativeMode as SpeculativeMode
from workbench.core.preset_speculative import SpeculativeTable as SpeculativeTable

SCHEMA_VERSION = 1
ONNX_TOOLCHAINS = ("tensorrt_rtx", "onnxruntime")
"""Those that build from one form of ONNX folder, by the same steps."""

Goal = Literal["try-it", "latency", "throughput", "memory", "multi-gpu"]
GroupSize = Literal["auto", -1, 16, 32, 64, 128, 256]
Symmetric = Literal["auto"] | bool
Method = Literal["rtn", "awq", "gptq"]
Converter = Literal["auto", "modelopt", "tensorrt_llm"]
SchedulerPolicy = Literal["auto", "guaranteed_no_evict", "max_utilization", "static_batch"]
FlagValue = bool | int | float | str | list[bool] | list[int] | list[float] | list[str]

# TOML knows strings only, so enums are taken by value; all else is strict.
_Precision = Annotated[Precision, Strict(False)]
_KvPrecision = Annotated[KvPrecision, Strict(False)]


class ModelTable(PresetTable):
    """[model]"""

    trust_remote_code: bool = preset_field(
        False,
        "Trust the model's code",
        "Run Python files that come with the model folder. Off unless asked for.",
    )
    converter: Converter = preset_field(
        "auto",
        "Converter",
        "What makes a TensorRT-LLM checkpoint whose weights are only copied: modelopt needs neither a GPU nor "
        "TensorRT-LLM; tensorrt_llm is that package's own converter, which knows more models and reads GPTQ folders. "
        "auto: modelopt where it knows the model. Quantized precisions are made by ModelOpt.",
    )
    revision: str | None = preset_field(
        None, "Revision", "Branch, tag or commit to download when the model is given by name.", max_length=200
    )


class PrecisionTable(PresetTable):
    """[precision]"""

    weights: _Precision = preset_field(..., "Weights", "Precision of weights and activations.")
    kv_cache: _KvPrecision = preset_field(
        KvPrecision.AUTO, "KV cache", "Precision of the KV cache; auto leaves it to the toolchain."
    )
    group_size: GroupSize = preset_field(
        "auto",
        "Group size",
        "Weights that share one scale in 4-bit precisions; -1 is a whole channel. auto takes the largest "
        "size that divides the model's channels.",
        unit="weights",
    )
    symmetric: Symmetric = preset_field(
        "auto",
        "Symmetric",
        "Scales without zero points: faster, less exact. auto: symmetric at 8 bits, where it costs nothing, and "
        "with zero points at 4 bits, where small models answer nonsense without them.",
    )
    method: Method = preset_field(
        "rtn",
        "Method",
        "How int4 is made: rtn rounds to nearest, awq scales salient channels first, gptq corrects errors "
        "column by column. Precisions with a method in their name ignore it.",
    )
    ratio: float = preset_field(
        1.0,
        "Share at 4 bits",
        "Share of layers at int4; the others, the most sensitive, get int8.",
        ge=0.0,
        le=1.0,
        rare=True,
    )
    effective_bits: float | None = preset_field(
        None,
        "Effective bits",
        "Mixed precision: each layer keeps 16 bits or gets the precision named by weights, whichever it bears, so that "
        "weights take this many bits on average. None: one precision for all.",
        unit="bits",
        ge=4.0,
        le=16.0,
        rare=True,
    )
    data_aware: bool = preset_field(
        False,
        "Data-aware",
        "Choose scales and sensitive layers by running calibration text through the model.",
    )


class CalibrationTable(PresetTable):
    """[calibration]"""

    file: str | None = preset_field(
        None,
        "File",
        "Text, JSONL or Parquet file or folder; relative to the preset's own folder. None: the shipped set.",
        min_length=1,
        max_length=4096,
        kind="path",
    )
    field: str = preset_field(
        "text", "Field", "Column or key that holds the text.", min_length=1, max_length=200, rare=True
    )
    samples: int = preset_field(512, "Samples", "How many samples to run.", unit="samples", ge=1, le=100_000)
    length: int = preset_field(512, "Length", "Tokens of a sample.", unit="tokens", ge=8, le=131_072)
    batch_size: int = preset_field(1, "Batch size", "Samples run at once.", unit="samples", ge=1, le=1024)
    seed: int = preset_field(0, "Seed", "Seed of the sample order.", ge=0, le=2**31 - 1, rare=True)


class ParallelTable(PresetTable):
    """[parallel]"""

    tp: int = preset_field(1, "Tensor parallel", "GPUs that share every layer.", unit="GPUs", ge=1, le=64)
    pp: int = preset_field(1, "Pipeline parallel", "Groups of layers, one after the other.", unit="GPUs", ge=1, le=64)


class LimitsTable(PresetTable):
    """[limits]"""

    max_batch_size: int = preset_field(
        16, "Batch limit", "Most requests that are processed at once.", unit="requests", ge=1, le=8192
    )
    max_input_len: int | None = preset_field(
        None,
        "Input limit",
        "Longest prompt. None: as long as a sequence may be.",
        unit="tokens",
        ge=1,
        le=16_777_216,
    )
    max_seq_len: int | None = preset_field(
        None,
        "Sequence limit",
        "Prompt and answer together. None: the model's own.",
        unit="tokens",
        ge=2,
        le=16_777_216,
    )
    max_num_tokens: int | None = preset_field(
        None,
        "Token limit",
        "Most tokens of one iteration that the engine is built for. None: the toolchain's default.",
        unit="tokens",
        ge=1,
        le=1_048_576,
    )
    max_beam_width: int = preset_field(
        1, "Beam limit", "Most beams of a request; 1 is no beam search.", ge=1, le=64, rare=True
    )

    @model_validator(mode="after")
    def _input_fits_sequence(self) -> LimitsTable:
        if self.max_input_len and self.max_seq_len and self.max_input_len > self.max_seq_len:
            raise conflict(
                "max_input_len",
                f"limits.max_input_len ({self.max_input_len}) is above limits.max_seq_len "
                f"({self.max_seq_len}), which counts prompt and answer together",
            )
        return self


class RuntimeTable(PresetTable):
    """[runtime]"""

    kv_cache_gib: float | None = preset_field(
        None, "KV cache size", "Memory of the KV cache.", unit="GiB", gt=0.0, le=16_384.0
    )
    kv_fraction: float | None = preset_field(
        None,
        "KV cache share",
        "Share of the memory that is free after loading.",
        unit="share",
        gt=0.0,
        le=1.0,
    )
    kv_blocks: int | None = preset_field(
        None,
        "KV cache blocks",
        "Number of KV blocks, for exact experiments.",
        unit="blocks",
        ge=2,
        le=100_000_000,
        rare=True,
    )
    scheduler_policy: SchedulerPolicy = preset_field(
        "auto",
        "Scheduler policy",
        "guaranteed_no_evict starts a request only when it is sure to finish; max_utilization starts more "
        "and may pause some, which costs tail latency; static_batch waits for a whole batch. auto: the "
        "toolchain's default.",
    )
    chunked_prefill: bool = preset_field(
        True, "Chunked prefill", "Split long prompts over iterations, so that running answers do not stall."
    )
    prefix_caching: bool = preset_field(
        False, "Block reuse", "Keep KV blocks of past prompts for requests that begin with the same tokens."
    )
    host_cache_gib: float | None = preset_field(
        None,
        "Host cache",
        "Host memory for KV blocks that leave the GPU and may come back. None: none.",
        unit="GiB",
        gt=0.0,
        le=16_384.0,
        rare=True,
    )
    max_num_batched_tokens: int | None = preset_field(
        None,
        "Tokens per pass",
        "Most tokens that the scheduler puts into one pass of the engine. None: the toolchain's default.",
        unit="tokens",
        ge=1,
        le=1_048_576,
        rare=True,
    )

    @model_validator(mode="after")
    def _one_kv_size(self) -> RuntimeTable:
        names = [name for name in ("kv_cache_gib", "kv_fraction", "kv_blocks") if getattr(self, name) is not None]
        if len(names) > 1:
            said = " and ".join(f"runtime.{name}" for name in names)
            raise conflict(names[-1], f"{said} all size the KV cache; keep one (an override of none clears one)")
        return self


class VerifyTable(PresetTable):
    """[verify]"""

    enabled: bool = preset_field(True, "Verify", "Compare the engine's tokens with the source model's after the build.")
    min_agreement: float | None = preset_field(
        None,
        "Least agreement",
        "Share of positions with the source model's greedy token below which verify fails. None: by its precision.",
        unit="share",
        ge=0.0,
        le=1.0,
    )
    max_kl: float | None = preset_field(
        None,
        "Largest KL divergence",
        "Mean divergence from the source model's next-token distribution above which verify fails. "
        "None: by its precision.",
        unit="nats",
        ge=0.0,
        le=100.0,
    )
    prompts: list[str] | None = preset_field(
        None, "Prompts", "Prompts to compare on. None: those that are shipped.", min_length=1, max_length=1000
    )


class BuildTable(PresetTable):
    """[build]"""

    flags: dict[str, FlagValue] = Field(
        default_factory=dict,
        title="Flags",
        description="Flags of the toolchain's own build, by name; the toolchain checks them.",
        json_schema_extra={"unit": ""},
        max_length=500,
    )


@dataclass(frozen=True)
class VerifyLimits:
    """What verify accepts."""

    min_agreement: float
    """Share of positions, 0 to 1."""
    max_kl: float
    """Mean KL divergence source || variant, in nats."""


class Preset(PresetTable):
    """How to make an engine, for any model: what a preset file says."""

    title: str = preset_field(..., "Title", "Name for people.", min_length=1, max_length=120)
    goal: Goal = preset_field(..., "Goal", "What the preset is good for.")
    description: str = preset_field("", "Description", "When to take it, in a sentence or two.", max_length=4000)
    toolchain: ToolchainName = preset_field(..., "Toolchain", "What converts, builds and runs.")
    gpu: str | None = preset_field(
        None,
        "GPU",
        "GPU that the preset is meant for, by its name in the catalogue. None: any.",
        max_length=100,
    )
    model: ModelTable = preset_table(ModelTable, "Model", "How the model folder is read.")
    precision: PrecisionTable = Field(
        title="Precision", description="What the numbers are stored in.", json_schema_extra={"unit": ""}
    )
    calibration: CalibrationTable = preset_table(CalibrationTable, "Calibration", "Text for data-aware quantization.")
    parallel: ParallelTable = preset_table(ParallelTable, "Parallel", "How many GPUs share the model.")
    limits: LimitsTable = preset_table(LimitsTable, "Limits", "What the engine is built for.")
    runtime: RuntimeTable = preset_table(RuntimeTable, "Runtime", "How the engine is run.")
    speculative: SpeculativeTable = preset_table(
        SpeculativeTable, "Speculative decoding", "Tokens that are guessed, then checked by the engine."
    )
    verify: VerifyTable = preset_table(VerifyTable, "Verify", "When the engine counts as good.")
    build: BuildTable = preset_table(BuildTable, "Build", "Flags of the toolchain.")

    _id: str = PrivateAttr(default="")
    _source: Path | None = PrivateAttr(default=None)

    @field_validator("gpu")
    @classmethod
    def _known_gpu(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            return find_gpu(value).name
        except BadInputError as error:
            raise conflict("", f"gpu: {error.what.rstrip('.')}") from error

    @property
    def id(self) -> str:
        """The file name without `.toml`; "" for a preset that was never in a file."""
        return self._id

    @property
    def source(self) -> Path | None:
        """The file it was read from."""
        return self._source

    def with_origin(self, preset_id: str, source: Path | None) -> Preset:
        """The same preset under another id and file."""
        made = copy.copy(self)
        made._id, made._source = preset_id, source
        return made

    def to_data(self) -> dict[str, Any]:
        """The preset as plain data for JSON and TOML: `schema` first, values that are None left out."""
        return {"schema": SCHEMA_VERSION, **self.model_dump(mode="json", exclude_none=True)}

    @property
    def gpus(self) -> int:
        """GPUs that one engine takes (tensor parallel x pipeline parallel)."""
        return self.parallel.tp * self.parallel.pp

    @property
    def verify_limits(self) -> VerifyLimits:
        """The preset's own limits, else those of its precision."""
        weights, own = self.precision.weights, self.verify
        return VerifyLimits(
            weights.default_min_agreement if own.min_agreement is None else own.min_agreement,
            weights.default_max_kl if own.max_kl is None else own.max_kl,
        )

    @property
    def needs_calibration(self) -> bool:
        """Whether making this precision runs calibration text through the model."""
        if self.toolchain == "openvino":
            effective = self.effective_precision
            return effective.data_aware or effective.method == "gptq"
        if self.toolchain == "tensorrt_llm":
            return self.precision.weights.needs_calibration or self.precision.kv_cache.bits == 8
        if self.toolchain in ONNX_TOOLCHAINS:
            return (
                self.precision.weights in (Precision.FP8, Precision.NVFP4) or self.effective_precision.method == "awq"
            )
        return False

    @property
    def calibration_path(self) -> Path | None:
        """calibration.file, `~` expanded and taken from the preset's folder; None: the shipped set."""
        return self._beside(self.calibration.file)

    @property
    def draft_path(self) -> Path | None:
        """speculative.draft as a folder, `~` expanded and taken from the preset's folder; None: none is named."""
        return self._beside(self.speculative.draft)

    def _beside(self, named: str | None) -> Path | None:
        if named is None:
            return None
        path = Path(named)
        if named.startswith("~"):
            path = expanded(path)
        return path if path.is_absolute() or self.source is None else self.source.parent / path

    @property
    def effective_precision(self) -> PrecisionTable:
        """[precision] with what does not apply put back to its default, so that it changes no cache key.

        So one preset serves several precisions: `awq` and a group size mean nothing to an INT8 build of it.
        """
        fields = PrecisionTable.model_fields
        return self.precision.model_copy(update={name: fields[name].default for name in self.inapplicable_precision})

    @property
    def inapplicable_precision(self) -> tuple[str, ...]:
        """Keys of [precision] that do nothing with these weights and this toolchain."""
        table = self.precision
        reset: list[str] = []
        if not table.weights.is_quantized or self.toolchain == "pytorch":
            reset += ["group_size", "symmetric", "method", "ratio", "data_aware", "effective_bits"]
        elif table.weights is not Precision.INT4:
            reset += ["method", "ratio", "data_aware"]
            if table.weights.weight_bits != 4 or table.weights is Precision.NVFP4:
                reset.append("group_size")
        if self.toolchain != "tensorrt_llm":
            reset.append("effective_bits")
        if self.toolchain in ONNX_TOOLCHAINS:
            reset += ["symmetric", "ratio", "data_aware"]
        return tuple(dict.fromkeys(reset))

    @property
    def unused_settings(self) -> tuple[str, ...]:
        """Settings that were chosen and do nothing at this precision, such as `precision.method`."""
        chosen, used = self.precision.model_dump(), self.effective_precision.model_dump()
        return tuple(f"precision.{name}" for name in chosen if chosen[name] != used[name])


class Migration:
    """Brings a preset's data from schema `version` to the next one."""

    def __init__(self, name: str, version: int, apply: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.name, self.version, self.apply = name, version, apply


MIGRATIONS: tuple[Migration, ...] = ()
"""In order, one for each version below SCHEMA_VERSION."""


def migrate(
    data: Mapping[str, Any],
    version: int,
    migrations: Sequence[Migration] = MIGRATIONS,
    target: int = SCHEMA_VERSION,
) -> dict[str, Any]:
    """`data` of schema `version` as data of schema `target`; the input is left as it is.

    Raises BadInputError for a version that is newer than `target` or older than the first migration.
    """
    if version > target:
        raise BadInputError(
            f"this preset has schema {version}, and this Engine Workbench knows schemas up to {target}.",
            fix="Use a newer Engine Workbench, or a preset made for this one.",
            code="newer-preset",
        )
    steps = {step.version: step for step in migrations}
    made = copy.deepcopy(dict(data))
    for at in range(version, target):
        if at not in steps:
            raise BadInputError(
                f"schema {version} is not a schema that presets ever had.",
                fix=f"Write schema = {target} and check the keys.",
                code="unknown-preset-schema",
            )
        made = steps[at].apply(made)
    return made

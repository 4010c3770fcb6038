"""Loads a TensorRT-LLM engine folder as `tensorrt_llm._tensorrt_engine.LLM`, checked against its config.json first."""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from workbench.core.messages import Sampling
from workbench.core.trtllm.load_log import EngineLoadLog
from workbench.core.trtllm.log import explain_failure, split_lines
from workbench.workers.common import first_line, read_json
from workbench.workers.hosts.common import Limits, RequestError
from workbench.workers.hosts.settings import checked_settings
from workbench.workers.protocol import Channel, WorkerError
from workbench.workers.trtllm.common import (
    ENGINE_FILE,
    HANG_SECONDS,
    LAUNCHERS,
    EngineConfig,
    Gpu,
    hang_watch,
    installed_version,
    missing_ranks,
    mpi_launcher,
    read_engine_config,
    refuse_newer,
    visible_gpus,
    without_source_lines,
)
from workbench.workers.trtllm.drafting import DraftSettings, built_mode, speculative_config

KV_FRACTION = 0.9
KV_FRACTION_WITH_DISPLAY = 0.8
"""Of the memory that is free after loading: a desktop on the same GPU goes on needing some."""
_LOG_BYTES = 8 * 2**20


class HostSettings(BaseModel):
    """Runtime settings of a TensorRT-LLM engine; None leaves a value to the library."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    kv_cache_free_gpu_memory_fraction: float | None = Field(default=None, gt=0.0, le=1.0)
    """Of the memory that is free after loading. None: 0.9, or 0.8 where a GPU drives a display."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Tokens that the KV pool holds at most."""
    kv_blocks: int | None = Field(default=None, gt=0)
    """Blocks of the KV pool at most; of this and `max_tokens` the smaller counts."""
    kv_cache_bytes: int | None = Field(default=None, gt=0)
    """Bytes of the KV pool on each GPU at most."""
    enable_block_reuse: bool = True
    enable_partial_reuse: bool | None = None
    copy_on_partial_reuse: bool | None = None
    host_cache_size: int | None = Field(default=None, ge=0)
    """Bytes of host memory that blocks are moved to before they are forgotten."""
    onboard_blocks: bool | None = None
    secondary_offload_min_priority: int | None = None
    max_attention_window: list[int] | None = None
    sink_token_length: int | None = Field(default=None, ge=0)
    event_buffer_max_size: int | None = Field(default=None, ge=0)
    use_uvm: bool | None = None
    scheduler_policy: Literal["auto", "guaranteed_no_evict", "max_utilization", "static_batch"] = "auto"
    context_chunking_policy: Literal["first_come_first_served", "equal_progress"] | None = None
    enable_chunked_context: bool = True
    """Chunked prefill: long prompts are split over iterations."""
    enable_batch_size_tuning: bool = False
    enable_max_num_tokens_tuning: bool = False
    max_batch_size: int | None = Field(default=None, gt=0)
    max_num_tokens: int | None = Field(default=None, gt=0)
    max_seq_len: int | None = Field(default=None, gt=0)
    multi_block_mode: bool | None = None
    enable_context_fmha_fp32_acc: bool | None = None
    cuda_graph_mode: bool | None = None
    cuda_graph_cache_size: int | None = Field(default=None, ge=0)
    gather_generation_logits: bool = False
    """Needed for log probabilities of the answer; costs memory and time."""
    return_perf_metrics: bool = False
    fail_fast_on_attention_window_too_large: bool = False
    normalize_log_probs: bool | None = None
    iter_stats_max_iterations: int | None = Field(default=None, gt=0)
    trust_remote_code: bool = False
    tokenizer_mode: Literal["auto", "slow"] = "auto"
    speculative: DraftSettings | None = None
    """None: no guesses, or (draft_target) nobody here who makes them."""
    hang_seconds: float = Field(default=HANG_SECONDS, gt=0)
    """How long nothing may be heard while TensorRT-LLM is imported and MPI starts."""


_ALIASES = {
    "enable_chunked_prefill": "enable_chunked_context",
    "free_gpu_memory_fraction": "kv_cache_free_gpu_memory_fraction",
}
"""Today's names of the library for what is longer known by another."""
_KV = (
    "enable_partial_reuse",
    "copy_on_partial_reuse",
    "host_cache_size",
    "onboard_blocks",
    "secondary_offload_min_priority",
    "max_attention_window",
    "sink_token_length",
    "event_buffer_max_size",
    "use_uvm",
)
_KNOBS = ("multi_block_mode", "enable_context_fmha_fp32_acc", "cuda_graph_mode", "cuda_graph_cache_size")
_PLAIN = ("max_batch_size", "max_num_tokens", "normalize_log_probs", "iter_stats_max_iterations")
_SWITCHES = ("gather_generation_logits", "return_perf_metrics", "fail_fast_on_attention_window_too_large",
             "trust_remote_code")  # fmt: skip


def host_settings(given: dict[str, Any], channel: Channel) -> HostSettings:
    """Settings from the spec; unknown ones are logged. Raises WorkerError `bad-settings`."""
    named = {_ALIASES.get(key, key): value for key, value in given.items() if value is not None}
    return checked_settings(HostSettings, named, channel)


@dataclass
class Engine:
    """A loaded engine."""

    llm: Any
    config: EngineConfig
    settings: HostSettings
    tokenizer: Any
    tokenizer_folder: Path
    chunked: bool
    loaded: EngineLoadLog
    """What the runtime printed while loading; empty where the raw log is not a file."""
    started_s: float
    kv_blocks: int | None = None
    kv_block_tokens: int | None = None
    memory_bytes: dict[str, int] = field(default_factory=dict)

    @property
    def max_seq_len(self) -> int:
        lengths = (self.config.limits.get("max_seq_len"), self.settings.max_seq_len, self.loaded.reduced_seq_len)
        return min((length for length in lengths if length), default=2048)

    @property
    def max_batch_size(self) -> int:
        return min(self.config.limits.get("max_batch_size", 2048), self.settings.max_batch_size or 2**31)

    @property
    def max_num_tokens(self) -> int:
        return min(self.config.limits.get("max_num_tokens", 8192), self.settings.max_num_tokens or 2**31)

    @property
    def kv_tokens(self) -> int | None:
        if self.kv_blocks is None or self.kv_block_tokens is None:
            return None
        return self.kv_blocks * self.kv_block_tokens

    @property
    def limits(self) -> Limits:
        vocabulary = self.config.pretrained.get("vocab_size")
        return Limits(
            max_seq_len=self.max_seq_len,
            kv_tokens=self.kv_tokens,
            vocabulary=vocabulary if isinstance(vocabulary, int) else None,
            prompt_batch=None if self.chunked else self.max_num_tokens,
        )

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        """Tokens of a text, by the model's own tokenizer."""
        return [int(token) for token in self.tokenizer.encode(text, add_special_tokens=add_special_tokens)]

    def decode(self, ids: list[int]) -> str:
        """Text of tokens, special ones left out; incomplete characters show as U+FFFD."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def note_pool(self, record: dict[str, Any]) -> None:
        """Take the KV pool's size from an iteration record."""
        pool = record.get("kvCacheStats")
        if not isinstance(pool, dict):
            return
        blocks, tokens = pool.get("maxNumBlocks"), pool.get("tokensPerBlock")
        if isinstance(blocks, int) and isinstance(tokens, int):
            self.kv_blocks, self.kv_block_tokens = blocks, tokens
            per_token = self.config.kv_bytes_per_token
            if per_token is not None:
                self.memory_bytes["kv_pool"] = blocks * tokens * per_token


def applied_settings(engine: Engine) -> dict[str, str]:
    """What is really in force: the engine's own config.json, what the runtime printed while loading, and of what the
    library was given that which it takes as it is."""
    config = engine.config
    quantization = config.pretrained.get("quantization")
    quantization = quantization if isinstance(quantization, dict) else {}
    dtype = str(config.pretrained.get("dtype") or "")
    paged = config.plugins.get("use_paged_context_fmha") is not False
    found = {
        "device": "1 GPU" if config.ranks == 1 else f"{config.ranks} GPUs",
        "prefix_caching": "on" if engine.settings.enable_block_reuse and paged else "off",
        "chunked_prefill": "on" if engine.chunked else "off",
    }
    if dtype:
        found["compute_precision"] = dtype
        found["kv_cache_precision"] = str(quantization.get("kv_cache_quant_algo") or dtype).lower()
    if quantization.get("quant_algo"):
        found["weights_precision"] = str(quantization["quant_algo"])
    if engine.settings.speculative is not None:
        found["speculative"] = engine.settings.speculative.mode
        if isinstance(draft_len := config.build.get("max_draft_len"), int):
            found["draft_tokens"] = str(draft_len)
    if engine.loaded.scheduler_policy:
        found["scheduler"] = engine.loaded.scheduler_policy.lower()
    return found


def sampling_names(engine: Engine) -> tuple[str, ...]:
    """Fields of `Sampling` that the loaded engine takes: log probabilities only where it keeps the logits."""
    lacks = () if engine.settings.gather_generation_logits else ("logprobs",)
    return tuple(name for name in Sampling.model_fields if name not in lacks)


def sampling_params(sampling: Sampling, max_tokens: int, engine: Engine) -> Any:
    """The library's settings for one request. Raises RequestError.

    Text is made by the host, so the library does not detokenize. With a temperature the draw is from all tokens
    unless top_p or top_k say otherwise: with neither the library would be greedy whatever the temperature. Without a
    seed every request draws its own; the library's default is the same for all.
    """
    import secrets

    from tensorrt_llm._tensorrt_engine import SamplingParams

    if sampling.logprobs and not engine.settings.gather_generation_logits:
        raise RequestError(
            "log probabilities need an engine loaded with gather_generation_logits; load it so, or leave them out"
        )
    values: dict[str, Any] = {"max_tokens": max_tokens, "ignore_eos": sampling.ignore_eos, "detokenize": False}
    if sampling.logprobs:
        values["logprobs"] = 1
    if sampling.repetition_penalty is not None:
        values["repetition_penalty"] = sampling.repetition_penalty
    if sampling.temperature > 0:
        values["temperature"] = sampling.temperature
        values["seed"] = secrets.randbits(31) if sampling.seed is None else sampling.seed
        values["top_p"] = 1.0 if sampling.top_p is None else sampling.top_p
        for name in ("top_k", "min_p"):
            if getattr(sampling, name) is not None:
                values[name] = getattr(sampling, name)
    try:
        return SamplingParams(**values)
    except (TypeError, ValueError) as error:
        raise RequestError(f"the engine does not accept these sampling settings: {first_line(error)}") from error


def check_engine(folder: Path, channel: Channel) -> tuple[EngineConfig, tuple[Gpu, ...]]:
    """What the engine's folder says against what is here, before anything is loaded.

    Raises WorkerError `bad-engine`, `engine-of-other-version`, `engine-of-other-gpu`, `not-enough-gpus`,
    `no-mpi-launcher`, `no-engine-runtime`, `import-failed`.
    """
    config = read_engine_config(folder)
    absent = missing_ranks(folder, config.ranks)
    if absent:
        raise WorkerError(
            f"the engine lacks {len(absent)} of its {config.ranks} rank files",
            code="bad-engine",
            cause=f"{', '.join(absent[:8])} not in {folder}",
            hint="Build the engine again.",
        )
    _check_version(config)
    if config.ranks > 1 and not mpi_launcher():
        raise WorkerError(
            f"the engine's {config.ranks} ranks cannot be started: MPI's launcher is missing",
            code="no-mpi-launcher",
            cause=f"none of {', '.join(LAUNCHERS)} on PATH or in OPAL_PREFIX/bin",
            hint="Install Open MPI's programs (openmpi-bin on Debian and Ubuntu), or add their folder to PATH.",
        )
    gpus = visible_gpus()
    if not gpus:
        channel.log("nvidia-smi names no GPU here, so the engine's GPU is not checked before loading", "warning")
        return config, ()
    if len(gpus) < config.ranks:
        raise WorkerError(
            f"the engine needs {config.ranks} GPUs, {len(gpus)} are visible",
            code="not-enough-gpus",
            cause=f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}",
            hint=f"Run it where there are {config.ranks} GPUs, or build it for smaller parallel sizes.",
        )
    _check_gpus(folder, gpus[: config.ranks], channel)
    return config, gpus[: config.ranks]


def _check_version(config: EngineConfig) -> None:
    installed = installed_version()
    if not installed:
        raise WorkerError(
            "TensorRT-LLM is not installed in this environment",
            code="import-failed",
            cause=f"no distribution tensorrt_llm for {sys.executable}",
            hint="Choose the environment that the engine was built with; `workbench doctor` lists them.",
        )
    refuse_newer("runs no engines", f"the engine was built with {config.version or 'an unnamed version'}")
    if config.version is not None and config.version != installed:
        raise WorkerError(
            f"the engine was built with TensorRT-LLM {config.version}, here is {installed}",
            code="engine-of-other-version",
            cause=f"version in config.json: {config.version}",
            hint="Build the engine again with the version that is to run it, or choose the environment that built it.",
        )


def _check_gpus(folder: Path, gpus: tuple[Gpu, ...], channel: Channel) -> None:
    """Engines run on the compute capability that they were built on; config.json does not name it, our notes do."""
    notes = read_json(folder / ENGINE_FILE) if (folder / ENGINE_FILE).is_file() else {}
    built = notes.get("gpu")
    if not isinstance(built, dict):
        return
    for gpu in gpus:
        if built.get("compute_capability") not in (None, gpu.compute_capability):
            raise WorkerError(
                f"the engine was built on {built.get('name')} (compute capability {built['compute_capability']}), "
                f"GPU {gpu.index} here is {gpu.name} ({gpu.compute_capability})",
                code="engine-of-other-gpu",
                cause=f"{ENGINE_FILE}: {built}",
                hint="Build the engine again on this GPU.",
            )
    if built.get("name") not in (None, gpus[0].name):
        channel.log(f"the engine was built on {built['name']}, this is {gpus[0].name}: it may be slower", "warning")


def load_engine(folder: Path, tokenizer: Path, settings: HostSettings, channel: Channel) -> Engine:
    """Check the engine, then load it. Raises WorkerError."""
    started = time.monotonic()
    channel.phase("check", 1, 3)
    config, gpus = check_engine(folder, channel)
    channel.phase("load", 2, 3)
    with raw_log_lines() as lines:
        try:
            with hang_watch(channel, lines, settings.hang_seconds):
                import tensorrt_llm
                from tensorrt_llm._tensorrt_engine import LLM
        except (ImportError, OSError, RuntimeError, SystemError) as error:
            raise _explained("TensorRT-LLM cannot be imported", "import-failed", error, lines()) from error
        arguments, chunked = _arguments(folder, config, settings, gpus, channel)
        channel.log(f"TensorRT-LLM {tensorrt_llm.__version__}, {config.ranks} GPU(s), {_shown(arguments)}")
        try:
            with hang_watch(channel, lines, settings.hang_seconds, loading=True):
                llm = LLM(model=str(folder), tokenizer=str(tokenizer), **arguments)
        except Exception as error:
            raise _explained("TensorRT-LLM cannot load the engine", "bad-engine", error, lines()) from error
        loaded = EngineLoadLog()
        for line in lines():
            loaded.feed(line)
    if loaded.reduced_seq_len is not None:
        channel.log(
            f"the KV pool holds less than one full sequence: requests are limited to {loaded.reduced_seq_len:,} tokens",
            "warning",
        )
    if getattr(llm, "tokenizer", None) is None:
        raise WorkerError(
            "the model's tokenizer was not found",
            code="no-tokenizer",
            cause=f"no tokenizer that transformers can load in {tokenizer}",
            hint="Give the model's folder as the engine's tokenizer: trtllm-build copies none.",
        )
    names = {"weights": "weights", "activations": "activations", "runtime_buffers": "runtime_buffers"}
    memory = {
        ours: int(loaded.memory_gib[theirs] * 2**30) for theirs, ours in names.items() if loaded.memory_gib.get(theirs)
    }
    return Engine(llm, config, settings, llm.tokenizer, tokenizer, chunked, loaded, started, memory_bytes=memory)


def _arguments(
    folder: Path, config: EngineConfig, settings: HostSettings, gpus: tuple[Gpu, ...], channel: Channel
) -> tuple[dict[str, Any], bool]:
    """Arguments of LLM(), and whether prefill is chunked."""
    from tensorrt_llm.llmapi import (
        CapacitySchedulerPolicy,
        ContextChunkingPolicy,
        DynamicBatchConfig,
        ExtendedRuntimePerfKnobConfig,
        KvCacheConfig,
        SchedulerConfig,
    )

    paged = config.plugins.get("use_paged_context_fmha") is not False
    chunked, reuse = settings.enable_chunked_context and paged, settings.enable_block_reuse and paged
    for wanted, name in (
        (settings.enable_chunked_context, "chunked prefill"),
        (settings.enable_block_reuse, "block reuse"),
    ):
        if wanted and not paged:
            channel.log(f"the engine was built without paged context FMHA, so there is no {name}", "warning")
    kv: dict[str, Any] = {name: value for name in _KV if (value := getattr(settings, name)) is not None}
    kv["enable_block_reuse"] = reuse
    kv["free_gpu_memory_fraction"] = settings.kv_cache_free_gpu_memory_fraction or _default_fraction(gpus, channel)
    tokens = [settings.max_tokens] if settings.max_tokens else []
    if settings.kv_blocks:
        tokens.append(settings.kv_blocks * (config.tokens_per_block or 32))
    if tokens:
        kv["max_tokens"] = min(tokens)
    if settings.kv_cache_bytes:
        kv["max_gpu_total_bytes"] = settings.kv_cache_bytes
    made: dict[str, Any] = {
        "tensor_parallel_size": 1,  # the engine's own sizes are taken
        "tokenizer_mode": settings.tokenizer_mode,
        "kv_cache_config": KvCacheConfig(**kv),
        "enable_chunked_prefill": chunked,
    }
    scheduler: dict[str, Any] = {}
    if settings.scheduler_policy != "auto":
        scheduler["capacity_scheduler_policy"] = CapacitySchedulerPolicy(settings.scheduler_policy.upper())
    if settings.context_chunking_policy is not None:
        scheduler["context_chunking_policy"] = ContextChunkingPolicy(settings.context_chunking_policy.upper())
    if settings.enable_batch_size_tuning or settings.enable_max_num_tokens_tuning:
        scheduler["dynamic_batch_config"] = DynamicBatchConfig(
            enable_batch_size_tuning=settings.enable_batch_size_tuning,
            enable_max_num_tokens_tuning=settings.enable_max_num_tokens_tuning,
            dynamic_batch_moving_average_window=128,
        )
    if scheduler:
        made["scheduler_config"] = SchedulerConfig(**scheduler)
    knobs = {name: value for name in _KNOBS if (value := getattr(settings, name)) is not None}
    if knobs:
        made["extended_runtime_perf_knob_config"] = ExtendedRuntimePerfKnobConfig(**knobs)
    made |= {name: value for name in _PLAIN if (value := getattr(settings, name)) is not None}
    made |= {name: True for name in _SWITCHES if getattr(settings, name)}
    guesses = speculative_config(config, settings.speculative, str(folder))
    if guesses is not None:
        # Only so are the guesses of each answer counted.
        made |= {"speculative_config": guesses, "return_perf_metrics": True}
    elif built_mode(config) == "draft_tokens_external":
        channel.log(
            "the engine takes guesses of a second one, which this host cannot give it: it runs without. Triton's "
            "BLS model drives both"
        )
    return made, chunked


def _default_fraction(gpus: tuple[Gpu, ...], channel: Channel) -> float:
    shown = [str(gpu.index) for gpu in gpus if gpu.display]
    if not shown:
        return KV_FRACTION
    channel.log(
        f"GPU {', '.join(shown)} drives a display: the KV cache takes {KV_FRACTION_WITH_DISPLAY:.0%} of free memory"
    )
    return KV_FRACTION_WITH_DISPLAY


def _shown(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items() if isinstance(value, bool | int | str))


def _explained(what: str, code: str, error: BaseException, lines: list[str]) -> WorkerError:
    """An exception of the library in words: its cause is often in the log alone."""
    text = f"{type(error).__name__}: {error}"
    failure = explain_failure([*without_source_lines(lines), *split_lines(text)])
    if failure.code == "failed":
        return WorkerError(what, code=code, cause=failure.evidence or first_line(error), hint=failure.fix)
    return WorkerError(failure.what, code=failure.code, cause=failure.evidence, hint=failure.fix)


@contextlib.contextmanager
def raw_log_lines() -> Iterator[Any]:
    """A function that gives the lines printed since, as far as standard error is a file (the raw log)."""
    begin = os.fstat(2).st_size if stat.S_ISREG(os.fstat(2).st_mode) else None

    def lines() -> list[str]:
        if begin is None:
            return []
        sys.stderr.flush()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).fflush(None)  # C++ output to a file waits in a buffer
        with contextlib.suppress(OSError), Path("/proc/self/fd/2").open("rb") as log:
            log.seek(begin)
            return split_lines(log.read(_LOG_BYTES).decode("utf-8", "replace"))
        return []

    yield lines

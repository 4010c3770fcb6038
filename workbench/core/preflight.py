"""Preflight: what a build and its engine will take on this machine, for each precision, before anything runs."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from workbench.core.engine_estimate import EngineEstimate, MemoryPart, sequence_tokens
from workbench.core.estimate import (
    activation_bytes,
    host_memory_bytes,
    kv_bytes_per_sequence,
    kv_bytes_per_token,
    kv_capacity,
    runtime_bytes,
    weight_bytes,
)
from workbench.core.gpu import GpuSpec
from workbench.core.host import HostSpec
from workbench.core.model import ModelSpec
from workbench.core.plan import Step
from workbench.core.precision import Precision
from workbench.core.preflight_gpu import gpu_engine
from workbench.core.preflight_rtx import onnx_cpu_engine, rtx_engine
from workbench.core.preset import Preset
from workbench.core.speculative import draft_precision
from workbench.core.units import Range

DEFAULT_KV_BYTES = 2**30
"""KV pool of the CPU engine host when the preset sizes none."""
_DEFAULT_BATCH_TOKENS = 256


class Preflight(BaseModel):
    """The numbers; what is wrong or wasteful about them is workbench.core.advice's to say."""

    model_config = ConfigDict(frozen=True)

    engines: tuple[EngineEstimate, ...]
    host_memory_peak: Range
    """Of the most demanding step, that is not cached or not known to be."""
    host_memory_step: str
    disk: Range
    seconds: Range


def kv_pool_bytes(preset: Preset, model: ModelSpec, free_bytes: int) -> int:
    """Bytes of the KV pool that the preset asks for."""
    runtime = preset.runtime
    if runtime.kv_cache_gib is not None:
        return int(runtime.kv_cache_gib * 2**30)
    if runtime.kv_blocks is not None:
        return int(runtime.kv_blocks * 32 * kv_bytes_per_token(model, preset.precision.kv_cache.value).high)
    if runtime.kv_fraction is not None:
        return int(max(free_bytes, 0) * runtime.kv_fraction)
    return DEFAULT_KV_BYTES


def cpu_engine(preset: Preset, model: ModelSpec, precision: Precision, host: HostSpec) -> EngineEstimate:
    """The running engine in host memory."""
    kv = preset.precision.kv_cache.value
    group = preset.precision.group_size
    weights = weight_bytes(model, precision.value, group_size=group if isinstance(group, int) and group > 0 else None)
    runtime = runtime_bytes("cpu")
    activations = activation_bytes(
        model,
        batch_tokens=preset.runtime.max_num_batched_tokens or _DEFAULT_BATCH_TOKENS,
        batch_size=preset.limits.max_batch_size,
        width_bytes=4,
    )
    available = host.memory_available_bytes or host.memory_total_bytes
    pool = kv_pool_bytes(preset, model, int(available - weights.high - runtime.high - activations.high))
    pool_range = Range.bytes(pool, formula="the preset's [runtime]", source="preset")
    parts: tuple[MemoryPart, ...] = (
        MemoryPart(name="weights", bytes=weights),
        MemoryPart(name="KV pool", bytes=pool_range),
        MemoryPart(name="activations", bytes=activations),
        MemoryPart(name="runtime", bytes=runtime),
    )
    draft = _draft(preset, model, precision, pool)
    parts += (MemoryPart(name="draft", bytes=draft),) if draft is not None else ()
    length = sequence_tokens(preset, model)
    return EngineEstimate(
        precision=precision.value,
        parts=parts,
        total=sum((part.bytes for part in parts[1:]), parts[0].bytes),
        memory_bytes=host.memory_total_bytes,
        kv_bytes_per_token=kv_bytes_per_token(model, kv),
        kv_bytes_per_sequence=kv_bytes_per_sequence(model, kv, length),
        sequence_tokens=length,
        kv_pool_bytes=pool,
        capacity=kv_capacity(model, kv, pool, length),
    )


def _draft(preset: Preset, model: ModelSpec, precision: Precision, pool_bytes: int) -> Range | None:
    """Weights and KV pool of the same model at the draft's precision; None where there is no such draft. One that is
    a folder is known when it is loaded.
    """
    name = draft_precision(preset.speculative)
    if not name or name == precision.value:
        return None
    # It gets a KV pool of as many blocks as the engine, and its KV heads are the same.
    return weight_bytes(model, name) + Range.bytes(pool_bytes, formula="a KV pool of as many blocks", source="preset")


def engine_estimates(
    preset: Preset, model: ModelSpec, precisions: tuple[Precision, ...], host: HostSpec, gpus: tuple[GpuSpec, ...]
) -> tuple[EngineEstimate, ...]:
    """Each precision's running engine, where the preset's toolchain runs it."""
    if preset.toolchain == "tensorrt_rtx":
        return tuple(rtx_engine(preset, model, precision, gpus) for precision in precisions) if gpus else ()
    if preset.toolchain == "onnxruntime":
        return tuple(onnx_cpu_engine(preset, model, precision, host) for precision in precisions)
    if preset.toolchain == "tensorrt_llm":
        return tuple(gpu_engine(preset, model, precision, gpus) for precision in precisions) if gpus else ()
    return tuple(cpu_engine(preset, model, precision, host) for precision in precisions)


def preflight(
    preset: Preset,
    model: ModelSpec,
    precisions: tuple[Precision, ...],
    steps: tuple[Step, ...],
    host: HostSpec,
    gpus: tuple[GpuSpec, ...] = (),
) -> Preflight:
    """Estimates of the steps that would run, and of each engine. `gpus`: those that are planned for."""
    wanted = [step for step in steps if not step.none_reason]
    seconds = Range.seconds(0, 0, formula="nothing to run", source="plan")
    disk = Range.bytes(0, formula="nothing to write", source="plan")
    peak, peak_step = host_memory_bytes(model, "check"), "Check"
    timed = [s.estimate.seconds for s in wanted if s.estimate.seconds]
    written = [s.estimate.disk_bytes for s in wanted if s.estimate.disk_bytes]
    if timed:
        seconds = sum(timed[1:], timed[0])
    if written:
        disk = sum(written[1:], written[0])
    for step in wanted:
        memory = step.estimate.host_memory_bytes
        if memory is not None and memory.high > peak.high:
            peak, peak_step = memory, f"{step.title} {step.variant}".strip()
    return Preflight(
        engines=engine_estimates(preset, model, precisions, host, gpus),
        host_memory_peak=peak,
        host_memory_step=peak_step,
        disk=disk,
        seconds=seconds,
    )

"""Preflight: what a build and its engine will take on this machine, for each precision, before anything runs."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from workbench.core.estimate import (
    KvCapacity,
    activation_bytes,
    host_memory_bytes,
    kv_bytes_per_sequence,
    kv_bytes_per_token,
    kv_capacity,
    runtime_bytes,
    weight_bytes,
)
from workbench.core.host import HostSpec
from workbench.core.model import ModelSpec
from workbench.core.plan import Step
from workbench.core.precision import Precision
from workbench.core.preset import Preset
from workbench.core.units import Range

DEFAULT_SEQUENCE_TOKENS = 4096
"""Length that "fits N sequences" is said for when neither preset nor model gives one."""
DEFAULT_KV_BYTES = 2**30
"""KV pool of the CPU engine host when the preset sizes none."""
_DEFAULT_BATCH_TOKENS = 256


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class MemoryPart(_Frozen):
    """One part of the memory picture while the engine runs. `bytes` is a range with its formula."""

    name: str
    bytes: Range


class EngineEstimate(_Frozen):
    """The running engine at one precision."""

    precision: str
    parts: tuple[MemoryPart, ...]
    """Weights, KV pool, activations, runtime: in the order they are drawn."""
    total: Range
    memory_bytes: int
    """What the device has in all."""
    kv_bytes_per_token: Range
    kv_bytes_per_sequence: Range
    sequence_tokens: int
    kv_pool_bytes: int
    capacity: KvCapacity


class Preflight(_Frozen):
    """The numbers; what is wrong or wasteful about them is workbench.core.advice's to say."""

    engines: tuple[EngineEstimate, ...]
    host_memory_peak: Range
    """Of the most demanding step, that is not cached or not known to be."""
    host_memory_step: str
    disk: Range
    seconds: Range


def sequence_tokens(preset: Preset, model: ModelSpec) -> int:
    """The longest sequence that the engine is to take."""
    return preset.limits.max_seq_len or model.max_positions or DEFAULT_SEQUENCE_TOKENS


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
    parts = (
        MemoryPart(name="weights", bytes=weights),
        MemoryPart(name="KV pool", bytes=pool_range),
        MemoryPart(name="activations", bytes=activations),
        MemoryPart(name="runtime", bytes=runtime),
    )
    length = sequence_tokens(preset, model)
    return EngineEstimate(
        precision=precision.value,
        parts=parts,
        total=weights + pool_range + activations + runtime,
        memory_bytes=host.memory_total_bytes,
        kv_bytes_per_token=kv_bytes_per_token(model, kv),
        kv_bytes_per_sequence=kv_bytes_per_sequence(model, kv, length),
        sequence_tokens=length,
        kv_pool_bytes=pool,
        capacity=kv_capacity(model, kv, pool, length),
    )


def preflight(
    preset: Preset, model: ModelSpec, precisions: tuple[Precision, ...], steps: tuple[Step, ...], host: HostSpec
) -> Preflight:
    """Estimates of the steps that would run, and of each engine."""
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
        engines=tuple(cpu_engine(preset, model, precision, host) for precision in precisions),
        host_memory_peak=peak,
        host_memory_step=peak_step,
        disk=disk,
        seconds=seconds,
    )

"""Preflight of engines made from ONNX folders: what TensorRT-RTX's take on a GPU, and ONNX Runtime's in host memory.

onnxruntime-genai gives each request a KV cache of its own, in one piece: there is no pool, and what is taken grows
with the requests that run.
"""

from __future__ import annotations

from collections.abc import Sequence

from workbench.core.engine_estimate import DEFAULT_SEQUENCE_TOKENS, EngineEstimate, MemoryPart, sequence_tokens
from workbench.core.errors import BadInputError
from workbench.core.estimate import (
    PLAIN_BYTES,
    KvCapacity,
    activation_bytes,
    disk_bytes,
    kv_bytes_per_sequence,
    kv_bytes_per_token,
    kv_capacity,
    runtime_bytes,
    weight_bytes,
)
from workbench.core.gpu import GpuSpec
from workbench.core.host import HostSpec
from workbench.core.model import ModelSpec
from workbench.core.plan import StepEstimate
from workbench.core.precision import Precision
from workbench.core.preset import Preset
from workbench.core.units import Range, format_bytes

DEFAULT_LENGTH = DEFAULT_SEQUENCE_TOKENS
"""Longest sequence of a TensorRT-RTX engine where the preset names none and the model takes more: activations are
planned for it."""
TWO_PROFILES = 1.7
"""Weights of an engine with profiles for prefill and decode, each laid out for its kernels, against one with a single
profile: 620 MB against 367 MB for SmolLM2-135M in FP16."""
COMPILED = 1.13
"""An engine with one profile against the weights that it was compiled from: 367 MB against 326 MB for the same."""
_GIB = 2**30
_MEASURED = "bounds around measured builds (SmolLM2-135M in FP16: 14 to 90 s on 2 cores, 1.9 GiB with two profiles)"
_PREFILL_TOKENS = 512
"""Prompt tokens that the host computes at once where nothing is said."""


def built_length(preset: Preset, model: ModelSpec) -> int:
    """The longest sequence that a TensorRT-RTX engine is built for, in tokens."""
    return preset.limits.max_seq_len or min(model.max_positions or DEFAULT_LENGTH, DEFAULT_LENGTH)


def computes_in(precision: Precision, *, on_cpu: bool) -> str:
    """fp32, fp16 or bf16: what activations and KV cache are held in."""
    if precision in (Precision.FP32, Precision.FP16, Precision.BF16):
        return str(precision)
    return "fp32" if on_cpu else "fp16"


def has_two_profiles(preset: Preset) -> bool:
    """Whether an engine gets a profile for prompts and one for single tokens."""
    return preset.build.flags.get("profiles", "prefill+decode") != "one"


def rtx_engine(preset: Preset, model: ModelSpec, precision: Precision, gpus: Sequence[GpuSpec]) -> EngineEstimate:
    """The running engine on the GPU, of those that it is built for, that has the least memory.

    Raises BadInputError when there are no GPUs.
    """
    if not gpus:
        raise BadInputError("A GPU engine cannot be estimated without a GPU.", fix="Set gpu in the preset.")
    gpu = min(gpus, key=lambda each: each.memory_bytes)
    length, batch = built_length(preset, model), preset.limits.max_batch_size
    kv = computes_in(precision, on_cpu=False)
    stored = onnx_weight_bytes(model, precision, kv, preset.precision.group_size)
    two = has_two_profiles(preset)
    weights = Range.bytes(
        stored.low,
        stored.high * COMPILED * (TWO_PROFILES if two else 1),
        formula=f"{stored.formula}; compiled up to {COMPILED:g} times that"
        + (f", and {TWO_PROFILES:g} times with two profiles" if two else ""),
        source=stored.source,
    )
    activations = activation_bytes(model, batch_tokens=length, batch_size=batch, width_bytes=PLAIN_BYTES[kv])
    return _estimate(
        model,
        precision,
        kv,
        (weights, activations, runtime_bytes("gpu")),
        (length, batch),
        gpu.memory_bytes,
        gpu.memory_used_bytes or 0,
        preset.runtime.kv_cache_gib,
        device=gpu.name,
        gpus=1,
        notes=("each request has a KV cache of its own, in one piece",),
    )


def onnx_cpu_engine(preset: Preset, model: ModelSpec, precision: Precision, host: HostSpec) -> EngineEstimate:
    """The running engine in host memory."""
    kv = computes_in(precision, on_cpu=True)
    weights = onnx_weight_bytes(model, precision, kv, preset.precision.group_size)
    tokens = preset.runtime.max_num_batched_tokens or _PREFILL_TOKENS
    activations = activation_bytes(model, batch_tokens=tokens, batch_size=1, width_bytes=4)
    return _estimate(
        model,
        precision,
        kv,
        (weights, activations, runtime_bytes("cpu")),
        (sequence_tokens(preset, model), preset.limits.max_batch_size),
        host.memory_total_bytes,
        0,
        preset.runtime.kv_cache_gib,
        notes=("each request has a KV cache of its own, in one piece",),
    )


def build_estimate(preset: Preset, model: ModelSpec, precision: Precision) -> StepEstimate:
    """Time, host memory and disk of a TensorRT-RTX build."""
    billions = model.parameters / 1e9
    kv = computes_in(precision, on_cpu=False)
    weights = onnx_weight_bytes(model, precision, kv, preset.precision.group_size)
    profiles = 2 if has_two_profiles(preset) else 1
    seconds = Range.seconds(
        4 + 30 * billions * profiles,
        60 + 300 * billions * profiles,
        formula=f"4 to 60 s + 30 to 300 s a billion parameters x {billions:.2f} x {profiles} profiles",
        source=_MEASURED,
    )
    memory = Range.bytes(
        0.5 * _GIB + weights.low * 2,
        1.2 * _GIB + weights.high * 2 * profiles,
        formula=f"0.5 to 1.2 GiB of libraries and graph + 2 to {2 * profiles} x the weights",
        source=_MEASURED,
    )
    most = TWO_PROFILES + 0.3 if profiles == 2 else 1.3
    tokenizer = disk_bytes(model, "quantize", precision.value)
    copied = tokenizer.high if tokenizer is not None else 0
    disk = Range.bytes(
        weights.low,
        weights.high * most + copied,
        formula=f"{weights} of weights, up to {most:g} times that; the ONNX model is linked or copied",
        source=_MEASURED,
    )
    return StepEstimate(seconds=seconds, host_memory_bytes=memory, disk_bytes=disk)


def onnx_weight_bytes(model: ModelSpec, precision: Precision, kv: str, group_size: int | str = "auto") -> Range:
    """Weights of an ONNX model, and of what is compiled from it. `kv`: what it computes in.

    A tied output layer is a matrix of its own there; it and the embedding stay in what is computed in.
    """
    if precision.value in PLAIN_BYTES:
        return weight_bytes(model, precision.value, untied=model.tied_embeddings)
    vocabulary = model.vocab_size * model.hidden_size
    linear = max(model.parameters - vocabulary * (1 if model.tied_embeddings else 2), 0)
    inner = model.model_copy(update={"vocab_size": 0, "parameters": linear, "tied_embeddings": False})
    size = group_size if isinstance(group_size, int) and group_size > 0 else None
    layers, outer = weight_bytes(inner, precision.value, group_size=size), 2 * vocabulary * PLAIN_BYTES[kv]
    whole = Range.bytes(
        outer, formula=f"{format_bytes(outer)} of embedding and output layer in {kv.upper()}", source=layers.source
    )
    return layers + whole


def _estimate(
    model: ModelSpec,
    precision: Precision,
    kv: str,
    held: tuple[Range, Range, Range],
    limits: tuple[int, int],
    memory_bytes: int,
    used_bytes: int,
    kv_cache_gib: float | None,
    *,
    device: str = "",
    gpus: int = 0,
    notes: tuple[str, ...] = (),
) -> EngineEstimate:
    """`held`: weights, activations, runtime; `limits`: the longest sequence in tokens, and requests at once."""
    (weights, activations, runtime), (length, batch) = held, limits
    sequence = kv_bytes_per_sequence(model, kv, length)
    token = kv_bytes_per_token(model, kv)
    pool, most = int(sequence.high * batch), f"up to {batch} requests of {length:,} tokens"
    if kv_cache_gib is not None and kv_cache_gib * 2**30 < pool:
        pool, most = int(kv_cache_gib * 2**30), f"up to runtime.kv_cache_gib = {kv_cache_gib:g}"
    cache = Range.bytes(
        min(token.low, pool), pool, formula=f"one token of one request, {most}; {token.formula}", source=token.source
    )
    parts = [
        MemoryPart(name="weights", bytes=weights),
        MemoryPart(name="KV cache", bytes=cache),
        MemoryPart(name="activations", bytes=activations),
        MemoryPart(name="runtime", bytes=runtime),
    ]
    if used_bytes:
        taken = Range.bytes(used_bytes, formula="other programs, when it was looked at", source="the driver")
        parts.append(MemoryPart(name="others", bytes=taken))
    room = int(min(pool, max(memory_bytes - sum(p.bytes.low for p in parts if p.name != "KV cache"), 0)))
    capacity: KvCapacity = kv_capacity(model, kv, room, length)
    return EngineEstimate(
        precision=precision.value,
        parts=tuple(parts),
        total=sum((part.bytes for part in parts[1:]), parts[0].bytes),
        memory_bytes=memory_bytes,
        kv_bytes_per_token=token,
        kv_bytes_per_sequence=sequence,
        sequence_tokens=length,
        kv_pool_bytes=room,
        capacity=capacity,
        device=device,
        gpus=gpus,
        notes=notes,
    )

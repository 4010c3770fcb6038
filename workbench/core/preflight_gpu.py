"""Preflight on GPUs: what each GPU of a tensor- and pipeline-parallel engine holds, and how many tokens are left over.

The figures are of the GPU that holds most. TensorRT-LLM takes weights, activations and its runtime first and then a
share of what is free as the KV pool.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from workbench.core.engine_estimate import EngineEstimate, MemoryPart, sequence_tokens
from workbench.core.errors import BadInputError
from workbench.core.estimate import (
    PLAIN_BYTES,
    activation_bytes,
    kv_bytes_per_sequence,
    kv_bytes_per_token,
    kv_capacity,
    runtime_bytes,
    weight_bytes,
)
from workbench.core.gpu import GpuSpec
from workbench.core.model import ModelSpec
from workbench.core.precision import KvPrecision, Precision
from workbench.core.preset import Preset
from workbench.core.speculative import draft_precision
from workbench.core.units import Range, format_bytes

DEFAULT_NUM_TOKENS = 8192
"""trtllm-build's own token limit."""
DEFAULT_FRACTION = 0.9
"""The engine's own share of free memory for the KV pool."""
DISPLAY_FRACTION = 0.8
"""The share where the GPU also drives a display."""
_COLLECTIVE_BYTES = 2**29
_HEADS_FILES = (".safetensors", ".bin", ".pt")


def kv_fraction(preset: Preset, gpus: Sequence[GpuSpec]) -> float:
    """Share of the memory free after loading that becomes the KV pool."""
    if preset.runtime.kv_fraction is not None:
        return preset.runtime.kv_fraction
    return DISPLAY_FRACTION if any(gpu.may_drive_display for gpu in gpus) else DEFAULT_FRACTION


def num_tokens(preset: Preset) -> int:
    """Tokens of one iteration that the engine is built for."""
    return preset.limits.max_num_tokens or DEFAULT_NUM_TOKENS


def kv_cache_name(preset: Preset, model: ModelSpec) -> str:
    """Precision of the KV cache; `auto` is the 16 bits of the activations."""
    chosen = preset.precision.kv_cache
    if chosen is not KvPrecision.AUTO:
        return str(chosen)
    return "fp16" if model.dtype == "fp16" else "bf16"


def shard(model: ModelSpec, tp: int, pp: int) -> ModelSpec:
    """The part of a model's attention and MLP that one GPU computes, as a model.

    KV heads below tp are copied so that each GPU has one; the largest pipeline stage counts.
    """
    layers = math.ceil(model.layers / pp)
    changes = {
        "layers": layers,
        "heads": max(math.ceil(model.heads / tp), 1),
        "kv_heads": max(math.ceil(model.kv_heads / tp), 1),
        "intermediate_size": math.ceil(model.intermediate_size / tp),
        "sliding_layers": math.floor(model.sliding_layers * layers / model.layers) if model.layers else 0,
    }
    return model.model_copy(update=changes)


def gpu_weight_bytes(model: ModelSpec, precision: Precision, group_size: int | None, tp: int, pp: int) -> Range:
    """Weights on the GPU that holds most: its share of the layers, and of embedding and head what its stage has.

    Embedding and head stay at 16 bits (FP32 builds: 32) and are two matrices, tied or not; ModelOpt's checkpoints
    split both over the tensor-parallel GPUs, rows padded.
    """
    vocabulary = model.vocab_size * model.hidden_size
    linear = max(model.parameters - vocabulary * (1 if model.tied_embeddings else 2), 0)
    inner = model.model_copy(update={"vocab_size": 0, "parameters": linear, "tied_embeddings": False})
    layers = weight_bytes(inner, precision.value, group_size=group_size)
    stage = math.ceil(model.layers / pp) / max(model.layers, 1)
    outer = vocabulary * PLAIN_BYTES.get(precision.value, 2) / tp * (2 if pp == 1 else 1)
    # Two RMS norms or more a layer, on every GPU whole.
    norms = 4 * model.hidden_size * math.ceil(model.layers / pp) * 2
    copied = 0.0
    if tp > model.kv_heads:
        extra_heads = 1 - model.kv_heads / tp
        bits = layers.high / linear if linear else 0
        copied = 2 * math.ceil(model.layers / pp) * model.hidden_size * model.head_size * extra_heads * bits
    words = [f"{layers} in the layers / {tp} x {stage:.3g} (of {pp} stages)" if tp * pp > 1 else f"{layers} in layers"]
    words.append(f"{format_bytes(outer)} of embedding and head" + (f", split by {tp}" if tp > 1 else ""))
    if tp > 1:
        words.append("norms on each GPU whole")
    if copied:
        words.append(f"{model.kv_heads} KV heads copied so that each of {tp} GPUs has one ({format_bytes(copied)})")
    return Range.bytes(
        layers.low * stage / tp + outer,
        layers.high * stage / tp + outer + (norms if tp > 1 else 0) + copied,
        formula="; ".join(words),
        source=layers.source,
    )


def gpu_engine(preset: Preset, model: ModelSpec, precision: Precision, gpus: tuple[GpuSpec, ...]) -> EngineEstimate:
    """The running engine on each of its GPUs. `gpus` are those that it runs on, tp x pp of them.

    KV pool = kv_fraction x (memory - weights - activations - runtime), with the high end of each: what is promised
    to fit. Raises BadInputError when there are no GPUs.
    """
    if not gpus:
        raise BadInputError("A GPU engine cannot be estimated without a GPU.", fix="Set gpu in the preset.")
    tp, pp = preset.parallel.tp, preset.parallel.pp
    kv = kv_cache_name(preset, model)
    group = preset.precision.group_size
    part = shard(model, tp, pp)
    weights = gpu_weight_bytes(model, precision, group if isinstance(group, int) and group > 0 else None, tp, pp)
    activations = activation_bytes(
        part,
        batch_tokens=num_tokens(preset),
        batch_size=preset.limits.max_batch_size * preset.limits.max_beam_width,
        width_bytes=PLAIN_BYTES.get(precision.value, 2),
    )
    runtime = runtime_bytes("gpu")
    if tp * pp > 1:
        runtime = runtime + Range.bytes(
            0, _COLLECTIVE_BYTES, formula="up to 512 MiB of buffers for collectives", source=runtime.source
        )
    memory = min(gpu.memory_bytes for gpu in gpus)
    used = max((gpu.memory_used_bytes or 0) for gpu in gpus)
    parts = [
        MemoryPart(name="weights", bytes=weights),
        MemoryPart(name="KV pool", bytes=weights),  # replaced below, when the rest is known
        MemoryPart(name="activations", bytes=activations),
        MemoryPart(name="runtime", bytes=runtime),
    ]
    guesses = _draft(preset, model, precision, activations)
    parts += [MemoryPart(name="draft", bytes=guesses)] if guesses is not None else []
    if used:
        taken = Range.bytes(used, formula="other programs, when it was looked at", source="the driver")
        parts.append(MemoryPart(name="others", bytes=taken))
    free = max(memory - sum(p.bytes.high for p in parts if p.name != "KV pool"), 0)
    pool, pool_range = _pool(preset, part, kv, gpus, free)
    parts[1] = MemoryPart(name="KV pool", bytes=pool_range)
    length = sequence_tokens(preset, model)
    total = parts[0].bytes
    for one in parts[1:]:
        total = total + one.bytes
    return EngineEstimate(
        precision=precision.value,
        parts=tuple(parts),
        total=total,
        memory_bytes=memory,
        kv_bytes_per_token=kv_bytes_per_token(part, kv),
        kv_bytes_per_sequence=kv_bytes_per_sequence(part, kv, length),
        sequence_tokens=length,
        kv_pool_bytes=pool,
        capacity=kv_capacity(part, kv, pool, length, block_tokens=_block_tokens(preset)),
        device=gpus[0].name,
        gpus=tp * pp,
        notes=_notes(model, tp, pp),
    )


def _draft(preset: Preset, model: ModelSpec, precision: Precision, activations: Range) -> Range | None:
    """What guesses: trained heads, or a draft of the same model that Triton runs on the same GPUs, whose KV pool is a
    share of what is left, as the engine's. None where there is none; a draft that is a folder is not known here.
    """
    if preset.speculative.mode in ("medusa", "eagle"):
        return _heads(preset.draft_path, preset.parallel.tp)
    name = draft_precision(preset.speculative)
    if not name or name == precision.value:
        return None
    weights = gpu_weight_bytes(model, Precision(name), None, preset.parallel.tp, preset.parallel.pp)
    return weights + activations


def _heads(folder: Path | None, tp: int) -> Range | None:
    """Trained heads by their files: split over the GPUs or whole on each, and halved where those are of 32 bits."""
    files = [path for path in folder.iterdir() if path.suffix in _HEADS_FILES] if folder and folder.is_dir() else []
    size = sum(path.stat().st_size for path in files)
    formula = f"{format_bytes(size)} of heads, as they lie there down to 16 bits split by {tp}"
    return Range.bytes(size / 2 / tp, size, formula=formula, source="the folder of heads") if size else None


def _block_tokens(preset: Preset) -> int:
    chosen = preset.build.flags.get("tokens_per_block")
    return chosen if isinstance(chosen, int) and not isinstance(chosen, bool) and chosen > 0 else 32


def _pool(preset: Preset, part: ModelSpec, kv: str, gpus: Sequence[GpuSpec], free: float) -> tuple[int, Range]:
    runtime = preset.runtime
    if runtime.kv_cache_gib is not None:
        pool = int(runtime.kv_cache_gib * 2**30)
        return pool, Range.bytes(pool, formula="runtime.kv_cache_gib", source="preset")
    if runtime.kv_blocks is not None:
        pool = int(runtime.kv_blocks * _block_tokens(preset) * kv_bytes_per_token(part, kv).high)
        return pool, Range.bytes(pool, formula=f"{runtime.kv_blocks:,} blocks", source="preset")
    fraction = kv_fraction(preset, gpus)
    why = "" if runtime.kv_fraction is not None or fraction == DEFAULT_FRACTION else ", for a GPU with a display"
    pool = int(free * fraction)
    formula = f"{fraction:g} x {format_bytes(free)} free after all else{why}"
    return pool, Range.bytes(pool, formula=formula, source="preset" if runtime.kv_fraction else "default")


def _notes(model: ModelSpec, tp: int, pp: int) -> tuple[str, ...]:
    notes = []
    if tp > 1:
        notes.append(f"layers, embedding and head split by {tp}, norms on each GPU whole")
    if tp > model.kv_heads:
        notes.append(
            f"{model.kv_heads} KV heads on {tp} GPUs: each holds one, copied {math.ceil(tp / model.kv_heads)} x"
        )
    if pp > 1:
        notes.append(f"{model.layers} layers in {pp} stages of {math.ceil(model.layers / pp)} or fewer")
    return tuple(notes)

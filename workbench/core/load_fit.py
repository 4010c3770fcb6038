"""Whether a built engine can be loaded beside what runs already: the arithmetic that a refusal shows."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from workbench.core.artifact import Provenance
from workbench.core.errors import BlockedError
from workbench.core.estimate import PLAIN_BYTES, runtime_bytes
from workbench.core.preset import Preset
from workbench.core.preset_schema import ONNX_TOOLCHAINS
from workbench.core.units import Range, format_bytes

_WEIGHT_FILES = (".bin", ".engine", ".safetensors", ".onnx", ".onnx_data", ".onnx.data")
_COMPILED = (".trt",)
"""A TensorRT-RTX engine, in whose folder the ONNX model stands too: one of both is loaded."""
_DEFAULT_KV_SHARE, _DEFAULT_KV_BYTES = 4, 2**30
"""What the CPU host takes for its KV pool when nothing is said: 1 GiB, or a quarter of what is free if that is less."""


class LoadNeed(BaseModel):
    """Memory that an engine takes once it is loaded, on each device that it takes."""

    model_config = ConfigDict(frozen=True)

    weights: Range
    kv_pool: Range
    runtime: Range
    weights_read: Range | None = None
    """Weights as they are read, where they are quantized after that: gone again before there is a KV pool."""
    draft: Range | None = None
    """Weights and KV pool of the engine that guesses for it; None: none does."""

    @property
    def total(self) -> Range:
        held, read = self.weights + self.kv_pool, self.weights_read
        if self.draft is not None:
            held = held + self.draft
        if read is not None:
            held = held.model_copy(update={"low": max(held.low, read.low), "high": max(held.high, read.high)})
        return held + self.runtime

    def words(self) -> str:
        """`weights 138 MiB, KV cache 1 GiB, runtime 102 MiB to 512 MiB`."""
        read = f" ({self.weights_read} until they are quantized)" if self.weights_read is not None else ""
        draft = f", draft {self.draft}" if self.draft is not None else ""
        return f"weights {self.weights}{read}, KV cache {self.kv_pool}{draft}, runtime {self.runtime}"


def load_need(
    provenance: Provenance, preset: Preset, free_bytes: int, *, on_gpu: bool, draft: Provenance | None = None
) -> LoadNeed:
    """What the engine of `provenance`, loaded with `preset`'s [runtime], takes on one device.

    Weights are the engine's own files (an upper bound of what is resident where they are mapped, all of it on a GPU),
    shared over its ranks; those that it refers to, as they are loaded, where it has none. A KV pool that is a share of
    what is free needs no room of its own: it takes what is left. An endpoint takes nothing here. `draft`: the engine
    that guesses for it, which gets a KV pool of as many blocks.
    """
    if provenance.toolchain == "endpoint":
        none = Range.bytes(0, formula="nothing of this machine", source="its server runs elsewhere")
        return LoadNeed(weights=none, kv_pool=none, runtime=none)
    weights, weights_read = _referred(provenance) if provenance.toolchain == "pytorch" else (None, None)
    if weights is None:
        endings = _COMPILED if provenance.toolchain == "tensorrt_rtx" and on_gpu else _WEIGHT_FILES
        files = [entry.bytes for entry in provenance.files if entry.path.endswith(endings)]
        ranks = preset.gpus if on_gpu else 1
        held = sum(files or [provenance.size_bytes]) / max(1, ranks)
        weights = Range.bytes(held, formula=f"{len(files)} weight files, {ranks} ranks", source="the engine's folder")
    runtime, device = preset.runtime, "gpu" if on_gpu else "cpu"
    per_block = _reported(provenance, "kv_block_bytes")
    if provenance.toolchain in ONNX_TOOLCHAINS:
        return LoadNeed(weights=weights, kv_pool=_own_caches(provenance, preset), runtime=runtime_bytes(device))
    if runtime.kv_cache_gib is not None:
        pool, how = int(runtime.kv_cache_gib * 2**30), f"runtime.kv_cache_gib = {runtime.kv_cache_gib:g}"
    elif runtime.kv_blocks is not None and per_block:
        pool, how = runtime.kv_blocks * per_block, f"{runtime.kv_blocks:,} blocks of {format_bytes(per_block)}"
    elif on_gpu or runtime.kv_fraction is not None or runtime.kv_blocks is not None:
        pool, how = 0, "a share of what is free after loading"
    else:
        pool = min(_DEFAULT_KV_BYTES, max(free_bytes, 0) // _DEFAULT_KV_SHARE)
        how = "the host's default: 1 GiB, or a quarter of free memory if that is less"
    return LoadNeed(
        weights=weights,
        kv_pool=Range.bytes(pool, formula=how, source="preset"),
        runtime=runtime_bytes(device),
        weights_read=weights_read,
        draft=None if draft is None else _draft_need(draft, pool, per_block),
    )


def _own_caches(provenance: Provenance, preset: Preset) -> Range:
    """KV caches of an engine that gives each request its own: none at first, all at their longest at the most."""
    if preset.runtime.kv_cache_gib is not None:
        formula = f"up to runtime.kv_cache_gib = {preset.runtime.kv_cache_gib:g}"
        return Range.bytes(0, int(preset.runtime.kv_cache_gib * 2**30), formula=formula, source="preset")
    limits, told = preset.limits, provenance.result.get("limits")
    built = told.get("max_seq_len") if isinstance(told, dict) else None
    tokens, each = limits.max_seq_len or built or 0, _reported(provenance, "kv_bytes_per_token") or 0
    formula = f"up to {limits.max_batch_size} requests of {tokens:,} tokens, {format_bytes(each)} a token"
    return Range.bytes(0, limits.max_batch_size * tokens * each, formula=formula, source="the engine's folder")


def _draft_need(draft: Provenance, pool_bytes: int, block_bytes: int | None) -> Range:
    """Weights of a draft, and a KV pool of as many blocks as the engine's."""
    files = [entry.bytes for entry in draft.files if entry.path.endswith(_WEIGHT_FILES)]
    weights, own = sum(files or [draft.size_bytes]), _reported(draft, "kv_block_bytes")
    pool = pool_bytes // block_bytes * own if block_bytes and own else pool_bytes
    how = f"{format_bytes(weights)} of weights, {format_bytes(pool)} for as many KV blocks as the engine"
    return Range.bytes(weights + pool, formula=how, source="the draft's folder")


def _referred(provenance: Provenance) -> tuple[Range | None, Range | None]:
    """Weights of the model folder that an engine refers to: once loaded, and as they are read where that is more.

    torchao quantizes after loading, and the linear layers alone, so that up to all of it stays as it was read.
    """
    model, reported = provenance.model, _reported(provenance, "weights_bytes") or 0
    quantized = provenance.precision not in PLAIN_BYTES
    width = PLAIN_BYTES["bf16" if quantized else provenance.precision]
    read = model.parameters * width if model is not None else 0
    read = read or reported * (2 if quantized else 1)
    if not read:
        return None, None
    source = "the model's folder"
    whole = Range.bytes(read, formula=f"{width} bytes a parameter", source=source)
    if not quantized:
        return whole, None
    low = min(reported or read // 2, read)
    return Range.bytes(low, read, formula="linear layers alone are quantized", source=source), whole


def _reported(provenance: Provenance, name: str) -> int | None:
    """A whole number that one of the engine's steps reported."""
    for step in reversed(provenance.steps):
        value = step.result.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return None


def refuse_load(name: str, need: LoadNeed, free_bytes: int, device: str, loaded: tuple[str, ...]) -> None:
    """Raises BlockedError, with the arithmetic, when even the least that the engine takes is more than is free.

    `device` is where, in words ("host memory", "GPU 0"); `loaded`: engines that are there already.
    """
    least = int(need.total.low)
    if least <= max(free_bytes, 0):
        return
    beside = f" beside {' and '.join(loaded)}" if loaded else ""
    raise BlockedError(
        f"{name} does not fit into {device}{beside}: it takes at least {format_bytes(least)}, "
        f"{format_bytes(max(free_bytes, 0))} are free.",
        evidence=need.words(),
        fix=(f"Unload {loaded[0]} first" if loaded else "Close other programs")
        + ", or load it with a smaller KV pool (runtime.kv_cache_gib).",
        code="no-room",
    )

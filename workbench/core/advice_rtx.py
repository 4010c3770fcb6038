"""Advice on TensorRT-RTX engines that needs estimates: memory of the GPU that is named, weights that are stored twice.

Rules as in workbench.core.advice; they say nothing where no GPU is named to build for.
"""

from __future__ import annotations

from collections.abc import Iterator

from workbench.core.advice_base import Advice, Rule, Situation
from workbench.core.engine_estimate import EngineEstimate
from workbench.core.precision import Precision, supported
from workbench.core.preflight_rtx import TWO_PROFILES, has_two_profiles, rtx_engine
from workbench.core.preset import apply_overrides
from workbench.core.units import format_bytes

_LOWER = (Precision.FP8, Precision.INT8, Precision.NVFP4, Precision.INT4)
"""What weights can be quantized to, the mildest first."""


def _memory(s: Situation) -> Iterator[Advice]:
    for engine in _engines(s):
        if _needed(engine) <= engine.memory_bytes:
            continue
        never = engine.total.low > engine.memory_bytes
        overrides, words = _what_fits(s, engine)
        parts = ", ".join(f"{part.name} {part.bytes}" for part in engine.parts)
        yield Advice(
            code="gpu-memory",
            level="block" if never else "warning",
            text=f"The {engine.precision} engine {'would' if never else 'may'} not fit into {engine.device} of "
            f"{format_bytes(engine.memory_bytes)}.",
            arithmetic=f"{parts}; of {format_bytes(engine.memory_bytes)}",
            fix=words,
            overrides=overrides,
            estimate_only=never,
        )


def _needed(engine: EngineEstimate) -> float:
    """What must fit for sure: all but the KV cache at its most, and the cache of one whole sequence."""
    held = sum(part.bytes.high for part in engine.parts if part.name != "KV cache")
    return held + engine.kv_bytes_per_sequence.high


def _what_fits(s: Situation, engine: EngineEstimate) -> tuple[tuple[str, ...], str]:
    """The mildest change with which the engine and one whole sequence fit."""
    precision = Precision(engine.precision)
    trials: list[tuple[tuple[str, ...], str]] = []
    if has_two_profiles(s.preset):
        trials.append((("build.flags.profiles=one",), "Build one profile, which stores weights once."))
    if len(s.precisions) == 1:
        for other in _LOWER:
            fits = all(supported(other, "tensorrt_rtx", gpu.compute_capability).ok for gpu in s.gpus)
            if fits and other.weight_bits < precision.weight_bits:
                trials.append(((f"precision.weights={other}",), f"Quantize to {other.title}."))
    for overrides, words in trials:
        preset = apply_overrides(s.preset, overrides)
        goal = preset.precision.weights if overrides[0].startswith("precision") else precision
        tried = rtx_engine(preset, s.model, goal, s.gpus)
        if _needed(tried) <= tried.memory_bytes:
            return overrides, words
    if not s.preset.build.flags.get("weight_streaming"):
        streaming = "Let weights stay in host memory in part: slower, and the engine runs."
        return ("build.flags.weight_streaming=true",), streaming
    return (), "Choose a smaller model, a shorter sequence limit, or a GPU with more memory."


def _stored_twice(s: Situation) -> Iterator[Advice]:
    if not has_two_profiles(s.preset):
        return
    for engine in _engines(s)[:1]:
        high = engine.part("weights").high
        yield Advice(
            code="two-profiles",
            level="hint",
            text="Two profiles store weights twice, once for prompts and once for single tokens: about "
            f"{TWO_PROFILES:g} times the room of one.",
            arithmetic=f"{format_bytes(high / TWO_PROFILES)} x {TWO_PROFILES:g} = {format_bytes(high)}",
            fix="Fine where there is room. Else build one profile for both.",
            overrides=("build.flags.profiles=one",),
        )


def _streaming(s: Situation) -> Iterator[Advice]:
    if not s.preset.build.flags.get("weight_streaming"):
        return
    for engine in _engines(s)[:1]:
        if _needed(engine) <= engine.memory_bytes:
            yield Advice(
                code="streaming-unneeded",
                level="hint",
                text=f"Weight streaming is for engines that do not fit; this one fits into {engine.device}.",
                arithmetic=f"{format_bytes(_needed(engine))} of {format_bytes(engine.memory_bytes)}",
                fix="Leave it out.",
                overrides=("build.flags.weight_streaming=false",),
            )


def _bf16_to_fp16(s: Situation) -> Iterator[Advice]:
    if Precision.FP16 not in s.precisions or s.model.dtype != "bf16" or not s.gpus:
        return
    if all(supported(Precision.BF16, "tensorrt_rtx", gpu.compute_capability).ok for gpu in s.gpus):
        yield Advice(
            code="bf16-to-fp16",
            level="hint",
            text="The model was trained in BF16; converted to FP16, large activations may overflow to infinity.",
            arithmetic="BF16 reaches 3.4e38, FP16 ends at 65,504; the check after convert compares logits",
            fix="Convert to BF16: the same size.",
            overrides=("precision.weights=bf16",),
        )


def _engines(s: Situation) -> list[EngineEstimate]:
    return [engine for engine in s.numbers.engines if engine.gpus]


RTX_RULES: tuple[Rule, ...] = (_memory, _stored_twice, _streaming, _bf16_to_fp16)

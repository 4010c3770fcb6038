"""What a model will need before anything is loaded: bytes and seconds as ranges, each with its formula.

Pure functions of a ModelSpec. The formulas for weights and KV cache are arithmetic; host memory and time are
bounded by what was measured, and say so in `source`.
"""

from __future__ import annotations

import math
from difflib import get_close_matches

from pydantic import BaseModel, ConfigDict

from workbench.core.errors import BadInputError
from workbench.core.model import ModelSpec
from workbench.core.plan import StepEstimate
from workbench.core.units import Range, format_bytes, format_count

_GIB = 2**30
_MIB = 2**20

PLAIN_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
"""Bytes a weight in the precisions that have no scales."""
_EIGHT_BIT = ("fp8", "fp8_rowwise", "int8", "int8_sq")
_FOUR_BIT = ("int4", "int4_awq", "int4_gptq", "w4a8_awq", "nvfp4")
KV_BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0, "nvfp4": 0.5 + 1 / 16}
"""Bytes an entry of the KV cache; NVFP4 has an FP8 scale for every 16."""

_ARITHMETIC = "arithmetic on the model's shapes"
_MEASURED = "bounds around measured runs (OpenVINO export of a 134.5 M model: 1.2 GiB and 17 to 50 s on 2 cores)"
_RULE = "rule of thumb, not measured for this model"


class KvCapacity(BaseModel):
    """What a KV pool holds. `sequences` is of the asked length, in whole blocks."""

    model_config = ConfigDict(frozen=True)

    tokens: Range
    sequences: Range


def weight_bytes(spec: ModelSpec, precision: str, *, group_size: int | None = None, untied: bool = False) -> Range:
    """Bytes of the weights in `precision`; `group_size` is for 4 bits (default 128; NVFP4: always 16).

    Embeddings and head are at 8 bits at the low end and 16 at the high end, since toolchains differ in that.
    `untied`: the toolchain stores a tied head once more as a matrix of its own (TensorRT-LLM does). Scales have
    2 bytes a group, zero points half a byte. Names are those of core.precision.
    """
    name = _known(precision, (*PLAIN_BYTES, *_EIGHT_BIT, *_FOUR_BIT), "precision")
    vocabulary = spec.vocab_size * spec.hidden_size
    outer = min(vocabulary * (1 if spec.tied_embeddings else 2), spec.parameters)
    linear = spec.parameters - outer
    again = vocabulary if spec.tied_embeddings and untied else 0
    tied = f"; {format_count(again)} more for the tied head, stored again" if again else ""
    if name in PLAIN_BYTES:
        width = PLAIN_BYTES[name]
        return Range.bytes(
            (spec.parameters + again) * width * 0.999,
            (spec.parameters + again) * width * 1.001,
            formula=f"{format_count(spec.parameters)} parameters x {width} B{tied}",
            source=_ARITHMETIC,
        )
    high_outer = (outer + again) * 2
    if name in _EIGHT_BIT:
        channels = linear / spec.hidden_size
        return Range.bytes(
            linear + outer + again,
            linear + 5 * channels + high_outer + outer / spec.hidden_size * 5,
            formula=(
                f"{format_count(linear)} linear weights x 1 B, up to 5 B a channel for scale and zero point,"
                f" {format_count(outer)} in embeddings and head x 1 to 2 B{tied}"
            ),
            source=_ARITHMETIC,
        )
    group = 16 if name == "nvfp4" else group_size or 128
    if group < 1:
        group = max(spec.input_channels, default=spec.hidden_size)
    scale_low, scale_high = (1.0, 1.0) if name == "nvfp4" else (2.0, 2.5)
    words = "an FP8 scale" if name == "nvfp4" else "a scale of 2 B and a zero point of up to 0.5 B"
    outer_low = 1 if name in ("int4", "int4_awq", "int4_gptq") else 2
    return Range.bytes(
        linear * (0.5 + scale_low / group) + (outer + again) * outer_low,
        linear * (0.5 + scale_high / group) * 1.01 + high_outer,
        formula=(
            f"{format_count(linear)} linear weights x (0.5 B + {words} for every {group}),"
            f" {format_count(outer)} in embeddings and head x {'1 to 2' if outer_low == 1 else '2'} B{tied}"
        ),
        source=_ARITHMETIC,
    )


def kv_bytes_per_token(spec: ModelSpec, kv_precision: str) -> Range:
    """2 x layers x KV heads x head size x bytes; for INT8 up to a scale and zero point more a head and token.

    With multi-head latent attention the low end is the compressed cache: layers x latent size x bytes.
    """
    name, width = _kv_width(kv_precision)
    full = 2 * spec.layers * spec.kv_heads * spec.head_size * width
    formula = f"{_kv_product(spec, width)} = {format_bytes(full)} a token"
    low, high, note = full, full, ""
    if name == "int8":
        # Two FP32 numbers for each head's key and for its value, as OpenVINO's CPU cache has them.
        high = full + 2 * spec.layers * spec.kv_heads * 8
        formula += f", up to {format_bytes(high)} with a scale and zero point a head"
    if spec.latent_kv_size is not None:
        low = spec.layers * spec.latent_kv_size * width
        formula += f"; latent: {spec.layers} layers x {spec.latent_kv_size} x {width:g} B = {format_bytes(low)}"
        note = "Multi-head latent attention: the low end is for toolchains that keep the compressed cache."
    if spec.sliding_layers:
        note = _sliding_note(spec)
    return Range.bytes(low, high, formula=formula, source=_ARITHMETIC, note=note)


def kv_bytes_per_sequence(spec: ModelSpec, kv_precision: str, tokens: int) -> Range:
    """KV bytes of one sequence of `tokens` tokens. Layers with a sliding window keep at most the window.

    The high end keeps all tokens in all layers, as toolchains without window support do.
    """
    if tokens < 0:
        raise BadInputError("a sequence cannot have fewer than 0 tokens", evidence=str(tokens))
    token = kv_bytes_per_token(spec, kv_precision)
    high = token.high * tokens
    low = token.low * tokens
    product = _kv_product(spec, _kv_width(kv_precision)[1])
    formula = f"{product} x {tokens:,} tokens = {Range.bytes(low, high, formula='', source='')}"
    if spec.sliding_layers and spec.sliding_window and tokens > spec.sliding_window:
        share = spec.sliding_layers / spec.layers
        low = token.low * ((1 - share) * tokens + share * spec.sliding_window)
        formula += (
            f"; {spec.sliding_layers} of {spec.layers} layers keep {spec.sliding_window:,} tokens only"
            f" = {format_bytes(low)}"
        )
    return Range.bytes(low, high, formula=formula, source=_ARITHMETIC, note=token.note)


def kv_capacity(
    spec: ModelSpec, kv_precision: str, pool_bytes: int, sequence_tokens: int, *, block_tokens: int = 32
) -> KvCapacity:
    """Tokens and sequences of `sequence_tokens` that a KV pool holds; sequences take whole blocks."""
    if pool_bytes < 0 or sequence_tokens < 1 or block_tokens < 1:
        raise BadInputError(
            "a KV pool needs 0 or more bytes, and sequences and blocks of 1 or more tokens",
            evidence=f"{pool_bytes} bytes, {sequence_tokens} and {block_tokens} tokens",
        )
    token = kv_bytes_per_token(spec, kv_precision)
    rounded = math.ceil(sequence_tokens / block_tokens) * block_tokens
    sequence = kv_bytes_per_sequence(spec, kv_precision, rounded)
    pool = format_bytes(pool_bytes)
    return KvCapacity(
        tokens=Range(
            low=pool_bytes // token.high,
            high=pool_bytes // token.low,
            unit="tokens",
            formula=f"{pool} / {token} a token",
            source=_ARITHMETIC,
            note=token.note,
        ),
        sequences=Range(
            low=pool_bytes // sequence.high,
            high=pool_bytes // sequence.low,
            unit="sequences",
            formula=f"{pool} / {sequence} a sequence of {rounded:,} tokens (blocks of {block_tokens})",
            source=_ARITHMETIC,
            note=sequence.note,
        ),
    )


def activation_bytes(spec: ModelSpec, *, batch_tokens: int, batch_size: int = 1, width_bytes: float = 2) -> Range:
    """Peak of one iteration over `batch_tokens` tokens of `batch_size` sequences, besides weights and KV."""
    widest = max(spec.intermediate_size, spec.heads * spec.head_size, spec.hidden_size)
    if spec.experts is not None and spec.experts.per_token:
        widest = max(widest, spec.experts.intermediate_size * spec.experts.per_token)
    layer = batch_tokens * (2 * spec.hidden_size + 2 * widest) * width_bytes
    logits = batch_size * spec.vocab_size * 4
    return Range.bytes(
        layer + logits,
        3 * layer + 3 * logits,
        formula=(
            f"{batch_tokens:,} tokens x (2 x {spec.hidden_size} + 2 x {widest}) x {width_bytes:g} B"
            f" + {batch_size} x {spec.vocab_size:,} logits x 4 B, up to 3 times that"
        ),
        source=_RULE,
    )


def runtime_bytes(device: str) -> Range:
    """What a runtime takes before any weight: libraries, context, kernels. `device` is `cpu` or `gpu`."""
    _known(device, ("cpu", "gpu"), "device")
    low, high = (0.1, 0.5) if device == "cpu" else (0.4, 1.5)
    return Range.bytes(
        low * _GIB,
        high * _GIB,
        formula=f"{low:g} to {high:g} GiB of libraries{' and CUDA context' if device == 'gpu' else ''}",
        source=_RULE,
    )


def host_memory_bytes(spec: ModelSpec, step: str, precision: str = "fp16") -> Range:
    """Peak host RAM of a step (fetch, check, convert, quantize, build, verify) that makes `precision`."""
    half = 2 * spec.parameters
    goal = weight_bytes(spec, precision).high
    fixed_low, fixed_high, low, high, words = {
        "fetch": (0.05, 0.3, 0.0, 0.0, "no weights in memory"),
        "check": (0.03, 0.2, 0.0, 0.0, "no weights in memory"),
        "convert": (0.35, 1.2, 2.0 * half, 4.0 * half, "2 to 4 x the 16-bit weights"),
        "quantize": (0.35, 1.2, 1.0 * half, 4.0 * half, "1 to 4 x the 16-bit weights"),
        "build": (0.15, 0.8, 0.8 * goal, half + 2.0 * goal, "weights read, repacked and written"),
        "verify": (0.35, 1.5, half, 2.0 * half + 2.0 * goal, "the source model beside the engine"),
    }[_step(step)]
    return Range.bytes(
        fixed_low * _GIB + low,
        fixed_high * _GIB + high,
        formula=f"{fixed_low:g} to {fixed_high:g} GiB of libraries + {words} ({format_bytes(half)} in BF16)",
        source=_MEASURED,
    )


def disk_bytes(
    spec: ModelSpec, step: str, precision: str = "fp16", *, group_size: int | None = None, untied: bool = False
) -> Range | None:
    """What a step's output takes on disk; None for steps that write none. `untied` as in `weight_bytes`."""
    name = _step(step)
    tokenizer = sum(size for file, size in spec.files if file in spec.tokenizer_files)
    extra = Range.bytes(
        tokenizer,
        2 * tokenizer + 24 * _MIB,
        formula=f"{format_bytes(tokenizer)} of tokenizer once or twice, up to 24 MiB of graph",
        source=_ARITHMETIC,
    )
    if name == "fetch":
        if not spec.weights_present:
            return None
        return Range.bytes(sum(size for _, size in spec.files), formula="the model's files", source=_ARITHMETIC)
    if name == "convert":
        full = precision if precision in PLAIN_BYTES else "fp16"
        return weight_bytes(spec, full, untied=untied) + extra
    if name == "quantize":
        return weight_bytes(spec, precision, group_size=group_size, untied=untied) + extra
    if name == "build":
        weights = weight_bytes(spec, precision, group_size=group_size, untied=untied)
        return Range.bytes(
            0.9 * weights.low + extra.low,
            2.2 * weights.high + extra.high,
            formula=f"0.9 to 2.2 x the weights ({weights}), which are repacked; {extra.formula}",
            source=_RULE,
        )
    return None


def step_seconds(spec: ModelSpec, step: str, precision: str = "fp16") -> Range:
    """Duration of a step on a few CPU cores; a wide range, for an order of magnitude."""
    billions = spec.parameters / 1e9
    name = _step(step)
    if name == "fetch":
        return Range.seconds(
            1 + spec.weight_bytes / 1e9,
            10 + spec.weight_bytes / 5e6,
            formula=f"{format_bytes(spec.weight_bytes)} at 5 MB/s to 1 GB/s",
            source=_RULE,
        )
    fixed_low, fixed_high, low, high = {
        "check": (0.05, 5, 0.0, 60),
        "convert": (10, 90, 10, 120),
        "quantize": (8, 60, 20, 240),
        "build": (1, 40, 2, 90),
        "verify": (8, 120, 10, 400),
    }[name]
    if name == "quantize" and precision in ("int4_awq", "int4_gptq", "w4a8_awq"):
        high *= 8  # scales are searched over sample text
    return Range.seconds(
        fixed_low + low * billions,
        fixed_high + high * billions,
        formula=(
            f"{fixed_low:g} to {fixed_high:g} s of loading + {low:g} to {high:g} s a billion parameters"
            f" x {billions:.2f}"
        ),
        source=_MEASURED,
    )


def step_estimate(
    spec: ModelSpec, step: str, precision: str = "fp16", *, group_size: int | None = None, untied: bool = False
) -> StepEstimate:
    """Time, host memory and disk of one step, for a plan."""
    return StepEstimate(
        seconds=step_seconds(spec, step, precision),
        host_memory_bytes=host_memory_bytes(spec, step, precision),
        disk_bytes=disk_bytes(spec, step, precision, group_size=group_size, untied=untied),
    )


def _kv_width(kv_precision: str) -> tuple[str, float]:
    # `auto` is the toolchain's choice: 16 bits is the most that any of ours takes by default.
    name = "fp16" if str(kv_precision) == "auto" else _known(kv_precision, tuple(KV_BYTES), "KV cache precision")
    return name, KV_BYTES[name]


def _kv_product(spec: ModelSpec, width: float) -> str:
    heads = "1 KV head" if spec.kv_heads == 1 else f"{spec.kv_heads} KV heads"
    return f"2 x {spec.layers} layers x {heads} x {spec.head_size} x {width:g} B"


def _sliding_note(spec: ModelSpec) -> str:
    return (
        f"{spec.sliding_layers} of {spec.layers} layers have a sliding window of {spec.sliding_window:,}"
        " tokens: a toolchain that uses it keeps no more than that in them."
    )


def _step(step: str) -> str:
    return _known(step, ("fetch", "check", "convert", "quantize", "build", "verify"), "step")


def _known(value: str, names: tuple[str, ...], what: str) -> str:
    name = str(value)
    if name in names:
        return name
    near = get_close_matches(name, names, n=1)
    raise BadInputError(
        f"{name!r} is no {what} that can be estimated",
        evidence=f"known: {', '.join(names)}",
        fix=f"Did you mean {near[0]}?" if near else "",
    )

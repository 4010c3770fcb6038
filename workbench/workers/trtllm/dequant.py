"""Stored weights of a TensorRT-LLM checkpoint -> float32 matrices, and what the engine does to activations.

One linear layer of one rank at a time, by the layouts that ModelOpt's exporter writes and TensorRT-LLM 1.2 loads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from workbench.workers.protocol import WorkerError

FP8_MAX = 448.0
NVFP4_BLOCK = 16
_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Magnitudes of the codes 0 to 7; bit 3 is the sign."""
_E2M1_MIDDLES = (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)

FULL = ""
"""The algorithm of a layer that is not quantized."""


@dataclass(frozen=True)
class Algo:
    """What tensors a linear layer has under one `quant_algo`, beside its weight and bias."""

    weight: tuple[str, ...]
    """Dtypes the weight may have, as torch names them."""
    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    rows_a_row: int = 1
    """Output rows packed in one stored row."""
    columns_a_column: int = 1
    """Input columns packed in one stored column."""


_FLOATS = ("float16", "bfloat16", "float32")
_SCALE, _SCALE_2, _ACT, _PRE = (
    "weights_scaling_factor",
    "weights_scaling_factor_2",
    "activation_scaling_factor",
    "prequant_scaling_factor",
)
ALGOS: dict[str, Algo] = {
    FULL: Algo(_FLOATS),
    "W8A16": Algo(_FLOATS),
    "W4A16": Algo(_FLOATS),
    "FP8": Algo(("float8_e4m3fn", "int8"), (_SCALE, _ACT)),
    "FP8_PER_CHANNEL_PER_TOKEN": Algo(("float8_e4m3fn", "int8"), ("per_channel_scale",)),
    "W8A8_SQ_PER_CHANNEL": Algo(("int8",), (_SCALE, _ACT), (_PRE,)),
    "W4A16_AWQ": Algo(("int8",), (_SCALE,), (_PRE,), rows_a_row=2),
    "W4A8_AWQ": Algo(("int8",), (_SCALE, _SCALE_2, _ACT, _PRE), rows_a_row=2),
    "NVFP4": Algo(("uint8", "int8"), (_SCALE, _SCALE_2, _ACT), columns_a_column=2),
}
"""By `quant_algo`. W8A16 and W4A16 hold plain weights: the engine's build quantizes them."""
SCALES = (_SCALE, _SCALE_2, _ACT, _PRE, "per_channel_scale")


@dataclass
class Linear:
    """One linear layer of one rank as stored."""

    name: str
    """Such as `transformer.layers.0.attention.qkv`."""
    where: str
    """The rank's file, for messages."""
    algo: str
    group_size: int
    rows: int
    """Outputs of this rank's share."""
    columns: int
    """Inputs of this rank's share."""
    tensors: dict[str, Any] = field(default_factory=dict)
    """By the last part of their names: weight, bias, weights_scaling_factor ..."""
    dtype: str = ""
    """config.json's dtype, which weights that are not quantized and biases must have; "" for any."""


def bad(what: str, where: str, evidence: str, hint: str = "") -> WorkerError:
    """A `bad-checkpoint` error about a tensor or a file."""
    return WorkerError(
        what,
        code="bad-checkpoint",
        cause=f"{where}: {evidence}" if where else evidence,
        hint=hint or "Make the checkpoint again; if it stays so, make it with another precision.",
    )


def checked(linear: Linear) -> None:
    """Raise WorkerError `bad-checkpoint` unless tensors, dtypes, shapes and values fit the algorithm."""
    rule, name, tensors = ALGOS[linear.algo], linear.name, linear.tensors
    shown = linear.algo or "no quantization"
    if "weight" not in tensors:
        raise bad(
            "a weight that the engine needs is not in the checkpoint",
            linear.where,
            f"{name}.weight",
            "Make the checkpoint again: the exporter left it out.",
        )
    weight = tensors["weight"]
    dtype = _dtype(weight)
    present = [scale for scale in SCALES if scale in tensors]
    wanted = set(rule.needs) | set(rule.may)
    if dtype not in rule.weight or [scale for scale in rule.needs if scale not in tensors] or set(present) - wanted:
        if linear.algo in ("W8A16", "W4A16") and dtype == "int8":
            raise bad(
                "the weights lie in the layout of TensorRT-LLM's own kernels, which cannot be read back here",
                linear.where,
                f"{name}.weight is {dtype} under {linear.algo}",
                "Convert through ModelOpt (route modelopt), which leaves weight-only quantizing to the engine's build.",
            )
        raise bad(
            "the quantization named in config.json is not that of the tensors",
            linear.where,
            f"{name} is under {shown}, its weight is {dtype} with {', '.join(present) or 'no scales'}; "
            f"{' or '.join(rule.weight)} with {', '.join(rule.needs) or 'no scales'} would fit",
            "Make the checkpoint again: config.json and the rank files come from different runs, or a layer "
            "is missing in exclude_modules.",
        )
    for part in ("weight", "bias") if rule.weight == _FLOATS else ("bias",):
        if part in tensors:
            of_dtype(tensors[part], linear.dtype, f"{name}.{part}", linear.where)
    expected = (linear.rows // rule.rows_a_row, linear.columns // rule.columns_a_column)
    _shaped(linear, "weight", [expected])
    if "bias" in tensors:
        _shaped(linear, "bias", [(linear.rows,)])
        finite(tensors["bias"], f"{name}.bias", linear.where)
    for scale, shapes in _scale_shapes(linear).items():
        if scale in tensors:
            _shaped(linear, scale, shapes)
            finite(tensors[scale], f"{name}.{scale}", linear.where)
            if bool((tensors[scale].float() <= 0).any()):
                raise bad(
                    "a scale is zero or negative",
                    linear.where,
                    f"{name}.{scale}: smallest {tensors[scale].float().min().item():g}",
                    "Quantize again with other calibration text: this layer saw nothing.",
                )


def dequantized(linear: Linear) -> Any:
    """The weight as a float32 tensor of (rows, columns), before any prequant scaling. Calls `checked`."""
    import torch

    checked(linear)
    tensors, algo = linear.tensors, linear.algo
    weight = tensors["weight"]
    if algo in (FULL, "W8A16", "W4A16"):
        finite(weight, f"{linear.name}.weight", linear.where)
        wide = weight.float()
        return wide if algo == FULL else built_weight_only(wide, 8 if algo == "W8A16" else 4)
    if algo == "FP8":
        wide = weight.view(torch.float8_e4m3fn).float() * tensors[_SCALE].float().reshape(())
    elif algo == "FP8_PER_CHANNEL_PER_TOKEN":
        wide = weight.view(torch.float8_e4m3fn).float() * tensors["per_channel_scale"].float().reshape(-1, 1)
    elif algo == "W8A8_SQ_PER_CHANNEL":
        scale = tensors[_SCALE].float()
        wide = weight.float() * (scale.reshape(()) if scale.numel() == 1 else scale.reshape(-1, 1))
    elif algo in ("W4A16_AWQ", "W4A8_AWQ"):
        wide = unpacked_int4(weight).float()
        wide = _by_block(wide, tensors[_SCALE].float())
    else:
        wide = unpacked_e2m1(weight)
        blocks = tensors[_SCALE].view(torch.float8_e4m3fn).float() * tensors[_SCALE_2].float().reshape(())
        wide = _by_block(wide, blocks)
    finite(wide, f"{linear.name}.weight", linear.where)
    return wide


def unpacked_int4(packed: Any) -> Any:
    """ModelOpt's INT4 of (rows / 2, columns) -> int8 of (rows, columns): row 2i in the low four bits of row i."""
    import torch

    codes = packed.view(torch.uint8)
    low, high = codes & 0x0F, codes >> 4
    both = torch.stack([low, high], dim=1).reshape(-1, codes.shape[1]).to(torch.int8)
    return both - 16 * (both > 7).to(torch.int8)


def unpacked_e2m1(packed: Any) -> Any:
    """NVFP4 codes of (rows, columns / 2) -> float32 of (rows, columns): column 2i in the low four bits."""
    import torch

    codes = packed.view(torch.uint8)
    both = torch.stack([codes & 0x0F, codes >> 4], dim=-1).reshape(codes.shape[0], -1)
    values = torch.tensor(_E2M1 + tuple(-value for value in _E2M1))
    return values[both.long()]


def built_weight_only(weight: Any, bits: int) -> Any:
    """What `trtllm-build` makes of a plain weight under W8A16 or W4A16: symmetric, one scale an output channel.

    The scale is the channel's largest magnitude over 2^(bits - 1), as TensorRT-LLM's `symmetric_quantize` has it.
    """
    half = 2 ** (bits - 1)
    scale = weight.abs().amax(dim=1, keepdim=True) / half
    scale = scale.masked_fill(scale == 0, 1.0)
    return (weight / scale).round().clamp(-half, half - 1) * scale


def activation_change(linear: Linear, prequant: Any, scale: Any) -> Callable[[Any], Any] | None:
    """The function that the engine applies to the layer's input, as quantize-dequantize; None: nothing is done.

    `prequant` is None or the input's factors, `scale` None or the static scale: one value, or one an input column.
    """
    algo = linear.algo
    if prequant is None and algo in (FULL, "W8A16", "W4A16", "W4A16_AWQ"):
        return None

    def change(x: Any) -> Any:
        dtype = x.dtype
        wide = x.float()
        if prequant is not None:
            wide = wide * prequant.to(x.device)
        step = None if scale is None else scale.to(x.device)
        if algo in ("FP8", "W4A8_AWQ"):
            wide = _through_fp8(wide / step) * step
        elif algo == "FP8_PER_CHANNEL_PER_TOKEN":
            token = (wide.abs().amax(dim=-1, keepdim=True) / FP8_MAX).clamp(min=1e-12)
            wide = _through_fp8(wide / token) * token
        elif algo == "W8A8_SQ_PER_CHANNEL":
            wide = (wide / step).round().clamp(-128, 127) * step
        elif algo == "NVFP4":
            wide = _through_nvfp4(wide, step)
        return wide.to(dtype)

    return change


def of_dtype(tensor: Any, dtype: str, name: str, where: str) -> None:
    """Raise WorkerError `bad-checkpoint` when the tensor is not of the dtype that config.json names ("" for any)."""
    if dtype and _dtype(tensor) != dtype:
        raise bad(
            "a tensor's dtype is not the one that config.json names",
            where,
            f"{name} is {_dtype(tensor)}, dtype = {dtype!r}",
            "Make the checkpoint again: config.json and the rank files come from different runs.",
        )


def finite(tensor: Any, name: str, where: str) -> None:
    """Raise WorkerError `bad-checkpoint` when the tensor holds a NaN or an infinity."""
    import torch

    wide = tensor if tensor.dtype in (torch.float16, torch.bfloat16, torch.float32) else tensor.float()
    if not bool(torch.isfinite(wide).all()):
        count = int((~torch.isfinite(wide)).sum())
        raise bad(
            "the checkpoint holds values that are not numbers",
            where,
            f"{name}: {count:,} of {wide.numel():,} are NaN or infinite",
            "See whether the source model's weights are whole; quantizing BF16-trained models in FP16 overflows so.",
        )


def _through_fp8(x: Any) -> Any:
    import torch

    return x.clamp(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn).float()


def _through_nvfp4(x: Any, scale: Any) -> Any:
    """Dynamic block scales in FP8 over a static global scale, values in E2M1, ties to even."""
    import torch

    shape = x.shape
    blocks = x.reshape(-1, NVFP4_BLOCK)
    # With one scale an input column (row-parallel ranks), each block lies in one rank.
    wide = scale.expand(shape).reshape(-1, NVFP4_BLOCK)[:, :1] if scale.numel() > 1 else scale
    block_scale = _through_fp8(blocks.abs().amax(dim=1, keepdim=True) / (6.0 * wide)) * wide
    block_scale = block_scale.masked_fill(block_scale == 0, 1.0)
    scaled = blocks / block_scale
    magnitude, middles = scaled.abs(), torch.tensor(_E2M1_MIDDLES, device=x.device)
    code = torch.bucketize(magnitude, middles)
    on_odd_middle = (magnitude[..., None] == middles[1::2]).any(dim=-1)
    return (torch.tensor(_E2M1, device=x.device)[code + on_odd_middle.long()] * scaled.sign() * block_scale).reshape(
        shape
    )


def _by_block(codes: Any, scales: Any) -> Any:
    rows, columns = codes.shape
    blocks = scales.shape[1]
    return (codes.reshape(rows, blocks, columns // blocks) * scales[:, :, None]).reshape(rows, columns)


def _scale_shapes(linear: Linear) -> dict[str, list[tuple[int, ...]]]:
    one: list[tuple[int, ...]] = [(), (1,)]
    rows, columns, group = linear.rows, linear.columns, linear.group_size
    shapes: dict[str, list[tuple[int, ...]]] = {
        _ACT: one,
        _SCALE_2: one,
        _PRE: [(columns,), (1, columns)],
        "per_channel_scale": [(rows,), (rows, 1), (1, rows)],
    }
    if linear.algo == "FP8":
        shapes[_SCALE] = one
    elif linear.algo == "W8A8_SQ_PER_CHANNEL":
        shapes[_SCALE] = [(rows,), (rows, 1), *one]
    elif linear.algo in ("W4A16_AWQ", "W4A8_AWQ"):
        shapes[_SCALE] = [(rows, columns // group)] if group and columns % group == 0 else []
    elif linear.algo == "NVFP4":
        shapes[_SCALE] = [(rows, columns // NVFP4_BLOCK)]
    return shapes


def _shaped(linear: Linear, part: str, allowed: list[tuple[int, ...]]) -> None:
    shape = tuple(linear.tensors[part].shape)
    if shape not in allowed:
        group = f" in groups of {linear.group_size}" if linear.algo.endswith("AWQ") else ""
        raise bad(
            "a tensor's shape is not the one that config.json asks for",
            linear.where,
            f"{linear.name}.{part} is {list(shape)}, "
            f"{' or '.join(str(list(one)) for one in allowed) or 'no shape'} would fit "
            f"({linear.algo or 'not quantized'}{group}, {linear.rows} x {linear.columns} a rank)",
            "Make the checkpoint again: config.json and the rank files come from different runs.",
        )


def _dtype(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")

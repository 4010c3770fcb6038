"""INT4 weights: symmetric, one scale for each group of input channels of an output channel, as ModelOpt makes them.

AWQ multiplies the layer's input channel by channel, divides the weight's rows by the same, and rounds then, so that
channels with large inputs lose least.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workbench.workers.onnx.linears import Linear, Method, Replacement
from workbench.workers.onnx.tensors import LEAST_SCALE, pack_nibbles, stored, stored_bytes
from workbench.workers.protocol import WorkerError

INT4, MOST = 22, 7.0
GROUP_SIZES = (128, 64, 32, 16)
"""Those that ONNX Runtime's kernels for 4-bit weights have."""


def choose_group_size(wanted: Any, channels: list[int]) -> tuple[int, str]:
    """The group size to use and why. `channels`: input channels of the layers.

    "auto" is the largest of GROUP_SIZES that divides them all. Raises WorkerError `bad-group-size`, naming the nearest
    size that fits.
    """

    def fits(size: int) -> bool:
        return all(count % size == 0 for count in channels)

    fitting = [size for size in GROUP_SIZES if fits(size)]
    listed = ", ".join(map(str, sorted(set(channels))))
    if wanted in ("auto", None):
        if not fitting:
            raise WorkerError(
                "no group size for INT4 weights divides this model's channels",
                code="bad-group-size",
                cause=f"none of {', '.join(map(str, GROUP_SIZES))} divides all of {listed}",
                hint="Use int8: it has one scale for a whole channel.",
            )
        refused = [
            f"{size} does not divide {next(count for count in channels if count % size)}"
            for size in GROUP_SIZES
            if size > fitting[0]
        ]
        return fitting[0], "; ".join(refused) or "it divides every channel size"
    try:
        size = int(wanted)
    except (TypeError, ValueError) as error:
        raise WorkerError(
            "group_size is neither a number nor auto", code="bad-group-size", cause=f"group_size = {str(wanted)[:40]}"
        ) from error
    if size in fitting:
        return size, "asked for, and it divides every channel size"
    if size in GROUP_SIZES:
        cause = f"{size} does not divide {next(count for count in channels if count % size)}; input channels: {listed}"
    else:
        cause = f"group_size = {size}; ONNX Runtime and TensorRT have {', '.join(map(str, GROUP_SIZES))}"
    near = min(fitting, key=lambda each: (abs(each - size), -each), default=None)
    raise WorkerError(
        f"group size {size} does not fit this model",
        code="bad-group-size",
        cause=cause,
        hint=f"Use group_size = {near}." if near else "Use int8: it has one scale for a whole channel.",
    )


def int4_groups(group_size: int, smooth: Callable[[str], Any] | None = None) -> Method:
    """The method that rounds to nearest. `smooth`: AWQ's scales of a layer's inputs, float32 (inputs,), by module.

    scale = largest magnitude of the group / 7, kept in the weight's own float type; the weight is rounded by the scale
    as it is kept, to -8 to 7, ties to even. DequantizeLinear of (inputs, outputs) in blocks along axis 0.
    """

    def replace(linear: Linear, weight: Any) -> Replacement:
        import numpy as np
        import torch
        from modelopt.torch.quantization.utils import reduce_block_amax
        from onnx import helper

        name, tensors, nodes, activation = linear.module, [], [], ""
        wide = np.asarray(weight, dtype=np.float32)
        if smooth is not None:
            factors = np.asarray(smooth(name)).astype(weight.dtype)
            wide = wide / factors.astype(np.float32)[:, None]
            tensors.append(stored(f"{name}.smooth", factors))
            activation = f"{name}.smoothed"
            nodes.append(
                helper.make_node(
                    "Mul", [linear.node.input[0], f"{name}.smooth"], [activation], name=f"{name}.smoothing"
                )
            )
        values = torch.from_numpy(np.array(wide))
        largest = reduce_block_amax(values, {0: group_size})
        scale = (largest / MOST).clamp(min=LEAST_SCALE).numpy().astype(weight.dtype)
        spread = torch.from_numpy(scale.astype(np.float32)).repeat_interleave(group_size, dim=0)
        held = (values / spread).round_().clamp_(-8, 7).to(torch.int8).numpy()
        tensors += [
            stored_bytes(f"{name}.weight_int4", INT4, held.shape, pack_nibbles(held)),
            stored(f"{name}.weight_scale", scale),
        ]
        node = helper.make_node(
            "DequantizeLinear",
            [f"{name}.weight_int4", f"{name}.weight_scale"],
            [f"{name}.weight_float"],
            name=f"{name}.dequantize",
            axis=0,
            block_size=group_size,
        )
        return Replacement(tensors, [*nodes, node], node.output[0], activation)

    return replace

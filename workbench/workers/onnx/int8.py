"""INT8 weights: one scale for each output channel; activations stay as they are."""

from __future__ import annotations

from typing import Any

from workbench.workers.onnx.linears import Linear, Replacement
from workbench.workers.onnx.tensors import LEAST_SCALE, stored, stored_bytes

INT8, MOST = 3, 127.0


def int8_channels(linear: Linear, weight: Any) -> Replacement:
    """scale = largest magnitude of the channel / 127, kept in the weight's own float type; the weight is rounded by
    the scale as it is kept (ModelOpt's INT8QTensor). DequantizeLinear of (inputs, outputs) along axis 1."""
    import numpy as np
    import torch
    from modelopt.torch.quantization.qtensor import INT8QTensor
    from onnx import helper

    wide = torch.from_numpy(np.array(weight, dtype=np.float32))
    scale = (wide.abs().amax(dim=0, keepdim=True) / MOST).clamp(min=LEAST_SCALE).numpy().astype(weight.dtype)
    held, _ = INT8QTensor.quantize(wide, scales=torch.from_numpy(scale.astype(np.float32)))
    name = linear.module
    tensors = [
        stored_bytes(f"{name}.weight_int8", INT8, wide.shape, held._quantized_data.contiguous().numpy()),
        stored(f"{name}.weight_scale", scale.reshape(-1)),
    ]
    node = helper.make_node(
        "DequantizeLinear",
        [tensors[0].name, tensors[1].name],
        [f"{name}.weight_float"],
        name=f"{name}.dequantize",
        axis=1,
    )
    return Replacement(tensors, [node], node.output[0])

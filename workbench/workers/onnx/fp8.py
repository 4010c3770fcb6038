"""FP8 (E4M3) weights and activations, one scale a tensor; the ranges of activations come from calibration text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workbench.workers.onnx.linears import Linear, Method, Replacement
from workbench.workers.onnx.tensors import stored, stored_bytes

FP8 = 17
E4M3_MAX = 448.0


def fp8_tensors(amax: Callable[[str], float]) -> Method:
    """The method. `amax`: largest magnitude of a layer's input, by module name.

    scale = amax / 448, in the weight's own float type. Standard QuantizeLinear and DequantizeLinear stand around the
    activation, DequantizeLinear behind the weight: what TensorRT fuses into an FP8 product, and ONNX Runtime runs.
    """

    def replace(linear: Linear, weight: Any) -> Replacement:
        import numpy as np
        import torch
        from modelopt.torch.quantization.qtensor import FP8QTensor
        from onnx import helper

        name, source = linear.module, linear.node.input[0]
        wide = torch.from_numpy(np.array(weight, dtype=np.float32))
        scale = scale_of(float(wide.abs().max()), weight.dtype)
        held, _ = FP8QTensor.quantize(wide, scales=torch.tensor(float(scale)))
        codes = held._quantized_data.contiguous().view(torch.uint8).numpy()
        asked = amax(name)
        # Layers with one input have one range, and so one pair of nodes, named by the input and the range.
        pair = f"{source}.fp8_{asked:.6g}"
        tensors = [
            stored_bytes(f"{name}.weight_fp8", FP8, codes.shape, codes),
            stored(f"{name}.weight_scale", scale),
            stored(f"{pair}_scale", scale_of(asked, weight.dtype)),
            stored_bytes("workbench.fp8_zero", FP8, (), np.zeros(1, np.uint8)),
        ]
        nodes = [
            helper.make_node(
                "QuantizeLinear", [source, f"{pair}_scale", "workbench.fp8_zero"], [pair], name=f"{pair}_quantize"
            ),
            helper.make_node("DequantizeLinear", [pair, f"{pair}_scale"], [f"{pair}_float"], name=f"{pair}_dequantize"),
            helper.make_node(
                "DequantizeLinear",
                [f"{name}.weight_fp8", f"{name}.weight_scale"],
                [f"{name}.weight_float"],
                name=f"{name}.dequantize",
            ),
        ]
        return Replacement(tensors, nodes, f"{name}.weight_float", f"{pair}_float")

    return replace


def scale_of(amax: float, dtype: Any) -> Any:
    """amax / 448 as a scalar array of `dtype`, rounded up so that amax itself stays within E4M3; 1 for no range."""
    import numpy as np

    if not amax > 0:
        return np.asarray(1.0, dtype=dtype)
    exact = amax / E4M3_MAX
    scale = np.asarray(exact, dtype=dtype)
    if float(scale) < exact:
        scale = np.nextafter(scale, np.asarray(np.inf, dtype=dtype))
    return np.asarray(scale, dtype=dtype)

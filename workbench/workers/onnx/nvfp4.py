"""NVFP4 weights and activations: blocks of 16 elements of E2M1, an E4M3 scale a block and a float32 scale a tensor.

The weights' scales are ModelOpt's. Activations get their block scales while the engine runs (TRT_FP4DynamicQuantize,
TensorRT's own operator), and the tensor's scale from calibration text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workbench.workers.onnx.linears import Linear, Method, Replacement
from workbench.workers.onnx.tensors import pack_nibbles, stored, stored_bytes

FP4, FP8, FP32 = 23, 17, 1
"""TensorProto.DataType."""
BLOCK = 16
E2M1_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Of codes 0 to 7; 8 to 15 are the same below zero."""
RANGE = 6.0 * 448.0
"""Largest E2M1 times largest E4M3: what a tensor's scale of 1 reaches."""
OPSET, IR_VERSION = 23, 11
"""The first that hold 4-bit floats."""
DOMAIN = "trt"


def nvfp4_blocks(amax: Callable[[str], float]) -> Method:
    """The method. `amax`: largest magnitude of a layer's input, by module name.

    The weight is stored as (outputs, inputs) in blocks along the inputs, dequantized in two steps to float32, cast
    to the layer's float type and transposed: the form that ModelOpt exports and TensorRT knows.
    """

    def replace(linear: Linear, weight: Any) -> Replacement:
        import numpy as np
        from onnx import helper

        name, source = linear.module, linear.node.input[0]
        compute = helper.np_dtype_to_tensor_dtype(weight.dtype)
        codes, block_scale, tensor_scale = rounded(np.asarray(weight, dtype=np.float32).T)
        asked = amax(name)
        act = f"{source}.fp4_{asked:.6g}"
        act_scale = np.asarray(asked / RANGE if asked > 0 else 1.0, dtype=np.float32)
        tensors = [
            stored_bytes(f"{name}.weight_fp4", FP4, (linear.outputs, linear.inputs), codes),
            stored_bytes(f"{name}.weight_block_scale", FP8, block_scale.shape, block_scale),
            stored(f"{name}.weight_tensor_scale", tensor_scale),
            stored(f"{act}_scale", act_scale),
            # The builder wants to know the length of the blocked axis, which a computed shape hides from it.
            stored(f"{act}_shape", np.array([*[0] * (1 if linear.node.op_type == "Gemm" else 2), linear.inputs])),
        ]

        def dequantize(values: str, scale: str, out: str, block: int = 0) -> Any:
            blocks = {"axis": -1, "block_size": block} if block else {}
            return helper.make_node("DequantizeLinear", [values, scale], [out], name=f"{out}_dequantize", **blocks)

        nodes = [
            helper.make_node("Reshape", [source, f"{act}_shape"], [f"{act}_shaped"], name=f"{act}_reshape"),
            helper.make_node(
                "TRT_FP4DynamicQuantize",
                [f"{act}_shaped", f"{act}_scale"],
                [act, f"{act}_block_scale_fp8"],
                name=f"{act}_quantize",
                domain=DOMAIN,
                axis=-1,
                block_size=BLOCK,
                scale_type=FP8,
            ),
            dequantize(f"{act}_block_scale_fp8", f"{act}_scale", f"{act}_block_scale"),
            dequantize(act, f"{act}_block_scale", f"{act}_wide", BLOCK),
            helper.make_node("Cast", [f"{act}_wide"], [f"{act}_float"], name=f"{act}_cast", to=compute),
            dequantize(f"{name}.weight_block_scale", f"{name}.weight_tensor_scale", f"{name}.weight_scale"),
            dequantize(f"{name}.weight_fp4", f"{name}.weight_scale", f"{name}.weight_wide", BLOCK),
            helper.make_node("Cast", [f"{name}.weight_wide"], [f"{name}.weight_cast"], name=f"{name}.cast", to=compute),
            helper.make_node(
                "Transpose", [f"{name}.weight_cast"], [f"{name}.weight_float"], name=f"{name}.transpose", perm=[1, 0]
            ),
        ]
        return Replacement(tensors, nodes, f"{name}.weight_float", f"{act}_float")

    return replace


def rounded(weight: Any) -> tuple[Any, Any, Any]:
    """A float32 (outputs, inputs) weight with ModelOpt's scales, as arrays: E2M1 codes packed two to a byte, the first
    in the low half; E4M3 block scales as bytes (outputs, inputs / 16); the tensor's float32 scale, a scalar.

    Rounding to E2M1 is ml_dtypes': the same values as ModelOpt's own, which takes three times as long on a CPU.
    """
    import ml_dtypes
    import numpy as np
    import torch
    from modelopt.torch.quantization.qtensor import NVFP4QTensor

    wide = torch.from_numpy(np.array(weight, order="C"))
    tensor_scale = NVFP4QTensor.get_weights_scaling_factor_2(wide)
    if not float(tensor_scale) > 0:  # zeros alone
        tensor_scale = torch.ones(())
    block_scale, _ = NVFP4QTensor.get_weights_scaling_factor(wide, BLOCK, tensor_scale)
    blocks = wide.view(wide.shape[0], -1, BLOCK)
    blocks /= (block_scale.float() * tensor_scale).unsqueeze(-1)
    codes = wide.clamp_(-6.0, 6.0).numpy().astype(ml_dtypes.float4_e2m1fn).view(np.uint8)
    return (
        pack_nibbles(codes),
        block_scale.contiguous().view(torch.uint8).numpy(),
        tensor_scale.reshape(()).float().numpy(),
    )

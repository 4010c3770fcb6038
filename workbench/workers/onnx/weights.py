"""What an ONNX model says of itself without its weights: KV cache, vocabulary, and parameters by type."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

_TYPE_NAMES = {
    1: "fp32",
    2: "uint8",
    3: "int8",
    10: "fp16",
    16: "bf16",
    17: "fp8",
    21: "uint4",
    22: "int4",
    23: "nvfp4",
}
"""By TensorProto.DataType; 4-bit floats stand here for NVFP4 alone, the one format with them that is made."""
_PAST = re.compile(r"past_key_values\.(\d+)\.(key|value)$")


@dataclass(frozen=True)
class KvShape:
    """The KV cache as the graph takes it: inputs of (batch, KV heads, tokens, head size)."""

    layers: int
    kv_heads: int
    head_size: int
    """Elements; of the values where keys and values differ."""


def kv_shape(model: Any) -> KvShape | None:
    """Layers, KV heads and head size from the inputs `past_key_values.N.value`; None without such."""
    found = []
    for given in model.graph.input:
        match = _PAST.match(given.name)
        dims = given.type.tensor_type.shape.dim
        if match and match[2] == "value" and len(dims) == 4 and dims[1].dim_value and dims[3].dim_value:
            found.append((int(dims[1].dim_value), int(dims[3].dim_value)))
    return KvShape(layers=len(found), kv_heads=found[0][0], head_size=found[0][1]) if found else None


def vocabulary(model: Any) -> int | None:
    """Number of logits a position; None: the graph does not say."""
    for output in model.graph.output:
        if output.name == "logits":
            return int(output.type.tensor_type.shape.dim[-1].dim_value) or None
    return None


def parameters_by_type(model: Any) -> dict[str, int]:
    """Number of weights by element type, for stored tensors of two or more axes; scales and zero points left out.

    As stored: an embedding that the last layer shares stands twice in an exported graph, since it is transposed.
    """
    aside = _scales(model)
    counts: dict[str, int] = {}
    for tensor in model.graph.initializer:
        elements = math.prod(tensor.dims)
        name = _TYPE_NAMES.get(tensor.data_type)
        if name is None or tensor.name in aside or len(tensor.dims) < 2 or elements == max(tensor.dims):
            continue
        counts[name] = counts.get(name, 0) + elements
    return dict(sorted(counts.items()))


def _scales(model: Any) -> set[str]:
    """Names that are a scale or zero point of a (de)quantization, and what those are dequantized from in turn."""
    makers = {name: node for node in model.graph.node for name in node.output}
    found: set[str] = set()
    for node in model.graph.node:
        operands = _SCALE_OPERANDS.get(node.op_type)
        if operands is None:
            continue
        waiting = [node.input[index] for index in operands if index < len(node.input)]
        while waiting:
            name = waiting.pop()
            if name in found or not name:
                continue
            found.add(name)
            if name in makers and makers[name].op_type in _KEEPS_VALUES:
                waiting.extend(makers[name].input)
    return found


_SCALE_OPERANDS = {
    "DequantizeLinear": (1, 2),
    "QuantizeLinear": (1, 2),
    "TRT_FP4DynamicQuantize": (1,),
    "TRT_FP8DequantizeLinear": (1, 2),
    "TRT_FP8QuantizeLinear": (1, 2),
    "MatMulNBits": (2, 3, 4),
}
_KEEPS_VALUES = frozenset(["DequantizeLinear", "Cast", "Reshape", "Transpose", "Unsqueeze"])

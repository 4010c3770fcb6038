"""What weights an IR holds: channel sizes for group sizes, and how many parameters of which type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_TYPE_NAMES = {
    "i4": "int4",
    "u4": "uint4",
    "i8": "int8",
    "u8": "uint8",
    "f16": "fp16",
    "bf16": "bf16",
    "f32": "fp32",
}
_PASS_THROUGH = frozenset(["Convert", "Reshape", "Multiply", "Subtract"])


@dataclass(frozen=True)
class KvShape:
    """The KV cache as the IR keeps it."""

    layers: int
    kv_heads: int
    head_size: int
    """Elements; of the values where keys and values differ."""


def kv_shape(model: Any) -> KvShape | None:
    """Layers, KV heads and head size from the IR's state, (batch, KV heads, tokens, head size); None without such."""
    found = []
    for op in model.get_ops():
        if op.get_type_name() != "ReadValue":
            continue
        shape = op.get_output_partial_shape(0)
        if len(shape) == 4 and shape[1].is_static and shape[3].is_static:
            found.append((shape[1].get_length(), shape[3].get_length()))
    if not found:
        return None
    return KvShape(layers=len(found) // 2, kv_heads=found[0][0], head_size=found[0][1])


def input_channels(model: Any) -> list[int]:
    """Sorted sizes of the axis that a MatMul sums over, for each weight that is a constant of two axes."""
    sizes = set()
    for op in model.get_ops():
        if op.get_type_name() != "MatMul":
            continue
        constant = _constant_behind(op.input_value(1).get_node())
        shape = list(op.input_value(1).get_partial_shape().to_shape()) if constant is not None else []
        if len(shape) == 2:
            sizes.add(shape[1] if op.get_attributes()["transpose_b"] else shape[0])
    return sorted(sizes)


def parameters_by_type(model: Any) -> dict[str, int]:
    """Number of weights by element type, for constants of two or more axes; zero points and scales left out."""
    counts: dict[str, int] = {}
    for op in model.get_ops():
        if op.get_type_name() != "Constant" or len(op.get_output_shape(0)) < 2:
            continue
        name = _TYPE_NAMES.get(op.get_output_element_type(0).get_type_name())
        elements = 1
        for size in op.get_output_shape(0):
            elements *= size
        if name is None or elements == max(op.get_output_shape(0)) or not _is_weight(op):
            continue
        counts[name] = counts.get(name, 0) + elements
    return dict(sorted(counts.items()))


def _is_weight(constant: Any) -> bool:
    """Whether a constant is the first operand (values) of its decompression, not the second (zero point, scale)."""
    users = [(target.get_node(), target.get_index()) for target in constant.output(0).get_target_inputs()]
    for node, index in users:
        if node.get_type_name() == "Convert":
            users += [(t.get_node(), t.get_index()) for t in node.output(0).get_target_inputs()]
        elif node.get_type_name() in ("Subtract", "Multiply"):
            return index == 0
        elif node.get_type_name() in ("MatMul", "Gather"):
            return True
    return False


def _constant_behind(node: Any) -> Any | None:
    """The constant that a weight's decompression starts from; None when the operand is computed from inputs."""
    while node.get_type_name() in _PASS_THROUGH:
        node = node.input_value(0).get_node()
    return node if node.get_type_name() == "Constant" else None

"""An NVFP4 graph made computable on a CPU: the same rounding of weights and activations, by standard operators.

ONNX Runtime's CPU kernels have no 4-bit floats. Weights are dequantized in numpy to what the graph itself casts them
to; where an engine would round activations to NVFP4, so do nodes of the graph. So the logits are those of the
format, as far as the order of sums goes: an engine's products add up in another order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.workers.onnx.common import is_external, place_of
from workbench.workers.onnx.nvfp4 import BLOCK, DOMAIN, E2M1_VALUES, FP4, FP8, FP32
from workbench.workers.onnx.tensors import stored
from workbench.workers.onnx.widen import Wide

REMARK = (
    "NVFP4 weights are dequantized and activations rounded to NVFP4 by ordinary operators on this CPU, for which ONNX "
    "Runtime has no FP4 kernels"
)
_OWN = "workbench"
"""Before the names of what is added."""


def has_fp4(model: Any) -> bool:
    """Whether the graph holds NVFP4 weights."""
    return any(tensor.data_type == FP4 for tensor in model.graph.initializer)


def stand_in(model: Any, folder: Path) -> Wide:
    """`model`, whose weights are in `folder`, without 4-bit floats; changes `model`.

    Peak memory: the weights in the graph's own float type, FP16 as a rule.
    """
    from onnx import helper

    held = {tensor.name: tensor for tensor in model.graph.initializer}
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    makers = {name: node for node in model.graph.node for name in node.output}
    arrays: dict[str, Any] = {}
    gone: set[int] = set()
    instead: dict[int, list[Any]] = {}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in held and held[node.input[0]].data_type == FP4:
            inner = makers[node.input[1]]
            codes, blocks, scale = (held[name] for name in (node.input[0], *inner.input[:2]))
            cast = readers[node.output[0]][0]
            turn = readers[cast.output[0]][0]
            wide = dequantized(_raw(codes, folder), _raw(blocks, folder), _raw(scale, folder), codes.dims)
            dtype = helper.tensor_dtype_to_np_dtype(cast.attribute[0].i)
            arrays[turn.output[0]] = wide.astype(dtype).T.copy()
            gone |= {id(inner), id(node), id(cast), id(turn)}
        elif node.op_type == "TRT_FP4DynamicQuantize":
            inner = readers[node.output[1]][0]
            outer = readers[node.output[0]][0]
            cast = readers[outer.output[0]][0]
            gone |= {id(inner), id(outer), id(cast)}
            instead[id(node)] = _rounding(node.input[0], node.input[1], cast.output[0], cast.attribute[0].i)
    kept = []
    for node in model.graph.node:
        for each in instead.get(id(node), [node]) if id(node) not in gone else []:
            fresh = type(node)()
            fresh.CopyFrom(each)
            kept.append(fresh)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(_constants())
    _store(model, arrays)
    _versions(model)
    return Wide(model.SerializeToString(), REMARK, arrays)


def dequantized(codes: bytes, block_scale: bytes, tensor_scale: bytes, shape: Any) -> Any:
    """Float32 (outputs, inputs) of E2M1 codes, two to a byte, E4M3 block scales and a float32 scale."""
    import ml_dtypes
    import numpy as np

    rows, columns = (int(size) for size in shape)
    packed = np.frombuffer(codes, np.uint8)
    each = np.empty(packed.size * 2, np.uint8)
    each[0::2], each[1::2] = packed & 0xF, packed >> 4
    table = np.array([*E2M1_VALUES, *(-value for value in E2M1_VALUES)], np.float32)
    scale = np.frombuffer(block_scale, ml_dtypes.float8_e4m3fn).astype(np.float32)
    scale *= np.frombuffer(tensor_scale, np.float32)[0]
    values = table[each[: rows * columns]].reshape(-1, BLOCK)
    values *= scale[:, None]
    return values.reshape(rows, columns)


def _store(model: Any, arrays: dict[str, Any]) -> None:
    """Declare `arrays` as initializers that are given in memory, and drop those that nothing reads."""
    from onnx import helper

    read = {name for node in model.graph.node for name in node.input}
    for index in reversed(range(len(model.graph.initializer))):
        if model.graph.initializer[index].name not in read:
            del model.graph.initializer[index]
    for name, array in arrays.items():
        tensor = model.graph.initializer.add()
        tensor.name, tensor.data_type = name, helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor.dims.extend(array.shape)
        tensor.data_location = 1
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "in-memory"


def _versions(model: Any) -> None:
    for index in reversed(range(len(model.opset_import))):
        if model.opset_import[index].domain == DOMAIN:
            del model.opset_import[index]


_CONSTANTS = {"six": 6.0, "less_six": -6.0, "top": 448.0, "tiny": 2.0**-100, "one": 1.0, "two": 2.0, "four": 4.0,
              "half": 0.5}  # fmt: skip


def _constants() -> list[Any]:
    import numpy as np

    floats = [stored(f"{_OWN}.{name}", np.float32(value)) for name, value in _CONSTANTS.items()]
    blocks, axis = np.array([-1, BLOCK], np.int64), np.array([1], np.int64)
    return [*floats, stored(f"{_OWN}.blocks", blocks), stored(f"{_OWN}.axis", axis)]


def _rounding(source: str, scale: str, out: str, to: int) -> list[Any]:
    """Nodes that make `out` of `source` as NVFP4 holds it, in the type `to`.

    A block's scale is E4M3(largest magnitude / 6 / scale). Values become multiples of the step that E2M1 has at their
    size (0.5 below 2, 1 below 4, else 2), ties to even, at most 6; a block whose scale rounds to zero holds zeros.
    """
    from onnx import helper

    nodes: list[Any] = []

    def name_of(word: str) -> str:
        if word in _CONSTANTS or word in ("blocks", "axis"):
            return f"{_OWN}.{word}"
        return {"source": source, "scale": scale, "out": out}.get(word, f"{out}.{word}")

    def add(kind: str, given: str, made: str, **attributes: Any) -> None:
        names = [name_of(word) for word in given.split()]
        nodes.append(helper.make_node(kind, names, [name_of(made)], name=f"{name_of(made)}.{kind}", **attributes))

    add("Cast", "source", "wide", to=FP32)
    add("Shape", "source", "shape")
    add("Reshape", "wide blocks", "values")
    add("Abs", "values", "sizes")
    add("ReduceMax", "sizes axis", "most", keepdims=1)
    add("Div", "most six", "sixth")
    add("Div", "sixth scale", "asked")
    add("Min", "asked top", "clipped")
    add("Cast", "clipped", "fp8", to=FP8)
    add("Cast", "fp8", "block", to=FP32)
    add("Mul", "block scale", "held")
    add("Max", "held tiny", "divisor")
    add("Div", "values divisor", "scaled")
    add("Clip", "scaled less_six six", "inside")
    add("Abs", "inside", "size")
    add("Less", "size two", "small")
    add("Less", "size four", "middle")
    add("Where", "middle one two", "upper")
    add("Where", "small half upper", "step")
    add("Div", "inside step", "steps")
    add("Round", "steps", "whole")
    add("Mul", "whole step", "rounded")
    add("Mul", "rounded held", "sized")
    add("Reshape", "sized shape", "flat")
    add("Cast", "flat", "out", to=to)
    return nodes


def _raw(tensor: Any, folder: Path) -> bytes:
    if not is_external(tensor):
        return bytes(tensor.raw_data)
    place = place_of(tensor)
    with (folder / place.location).open("rb") as file:
        file.seek(place.offset)
        return file.read(place.length)

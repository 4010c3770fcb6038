"""An ONNX graph with FP32 for its 16-bit floats, which loses nothing of them.

For types that a CPU has no kernels for, and to tell what a graph computes from what its arithmetic rounds away.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.workers.onnx.common import INLINE_BYTES, is_external, place_of, tensor_bytes, tensors_of

FP16, BF16 = 10, 16
"""TensorProto.DataType."""
_FLOAT = 1


@dataclass
class Wide:
    """A graph to load from memory, and the initializers it needs with it."""

    graph: bytes
    remark: str
    arrays: dict[str, Any] = field(default_factory=dict)
    compute: str = ""
    """What it computes in; empty: as before."""


def holds(model: Any, kinds: Collection[int]) -> bool:
    """Whether a tensor of the graph is of one of these types."""
    return any(tensor.data_type in kinds for tensor in tensors_of(model))


def widen(model: Any, folder: Path, kinds: Collection[int]) -> Wide:
    """`model`, whose weights are in `folder`, with FP32 all through for `kinds`, which are `BF16` or `FP16`.

    Changes `model`. Peak memory: its weights in FP32.
    """
    arrays = {}
    for tensor in tensors_of(model):
        if tensor.data_type not in kinds:
            continue
        array = _floats(tensor, folder)
        external = is_external(tensor) or array.nbytes >= INLINE_BYTES
        for name in ("raw_data", "float_data", "int32_data", "external_data"):
            tensor.ClearField(name)
        tensor.data_type = _FLOAT
        if external and tensor.name:
            arrays[tensor.name] = array
            tensor.data_location = 1
            entry = tensor.external_data.add()
            entry.key, entry.value = "location", "in-memory"
        else:
            tensor.data_location = 0
            tensor.raw_data = array.tobytes()
    _retype(model.graph, kinds)
    remark = "BF16 weights are computed with in FP32 on this CPU, for which ONNX Runtime has no BF16 kernels"
    return Wide(model.SerializeToString(), remark, arrays, "fp32")


def _floats(tensor: Any, folder: Path) -> Any:
    """A 16-bit tensor's values as a float32 array."""
    import numpy as np
    from onnx import numpy_helper

    if is_external(tensor):
        place = place_of(tensor)
        raw = np.fromfile(folder / place.location, dtype="<u2", count=tensor_bytes(tensor) // 2, offset=place.offset)
    elif tensor.HasField("raw_data"):
        raw = np.frombuffer(tensor.raw_data, dtype="<u2")
    else:
        return np.ascontiguousarray(numpy_helper.to_array(tensor).astype(np.float32))
    if tensor.data_type == FP16:
        return raw.view("<f2").astype(np.float32).reshape(tuple(tensor.dims))
    return (raw.astype(np.uint32) << 16).view(np.float32).reshape(tuple(tensor.dims))


def _retype(graph: Any, kinds: Collection[int]) -> None:
    """FP32 for `kinds` in what a graph declares and casts to."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in kinds:
            value.type.tensor_type.elem_type = _FLOAT
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in kinds:
                attribute.i = _FLOAT
            if attribute.HasField("g"):
                _retype(attribute.g, kinds)
            for inner in attribute.graphs:
                _retype(inner, kinds)

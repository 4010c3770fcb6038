"""The linear layers of an exported decoder, and putting other weights in their place.

ModelOpt's own graph functions load every weight, copy the graph through two libraries and hold it three times over.
Here the graph is edited without its weights: one layer's weight is read at a time, and only what replaces it is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.workers.onnx.common import is_external, place_of
from workbench.workers.protocol import WorkerError

FLOATS = {1: "fp32", 10: "fp16"}
"""Element types of weights that are quantized here, by TensorProto.DataType."""
ALONE = frozenset(["lm_head", "router", "gate", "shared_expert_gate"])
"""Last parts of module names that stay as they are, as in ModelOpt's own defaults: the output layer, and experts'
routers, where a small error sends a token elsewhere."""
_PASS = frozenset(["Cast", "Add", "Mul", "Div", "Tanh", "Slice", "Reshape", "Squeeze", "Unsqueeze", "Identity"])
"""What may stand between the output layer and the logits: a bias, a soft cap, the choice of positions."""


@dataclass(frozen=True)
class Linear:
    """A MatMul or Gemm by a stored weight."""

    node: Any
    module: str
    """Dotted name as in the source model, such as model.layers.0.self_attn.q_proj."""
    weight: Any
    """Its TensorProto; the values may be in the data file."""
    turned: bool
    """Stored as (outputs, inputs), and transposed in the graph."""

    @property
    def inputs(self) -> int:
        return int(self.weight.dims[1 if self.turned else 0])

    @property
    def outputs(self) -> int:
        return int(self.weight.dims[0 if self.turned else 1])

    @property
    def count(self) -> int:
        return math.prod(self.weight.dims)


@dataclass
class Replacement:
    """What a method puts in place of a weight: tensors, the nodes that make a float weight of them, and the names that
    the layer reads from then on."""

    tensors: list[Any]
    nodes: list[Any]
    weight: str
    """(inputs, outputs), in the layer's own float type."""
    activation: str = ""
    """Empty: the input stays."""


Method = Callable[[Linear, Any], Replacement]
"""Makes a Replacement of a layer and its weight: a float array of shape (inputs, outputs)."""


def find_linears(model: Any) -> list[Linear]:
    """All layers to quantize, in graph order; the output layer and routers are left out."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    head = _head(model, makers)
    found: dict[str, Linear] = {}
    for node in model.graph.node:
        linear = _linear(node, stored, makers)
        if linear is None or node is head or linear.module.rsplit(".", 1)[-1] in ALONE:
            continue
        # What replaces a weight is named by its module, so each needs a name of its own.
        if not linear.module or linear.module in found:
            linear = replace(linear, module=f"{linear.module or 'layer'}.{len(found)}")
        found[linear.module] = linear
    return list(found.values())


def float_weight(linear: Linear, folder: Path) -> Any:
    """A layer's weight as an array of shape (inputs, outputs) in its own type, mapped from the file where it can be.

    Raises WorkerError `bad-weights` for one that holds NaN or infinite values.
    """
    import numpy as np

    array = _array(linear.weight, folder)
    if not np.isfinite(array).all():
        odd = int(np.size(array) - np.isfinite(array).sum())
        raise WorkerError(
            "a weight is not a finite number",
            code="bad-weights",
            cause=f"{linear.module}: {odd:,} of {linear.count:,} values are NaN or infinite",
            hint="NaN in the model folder means a broken file: fetch it again. Infinite values alone come of FP16, "
            "which ends at 65,504: convert with dtype = fp32.",
        )
    return array.T if linear.turned else array


def replace_weights(
    model: Any, folder: Path, linears: list[Linear], method: Method, told: Callable[[int, int], None]
) -> None:
    """Edit `model` in place: each layer's weight becomes what `method` makes of it. `told`: weights done, in all.

    Peak memory: what replaces the weights (4 or 8 bits each) and a few copies of the largest layer in float32.
    """
    by_node = {id(linear.node): linear for linear in linears}
    total, done = sum(linear.count for linear in linears), 0
    nodes: list[Any] = []
    tensors: dict[str, Any] = {}
    made: set[str] = set()
    for node in model.graph.node:
        linear = by_node.get(id(node))
        if linear is not None:
            new = method(linear, float_weight(linear, folder))
            # Layers that read one activation, such as q, k and v, share what quantizes it.
            nodes.extend(each for each in new.nodes if each.output[0] not in made)
            made.update(name for each in new.nodes for name in each.output)
            tensors.update((each.name, each) for each in new.tensors)
            node.input[1] = new.weight
            if new.activation:
                node.input[0] = new.activation
            for attribute in node.attribute:
                if attribute.name == "transB":
                    attribute.i = 0
            done += linear.count
            told(done, total)
        nodes.append(node)
    nodes = [_copy(node) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(tensors.values())
    _drop_unread(model)


def _linear(node: Any, stored: dict[str, Any], makers: dict[str, Any]) -> Linear | None:
    if node.op_type not in ("MatMul", "Gemm") or node.domain not in ("", "ai.onnx"):
        return None
    given = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type == "Gemm" and ("transA" in given and given["transA"].i):
        return None
    name, turned = node.input[1], "transB" in given and bool(given["transB"].i)
    maker = makers.get(name)
    if maker is not None and maker.op_type == "Transpose" and not turned:
        perm = next((list(a.ints) for a in maker.attribute if a.name == "perm"), [1, 0])
        if perm == [1, 0]:
            name, turned = maker.input[0], True
    weight = stored.get(name)
    if weight is None or len(weight.dims) != 2 or weight.data_type not in FLOATS:
        return None
    return Linear(node, module_of(node.name), weight, turned)


def module_of(node_name: str) -> str:
    """`/model/layers.0/mlp/up_proj/MatMul` -> `model.layers.0.mlp.up_proj`, as the exporter names nodes."""
    return ".".join(node_name.strip("/").split("/")[:-1])


def _head(model: Any, makers: dict[str, Any]) -> Any | None:
    """The node that makes the logits; None when something unknown stands between."""
    name = "logits"
    while name in makers:
        node = makers[name]
        if node.op_type in ("MatMul", "Gemm"):
            return node
        if node.op_type not in _PASS:
            return None
        # Of the operands of a sum or product, the one that is computed from a product and not a constant.
        name = next((each for each in node.input if each in makers and makers[each].op_type != "Constant"), "")
    return None


def _array(tensor: Any, folder: Path) -> Any:
    import numpy as np
    from onnx import helper, numpy_helper

    if not is_external(tensor):
        return numpy_helper.to_array(tensor)
    place = place_of(tensor)
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    path = folder / place.location
    return np.memmap(path, dtype=dtype, mode="r", offset=place.offset, shape=tuple(tensor.dims))


def _copy(node: Any) -> Any:
    """A node apart from the graph's list, which is emptied before it is filled again."""
    fresh = type(node)()
    fresh.CopyFrom(node)
    return fresh


def _drop_unread(model: Any) -> None:
    """Take out stored weights, and the transposes of them, that nothing reads any more."""
    outputs = {output.name for output in model.graph.output}
    while True:
        read = outputs | set(_read(model.graph))
        nodes = [node for node in model.graph.node if not read.isdisjoint(node.output)]
        if len(nodes) == len(model.graph.node):
            break
        kept = [_copy(node) for node in nodes]
        del model.graph.node[:]
        model.graph.node.extend(kept)
    for index in reversed(range(len(model.graph.initializer))):
        if model.graph.initializer[index].name not in read:
            del model.graph.initializer[index]


def _read(graph: Any) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _read(attribute.g)

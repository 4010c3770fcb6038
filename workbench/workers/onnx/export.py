"""A decoder of transformers written as an ONNX graph with KV-cache inputs, by torch's exporter and optimum's recipes.

optimum-onnx knows for each architecture its inputs and what must be patched while it is traced; that is used here by
the same calls that its own `export` makes. Its `export` itself is not, for two reasons: it holds the whole model a
second time while it gathers the weights into one file, and it has no progress.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.workers.common import explain_import
from workbench.workers.onnx.common import IR_VERSION, MODEL_FILE, OPSET
from workbench.workers.onnx.loading import TASK, explained
from workbench.workers.protocol import WorkerError

TRACED_OPSET = 20
"""The newest that torch's tracing exporter writes. Operators of a decoder are the same in 21 but for more types."""
CHANGED_IN_21 = frozenset(["GroupNormalization"])
"""Operators whose meaning changed between the two."""
_TORCH_BF16, _BF16 = 15, 16
"""torch 2.13 writes its own number of BF16 into some casts; the format's 15 is a complex type, to which none can be."""


def trace(model: Any, scratch: Path, dtype: str, on_layer: Callable[[int, int], None]) -> None:
    """Write the graph of `model` as model.onnx in the folder `scratch`, above 2 GB with a file for each weight.

    `on_layer` gets the decoder layers traced and their number; torch works on the graph for most of the time after
    the last. Weights keep their names and are as the model has them, so that linear layers are transposed in the graph:
    see `turn_weights`. torch would do that too, but holds all of them once more and fails with BF16. Peak memory:
    twice the model; below 2 GB the written file as well. Raises WorkerError `export-failed`.
    """
    try:
        # The recipes must be imported before the manager knows of them.
        import optimum.exporters.onnx.model_configs  # noqa: F401
        import torch
        from optimum.exporters.tasks import TasksManager
        from optimum.utils import DEFAULT_DUMMY_SHAPES
    except (ImportError, RuntimeError) as error:
        raise explain_import(error) from error
    hooks = _count_layers(model, on_layer)
    try:
        model.config.use_cache = True
        model.config.return_dict = True
        recipe = TasksManager.get_exporter_config_constructor(
            "onnx", model=model, task=TASK, library_name="transformers"
        )
        config = recipe(model.config, float_dtype=dtype, use_past=True, use_past_in_inputs=True)
        for name, value in (config.values_override or {}).items():
            setattr(model.config, name, value)
        example = config.rename_ambiguous_inputs(config.generate_dummy_inputs(framework="pt", **DEFAULT_DUMMY_SHAPES))
        with torch.no_grad(), config.patch_model_for_export(model, model_kwargs=_all_logits(model)):
            inputs, outputs = config.ordered_inputs(model), config.outputs
            torch.onnx.export(
                model,
                (example,),
                str(scratch / MODEL_FILE),
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_axes={**inputs, **outputs},
                do_constant_folding=False,
                opset_version=TRACED_OPSET,
                dynamo=False,
            )
    except Exception as error:
        _raise_full_disk(error, scratch)
        raise explained(error) from error
    finally:
        for hook in hooks:
            hook.remove()


def release(model: Any) -> None:
    """Give back the memory of a model's weights, which torch's exporter keeps a hold of after it is done.

    Weights that transformers left in the mapped file are not its own memory and stay.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        storage = tensor.untyped_storage()
        if storage.resizable():
            storage.resize_(0)


def lift_opset(model: Any) -> None:
    """Declare the folder's opset and IR version on a freshly traced ModelProto, and mend its casts to BF16.

    Raises WorkerError `export-failed`.
    """
    changed = sorted({node.op_type for node in model.graph.node} & CHANGED_IN_21)
    if changed:
        raise WorkerError(
            "the model has operators that cannot be written in the workbench's ONNX version",
            code="export-failed",
            cause=f"{', '.join(changed)} changed between opset {TRACED_OPSET} and {OPSET}",
        )
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == _TORCH_BF16:
                attribute.i = _BF16
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = max(entry.version, OPSET)
    model.ir_version = IR_VERSION


def turn_weights(model: Any) -> set[str]:
    """Take the transpositions of weights out of a traced ModelProto; the names of matrices to be stored transposed.

    A matrix that is used both ways, as a tied embedding is, gets a second entry, named after the layer that uses it.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer if len(tensor.dims) == 2}
    users: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    turned: set[str] = set()
    renamed: dict[str, str] = {}
    removed = []
    for node in graph.node:
        if not _turns(node) or node.input[0] not in weights:
            continue
        name = node.input[0]
        if not all(map(_turns, users[name])):
            layer = next((user.name for user in users.get(node.output[0], [])), "").strip("/")
            own = ".".join(layer.split("/")[:-1]) + ".weight"
            second = graph.initializer.add()
            second.CopyFrom(weights[name])
            second.name = own if own != ".weight" and own not in weights else node.output[0]
            weights[second.name] = second
            name = second.name
        turned.add(name)
        renamed[node.output[0]] = name
        removed.append(node)
    for node in removed:
        graph.node.remove(node)
    _rename(graph, renamed)
    return turned


def _turns(node: Any) -> bool:
    return node.op_type == "Transpose" and [list(each.ints) for each in node.attribute] == [[1, 0]]


def _rename(graph: Any, names: dict[str, str]) -> None:
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in names:
                node.input[index] = names[name]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, names)


def _all_logits(model: Any) -> dict[str, Any]:
    """Arguments of the model's forward that keep the logits of all positions."""
    import inspect

    names = inspect.signature(model.forward).parameters
    return {name: 0 for name in ("logits_to_keep", "num_logits_to_keep") if name in names}


def _count_layers(model: Any, on_layer: Callable[[int, int], None]) -> list[Any]:
    """Hooks on the decoder's layers that count those which have run; a second run does not count back."""
    import torch

    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    layers = max(lists, key=len, default=())
    total = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    if len(layers) != total:
        return []
    seen: set[int] = set()

    def entered(module: Any, _: Any) -> None:
        seen.add(id(module))
        on_layer(len(seen), total)

    return [layer.register_forward_pre_hook(entered) for layer in layers]


def _raise_full_disk(error: Exception, scratch: Path) -> None:
    """Raise OSError for a full disk, whatever words torch's C++ writer has for it."""
    import errno
    import os

    if isinstance(error, OSError) and error.errno is not None:
        raise error
    if shutil.disk_usage(scratch).free < 1 << 20:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(scratch)) from error

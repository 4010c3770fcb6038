"""model_ctx.onnx: the engine as ONNX Runtime's TensorRT-RTX execution provider reads it.

One node `EPContext` of the domain com.microsoft stands for the whole network, with the model's own inputs and
outputs, and names the engine's file beside it (embed_mode 0). Attributes are those of ONNX Runtime's design of EP
context models, and of what the provider itself writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.workers.common import first_line
from workbench.workers.onnx.common import IR_VERSION, MODEL_FILE, OPSET
from workbench.workers.protocol import WorkerError

CONTEXT_FILE = "model_ctx.onnx"
SOURCE = "NvTensorRTRTXExecutionProvider"
_NODE = "TensorRTRTX_engine"
_DOMAIN = "com.microsoft"


def write_context(out: Path, graph: Any, engine_file: str, targets: Sequence[tuple[int, int]], version: str) -> Path:
    """Write the model that stands for `engine_file`, which is beside it. `graph`: the ModelProto that was built.

    Raises WorkerError `bad-context` when what was written does not pass ONNX's own checks.
    """
    import onnx
    from onnx import helper

    inputs, outputs = list(graph.graph.input), list(graph.graph.output)
    node = helper.make_node(
        "EPContext",
        [one.name for one in inputs],
        [one.name for one in outputs],
        name=_NODE,
        domain=_DOMAIN,
        # 0: no other node's engine is meant. The provider writes it so for an engine of its own, too.
        main_context=0,
        embed_mode=0,
        ep_cache_context=engine_file,
        source=SOURCE,
        hardware_architecture=_hardware(targets),
        ep_sdk_version=version,
        onnx_model_filename=MODEL_FILE,
        partition_name=_NODE,
    )
    model = helper.make_model(
        helper.make_graph([node], "tensorrt_rtx_engine", inputs, outputs),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(_DOMAIN, 1)],
        ir_version=IR_VERSION,
        producer_name="engine-workbench",
    )
    path = out / CONTEXT_FILE
    try:
        onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString())
        check_context(path, graph)
    except onnx.checker.ValidationError as error:
        raise _bad(first_line(error)) from error
    return path


def check_context(path: Path, graph: Any) -> None:
    """Read it back: one node, its engine beside it, inputs and outputs equal to the model's. Raises `bad-context`."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    nodes = list(model.graph.node)
    if len(nodes) != 1 or nodes[0].op_type != "EPContext":
        raise _bad(f"{len(nodes)} nodes")
    named = {attribute.name: attribute for attribute in nodes[0].attribute}["ep_cache_context"].s.decode()
    if Path(named).name != named or not (path.parent / named).is_file():
        raise _bad(f"the engine {named} is not beside it")
    for what in ("input", "output"):
        ours = [one.SerializeToString() for one in getattr(model.graph, what)]
        theirs = [one.SerializeToString() for one in getattr(graph.graph, what)]
        if ours != theirs:
            raise _bad(f"its {what}s are not the model's")


def _hardware(targets: Sequence[tuple[int, int]]) -> str:
    """As the provider compares it: "89", or "80+" for an engine of several targets from Ampere on."""
    if len(targets) == 1:
        return f"{targets[0][0]}{targets[0][1]}"
    return "80+" if min(targets) >= (8, 0) else "75"


def _bad(why: str) -> WorkerError:
    return WorkerError(
        f"{CONTEXT_FILE} for ONNX Runtime is not as it should be",
        code="bad-context",
        cause=why[:400],
        hint="This is a fault of the worker. The engine's own file is whole.",
    )

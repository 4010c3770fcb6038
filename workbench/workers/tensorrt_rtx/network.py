"""An ONNX folder parsed into a strongly typed TensorRT network, and words for a model that is not taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.core.tensorrt_rtx.failures import explain_build
from workbench.core.tensorrt_rtx.log import BuilderLog
from workbench.workers.onnx.common import MODEL_FILE
from workbench.workers.protocol import WorkerError

_STANDARD = ("", "ai.onnx")
_KNOWN_DOMAINS = (*_STANDARD, "trt", "com.microsoft", "ai.onnx.ml")


def parse_network(trt: Any, builder: Any, logger: Any, folder: Path, graph: Any, log: BuilderLog) -> tuple[Any, Any]:
    """(network, parser); the parser owns weights that the network points at and must live as long.

    Types are the model's own: TensorRT-RTX builds strongly typed networks alone. `graph` is the ModelProto without
    its weights, for the words of a failure. Raises WorkerError: `missing-operator` with its node and domain, and the
    codes of workbench.core.tensorrt_rtx.failures.
    """
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(folder / MODEL_FILE)) or network.num_outputs == 0:
        raise _explain(parser, graph, log)
    return network, parser


def _explain(parser: Any, graph: Any, log: BuilderLog) -> WorkerError:
    """Words for what the parser says; an operator that is not known is looked up in the model."""
    texts = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        texts.append(f"{error.desc()} ({error.node_operator()} {error.node_name()})")
        unknown = "Plugin not found" in error.desc()
        node = _node(graph, error.node_name(), error.node()) if unknown else None
        if node is not None:
            return _missing(parser, graph, node)
    failure = explain_build([*log.errors, *texts])
    return WorkerError(failure.what, code=failure.code, cause=failure.evidence, hint=failure.fix)


def _node(graph: Any, name: str, index: int) -> Any:
    nodes = graph.graph.node
    named = next((node for node in nodes if name and node.name == name), None)
    return named if named is not None or not 0 <= index < len(nodes) else nodes[index]


def _missing(parser: Any, graph: Any, node: Any) -> WorkerError:
    """One operator that is missing, and how many others are."""
    absent: dict[tuple[str, str], int] = {}
    for one in graph.graph.node:
        if not parser.supports_operator(one.op_type):
            absent[one.domain, one.op_type] = absent.get((one.domain, one.op_type), 0) + 1
    same = absent.pop((node.domain, node.op_type), 1)
    others = ", ".join(f"{domain or 'ai.onnx'}.{operator}" for domain, operator in list(absent)[:5])
    kind = "operator" if node.domain in _KNOWN_DOMAINS else "plugin"
    return WorkerError(
        f"TensorRT-RTX has no {kind} {node.op_type} of the domain {node.domain or 'ai.onnx'}",
        code="missing-operator",
        cause=f"node {node.name or node.output[0]}"
        + (f" and {same - 1} more nodes of that kind" if same > 1 else "")
        + (f"; also missing: {others}" if others else ""),
        hint="Export the model without it, or run the ONNX folder with the toolchain onnxruntime.",
    )

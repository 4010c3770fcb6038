"""Run by the ONNX interpreter: `spoil.py SOURCE TARGET KIND` copies an ONNX folder and breaks or deepens it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def main(source: str, target: str, *kinds: str) -> None:
    import onnx

    for kind in kinds:
        folder = Path(target) / kind
        shutil.copytree(source, folder)
        model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
        products = [node for node in model.graph.node if node.op_type == "MatMul"]
        if kind == "operator":
            for node in products[:2]:
                node.op_type = "NoSuchOperator"
        elif kind == "plugin":
            products[0].op_type, products[0].domain = "FancyAttention", "com.example"
            model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
        elif kind == "fixed":  # exported for prompts of four tokens
            model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
        elif kind == "deep":
            deepen(model)
        elif kind == "data":
            (folder / "model.onnx.data").unlink()
        onnx.save(model, str(folder / "model.onnx"))


def deepen(model: object, layers: int = 48) -> None:
    """Products of many shapes behind the logits, each of which is compiled by itself: a build that takes seconds."""
    import numpy as np
    import onnx

    graph = model.graph  # type: ignore[attr-defined]
    width = graph.output[0].type.tensor_type.shape.dim[2].dim_value
    name, last = "logits", next(node for node in graph.node if "logits" in node.output)
    last.output[list(last.output).index(name)] = at = "logits_0"
    rng = np.random.default_rng(0)
    for layer in range(layers):
        inner = 64 + 8 * layer
        for step, shape in (("up", (width, inner)), ("down", (inner, width))):
            weight = f"deep_{layer}_{step}"
            values = (rng.standard_normal(shape) / 32).astype(np.float16)
            graph.initializer.append(onnx.numpy_helper.from_array(values, weight))
            graph.node.append(onnx.helper.make_node("MatMul", [at, weight], [f"{weight}_out"], name=weight))
            at = f"{weight}_out"
            end = step == "down" and layer == layers - 1
            if not end:
                graph.node.append(onnx.helper.make_node("Tanh", [at], [f"{weight}_tanh"], name=f"{weight}_tanh"))
                at = f"{weight}_tanh"
    graph.node.append(onnx.helper.make_node("Identity", [at], [name], name="deep_logits"))


if __name__ == "__main__":
    main(*sys.argv[1:])

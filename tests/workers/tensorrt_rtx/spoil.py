"""Run by the ONNX interpreter: `spoil.py SOURCE TARGET KIND` copies an ONNX folder and breaks it in one way."""

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
        elif kind == "data":
            (folder / "model.onnx.data").unlink()
        onnx.save(model, str(folder / "model.onnx"))


if __name__ == "__main__":
    main(*sys.argv[1:])

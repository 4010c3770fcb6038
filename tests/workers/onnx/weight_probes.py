"""Looks at quantized ONNX folders, run in the ONNX interpreter: `settings.probe` of a step spec says which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.core.messages import StepSpec
from workbench.workers.protocol import Channel


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    return {"rounding": _rounding, "nvfp4": _nvfp4}[spec.settings["probe"]](spec)


def _rounding(spec: StepSpec) -> dict[str, Any]:
    """Each quantized weight against the source's: the largest error in steps of its format, and what stayed."""
    import numpy as np
    import onnx

    folder, source = Path(spec.inputs["folder"]), Path(spec.inputs["source"])
    model, before = (onnx.load(str(each / "model.onnx")) for each in (folder, source))
    new = {tensor.name: tensor for tensor in model.graph.initializer}
    old = {tensor.name: tensor for tensor in before.graph.initializer}
    weights = {node.name.strip("/").replace("/", ".").rpartition(".")[0]: old[node.input[1]] for node in
               before.graph.node if node.op_type == "MatMul" and node.input[1] in old}  # fmt: skip
    worst, layers = 0.0, []
    for name, tensor in weights.items():
        kind = next((k for k in ("int8", "int4", "fp8", "fp4") if f"{name}.weight_{k}" in new), None)
        if kind is None:
            continue
        layers.append(name)
        exact = onnx.numpy_helper.to_array(tensor).astype(np.float32)
        if f"{name}.smooth" in new:
            exact = exact / onnx.numpy_helper.to_array(new[f"{name}.smooth"]).astype(np.float32)[:, None]
        worst = max(worst, _error(kind, name, new, exact))
    onnx.checker.check_model(str(folder / "model.onnx"))
    same = [name for name, tensor in old.items() if name in new and np.array_equal(
        onnx.numpy_helper.to_array(tensor), onnx.numpy_helper.to_array(new[name]))]  # fmt: skip
    return {
        "layers": layers,
        "worst": worst,
        "left": sorted(name for name in weights if name not in layers),
        "kept": len(same),
        "of": len(old) - len(layers),
        "operators": sorted({node.op_type for node in model.graph.node if "uantize" in node.op_type}),
    }


def _error(kind: str, name: str, new: dict[str, Any], exact: Any) -> float:
    """Largest difference in units of what rounding to nearest may lose: at most 1 when all is right."""
    import numpy as np
    import onnx

    held = onnx.numpy_helper.to_array(new[f"{name}.weight_{kind}"]).astype(np.float32)
    if kind == "fp4":
        blocks = onnx.numpy_helper.to_array(new[f"{name}.weight_block_scale"]).astype(np.float32)
        blocks = blocks * onnx.numpy_helper.to_array(new[f"{name}.weight_tensor_scale"])
        scale = np.repeat(blocks, 16, axis=1).T
        held = held.T
        # A block's scale is rounded to 3 bits too, so its largest value may end above 6 or far below.
        step = np.where(np.abs(held) < 2, 0.25, np.where(np.abs(held) < 4, 0.5, 1.0)) * 1.25
    else:
        scale = onnx.numpy_helper.to_array(new[f"{name}.weight_scale"]).astype(np.float32)
        if kind == "int4":
            scale = np.repeat(scale, held.shape[0] // scale.shape[0], axis=0)
        step = np.maximum(np.abs(held) / 16, 2.0**-10) * 1.001 if kind == "fp8" else np.full_like(held, 0.52)
    return float((np.abs(held * scale - exact) / (step * scale)).max())


def _nvfp4(spec: StepSpec) -> dict[str, Any]:
    """The nodes that round on a CPU against the workbench's own NVFP4 in PyTorch."""
    import numpy as np
    import onnxruntime
    import torch
    from onnx import TensorProto, helper

    from workbench.workers.modelopt.nvfp4 import fake_quantize
    from workbench.workers.onnx.nvfp4_cpu import _constants, _rounding

    torch.manual_seed(3)
    values = torch.randn(2, 5, 64) * torch.tensor([0.001, 1.0, 30.0, 0.0]).repeat_interleave(16)
    values[0, 0, :16] = torch.tensor([6, 5, 3.5, 2.5, 1.75, 1.25, 0.75, 0.25] * 2)  # ties
    amax = values.abs().max()
    graph = helper.make_graph(
        _rounding("x", "s", "y", 1),
        "rounding",
        [helper.make_tensor_value_info("x", 1, ["a", "b", 64])],
        [helper.make_tensor_value_info("y", 1, None)],
        [*_constants(), helper.make_tensor("s", TensorProto.FLOAT, [], [float(amax) / 2688])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    ours = session.run(None, {"x": values.numpy()})[0]
    theirs = fake_quantize(values, 16, amax).numpy()
    return {"equal": float((ours == theirs).mean()), "apart": float(np.abs(ours - theirs).max()), "size": ours.size}

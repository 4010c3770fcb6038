"""Parts of the ONNX workers run by themselves in the ONNX interpreter: a step spec says which, as `settings.probe`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.core.messages import StepSpec
from workbench.workers.protocol import Channel


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    return PROBES[spec.settings["probe"]](spec, channel)


def _check(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    from workbench.workers.onnx.common import check_folder

    return {"nodes": len(check_folder(Path(spec.inputs["folder"])).graph.node)}


def _compare(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    from workbench.workers.onnx.checking import check_against_source

    folder, model = Path(spec.inputs["folder"]), Path(spec.inputs["model"])
    return check_against_source(folder, model, str(spec.settings["dtype"]), False, channel)


def _logits(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """A text fed whole, in pieces, and again after `begin()`: how far apart the logits are."""
    import numpy as np

    from workbench.workers.onnx.logits import OnnxLogits

    onnx = OnnxLogits(Path(spec.inputs["folder"]))
    ids = list(range(20, 60))
    whole = onnx.feed(ids)
    onnx.begin()
    pieces = np.concatenate([onnx.feed(ids[at : at + 7]) for at in range(0, len(ids), 7)])
    onnx.begin()
    again = onnx.feed(ids)
    return {
        "shape": list(whole.shape),
        "type": str(whole.dtype),
        "pieces": float(np.abs(whole - pieces).max()),
        "again": float(np.abs(whole - again).max()),
        "spread": float(whole.std()),
        "vocabulary": onnx.vocabulary,
        "max_seq_len": onnx.max_seq_len,
        "settings": onnx.settings,
    }


def _harm(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Write a folder with a node that no runtime knows, then load it."""
    import onnx

    from workbench.workers.onnx.common import copy_companions, save_model
    from workbench.workers.onnx.logits import OnnxLogits

    source, out = Path(spec.inputs["folder"]), Path(spec.output)
    copy_companions(source, out)
    model = onnx.load(str(source / "model.onnx"), load_external_data=False)
    domain = str(spec.settings["domain"])
    logits = next(node for node in model.graph.node if "logits" in node.output)
    logits.output[0] = "plain"
    model.graph.node.append(onnx.helper.make_node("Sharpen", ["plain"], ["logits"], name="/end/Sharpen", domain=domain))
    if domain:
        model.opset_import.append(onnx.helper.make_opsetid(domain, 1))
    save_model(model, out, source)
    return {"settings": OnnxLogits(out).settings}


def _save(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Load a folder with its weights, save it, and compare what is in both."""
    import numpy as np
    import onnx

    from workbench.workers.onnx.common import check_folder, save_model

    source, out = Path(spec.inputs["folder"]), Path(spec.output)
    before = {t.name: onnx.numpy_helper.to_array(t).tobytes() for t in _whole(source).graph.initializer}
    told: list[tuple[int, int]] = []
    model = _whole(source)
    odd = onnx.helper.make_tensor("odd", onnx.TensorProto.INT4, [3, 3001], np.arange(9003) % 16 - 8)
    model.graph.initializer.append(odd)
    packed = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(odd)).raw_data
    bytes_written = save_model(model, out, told=lambda done, total: told.append((done, total)))
    stripped = check_folder(out)
    after = {t.name: onnx.numpy_helper.to_array(t).tobytes() for t in _whole(out).graph.initializer}
    external = [t for t in stripped.graph.initializer if t.data_location == 1]
    offsets = [int(entry.value) for t in external for entry in t.external_data if entry.key == "offset"]
    with (out / "model.onnx.data").open("rb") as file:
        file.seek(offsets[-1])
        tail = file.read(len(packed))
    return {
        "equal": all(after[name] == data for name, data in before.items()),
        "odd": tail == packed,
        "external": len(external),
        "aligned": all(offset % 4096 == 0 for offset in offsets),
        "held": sum(len(t.raw_data) for t in model.graph.initializer),
        "told": told[-1],
        "rising": told == sorted(told),
        "bytes": bytes_written,
        "largest_inline": max((len(t.raw_data) for t in stripped.graph.initializer if not t.data_location), default=0),
    }


def _whole(folder: Path) -> Any:
    import onnx

    return onnx.load(str(folder / "model.onnx"))


def _genai(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """The folder answers by onnxruntime-genai alone, greedily, and so does ONNX Runtime by our own logits."""
    import json

    import onnxruntime_genai as genai

    from workbench.workers.onnx.logits import OnnxLogits

    folder = Path(spec.inputs["folder"])
    model = genai.Model(str(folder))
    tokenizer = genai.Tokenizer(model)
    prompt = tokenizer.apply_chat_template(json.dumps([{"role": "user", "content": "Hi"}]), add_generation_prompt=True)
    ids = [int(token) for token in tokenizer.encode(prompt)]
    params = genai.GeneratorParams(model)
    params.set_search_options(max_length=len(ids) + int(spec.settings["tokens"]), do_sample=False)
    generator = genai.Generator(model, params)
    generator.append_tokens(ids)
    answer = []
    while not generator.is_done():
        generator.generate_next_token()
        answer.append(int(generator.get_next_tokens()[0]))
    onnx = OnnxLogits(folder)
    ours: list[int] = []
    last = onnx.feed(ids)[-1]
    while len(ours) < len(answer):
        ours.append(int(last.argmax()))
        last = onnx.feed([ours[-1]])[-1]
    return {"prompt": prompt, "answer": answer, "ours": ours}


PROBES = {
    "check": _check,
    "compare": _compare,
    "logits": _logits,
    "harm": _harm,
    "save": _save,
    "genai": _genai,
}

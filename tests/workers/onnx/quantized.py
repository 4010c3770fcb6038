"""The tiny models quantized in every way, and verified: one process for all, shared by the tests of both steps."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.workers.conftest import make_tiny_llama
from tests.workers.onnx.runs import ROOT, Run, shared_runs
from workbench.workers.onnx.common import DATA_FILE

CALIBRATION = ROOT / "resources" / "calibration.jsonl"
PROMPTS = ["Hello there", "One, two, three", "What is a pump?", "def f(x):"]
DRAW = {"samples": 6, "length": 48, "batch_size": 2, "seed": 7}
PROBES = "tests.workers.onnx.weight_probes"


@pytest.fixture(scope="session")
def quantized(tiny_onnx: dict[str, Run], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Runs by name; those of `verify NAME` and `probe NAME` look at what NAME made."""
    return shared_runs(tmp_path_factory, "tiny-quantized", lambda root: _cases(root, tiny_onnx))


def _cases(root: Path, onnx: dict[str, Run]) -> dict[str, dict[str, Any]]:
    models = {family: str(onnx[f"{family}-fp32"].out.parent / family) for family in ("llama", "qwen2")}

    def quantize(name: str, checkpoint: str, inputs: dict[str, str] | None = None, **settings: Any) -> dict[str, Any]:
        given = {"checkpoint": str(onnx[checkpoint].out) if checkpoint in onnx else checkpoint, **(inputs or {})}
        out = str(root / f"{name.replace(' ', '-')}.partial")
        return {"worker": "onnx.quantize", "inputs": given, "settings": settings, "output": out}

    def text(family: str) -> dict[str, str]:
        return {"model": models[family], "calibration": str(CALIBRATION)}

    made = {
        "int8": ("llama-fp32", {}, {"weights": "int8"}),
        "int4": ("llama-fp32", {}, {"weights": "int4", "compute": "fp32"}),
        "int4 qwen2": ("qwen2-fp16", {}, {"weights": "int4", "group_size": 32}),
        "awq": ("llama-fp32", text("llama"), {"weights": "int4", "method": "awq", "calibration": DRAW}),
        "fp8": ("llama-fp16", text("llama"), {"weights": "fp8", "calibration": DRAW}),
        "nvfp4": ("llama-fp16", text("llama"), {"weights": "nvfp4", "calibration": DRAW}),
    }
    cases = {name: quantize(name, source, inputs, **settings) for name, (source, inputs, settings) in made.items()}
    families = {name: "qwen2" if "qwen2" in name else "llama" for name in made}
    for name, (source, _, _) in made.items():
        inputs = {"folder": cases[name]["output"], "source": str(onnx[source].out)}
        cases[f"probe {name}"] = {"worker": PROBES, "inputs": inputs, "settings": {"probe": "rounding"}}
    cases["probe rounding"] = {"worker": PROBES, "settings": {"probe": "nvfp4"}}
    broken = _broken(root, onnx["llama-fp32"].out, Path(models["llama"]))
    int8 = cases["int8"]["output"]
    cases |= {
        "large group": quantize("large group", "llama-fp32", weights="int4", group_size=128),
        "odd group": quantize("odd group", "llama-fp32", weights="int4", group_size=48),
        "word for group": quantize("word for group", "llama-fp32", weights="int4", group_size="some"),
        "awq int8": quantize("awq int8", "llama-fp32", weights="int8", method="awq"),
        "no such": quantize("no such", "llama-fp32", weights="int3"),
        "awq no model": quantize("awq no model", "llama-fp32", weights="int4", method="awq"),
        "awq no text": quantize("awq no text", "llama-fp32", {"model": models["llama"]}, weights="int4", method="awq"),
        "fp8 of fp32": quantize("fp8 of fp32", "llama-fp32", text("llama"), weights="fp8"),
        "of bf16": quantize("of bf16", "llama-bf16", weights="int8"),
        "other compute": quantize("other compute", "llama-fp32", weights="int8", compute="fp16"),
        "twice": quantize("twice", int8, weights="int8"),
        "nan": quantize("nan", str(broken["nan"]), weights="int8"),
        "nan model": quantize(
            "nan model", "llama-fp16", {**text("llama"), "model": str(broken["nan model"])}, weights="fp8"
        ),
        "no data": quantize("no data", str(broken["no data"]), weights="int8"),
        "other model": quantize(
            "other model", "qwen2-fp16", {**text("llama"), "model": str(broken["renamed"])}, weights="fp8",
            calibration=DRAW,
        ),
        "binary text": quantize(
            "binary text", "llama-fp16", {"model": models["llama"], "calibration": str(broken["binary"])}, weights="fp8"
        ),
    }  # fmt: skip

    def verify(engine: str, model: str, **settings: Any) -> dict[str, Any]:
        inputs = {"engine": engine, "model": model}
        return {"worker": "onnx.verify", "inputs": inputs, "settings": {"prompts": PROMPTS, **settings}}

    floor = {"min_agreement": 0.0, "max_kl": 2.0, "max_new_tokens": 12}
    for name in made:
        precision = str(made[name][2]["weights"])
        cases[f"verify {name}"] = verify(cases[name]["output"], models[families[name]], precision=precision, **floor)
    full = str(onnx["llama-fp32"].out)
    cases |= {
        "verify fp32": verify(full, models["llama"], precision="fp32", max_new_tokens=12),
        "verify bf16": verify(str(onnx["llama-bf16"].out), models["llama"], precision="bf16", **floor),
        "verify rtx": verify(str(broken["rtx"]), models["llama"], precision="fp32", max_new_tokens=4),
        "verify stranger": verify(full, str(broken["stranger"]), precision="int4", max_new_tokens=12),
        "verify other size": verify(full, str(broken["small"]), precision="fp32", max_new_tokens=4),
        "verify no data": verify(str(broken["no data"]), models["llama"], precision="fp32", max_new_tokens=4),
        "verify no prompts": {**verify(full, models["llama"]), "settings": {}},
    }
    return cases


def _broken(root: Path, fp32: Path, model: Path) -> dict[str, Path]:
    """Folders that are not as they should be; made once."""
    places = {
        name: root / name.replace(" ", "-")
        for name in ("nan", "nan model", "no data", "renamed", "binary", "rtx", "stranger", "small")
    }
    if places["nan"].exists():
        return places
    for name in ("nan", "no data", "rtx"):
        shutil.copytree(fp32, places[name])
    data = places["nan"] / DATA_FILE
    whole = bytearray(data.read_bytes())
    whole[len(whole) // 4 : len(whole) // 2] = b"\xff" * (len(whole) // 2 - len(whole) // 4)
    data.write_bytes(bytes(whole))
    (places["no data"] / DATA_FILE).unlink()
    engine = '{"schema_version": 1, "toolchain": "tensorrt_rtx", "device": "cpu", "precision": "fp32"}'
    (places["rtx"] / "engine.json").write_text(engine)
    places["binary"].write_bytes(b"\x00\xff" * 500)
    for name, harm in (("nan model", _with_nan), ("renamed", None)):
        shutil.copytree(model, places[name])
        if harm is not None:
            harm(places[name] / "model.safetensors")
    # A model of as many layers whose modules have other names.
    config = places["renamed"] / "config.json"
    config.write_text(config.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 1'))
    make_tiny_llama(places["stranger"], seed=99)
    _smaller(make_tiny_llama(places["small"], seed=5))
    return places


def _with_nan(weights: Path) -> None:
    tensors = load_file(weights)
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = np.nan
    save_file(tensors, weights, metadata={"format": "pt"})


def _smaller(folder: Path) -> None:
    """One token less in the vocabulary."""
    tensors = load_file(folder / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = np.ascontiguousarray(tensors[name][:-1])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = folder / "config.json"
    size = tensors["lm_head.weight"].shape[0]
    config.write_text(config.read_text().replace(f'"vocab_size": {size + 1}', f'"vocab_size": {size}'))

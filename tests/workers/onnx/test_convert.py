"""Hugging Face folders to ONNX by the real exporter, checked by the real runtimes; and folders that cannot be."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.workers.conftest import TINY, RunWorker, error_of, make_tiny_llama
from tests.workers.onnx.conftest import MADE
from tests.workers.onnx.models import make_tiny_qwen2
from tests.workers.onnx.runs import Run, shared_runs
from workbench.workers.common import tree_bytes
from workbench.workers.onnx import convert as onnx_convert
from workbench.workers.onnx.checking import MAX_LOGIT_DIFF
from workbench.workers.onnx.common import DATA_FILE, FACTS_FILE, GENAI_FILE, MODEL_FILE

pytestmark = pytest.mark.slow

WEIGHTS = (
    TINY["layers"] * (3 * TINY["hidden"] ** 2 + 3 * TINY["hidden"] * TINY["intermediate"])
    + 2 * TINY["vocabulary"] * TINY["hidden"]
)
"""Weights of two axes: q, o, k + v (half each), the three of the MLP, and embeddings with the last layer."""
NAMES = [f"{family}-{dtype}" for family, dtype in MADE]


def _config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def _scaled(folder: Path, factor: float, *parts: str) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name, tensor in tensors.items():
        if any(part in name for part in parts):
            tensors[name] = (tensor.astype(np.float32) * factor).astype(np.float16)
    save_file(tensors, path, metadata={"format": "pt"})


def _cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def _no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()


def _own_code(folder: Path) -> None:
    (folder / "own.py").write_text("raise SystemExit('the code was run')\n")
    _config(folder, model_type="own", auto_map={"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"})


HARMS: dict[str, tuple[Callable[[Path], object], str, str, str]] = {
    "no tokenizer": (_no_tokenizer, "fp32", "no-tokenizer", "tokenizer.json"),
    "cut short": (_cut_short, "fp32", "bad-model", "model.safetensors"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "fp32", "no-weights", "safetensors"),
    "unknown": (lambda folder: _config(folder, model_type="no-such"), "fp32", "unsupported-architecture", "no-such"),
    "no recipe": (lambda folder: _config(folder, model_type="mamba"), "fp32", "unsupported-architecture", "mamba"),
    "own code": (_own_code, "fp32", "needs-remote-code", "trust_remote_code"),
    "not JSON": (lambda folder: (folder / "config.json").write_text("{ no"), "fp32", "export-failed", "JSON"),
    "int8": (lambda folder: None, "int8", "bad-setting", "int8"),
    "overflow": (
        lambda folder: _scaled(folder, 1e5, "k_proj"),
        "fp16",
        "convert-differs",
        "not a number",
    ),
}
"""Name: what is done to the folder, the dtype asked for, the error's code, and what its words must name."""


def _cases(root: Path) -> dict[str, dict[str, Any]]:
    cases = {}
    for name, (harm, dtype, _, _) in HARMS.items():
        model = root / name.replace(" ", "-")
        if not model.exists():
            harm(make_tiny_llama(model))
        cases[name] = {"inputs": {"model": str(model)}, "settings": {"dtype": dtype}, "output": f"{model}.partial"}
    loud = root / "loud"
    if not loud.exists():
        _scaled(make_tiny_llama(loud), 30, "lm_head")
    cases["loud"] = {"inputs": {"model": str(loud)}, "settings": {"dtype": "fp16"}, "output": f"{loud}.partial"}
    return {name: {"worker": "onnx.convert", **case} for name, case in cases.items()}


@pytest.fixture(scope="session")
def harmed(onnx_python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    return shared_runs(tmp_path_factory, "harmed-onnx", _cases)


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_is_whole_and_says_what_it_is(tiny_onnx: dict[str, Run], name: str) -> None:
    run, dtype = tiny_onnx[name], name.split("-")[1]
    result, names = run.result, {path.name for path in run.out.iterdir()}
    assert names == {MODEL_FILE, DATA_FILE, FACTS_FILE, GENAI_FILE, "config.json", "generation_config.json",
                     "tokenizer.json", "tokenizer_config.json"}  # fmt: skip
    facts = json.loads((run.out / FACTS_FILE).read_text())
    assert {key: result[key] for key in facts} == facts and result["bytes"] == tree_bytes(run.out)
    assert (facts["precision"], facts["compute"], facts["opset"], facts["ir_version"]) == (dtype, dtype, 21, 10)
    assert facts["parameters_by_type"] == {dtype: WEIGHTS}
    assert (facts["layers"], facts["kv_heads"], facts["head_size"]) == (TINY["layers"], TINY["kv_heads"], 32)
    assert (facts["vocabulary"], facts["max_seq_len"]) == (TINY["vocabulary"], 512)
    assert (run.out / DATA_FILE).stat().st_size >= WEIGHTS * (4 if dtype == "fp32" else 2)


@pytest.mark.parametrize("name", NAMES)
def test_its_logits_are_those_of_the_source(tiny_onnx: dict[str, Run], name: str) -> None:
    check = tiny_onnx[name].result["check"]
    bar = 1e-3 if name.endswith("fp32") else MAX_LOGIT_DIFF
    assert 0 < check["max_logit_diff"] <= bar and check["positions"] > 100 and check["source_compute"] == "float32"
    assert ("remark" in check) is name.endswith("bf16")


def test_phases_and_progress_are_told_as_they_come(tiny_onnx: dict[str, Run]) -> None:
    messages = tiny_onnx["llama-fp32"].found["messages"]
    assert [message["name"] for message in messages if message["type"] == "phase"] == list(onnx_convert.PHASES)
    phase = ""
    told: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for message in messages:
        if message["type"] == "phase":
            phase = message["name"]
        elif message["type"] == "progress":
            told.setdefault((phase, message["unit"]), []).append((message["done"], message["total"]))
    assert told["load", "bytes"][-1] == (4 * (WEIGHTS + 5 * TINY["hidden"]),) * 2
    assert told["export", "layers"][-1] == (TINY["layers"], TINY["layers"])
    assert told["save", "bytes"][-1][0] == told["save", "bytes"][-1][1] >= 4 * WEIGHTS
    assert told["check", "texts"][-1] == (8, 8)
    assert all(rows == sorted(rows) for rows in told.values())


def test_an_answer_ends_with_any_end_token_of_the_model(tiny_onnx: dict[str, Run]) -> None:
    config = json.loads((tiny_onnx["qwen2-fp32"].out / GENAI_FILE).read_text())
    assert config["model"]["eos_token_id"] == [1, TINY["vocabulary"] - 1] and config["model"]["type"] == "qwen2"
    assert config["search"]["past_present_share_buffer"] is False and config["search"]["do_sample"] is False


@pytest.mark.parametrize("name", HARMS)
def test_what_cannot_be_converted_is_said_in_words(harmed: dict[str, Run], name: str) -> None:
    _, _, code, words = HARMS[name]
    run = harmed[name]
    error = run.error
    assert error["code"] == code and error["hint"], error
    assert words in error["message"] + error["cause"] + error["hint"], error
    assert not (run.out / FACTS_FILE).exists(), "nothing that looks finished"


def test_fp16_that_only_its_arithmetic_moves_passes_with_a_remark(harmed: dict[str, Run]) -> None:
    check = harmed["loud"].result["check"]
    assert check["max_logit_diff"] > MAX_LOGIT_DIFF and "in float32 the export is within" in check["remark"]


@pytest.mark.skipif(os.geteuid() != 0, reason="a small full disk needs a mount")
def test_a_full_disk_is_said(run_onnx: RunWorker, tmp_path: Path) -> None:
    model, small = make_tiny_qwen2(tmp_path / "model"), tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1100k", "none", str(small)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        error = error_of(
            run_onnx("onnx.convert", {"inputs": {"model": str(model)}, "output": str(small / "o.partial")})
        )
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert error.code == "disk-full" and "Free space" in error.hint

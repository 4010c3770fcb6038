"""ONNX Runtime and TensorRT-RTX beside OpenVINO and PyTorch in one matrix: real engines of one model, whose
probabilities are known (tests/fakes/markov.py), measured and scored by the real command.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import workbench
from tests.fakes import markov
from tests.fakes.onnx_engines import make_ort_engine, make_rtx_engine, write_provenance
from tests.workers.conftest import RunWorker, openvino_here, run_worker  # noqa: F401
from tests.workers.onnxruntime.conftest import engine, known, onnx_python, run_onnx  # noqa: F401
from workbench.core.artifact import read_provenance
from workbench.measure.subjects import shown_name


def test_variants_of_one_model_are_told_apart(tmp_path: Path) -> None:
    ort = read_provenance(make_ort_engine(tmp_path / "ort", "int4"))
    rtx = read_provenance(make_rtx_engine(tmp_path / "rtx", "nvfp4"))
    assert shown_name(ort) == "INT4 ONNX Runtime"
    assert shown_name(rtx) == "NVFP4 TensorRT-RTX"
    assert shown_name(rtx, compiled=False) == "NVFP4 TensorRT-RTX (ONNX model)"


@pytest.fixture
def engines(
    tmp_path: Path,
    engine: Path,  # noqa: F811
    run_worker: RunWorker,  # noqa: F811
    openvino_here: None,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> list[Path]:
    """By OpenVINO, PyTorch, ONNX Runtime and, with its compiled engine out of reach, TensorRT-RTX."""
    made = markov.shared_engine(tmp_path_factory)
    model, folders = made.parent / "hf", [tmp_path / name for name in ("openvino", "torch", "ort", "rtx")]
    shutil.copytree(made, folders[0])
    settings = {"precision": "fp32", "model_digest": "d"}
    run_worker("pytorch.build", {"inputs": {"model": str(model)}, "settings": settings, "output": str(folders[1])})
    for folder in folders[2:]:
        shutil.copytree(engine, folder)
    notes = json.loads((engine / "engine.json").read_text())
    notes |= {"toolchain": "tensorrt_rtx", "targets": ["8.9"], "device": "rtx"}
    (folders[3] / "engine.json").write_text(json.dumps(notes))
    (folders[3] / "model_ctx.onnx").write_bytes(b"of a card that is not here")
    kinds = (("openvino", "fp16"), ("pytorch", "fp32"), ("onnxruntime", "fp32"), ("tensorrt_rtx", "fp32"))
    for folder, (toolchain, precision) in zip(folders, kinds, strict=True):
        facts = notes if toolchain == "tensorrt_rtx" else {}
        write_provenance(folder, toolchain, precision, facts, {"build": {}}, model)
    return folders


@pytest.mark.slow
def test_four_toolchains_in_one_matrix(
    engines: list[Path],
    onnx_python: str,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("ONNXRUNTIME", "TENSORRT_RTX"):
        monkeypatch.setenv(f"WORKBENCH_{name}_PYTHON", onnx_python)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    text = tmp_path / "text.jsonl"
    text.write_text("".join(json.dumps({"text": letter * 40}) + "\n" for letter in "xy"))
    short = ("--input", "12", "--output", "6", "--distinct", "2", "--raw", "--requests", "3", "--concurrency", "2")
    ran = workbench("compare", *map(str, engines), *short, "--text", str(text), "--prompt", "Say hello", "--json")
    assert ran.code == 0, ran.err
    rows: dict[str, dict[str, Any]] = {row["name"]: row["cells"] for row in ran.json["rows"]}
    assert list(rows) == [
        "FP16 OpenVINO",
        "FP32 PyTorch",
        "FP32 ONNX Runtime",
        "FP32 TensorRT-RTX (ONNX model)",
    ]
    base, torch, ort, rtx = rows.values()
    for cells in rows.values():
        assert cells["speed@2"]["value"] > 0 and cells["ttft"]["value"] > 0
    for cells in (ort, rtx):
        assert cells["kv"]["value"] is None and cells["kv"]["reason"] == "not reported", "it has no blocks"
        assert cells["agreement"]["value"] == 1.0 and cells["kl"]["value"] < 0.05, "its logits are about the same"
        assert cells["perplexity"]["value"] == pytest.approx(torch["perplexity"]["value"], rel=0.1)
    assert base["agreement"]["reason"] == "baseline"
    subjects = {subject["name"]: subject for subject in ran.json["subjects"]}
    said = subjects["FP32 TensorRT-RTX (ONNX model)"]
    assert "the compiled engine is not run" in said["not_applied"]["engine"] and said["gpus"] == 0
    assert "model.onnx on CPU" in said["not_applied"]["engine"]
    assert "engine" not in subjects["FP32 ONNX Runtime"]["not_applied"]
    kept = workbench("report", ran.json["id"], "--out", str(tmp_path / "report.json"))
    assert kept.code == 0, kept.err
    report = (tmp_path / "report.json").read_text()
    assert "the ONNX model is scored, the compiled engine is not run" in report

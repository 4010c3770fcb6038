"""Engine folders of ONNX Runtime and TensorRT-RTX as their builds leave them, with empty weights: for what reads
folders and loads nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from workbench.core.artifact import PROVENANCE_FILE, FileEntry, Machine, PlanModel, Provenance, StepRecord
from workbench.core.digest import file_sha256

ONNX = {"precision": "fp16", "compute": "fp16", "vocabulary": 96, "limits": {"max_seq_len": 128, "max_batch_size": 1}}
_RUN = {"onnxruntime": "1.31.1", "onnxruntime-genai": "0.18.0", "tokenizers": "0.22.2"}
_BUILT = {"tensorrt-rtx-cu13-libs": "1.7.1.116", "tensorrt-rtx-cu13-bindings": "1.7.1.116", "onnx": "1.23.2"}


def make_ort_engine(folder: Path, precision: str = "fp16", **notes: Any) -> Path:
    """An ONNX Runtime engine; `notes` go into engine.json, such as device="cuda" and versions."""
    versions = notes.pop("versions", _RUN)
    facts = {"toolchain": "onnxruntime", "device": "auto", **notes}
    return _make(folder, "onnxruntime", precision, facts, {"build": versions})


def make_rtx_engine(
    folder: Path, precision: str = "fp16", targets: tuple[str, ...] = ("8.9", "12.0"), **notes: Any
) -> Path:
    """A TensorRT-RTX engine; its builder does not load ONNX Runtime, so the convert step alone reports that."""
    versions = notes.pop("versions", _BUILT)
    folder.mkdir(parents=True)
    for name in ("engine.trt", "model_ctx.onnx", "layers.json"):
        (folder / name).write_bytes(name.encode() * 10)
    facts = {"toolchain": "tensorrt_rtx", "targets": list(targets), "versions": versions, **notes}
    return _make(folder, "tensorrt_rtx", precision, facts, {"convert": _RUN, "build": versions})


def _make(
    folder: Path, toolchain: str, precision: str, facts: dict[str, Any], steps: dict[str, dict[str, str]]
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"schema_version": 1, **ONNX, "precision": precision, **facts}
    texts = {"model.onnx": "onnx", "model.onnx.data": "weights", "tokenizer.json": "{}", "config.json": "{}"}
    for name, text in {**texts, "engine.json": json.dumps(facts)}.items():
        (folder / name).write_text(text)
    write_provenance(folder, toolchain, precision, facts, steps)
    return folder


def write_provenance(
    folder: Path,
    toolchain: str,
    precision: str,
    facts: dict[str, Any],
    steps: dict[str, dict[str, str]],
    model: Path | None = None,
) -> None:
    """Make an engine of a folder with files. `facts`: what its build reported; `steps`: versions by step."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name != PROVENANCE_FILE]
    weights = {"weights": precision}
    made = Provenance(
        kind="engine",
        name=f"tiny {toolchain.replace('_', '-')} {precision}",
        key=(folder.name * 64)[:64],
        created_at=1_700_000_000.0,
        workbench="0",
        toolchain=toolchain,
        precision=precision,
        preset={"schema": 1, "title": "T", "goal": "try-it", "toolchain": toolchain, "precision": weights},
        model=PlanModel(
            name="tiny",
            path=str(model or folder.with_name("gone")),
            architecture="LlamaForCausalLM",
            digest="d",
            parameters=1,
            weight_bytes=1,
        ),
        machine=Machine(cpu="c", cpu_identity="c", memory_bytes=1, os="o"),
        steps=tuple(
            StepRecord(
                id=name,
                kind=name,
                worker="w",
                argv=(),
                versions=versions,
                seconds=1.0,
                key="k",
                result=facts if name == "build" else {},
            )
            for name, versions in steps.items()
        ),
        files=tuple(FileEntry(path=path.name, bytes=path.stat().st_size, sha256=file_sha256(path)) for path in files),
    )
    (folder / PROVENANCE_FILE).write_text(made.model_dump_json(), "utf-8")

"""One engine of a tiny model, built once a session by the real worker; and its ONNX folder from the ONNX tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.workers.conftest import RunWorker, result_of
from tests.workers.onnx.conftest import TinyOnnx, onnx_python, run_onnx, tiny_llama_onnx, tiny_onnx, tiny_qwen2_onnx
from workbench.core.messages import Message

__all__ = ["onnx_python", "run_onnx", "tiny_llama_onnx", "tiny_onnx", "tiny_qwen2_onnx"]

SMALL = {"targets": ["8.9"], "max_seq_len": 512, "opt_prompt": 64}


@dataclass(frozen=True)
class Built:
    """An engine folder, its result and everything that the worker said."""

    out: Path
    result: dict[str, Any]
    messages: list[Message]


@pytest.fixture(scope="session")
def engine(run_onnx: RunWorker, tiny_llama_onnx: TinyOnnx, tmp_path_factory: pytest.TempPathFactory) -> Built:
    out = tmp_path_factory.mktemp("rtx") / "engine"
    spec = {"inputs": {"checkpoint": str(tiny_llama_onnx.fp16)}, "settings": SMALL, "output": str(out)}
    messages = run_onnx("tensorrt_rtx.build", spec)
    return Built(out, result_of(messages), messages)

"""ONNX folders of two tiny models, made once a run by the real convert worker and shared by all test processes.

Tests of other folders take the fixtures by importing them into their own conftest: `tiny_llama_onnx` or
`tiny_qwen2_onnx`, and with them `tiny_onnx` and `onnx_python`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.workers.conftest import RunWorker, make_tiny_llama
from tests.workers.onnx.models import make_tiny_qwen2
from tests.workers.onnx.runs import Run, interpreter, shared_runs

MAKERS: dict[str, Callable[[Path], Path]] = {"llama": make_tiny_llama, "qwen2": make_tiny_qwen2}
MADE = (("llama", "fp32"), ("llama", "fp16"), ("llama", "bf16"), ("qwen2", "fp32"), ("qwen2", "fp16"))


@dataclass(frozen=True)
class TinyOnnx:
    """A tiny model and its ONNX folders. Nobody may change them: copy first."""

    model: Path
    """The Hugging Face folder."""
    fp32: Path
    fp16: Path


@pytest.fixture(scope="session")
def onnx_python() -> str:
    """The interpreter of the ONNX toolchains; skips where WORKBENCH_TEST_ONNX names none."""
    return interpreter()


@pytest.fixture(scope="session")
def run_onnx(run_worker: RunWorker, onnx_python: str) -> RunWorker:
    """`run_worker`, in the interpreter of the ONNX toolchains."""
    return partial(run_worker, python=onnx_python)


@pytest.fixture(scope="session")
def tiny_onnx(onnx_python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """The conversions of `MADE`, by names as "llama-fp32"."""
    return shared_runs(tmp_path_factory, "tiny-onnx", _conversions)


def _conversions(root: Path) -> dict[str, dict[str, Any]]:
    for family, make in MAKERS.items():
        if not (root / family).exists():
            make(root / family)
    return {
        f"{family}-{dtype}": {
            "worker": "onnx.convert",
            "inputs": {"model": str(root / family)},
            "settings": {"dtype": dtype},
            "output": str(root / f"{family}-{dtype}"),
        }
        for family, dtype in MADE
    }


@pytest.fixture(scope="session")
def tiny_llama_onnx(tiny_onnx: dict[str, Run]) -> TinyOnnx:
    return _folders(tiny_onnx, "llama")


@pytest.fixture(scope="session")
def tiny_qwen2_onnx(tiny_onnx: dict[str, Run]) -> TinyOnnx:
    return _folders(tiny_onnx, "qwen2")


def _folders(runs: dict[str, Run], family: str) -> TinyOnnx:
    full, half = runs[f"{family}-fp32"], runs[f"{family}-fp16"]
    assert full.result and half.result
    return TinyOnnx(full.out.parent / family, full.out, half.out)

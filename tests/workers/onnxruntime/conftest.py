"""An ONNX engine whose greedy answer is known (tests/fakes/markov_onnx.py), built once by the real worker."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workers.conftest import ROOT, RunWorker, result_of
from tests.workers.onnx.conftest import onnx_python, run_onnx, tiny_llama_onnx, tiny_onnx

__all__ = ["onnx_python", "run_onnx", "tiny_llama_onnx", "tiny_onnx"]


@pytest.fixture(scope="session")
def known(onnx_python: str, run_onnx: RunWorker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the known model as `onnx` and as `engine`; nobody may change it."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = root / "markov-onnx"
    with (root / "markov-onnx.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            program = [onnx_python, "-m", "tests.fakes.markov_onnx", str(folder / "onnx")]
            subprocess.run(program, cwd=ROOT, check=True, capture_output=True)
            step = {"inputs": {"checkpoint": str(folder / "onnx")}, "output": str(folder / "engine")}
            result_of(run_onnx("onnxruntime.build", step))
            (folder / "made").touch()
    return folder


@pytest.fixture(scope="session")
def engine(known: Path) -> Path:
    return known / "engine"


@pytest.fixture
def with_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give the machine GPUs: `with_gpu("NVIDIA H100,9.0", ...)` puts an nvidia-smi first on the path."""

    def give(*gpus: str) -> None:
        rows = []
        for index, gpu in enumerate(gpus):
            name, capability = gpu.split(",")
            rows.append(f"{index}, {name}, GPU-{index}0000000-0000, {capability}, 24564, Disabled")
        folder = tmp_path / "driver"
        folder.mkdir()
        program = folder / "nvidia-smi"
        program.write_text("#!/bin/sh\ncat <<'ROWS'\n" + "\n".join(rows) + "\nROWS\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return give

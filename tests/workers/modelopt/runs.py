"""What the ModelOpt tests share: interpreters, cases run together, and rank files read without torch."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
VERSIONS = {"newest": "WORKBENCH_TEST_MODELOPT", "0.37": "WORKBENCH_TEST_MODELOPT_OLD"}
"""Environment variables that name interpreters with nvidia-modelopt: today's, and TensorRT-LLM 1.2's pin."""
_NUMPY = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "I8": np.int8, "U8": np.uint8, "F8_E4M3": np.uint8,
          "I64": np.int64, "I32": np.int32}  # fmt: skip


def interpreter(version: str) -> str:
    """The interpreter that holds a version of ModelOpt; skips the test when none is named."""
    found = os.environ.get(VERSIONS[version], "")
    if not found:
        pytest.skip(f"{VERSIONS[version]} names no interpreter with nvidia-modelopt")
    return found


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Run:
    """One case that ran."""

    case: dict[str, Any]
    found: dict[str, Any]

    @property
    def out(self) -> Path:
        return Path(self.case["output"])

    @property
    def result(self) -> dict[str, Any]:
        """The step's result; fails the test with the worker's words when it has none."""
        assert "result" in self.found, self.found.get("error")
        return dict(self.found["result"])

    @property
    def error(self) -> dict[str, str]:
        assert "error" in self.found, f"no error but {self.found['result']}"
        return dict(self.found["error"])

    @property
    def config(self) -> dict[str, Any]:
        assert "result" in self.found, self.found.get("error")
        return dict(json.loads((self.out / "config.json").read_text()))

    def messages(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.found["messages"] if message["type"] == kind]

    def ranks(self) -> list[dict[str, Tensor]]:
        count = self.result["ranks"]
        return [read_tensors(self.out / f"rank{rank}.safetensors") for rank in range(count)]


def run_cases(version: str, cases: Mapping[str, dict[str, Any]], folder: Path) -> dict[str, Run]:
    """Run all cases in one process of `version`'s interpreter; a case that crashed gives an error `crashed`."""
    given, results = folder / "cases.json", folder / "results.json"
    given.write_text(json.dumps(list(cases.values())))
    done = subprocess.run(
        [interpreter(version), "-m", "tests.workers.modelopt.driver", str(given), str(results)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-4000:]
    found = json.loads(results.read_text())
    return {name: Run(case, one) for (name, case), one in zip(cases.items(), found, strict=True)}


@dataclass(frozen=True)
class Tensor:
    """A tensor of a safetensors file."""

    dtype: str
    shape: tuple[int, ...]
    raw: np.ndarray[Any, Any]

    @property
    def values(self) -> np.ndarray[Any, Any]:
        """As float32; of FP8 the bit patterns, which is enough to compare."""
        if self.dtype == "BF16":
            return (self.raw.astype(np.uint32) << 16).view(np.float32)
        return self.raw.astype(np.float32)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, BF16 and FP8 too, with numpy alone."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    tensors = {}
    ends = [start]
    for name, entry in header.items():
        low, high = (start + offset for offset in entry["data_offsets"])
        raw = np.frombuffer(data[low:high], dtype=_NUMPY[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = Tensor(entry["dtype"], tuple(entry["shape"]), raw)
        ends.append(high)
    assert max(ends) == len(data), "the file ends with its last tensor"
    return tensors

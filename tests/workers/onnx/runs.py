"""What the ONNX tests share: the interpreter, steps run together in one process, and what was said."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
VARIABLE = "WORKBENCH_TEST_ONNX"


def interpreter() -> str:
    """The interpreter of the ONNX toolchains; skips the test when none is named."""
    named = os.environ.get(VARIABLE, "")
    if not named:
        pytest.skip(f"{VARIABLE} names no interpreter with optimum-onnx and onnxruntime-genai")
    return named


@dataclass(frozen=True)
class Run:
    """One step that ran."""

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
        assert "error" in self.found, f"no error but {self.found.get('result')}"
        return dict(self.found["error"])

    def messages(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.found["messages"] if message["type"] == kind]


def run_cases(cases: Mapping[str, dict[str, Any]], folder: Path, timeout_s: float = 500.0) -> dict[str, Run]:
    """Run step specs one after the other in one process of the ONNX interpreter; a case that crashed gives an error
    `crashed`. `folder` keeps the specs and what came of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    given, results = folder / "cases.json", folder / "results.json"
    given.write_text(json.dumps(list(cases.values())))
    done = subprocess.run(
        [interpreter(), "-m", "tests.workers.onnx.driver", str(given), str(results)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-4000:]
    return read_runs(cases, folder)


def shared_runs(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Mapping[str, dict[str, Any]]]
) -> dict[str, Run]:
    """Runs that all test processes share, made by the first that asks; nobody may change what they left.

    `make` gets the folder, fills it where it is empty, and gives the same specs each time.
    """
    base = factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    root.mkdir(exist_ok=True)
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cases = make(root)
        return read_runs(cases, root) if (root / "results.json").exists() else run_cases(cases, root)


def read_runs(cases: Mapping[str, dict[str, Any]], folder: Path) -> dict[str, Run]:
    """What `run_cases` kept in `folder`."""
    found = json.loads((folder / "results.json").read_text())
    return {name: Run(case, one) for (name, case), one in zip(cases.items(), found, strict=True)}

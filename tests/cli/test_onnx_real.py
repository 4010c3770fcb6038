"""One ONNX folder, two toolchains, three kinds of GPU: built from the command line, reused, looked into and asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import workbench
from tests.cli.test_real import ANY_QUALITY, last_job
from tests.jobs.soundness import partial_folders, unsound
from tests.workers.conftest import make_tiny_llama
from tests.workers.onnx.runs import interpreter
from workbench.core.home import Home

pytestmark = pytest.mark.slow

SECONDS = 400.0


def statuses(home: Home) -> dict[str, str]:
    job = last_job(home)
    assert job is not None
    return {step.id: step.status for step in job.state().steps}


def test_from_folder_to_an_engine_for_three_gpus_and_one_for_this_cpu(home: Home, tmp_path: Path) -> None:
    python = interpreter()
    env = {"WORKBENCH_ONNXRUNTIME_PYTHON": python, "WORKBENCH_TENSORRT_RTX_PYTHON": python}
    model = make_tiny_llama(tmp_path / "tiny")
    build = ["build", "trtrtx-fp16-lab", "--model", str(model), *ANY_QUALITY, "--json"]
    ran = workbench(*build, env=env, timeout=SECONDS)
    assert ran.code == 0, ran.err
    (made,) = ran.json["made"]
    assert 0 <= made["verify"]["agreement"] <= 1 and "was not run here" in made["verify"]["remark"]
    assert not unsound(home) and not partial_folders(home)
    shown = workbench("engines", "show", made["path"], "--json", env=env).json
    assert [step["id"] for step in shown["provenance"]["steps"]] == ["convert", "build:fp16"]
    result = shown["provenance"]["steps"][-1]["result"]
    assert result["targets"] == ["8.6", "8.9", "12.0"] and shown["runs_here"] in (True, False)
    layers = workbench("engines", "layers", made["path"], "--json", env=env)
    assert layers.code == 0 and "prefill" in layers.out and "decode" in layers.out

    again = workbench(*build, env=env, timeout=SECONDS)
    assert again.code == 0 and again.json["made"][0]["path"] == made["path"]
    assert {statuses(home)[step] for step in ("convert", "build:fp16", "verify:fp16")} == {"reused"}

    # What was converted for TensorRT-RTX is ONNX Runtime's too.
    other = workbench("build", "onnx-fp16", "--model", str(model), *ANY_QUALITY, "--set", "verify.enabled=false",
                      "--json", env=env, timeout=SECONDS)  # fmt: skip
    assert other.code == 0, other.err
    assert statuses(home) == {"check": "done", "convert": "reused", "quantize:fp16": "none", "build:fp16": "done"}
    for engine in (made["path"], other.json["made"][0]["path"]):
        answer = workbench("prompt", engine, "hello", "--max-tokens", "4", "--json", env=env, timeout=SECONDS)
        assert answer.code == 0 and answer.json["output_tokens"] <= 4, answer.err

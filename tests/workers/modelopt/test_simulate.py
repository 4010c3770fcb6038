"""Simulated quantization of a tiny model with real weights, by the newest ModelOpt and by 0.37, without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.models import make_real_tiny_folder
from tests.workers.modelopt.runs import environment, interpreter
from workbench.core.data import resource
from workbench.core.measure.quality_figures import agreement, kl_nats, perplexity_ratio
from workbench.core.measure.scores import Questions, Scores, Text

pytestmark = pytest.mark.slow
QUESTIONS = Questions(
    passages=tuple(Text(name=f"p{n}", text=f"The {n}th passage has some words of its own in it.") for n in range(3)),
    prompts=(Text(name="a", text="Say hello"), Text(name="b", text="And goodbye")),
    answer_tokens=8,
)


def run(python: str, worker: str, inputs: dict[str, str], out: Path, **settings: Any) -> dict[str, Any]:
    """The worker's last message."""
    out.mkdir()
    spec = {"protocol": 1, "worker": worker, "inputs": inputs, "output": str(out), "settings": settings}
    with subprocess.Popen(
        [python, "-m", f"workbench.workers.{worker}"],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(spec).encode() + b"\n")
        process.stdin.flush()
        lines = process.stdout.read().splitlines()
    return dict(json.loads(lines[-1]))


def scores_of(folder: Path) -> Scores:
    return Scores.model_validate_json((folder / "scores.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The model, the questions and the baseline's scores by the PyTorch worker."""
    root = tmp_path_factory.mktemp("simulate")
    model = make_real_tiny_folder(root / "model")
    (root / "questions.json").write_text(QUESTIONS.model_dump_json(), "utf-8")
    asked = {"engine": str(model), "questions": str(root / "questions.json")}
    last = run(sys.executable, "pytorch.score", asked, root / "baseline", dtype="float32", device="cpu")
    assert last["type"] == "result", last
    return {
        "model": str(model),
        "questions": asked["questions"],
        "baseline": str(root / "baseline"),
        "calibration": str(resource("calibration.jsonl")),
    }


@pytest.mark.parametrize("precision", ["fp8", "int8_sq", "int4_awq", "nvfp4"])
@pytest.mark.parametrize("version", ["newest", "0.37"])
def test_a_precision_is_simulated_and_scored_as_engines_are(
    inputs: dict[str, str], tmp_path: Path, version: str, precision: str
) -> None:
    calibration = {"samples": 4, "length": 32, "batch_size": 1}
    settings = {"precision": precision, "calibration": calibration, "device": "cpu"}
    last = run(interpreter(version), "modelopt.simulate", inputs, tmp_path / "out", **settings)
    assert last["type"] == "result", last
    scores, baseline = scores_of(tmp_path / "out"), scores_of(Path(inputs["baseline"]))
    assert scores.tokenizer == baseline.tokenizer != ""
    assert scores.settings["quantization"] == f"{precision} (simulated)"
    kl = kl_nats(scores.prompts)
    assert kl is not None and 0.0 < kl.value < 1.0, "rounded, and not beyond recognition"
    assert agreement(scores.prompts) is not None
    ratio = perplexity_ratio(scores.passages, baseline.passages)
    assert ratio is not None and ratio.value != 1.0 and 0.5 < ratio.value < 2.0


def test_a_precision_that_cannot_be_simulated_is_refused(inputs: dict[str, str], tmp_path: Path) -> None:
    last = run(interpreter("newest"), "modelopt.simulate", inputs, tmp_path / "out", precision="int2")
    assert last["type"] == "error" and last["code"] == "bad-setting"
    assert "nvfp4" in last["hint"]

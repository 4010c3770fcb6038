"""score_targets from end to end: real workers, a real engine whose probabilities are known (tests/fakes/markov.py)."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fakes import markov
from tests.workers.conftest import openvino_here, run_worker  # noqa: F401
from workbench.core.artifact import FileEntry, Machine, PlanModel, Provenance, StepRecord
from workbench.core.errors import BadInputError, CancelledError
from workbench.core.home import Home
from workbench.core.measure.quality import QualityRecord
from workbench.measure.quality import (
    QualityEvent,
    QualityOptions,
    QualityTarget,
    TaskOptions,
    score_targets,
)

pytestmark = pytest.mark.slow
LENGTH = 40


def write_provenance(folder: Path, toolchain: str, precision: str, model: Path, calibration: str = "") -> None:
    preset = {"schema": 1, "title": "T", "goal": "try-it", "toolchain": toolchain, "precision": {"weights": precision}}
    step = StepRecord(
        id="quantize",
        kind="quantize",
        worker="w",
        argv=(),
        inputs={"calibration": calibration} if calibration else {},
        seconds=1.0,
        key="k",
    )
    provenance = Provenance(
        kind="engine",
        name=folder.name,
        key=(folder.name * 64)[:64],
        created_at=1_700_000_000.0,
        workbench="0",
        toolchain=toolchain,
        precision=precision,
        preset=preset,
        model=PlanModel(
            name="m", path=str(model), architecture="LlamaForCausalLM", digest="d", parameters=1, weight_bytes=1
        ),
        machine=Machine(cpu="c", cpu_identity="c", memory_bytes=1, os="o"),
        steps=(step,),
        files=(FileEntry(path="config.json", bytes=1, sha256=""),),
    )
    (folder / "provenance.json").write_text(provenance.model_dump_json(), "utf-8")


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory, run_worker: Any, openvino_here: None) -> dict[str, Path]:  # noqa: F811
    """`good` and `broken` by OpenVINO, `torch` by PyTorch: all of one model."""
    root = tmp_path_factory.mktemp("quality")
    made = markov.shared_engine(tmp_path_factory)
    model = made.parent / "hf"
    folders = {name: root / name for name in ("good", "broken")}
    for folder in folders.values():
        shutil.copytree(made, folder)
    calibration = root / "calibration.txt"
    calibration.write_text("x" * LENGTH + "\n\n" + " ".join(f"word{n}" for n in range(20)), "utf-8")
    write_provenance(folders["good"], "openvino", "fp16", model, str(calibration))
    write_provenance(folders["broken"], "openvino", "int8", model)
    weights = folders["broken"] / "openvino_model.bin"
    weights.write_bytes(weights.read_bytes()[:100])
    torch = root / "torch"
    settings = {"precision": "fp32", "model_digest": "d"}
    run_worker("pytorch.build", {"inputs": {"model": str(model)}, "settings": settings, "output": str(torch)})
    write_provenance(torch, "pytorch", "fp32", model)
    return {**folders, "torch": torch}


@pytest.fixture
def options(tmp_path: Path) -> QualityOptions:
    text = tmp_path / "text.jsonl"
    rows = ["x" * LENGTH, "y" * 30, " ".join(f"word{n}" for n in range(20))]
    text.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows[:2]), "utf-8")
    task = tmp_path / "task.jsonl"
    choices = {"text": ["Hello", "nothing"], "label": ["A", "B"]}
    task.write_text(
        "".join(
            json.dumps({"question": f"q{n}", "choices": choices, "answerKey": key}) + "\n"
            for n, key in enumerate("AAB")
        ),
        "utf-8",
    )
    return QualityOptions(
        text=str(text), prompts=("Say hello", "Again"), answer_tokens=8, tasks=(TaskOptions(path=str(task)),)
    )


def nll_of_a_letter() -> float:
    """Nats for one of the letters that the model never expects: two tokens are likelier, the others alike."""
    count = len(markov.vocabulary())
    hidden = 64 * (count // 64 + 1)
    size = math.sqrt(hidden)  # what RMS normalisation makes of a one-hot vector
    return math.log(count - 2 + math.exp(0.25 * size) + math.exp(0.1 * size))


def run(home: Home, engines: list[Path], options: QualityOptions, **more: Any) -> list[QualityRecord]:
    targets = [QualityTarget(f"s{number}", engine) for number, engine in enumerate(engines, 1)]
    return score_targets(home, targets, 0, options, **{"environ": dict(os.environ), **more})


def test_engines_are_scored_and_one_that_fails_ends_nothing(
    home: Home, engines: dict[str, Path], options: QualityOptions, tmp_path: Path
) -> None:
    events: list[QualityEvent] = []
    order = [engines["good"], engines["broken"], engines["torch"]]
    good, broken, torch = run(home, order, options, on_event=events.append, folder=tmp_path / "scores")
    assert [record.subject for record in (good, broken, torch)] == ["s1", "s2", "s3"]
    for record in (good, torch):
        assert record.failure is None and record.perplexity is not None
        assert record.perplexity.n == LENGTH + 30 - 2
        assert math.log(record.perplexity.value) == pytest.approx(nll_of_a_letter(), rel=0.01)
        assert record.text.startswith("text.jsonl, SHA-256 ")
        assert {(task.name, task.metric) for task in record.tasks} == {("task", "acc"), ("task", "acc_norm")}
        assert record.tasks[0].score.n == 3
    assert good.agreement is None and good.kl_nats is None and not good.not_reported, "the baseline is the baseline"
    assert torch.agreement is not None and (torch.agreement.value, torch.agreement.n) == (1.0, 16)
    assert torch.tasks[0].difference is not None and torch.tasks[0].difference.value == 0.0
    assert torch.kl_nats is not None and 0.0 <= torch.kl_nats.value < 0.01
    assert torch.perplexity_ratio is not None and torch.perplexity_ratio.value == pytest.approx(1.0, abs=0.02)
    assert broken.failure is not None and broken.failure.code == "bad-ir"
    assert broken.agreement is None
    assert [event.subject for event in events if event.record is not None] == ["s1", "s2", "s3"]
    assert any(event.phase == "text" and event.total for event in events)
    assert broken.failure.what in (tmp_path / "scores" / "log.txt").read_text("utf-8")
    assert not list((tmp_path / "scores").rglob("*.npy")), "large files do not stay"


def test_when_the_baseline_fails_the_others_have_a_perplexity(
    home: Home, engines: dict[str, Path], options: QualityOptions
) -> None:
    broken, good = run(home, [engines["broken"], engines["good"]], options)
    assert broken.failure is not None and good.failure is None
    assert good.perplexity is not None and good.agreement is None
    assert good.not_reported["agreement"] == "the baseline could not be scored"


def test_an_engine_that_was_calibrated_with_the_text_says_so(
    home: Home, engines: dict[str, Path], options: QualityOptions, tmp_path: Path
) -> None:
    text = tmp_path / "seen.txt"
    text.write_text(" ".join(f"word{n}" for n in range(20)) + "\n", "utf-8")
    seen = options.model_copy(update={"text": str(text), "tasks": (), "prompts": ("Hi",)})
    (record,) = run(home, [engines["good"]], seen)
    assert any("13 words in a row" in warning for warning in record.warnings)


def test_a_run_that_is_stopped_ends_its_worker(home: Home, engines: dict[str, Path], options: QualityOptions) -> None:
    stop = threading.Event()
    began = 0.0

    def on_event(event: QualityEvent) -> None:
        nonlocal began
        if event.phase == "load":
            began = time.monotonic()
            stop.set()

    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with pytest.raises(CancelledError):
        run(home, [engines["good"]], options, on_event=on_event, stop=stop)
    assert time.monotonic() - began < 7
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


def test_what_cannot_be_asked_is_refused_before_anything_starts(
    home: Home, engines: dict[str, Path], options: QualityOptions
) -> None:
    good = engines["good"]
    with pytest.raises(BadInputError):
        run(home, [good], options.model_copy(update={"text": "/absent.txt"}))
    with pytest.raises(BadInputError):
        run(home, [good], options.model_copy(update={"prompts": ("Hello", " ")}))
    with pytest.raises(BadInputError):
        score_targets(home, [QualityTarget("s1", good)], 1, options, environ={})
    assert not (home.cache / "quality").exists()


def test_without_modelopt_a_simulated_precision_is_a_failure_in_words(
    home: Home, engines: dict[str, Path], options: QualityOptions, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n', "utf-8")
    python.chmod(0o755)
    simulating = options.model_copy(update={"simulate": ("fp8",), "tasks": ()})
    environ = {**os.environ, "WORKBENCH_MODELOPT_PYTHON": str(python)}
    records = run(home, [engines["good"]], simulating, environ=environ)
    if records[1].failure is None:
        pytest.skip("this interpreter holds ModelOpt")
    assert records[1].subject == "sim-fp8" and records[1].kind == "simulated"
    assert records[1].failure.code in ("no-environment", "not-started", "import-failed")


def test_one_folder_is_scored_with_two_settings(
    home: Home, engines: dict[str, Path], options: QualityOptions, tmp_path: Path
) -> None:
    good = engines["good"]
    targets = [QualityTarget("s1", good), QualityTarget("s2", good, ("precision.kv_cache=int8",))]
    folder = tmp_path / "scores"
    asked = options.model_copy(update={"tasks": (), "prompts": ("Hi",)})
    records = score_targets(home, targets, 1, asked, environ=dict(os.environ), folder=folder)
    assert [(record.subject, record.baseline, record.failure) for record in records] == [
        ("s1", "s2", None),
        ("s2", "s2", None),
    ]
    told = [json.loads((folder / name / "scores.json").read_text("utf-8"))["settings"] for name in ("s1", "s2")]
    assert told[0]["kv_cache_precision"] != told[1]["kv_cache_precision"]
    with pytest.raises(BadInputError):
        score_targets(home, [QualityTarget("s1", good), QualityTarget("s1", good)], 0, asked, environ={})

"""A PyTorch engine is a reference: built in no time, and it notices when what it refers to is not what it was."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workers.conftest import ROOT, TINY, RunWorker, error_of, make_tiny_llama, phases_of, result_of
from workbench.core.digest import model_digest
from workbench.core.errors import StepFailedError
from workbench.core.messages import Log, Sampling, StepSpec
from workbench.jobs.engine import EngineClient, HostCommand
from workbench.workers.pytorch.reference import DTYPES, ENGINE_FILE

Build = Callable[..., Path]


def digest_of(folder: Path) -> str:
    return model_digest(folder, lambda stamp: None, lambda stamp, digest: None)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_tiny_llama(tmp_path / "model")


@pytest.fixture
def build(run_worker: RunWorker, model: Path, tmp_path: Path) -> Build:
    """`build(**settings)` -> the engine folder made of the tiny model."""

    def run(**settings: Any) -> Path:
        out = tmp_path / "engine"
        given = {"precision": "fp32", "device": "cpu", "model_digest": digest_of(model), **settings}
        result_of(run_worker("pytorch.build", {"inputs": {"model": str(model)}, "settings": given, "output": str(out)}))
        return out

    return run


def start(engine: Path, log: Path, **settings: Any) -> EngineClient:
    spec = StepSpec(
        worker="pytorch.host", inputs={"engine": str(engine)}, settings={"kv_cache_bytes": 4_000_000, **settings}
    )
    argv = (sys.executable, "-m", "workbench.workers.pytorch.host")
    return EngineClient.start(HostCommand(argv=argv, env={"PYTHONPATH": str(ROOT)}, spec=spec), log, timeout_s=180)


def refusal(engine: Path, log: Path) -> StepFailedError:
    with pytest.raises(StepFailedError) as caught, start(engine, log):
        pass
    return caught.value


@pytest.mark.slow
def test_build_copies_nothing_and_says_what_will_be_loaded(run_worker: RunWorker, model: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in model.iterdir())
    out = tmp_path / "engine"
    settings = {"precision": "int8", "mode": "compiled", "attention": "sdpa", "model_digest": "d", "sampling": True}
    messages = run_worker("pytorch.build", {"inputs": {"model": str(model)}, "settings": settings, "output": str(out)})
    result = result_of(messages)
    assert [path.name for path in out.iterdir()] == [ENGINE_FILE] and phases_of(messages) == ["refer"]
    assert sorted(path.name for path in model.iterdir()) == before
    engine = json.loads((out / ENGINE_FILE).read_bytes())
    assert engine["model"]["path"] == str(model) and engine["model"]["digest"] == "d"
    assert set(engine["model"]["files"]) >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert engine["settings"] == {
        "dtype": "bfloat16", "quantization": "int8", "compile_level": 1, "attention": "sdpa", "do_sample": True,
    }  # fmt: skip
    head = TINY["hidden"] // TINY["heads"]
    assert result["kv_block_bytes"] == 2 * TINY["layers"] * TINY["kv_heads"] * head * 2 * result["kv_block_tokens"]
    assert result["chat_template"] is True and result["compute_precision"] == "bfloat16"
    assert result["model_path"] == str(model)


def test_a_precision_that_there_is_not_is_refused(run_worker: RunWorker, model: Path, tmp_path: Path) -> None:
    spec = {"inputs": {"model": str(model)}, "settings": {"precision": "int4"}, "output": str(tmp_path / "out")}
    error = error_of(run_worker("pytorch.build", spec))
    assert error.code == "bad-settings" and "int4" in error.cause and all(name in error.hint for name in DTYPES)


@pytest.mark.slow
def test_an_engine_serves_and_says_what_was_applied(build: Build, tmp_path: Path) -> None:
    engine = build(precision="bf16")
    with start(engine, tmp_path / "log", max_batch_size=3) as client:
        answer = client.submit(prompt="a", sampling=Sampling(max_tokens=4, ignore_eos=True)).result(60)
        assert answer.output_tokens == 4
        applied = client.ready.settings
    assert applied["compute_precision"] == applied["kv_cache_precision"] == applied["weights_precision"] == "bfloat16"
    assert applied["device"] == "CPU" and applied["mode"] == "eager" and applied["attention"] == "paged|sdpa"
    assert applied["prefix_caching"] == "off" and applied["scheduler"] == "FIFOScheduler"
    # What the spec says goes before what the engine was built with.
    with start(engine, tmp_path / "log", dtype="float32", prefix_caching=True) as client:
        applied = client.ready.settings
    assert applied["compute_precision"] == applied["kv_cache_precision"] == "float32"
    assert applied["prefix_caching"] == "on"


@pytest.mark.slow
def test_a_model_that_moved_or_changed_is_said_before_anything_is_loaded(
    build: Build, model: Path, tmp_path: Path
) -> None:
    engine, log = build(), tmp_path / "log"
    whole = shutil.copytree(model, tmp_path / "whole")

    def put_back() -> None:
        shutil.rmtree(model, ignore_errors=True)
        shutil.copytree(whole, model)  # with the times of the old files

    model.rename(tmp_path / "elsewhere")
    gone = refusal(engine, log)
    assert gone.failure.code == "model-gone" and str(model) in gone.failure.evidence and "Build" in gone.failure.fix

    put_back()
    (model / "generation_config.json").unlink(missing_ok=True)
    (model / "config.json").write_bytes((model / "config.json").read_bytes() + b"\n")
    changed = refusal(engine, log)
    assert changed.failure.code == "model-changed" and "config.json of another size" in changed.failure.evidence

    # Other weights of the same size: their time tells, and then their content.
    put_back()
    weights = model / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    other = refusal(engine, log)
    assert other.failure.code == "model-changed" and "another content" in other.failure.evidence

    # The same content with another time is the same model.
    put_back()
    os.utime(weights, ns=(1, 1))
    notes: list[str] = []
    spec = StepSpec(worker="pytorch.host", inputs={"engine": str(engine)}, settings={"kv_cache_bytes": 4_000_000})
    argv = (sys.executable, "-m", "workbench.workers.pytorch.host")
    command = HostCommand(argv=argv, env={"PYTHONPATH": str(ROOT)}, spec=spec)
    with EngineClient.start(
        command, log, lambda message: notes.append(message.text) if isinstance(message, Log) else None, timeout_s=180
    ):
        pass
    assert "the model is the same" in notes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 99}, "newer Engine Workbench"),
        ({"toolchain": "openvino"}, "no PyTorch engine"),
        ({"model": "a string"}, "no PyTorch engine"),
    ],
)
@pytest.mark.slow
def test_an_engine_file_of_another_kind_is_refused(
    build: Build, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    engine = build()
    path = engine / ENGINE_FILE
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **change}))
    assert words in refusal(engine, tmp_path / "log").failure.what


@pytest.mark.slow
def test_int8_on_a_cpu_is_refused_in_words(build: Build, tmp_path: Path) -> None:
    failure = refusal(build(precision="int8"), tmp_path / "log").failure
    assert failure.code == "bad-settings" and "no faster" in failure.evidence


@pytest.mark.slow
def test_verify_compares_with_float32_and_answers_as_the_host_does(
    run_worker: RunWorker, build: Build, model: Path, tmp_path: Path
) -> None:
    engine = build(precision="bf16")
    settings = {"precision": "bf16", "prompts": ["Hello there", "One, two"], "max_new_tokens": 6, "min_agreement": 0.0}
    spec = {"inputs": {"engine": str(engine), "model": str(model)}, "settings": {**settings, "max_kl": 5.0}}
    result = result_of(run_worker("pytorch.verify", spec))
    assert 0 <= result["agreement"] <= 1 and 0 < result["kl_nats"] < 0.1 and result["positions"] >= 2
    assert result["source_compute"] == "float32" and result["engine_compute"] == "bfloat16"
    assert result["speed_tokens"] == 64 and result["ttft_ms"] > 0 and result["output_tok_s"] > 0
    assert result["applied"]["compute_precision"] == "bfloat16"
    spec["settings"]["max_kl"] = 0.0
    error = error_of(run_worker("pytorch.verify", spec))
    assert error.code == "verify-failed" and "KL" in error.cause

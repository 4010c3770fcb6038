"""Convert, quantize, build and verify as programs, on a tiny random Llama and on the demo model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workers.conftest import (
    ROOT,
    TINY,
    RunWorker,
    error_of,
    make_tiny_llama,
    phases_of,
    result_of,
)
from workbench.core.messages import Log, Message, Progress
from workbench.workers import common
from workbench.workers.common import tree_bytes
from workbench.workers.openvino import build as openvino_build
from workbench.workers.openvino import convert as openvino_convert
from workbench.workers.openvino import verify as openvino_verify
from workbench.workers.openvino.common import MODEL_BIN, MODEL_XML, TOKENIZER_FILES

pytestmark = pytest.mark.slow

PROMPTS = ["Hello there", "One, two, three", "What is a pump?", "def f(x):"]
WEIGHTS = (
    TINY["layers"] * (2 * TINY["hidden"] ** 2 + TINY["hidden"] ** 2 + 3 * TINY["hidden"] * TINY["intermediate"])
    + 2 * TINY["vocabulary"] * TINY["hidden"]
)
"""Weights of two axes: q, o, k + v (half each), the three of the MLP, and embeddings with the last layer."""


def logs_of(messages: list[Message]) -> str:
    return "\n".join(message.text for message in messages if isinstance(message, Log))


@pytest.fixture(scope="module")
def quantized(run_worker: RunWorker, tiny_fp16: Path) -> Callable[..., tuple[Path, list[Message]]]:
    """`quantized(name, inputs={}, **settings)` -> the checkpoint's folder and the worker's messages."""

    def run(name: str, inputs: dict[str, str] | None = None, **settings: Any) -> tuple[Path, list[Message]]:
        out = tiny_fp16.parent / f"{name}.partial"
        spec = {
            "inputs": {"checkpoint": str(tiny_fp16), **(inputs or {})},
            "settings": settings,
            "output": str(out),
        }
        return out, run_worker("openvino.quantize", spec)

    return run


@pytest.fixture(scope="module")
def tiny_engine(run_worker: RunWorker, tiny_fp16: Path) -> tuple[Path, list[Message]]:
    """The tiny FP16 engine under its final name, and what the build said."""
    out = tiny_fp16.parent / "engine.partial"
    messages = run_worker("openvino.build", {"inputs": {"checkpoint": str(tiny_fp16)}, "output": str(out)})
    result_of(messages)
    return out.rename(out.with_suffix("")), messages


def test_convert_writes_a_whole_checkpoint_and_leaves_the_model_alone(
    run_worker: RunWorker, openvino_here: None, tmp_path: Path
) -> None:
    model = make_tiny_llama(tmp_path / "model")
    before = {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in model.iterdir()}
    out = tmp_path / "fp16.partial"
    messages = run_worker("openvino.convert", {"inputs": {"model": str(model)}, "output": str(out)})
    result = result_of(messages)
    assert {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in model.iterdir()} == before
    names = {path.name for path in out.iterdir()}
    assert names >= {MODEL_XML, MODEL_BIN, "config.json", "tokenizer.json", *TOKENIZER_FILES}
    assert phases_of(messages) == sorted(set(phases_of(messages)), key=openvino_convert.PHASES.index)
    assert phases_of(messages)[0] == "load" and phases_of(messages)[-1] == "check"
    assert result["bytes"] == tree_bytes(out) and result["weight_bytes"] >= 2 * WEIGHTS


def test_quantize_int8(quantized: Callable[..., tuple[Path, list[Message]]]) -> None:
    out, messages = quantized("int8", weights="int8")
    result = result_of(messages)
    assert result["parameters_by_type"] == {"int8": WEIGHTS} and result["bits_per_weight"] == 8.0
    assert result["weight_bytes"] < 0.6 * result["source_weight_bytes"]
    assert {path.name for path in out.iterdir()} >= {"tokenizer.json", "config.json", *TOKENIZER_FILES}


def test_quantize_int4_chooses_a_group_size_that_divides_and_says_so(
    quantized: Callable[..., tuple[Path, list[Message]]],
) -> None:
    _, messages = quantized("int4", weights="int4", symmetric=True)
    result = result_of(messages)
    assert (result["group_size"], result["why"]) == (64, "128 does not divide 192")
    assert "group size 64: 128 does not divide 192" in logs_of(messages)
    ends = 2 * TINY["vocabulary"] * TINY["hidden"]
    assert result["parameters_by_type"] == {"int4": WEIGHTS - ends, "uint8": ends}


def test_quantize_refuses_a_group_size_that_does_not_fit(
    quantized: Callable[..., tuple[Path, list[Message]]],
) -> None:
    out, messages = quantized("int4-128", weights="int4", group_size=128)
    error = error_of(messages)
    assert error.code == "bad-group-size" and "group_size = 64" in error.hint
    assert not any(out.iterdir())


def test_quantize_with_awq_and_data_reads_the_calibration_text(
    quantized: Callable[..., tuple[Path, list[Message]]],
) -> None:
    _, messages = quantized(
        "int4-awq",
        inputs={"calibration": str(ROOT / "resources" / "calibration.jsonl")},
        weights="int4",
        method="awq",
        data_aware=True,
        calibration={"samples": 4, "length": 32, "seed": 7},
    )
    result = result_of(messages)
    assert result["calibration_samples"] == 4 and result["parameters_by_type"]["uint4"] > 0
    passes = [message.done for message in messages if isinstance(message, Progress) and message.unit == "samples"]
    assert 4 in passes


def test_quantize_without_the_calibration_it_needs(
    quantized: Callable[..., tuple[Path, list[Message]]],
) -> None:
    _, messages = quantized("int4-none", weights="int4", method="awq")
    assert error_of(messages).code == "bad-setting"


def test_build_describes_the_engine_and_ships_no_blob_without_use(
    tiny_engine: tuple[Path, list[Message]], tiny_fp16: Path
) -> None:
    engine, messages = tiny_engine
    result = result_of(messages)
    facts = json.loads((engine / openvino_build.ENGINE_FILE).read_text())
    head = TINY["hidden"] // TINY["heads"]
    assert (facts["layers"], facts["kv_heads"], facts["head_size"]) == (
        TINY["layers"],
        TINY["kv_heads"],
        head,
    )
    assert facts["limits"]["max_seq_len"] == 512 and facts["vocabulary"] == TINY["vocabulary"]
    assert facts["chat_template"] is True and facts["kv_cache_precision"] == "fp16"
    by_formula = 2 * TINY["layers"] * TINY["kv_heads"] * head * 2 * facts["kv_block_tokens"]
    assert facts["kv_block_bytes"] == by_formula
    assert (engine / "cache").is_dir() is facts["cache"]["usable"]
    assert result["files_linked"] is True, "nothing large was copied"
    assert not (engine / MODEL_BIN).samefile(tiny_fp16 / MODEL_BIN), "a small file is a copy of its own"
    assert phases_of(messages) == list(openvino_build.PHASES)


def test_large_files_are_linked_and_small_ones_copied(tmp_path: Path) -> None:
    large, small = tmp_path / "large.bin", tmp_path / "small.bin"
    with large.open("wb") as file:
        file.truncate(common.LINK_FROM_BYTES)
    small.write_bytes(b"weights")
    for path, linked in ((large, True), (small, False)):
        target = path.with_suffix(".copy")
        assert common.link_or_copy(path, target) is True
        assert target.samefile(path) is linked
        assert target.stat().st_size == path.stat().st_size


def test_build_with_an_int8_kv_cache(run_worker: RunWorker, tiny_fp16: Path, tmp_path: Path) -> None:
    out = tmp_path / "engine.partial"
    spec = {
        "inputs": {"checkpoint": str(tiny_fp16)},
        "settings": {"kv_cache_precision": "int8"},
        "output": str(out),
    }
    result = result_of(run_worker("openvino.build", spec))
    assert result["kv_cache_precision"] == "int8"
    head = TINY["hidden"] // TINY["heads"]
    assert result["kv_block_bytes"] < 2 * TINY["layers"] * TINY["kv_heads"] * head * 2 * result["kv_block_tokens"]


def verify(run_worker: RunWorker, engine: Path, model: Path, **settings: Any) -> list[Message]:
    spec = {
        "inputs": {"engine": str(engine), "model": str(model)},
        "settings": {"prompts": PROMPTS, **settings},
    }
    return run_worker("openvino.verify", spec)


def test_verify_passes_an_engine_that_was_moved(
    run_worker: RunWorker, tiny_engine: tuple[Path, list[Message]], tiny_llama: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(tiny_engine[0], tmp_path / "elsewhere" / "engine"))
    before = {path.name for path in moved.rglob("*")}
    messages = verify(run_worker, moved, tiny_llama, precision="fp16", min_agreement=0.8, max_new_tokens=12)
    result = result_of(messages)
    assert 0.8 <= result["agreement"] <= 1.0 and 0.0 <= result["kl_nats"] < 0.02
    assert result["answer"] and result["ttft_ms"] > 0 and result["output_tok_s"] > 0
    assert result["speed_tokens"] == openvino_verify.SPEED_TOKENS
    assert 0 < result["positions"] <= 12 * len(PROMPTS)
    assert {path.name for path in moved.rglob("*")} == before


def test_verify_fails_an_engine_of_another_model_with_the_figures(
    run_worker: RunWorker, tiny_engine: tuple[Path, list[Message]], tmp_path: Path
) -> None:
    stranger = make_tiny_llama(tmp_path / "stranger", seed=99)
    error = error_of(verify(run_worker, tiny_engine[0], stranger, precision="int4", max_new_tokens=12))
    assert error.code == "verify-failed" and "agreement 0." in error.cause and "KL" in error.cause


def test_verify_says_when_the_source_model_cannot_be_read(
    run_worker: RunWorker,
    tiny_engine: tuple[Path, list[Message]],
    tiny_llama: Path,
    copy_of: Callable[[Path], Path],
) -> None:
    model = copy_of(tiny_llama)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert error_of(verify(run_worker, tiny_engine[0], model)).code == "source-failed"


def test_a_cut_short_weight_file_is_found_at_build(
    run_worker: RunWorker, tiny_fp16: Path, copy_of: Callable[[Path], Path], tmp_path: Path
) -> None:
    checkpoint = copy_of(tiny_fp16)
    (checkpoint / MODEL_BIN).write_bytes((checkpoint / MODEL_BIN).read_bytes()[:1000])
    error = error_of(
        run_worker("openvino.build", {"inputs": {"checkpoint": str(checkpoint)}, "output": str(tmp_path / "e")})
    )
    assert error.code == "bad-ir"


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        ("weights", "export-failed"),
        ("architecture", "export-failed"),
        ("tokenizer", "no-tokenizer"),
        ("config", "export-failed"),
    ],
)
def test_convert_of_a_broken_model_folder(
    run_worker: RunWorker,
    openvino_here: None,
    tiny_llama: Path,
    copy_of: Callable[[Path], Path],
    tmp_path: Path,
    harm: str,
    code: str,
) -> None:
    model = copy_of(tiny_llama)
    if harm == "weights":
        path = model / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1000])
    elif harm == "architecture":
        config = json.loads((model / "config.json").read_text())
        config |= {"model_type": "no-such-model", "architectures": ["NoSuchModel"]}
        (model / "config.json").write_text(json.dumps(config))
    elif harm == "tokenizer":
        (model / "tokenizer.json").unlink()
        (model / "tokenizer_config.json").unlink()
    else:
        (model / "config.json").write_text("{ not json")
    error = error_of(
        run_worker("openvino.convert", {"inputs": {"model": str(model)}, "output": str(tmp_path / "o.partial")})
    )
    assert error.code == code and error.cause and error.hint


@pytest.mark.nightly  # each time by the whole chain: tests/ui/test_first_engine.py holds the demo to the same figures
def test_the_demo_model_in_int8_answers_well_and_is_small(
    run_worker: RunWorker, openvino_here: None, demo_model: Path, tmp_path: Path
) -> None:
    def step(worker: str, role: str, source: Path, name: str, **settings: Any) -> dict[str, Any]:
        spec = {"inputs": {role: str(source)}, "settings": settings, "output": str(tmp_path / name)}
        return result_of(run_worker(worker, spec))

    step("openvino.convert", "model", demo_model, "fp16")
    step("openvino.quantize", "checkpoint", tmp_path / "fp16", "int8", weights="int8")
    full = step("openvino.build", "checkpoint", tmp_path / "fp16", "engine-fp16")
    small = step("openvino.build", "checkpoint", tmp_path / "int8", "engine-int8")
    assert small["bytes"] <= 0.6 * full["bytes"]
    spec = {
        "inputs": {"engine": str(tmp_path / "engine-int8"), "model": str(demo_model)},
        "settings": {
            "prompts": str(ROOT / "resources" / "verify_prompts.json"),
            "precision": "int8",
            "max_new_tokens": 16,
        },
    }
    result = result_of(run_worker("openvino.verify", spec, timeout_s=500))
    assert "Paris" in result["answer"]
    assert result["agreement"] >= 0.9 and result["kl_nats"] <= 0.05

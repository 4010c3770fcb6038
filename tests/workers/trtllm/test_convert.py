"""TensorRT-LLM's own converter as a step, by the stand-in's, which reads the folder and writes the tensors for real."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.fakes import hf_folders, trtllm
from tests.fakes.hf_folders import (
    HEAD,
    HIDDEN,
    INNER,
    gptq_matrix,
    write_gptq,
    write_model,
)
from tests.workers.conftest import RunWorker, error_of, phases_of, result_of
from workbench.core.intake.safetensors_header import read_header
from workbench.core.messages import Log, Message, Progress

LIMITS = {"max_batch_size": 4, "max_seq_len": 256, "max_num_tokens": 256}


def convert(
    run_worker: RunWorker, model: Path, out: Path, options: dict[str, Any] | None = None, **settings: Any
) -> list[Message]:
    spec = {"inputs": {"model": str(model)}, "settings": settings, "output": str(out)}
    return run_worker("trtllm.convert", spec, timeout_s=60, env=trtllm.environment(**(options or {})))


def build(run_worker: RunWorker, checkpoint: Path, out: Path) -> dict[str, Any]:
    spec = {"inputs": {"checkpoint": str(checkpoint)}, "settings": {"argv_flags": LIMITS}, "output": str(out)}
    return result_of(run_worker("trtllm.build", spec, timeout_s=60, env=trtllm.environment(seconds=0)))


def config_of(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return data


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "tp", "pp"),
    [("llama", 1, 1), ("llama", 4, 1), ("mistral", 2, 1), ("qwen2", 2, 2), ("qwen3", 1, 2), ("gemma2", 2, 1),
     ("phi3", 2, 1), ("granite", 1, 1)],
)  # fmt: skip
def test_converts_what_the_builder_takes(run_worker: RunWorker, tmp_path: Path, family: str, tp: int, pp: int) -> None:
    model = write_model(tmp_path / "model", family)
    messages = convert(run_worker, model, tmp_path / "checkpoint", precision="bf16", tp=tp, pp=pp, why="because")
    result = result_of(messages)
    assert phases_of(messages) == ["check", "import", "convert", "complete"]
    assert [m.done for m in messages if isinstance(m, Progress)][-1] == 10 * tp * pp
    assert "because" in [m.text for m in messages if isinstance(m, Log)]
    assert (result["ranks"], result["quant_algo"], result["tensorrt_llm"]) == (tp * pp, None, "1.2.1")
    # The converter leaves the sliding window to whoever runs the engine.
    corrected = [text.split(":")[0] for text in result["config_corrected"]]
    assert corrected == (["runtime_defaults"] if family == "gemma2" else [])
    assert len(result["rank_seconds"]) == tp * pp
    config = config_of(tmp_path / "checkpoint")
    assert config["rotary_base"] == 100000.0 and "rank" not in config["mapping"]
    assert (tmp_path / "checkpoint" / "tokenizer.json").is_file()
    assert build(run_worker, tmp_path / "checkpoint", tmp_path / "engine")["ranks"] == tp * pp


def test_the_shares_of_the_ranks_are_the_models_weights(run_worker: RunWorker, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    result_of(convert(run_worker, model, tmp_path / "c", precision="fp16", tp=4))
    source = _bf16(model / "model.safetensors")
    ranks = [load_file(tmp_path / "c" / f"rank{rank}.safetensors") for rank in range(4)]
    at = "transformer.layers.1.attention.qkv.weight"
    heads = {n: source[f"model.layers.1.self_attn.{n}_proj.weight"].reshape(-1, HEAD, HIDDEN) for n in "qkv"}
    for rank, tensors in enumerate(ranks):
        # Two KV heads on four ranks: each is on two of them.
        wanted = np.concatenate([heads["q"][rank], heads["k"][rank // 2], heads["v"][rank // 2]])
        np.testing.assert_allclose(tensors[at], wanted, atol=1e-3)
    halves = [tensors["transformer.layers.0.mlp.proj.weight"] for tensors in ranks]
    np.testing.assert_allclose(np.concatenate(halves, 1), source["model.layers.0.mlp.down_proj.weight"], atol=1e-3)


def _bf16(path: Path) -> dict[str, Any]:
    """Arrays by name, in float32: NumPy has no BF16."""
    header = read_header(path)
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    spans = json.loads(raw[8:start])
    found = {}
    for name, tensor in header.items():
        begin, end = spans[name]["data_offsets"]
        data = np.frombuffer(raw[start + begin : start + end], np.uint16).astype(np.uint32) << 16
        found[name] = data.view(np.float32).reshape(tensor.shape)
    return found


@pytest.mark.slow
def test_weight_only_precisions_are_left_to_the_builder(run_worker: RunWorker, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    result = result_of(convert(run_worker, model, tmp_path / "c", precision="int8"))
    assert (result["quant_algo"], result["dtype"]) == ("W8A16", "bf16")
    quantization = config_of(tmp_path / "c")["quantization"]
    assert quantization["quant_algo"] == "W8A16" and "*lm_head" in quantization["exclude_modules"]
    assert read_header(tmp_path / "c" / "rank0.safetensors")["transformer.layers.0.mlp.fc.weight"].dtype == "BF16"
    assert build(run_worker, tmp_path / "c", tmp_path / "engine")["quant_algo"] == "W8A16"


def test_the_rope_table_of_transformers_5_is_put_right(run_worker: RunWorker, tmp_path: Path) -> None:
    """TensorRT-LLM's transformers does not see it: the engine would take a base of 10,000 without a word."""
    rope = {"rope_theta": 500000.0, "rope_type": "default"}
    model = write_model(tmp_path / "model", rope_theta=None, rope_parameters=rope)
    messages = convert(run_worker, model, tmp_path / "c")
    result = result_of(messages)
    assert result["config_corrected"] == ["rotary_base: 10000.0 -> 500000.0"]
    assert config_of(tmp_path / "c")["rotary_base"] == 500000.0
    assert any(m.level == "warning" and "rotary_base" in m.text for m in messages if isinstance(m, Log))


# GPTQ


@pytest.mark.slow
@pytest.mark.parametrize(("tp", "pp"), [(1, 1), (2, 1), (1, 2)])
def test_a_gptq_folder_becomes_a_checkpoint(run_worker: RunWorker, tmp_path: Path, tp: int, pp: int) -> None:
    model = write_gptq(tmp_path / "model")
    result = result_of(convert(run_worker, model, tmp_path / "c", precision="int4_gptq", tp=tp, pp=pp))
    assert (result["quant_algo"], result["group_size"], result["dtype"]) == ("W4A16_GPTQ", hf_folders.GROUP, "fp16")
    quantization = config_of(tmp_path / "c")["quantization"]
    assert quantization["has_zero_point"] is True and quantization["group_size"] == hf_folders.GROUP
    assert build(run_worker, tmp_path / "c", tmp_path / "engine")["quant_algo"] == "W4A16_GPTQ"
    source = load_file(model / "model.safetensors")
    for rank in range(tp * pp):
        tensors = load_file(tmp_path / "c" / f"rank{rank}.safetensors")
        wanted = gptq_matrix(source, f"model.layers.{rank // tp * (2 // pp)}.mlp.gate_proj")
        name = "transformer.layers.0.mlp.fc"
        pairs = tensors[f"{name}.weight"].view(np.uint8)
        assert pairs.shape == (HIDDEN, INNER // tp // 2)
        codes = np.stack([pairs & 15, pairs >> 4], axis=2).reshape(HIDDEN, -1).astype(np.int8)
        signed = np.where(codes > 7, codes - 16, codes).astype(np.float32)
        scales = np.repeat(tensors[f"{name}.weights_scaling_factor"], hf_folders.GROUP, axis=0).astype(np.float32)
        zeros = np.repeat(tensors[f"{name}.zero"], hf_folders.GROUP, axis=0).astype(np.float32)
        rows = INNER // tp
        np.testing.assert_allclose(
            (signed * scales + zeros).T, wanted[rank % tp * rows : (rank % tp + 1) * rows], atol=2e-3
        )


@pytest.mark.parametrize(
    ("quantization", "precision", "code", "words"),
    [
        ({"desc_act": True}, "int4_gptq", "gptq-act-order", "desc_act"),
        ({"group_size": -1}, "int4_gptq", "not-gptq", "group_size = -1"),
        ({"bits": 8}, "int4_gptq", "not-gptq", "8 bits"),
        ({}, "bf16", "already-quantized", "gptq"),
    ],
)
def test_gptq_folders_that_cannot_be_read_are_told(
    run_worker: RunWorker, tmp_path: Path, quantization: dict[str, Any], precision: str, code: str, words: str
) -> None:
    model = write_gptq(tmp_path / "model")
    config = config_of(model)
    config["quantization_config"] |= quantization
    (model / "config.json").write_text(json.dumps(config))
    error = error_of(convert(run_worker, model, tmp_path / "c", precision=precision))
    assert error.code == code and words in f"{error.message} {error.cause}" and error.hint
    assert not list((tmp_path / "c").iterdir())


def test_full_precision_is_no_gptq_folder(run_worker: RunWorker, tmp_path: Path) -> None:
    error = error_of(convert(run_worker, write_model(tmp_path / "model"), tmp_path / "c", precision="int4_gptq"))
    assert error.code == "not-gptq" and "full precision" in error.cause


# What goes wrong


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"precision": "fp8"}, "bad-setting", "precision"),
        ({"precision": "bf16", "dtype": "fp16"}, "bad-setting", "disagree"),
        ({"tp": 3}, "bad-parallel", "heads"),
        ({"pp": 4}, "bad-parallel", "layers"),
        ({"tp": 0}, "bad-setting", "tp"),
    ],
)
def test_settings_that_cannot_be_are_told(
    run_worker: RunWorker, tmp_path: Path, settings: dict[str, Any], code: str, words: str
) -> None:
    error = error_of(convert(run_worker, write_model(tmp_path / "model"), tmp_path / "c", **settings))
    assert error.code == code and words in f"{error.message} {error.cause}"


@pytest.mark.parametrize(
    "failure",
    [
        "no-mpi",
        "no-tensorrt",
        "torch-mismatch",
        "cuda-13-missing",
        "unsupported-architecture-convert",
        "gptq-act-order",
    ],
)
def test_failures_of_the_library_are_explained(run_worker: RunWorker, tmp_path: Path, failure: str) -> None:
    error = error_of(convert(run_worker, write_model(tmp_path / "m"), tmp_path / "c", options={"fail": failure}))
    assert error.code == failure and error.message and error.cause and error.hint


@pytest.mark.slow
def test_an_import_that_hangs_is_ended_and_explained(run_worker: RunWorker, tmp_path: Path) -> None:
    options = {"fail": "import-hangs"}
    error = error_of(convert(run_worker, write_model(tmp_path / "m"), tmp_path / "c", options, hang_seconds=1))
    assert error.code == "mpi-start-hangs" and "mpi4py 4" in error.hint


def test_an_architecture_that_nobody_knows_is_told(run_worker: RunWorker, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    config = config_of(model) | {"architectures": ["Olmo2ForCausalLM"]}
    (model / "config.json").write_text(json.dumps(config))
    error = error_of(convert(run_worker, model, tmp_path / "c"))
    assert error.code == "unsupported-architecture-convert" and "Olmo2ForCausalLM" in error.message


def test_a_newer_version_is_refused_with_its_reason(run_worker: RunWorker, tmp_path: Path) -> None:
    site = shutil.copytree(trtllm.SITE, tmp_path / "site")
    metadata = (site / "tensorrt_llm-1.2.1.dist-info").rename(site / "tensorrt_llm-1.3.0.dist-info") / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.2.1", "1.3.0"))
    spec = {"inputs": {"model": str(write_model(tmp_path / "m"))}, "output": str(tmp_path / "c")}
    error = error_of(run_worker("trtllm.convert", spec, timeout_s=60, env={"PYTHONPATH": str(site)}))
    assert error.code == "no-engine-runtime" and "1.3.0" in error.message and "1.2.1" in error.hint


def test_without_the_library_the_import_is_told(run_worker: RunWorker, tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorrt_llm"):
        pytest.skip("tensorrt_llm is installed here")
    spec = {"inputs": {"model": str(write_model(tmp_path / "m"))}, "output": str(tmp_path / "c")}
    error = error_of(run_worker("trtllm.convert", spec, timeout_s=60))
    assert error.code == "import-failed" and "tensorrt_llm" in error.cause


def test_a_missing_tensor_of_the_model_is_told(run_worker: RunWorker, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", "qwen3")
    (model / "config.json").write_text(json.dumps(config_of(model) | {"num_hidden_layers": 3}))
    error = error_of(convert(run_worker, model, tmp_path / "c"))
    assert error.code == "convert-failed" and "model.layers.2" in error.cause


def test_the_stand_in_takes_documented_arguments_alone(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", "qwen2")
    program = f"""
from tensorrt_llm.mapping import Mapping
from tensorrt_llm.models.automodel import AutoModelForCausalLM as Auto
from tensorrt_llm.models.modeling_utils import QuantConfig
for attempt in (
    lambda: Auto.from_hugging_face({str(model)!r}, dtype="int4"),
    lambda: Auto.from_hugging_face({str(model)!r}, magic=1),
    lambda: Auto.from_hugging_face({str(model)!r}, quant_ckpt_path="x"),
    lambda: Auto.from_hugging_face({str(model)!r}, mapping={{}}),
    lambda: Auto.from_hugging_face({str(model)!r}).save_checkpoint("/no/such/folder"),
    lambda: Mapping(world_size=4, tp_size=2),
    lambda: QuantConfig(quant_algo="W3A16"),
    lambda: QuantConfig(bits=4),
):
    try:
        attempt()
    except Exception as error:
        print(type(error).__name__)
    else:
        print("taken")
"""
    env = {**trtllm.environment(), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    said = done.stdout.split("\n")[1:-1]
    assert said == ["KeyError", "TypeError", "TypeError", "TypeError", "FileNotFoundError", "ValueError",
                    "ValidationError", "ValidationError"]  # fmt: skip


# Read back by the verify worker, which knows nothing of the converter


@pytest.mark.slow
@pytest.mark.parametrize(("family", "tp", "pp"), [("llama", 2, 1), ("qwen2", 2, 2), ("gemma2", 2, 1), ("phi3", 2, 1)])
def test_the_checkpoint_says_what_the_model_says(
    run_worker: RunWorker, tmp_path: Path, family: str, tp: int, pp: int
) -> None:
    if not all(importlib.util.find_spec(name) for name in ("torch", "transformers")):
        pytest.skip("torch and transformers are not installed here")
    model = write_model(tmp_path / "model", family)
    result_of(convert(run_worker, model, tmp_path / "c", precision="bf16", tp=tp, pp=pp))
    spec = {
        "inputs": {"checkpoint": str(tmp_path / "c"), "model": str(model)},
        "settings": {"precision": "bf16", "prompts": ["Say hello to all of them"], "max_new_tokens": 8},
    }
    found = result_of(run_worker("trtllm.verify", spec))
    assert found["layout_logit_error"] < 1e-3 and found["differences"] == []

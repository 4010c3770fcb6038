"""Checkpoints with trained heads, by stand-ins of the scripts in TensorRT-LLM's examples, strict about arguments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import trtllm
from tests.fakes.hf_folders import HIDDEN, write_model
from tests.workers.conftest import RunWorker, error_of, phases_of, result_of
from workbench.core.messages import Message
from workbench.workers.protocol import WorkerError
from workbench.workers.trtllm.heads import EXAMPLES_VARIABLE, find_script

EXAMPLES = trtllm.HERE / "examples"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", "llama")


def heads(folder: Path, **config: Any) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"hidden_size": HIDDEN, **config}))
    return folder


def convert(
    run_worker: RunWorker, model: Path, folder: Path, out: Path, examples: Path = EXAMPLES, **settings: Any
) -> list[Message]:
    spec = {"inputs": {"model": str(model), "heads": str(folder)}, "settings": settings, "output": str(out)}
    env = {**trtllm.environment(), EXAMPLES_VARIABLE: str(examples)}
    return run_worker("trtllm.heads", spec, timeout_s=60, env=env)


@pytest.mark.slow
def test_eagle_heads_become_one_checkpoint_with_the_model(run_worker: RunWorker, model: Path, tmp_path: Path) -> None:
    settings = {"mode": "eagle", "dtype": "bf16", "tp": 2, "draft_tokens": 31, "heads": 5}
    messages = convert(run_worker, model, heads(tmp_path / "heads"), tmp_path / "out", **settings)
    result = result_of(messages)
    assert phases_of(messages) == ["check", "convert", "complete"]
    assert result["ranks"] == 2 and result["max_draft_len"] == 31 and result["mode"] == "eagle"
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["dtype"] == "bfloat16" and config["num_eagle_layers"] == 5
    assert (tmp_path / "out" / "tokenizer.json").is_file()


@pytest.mark.slow
def test_medusa_heads_are_as_many_as_their_folder_says(run_worker: RunWorker, model: Path, tmp_path: Path) -> None:
    folder = heads(tmp_path / "heads", medusa_num_heads=3, medusa_num_layers=2)
    result_of(convert(run_worker, model, folder, tmp_path / "out", mode="medusa", dtype="fp16"))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["num_medusa_heads"], config["num_medusa_layers"], config["max_draft_len"]) == (3, 2, 63)
    assert config["model_type"] == "llama" and config["dtype"] == "float16"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "config", "code", "seen"),
    [
        ({"mode": "eagle", "pp": 2}, {}, "bad-setting", "no pipeline parallelism"),
        ({"mode": "eagle"}, {"hidden_size": 4096}, "bad-heads", "another model"),
        ({"mode": "eagle"}, {"broken": True}, "convert-failed", "failed"),
        ({"mode": "medusa", "dtype": "fp8"}, {}, "bad-setting", "fp16 or bf16"),
    ],
)
def test_what_cannot_be_converted_is_said(
    run_worker: RunWorker, model: Path, tmp_path: Path, settings: dict[str, Any], config: dict[str, Any], code: str,
    seen: str,
) -> None:  # fmt: skip
    messages = convert(run_worker, model, heads(tmp_path / "heads", **config), tmp_path / "out", **settings)
    error = error_of(messages)
    assert error.code == code and seen in error.message, error


def test_without_the_examples_it_is_said_where_they_are(tmp_path: Path) -> None:
    with pytest.raises(WorkerError) as caught:
        find_script("eagle", {EXAMPLES_VARIABLE: str(tmp_path)})
    assert caught.value.code == "no-converter"
    assert EXAMPLES_VARIABLE in str(caught.value.hint) and "containers" in str(caught.value.hint)
    assert find_script("eagle", {EXAMPLES_VARIABLE: str(EXAMPLES)}).is_file()

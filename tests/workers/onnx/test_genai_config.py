"""genai_config.json from a model's own files, without any runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.workers.conftest import make_tiny_llama
from workbench.workers.onnx.genai_config import UNKNOWN_CONTEXT, model_ends, write_genai_config

FACTS = {"layers": 2, "kv_heads": 2, "head_size": 32, "vocabulary": 320, "max_seq_len": 512}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_tiny_llama(tmp_path / "model")


def _change(path: Path, **changes: Any) -> None:
    given = json.loads(path.read_text()) if path.is_file() else {}
    given |= changes
    path.write_text(json.dumps({key: value for key, value in given.items() if value is not None}))


def _written(folder: Path, **facts: Any) -> dict[str, Any]:
    write_genai_config(folder, {**FACTS, **facts})
    return dict(json.loads((folder / "genai_config.json").read_text()))


@pytest.mark.parametrize(
    ("generation", "config", "tokenizer", "ends"),
    [
        (1, None, "<|im_end|>", [1]),
        ([7, 5], 3, "<|im_end|>", [5, 7, 1]),
        (None, 3, "<|im_end|>", [3, 1]),
        (None, None, {"content": "<|im_end|>"}, [1]),
        (None, 3, "not in the vocabulary", [3]),
        (None, None, None, []),
    ],
)
def test_end_tokens_are_the_models_and_the_tokenizers(
    folder: Path, generation: Any, config: Any, tokenizer: Any, ends: list[int]
) -> None:
    _change(folder / "generation_config.json", eos_token_id=generation, pad_token_id=None)
    _change(folder / "config.json", eos_token_id=config, pad_token_id=None)
    _change(folder / "tokenizer_config.json", eos_token=tokenizer)
    assert model_ends(folder) == ends
    model = _written(folder)["model"]
    assert model.get("eos_token_id") == (ends if len(ends) > 1 else next(iter(ends), None))
    assert model.get("pad_token_id") == next(iter(ends), None)


def test_shapes_and_names_are_those_of_the_graph(folder: Path) -> None:
    decoder = _written(folder)["model"]["decoder"]
    assert (decoder["num_hidden_layers"], decoder["num_key_value_heads"], decoder["head_size"]) == (2, 2, 32)
    assert decoder["num_attention_heads"] == 4 and decoder["hidden_size"] == 128
    assert decoder["inputs"]["past_key_names"] == "past_key_values.%d.key"
    assert decoder["outputs"]["present_value_names"] == "present.%d.value"
    assert "position_ids" in decoder["inputs"] and decoder["filename"] == "model.onnx"
    without = _written(folder, inputs=["input_ids", "attention_mask"])["model"]["decoder"]["inputs"]
    assert "position_ids" not in without and "past_value_names" in without


def test_a_type_that_the_runtime_does_not_know_runs_as_a_plain_decoder(folder: Path) -> None:
    _change(folder / "config.json", model_type="starcoder2")
    assert _written(folder)["model"]["type"] == "llama"


def test_a_model_without_a_length_gets_a_modest_one(folder: Path) -> None:
    found = _written(folder, max_seq_len=None)
    assert found["model"]["context_length"] == found["search"]["max_length"] == UNKNOWN_CONTEXT


def test_settings_of_a_model_with_vision_are_read_from_its_text_part(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": config}))
    model = _written(folder)["model"]
    assert model["type"] == "llama" and model["decoder"]["num_attention_heads"] == 4

"""What an engine was asked for and what it says it runs with."""

from __future__ import annotations

import pytest

from workbench.core.measure.applied import not_applied, one_word, reported_settings
from workbench.core.messages import Ready
from workbench.core.preset import Preset, preset_from_data


def _preset(**tables: object) -> Preset:
    data = {"schema": 1, "title": "T", "goal": "try-it", "toolchain": "openvino", "precision": {"weights": "int8"}}
    return preset_from_data({**data, **tables}, name="test")


def test_a_kv_cache_that_the_engine_does_not_have_is_told() -> None:
    asked = _preset(precision={"weights": "int8", "kv_cache": "int8"})
    assert not_applied(asked, Ready(settings={"kv_cache_precision": "f16"})) == {
        "kv_cache_precision": "asked for int8, runs with f16"
    }
    assert not_applied(asked, Ready(settings={"kv_cache_precision": "u8"})) == {}


def test_what_is_not_reported_or_was_not_asked_for_is_not_judged() -> None:
    asked = _preset(precision={"weights": "int8", "kv_cache": "int8"})
    assert not_applied(asked, Ready()) == {}
    assert not_applied(_preset(), Ready(settings={"kv_cache_precision": "fp32"}, limits={"max_seq_len": 5})) == {}


def test_a_limit_below_the_one_asked_for_is_told_and_one_above_is_not() -> None:
    asked = _preset(limits={"max_batch_size": 32, "max_seq_len": 4096})
    found = not_applied(asked, Ready(limits={"max_batch_size": 8, "max_seq_len": 8192}))
    assert found == {"max_batch_size": "asked for 32, runs with 8"}


def test_kv_blocks_may_be_rounded_but_not_halved() -> None:
    asked = _preset(runtime={"kv_blocks": 1000})
    assert not_applied(asked, Ready(kv_blocks_total=995)) == {}
    assert not_applied(asked, Ready(kv_blocks_total=500)) == {"kv_blocks": "asked for 1,000, runs with 500"}


def test_switches_are_told() -> None:
    asked = _preset(runtime={"prefix_caching": True})
    found = not_applied(asked, Ready(settings={"prefix_caching": "off", "chunked_prefill": "on"}))
    assert found == {"prefix_caching": "asked for on, runs with it off"}


def test_all_that_the_engine_says_of_itself() -> None:
    ready = Ready(limits={"max_seq_len": 8192}, settings={"device": "CPU"}, kv_blocks_total=64, kv_block_tokens=32)
    assert reported_settings(ready) == {
        "device": "CPU", "kv_block_tokens": "32", "kv_blocks": "64", "max_seq_len": "8192"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "word"), [("torch.bfloat16", "bf16"), ("F16", "fp16"), ("u8", "int8"), ("fp8", "fp8")]
)
def test_one_word_for_one_precision(said: str, word: str) -> None:
    assert one_word(said) == word


def test_what_runs_in_the_engines_place_is_told() -> None:
    told = {"remark": "the compiled engine is not run: no NVIDIA GPU", "device": "CPU", "model_file": "model.onnx"}
    found = not_applied(_preset(), Ready(settings=told))
    assert found == {"engine": f"{told['remark']}; all figures are of model.onnx on CPU"}
    assert not_applied(_preset(), Ready(settings={**told, "remark": ""})) == {}

"""ONNX folders quantized by the real worker: what is in them, how far rounding moved it, and what is refused."""

from __future__ import annotations

import json

import pytest

from tests.workers.conftest import TINY
from tests.workers.onnx.quantized import quantized  # noqa: F401 (a fixture)
from tests.workers.onnx.runs import Run
from workbench.workers.onnx.common import DATA_FILE, FACTS_FILE, GENAI_FILE, MODEL_FILE
from workbench.workers.onnx.int4 import choose_group_size
from workbench.workers.protocol import WorkerError

slow = pytest.mark.slow

LINEAR = TINY["layers"] * (3 * TINY["hidden"] ** 2 + 3 * TINY["hidden"] * TINY["intermediate"])
"""Weights of q, o, k + v (half each) and the three of the MLP."""
ENDS = 2 * TINY["vocabulary"] * TINY["hidden"]
MADE = {"int8": "fp32", "int4": "fp32", "int4 qwen2": "fp16", "awq": "fp32", "fp8": "fp16", "nvfp4": "fp16"}
TYPES = {"int8": "int8", "int4": "int4", "int4 qwen2": "int4", "awq": "int4", "fp8": "fp8", "nvfp4": "nvfp4"}
REFUSED = {
    "large group": ("bad-group-size", "128 does not divide 192", "group_size = 64"),
    "odd group": ("bad-group-size", "48", "group_size = 64"),
    "word for group": ("bad-group-size", "some", ""),
    "awq int8": ("bad-setting", "weights = int8", "rtn"),
    "no such": ("bad-setting", "int3", "nvfp4"),
    "awq no model": ("missing-input", "not given", ""),
    "awq no text": ("missing-input", "not given", "calibration.file"),
    "fp8 of fp32": ("bad-setting", "fp32", "fp16"),
    "of bf16": ("bad-setting", "bf16", "fp16"),
    "other compute": ("bad-setting", "fp32", "fp16"),
    "twice": ("already-quantized", "int8", "convert"),
    "nan": ("bad-weights", "NaN", ""),
    "nan model": ("bad-weights", "model.layers.1.mlp.up_proj.weight", ""),
    "no data": ("missing-onnx-data", DATA_FILE, ""),
    "other model": ("quantize-failed", "model.layers.1", "model folder"),
    "binary text": ("bad-calibration", "", ""),
}


@slow
@pytest.mark.parametrize("name", MADE)
def test_every_linear_layer_is_quantized_and_nothing_else(quantized: dict[str, Run], name: str) -> None:  # noqa: F811
    run = quantized[name]
    result = run.result
    assert result["parameters_by_type"] == {MADE[name]: ENDS, TYPES[name]: LINEAR}
    assert (result["quantized_layers"], result["quantized_weights"]) == (7 * TINY["layers"], LINEAR)
    assert result["precision"] == TYPES[name] and result["compute"] == MADE[name]
    width = {"int8": 8, "fp8": 8}.get(TYPES[name], 4)
    mean = (LINEAR * width + ENDS * int(MADE[name][2:])) / (LINEAR + ENDS)
    assert result["bits_per_weight"] == pytest.approx(mean, abs=0.001)
    assert result["weight_bytes"] < result["source_weight_bytes"]
    assert result["ran_on_cpu"] is (None if name == "nvfp4" else True)
    assert result["quantizer"].startswith("nvidia-modelopt 0.")
    facts = json.loads((run.out / FACTS_FILE).read_text())
    assert facts.items() <= result.items() and facts["layers"] == TINY["layers"]
    assert {path.name for path in run.out.iterdir()} >= {MODEL_FILE, DATA_FILE, GENAI_FILE, "tokenizer.json"}


@slow
@pytest.mark.parametrize("name", MADE)
def test_weights_are_rounded_to_the_nearest_and_the_rest_is_untouched(
    quantized: dict[str, Run],  # noqa: F811
    name: str,
) -> None:
    found = quantized[f"probe {name}"].result
    assert len(found["layers"]) == 7 * TINY["layers"] and found["left"] == ["lm_head"]
    assert 0.5 < found["worst"] <= 1.0, "in steps of the format"
    assert found["kept"] == found["of"], "norms, embeddings, biases and constants are the source's"
    assert set(found["operators"]) >= {"DequantizeLinear"}


@slow
def test_progress_and_phases_are_told(quantized: dict[str, Run]) -> None:  # noqa: F811
    phases = [message["name"] for message in quantized["awq"].messages("phase")]
    assert phases == ["read", "calibration", "quantize", "save", "check"]
    assert [message["name"] for message in quantized["int8"].messages("phase")] == ["read", "quantize", "save", "check"]
    units = {
        message["unit"] for message in quantized["awq"].messages("progress") if message["done"] == message["total"]
    }
    assert units == {"batches", "weights", "bytes"}
    report = quantized["awq"].result["calibration"]
    assert report["samples"] == 6 and report["batches"] == 1, "AWQ takes few batches of many samples"
    assert quantized["fp8"].result["calibration"]["batches"] == 3


@slow
def test_the_group_size_is_chosen_and_said(quantized: dict[str, Run]) -> None:  # noqa: F811
    result = quantized["int4"].result
    assert (result["group_size"], result["why"]) == (64, "128 does not divide 192")
    assert quantized["int4 qwen2"].result["group_size"] == 32


@slow
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_quantized_is_refused_in_words(quantized: dict[str, Run], name: str) -> None:  # noqa: F811
    code, cause, hint = REFUSED[name]
    error = quantized[name].error
    assert error["code"] == code, error
    assert cause in error["message"] + error["cause"] and hint in error["hint"], error
    assert not (quantized[name].out / FACTS_FILE).exists(), "a folder that looks finished"


@slow
def test_rounding_on_a_cpu_is_nvfp4s_own(quantized: dict[str, Run]) -> None:  # noqa: F811
    found = quantized["probe rounding"].result
    assert found["size"] == 640 and found["equal"] > 0.99 and found["apart"] < 1e-4, found


@pytest.mark.parametrize(
    ("channels", "size"), [([4096, 11008], 128), ([576, 1536], 64), ([96], 32), ([48, 16], 16), ([128], 128)]
)
def test_the_largest_group_that_divides_all(channels: list[int], size: int) -> None:
    assert choose_group_size("auto", channels)[0] == size
    assert choose_group_size(size, channels)[0] == size


@pytest.mark.parametrize(
    ("wanted", "hint"), [(0, "group_size = 16"), (-1, "group_size = 16"), (256, "group_size = 64")]
)
def test_a_group_size_that_no_runtime_has(wanted: int, hint: str) -> None:
    with pytest.raises(WorkerError) as caught:
        choose_group_size(wanted, [576, 1536])
    assert caught.value.code == "bad-group-size" and hint in caught.value.hint


def test_channels_that_no_group_divides() -> None:
    with pytest.raises(WorkerError) as caught:
        choose_group_size("auto", [100, 128])
    assert caught.value.code == "bad-group-size" and "int8" in caught.value.hint

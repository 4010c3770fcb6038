"""ONNX engines compared with their source models by the real worker, on tiny models in every precision."""

from __future__ import annotations

import pytest

from tests.workers.onnx.quantized import PROMPTS, quantized  # noqa: F401 (a fixture)
from tests.workers.onnx.runs import Run
from workbench.workers.onnx.verify import PHASES, SPEED_TOKENS

pytestmark = pytest.mark.slow

FAR = {
    "verify stranger": ("verify-failed", "agreement 0."),
    "verify other size": ("verify-failed", "logits ("),
    "verify no data": ("missing-onnx-data", "model.onnx.data"),
    "verify no prompts": ("bad-setting", "prompts"),
}
WORST_KL = {"fp32": 1e-5, "int8": 0.01, "fp8": 0.1, "int4": 1.0, "awq": 1.0, "nvfp4": 2.0}
"""Nats, on random weights, whose logits lie closer together than a trained model's."""


@pytest.mark.parametrize("name", WORST_KL)
def test_each_precision_is_compared_and_answers(quantized: dict[str, Run], name: str) -> None:  # noqa: F811
    result = quantized[f"verify {name}"].result
    assert 0.0 <= result["kl_nats"] <= WORST_KL[name], result
    assert 0 < result["positions"] <= 12 * len(PROMPTS) and result["answer"] and result["question"] == PROMPTS[0]
    if name != "nvfp4":
        assert result["ttft_ms"] > 0 and result["output_tok_s"] > 0 and result["speed_tokens"] == SPEED_TOKENS
        assert result["device"] == "CPU" and "remark" not in result
    assert [m["name"] for m in quantized[f"verify {name}"].messages("phase")] == list(PHASES)


def test_rounding_costs_something_and_more_bits_cost_less(quantized: dict[str, Run]) -> None:  # noqa: F811
    kl = {name: quantized[f"verify {name}"].result["kl_nats"] for name in WORST_KL}
    assert kl["fp32"] < kl["int8"] < kl["int4"] and kl["fp8"] < kl["nvfp4"]


def test_quality_is_judged_before_an_empty_answer(quantized: dict[str, Run]) -> None:  # noqa: F811
    """The tiny Qwen2 in INT4 may say spaces alone; its logits are within the floors given all the same."""
    found = quantized["verify int4 qwen2"].found
    assert "result" in found or "answer is empty" in found["error"]["message"], found["error"]


@pytest.mark.parametrize("name", ["nvfp4", "bf16"])
def test_what_no_cpu_runs_is_compared_without_a_speed(quantized: dict[str, Run], name: str) -> None:  # noqa: F811
    result = quantized[f"verify {name}"].result
    assert result["answer"], "made from logits alone"
    for key in ("ttft_ms", "itl_ms", "output_tok_s", "load_seconds", "device"):
        assert result[key] is None, key
    assert "no speed is measured" in result["remark"] and name.upper() in result["remark"]


def test_a_compiled_engine_that_was_not_run_is_said(quantized: dict[str, Run]) -> None:  # noqa: F811
    result = quantized["verify rtx"].result
    assert "TensorRT-RTX engine itself was not run" in result["remark"]
    assert result["agreement"] == 1.0 and result["output_tok_s"] > 0


@pytest.mark.parametrize("name", FAR)
def test_what_does_not_fit_together_fails_with_the_figures(quantized: dict[str, Run], name: str) -> None:  # noqa: F811
    code, words = FAR[name]
    error = quantized[name].error
    assert error["code"] == code and words in error["message"] + error["cause"], error

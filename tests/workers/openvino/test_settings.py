"""What the OpenVINO workers decide and refuse before anything heavy is loaded."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.workers.conftest import ROOT, RunWorker, error_of
from workbench.workers.common import explain_import
from workbench.workers.models.judging import floors, judge, read_prompts, refuse_blank
from workbench.workers.models.quality import Comparison
from workbench.workers.openvino.engine import kv_precision_of
from workbench.workers.openvino.quantize import choose_group_size
from workbench.workers.protocol import WorkerError

WORDS = {"model": "its source model", "nan_hint": "see its dtype", "far_hint": "choose a milder one"}
LLAMA_7B, SMOLLM = [4096, 11008], [576, 1536]


@pytest.mark.parametrize(
    ("channels", "size", "why"),
    [
        (LLAMA_7B, 128, "it divides every channel size"),
        (SMOLLM, 64, "128 does not divide 576"),
        ([96, 4096], 32, "128 does not divide 96; 64 does not divide 96"),
        (
            [80],
            -1,
            "128 does not divide 80; 64 does not divide 80; 32 does not divide 80; so one scale a channel",
        ),
    ],
)
def test_the_group_size_is_the_largest_that_divides_and_says_why(channels: list[int], size: int, why: str) -> None:
    assert choose_group_size("auto", channels) == (size, why)


def test_a_group_size_that_fits_is_taken_as_given() -> None:
    assert choose_group_size(32, SMOLLM)[0] == 32
    assert choose_group_size(-1, SMOLLM)[0] == -1


@pytest.mark.parametrize(
    ("wanted", "channels", "nearest"),
    [(128, SMOLLM, "64"), (100, SMOLLM, "64"), (100, LLAMA_7B, "128"), (64, [80], "16")],
)
def test_a_group_size_that_does_not_fit_names_the_nearest_that_does(
    wanted: int, channels: list[int], nearest: str
) -> None:
    with pytest.raises(WorkerError) as caught:
        choose_group_size(wanted, channels)
    assert caught.value.code == "bad-group-size"
    assert f"group_size = {nearest}." in caught.value.hint
    assert str(wanted) in caught.value.cause


@pytest.mark.parametrize("wanted", [0, -5, "wide", None])
def test_a_group_size_that_is_no_size(wanted: Any) -> None:
    with pytest.raises(WorkerError) as caught:
        choose_group_size(wanted, SMOLLM)
    assert caught.value.code == "bad-group-size"


@pytest.mark.parametrize(
    ("worker", "role", "settings", "code"),
    [
        ("openvino.convert", "model", {"dtype": "fp8"}, "bad-setting"),
        ("openvino.quantize", "checkpoint", {"weights": "int3"}, "bad-setting"),
        ("openvino.quantize", "checkpoint", {"weights": "int4", "ratio": 1.5}, "bad-setting"),
        ("openvino.quantize", "checkpoint", {"weights": "int4", "method": "magic"}, "bad-setting"),
        ("openvino.quantize", "checkpoint", {"weights": "int8", "method": "awq"}, "bad-setting"),
        ("openvino.build", "checkpoint", {"kv_cache_precision": "fp8"}, "bad-setting"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    run_worker: RunWorker, tmp_path: Path, worker: str, role: str, settings: dict[str, Any], code: str
) -> None:
    out = tmp_path / "out.partial"
    error = error_of(run_worker(worker, {"inputs": {role: str(tmp_path)}, "settings": settings, "output": str(out)}))
    assert error.code == code and error.hint
    assert not any(out.iterdir())


@pytest.mark.parametrize(
    ("worker", "role"),
    [
        ("openvino.convert", "model"),
        ("openvino.quantize", "checkpoint"),
        ("openvino.build", "checkpoint"),
        ("openvino.verify", "engine"),
    ],
)
def test_an_input_that_is_not_there(run_worker: RunWorker, tmp_path: Path, worker: str, role: str) -> None:
    error = error_of(run_worker(worker, {"inputs": {role: str(tmp_path / "gone")}, "output": str(tmp_path / "o")}))
    assert error.code == "missing-input" and "gone" in error.cause


def test_a_checkpoint_without_a_model(run_worker: RunWorker, openvino_here: None, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    spec = {"inputs": {"checkpoint": str(empty)}, "output": str(tmp_path / "o")}
    error = error_of(run_worker("openvino.build", spec))
    assert error.code == "bad-ir" and "openvino_model.xml" in error.cause


def test_the_shipped_prompts_are_twelve_with_their_own_names() -> None:
    prompts = read_prompts(str(ROOT / "resources" / "verify_prompts.json"))
    assert len(prompts) == 12 == len(dict(prompts))


@pytest.mark.parametrize("given", [None, [], [""], [{"name": "x"}], "no-such-file.json"])
def test_prompts_that_are_none(given: Any) -> None:
    with pytest.raises(WorkerError):
        read_prompts(given)


def test_floors_are_the_precisions_unless_given() -> None:
    fp16, int4 = floors({"precision": "fp16"}), floors({"precision": "int4"})
    assert fp16[0] > int4[0] and fp16[1] < int4[1]
    assert floors({"precision": "int4", "min_agreement": 0.0, "max_kl": 9}) == (0.0, 9.0)


def compared(baseline: Any, variant: Any) -> Comparison:
    comparison = Comparison()
    comparison.add("p", baseline, variant)
    return comparison


def test_a_value_that_is_no_number_fails_whatever_the_floors() -> None:
    broken = np.eye(3)
    broken[0, 0] = math.nan
    with pytest.raises(WorkerError) as caught:
        judge(compared(np.eye(3), broken), 0.0, math.inf, **WORDS)
    assert caught.value.code == "verify-failed"


def test_too_little_agreement_and_too_much_kl_fail_with_the_figures() -> None:
    good, bad = np.eye(4) * 5, np.eye(4)[::-1] * 5
    judge(compared(good, good), 1.0, 0.0, **WORDS)
    for min_agreement, max_kl in ((0.5, math.inf), (0.0, 0.1)):
        with pytest.raises(WorkerError) as caught:
            judge(compared(good, bad), min_agreement, max_kl, **WORDS)
        assert caught.value.code == "verify-failed" and "agreement 0.0000" in caught.value.cause


def test_torchvision_is_found_behind_a_chain_of_errors() -> None:
    inner = RuntimeError("operator torchvision::nms does not exist")
    outer = ModuleNotFoundError("Could not import module 'LlamaForCausalLM'")
    outer.__cause__ = inner
    assert "pip uninstall torchvision" in explain_import(outer).hint
    assert "workbench doctor" in explain_import(ModuleNotFoundError("No module named 'nncf'")).hint


@pytest.mark.parametrize(
    ("block_bytes", "hinted", "precision"),
    [
        (737_280, "fp16", "fp16"),
        (737_280, "bf16", "bf16"),
        (1_474_560, "", "fp32"),
        (391_680, "", "int8"),
        (737_279, "fp16", None),
    ],
)
def test_kv_precision_is_told_by_the_size_of_a_block(block_bytes: int, hinted: str, precision: str | None) -> None:
    smollm = {"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "hidden_size": 576}
    assert kv_precision_of(block_bytes, 32, smollm, hinted) == precision
    assert kv_precision_of(block_bytes, None, smollm, hinted) is None
    assert kv_precision_of(block_bytes, 32, {}, hinted) is None


def test_a_blank_answer_is_a_fault_unless_the_source_model_says_the_same() -> None:
    assert refuse_blank("Paris.", [5, 6], [7]) == ""
    assert "none either" in refuse_blank("\n \n", [3, 3, 3, 3], [3, 3])
    for ids, own in (([3, 3], [3, 4]), ([], [3]), ([3], [])):
        with pytest.raises(WorkerError, match="answer is empty") as caught:
            refuse_blank(" ", ids, own)
        assert caught.value.code == "verify-failed"

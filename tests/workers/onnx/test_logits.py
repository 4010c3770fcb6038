"""ONNX folders read, saved, broken and run, by what the workers share."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.workers.conftest import TINY, make_tiny_llama
from tests.workers.onnx.runs import Run, run_cases
from workbench.workers.onnx.common import DATA_FILE, INLINE_BYTES, MODEL_FILE

pytestmark = pytest.mark.slow

PROBES = "tests.workers.onnx.probes"
LOADED = ("llama-fp32", "llama-fp16", "llama-bf16", "qwen2-fp32", "qwen2-fp16")


def _broken(source: Path, target: Path, harm: str) -> Path:
    shutil.copytree(source, target)
    model, data = target / MODEL_FILE, target / DATA_FILE
    if harm == "no data":
        data.unlink()
    elif harm == "short data":
        data.write_bytes(data.read_bytes()[:-100])
    elif harm == "no model":
        model.unlink()
    elif harm == "short model":
        model.write_bytes(model.read_bytes()[:-1000])
    elif harm == "empty model":
        model.write_bytes(b"")
    elif harm == "not a model":
        model.write_bytes(b"<html>" * 200)
    elif harm == "data outside":
        # The two names have equal length, as the format wants it.
        model.write_bytes(model.read_bytes().replace(DATA_FILE.encode(), b"../../etc/pass1"))
    return target


BROKEN = {
    "no data": ("missing-onnx-data", DATA_FILE),
    "short data": ("missing-onnx-data", ".weight is bytes"),
    "no model": ("bad-onnx", MODEL_FILE),
    "short model": ("bad-onnx", "cannot be read"),
    "empty model": ("bad-onnx", "0 bytes"),
    "not a model": ("bad-onnx", "cannot be read"),
    "data outside": ("bad-onnx", "outside the folder"),
}


@pytest.fixture(scope="module")
def probed(tiny_onnx: dict[str, Run], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    root = tmp_path_factory.mktemp("probed")
    source = tiny_onnx["llama-fp32"].out

    def case(probe: str, folder: Path, **more: Any) -> dict[str, Any]:
        inputs = {"folder": str(folder), **more.pop("inputs", {})}
        return {"worker": PROBES, "inputs": inputs, "settings": {"probe": probe, **more.pop("settings", {})}, **more}

    cases = {name: case("logits", tiny_onnx[name].out) for name in LOADED}
    cases |= {f"genai {name}": case("genai", tiny_onnx[name].out, settings={"tokens": 12}) for name in LOADED[:2]}
    cases |= {harm: case("check", _broken(source, root / harm.replace(" ", "-"), harm)) for harm in BROKEN}
    cases |= {
        f"strange {domain}": case("harm", source, settings={"domain": domain}, output=str(root / f"strange{domain}"))
        for domain in ("", "acme")
    }
    cases["save"] = case("save", source, output=str(root / "saved"))
    other = make_tiny_llama(root / "other", seed=99)
    cases["other model"] = case("compare", source, inputs={"model": str(other)}, settings={"dtype": "fp32"})
    return run_cases(cases, root)


@pytest.mark.parametrize("name", LOADED)
def test_logits_do_not_depend_on_how_tokens_are_fed(probed: dict[str, Run], name: str) -> None:
    found = probed[name].result
    assert found["shape"] == [40, TINY["vocabulary"]] and found["type"] == "float32"
    assert (found["vocabulary"], found["max_seq_len"]) == (TINY["vocabulary"], 512)
    assert found["again"] == 0.0, "begin() empties the cache"
    assert found["pieces"] <= (1e-3 if "fp16" not in name else 0.1) and found["spread"] > 0.5
    wide = name.endswith("bf16")
    assert found["settings"]["compute_precision"] == ("fp32" if wide else name.split("-")[1])
    assert ("remark" in found["settings"]) is wide


@pytest.mark.parametrize("name", LOADED[:2])
def test_the_serving_runtime_answers_from_the_folder_as_it_is(probed: dict[str, Run], name: str) -> None:
    found = probed[f"genai {name}"].result
    assert found["prompt"].startswith("<|im_start|>user") and found["answer"]
    assert found["answer"] == found["ours"]


@pytest.mark.parametrize("harm", BROKEN)
def test_a_broken_folder_is_told_before_weights_are_read(probed: dict[str, Run], harm: str) -> None:
    code, words = BROKEN[harm]
    error = probed[harm].error
    assert error["code"] == code and words in error["message"] + error["cause"] and error["hint"], error


@pytest.mark.parametrize("domain", ["", "acme"])
def test_an_operator_that_the_runtime_lacks_is_named_with_its_node(probed: dict[str, Run], domain: str) -> None:
    error = probed[f"strange {domain}"].error
    assert error["code"] == "engine-load-failed" and "Sharpen" in error["message"], error
    assert "node /end/Sharpen" in error["cause"], error


def test_saving_gives_one_data_file_and_holds_no_second_copy(probed: dict[str, Run]) -> None:
    found = probed["save"].result
    out = probed["save"].out
    assert found["equal"] and found["odd"] and found["aligned"] and found["rising"]
    assert found["held"] < 8 * INLINE_BYTES and found["largest_inline"] < INLINE_BYTES
    assert found["told"][0] == found["told"][1] > 0
    assert found["bytes"] == sum(path.stat().st_size for path in out.iterdir())
    assert {path.name for path in out.iterdir()} == {MODEL_FILE, DATA_FILE}


def test_a_folder_of_another_model_differs(probed: dict[str, Run]) -> None:
    error = probed["other model"].error
    assert error["code"] == "convert-differs" and "a logit differs by" in error["cause"], error

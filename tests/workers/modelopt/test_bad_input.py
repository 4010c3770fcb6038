"""What ModelOpt's workers say of broken models, broken text, and folders in the other transformers' spelling."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.workers.modelopt.runs import VERSIONS, Run, interpreter, read_tensors, run_cases
from workbench.core.data import resource
from workbench.workers.modelopt.checkpoint import check_scales
from workbench.workers.protocol import WorkerError

pytestmark = pytest.mark.slow

NAN, INFINITE, HUGE = b"\xc0\x7f", b"\x80\x7f", b"\x80\x4e"
"""BF16, little end first; HUGE is 1.07e9, which FP16 cannot hold."""
DOWN = "model.layers.1.mlp.down_proj.weight"
NORM = "model.layers.0.input_layernorm.weight"


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    interpreter(request.param)
    return str(request.param)


@pytest.fixture(scope="module")
def folder(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("bad")
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def runs(version: str, folder: Path) -> dict[str, Run]:
    families = ("llama", "llama31", "gemma3", "phi3long")
    makes = {name: {"make": {"folder": str(folder / name), "family": name}} for name in families}
    run_cases(version, makes, folder)
    text = resource("calibration.jsonl")
    cases: dict[str, dict[str, Any]] = {}

    def add(name: str, model: Path, precision: str, calibration: Path = text, **settings: Any) -> None:
        cases[name] = {
            "worker": "modelopt.convert" if precision in ("bf16", "fp16") else "modelopt.quantize",
            "inputs": {"model": str(model), "calibration": str(calibration)},
            "output": str(folder / "out" / name.replace(" ", "-")),
            "settings": {
                "precision": precision,
                "calibration": {"samples": 8, "length": 48, "batch_size": 4},
                **settings,
            },
        }

    def broken(name: str, tensor: str, value: bytes) -> Path:
        model = Path(shutil.copytree(folder / "llama", folder / name))
        overwrite(model / "model.safetensors", tensor, value)
        return model

    nan, norm = broken("nan", DOWN, NAN), broken("nan-norm", NORM, NAN)
    add("nan", nan, "bf16")
    for precision in ("fp8", "int8_sq", "nvfp4"):
        add(f"nan {precision}", nan, precision)
    add("nan norm fp8", norm, "fp8")
    add("infinite", broken("infinite", DOWN, INFINITE), "bf16")
    huge = broken("huge", DOWN, HUGE)
    add("huge in fp16", huge, "fp16")
    add("huge in bf16", huge, "bf16")

    pickled = Path(shutil.copytree(folder / "llama", folder / "pickled"))
    (pickled / "model.safetensors").unlink()
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n(S'touch " + bytes(folder) + b"/ran'\ntR.")
    add("pickle", pickled, "bf16")

    quantized = Path(shutil.copytree(folder / "llama", folder / "quantized"))
    edit(quantized, quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 128})
    add("already quantized", quantized, "fp8")

    cut = Path(shutil.copytree(folder / "llama", folder / "cut"))
    whole = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    add("cut short", cut, "bf16")

    clipped = Path(shutil.copytree(folder / "llama", folder / "clipped"))
    edit(clipped, vocab_size=256)
    add("another vocabulary", clipped, "fp8")

    (folder / "empty.jsonl").touch()
    (folder / "binary.txt").write_bytes(bytes(range(256)) * 40)
    (folder / "few.jsonl").write_text(
        json.dumps({"text": "A sentence of a dozen words or so, which is enough."}) + "\n"
    )
    for name in ("empty.jsonl", "binary.txt", "few.jsonl", "absent.jsonl"):
        add(name, folder / "llama", "fp8", calibration=folder / name)
    (folder / "judged.txt").write_text(json.loads(text.read_text().splitlines()[0])["text"])
    add("overlap", folder / "llama", "fp8", evaluation=str(folder / "judged.txt"), calibration=folder / "judged.txt")

    for family in families[1:]:
        new = Path(shutil.copytree(folder / family, folder / f"{family}-new"))
        spell_anew(new)
        add(f"{family} fp8", folder / family, "fp8")
        add(f"{family} fp8 new spelling", new, "fp8")
    return run_cases(version, cases, folder)


def overwrite(path: Path, tensor: str, value: bytes) -> None:
    """Put `value` in place of the middle element of a BF16 tensor."""
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    low, high = json.loads(data[8 : 8 + length])[tensor]["data_offsets"]
    at = 8 + length + low + (high - low) // 4 * 2
    data[at : at + 2] = value
    path.write_bytes(data)


def edit(model: Path, **fields: Any) -> None:
    path = model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def spell_anew(model: Path) -> None:
    """config.json as transformers 5 saves it: `rope_parameters` and `dtype`."""
    path = model / "config.json"
    config = json.loads(path.read_text())
    scaling = config.pop("rope_scaling", None) or {"rope_type": "default"}
    if "type" in scaling:
        scaling = {**scaling, "rope_type": scaling["type"]}
    table = {**scaling, "rope_theta": config.pop("rope_theta")}
    if "rope_local_base_freq" in config:
        local = {"rope_type": "default", "rope_theta": config.pop("rope_local_base_freq")}
        table = {"full_attention": table, "sliding_attention": local}
    config |= {"rope_parameters": table, "dtype": config.pop("torch_dtype")}
    path.write_text(json.dumps(config))


def test_nan_in_the_weights_is_named_and_leaves_no_checkpoint_to_trust(runs: dict[str, Run]) -> None:
    error = runs["nan"].error

    assert error["code"] == "bad-weights"
    assert error["cause"].startswith("transformer.layers.1.mlp.proj.weight in rank0.safetensors: nan")
    assert "fetch it again" in error["hint"]
    assert not (runs["nan"].out / "tokenizer.json").exists()


@pytest.mark.parametrize("precision", ["fp8", "int8_sq", "nvfp4"])
def test_nan_is_found_before_calibration_begins(runs: dict[str, Run], precision: str) -> None:
    for name, tensor in ((f"nan {precision}", DOWN), ("nan norm fp8", NORM)):
        assert runs[name].error["code"] == "bad-weights"
        assert runs[name].error["cause"].startswith(f"{tensor} in nan")
        assert [message["name"] for message in runs[name].messages("phase")] == ["check", "load"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
@pytest.mark.parametrize("name", ["weights_scaling_factor", "activation_scaling_factor", "per_channel_scale"])
def test_scales_that_cannot_be_used_are_named(tmp_path: Path, name: str, value: float) -> None:
    scales = np.array([0.5, value, 0.25], dtype=np.float32)
    save_file({"transformer.layers.3.mlp.fc." + name: scales}, tmp_path / "rank1.safetensors")

    with pytest.raises(WorkerError) as caught:
        check_scales([tmp_path / "rank1.safetensors"], framework="numpy")

    assert caught.value.code == "bad-scales"
    assert caught.value.cause.startswith(f"transformer.layers.3.mlp.fc.{name} in rank1.safetensors")


def test_infinite_weights_and_those_that_fp16_cannot_hold_are_named(runs: dict[str, Run]) -> None:
    assert runs["infinite"].error["code"] == "bad-weights"
    assert runs["huge in fp16"].error["code"] == "bad-weights"
    assert "use bf16" in runs["huge in fp16"].error["hint"]
    held = runs["huge in bf16"].ranks()[0]["transformer.layers.1.mlp.proj.weight"]
    assert held.values.max() > 1e9


def test_pickled_weights_are_refused_and_not_run(runs: dict[str, Run], folder: Path) -> None:
    assert runs["pickle"].error["code"] == "bad-model"
    assert "pytorch_model.bin" in runs["pickle"].error["cause"] + runs["pickle"].error["message"]
    assert not (folder / "ran").exists()


def test_a_folder_that_is_quantized_already_is_refused(runs: dict[str, Run]) -> None:
    assert runs["already quantized"].error["code"] == "already-quantized"


def test_weights_that_were_cut_short_are_refused(runs: dict[str, Run]) -> None:
    error = runs["cut short"].error

    assert error["code"] in ("bad-model", "source-failed")
    assert "model.safetensors" in error["cause"] + error["message"]


def test_a_tokenizer_and_weights_that_do_not_match_are_refused(runs: dict[str, Run]) -> None:
    assert runs["another vocabulary"].error["code"] in ("bad-model", "source-failed")


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("empty.jsonl", "bad-calibration", "empty"),
        ("binary.txt", "bad-calibration", ""),
        ("absent.jsonl", "missing-input", "needs calibration text"),
    ],
)
def test_calibration_files_that_cannot_be_used_are_refused_before_the_model_loads(
    runs: dict[str, Run], name: str, code: str, said: str
) -> None:
    run = runs[name]

    assert run.error["code"] == code
    assert said in run.error["message"]
    assert [message["name"] for message in run.messages("phase")] == ["check"]


def test_too_few_samples_are_warned_about_and_used(runs: dict[str, Run]) -> None:
    warnings = runs["few.jsonl"].result["calibration"]["warnings"]

    assert warnings[0] == "the calibration set holds 1 samples of the 8 asked for"
    assert {message["text"] for message in runs["few.jsonl"].messages("log")} >= set(warnings)


def test_calibration_on_the_text_it_is_judged_by_is_warned_about(runs: dict[str, Run]) -> None:
    assert any("share text with the evaluation" in each for each in runs["overlap"].result["calibration"]["warnings"])


@pytest.mark.parametrize("family", ["llama31", "gemma3", "phi3long"])
def test_a_rope_table_in_transformers_5s_spelling_is_not_lost(runs: dict[str, Run], family: str) -> None:
    """transformers 4.57 does not see it and would calibrate with a base of 10,000, without a word."""
    old, new = runs[f"{family} fp8"], runs[f"{family} fp8 new spelling"]

    for name in ("rotary_base", "rotary_scaling", "rope_local_base_freq", "longrope_scaling_long_factors"):
        assert new.config.get(name) == old.config.get(name), name
    assert new.config["rotary_base"] == {"llama31": 500_000.0, "gemma3": 1_000_000.0, "phi3long": 10_000.0}[family]
    ours, theirs = (read_tensors(run.out / "rank0.safetensors") for run in (old, new))
    for name, tensor in ours.items():
        assert (tensor.raw == theirs[name].raw).all(), name

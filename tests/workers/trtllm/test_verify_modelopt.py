"""Verify reads what ModelOpt really writes: tiny models of each family, and the demo's, by today's ModelOpt and 0.37.

WORKBENCH_TEST_MODELOPT and WORKBENCH_TEST_MODELOPT_OLD name interpreters that have them. The checkpoints are made
there, and read back here, where ModelOpt need not be.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.workers.conftest import ROOT

if lacking := [name for name in ("torch", "transformers", "tokenizers") if not importlib.util.find_spec(name)]:
    pytest.skip(f"not installed here: {', '.join(lacking)}", allow_module_level=True)

from tests.workers.modelopt.models import RESOURCES, make_model
from tests.workers.trtllm.test_verify import verify

pytestmark = pytest.mark.slow

INTERPRETERS = {"today": "WORKBENCH_TEST_MODELOPT", "0.37": "WORKBENCH_TEST_MODELOPT_OLD"}
FULL = [
    ("llama", "bf16", 4, 1),
    ("llama31", "fp16", 2, 1),
    ("mistral", "bf16", 2, 2),
    ("qwen2", "bf16", 2, 2),
    ("qwen3", "bf16", 2, 1),
    ("gemma", "bf16", 2, 1),
    ("gemma2", "fp16", 1, 2),
    ("gemma3", "bf16", 2, 2),
    ("phi3", "bf16", 2, 1),
    ("phi3long", "bf16", 1, 2),
    ("mixtral", "bf16", 2, 2),
]
QUANTIZED = {
    ("llama", "fp8", 2, 1): 0.05,
    ("mistral", "int8_sq", 2, 1): 0.05,
    ("qwen2", "int4_awq", 1, 2): 0.4,
    ("gemma2", "w4a8_awq", 1, 1): 0.4,
    ("qwen3", "nvfp4", 2, 1): 0.4,
    ("gemma3", "fp8_rowwise", 1, 1): 0.05,
    ("gemma", "fp8", 1, 2): 0.05,
    ("mixtral", "int4_awq", 2, 1): 0.4,
    ("phi3", "int8", 1, 1): 0.05,
    ("llama", "int4", 2, 1): 0.8,
}
"""Largest mean KL in nats. Two layers of random weights mixed up give more than 2 (the last test here)."""
LOOSE = {"min_agreement": 0.0, "max_kl": 1e9, "compute": "float32"}


def make(which: str, cases: list[dict[str, Any]], scratch: Path) -> list[dict[str, Any]]:
    """Run ModelOpt steps in one process of the interpreter; skips when there is none."""
    interpreter = os.environ.get(INTERPRETERS[which], "")
    if not interpreter:
        pytest.skip(f"{INTERPRETERS[which]} names no interpreter with ModelOpt")
    todo, results = scratch / "cases.json", scratch / "results.json"
    todo.write_text(json.dumps(cases))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [interpreter, "-m", "tests.workers.modelopt.driver", str(todo), str(results)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return list(json.loads(results.read_text()))


def step(model: Path, output: Path, precision: str, tp: int = 1, pp: int = 1) -> dict[str, Any]:
    plain = precision in ("bf16", "fp16", "int8", "int4")
    return {
        "worker": "modelopt.convert" if plain else "modelopt.quantize",
        "inputs": {"model": str(model)} | ({} if plain else {"calibration": str(RESOURCES / "calibration.jsonl")}),
        "output": str(output),
        "settings": {
            "precision": precision,
            "tp": tp,
            "pp": pp,
            **({} if plain else {"calibration": {"samples": 32, "length": 64, "batch_size": 8}}),
        },
    }


@pytest.fixture(scope="module", params=list(INTERPRETERS))
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[Any, ...], tuple[Path, Path]]:
    """(family, precision, tp, pp) -> (checkpoint, model), all of the matrix, by one ModelOpt."""
    which, scratch = request.param, tmp_path_factory.mktemp("modelopt")
    if not os.environ.get(INTERPRETERS[which]):
        pytest.skip(f"{INTERPRETERS[which]} names no interpreter with ModelOpt")
    keys = [*FULL, *QUANTIZED]
    models = {family: make_model(scratch / family, family) for family in {key[0] for key in keys}}
    folders = {key: scratch / "-".join(map(str, key)) for key in keys}
    cases = [step(models[key[0]], folders[key], key[1], key[2], key[3]) for key in keys]
    for key, found in zip(keys, make(which, cases, scratch), strict=True):
        assert "result" in found, f"{which} {key}: {found.get('error')}"
    return {key: (folders[key], models[key[0]]) for key in keys}


def test_full_precision_is_the_source(made: dict[tuple[Any, ...], tuple[Path, Path]]) -> None:
    for key in FULL:
        folder, model = made[key]
        wide = verify(folder, model, precision=key[1], compute="float32")
        assert wide["layout_logit_error"] < 1e-3, key
        # Gemma's norms are stored as 1 + w: what that rounds away is the format's, and stays small.
        assert wide["max_abs_logit_error"] < (0.05 if key[0].startswith("gemma") else 1e-3), key
        narrow = verify(folder, model, precision=key[1], compute="bfloat16")
        assert narrow["layout_logit_error"] < 0.05, key
        assert wide["differences"] == narrow["differences"] == [], key
        assert wide["ignored"] == [], key
        assert wide["defaults_used"] == [], key
        assert (wide["tp"], wide["pp"]) == key[2:], key


def test_quantized_is_near_the_source(made: dict[tuple[Any, ...], tuple[Path, Path]]) -> None:
    for key, most in QUANTIZED.items():
        folder, model = made[key]
        found = verify(folder, model, precision=key[1], **LOOSE)
        assert 0 < found["kl_nats"] < most, (key, found["kl_nats"])
        assert found["differences"] == [], key
        assert found["ignored"] == [], key
        assert found["defaults_used"] == [], key


def test_a_mix_up_is_far_from_the_source(made: dict[tuple[Any, ...], tuple[Path, Path]], tmp_path: Path) -> None:
    """What gives the limits above their meaning: two ranks' files exchanged are far beyond all of them."""
    import shutil

    folder, model = made[("llama", "int4", 2, 1)]
    mixed = Path(shutil.copytree(folder, tmp_path / "mixed"))
    (mixed / "rank0.safetensors").rename(mixed / "other")
    (mixed / "rank1.safetensors").rename(mixed / "rank0.safetensors")
    (mixed / "other").rename(mixed / "rank1.safetensors")
    assert verify(mixed, model, precision="int4", **LOOSE)["kl_nats"] > 2


@pytest.mark.early
@pytest.mark.parametrize("which", ["today", pytest.param("0.37", marks=pytest.mark.nightly)])
def test_the_demos_model(which: str, demo_model: Path, tmp_path: Path) -> None:
    """9 heads and 3 key and value heads: three ranks divide them, two do not. FP8 must agree in 0.9 of all tokens."""
    prompts = str(RESOURCES / "verify_prompts.json")
    folders = [tmp_path / name for name in ("full", "stages", "fp8", "halves")]
    cases = [
        step(demo_model, folders[0], "bf16", tp=3),
        step(demo_model, folders[1], "fp16", pp=2),
        step(demo_model, folders[2], "fp8"),
        step(demo_model, folders[3], "bf16", tp=2),
    ]
    cases[2]["settings"]["calibration"] = {"samples": 32, "length": 128, "batch_size": 8}
    found = make(which, cases, tmp_path)
    assert found[3]["error"]["code"] == "bad-parallel"
    for index, precision in enumerate(("bf16", "fp16") if which == "today" else ()):  # a copy is a copy by either
        few = verify(folders[index], demo_model, precision=precision, compute="float32", max_new_tokens=4)
        assert few["max_abs_logit_error"] < 1e-3
    fp8 = verify(folders[2], demo_model, precision="fp8", prompts=prompts, max_new_tokens=32)
    print(which, "FP8:", fp8["agreement"], fp8["kl_nats"])
    assert fp8["agreement"] > 0.9
    assert fp8["positions"] > 300

"""Plans of PyTorch engines: what is none, what is refused, what decides a key, and what reaches the host."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.models import make_tiny_folder
from tests.toolchains.test_running import VALUES
from workbench.core.artifact import Machine, Provenance, StepRecord
from workbench.core.errors import BadInputError, BlockedError
from workbench.core.gpu import find_gpu
from workbench.core.home import Home
from workbench.core.host import read_host
from workbench.core.model import ModelSpec, read_model
from workbench.core.plan import Step
from workbench.core.preset import Preset, apply_overrides, find_preset, list_presets
from workbench.toolchains import get, names
from workbench.toolchains.base import BuildRequest, EngineRequest, Environment
from workbench.toolchains.planner import check, make_request
from workbench.toolchains.pytorch.toolchain import PyTorch

GALLERY = [p for p in list_presets().presets if p.toolchain == "pytorch"]
VERSIONS = {"torch": "2.11.0", "transformers": "5.17.0", "torchao": "0.18.0"}
CPU = PyTorch(gpus=tuple)


def gpu_machine(name: str) -> PyTorch:
    return PyTorch(gpus=lambda: (find_gpu(name),))


def environment(**versions: str) -> Environment:
    return Environment("pytorch", (sys.executable,), "here", versions={**VERSIONS, **versions})


def request_for(preset: Preset, model: ModelSpec, home: Home, **more: Any) -> BuildRequest:
    return make_request(
        preset,
        model,
        precisions=more.pop("precisions", (preset.precision.weights.value,)),
        home=home,
        environment=more.pop("environment", environment()),
        host=read_host(),
        digest=more.pop("digest", "0" * 64),
        **more,
    )


@pytest.fixture
def tiny(tmp_path: Path) -> ModelSpec:
    return read_model(make_tiny_folder(tmp_path / "tiny"))


def steps_of(home: Home, model: ModelSpec, *overrides: str, toolchain: PyTorch = CPU, **more: Any) -> dict[str, Step]:
    chosen = apply_overrides(find_preset("pytorch-bf16"), list(overrides))
    return {step.id: step for step in toolchain.steps(request_for(chosen, model, home, **more))}


def test_the_toolchain_is_one_of_those_there_are() -> None:
    assert "pytorch" in names() and get("pytorch").title == "PyTorch"


def test_nothing_is_converted_or_quantized_and_the_engine_is_a_reference(home: Home, tiny: ModelSpec) -> None:
    steps = steps_of(home, tiny)
    assert list(steps) == ["check", "convert", "quantize:bf16", "build:bf16", "verify:bf16"]
    assert steps["convert"].none_reason == "the model folder is loaded as it is"
    assert steps["quantize:bf16"].none_reason
    build, verify = steps["build:bf16"], steps["verify:bf16"]
    assert build.inputs[0].path == str(tiny.path) and build.output is not None and build.output.kind == "engine"
    assert build.estimate.disk_bytes is not None and build.estimate.disk_bytes.high < 2**20
    assert verify.record == "verify.json" and verify.lanes == ("cpu",)
    gpu = steps_of(home, tiny, toolchain=gpu_machine("H100 SXM"))
    assert gpu["verify:bf16"].lanes == ("gpu:0",)
    assert steps_of(home, tiny, "build.flags.device=cpu", toolchain=gpu_machine("H100 SXM"))["verify:bf16"].lanes == (
        "cpu",
    )


def test_what_decides_the_engine_changes_its_key_and_runtime_settings_do_not(
    home: Home, tiny: ModelSpec, tmp_path: Path
) -> None:
    key = steps_of(home, tiny)["build:bf16"].key
    assert steps_of(home, tiny, "runtime.kv_cache_gib=2", "limits.max_batch_size=3")["build:bf16"].key == key
    assert steps_of(home, tiny, "build.flags.mode=compiled")["build:bf16"].key != key
    assert steps_of(home, tiny, digest="1" * 64)["build:bf16"].key != key
    assert steps_of(home, tiny, environment=environment(torch="2.12.0"))["build:bf16"].key != key
    # The same files elsewhere make another engine: the old one refers to where they were.
    moved = read_model(shutil.copytree(tiny.path, tmp_path / "elsewhere"))
    assert steps_of(home, moved)["build:bf16"].key != key


@pytest.mark.parametrize(
    ("gpu", "precision", "words"),
    [
        (None, "int8", "gains nothing on a CPU"),
        (None, "fp8", "gains nothing on a CPU"),
        ("A100 80GB", "fp8", "8.9"),
        ("H100 SXM", "int4_awq", "does not quantize"),
        ("H100 SXM", "fp7", "not a precision"),
    ],
)
def test_precisions_without_use_are_refused_with_the_nearest(
    gpu: str | None, precision: str, words: str, home: Home, tiny: ModelSpec
) -> None:
    toolchain = CPU if gpu is None else gpu_machine(gpu)
    with pytest.raises((BlockedError, BadInputError), match=words) as caught:
        steps_of(home, tiny, toolchain=toolchain, precisions=(precision,))
    assert caught.value.failure.evidence
    assert "Nearest" in caught.value.failure.fix or precision == "fp7"


def test_torchao_is_asked_for_where_a_gpu_gains_from_it(home: Home, tiny: ModelSpec) -> None:
    toolchain = gpu_machine("H100 SXM")
    preset = find_preset("pytorch-fp8")
    assert toolchain.advice(request_for(preset, tiny, home)) == ()
    lacking = Environment("pytorch", (sys.executable,), "here", versions={"torch": "2", "transformers": "5.17"})
    (advice,) = toolchain.advice(request_for(preset, tiny, home, environment=lacking))
    assert advice.level == "block" and "torchao" in advice.text and "pip install torchao" in advice.fix
    assert (
        "quantizes at each load"
        in {s.id: s for s in toolchain.steps(request_for(preset, tiny, home))}["quantize:fp8"].none_reason
    )


def test_compiling_on_a_cpu_is_warned_of(home: Home, tiny: ModelSpec) -> None:
    request = request_for(find_preset("pytorch-bf16-compiled"), tiny, home)
    (advice,) = CPU.advice(request)
    assert advice.level == "warning" and advice.overrides == ("build.flags.mode=eager",)
    assert gpu_machine("H100 SXM").advice(request) == ()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("build.flags.mod=eager", "no flag"),
        ("build.flags.mode=fast", "cannot be"),
        ("build.flags.sampling=1", "cannot be"),
        ("precision.kv_cache=int8", "KV cache in what the model computes in"),
        ("precision.kv_cache=fp16", "BF16 here"),
    ],
)
def test_flags_and_kv_precisions_that_there_are_not_are_refused(
    override: str, words: str, home: Home, tiny: ModelSpec
) -> None:
    with pytest.raises((BadInputError, BlockedError), match=words):
        steps_of(home, tiny, override)


def test_two_gpus_are_refused(home: Home, tiny: ModelSpec) -> None:
    preset = apply_overrides(find_preset("pytorch-bf16"), ["parallel.tp=2"])
    report = check(CPU, request_for(preset, tiny, home))
    assert "parallel-pytorch" in {advice.code for advice in report.blocks}


@pytest.mark.parametrize("preset", GALLERY, ids=lambda preset: preset.id)
def test_every_preset_plans_on_a_gpu(preset: Preset, home: Home, tiny: ModelSpec) -> None:
    toolchain = gpu_machine("H100 SXM")
    report = check(toolchain, request_for(preset, tiny, home))
    assert not report.blocks and report.steps[-1].kind == "verify"


def provenance(model: ModelSpec, precision: str = "bf16") -> Provenance:
    return Provenance(
        kind="engine", name="e", key="k", created_at=0.0, workbench="0", toolchain="pytorch", precision=precision,
        machine=Machine(cpu="c", cpu_identity="c", memory_bytes=1, os="o"), steps=(), files=(),
    )  # fmt: skip


def test_exactly_the_runtime_settings_that_are_named_reach_the_host(home: Home, tiny: ModelSpec) -> None:
    plain = find_preset("pytorch-bf16")

    def settings(preset: Preset) -> dict[str, Any]:
        return CPU.host(EngineRequest(home.root, provenance(tiny), environment(), preset)).spec.settings

    reach = {
        name
        for name, value in VALUES.items()
        if settings(apply_overrides(plain, [f"runtime.{name}={value}"])) != settings(plain)
    }
    assert reach == CPU.runtime_settings
    assert settings(apply_overrides(plain, ["runtime.kv_cache_gib=0.25"]))["kv_cache_bytes"] == 2**28
    with pytest.raises(BlockedError, match="KV cache"):
        settings(apply_overrides(plain, ["precision.kv_cache=int8"]))


@pytest.mark.parametrize(
    ("flag", "torch", "machine", "device"),
    [
        ("auto", "2.13.0", None, "cpu"),
        ("auto", "2.13.0", "H100 SXM", "gpu"),
        ("auto", "2.13.0+cu130", "H100 SXM", "gpu"),
        ("auto", "2.13.0+cpu", "H100 SXM", "cpu"),
        ("cpu", "2.13.0", "H100 SXM", "cpu"),
        ("cuda", "2.13.0", None, "gpu"),
    ],
)
def test_where_an_engine_is_loaded(
    flag: str, torch: str, machine: str | None, device: str, home: Home, tiny: ModelSpec
) -> None:
    toolchain = CPU if machine is None else gpu_machine(machine)
    preset = apply_overrides(find_preset("pytorch-bf16"), [f"build.flags.device={flag}"])
    request = EngineRequest(home.root, provenance(tiny), environment(torch=torch), preset)
    assert toolchain.host(request).device == device


def test_what_the_engine_was_built_for_counts_before_the_preset(home: Home, tiny: ModelSpec) -> None:
    built = StepRecord(
        id="build:bf16", kind="build", worker="pytorch.build", argv=(), seconds=1.0, key="k", result={"device": "cpu"}
    )
    made = provenance(tiny).model_copy(update={"steps": (built,)})
    request = EngineRequest(home.root, made, environment(torch="2.13.0"), find_preset("pytorch-bf16"))
    assert gpu_machine("H100 SXM").host(request).device == "cpu"

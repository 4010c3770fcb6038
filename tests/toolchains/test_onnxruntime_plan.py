"""Plans of ONNX Runtime engines: steps, what decides a key, what both ONNX toolchains share, what reaches the host."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.models import make_tiny_folder
from workbench.core.artifact import Machine, Provenance, StepRecord
from workbench.core.errors import BadInputError, BlockedError
from workbench.core.gpu import find_gpu
from workbench.core.home import Home
from workbench.core.host import read_host
from workbench.core.model import ModelSpec, read_model
from workbench.core.plan import Step
from workbench.core.precision import Precision
from workbench.core.preset import Preset, apply_overrides, find_preset, list_presets
from workbench.toolchains import get, names
from workbench.toolchains.base import BuildRequest, EngineRequest, Environment
from workbench.toolchains.environments import judged
from workbench.toolchains.onnxruntime.toolchain import OnnxRuntime
from workbench.toolchains.planner import check, make_request
from workbench.toolchains.tensorrt_rtx.toolchain import TensorRtRtx

GALLERY = [p for p in list_presets().presets if p.toolchain == "onnxruntime"]
VERSIONS = {
    "onnxruntime": "1.31.1",
    "onnxruntime-genai": "0.18.0",
    "optimum-onnx": "0.1.0",
    "optimum": "2.1.0",
    "onnx": "1.23.2",
    "nvidia-modelopt": "0.47.0",
    "transformers": "4.57.6",
    "torch": "2.13.0",
}
CPU = OnnxRuntime(gpus=tuple)


def environment(toolchain: str = "onnxruntime", **versions: str) -> Environment:
    return Environment(toolchain, (sys.executable,), "here", versions={**VERSIONS, **versions})


def request_for(preset: Preset, model: ModelSpec, home: Home, **more: Any) -> BuildRequest:
    return make_request(
        preset,
        model,
        precisions=more.pop("precisions", (preset.precision.weights.value,)),
        home=home,
        environment=more.pop("environment", environment(preset.toolchain)),
        host=read_host(),
        digest=more.pop("digest", "0" * 64),
        detected=more.pop("detected", ()),
        **more,
    )


@pytest.fixture
def tiny(tmp_path: Path) -> ModelSpec:
    return read_model(make_tiny_folder(tmp_path / "tiny"))


def steps_of(
    home: Home, model: ModelSpec, *overrides: str, preset: str = "onnx-int4", toolchain: OnnxRuntime = CPU, **more: Any
) -> dict[str, Step]:
    chosen = apply_overrides(find_preset(preset), list(overrides))
    return {step.id: step for step in toolchain.steps(request_for(chosen, model, home, **more))}


def test_the_toolchain_is_one_of_those_there_are_and_has_presets() -> None:
    assert "onnxruntime" in names() and get("onnxruntime").title == "ONNX Runtime"
    assert {p.precision.weights for p in GALLERY} >= {Precision.FP32, Precision.FP16, Precision.INT8, Precision.INT4}


@pytest.mark.parametrize("preset", GALLERY, ids=lambda p: p.id)
def test_every_preset_can_be_planned(preset: Preset, home: Home, tiny: ModelSpec) -> None:
    report = check(CPU, request_for(preset, tiny, home))
    assert [a for a in report.blocks if a.code not in ("no-weights", "host-memory", "disk")] == []
    (engine,) = report.numbers.engines
    assert engine.gpus == 0 and [part.name for part in engine.parts][:2] == ["weights", "KV cache"]
    assert not preset.unused_settings


def test_a_quantized_engine_is_converted_in_fp32_and_quantized_with_what_applies(home: Home, tiny: ModelSpec) -> None:
    steps = steps_of(home, tiny)
    assert list(steps) == ["check", "convert", "quantize:int4", "build:int4", "verify:int4"]
    convert, quantize, build, verify = (steps[name] for name in list(steps)[1:])
    assert (convert.worker, convert.settings["dtype"]) == ("onnx.convert", "fp32")
    assert quantize.settings == {"weights": "int4", "compute": "fp32", "group_size": "auto", "method": "rtn"}
    assert [source.role for source in quantize.inputs] == ["checkpoint"]
    assert build.settings == {"device": "auto"} and build.worker == "onnxruntime.build"
    assert verify.record == "verify.json" and verify.inputs[0].step == build.id
    plain = steps_of(home, tiny, precisions=("fp16",))
    assert plain["convert"].settings["dtype"] == "fp16" and plain["quantize:fp16"].none_reason
    assert plain["build:fp16"].inputs[0].step == "convert"


def test_several_precisions_share_a_convert_of_equal_dtype(home: Home, tiny: ModelSpec) -> None:
    steps = steps_of(home, tiny, precisions=("fp32", "int8", "fp16"))
    converts = [step for step in steps.values() if step.kind == "convert"]
    assert [step.settings["dtype"] for step in converts] == ["fp32", "fp16"]
    assert len({step.id for step in converts}) == 2
    assert steps["quantize:int8"].inputs[0].step == converts[0].id
    assert list(steps_of(home, tiny, precisions=("int8", "fp16"), until="convert"))[1:] == [s.id for s in converts]


def test_awq_takes_the_model_and_calibration_text(home: Home, tiny: ModelSpec) -> None:
    step = steps_of(home, tiny, preset="onnx-int4-awq")["quantize:int4"]
    assert [source.role for source in step.inputs] == ["checkpoint", "model", "calibration"]
    assert step.settings["calibration"]["samples"] == find_preset("onnx-int4-awq").calibration.samples
    plain = steps_of(home, tiny)["quantize:int4"]
    assert step.key != plain.key and "calibration" not in plain.settings
    # A seed changes AWQ's scales, and nothing of what is rounded to nearest.
    again = steps_of(home, tiny, "calibration.seed=7", preset="onnx-int4-awq")["quantize:int4"]
    assert again.key != step.key
    assert steps_of(home, tiny, "calibration.seed=7")["quantize:int4"].key == plain.key


def test_a_checkpoint_made_for_one_toolchain_is_the_others_too(home: Home, tiny: ModelSpec) -> None:
    rtx = TensorRtRtx(gpus=tuple)
    preset = apply_overrides(find_preset("trtrtx-fp16"), ["gpu=RTX 4090"])
    versions = {"tensorrt-rtx-cu13-libs": "1.7.1.116"}
    request = request_for(preset, tiny, home, environment=environment("tensorrt_rtx", **versions))
    theirs = {step.id: step for step in rtx.steps(request)}
    ours = steps_of(home, tiny, preset="onnx-fp16")
    assert ours["convert"].key == theirs["convert"].key
    assert ours["convert"].output == theirs["convert"].output
    assert ours["build:fp16"].key != theirs["build:fp16"].key
    other = steps_of(home, tiny, preset="onnx-fp16", environment=environment(transformers="4.57.7"))
    assert other["convert"].key != ours["convert"].key


def test_what_decides_the_engine_changes_its_key_and_runtime_settings_do_not(home: Home, tiny: ModelSpec) -> None:
    key = steps_of(home, tiny)["build:int4"].key
    assert steps_of(home, tiny, "runtime.kv_cache_gib=2", "limits.max_batch_size=3")["build:int4"].key == key
    assert steps_of(home, tiny, "build.flags.device=cpu")["build:int4"].key != key
    assert steps_of(home, tiny, "precision.group_size=16")["build:int4"].key != key
    assert steps_of(home, tiny, digest="1" * 64)["build:int4"].key != key
    assert steps_of(home, tiny, environment=environment(onnxruntime="1.32.0"))["build:int4"].key != key


@pytest.mark.parametrize(
    ("overrides", "precision", "words"),
    [
        ((), "bf16", "no BF16"),
        ((), "fp8", "needs an NVIDIA GPU"),
        ((), "nvfp4", "needs an NVIDIA GPU"),
        ((), "int4_awq", "AWQ is a way to make int4"),
        ((), "fp7", "not a precision"),
        (("precision.method=gptq",), "int4", "GPTQ"),
        (("precision.group_size=256",), "int4", "no group size of 256"),
        (("precision.group_size=-1",), "int4", "no group size of -1"),
        (("precision.group_size=128",), "int4", "does not divide"),
        (("precision.kv_cache=int8",), "int4", "FP32 here"),
        (("build.flags.devise=cpu",), "int4", "no flag"),
        (("build.flags.device=tpu",), "int4", "cannot be"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(
    overrides: tuple[str, ...], precision: str, words: str, home: Home, tiny: ModelSpec
) -> None:
    with pytest.raises((BlockedError, BadInputError), match=words) as caught:
        steps_of(home, tiny, *overrides, precisions=(precision,))
    assert caught.value.failure.evidence
    assert caught.value.failure.fix or precision == "fp7" or "device" in str(overrides)


def test_int4_is_refused_where_no_group_size_divides(home: Home, tiny: ModelSpec) -> None:
    odd = tiny.model_copy(update={"input_channels": (72, 100)})
    with pytest.raises(BlockedError, match="No group size") as caught:
        steps_of(home, odd)
    assert "int8" in caught.value.failure.fix
    assert steps_of(home, odd, precisions=("int8",))["quantize:int8"].worker == "onnx.quantize"


def test_an_engine_for_cuda_wants_the_wheels_and_one_gpu(home: Home, tiny: ModelSpec) -> None:
    chosen = apply_overrides(find_preset("onnx-fp16"), ["build.flags.device=cuda", "parallel.tp=2"])
    found = {advice.code: advice for advice in CPU.advice(request_for(chosen, tiny, home))}
    assert set(found) == {"no-cuda-wheel", "parallel-onnx"} and all(a.level == "block" for a in found.values())
    assert found["no-cuda-wheel"].overrides == ("build.flags.device=cpu",)
    wheels = {"onnxruntime-gpu": "1.31.1", "onnxruntime-genai-cuda": "0.18.0"}
    there = request_for(chosen, tiny, home, environment=environment(**wheels))
    assert {advice.code for advice in CPU.advice(there)} == {"parallel-onnx"}


def test_wheels_for_cuda_stand_for_the_plain_ones() -> None:
    plain = {package.name: "1" for package in CPU.packages if package.required}
    here = Environment("onnxruntime", (sys.executable,), "here")
    assert judged(CPU, here, plain).usable
    for name in ("onnxruntime", "onnxruntime-genai"):
        without = {key: value for key, value in plain.items() if key != name}
        assert judged(CPU, here, without).missing == (name,)
    gpu = {key: value for key, value in plain.items() if not key.startswith("onnxruntime")}
    assert judged(CPU, here, {**gpu, "onnxruntime-gpu": "1", "onnxruntime-genai-cuda": "1"}).usable


def provenance(**result: Any) -> Provenance:
    step = StepRecord(id="build", kind="build", worker="onnxruntime.build", argv=(), seconds=1, key="k", result=result)
    machine = Machine(cpu="x", cpu_identity="x", memory_bytes=1, os="linux")
    return Provenance(
        kind="engine",
        name="tiny",
        key="k",
        created_at=0,
        workbench="0",
        toolchain="onnxruntime",
        precision="int4",
        machine=machine,
        steps=(step,),
        files=(),
    )


def test_the_host_gets_what_it_takes(tmp_path: Path) -> None:
    overrides = ["limits.max_batch_size=3", "limits.max_seq_len=64", "runtime.kv_cache_gib=0.5"]
    preset = apply_overrides(find_preset("onnx-int4"), overrides)
    request = EngineRequest(tmp_path, provenance(device="auto"), environment(), preset)
    start = CPU.host(request)
    assert start.device == "cpu" and start.spec.worker == "onnxruntime.host"
    assert start.spec.inputs == {"engine": str(tmp_path)}
    assert start.spec.settings == {
        "device": "auto",
        "kv_cache_bytes": 2**29,
        "max_batch_size": 3,
        "max_seq_len": 64,
    }
    whole = apply_overrides(preset, ["runtime.chunked_prefill=false"])
    assert CPU.host(EngineRequest(tmp_path, provenance(), environment(), whole)).spec.settings["prefill_chunk"] == 0
    pieces = apply_overrides(preset, ["runtime.max_num_batched_tokens=32"])
    assert CPU.host(EngineRequest(tmp_path, provenance(), environment(), pieces)).spec.settings["prefill_chunk"] == 32


def test_the_engine_is_loaded_on_a_gpu_only_with_its_wheels(tmp_path: Path) -> None:
    gpu = OnnxRuntime(gpus=lambda: (find_gpu("H100 SXM"),))
    preset = find_preset("onnx-fp16")
    wheels = {"onnxruntime-gpu": "1.31.1", "onnxruntime-genai-cuda": "0.18.0"}
    assert gpu.host(EngineRequest(tmp_path, provenance(), environment(), preset)).device == "cpu"
    assert gpu.host(EngineRequest(tmp_path, provenance(), environment(**wheels), preset)).device == "gpu"
    on_cpu = EngineRequest(tmp_path, provenance(device="cpu"), environment(**wheels), preset)
    assert gpu.host(on_cpu).device == "cpu"
    assert CPU.host(EngineRequest(tmp_path, provenance(device="cuda"), environment(), preset)).device == "gpu"

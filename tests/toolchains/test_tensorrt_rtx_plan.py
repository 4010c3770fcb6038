"""Plans of TensorRT-RTX engines: targets, flags, precisions by target, the named GPU's memory, and their host."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.toolchains.gallery_models import gallery_folder
from tests.toolchains.test_onnxruntime_plan import VERSIONS, request_for, tiny
from workbench.core.advice import Advice
from workbench.core.artifact import Machine, Provenance, StepRecord
from workbench.core.errors import BadInputError, BlockedError
from workbench.core.gpu import GpuSpec, find_gpu
from workbench.core.home import Home
from workbench.core.model import ModelSpec, read_model
from workbench.core.plan import Step
from workbench.core.preset import Preset, apply_overrides, find_preset, list_presets
from workbench.toolchains import get, names
from workbench.toolchains.base import EngineRequest, Environment
from workbench.toolchains.planner import Report, check, refuse_blocked
from workbench.toolchains.tensorrt_rtx.targets import plan_targets
from workbench.toolchains.tensorrt_rtx.toolchain import RUNS_ON_RTX, TensorRtRtx

__all__ = ["tiny"]

GALLERY = [p for p in list_presets().presets if p.toolchain == "tensorrt_rtx"]
RTX_4090, HOPPER = find_gpu("RTX 4090"), find_gpu("H100 SXM")


def machine(*gpus: GpuSpec) -> TensorRtRtx:
    return TensorRtRtx(gpus=lambda: gpus)


def steps_of(
    home: Home,
    model: ModelSpec,
    *overrides: str,
    preset: str = "trtrtx-fp16",
    gpus: tuple[GpuSpec, ...] = (),
    **more: Any,
) -> dict[str, Step]:
    chosen = apply_overrides(find_preset(preset), list(overrides))
    request = request_for(chosen, model, home, detected=gpus, **more)
    return {step.id: step for step in machine(*gpus).steps(request)}


def report_of(
    home: Home,
    model: ModelSpec,
    *overrides: str,
    preset: str = "trtrtx-fp16",
    gpus: tuple[GpuSpec, ...] = (),
    **more: Any,
) -> Report:
    chosen = apply_overrides(find_preset(preset), list(overrides))
    return check(machine(*gpus), request_for(chosen, model, home, detected=gpus, **more))


def advice_of(report: Report) -> dict[str, Advice]:
    return {advice.code: advice for advice in report.advice}


def test_the_toolchain_is_one_of_those_there_are() -> None:
    assert "tensorrt_rtx" in names() and get("tensorrt_rtx").title == "TensorRT-RTX"
    assert "not tried on an RTX GPU" in get("tensorrt_rtx").note


@pytest.mark.parametrize("preset", GALLERY, ids=lambda p: p.id)
def test_every_preset_can_be_planned_for_its_gpu(preset: Preset, home: Home, tiny: ModelSpec, tmp_path: Path) -> None:
    gpus = () if preset.gpu or preset.build.flags.get("targets") else (find_gpu("RTX 5090"),)
    model = read_model(gallery_folder(tmp_path, preset.id), require_weights=False) if preset.gpu else tiny
    report = check(machine(*gpus), request_for(preset, model, home, detected=gpus))
    ours = ("gpu-memory", "precision-gpu", "prompt-over-limit", "parallel-onnx")
    assert [a for a in report.advice if a.code in ours] == []
    assert report.elsewhere == () or all(a.code == "no-weights" for a in report.elsewhere)
    assert not preset.unused_settings
    for engine in report.numbers.engines:
        assert engine.gpus == 1 and engine.device


def test_an_engine_is_built_without_a_gpu_for_the_one_that_is_named(home: Home, tiny: ModelSpec) -> None:
    steps = steps_of(home, tiny, "gpu=RTX 4090")
    assert list(steps) == ["check", "convert", "quantize:fp16", "build:fp16", "verify:fp16"]
    assert steps["convert"].settings["dtype"] == "fp16"
    build = steps["build:fp16"]
    assert build.lanes == ("cpu",) and build.output is not None
    assert "sm89" in build.output.path and build.output.kind == "engine"
    assert build.settings == {
        "targets": ["8.9"],
        "profiles": "prefill+decode",
        "opt_prompt": min(512, build.settings["max_seq_len"]),
        "weight_streaming": False,
        "strip_weights": False,
        "optimization_level": None,
        "workspace_gib": None,
        "max_batch_size": 1,
        "max_seq_len": min(tiny.max_positions or 4096, 4096),
    }
    report = report_of(home, tiny, "gpu=RTX 4090")
    assert report.planned_for == "built for compute capability 8.9 (RTX 4090, not present here)"
    assert report.elsewhere == (), "the build needs no GPU"
    refuse_blocked(report)


@pytest.mark.parametrize(
    ("words", "gpus", "wanted"),
    [
        ('["8.9", "8.6", "12.0", "8.9"]', (), ["8.6", "8.9", "12.0"]),
        ("[8.6, 12.0]", (), ["8.6", "12.0"]),
        ("8.9", (), ["8.9"]),
        ("sm_120,86", (), ["8.6", "12.0"]),
        ('["RTX 3090", "rtx 5090"]', (), ["8.6", "12.0"]),
        ('["this", "8.6"]', (RTX_4090,), ["8.6", "8.9"]),
        ("this", (HOPPER, RTX_4090), ["8.9"]),
    ],
)
def test_targets_by_capability_by_name_and_of_this_machine(
    words: str, gpus: tuple[GpuSpec, ...], wanted: list[str], home: Home, tiny: ModelSpec
) -> None:
    steps = steps_of(home, tiny, f"build.flags.targets={words}", gpus=gpus)
    assert steps["build:fp16"].settings["targets"] == wanted


def test_without_targets_the_preset_s_gpu_counts_then_this_machine_s(home: Home, tiny: ModelSpec) -> None:
    assert steps_of(home, tiny, gpus=(RTX_4090,))["build:fp16"].settings["targets"] == ["8.9"]
    named = steps_of(home, tiny, "gpu=RTX 3090", gpus=(RTX_4090,))
    assert named["build:fp16"].settings["targets"] == ["8.6"]
    with pytest.raises(BlockedError, match="No GPU is named") as caught:
        steps_of(home, tiny)
    assert caught.value.failure.code == "no-target" and "build.flags.targets" in caught.value.failure.fix
    # Checkpoints need no target.
    assert list(steps_of(home, tiny, until="quantize", precisions=("int8",))) == ["check", "convert", "quantize:int8"]
    assert report_of(home, tiny, until="convert").blocks == ()


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ("9.0", "9.0 .Hopper."),
        ("H100", "9.0 .Hopper."),
        ("10.0", "10.0 .Blackwell of data centres."),
        ("5.2", "5.2"),
        ("RTX 9999", "not a GPU of the catalogue"),
        ("eight", "not a GPU of the catalogue"),
        ("8.x", "not a compute capability"),
    ],
)
def test_targets_that_cannot_be_are_refused_with_those_that_can(
    words: str, match: str, home: Home, tiny: ModelSpec
) -> None:
    with pytest.raises((BadInputError, BlockedError), match=match) as caught:
        steps_of(home, tiny, f"build.flags.targets={words}")
    said = f"{caught.value.failure.evidence} {caught.value.failure.fix}"
    assert caught.value.failure.code == "bad-gpu-target" and "8.9" in said


def test_this_machine_s_hopper_is_refused(home: Home, tiny: ModelSpec) -> None:
    with pytest.raises(BlockedError, match="Hopper"):
        steps_of(home, tiny, gpus=(HOPPER,))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("build.flags.timing_cache=/tmp/x", "not offered"),
        ("build.flags.profile=one", "no flag"),
        ("build.flags.profiles=three", "cannot be"),
        ("build.flags.opt_prompt=0", "cannot be"),
        ("build.flags.weight_streaming=1", "cannot be"),
        ("build.flags.optimization_level=9", "cannot be"),
        ("build.flags.workspace_gib=-1", "cannot be"),
        ("precision.kv_cache=fp8", "FP16 here"),
    ],
)
def test_flags_that_there_are_not_are_refused(override: str, words: str, home: Home, tiny: ModelSpec) -> None:
    with pytest.raises((BadInputError, BlockedError), match=words) as caught:
        steps_of(home, tiny, "gpu=RTX 4090", override)
    assert caught.value.failure.evidence


@pytest.mark.parametrize(
    ("precision", "targets", "nearest"),
    [
        ("nvfp4", "8.9,12.0", "int4"),
        ("fp8", "8.6,8.9", "int8"),
        ("bf16", "7.5,8.9", "fp16"),
        ("int8", "7.5", "fp16"),
        ("int4", "8.6", ""),
        ("fp8", "8.9", ""),
        ("nvfp4", "12.0", ""),
    ],
)
def test_a_precision_that_a_target_lacks_is_blocked_with_the_nearest_for_all(
    precision: str, targets: str, nearest: str, home: Home, tiny: ModelSpec
) -> None:
    report = report_of(home, tiny, f"build.flags.targets={targets}", precisions=(precision,))
    found = [advice for advice in report.blocks if advice.code == "precision-gpu"]
    if not nearest:
        assert found == []
        return
    assert [advice.overrides for advice in found] == [(f"precision.weights={nearest}",)]
    again = report_of(home, tiny, f"build.flags.targets={targets}", precisions=(nearest,))
    assert "precision-gpu" not in advice_of(again)


def test_what_no_target_has_is_refused(home: Home, tiny: ModelSpec) -> None:
    for name, words in (("int8_sq", "none of these"), ("int4_awq", "way to make int4"), ("fp8_rowwise", "none of")):
        with pytest.raises(BlockedError, match=words):
            steps_of(home, tiny, "gpu=RTX 5090", precisions=(name,))


@pytest.mark.parametrize(
    ("precision", "dtype", "text"),
    [("fp32", "fp32", False), ("bf16", "bf16", False), ("int8", "fp16", False), ("int4", "fp16", False),
     ("fp8", "fp16", True), ("nvfp4", "fp16", True)],
)  # fmt: skip
def test_what_is_computed_in_and_whether_text_is_needed(
    precision: str, dtype: str, text: bool, home: Home, tiny: ModelSpec
) -> None:
    preset = apply_overrides(find_preset("trtrtx-fp16"), [f"precision.weights={precision}"])
    steps = steps_of(home, tiny, "gpu=RTX 5090", precisions=(precision,))
    assert steps["convert"].settings["dtype"] == dtype
    if precision in ("fp32", "bf16"):
        assert steps[f"quantize:{precision}"].none_reason
    else:
        roles = [source.role for source in steps[f"quantize:{precision}"].inputs]
        assert ("calibration" in roles) is text
    assert preset.needs_calibration is text


def test_what_decides_the_engine_changes_its_key(home: Home, tiny: ModelSpec) -> None:
    def key(*overrides: str, **more: Any) -> str:
        return steps_of(home, tiny, "gpu=RTX 4090", *overrides, **more)["build:fp16"].key

    same = key()
    assert key("runtime.kv_cache_gib=2") == same
    assert key("build.flags.targets=8.9") == same, "the GPU by name and its capability are one target"
    for override in (
        "build.flags.targets=8.6",
        "build.flags.profiles=one",
        "build.flags.weight_streaming=true",
        "build.flags.opt_prompt=16",
        "limits.max_seq_len=64",
        "limits.max_batch_size=2",
    ):
        assert key(override) != same, override
    newer = Environment(
        "tensorrt_rtx", (sys.executable,), "here", versions={**VERSIONS, "tensorrt-rtx-cu13-libs": "1.8.0"}
    )
    assert key(environment=newer) != same


def test_advice_on_room(home: Home, tmp_path: Path) -> None:
    model = read_model(gallery_folder(tmp_path, "llama-3.1-8b"), require_weights=False)
    overrides = ("gpu=RTX 4090", "limits.max_seq_len=4096", "precision.weights=fp16")
    found = advice_of(report_of(home, model, *overrides))
    memory = found["gpu-memory"]
    assert memory.level == "warning" and "RTX 4090" in memory.text and memory.overrides
    assert {"two-profiles", "bf16-to-fp16"} <= set(found)
    assert found["two-profiles"].overrides == ("build.flags.profiles=one",)
    # What is advised takes the advice away.
    again = advice_of(report_of(home, model, *overrides, *memory.overrides))
    assert "gpu-memory" not in again
    fp32 = advice_of(report_of(home, model, *overrides[:2], precisions=("fp32",)))["gpu-memory"]
    assert fp32.level == "block" and fp32.estimate_only
    small = advice_of(
        report_of(home, model, "gpu=RTX 5090", "limits.max_seq_len=4096", "build.flags.profiles=one",
                  "build.flags.weight_streaming=true", precisions=("int4",))
    )  # fmt: skip
    assert "streaming-unneeded" in small and "two-profiles" not in small


def test_advice_on_flags(home: Home, tiny: ModelSpec) -> None:
    positions = tiny.max_positions or 0
    found = advice_of(
        report_of(home, tiny, "gpu=RTX 4090", "build.flags.strip_weights=true", "limits.max_seq_len=16",
                  "build.flags.opt_prompt=64", "parallel.tp=2")
    )  # fmt: skip
    assert found["strip-without-gpu"].level == "block"
    assert found["prompt-over-limit"].overrides == ("build.flags.opt_prompt=8",)
    assert found["parallel-onnx"].level == "block"
    with_gpu = advice_of(report_of(home, tiny, "build.flags.strip_weights=true", gpus=(RTX_4090,)))
    assert "strip-without-gpu" not in with_gpu
    longer = advice_of(report_of(home, tiny, "gpu=RTX 4090", f"limits.max_seq_len={positions + 1}"))
    assert longer["profile-too-long"].level == "block" and "sequence-over-model" not in longer
    assert longer["profile-too-long"].overrides == (f"limits.max_seq_len={positions}",)


def test_a_gpu_that_the_provider_passes_over_is_said_before_a_build(home: Home, tiny: ModelSpec) -> None:
    told = advice_of(report_of(home, tiny, "build.flags.targets=7.5,8.9"))["target-without-provider"]
    assert told.level == "warning" and "on 7.5:" in told.text and "8.6, 8.9, 12.0" in told.arithmetic
    assert "target-without-provider" not in advice_of(report_of(home, tiny, "gpu=RTX 4090"))


def test_a_refusal_names_the_gpu_that_is_refused(home: Home, tiny: ModelSpec) -> None:
    with pytest.raises(BlockedError, match="Hopper") as caught:
        steps_of(home, tiny, 'build.flags.targets=["RTX 4090", "H100"]')
    assert caught.value.failure.evidence == "targets = RTX 4090, H100 (H100 SXM)"
    assert "ONNX Runtime or TensorRT-LLM" in caught.value.failure.fix


def test_converts_to_several_types_are_told_apart(home: Home, tiny: ModelSpec) -> None:
    steps = steps_of(home, tiny, "gpu=RTX 4090", precisions=("fp32", "int8"))
    assert [step.title for step in steps.values() if step.kind == "convert"] == ["Convert fp32", "Convert fp16"]
    assert steps_of(home, tiny, "gpu=RTX 4090")["convert"].title == "Convert"


def test_planned_targets_say_whether_they_are_here() -> None:
    preset = apply_overrides(find_preset("trtrtx-fp16"), ["build.flags.targets=8.9,12.0"])
    assert not plan_targets(preset, ()).present and not plan_targets(preset, (HOPPER,)).present
    assert plan_targets(preset, (HOPPER, RTX_4090)).present


def provenance(targets: list[str]) -> Provenance:
    step = StepRecord(
        id="build", kind="build", worker="tensorrt_rtx.build", argv=(), seconds=1, key="k", result={"targets": targets}
    )
    return Provenance(
        kind="engine",
        name="tiny",
        key="k",
        created_at=0,
        workbench="0",
        toolchain="tensorrt_rtx",
        precision="fp16",
        machine=Machine(cpu="x", cpu_identity="x", memory_bytes=1, os="linux"),
        steps=(step,),
        files=(),
    )


@pytest.mark.parametrize(
    ("gpus", "packages", "device"),
    [
        ((), RUNS_ON_RTX, "cpu"),
        ((RTX_4090,), RUNS_ON_RTX, "gpu"),
        ((RTX_4090,), (), "cpu"),
        ((HOPPER,), RUNS_ON_RTX, "cpu"),
        ((find_gpu("RTX 5090"),), RUNS_ON_RTX, "cpu"),
    ],
)
def test_the_host_takes_a_gpu_that_fits_and_else_the_cpu(
    gpus: tuple[GpuSpec, ...], packages: tuple[str, ...], device: str, tmp_path: Path
) -> None:
    environment = Environment("tensorrt_rtx", (sys.executable,), "here", versions=dict.fromkeys(packages, "1"))
    request = EngineRequest(tmp_path, provenance(["8.9"]), environment, find_preset("trtrtx-fp16"))
    start = machine(*gpus).host(request)
    assert start.device == device and start.spec.worker == "onnxruntime.host"
    assert start.spec.settings["device"] == "auto" and start.spec.settings["max_batch_size"] == 1

"""Plans of TensorRT-LLM builds with neither a GPU nor any of its packages: the gallery, steps, keys, environments."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import workbench
from tests.fakes.hf_folders import write_gptq
from tests.fakes.models import make_config_folder, make_tiny_folder
from tests.fakes.places import notes, write_docker
from tests.toolchains.gallery_models import gallery_folder
from workbench.core.errors import BadInputError, BlockedError
from workbench.core.gpu import GpuSpec, find_gpu
from workbench.core.home import Home
from workbench.core.host import read_host
from workbench.core.model import ModelSpec, read_model
from workbench.core.plan import Step
from workbench.core.preset import Preset, apply_overrides, find_preset, list_presets
from workbench.toolchains import get
from workbench.toolchains.base import BuildRequest, Environment
from workbench.toolchains.environments import best_environment, find_environments
from workbench.toolchains.gpus import plan_gpus, visible
from workbench.toolchains.planner import Report, check, make_request, refuse_blocked
from workbench.toolchains.tensorrt_llm.routes import MODELOPT, checkpoint_environment
from workbench.toolchains.tensorrt_llm.runtime import runtime_settings
from workbench.toolchains.tensorrt_llm.toolchain import TensorRtLlm

NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
GALLERY = [p for p in list_presets().presets if p.toolchain == "tensorrt_llm"]


def request_for(
    preset: Preset, model: ModelSpec, home: Home, *, detected: tuple[GpuSpec, ...] = (), **more: Any
) -> BuildRequest:
    toolchain = get("tensorrt_llm")
    return make_request(
        preset,
        model,
        precisions=more.pop("precisions", (preset.precision.weights.value,)),
        home=home,
        environment=more.pop("environment", None) or best_environment(toolchain, home, {}),
        host=read_host(),
        detected=detected,
        **more,
    )


def steps_of(
    home: Home, model: ModelSpec, *overrides: str, preset: str = "trtllm-bf16", **more: Any
) -> dict[str, Step]:
    chosen = apply_overrides(find_preset(preset), list(overrides))
    request = request_for(chosen, model, home, digest="0" * 64, **more)
    return {step.id: step for step in get("tensorrt_llm").steps(request)}


@pytest.fixture
def tiny(tmp_path: Path) -> ModelSpec:
    return read_model(make_tiny_folder(tmp_path / "tiny"))


# --- the gallery


@pytest.mark.parametrize("preset", GALLERY, ids=lambda preset: preset.id)
def test_every_preset_passes_check_for_its_gpu(preset: Preset, home: Home, tmp_path: Path) -> None:
    model = read_model(gallery_folder(tmp_path, preset.id), require_weights=False)
    if preset.speculative.mode in ("medusa", "eagle"):  # no preset knows where trained heads lie
        with pytest.raises(BlockedError, match="heads that guess are not named"):
            refuse_blocked(check(get("tensorrt_llm"), request_for(preset, model, home)), planning=True)
        (tmp_path / "heads").mkdir()
        (tmp_path / "heads" / "config.json").write_text("{}")
        preset = apply_overrides(preset, [f"speculative.draft={tmp_path / 'heads'}"])
    report = check(get("tensorrt_llm"), request_for(preset, model, home))
    refuse_blocked(report, planning=True)
    assert [a for a in report.advice if a.level != "hint"] == []
    told = {a.code for a in report.advice}
    named = not preset.id.startswith("trtllm-")  # those for any model set no sequence limit
    assert told <= {"host-memory", "precision-unproven", "draft-target-elsewhere"} | (
        set() if named else {"batch-over-pool"}
    )
    engine = report.numbers.engines[0]
    assert engine.gpus == preset.gpus and engine.total.high <= engine.memory_bytes
    assert engine.device == (preset.gpu or "H100 SXM") and engine.device in report.planned_for
    assert "not present here" in report.planned_for
    with pytest.raises(BlockedError, match="not in this machine"):
        refuse_blocked(report)


def test_the_gallery_is_what_a_lab_would_use() -> None:
    assert {p.gpu for p in GALLERY} >= {
        "RTX 4090", "RTX 6000 Ada", "A100 80GB", "H100 SXM", "H200", "B200", "RTX 5090",
    }  # fmt: skip
    assert {p.precision.weights.value for p in GALLERY} >= {
        "bf16", "fp16", "fp8", "int8_sq", "int4_awq", "w4a8_awq", "nvfp4",
    }  # fmt: skip
    assert {p.goal for p in GALLERY} == {"latency", "throughput", "memory", "multi-gpu"}
    assert {p.gpus for p in GALLERY if p.id.startswith("llama-3.3-70b")} >= {1, 2, 4, 8}
    families = Counter(p.id.split("-")[0] for p in GALLERY)
    assert set(families) == {"trtllm", "llama", "qwen2.5", "mistral", "gemma", "phi", "mixtral"}
    assert all(p.description and p.title for p in GALLERY)
    assert {"trtllm-bf16", "llama-3.1-8b-fp8-h100"} <= {p.id for p in GALLERY}


# --- steps and keys


def test_full_precision_is_converted_and_not_quantized(home: Home, tiny: ModelSpec) -> None:
    steps = steps_of(home, tiny)
    assert [s.kind for s in steps.values()] == ["check", "convert", "quantize", "verify", "build"]
    assert steps["quantize:bf16"].none_reason and not steps["convert:bf16"].none_reason
    assert steps["convert:bf16"].settings == {
        "precision": "bf16", "dtype": "bf16", "tp": 1, "pp": 1, "trust_remote_code": False, "device": "cpu",
    }  # fmt: skip
    verify = steps["verify:bf16"]
    assert verify.record == "verify.json" and verify.inputs[0].step == "convert:bf16"
    assert steps["build:bf16"].inputs[0].step == "convert:bf16"
    assert steps["build:bf16"].settings["argv_flags"]["max_seq_len"] == 256, "the model's own, said"


def test_quantized_precisions_start_from_the_model_folder(home: Home, tiny: ModelSpec) -> None:
    steps = steps_of(home, tiny, preset="trtllm-int4-awq")
    assert steps["convert:int4_awq"].none_reason
    quantize = steps["quantize:int4_awq"]
    assert [i.role for i in quantize.inputs] == ["model", "calibration"]
    assert quantize.settings["group_size"] == "auto" and quantize.settings["calibration"]["samples"] == 128
    assert quantize.settings["device"] == "cpu" and quantize.lanes == ("cpu",)
    assert quantize.env["CUDA_VISIBLE_DEVICES"] == ""
    assert steps["verify:int4_awq"].inputs[0].step == "quantize:int4_awq"
    weight_only = steps_of(home, tiny, "precision.weights=int8")
    assert weight_only["convert:int8"].settings["precision"] == "int8" and weight_only["quantize:int8"].none_reason
    cache = steps_of(home, tiny, "precision.kv_cache=fp8")
    assert cache["convert:bf16"].none_reason and cache["quantize:bf16"].settings["kv_cache"] == "fp8"
    mixed = steps_of(home, tiny, "precision.effective_bits=6", preset="trtllm-fp8")
    assert mixed["quantize:fp8"].settings["auto_quantize_bits"] == 6.0


def test_until_stops_there(home: Home, tiny: ModelSpec) -> None:
    def kinds(until: str, preset: str = "trtllm-fp8") -> list[str]:
        steps = steps_of(home, tiny, preset=preset, until=until)
        return [s.kind for s in steps.values() if not s.none_reason]

    assert kinds("check") == ["check"]
    assert kinds("convert") == ["check", "convert", "verify"]
    assert kinds("quantize") == ["check", "quantize", "verify"]
    assert kinds("build") == ["check", "quantize", "verify", "build"]
    converted = steps_of(home, tiny, preset="trtllm-fp8", until="convert")["convert:fp8"]
    assert converted.settings["precision"] == "bf16", "asked to convert alone, the model keeps its own dtype"
    off = steps_of(home, tiny, "verify.enabled=false")
    assert "verify:bf16" not in off


def test_the_folder_that_was_named_is_the_last_one_made(home: Home, tiny: ModelSpec, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    one = steps_of(home, tiny, preset="trtllm-fp8", out=out)
    assert one["build:fp8"].output and one["build:fp8"].output.path == str(out) and one["build:fp8"].output.chosen
    assert one["quantize:fp8"].output and not one["quantize:fp8"].output.chosen
    two = steps_of(home, tiny, out=out, precisions=("bf16", "fp8"), until="quantize")
    paths = {s.id: s.output.path for s in two.values() if s.output and s.output.chosen}
    assert paths == {"convert:bf16": str(out / "bf16"), "quantize:fp8": str(out / "fp8")}


def test_keys_change_with_what_decides_the_output_and_only_with_that(home: Home, tiny: ModelSpec) -> None:
    def keys(*overrides: str, **more: Any) -> dict[str, str]:
        return {s.id: s.key for s in steps_of(home, tiny, *overrides, preset="trtllm-fp8", **more).values() if s.key}

    plain = keys()
    assert set(plain) == {"quantize:fp8", "verify:fp8", "build:fp8"} and all(len(k) == 64 for k in plain.values())

    def changed(*overrides: str, **more: Any) -> set[str]:
        return {name.split(":")[0] for name, key in keys(*overrides, **more).items() if key != plain[name]}

    assert changed() == set()
    assert changed("runtime.kv_fraction=0.5", "runtime.scheduler_policy=max_utilization") == set(), "load alone"
    assert changed("limits.max_batch_size=8") == {"build"}
    assert changed("build.flags.gemm_plugin=auto") == {"build"}
    assert changed("build.flags.workers=1", "build.flags.log_level=verbose") == set(), "how, not what"
    assert changed("gpu=L40S") == {"build"}, "a checkpoint is good for any GPU, an engine for one kind"
    assert changed("calibration.samples=64") == {"quantize", "verify", "build"}
    assert changed("precision.group_size=32") == set(), "nothing to FP8"
    assert changed("parallel.tp=2") == {"quantize", "verify", "build"}
    assert changed("verify.min_agreement=0.5") == {"verify"}
    assert changed(detected=(find_gpu("H100"),)) == {"quantize", "verify", "build"}, "made on CUDA"


def test_lanes_are_the_gpus_that_are_used(home: Home, tiny: ModelSpec) -> None:
    here = tuple(find_gpu("H100").model_copy(update={"index": n}) for n in (2, 3))
    steps = steps_of(home, tiny, "parallel.tp=2", preset="trtllm-fp8", detected=here)
    assert steps["quantize:fp8"].lanes == ("gpu:2",) and steps["quantize:fp8"].settings["device"] == "cuda"
    assert steps["build:fp8"].lanes == ("gpu:2", "gpu:3") and steps["build:fp8"].settings["workers"] == 2
    assert steps["build:fp8"].env["CUDA_VISIBLE_DEVICES"] == "2,3"
    one = steps_of(home, tiny, "parallel.tp=2", "build.flags.workers=1", preset="trtllm-fp8", detected=here)
    assert one["build:fp8"].lanes == ("gpu:2",) and "workers" not in one["build:fp8"].settings["argv_flags"]
    assert steps["verify:fp8"].lanes == ("gpu:2",), "the model fits on one"


def test_models_that_no_engine_can_be_made_of_are_refused(home: Home, tmp_path: Path) -> None:
    odd = make_config_folder(tmp_path / "odd", architectures=["Olmo2ForCausalLM"])
    with pytest.raises(BlockedError, match="no engine for the architecture"):
        steps_of(home, read_model(odd, require_weights=False))
    falcon = read_model(make_config_folder(tmp_path / "falcon", "falcon"), require_weights=False)
    with pytest.raises(BlockedError, match="does not know FalconForCausalLM") as caught:
        steps_of(home, falcon, preset="trtllm-fp8")
    assert "precision.weights to bf16" in caught.value.fix
    with pytest.raises(BlockedError, match="does not know"):
        steps_of(home, falcon, "model.converter=modelopt")
    with pytest.raises(BadInputError, match="not a precision"):
        steps_of(home, read_model(make_tiny_folder(tmp_path / "t")), precisions=("int3",))


# --- who makes the checkpoint

FULL = {"python": "3.12", **{p.name: "1" for p in (*TensorRtLlm.packages, *MODELOPT.packages)}, "tensorrt-llm": "1.2.1"}


def environments(modelopt: bool, engine: bool) -> Environment:
    """Both interpreters, each usable or not; TensorRT-LLM's has no ModelOpt in it."""
    own = {name: version for name, version in FULL.items() if name != "nvidia-modelopt"}
    first = Environment("modelopt", ("/m/python",), "", FULL, () if modelopt else ("nvidia-modelopt",))
    return Environment("tensorrt_llm", ("/t/python",), "", own, () if engine else ("tensorrt-llm",),
                       others={"modelopt": first})  # fmt: skip


def test_the_converter_is_a_choice_with_a_reason(home: Home, tiny: ModelSpec, tmp_path: Path) -> None:
    def converted(
        model: ModelSpec, *overrides: str, modelopt: bool = True, engine: bool = True
    ) -> tuple[str, str, str]:
        step = steps_of(home, model, *overrides, environment=environments(modelopt, engine))["convert:bf16"]
        return step.worker, step.argv[0], step.note

    assert converted(tiny) == ("modelopt.convert", "/m/python", "ModelOpt: it needs no GPU and no TensorRT-LLM")
    worker, python, why = converted(tiny, "model.converter=tensorrt_llm")
    assert (worker, python) == ("trtllm.convert", "/t/python") and "model.converter" in why
    worker, python, why = converted(tiny, modelopt=False)
    assert (worker, python) == ("trtllm.convert", "/t/python") and "no interpreter here holds ModelOpt" in why
    assert converted(tiny, modelopt=False, engine=False)[0] == "modelopt.convert", "the one that is easier to install"
    assert converted(tiny, "model.converter=modelopt", modelopt=False)[0] == "modelopt.convert"
    falcon = read_model(make_config_folder(tmp_path / "falcon", "falcon"), require_weights=False)
    worker, python, why = converted(falcon)
    assert (worker, python) == ("trtllm.convert", "/t/python") and "does not know Falcon" in why
    steps = steps_of(home, falcon, environment=environments(True, True))
    assert "no reference model" in steps["verify:bf16"].none_reason
    assert "does not know Falcon" in steps_of(home, falcon, environment=environments(False, False))["convert:bf16"].note


def test_the_other_converter_changes_the_key_and_where_verify_runs(home: Home, tiny: ModelSpec) -> None:
    both = environments(True, True)
    first = steps_of(home, tiny, environment=both)
    second = steps_of(home, tiny, "model.converter=tensorrt_llm", environment=both)
    assert {first[name].key for name in first if first[name].key}.isdisjoint(s.key for s in second.values() if s.key)
    assert second["verify:bf16"].argv[0] == "/t/python"
    assert second["convert:bf16"].settings["why"] == second["convert:bf16"].note
    assert "why" not in second["convert:bf16"].key_facts["settings"], "the reason is no part of what is made"
    quantized = steps_of(home, tiny, "model.converter=tensorrt_llm", preset="trtllm-fp8", environment=both)
    assert quantized["quantize:fp8"].worker == "modelopt.quantize" and "only copied" in quantized["quantize:fp8"].note
    here = tuple(find_gpu("H100").model_copy(update={"index": 2}) for _ in range(1))
    on_gpu = steps_of(home, tiny, "model.converter=tensorrt_llm", environment=both, detected=here)["convert:bf16"]
    assert on_gpu.lanes == ("gpu:2",) and on_gpu.env["CUDA_VISIBLE_DEVICES"] == "2"


def test_only_what_the_steps_use_must_be_there(home: Home, tiny: ModelSpec) -> None:
    def blocks(*overrides: str, modelopt: bool, engine: bool, until: str = "convert") -> list[str]:
        preset = apply_overrides(find_preset("trtllm-bf16"), list(overrides))
        request = request_for(preset, tiny, home, environment=environments(modelopt, engine), until=until)
        return [a.text for a in check(get("tensorrt_llm"), request).blocks]

    assert blocks(modelopt=True, engine=False) == [] == blocks(modelopt=False, engine=True)
    assert blocks(modelopt=False, engine=False) == ["No interpreter here holds NVIDIA ModelOpt."]
    lacking = blocks("model.converter=tensorrt_llm", modelopt=True, engine=False)
    assert lacking == ["No interpreter here holds TensorRT-LLM."]


def test_gptq_folders_go_through_tensorrt_llm_alone(home: Home, tmp_path: Path) -> None:
    model = read_model(write_gptq(tmp_path / "gptq"))
    steps = steps_of(home, model, preset="trtllm-int4-gptq", environment=environments(True, True))
    convert = steps["convert:int4_gptq"]
    assert convert.worker == "trtllm.convert" and convert.settings["precision"] == "int4_gptq"
    assert "alone reads GPTQ" in convert.note and steps["quantize:int4_gptq"].none_reason
    assert "nothing here reads back" in steps["verify:int4_gptq"].none_reason
    assert steps["build:int4_gptq"].inputs[0].step == "convert:int4_gptq"
    for overrides, preset, words in (
        ((), "trtllm-bf16", "quantized already"),
        ((), "trtllm-fp8", "quantized already"),
        (("model.converter=modelopt",), "trtllm-int4-gptq", "cannot read a GPTQ folder"),
        (("precision.kv_cache=fp8",), "trtllm-int4-gptq", "no 8-bit KV cache"),
    ):
        with pytest.raises(BlockedError, match=words) as caught:
            steps_of(home, model, *overrides, preset=preset)
        assert caught.value.fix
    ordered = read_model(write_gptq(tmp_path / "ordered", desc_act=True))
    with pytest.raises(BlockedError, match="act-order"):
        steps_of(home, ordered, preset="trtllm-int4-gptq")
    plain = read_model(make_tiny_folder(tmp_path / "plain"))
    report = check(get("tensorrt_llm"), request_for(find_preset("trtllm-int4-gptq"), plain, home))
    assert [(a.code, a.overrides) for a in report.blocks] == [("no-route", ("precision.weights=int4_awq",))]


def test_what_modelopt_would_refuse_is_told_by_check(home: Home, tiny: ModelSpec) -> None:
    both = environments(True, True)

    def blocks(preset: str, *overrides: str, **more: Any) -> list[str]:
        chosen = apply_overrides(find_preset(preset), list(overrides))
        return [
            a.code for a in check(get("tensorrt_llm"), request_for(chosen, tiny, home, environment=both, **more)).blocks
        ]

    assert blocks("trtllm-int4-awq") == []
    assert blocks("trtllm-int4-awq", "precision.group_size=16") == ["group-size"]
    assert blocks("trtllm-fp8", "precision.effective_bits=9") == []
    assert blocks("trtllm-fp8", "precision.effective_bits=5") == ["effective-bits"]
    assert blocks("trtllm-fp8", "precision.effective_bits=5", until="convert") == []
    assert blocks("trtllm-int8-sq", "gpu=A100", "precision.effective_bits=9") == ["effective-bits"]


def test_flags_are_judged_before_anything_starts(home: Home, tiny: ModelSpec) -> None:
    with pytest.raises(BadInputError, match="max_output_len"):
        steps_of(home, tiny, "build.flags.max_output_len=128")

    def codes(*overrides: str, preset: str = "trtllm-fp8") -> dict[str, str]:
        chosen = apply_overrides(find_preset(preset), list(overrides))
        return {a.code: a.level for a in check(get("tensorrt_llm"), request_for(chosen, tiny, home)).advice}

    on_blackwell = codes("build.flags.gemm_swiglu_plugin=fp8", "gpu=B200")
    assert "block" in on_blackwell.values(), "refused on compute capability 10.0"
    assert codes("precision.weights=fp32", preset="trtllm-bf16")["no-route"] == "block"


def test_host_settings_follow_the_preset() -> None:
    plain = runtime_settings(find_preset("trtllm-fp8"))
    assert plain["enable_chunked_context"] is True and plain["scheduler_policy"] == "auto"
    assert not {"kv_cache_free_gpu_memory_fraction", "kv_blocks", "host_cache_size"} & set(plain), "the host decides"
    overrides = [
        "runtime.kv_blocks=100", "runtime.host_cache_gib=2", "runtime.scheduler_policy=max_utilization",
        "runtime.chunked_prefill=false", "runtime.max_num_batched_tokens=1024",
    ]  # fmt: skip
    settings = runtime_settings(apply_overrides(find_preset("trtllm-fp8"), overrides))
    assert settings["kv_blocks"] == 100 and settings["host_cache_size"] == 2 * 2**30
    assert settings["scheduler_policy"] == "max_utilization" and settings["enable_chunked_context"] is False
    assert settings["max_num_tokens"] == 1024


# --- GPUs to plan for


def gpus(name: str, count: int, first: int = 0) -> tuple[GpuSpec, ...]:
    return tuple(find_gpu(name).model_copy(update={"index": first + n}) for n in range(count))


def test_this_machines_gpus_come_before_the_catalogues() -> None:
    preset = find_preset("llama-3.1-8b-fp8-h100")
    absent = plan_gpus(preset, ())
    assert not absent.present and absent.words == "planned for H100 SXM (not present here)"
    other = plan_gpus(preset, gpus("RTX 4090", 1))
    assert other.present and other.gpus[0].name == "RTX 4090" and "meant for H100 SXM" in other.words
    both = plan_gpus(preset, (*gpus("RTX 4090", 1), *gpus("H100", 1, 1)))
    assert [g.index for g in both.gpus] == [1], "the kind that the preset names"
    wide = find_preset("llama-3.3-70b-bf16-8xh200")
    few = plan_gpus(wide, gpus("RTX 4090", 2))
    assert not few.present and len(few.gpus) == 8 and few.gpus[0].name == "H200" and "2 x RTX 4090 here" in few.words
    mixed = apply_overrides(find_preset("trtllm-bf16"), ["parallel.tp=2"])
    assert not plan_gpus(mixed, (*gpus("RTX 4090", 1), *gpus("L40S", 1, 1))).present, "an engine wants equal GPUs"


def test_visible_gpus_as_cuda_reads_the_variable() -> None:
    three = tuple(g.model_copy(update={"uuid": f"GPU-{g.index}abc"}) for g in gpus("H100", 3))
    assert visible(three, None) == three and visible(three, "") == () and visible(three, "-1") == ()
    assert [g.index for g in visible(three, "2,0")] == [2, 0]
    assert [g.index for g in visible(three, "1,9,0")] == [1], "the list ends at what names no GPU"
    assert [g.index for g in visible(three, "GPU-1abc")] == [1]


# --- through the real command


@pytest.mark.slow
def test_check_and_dry_run_answer_without_a_gpu_and_build_is_refused(home: Home, tmp_path: Path) -> None:
    folder = str(make_tiny_folder(tmp_path / "tiny"))
    ran = workbench("check", "llama-3.1-8b-fp8-h100", "--model", folder, env=NO_GPU)
    assert ran.code == 0 and "planned for H100 SXM (not present here)" in ran.out, ran.err
    assert "not here:" in ran.out
    as_json = workbench("check", "trtllm-bf16", "--model", folder, "--json", env=NO_GPU)
    assert as_json.code == 0 and {a["code"] for a in as_json.json["elsewhere"]} >= {"no-gpu"}
    dry = workbench("build", "trtllm-fp8", "--model", folder, "--dry-run", "--json", env=NO_GPU)
    assert dry.code == 0 and dry.json["planned_for"].startswith("planned for H100 SXM")
    assert [s["kind"] for s in dry.json["steps"]] == ["check", "convert", "quantize", "verify", "build"]
    refused = workbench("build", "trtllm-fp8", "--model", folder, env=NO_GPU)
    assert refused.code == 3 and "not in this machine" in refused.err and "--until quantize" in refused.err
    assert not list(home.jobs.iterdir())
    wrong = workbench("check", "trtllm-fp8", "--model", folder, "--set", "gpu=A100", env=NO_GPU)
    assert wrong.code == 3 and "8.9" in wrong.err and "precision.weights=int8_sq" in wrong.out


# --- environments


def write_distribution(folder: Path, name: str, version: str) -> None:
    place = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def own_environment(home: Home) -> Environment:
    return find_environments(get("tensorrt_llm"), home, {})[-1]


@pytest.mark.parametrize(
    ("version", "usable"), [("1.2.1", True), ("1.2.0rc6", True), ("1.3.0rc1", False), ("1.1.0", False), ("2.0", False)]
)
def test_only_1_2_builds_engines(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, usable: bool
) -> None:
    for name, its in (("tensorrt-llm", version), ("torch", "2.9.1"), ("transformers", "4.57.3")):
        write_distribution(tmp_path / "site", name, its)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    found = own_environment(home)
    assert found.versions["tensorrt-llm"] == version and found.usable is usable, found.lacks
    if version > "1.3":
        assert "upstream has removed" in found.problem and version in found.problem


def test_where_modelopts_interpreter_lacks_tensorrt_llms_serves() -> None:
    full = {p.name: "1" for p in (*TensorRtLlm.packages, *MODELOPT.packages)}
    lacking = Environment("modelopt", ("/m/python",), "", {"python": "3.10"}, ("nvidia-modelopt",))
    usable = Environment("modelopt", ("/m/python",), "", full)
    engine = Environment("tensorrt_llm", ("/t/python",), "", full, worker_path="/w", others={"modelopt": lacking})
    served = checkpoint_environment(engine)
    assert served.prefix == ("/t/python",) and served.usable and served.worker_path == "/w"
    both = Environment("tensorrt_llm", ("/t/python",), "", full, others={"modelopt": usable})
    assert checkpoint_environment(both).prefix == ("/m/python",)
    bare = Environment("tensorrt_llm", ("/t/python",), "", {}, ("tensorrt-llm",), others={"modelopt": lacking})
    assert checkpoint_environment(bare) is lacking


def test_an_interpreter_behind_a_prefix_is_asked(home: Home, tmp_path: Path) -> None:
    program = write_docker(tmp_path / "programs")
    environ = {"WORKBENCH_MODELOPT_PREFIX": f"{program} run -i --rm --gpus all image {sys.executable}"}
    for _ in range(2):
        found = find_environments(MODELOPT, home, environ)[0]
        assert found.origin == "named by WORKBENCH_MODELOPT_PREFIX" and not found.problem, found.problem
        assert found.versions["pydantic"].startswith("2.")
    asked = [line for line in notes(tmp_path / "programs") if line.startswith("docker run")]
    assert len(asked) == 1, "the second answer is from the cache"
    gone = find_environments(MODELOPT, home, {"WORKBENCH_MODELOPT_PREFIX": "/no/docker run image python3"})[0]
    assert gone.problem and not gone.usable and "ends with the interpreter" not in gone.problem
    bare = find_environments(MODELOPT, home, {"WORKBENCH_MODELOPT_PREFIX": "/no/ssh gpu1"})[0]
    assert "a prefix ends with the interpreter" in bare.problem
    with pytest.raises(BadInputError, match="not a command line"):
        find_environments(MODELOPT, home, {"WORKBENCH_MODELOPT_PREFIX": "docker run 'image"})


def test_all_that_a_step_reads_is_mounted_in_a_container(home: Home, tiny: ModelSpec) -> None:
    argv = ("docker", "run", "-i", "--rm", "--gpus", "all", "image", "python3")
    inside = Environment("tensorrt_llm", argv, "", FULL, worker_path=str(home.cache / "code"))
    for step in steps_of(home, tiny, preset="trtllm-fp8", environment=inside).values():
        mounts = [Path(step.argv[n + 1].split(":")[0]) for n, word in enumerate(step.argv) if word == "-v"]
        named = [i.path for i in step.inputs if i.path]
        named += [v for v in step.settings.values() if isinstance(v, str) and v.startswith("/")]
        named += [step.output.path] if step.output else []
        for path in named if step.argv else ():
            assert any(Path(path).is_relative_to(mount) for mount in mounts), (step.id, path)


def test_checkpoints_need_modelopt_alone(home: Home, tiny: ModelSpec) -> None:
    lacking = Environment("modelopt", ("/no/python",), "", {}, ("nvidia-modelopt",))
    both = Environment("tensorrt_llm", ("/no/python",), "", {}, ("tensorrt-llm",), others={"modelopt": lacking})

    def report(until: str | None, detected: tuple[GpuSpec, ...] = ()) -> Report:
        preset = find_preset("trtllm-bf16")
        return check(
            get("tensorrt_llm"),
            request_for(preset, tiny, home, environment=both, detected=detected, until=until),
        )

    convert = report("convert")
    assert [a.text for a in convert.blocks] == ["No interpreter here holds NVIDIA ModelOpt."]
    assert not convert.elsewhere, "without a GPU a checkpoint can be made"
    assert "WORKBENCH_MODELOPT_PYTHON" in convert.blocks[0].fix
    here = report(None, gpus("H100", 1))
    assert [a.code for a in here.blocks] == ["no-environment", "no-environment"]
    assert {a.code for a in report(None).elsewhere} == {"no-gpu", "no-environment"} and not report(None).blocks
    assert not report("check").elsewhere or report("check").elsewhere[0].code == "no-gpu"

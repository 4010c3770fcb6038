"""Preflight and advice on GPU engines: the arithmetic, and that each fix that is offered makes its advice go away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fakes.models import LLAMA_70B, make_config_folder, make_weightless_folder
from workbench.core.advice import Advice, Situation, advise
from workbench.core.errors import BadInputError
from workbench.core.gpu import CATALOGUE, GpuSpec, find_gpu
from workbench.core.host import HostSpec
from workbench.core.model import ModelSpec, read_model
from workbench.core.plan import Step, StepKind
from workbench.core.precision import Precision
from workbench.core.preflight import preflight
from workbench.core.preflight_gpu import gpu_engine, kv_fraction
from workbench.core.preset import Preset, apply_overrides, preset_from_data

GIB = 2**30


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    return read_model(make_weightless_folder(tmp_path_factory.mktemp("m") / "Llama-8B"))


@pytest.fixture(scope="module")
def llama_70b(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    folder = make_config_folder(tmp_path_factory.mktemp("m") / "Llama-70B", **LLAMA_70B)
    return read_model(folder, require_weights=False)


def preset(*overrides: str, weights: str = "bf16", goal: str = "throughput") -> Preset:
    data = {"schema": 1, "title": "t", "goal": goal, "toolchain": "tensorrt_llm", "precision": {"weights": weights}}
    return apply_overrides(preset_from_data(data), ["limits.max_seq_len=4096", *overrides])


def host(memory: int = 512 * GIB) -> HostSpec:
    return HostSpec(
        cpu_name="a CPU", physical_cores=8, logical_cores=16, usable_cores=16, isa=(), memory_total_bytes=memory
    )


def situation(
    model: ModelSpec,
    chosen: Preset,
    gpu: str | GpuSpec,
    memory: int = 512 * GIB,
    steps: tuple[Step, ...] = (),
    elsewhere: bool = False,
) -> Situation:
    spec = find_gpu(gpu) if isinstance(gpu, str) else gpu
    gpus = (spec,) * chosen.gpus
    precisions = (chosen.precision.weights,)
    numbers = preflight(chosen, model, precisions, steps, host(memory), gpus)
    return Situation(chosen, model, precisions, host(memory), numbers, 10**13, gpus, elsewhere)


def found(s: Situation, code: str) -> Advice | None:
    return next((a for a in advise(s) if a.code == code), None)


# --- preflight


def test_parts_of_one_gpu_are_arithmetic(llama: ModelSpec) -> None:
    engine = gpu_engine(preset(), llama, Precision.BF16, (find_gpu("H100"),))
    # 8.03 B parameters x 2 B; embedding and head are two matrices of their own here already.
    assert engine.part("weights").covers(2 * llama.parameters)
    assert engine.kv_bytes_per_token.low == 2 * 32 * 8 * 128 * 2
    fixed = sum(p.bytes.high for p in engine.parts if p.name != "KV pool")
    assert engine.kv_pool_bytes == pytest.approx(0.9 * (CATALOGUE["H100 SXM"].memory_bytes - fixed), rel=1e-6)
    assert engine.capacity.tokens.low == engine.kv_pool_bytes // engine.kv_bytes_per_token.high
    assert engine.total.high <= engine.memory_bytes


def test_tensor_and_pipeline_parallel_share_weights_and_cache(llama_70b: ModelSpec) -> None:
    def engine(tp: int, pp: int) -> Any:
        gpus = (find_gpu("H200"),) * (tp * pp)
        return gpu_engine(preset(f"parallel.tp={tp}", f"parallel.pp={pp}"), llama_70b, Precision.BF16, gpus)

    one, eight, sixteen = engine(1, 1), engine(8, 1), engine(16, 1)
    assert eight.part("weights").low == pytest.approx(one.part("weights").low / 8, rel=0.01)
    assert eight.kv_bytes_per_token.low * 8 == one.kv_bytes_per_token.low
    # 8 KV heads: from tp 8 on every GPU needs one whole, so a token costs a GPU no less.
    assert sixteen.kv_bytes_per_token == eight.kv_bytes_per_token
    assert any("KV heads" in note for note in sixteen.notes) and not any("KV heads" in n for n in eight.notes)
    staged = engine(2, 4)
    assert staged.kv_bytes_per_token.low * 8 == one.kv_bytes_per_token.low
    assert staged.gpus == 8 and one.gpus == 1


def test_a_display_leaves_more_free(llama: ModelSpec) -> None:
    plain = find_gpu("H100")
    assert kv_fraction(preset(), (plain,)) == 0.9
    assert kv_fraction(preset(), (plain.model_copy(update={"drives_display": True}),)) == 0.8
    assert kv_fraction(preset(), (find_gpu("RTX 4090"),)) == 0.8
    assert kv_fraction(preset(), (find_gpu("RTX 4090").model_copy(update={"drives_display": False}),)) == 0.9
    assert kv_fraction(preset("runtime.kv_fraction=0.5"), (plain,)) == 0.5
    busy = plain.model_copy(update={"memory_used_bytes": 10 * GIB})
    less = gpu_engine(preset(), llama, Precision.BF16, (busy,))
    more = gpu_engine(preset(), llama, Precision.BF16, (plain,))
    assert more.kv_pool_bytes - less.kv_pool_bytes == pytest.approx(0.9 * 10 * GIB, rel=1e-6)


def test_sizes_of_the_pool_by_hand(llama: ModelSpec) -> None:
    gib = gpu_engine(preset("runtime.kv_cache_gib=4"), llama, Precision.BF16, (find_gpu("H100"),))
    assert gib.kv_pool_bytes == 4 * GIB
    blocks = gpu_engine(preset("runtime.kv_blocks=100"), llama, Precision.BF16, (find_gpu("H100"),))
    assert blocks.capacity.tokens.low == 3200
    wide = preset("runtime.kv_blocks=100", "build.flags.tokens_per_block=64")
    assert gpu_engine(wide, llama, Precision.BF16, (find_gpu("H100"),)).capacity.tokens.low == 6400


def test_no_gpu_is_said(llama: ModelSpec) -> None:
    with pytest.raises(BadInputError, match="without a GPU"):
        gpu_engine(preset(), llama, Precision.BF16, ())


# --- advice: what brings each rule up, on which GPU, and that its overrides end it

CASES: list[tuple[str, str, list[str], str, str]] = [
    # code, weights, overrides, GPU, goal
    ("precision-gpu", "fp8", [], "A100", "throughput"),
    ("precision-gpu", "nvfp4", [], "H100", "throughput"),
    ("precision-gpu", "int4_awq", [], "B200", "throughput"),
    ("precision-gpu", "int8_sq", [], "B200", "throughput"),
    ("precision-gpu", "int8", [], "B200", "throughput"),
    ("precision-gpu", "w4a8_awq", [], "A100", "throughput"),
    ("kv-gpu", "bf16", ["precision.kv_cache=fp8"], "A100", "throughput"),
    ("kv-gpu", "bf16", ["precision.kv_cache=int8"], "B200", "throughput"),
    ("parallel-size", "bf16", ["parallel.tp=3"], "H100", "throughput"),
    ("parallel-size", "bf16", ["parallel.pp=5"], "H100", "throughput"),
    ("gpu-memory", "bf16", [], "RTX 4080", "throughput"),
    ("gpu-memory", "bf16", ["runtime.kv_cache_gib=20"], "RTX 4090", "throughput"),
    ("batch-over-pool", "bf16", ["limits.max_batch_size=500"], "H100", "throughput"),
    ("sequence-over-pool", "bf16", ["limits.max_seq_len=131072", "limits.max_input_len=100000"], "RTX 4090", "latency"),
    ("sequence-over-model", "bf16", ["limits.max_seq_len=200000"], "H100", "throughput"),
    ("token-limit-small", "bf16", ["limits.max_num_tokens=100", "limits.max_batch_size=64"], "H100", "throughput"),
    ("token-limit-below-input", "bf16",
     ["limits.max_num_tokens=2048", "runtime.chunked_prefill=false"], "H100", "throughput"),
    ("token-limit-below-input", "bf16",
     ["limits.max_num_tokens=2048", "runtime.chunked_prefill=false", "precision.kv_cache=int8"], "A100", "throughput"),
    ("token-limit-large", "bf16", ["limits.max_num_tokens=65536"], "A100", "throughput"),
    ("no-paged-context", "bf16", ["precision.kv_cache=int8"], "A100", "throughput"),
    ("no-paged-context", "int4_awq", ["precision.kv_cache=fp8"], "H100", "throughput"),
    ("no-paged-context", "bf16", ["build.flags.use_paged_context_fmha=disable"], "A100", "throughput"),
    ("fp8-without-fp8-kv", "fp8", [], "H100", "throughput"),
    ("bf16-to-fp16", "fp16", [], "H100", "throughput"),
    ("scheduler-tail", "bf16", ["runtime.scheduler_policy=max_utilization"], "H100", "latency"),
    ("scheduler-static", "bf16", ["runtime.scheduler_policy=static_batch"], "H100", "throughput"),
    ("tensor-parallel-pcie", "bf16", ["parallel.tp=2"], "RTX 4090", "throughput"),
    ("little-calibration", "fp8", ["calibration.samples=16"], "H100", "throughput"),
    ("little-calibration", "bf16",
     ["precision.kv_cache=fp8", "calibration.samples=64", "calibration.batch_size=8"], "H100", "throughput"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "weights", "overrides", "gpu", "goal"), CASES)
def test_each_fix_ends_its_advice(
    llama: ModelSpec, code: str, weights: str, overrides: list[str], gpu: str, goal: str
) -> None:
    chosen = preset(*overrides, weights=weights, goal=goal)
    advice = found(situation(llama, chosen, gpu), code)
    assert advice is not None, "the rule has something to say"
    assert advice.text.endswith(".") and advice.arithmetic and advice.fix
    assert any(letter.isdigit() for letter in advice.arithmetic), "the arithmetic has figures"
    assert advice.overrides, "a fix that can be applied"
    mended = situation(llama, apply_overrides(chosen, list(advice.overrides)), gpu)
    assert found(mended, code) is None


@pytest.mark.parametrize("gpu", ["A100", "H100", "RTX 4090", "B200"])
def test_a_sound_preset_is_left_alone(llama: ModelSpec, gpu: str) -> None:
    advice = advise(situation(llama, preset("limits.max_batch_size=4"), gpu))
    assert {a.code for a in advice} <= {"no-chat-template"}


def test_nearest_precision_is_named(llama: ModelSpec) -> None:
    def nearest(weights: str, gpu: str) -> tuple[str, ...]:
        advice = found(situation(llama, preset(weights=weights), gpu), "precision-gpu")
        assert advice is not None and advice.level == "block" and not advice.estimate_only
        return advice.overrides

    assert nearest("fp8", "A100") == ("precision.weights=int8_sq",)
    assert nearest("nvfp4", "H100") == ("precision.weights=w4a8_awq",)
    assert nearest("int4_awq", "B200") == ("precision.weights=nvfp4",)


def test_keys_with_outliers_are_not_told_to_take_fp8(tmp_path: Path) -> None:
    qwen = read_model(make_config_folder(tmp_path / "qwen", "qwen2"), require_weights=False)
    tiny = read_model(make_config_folder(tmp_path / "llama", "llama"), require_weights=False)
    assert found(situation(qwen, preset(weights="fp8"), "H100"), "fp8-without-fp8-kv") is None
    assert found(situation(tiny, preset(weights="fp8"), "H100"), "fp8-without-fp8-kv") is not None
    assert found(situation(qwen, preset(weights="fp8"), "H100"), "precision-unproven") is not None
    forced = found(situation(qwen, preset("precision.kv_cache=fp8", weights="fp8"), "H100"), "kv-outliers")
    assert forced is not None and forced.level == "warning" and forced.overrides == ("precision.kv_cache=auto",)
    assert found(situation(tiny, preset("precision.kv_cache=fp8", weights="fp8"), "H100"), "kv-outliers") is None


def test_what_does_not_fit_says_the_mildest_way_out(llama: ModelSpec, llama_70b: ModelSpec) -> None:
    small = found(situation(llama, preset(), "RTX 4080"), "gpu-memory")
    assert small is not None and small.level == "warning" and small.overrides == ("precision.weights=fp8",)
    ampere = found(situation(llama_70b, preset(), "A100"), "gpu-memory")
    assert ampere is not None and ampere.level == "block" and ampere.estimate_only
    assert ampere.overrides == ("precision.weights=int8_sq",)
    hopeless = found(situation(llama_70b, preset(weights="int4_awq"), "RTX 4080"), "gpu-memory")
    assert hopeless is not None and hopeless.overrides == ("parallel.tp=4",)


def test_nvlink_is_what_the_driver_says(llama: ModelSpec) -> None:
    chosen = preset("parallel.tp=2")
    assert found(situation(llama, chosen, "H100"), "tensor-parallel-pcie") is None
    bare = find_gpu("H100").model_copy(update={"nvlink": False})
    assert found(situation(llama, chosen, bare), "tensor-parallel-pcie") is not None
    unknown = find_gpu("H100").model_copy(update={"nvlink": None})
    assert found(situation(llama, chosen, unknown), "tensor-parallel-pcie") is None


def test_host_memory_below_the_peak(llama_70b: ModelSpec) -> None:
    from workbench.core.estimate_trtllm import gpu_step_estimate

    def situated(chosen: Preset, memory: int, elsewhere: bool, kind: StepKind = "build") -> Situation:
        workers = chosen.build.flags.get("workers", chosen.gpus)
        assert isinstance(workers, int)
        estimate = gpu_step_estimate(llama_70b, kind, "bf16", ranks=8, workers=workers)
        step = Step(id=f"{kind}:bf16", kind=kind, title=kind.capitalize(), estimate=estimate)
        return situation(llama_70b, chosen, "H200", memory, (step,), elsewhere)

    chosen = preset("parallel.tp=8")
    here = found(situated(chosen, 128 * GIB, False), "host-memory")
    assert here is not None and here.level == "block" and here.estimate_only
    there = found(situated(chosen, 128 * GIB, True), "host-memory")
    assert there is not None and there.level == "hint", "this machine's memory does not count then"
    assert here.overrides == there.overrides == ("build.flags.workers=1",)
    assert found(situated(apply_overrides(chosen, list(here.overrides)), 128 * GIB, False), "host-memory") is None
    compared = found(situated(chosen, 128 * GIB, False, "verify"), "host-memory")
    assert compared is not None and compared.overrides == ("verify.enabled=false",), "the fix is of the step at fault"


def test_a_config_only_70b_reads_as_70b(llama_70b: ModelSpec) -> None:
    assert llama_70b.parameters == pytest.approx(70.55e9, rel=0.001)

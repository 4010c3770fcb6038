"""What is known of TensorRT-RTX without it: targets, the builder's log, its failures, progress, layers."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.errors import BadInputError
from workbench.core.tensorrt_rtx.failures import explain_build
from workbench.core.tensorrt_rtx.layers import LayerReader, LayerTable, Profile, ShapeRange, parse_layer, read_layers
from workbench.core.tensorrt_rtx.log import BuilderLog, format_lines
from workbench.core.tensorrt_rtx.progress import BuildProgress
from workbench.core.tensorrt_rtx.targets import CAPABILITIES, precisions_of, provider_refuses, targets_of, why_not
from workbench.core.trtllm.log_lines import parse_line

# --- targets ---


def test_the_matrix() -> None:
    assert "nvfp4" in precisions_of((12, 0)) and "nvfp4" not in precisions_of((8, 9))
    assert "fp8" in precisions_of((8, 9)) and "fp8" not in precisions_of((8, 6))
    assert precisions_of((9, 0)) == ()
    for capability, precisions in CAPABILITIES.items():
        assert all(why_not(name, capability) == "" for name in precisions)
    assert why_not("int4_awq", (8, 6)) == ""


def test_why_not_names_the_gpu_and_what_it_has() -> None:
    assert why_not("nvfp4", (8, 9)).startswith("NVFP4 needs compute capability 12.0 (Blackwell) or newer")
    assert "8.9 (Ada Lovelace) has FP32, FP16, BF16, INT8 weights, INT4 weights and FP8." in why_not("nvfp4", (8, 9))
    assert "9.0 (Hopper)" in why_not("fp16", (9, 0)) and "Blackwell of data centres" in why_not("fp16", (10, 0))
    assert "weights" in why_not("int8_sq", (8, 9))


def test_the_provider_runs_on_fewer_gpus_than_the_engine() -> None:
    assert provider_refuses((8, 9)) == provider_refuses((12, 1)) == ""
    assert "8.0 (Ampere)" in provider_refuses((8, 0)) and "Hopper" in provider_refuses((9, 0))


def test_targets_are_read_once_each_and_in_order() -> None:
    assert targets_of(["12.0", "8.6", " 8.6 "]) == ((8, 6), (12, 0))
    for words in ([], ["8"], ["sm89"], ["8.9", "9.0"]):
        with pytest.raises(BadInputError) as caught:
            targets_of(words)
        assert caught.value.failure.code == "bad-gpu-target"


# --- log and failures ---

TURING = (
    "IBuilder::buildSerializedNetworkToStream: Error Code 1: Myelin ([pass.cpp:337: check_turing_op_compatibility] "
    "Cannot compile operation '/model/rotary_emb/MatMul' for Turing (SM75): FP32 GEMM is not supported. "
    "In compileGraph at /_src/optimizer/myelin/codeGenerator.cpp:2012)"
)
NO_DRIVER = (
    "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (In catchCudaError at "
    "/_src/common/dispatch/checkMacros.cpp:250 (cudaError 35: CUDA driver version is insufficient for CUDA runtime "
    "version))"
)


def test_lines_are_as_tensorrt_prints_them() -> None:
    lines = list(format_lines("ERROR", "first\n\nsecond", datetime(2026, 11, 22, 8, 5, 0)))
    assert lines[0] == "[11/22/2026-08:05:00] [TRT] [E] first" and len(lines) == 2
    assert [parse_line(line).level for line in lines] == ["error", "error"]


def test_the_log_tells_memory_and_keeps_errors() -> None:
    log = BuilderLog()
    assert not log.feed("VERBOSE", "Parsing node: /model/embed_tokens/Gather [Gather]")
    assert log.feed("INFO", "Total Weights Memory: 577803520 bytes")
    assert log.feed("INFO", "Total Activation Memory: 657966080 bytes")
    log.feed("INFO", "[MemUsageStats] Peak memory usage of TRT CPU/GPU memory allocators: CPU 551 MiB, GPU 0 MiB")
    log.feed("ERROR", NO_DRIVER)
    log.feed("ERROR", TURING)
    assert (log.nodes_parsed, log.weights_bytes, log.activation_bytes) == (1, 577803520, [657966080])
    assert log.host_peak_bytes == 551 * 2**20
    assert log.errors == [TURING]


@pytest.mark.parametrize(
    ("lines", "code", "words"),
    [
        ([TURING], "target-refused", "Turing (SM75): FP32 GEMM is not supported (operation /model/rotary_emb/MatMul)."),
        (
            ["Error Code 1: Myelin ([tactic.cpp:1676: enumerate_tactics] Tactic Selection: no tactics to implement the "
             "operation within workspace limit. Consider increase the allowed workspace size if applicable.;"],
            "workspace-too-small",
            "workspace",
        ),
        (
            ["WeightsContext.cpp:203: Failed to open file: bad/model.onnx.data", "Failed to import initializer: w"],
            "missing-onnx-data",
            "bad/model.onnx.data",
        ),
        (
            ["Failed to map file to memory: /x/model.onnx.data", "Failed to import initializer: w"],
            "host-out-of-memory",
            "out of memory",
        ),
        (["Unexpected exception std::bad_alloc"], "host-out-of-memory", "out of memory"),
        (
            ["IOptimizationProfile::isValid: Error Code 4: API Usage Error (Invalid optimization profiles for input "
             "tensors input_ids, please ensure that the optimization profiles satisfy MIN<=OPT<=MAX."],
            "profile-refused",
            "profile",
        ),
        (
            ["Error Code 1: Cuda Runtime (In generateForCurrent at /_src/runtime/core/cudaDeviceProfile.cpp:221"],
            "no-gpu",
            "GPU",
        ),
        (['creator && "Plugin not found, are the plugin name, version, and namespace correct?"'], "missing-operator",
         "operator or plugin"),
        (["Error Code 9: something that nobody has seen"], "engine-build-failed", "could not build"),
        ([], "engine-build-failed", "could not build"),
    ],
)  # fmt: skip
def test_failures_in_words(lines: list[str], code: str, words: str) -> None:
    failure = explain_build(lines)
    assert failure.code == code and words in failure.what and failure.fix and failure.evidence
    assert "{" not in failure.what + failure.fix


@given(st.lists(st.text(max_size=300), max_size=5))
def test_any_text_is_explained(lines: list[str]) -> None:
    assert explain_build(lines).code
    log = BuilderLog()
    for line in lines:
        log.feed("VERBOSE", f"Layers:\n{line}\nI/O Tensors:\n{line}")
    assert log.reader.table().source


# --- progress ---


def _monitor(progress: BuildProgress) -> list[tuple[float, float]]:
    """A build of two profiles as the monitor tells it: compiled in 10 s and 6 s; (time, share) on the way."""
    seen = []

    def at(now: float) -> None:
        seen.append((now, progress.share))

    for node in range(11):
        progress.parse(node * 10, 100, node / 10)
        at(node / 10)
    for name in ("Cloning network graph", "Preparing graph for optimization", "Optimizing graph"):
        progress.phase_start(name, 4, 1.0)
        for step in range(4):
            progress.step(name, step, 1.2)
            at(1.2)
        progress.phase_finish(name, 1.3)
    progress.phase_start("Computing profile costs", 10, 1.5)
    for profile, (begin, end) in enumerate(((1.6, 11.6), (11.7, 17.7))):
        for step in range(5):
            now = begin if step < 3 else end
            progress.step("Computing profile costs", profile * 5 + step, now)
            if step == 2:
                progress.phase_start("Determining refit engines", 2, now)
                progress.step("Determining refit engines", 0, now)
                assert progress.silent and progress.profile == profile and progress.stage == "compile"
            at(now)
        assert not progress.silent
    progress.phase_finish("Computing profile costs", 18.0)
    for written in range(5):
        progress.write(written * 25, 100, 18.5 + written / 4)
        at(18.5 + written / 4)
    progress.finish(19.6)
    return seen


def test_shares_are_what_is_done_and_never_go_back() -> None:
    progress = BuildProgress(profiles=2)
    seen = [share for _, share in _monitor(progress)]
    assert seen == sorted(seen) and seen[0] == 0 and 0.9 < seen[-1] < 1
    assert progress.share == 1.0
    assert progress.longest_silence_s == pytest.approx(10)
    assert progress.stage_seconds["compile"] == [pytest.approx(10.1, abs=0.2), pytest.approx(6.1, abs=0.2)]


def test_the_time_to_go_is_told_once_there_is_something_to_go_by() -> None:
    progress = BuildProgress(profiles=2)
    progress.parse(0, 10, 0.0)
    assert progress.left_s(1.0) is None
    for name in ("Cloning network graph", "Preparing graph for optimization", "Optimizing graph"):
        progress.phase_start(name, 1, 1.5)
    progress.phase_start("Computing profile costs", 10, 2.0)
    for step in range(3):
        progress.step("Computing profile costs", step, 2.0)
    first = progress.left_s(2.0)
    assert first is not None and first > 13
    later = progress.left_s(6.0)
    assert later is not None and 0 < later < first
    overdue = progress.left_s(60.0)
    assert overdue is not None and overdue > 20  # the second profile and the rest are still to come
    progress.step("Computing profile costs", 3, 61.0)
    assert progress.share > 0.4


def test_a_monitor_that_counts_otherwise_does_no_harm() -> None:
    progress = BuildProgress(profiles=2)
    progress.phase_start("Computing profile costs", 7, 0.0)
    shares = []
    for step in range(7):
        progress.step("Computing profile costs", step, float(step))
        progress.step("Something new", step, float(step))
        shares.append(progress.share)
    assert shares == sorted(shares) and shares[-1] <= 1 and not progress.silent


# --- layers ---

GEMM = (
    "Name: /model/layers.0/self_attn/v_proj/MatMul [profile 1]+/model/layers.0/self_attn/k_proj/MatMul [profile 1]"
    "_myl3_2, LayerType: gemm, Inputs: [ { Name: __mye405825_91_myl3, Dimensions: [1,1,576], Strides: [576,576,1], "
    "StrideOrder: [2,1,0], Datatype: Half, Format: (Linear) Row major linear format }], Constants: [ { Name: "
    "__mye528054_dconst_myl1, Dimensions: [1,576,960], Strides: [552960,960,1], StrideOrder: [2,1,0], Datatype: Int4, "
    "Format: (Linear) Row major linear format }, { Name: alpha_myl1, Dimensions: [1], Strides: [1], StrideOrder: [0], "
    "Datatype: Float, Format: (Linear) Row major linear format }], Outputs: [ { Name: __mye405825_myl3, Dimensions: "
    "[1,-1,960], Strides: [960,960,1], StrideOrder: [2,1,0], Datatype: Half, Format: (Linear) Row major linear format "
    "}], TacticName: __myelin_CASK_STUB, StreamId: 0, Metadata: [ONNX Layer: /model/layers.0/self_attn/v_proj/MatMul]"
    "[ONNX Layer: /model/layers.0/self_attn/k_proj/MatMul]"
)
PLAIN = (
    "Name: __myl_SiluMul_myl{group}_15, LayerType: kgen, Inputs: [], Constants: [], Outputs: [ {{ Name: a, Dimensions: "
    "[1,-1,1536], Strides: [-1,1536,1], StrideOrder: [2,1,0], Datatype: Float, Format: (Linear) Row major linear "
    "format }}], TacticName: t, StreamId: 0, Metadata: "
)
BINDING = (
    " Name: present.29.value, IOMode: Output, DataType: Half, Dimensions: [1,3,-1,64], Location: Device, "
    "IsShapeInferenceIO: false, ProfileInfo: [ { Format: Row major linear FP16 format (kLINEAR) }]"
)


def _table() -> LayerTable:
    reader = LayerReader()
    lines = ("Layers:", PLAIN.format(group=1), PLAIN.format(group=3), GEMM, "", "I/O Tensors:", BINDING, "")
    for line in (*lines, "Engine Metadata:", " Multi-Device: Disabled", PLAIN.format(group=9)):
        reader.feed(line)
    return reader.table([("prefill", {"input_ids": {"min": [1, 1], "opt": [1, 8], "max": [1, 16]}})])


def test_layers_are_read_from_the_log() -> None:
    table = _table()
    assert [layer.profile for layer in table.layers] == [0, 1, 1]  # the second shares its group with the third
    product = table.layers[2]
    assert product.type == "gemm" and product.precision == "int4" and product.tactic == "__myelin_CASK_STUB"
    assert product.name.startswith("/model/layers.0/self_attn/v_proj/MatMul+/model")
    assert product.inputs[0].dtype == "fp16" and product.outputs[0].shape == (1, -1, 960)
    assert product.origin == tuple(f"/model/layers.0/self_attn/{one}_proj/MatMul" for one in "vk")
    assert table.layers[0].precision == "fp32"
    assert table.bindings[0].mode == "output" and table.bindings[0].shape == (1, 3, -1, 64)
    assert table.profiles == (
        Profile(name="prefill", shapes={"input_ids": ShapeRange(min=(1, 1), opt=(1, 8), max=(1, 16))}),
    )


def test_four_bit_floats_are_told_from_their_scales() -> None:
    line = GEMM.replace("Int4", "FP4E2M1").replace("Dimensions: [1], ", "Dimensions: [1,9,4], ").replace("Float", "FP8")
    layer = parse_layer(line)
    assert layer is not None and [one.dtype for one in layer.constants] == ["fp4", "fp8"]
    assert layer.precision == "fp4"


def test_the_table_is_kept_and_read_again(tmp_path: Path) -> None:
    (tmp_path / "layers.json").write_text(_table().model_dump_json())
    assert read_layers(tmp_path) == read_layers(tmp_path / "layers.json") == _table()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (None, "no-layers"),
        ("{", "bad-layers"),
        ('{"layers": 3}', "bad-layers"),
        ('{"schema_version": 9}', "bad-layers"),
    ],
)
def test_a_table_that_cannot_be_read_is_said(tmp_path: Path, text: str | None, code: str) -> None:
    if text is not None:
        (tmp_path / "layers.json").write_text(text)
    with pytest.raises(BadInputError) as caught:
        read_layers(tmp_path)
    assert caught.value.failure.code == code and caught.value.evidence and caught.value.fix

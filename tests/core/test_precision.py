"""The support matrix: yes, or a reason and a nearest precision that itself is a yes."""

from __future__ import annotations

import itertools

import pytest

from workbench.core.gpu import CATALOGUE
from workbench.core.precision import TOOLCHAINS, KvPrecision, Precision, kv_supported, supported

P = Precision
AMPERE, ADA, HOPPER, B200, B300, RTX50 = (8, 6), (8, 9), (9, 0), (10, 0), (10, 3), (12, 0)
INTEGER = {P.INT8, P.INT8_SQ, P.INT4, P.INT4_AWQ, P.INT4_GPTQ}
FULL = {P.FP32, P.BF16, P.FP16}


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((7, 5), set()),
        ((8, 0), FULL | INTEGER),
        (AMPERE, FULL | INTEGER),
        (ADA, FULL | INTEGER | {P.FP8, P.FP8_ROWWISE, P.W4A8_AWQ}),
        (HOPPER, FULL | INTEGER | {P.FP8, P.FP8_ROWWISE, P.W4A8_AWQ}),
        (B200, FULL | {P.FP8, P.NVFP4}),
        (B300, set()),
        (RTX50, FULL | {P.FP8, P.FP8_ROWWISE, P.W4A8_AWQ, P.NVFP4}),
    ],
)
def test_tensorrt_llm_by_compute_capability(capability, expected):
    assert {p for p in P if supported(p, "tensorrt_llm", capability).ok} == expected


def test_pytorch_has_the_plain_precisions_and_torchaos_two():
    plain = {P.FP32, P.BF16, P.FP16}
    assert {p for p in P if supported(p, "pytorch", HOPPER).ok} == plain | {P.INT8, P.FP8}
    assert {p for p in P if supported(p, "pytorch", (7, 5)).ok} == plain


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((7, 5), {P.FP16}),
        ((8, 0), FULL | {P.INT8, P.INT4}),
        (AMPERE, FULL | {P.INT8, P.INT4}),
        (ADA, FULL | {P.INT8, P.INT4, P.FP8}),
        (HOPPER, set()),
        (B200, set()),
        (RTX50, FULL | {P.INT8, P.INT4, P.FP8, P.NVFP4}),
        ((12, 1), FULL | {P.INT8, P.INT4, P.FP8, P.NVFP4}),
        (None, FULL | {P.INT8, P.INT4, P.FP8, P.NVFP4}),
    ],
)
def test_tensorrt_rtx_by_compute_capability(capability, expected):
    assert {p for p in P if supported(p, "tensorrt_rtx", capability).ok} == expected


def test_onnxruntime_has_what_its_cpu_kernels_have():
    assert {p for p in P if supported(p, "onnxruntime").ok} == {P.FP32, P.FP16, P.INT8, P.INT4}


def test_openvino_has_three_precisions():
    assert {p for p in P if supported(p, "openvino").ok} == {P.FP16, P.INT8, P.INT4}


@pytest.mark.parametrize(
    ("precision", "toolchain", "capability", "nearest", "word"),
    [
        (P.FP8, "openvino", None, P.INT8, "NVIDIA"),
        (P.BF16, "openvino", None, P.FP16, "FP16"),
        (P.INT4_AWQ, "openvino", None, P.INT4, 'precision.method = "awq"'),
        (P.INT8_SQ, "openvino", None, P.INT8, "activations"),
        (P.BF16, "onnxruntime", None, P.FP16, "BF16"),
        (P.FP8, "onnxruntime", None, P.INT8, "NVIDIA"),
        (P.INT4_AWQ, "onnxruntime", None, P.INT4, 'precision.method = "awq"'),
        (P.INT4_GPTQ, "tensorrt_rtx", ADA, P.INT4, "GPTQ"),
        (P.FP8, "tensorrt_rtx", AMPERE, P.INT8, "8.9"),
        (P.NVFP4, "tensorrt_rtx", ADA, P.INT4, "12.0"),
        (P.BF16, "tensorrt_rtx", (7, 5), P.FP16, "8.0"),
        (P.FP16, "tensorrt_rtx", HOPPER, None, "Hopper"),
        (P.INT4_AWQ, "tensorrt_rtx", HOPPER, None, "Hopper"),
        (P.FP8, "tensorrt_llm", (8, 0), P.INT8_SQ, "8.9"),
        (P.NVFP4, "tensorrt_llm", HOPPER, P.W4A8_AWQ, "10.0"),
        (P.NVFP4, "tensorrt_llm", (8, 0), P.INT4_AWQ, "10.0"),
        (P.INT8, "tensorrt_llm", B200, P.FP8, "10.0"),
        (P.INT4_AWQ, "tensorrt_llm", B200, P.NVFP4, "refuses"),
        (P.FP16, "tensorrt_llm", (7, 5), None, "8.0"),
        (P.INT4_AWQ, "pytorch", None, P.FP8, "does not quantize"),
        (P.INT8, "pytorch", (7, 5), P.FP16, "8.0"),
        (P.FP8, "pytorch", (8, 6), P.INT8, "8.9"),
    ],
)
def test_refusals_say_why_and_what_is_nearest(precision, toolchain, capability, nearest, word):
    support = supported(precision, toolchain, capability)
    assert not support.ok
    assert word in support.reason
    assert support.nearest == nearest


def test_every_refusal_has_a_reason_and_its_nearest_is_supported():
    capabilities = [None, (7, 0), *sorted({gpu.compute_capability for gpu in CATALOGUE.values()})]
    architectures = [None, "LlamaForCausalLM", "Qwen2ForCausalLM", "MadeUpForCausalLM"]
    for p, toolchain, capability, architecture in itertools.product(P, TOOLCHAINS, capabilities, architectures):
        support = supported(p, toolchain, capability, architecture)
        assert support.ok == (not support.reason)
        if support.nearest is not None:
            assert not support.ok
            assert supported(support.nearest, toolchain, capability, architecture).ok


@pytest.mark.parametrize("name", ["Llama4ForCausalLM", "GptOssForCausalLM", "DeepseekV3ForCausalLM"])
def test_architectures_without_an_engine_are_refused(name):
    support = supported(P.FP16, "tensorrt_llm", HOPPER, name)
    assert not support.ok
    assert name in support.reason
    assert supported(P.FP16, "openvino", None, name).ok


def test_what_the_table_of_models_does_not_tick_is_a_caution_and_no_refusal():
    assert supported(P.FP8, "tensorrt_llm", HOPPER, "LlamaForCausalLM").caution == ""
    qwen = supported(P.FP8, "tensorrt_llm", HOPPER, "Qwen2ForCausalLM")
    assert qwen.ok
    assert "Qwen2" in qwen.caution
    assert supported(P.BF16, "tensorrt_llm", HOPPER, "Phi3ForCausalLM").caution == ""
    assert "not shown" in supported(P.W4A8_AWQ, "tensorrt_llm", RTX50).caution


@pytest.mark.parametrize(
    ("kv", "toolchain", "capability", "nearest"),
    [
        (KvPrecision.FP8, "openvino", None, KvPrecision.INT8),
        (KvPrecision.FP8, "tensorrt_llm", AMPERE, KvPrecision.INT8),
        (KvPrecision.INT8, "tensorrt_llm", B200, KvPrecision.FP8),
        (KvPrecision.INT8, "pytorch", None, KvPrecision.AUTO),
    ],
)
def test_kv_cache_refusals(kv, toolchain, capability, nearest):
    support = kv_supported(kv, toolchain, capability)
    assert not support.ok
    assert support.reason
    assert support.nearest == nearest


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_kv_cache_auto_and_fp16_work_everywhere(toolchain):
    assert kv_supported(KvPrecision.AUTO, toolchain, AMPERE).ok
    assert kv_supported(KvPrecision.FP16, toolchain, AMPERE).ok


def test_facts_of_each_precision():
    for p in P:
        assert p.title and p.title == p.title.strip()
        assert p.weight_bits in (4, 8, 16, 32)
        assert p.activation_bits >= p.weight_bits or p is P.NVFP4
        assert 0 < p.default_min_agreement < 1
        assert p.default_max_kl > 0
        assert f"{p}" == p.value
    assert P.W4A8_AWQ.weight_bits == 4 and P.W4A8_AWQ.activation_bits == 8
    assert {p for p in P if p.is_quantized} == set(P) - FULL
    assert len({p.title for p in P}) == len(P)
    assert [kv.bits for kv in KvPrecision] == [None, 16, 16, 8, 8]


def test_fewer_bits_never_ask_for_more_agreement():
    by_bits = sorted(P, key=lambda p: p.weight_bits)
    for fewer, more in itertools.pairwise(by_bits):
        if fewer.weight_bits < more.weight_bits:
            assert fewer.default_min_agreement <= more.default_min_agreement
            assert fewer.default_max_kl >= more.default_max_kl

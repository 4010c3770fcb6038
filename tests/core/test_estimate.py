"""Estimates against known and measured figures, and that each shows its formula."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.models import LLAMA_8B, llama_tensors, make_config_folder, make_weightless_folder
from workbench.core.errors import BadInputError
from workbench.core.estimate import (
    activation_bytes,
    disk_bytes,
    host_memory_bytes,
    kv_bytes_per_sequence,
    kv_bytes_per_token,
    kv_capacity,
    runtime_bytes,
    step_estimate,
    step_seconds,
    weight_bytes,
)
from workbench.core.model import ModelSpec, read_model

GIB, MIB = 2**30, 2**20

LLAMA_2_7B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32000,
    "max_position_embeddings": 4096, "tie_word_embeddings": False, "torch_dtype": "float16",
}  # fmt: skip
SMOLLM2_135M = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536,
    "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152,
    "max_position_embeddings": 8192, "rope_theta": 100000, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
}  # fmt: skip


def spec_of(folder: Path, config: dict[str, Any]) -> ModelSpec:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return read_model(folder, require_weights=False, require_tokenizer=False)


@pytest.fixture
def llama2(tmp_path: Path) -> ModelSpec:
    return spec_of(tmp_path / "llama2", LLAMA_2_7B)


@pytest.fixture
def llama31(tmp_path: Path) -> ModelSpec:
    return read_model(make_weightless_folder(tmp_path / "llama31"))


@pytest.fixture
def smollm2(tmp_path: Path) -> ModelSpec:
    return spec_of(tmp_path / "smollm2", SMOLLM2_135M)


def test_llama_2_7b_takes_2_gib_of_kv_a_sequence_of_4096_tokens(llama2: ModelSpec) -> None:
    sequence = kv_bytes_per_sequence(llama2, "fp16", 4096)
    assert sequence.exact and sequence.low == 2.0 * GIB
    assert "4,096 tokens = 2 GiB" in sequence.formula


def test_llama_3_1_8b_takes_128_kib_of_kv_a_token(llama31: ModelSpec) -> None:
    token = kv_bytes_per_token(llama31, "fp16")
    assert token.exact and token.low == 128 * 1024
    assert token.formula == "2 x 32 layers x 8 KV heads x 128 x 2 B = 128 KiB a token"
    assert kv_bytes_per_token(llama31, "auto") == token
    assert kv_bytes_per_token(llama31, "fp8").low == 64 * 1024


def test_int8_cache_may_have_scales(llama31: ModelSpec) -> None:
    token = kv_bytes_per_token(llama31, "int8")
    assert token.low == 64 * 1024 and token.high == 64 * 1024 + 2 * 32 * 8 * 8


def checkpoint_bytes(kind: str) -> float:
    """Bytes of a Llama 3.1 8B checkpoint, tensor by tensor, as its exporter lays it out."""
    total = 0.0
    for name, (_, shape) in llama_tensors(LLAMA_8B).items():
        if len(shape) == 1 or "proj" not in name:
            total += 2 * math.prod(shape)
            continue
        out, width = shape
        total += {
            "fp8": out * width + 4 + 4,  # weight_scale and input_scale
            "int8_sq": out * width + 4 * out,
            "int4": out * width / 2 + width / 128 * (out * 2 + out / 2),  # AWQ: scales, packed zero points
            "w4a8_awq": out * width / 2 + width / 128 * out * 2 + 2 * width,  # pre_quant_scale
            "nvfp4": out * width / 2 + out * width / 16 + 4 + 4,
        }[kind]
    return total


@pytest.mark.parametrize("kind", ["fp8", "int8_sq", "int4", "w4a8_awq", "nvfp4"])
def test_checkpoints_laid_out_tensor_by_tensor_lie_in_the_range(llama31: ModelSpec, kind: str) -> None:
    weights = weight_bytes(llama31, kind)
    assert weights.low <= checkpoint_bytes(kind) * 1.001 and checkpoint_bytes(kind) <= weights.high
    assert weights.high < 1.35 * weights.low  # a range that says something


@pytest.mark.parametrize(
    ("precision", "step", "model_bytes", "folder_mib"),
    # openvino_model.bin and whole folder of SmolLM2-135M, exported by optimum-intel 2.2 with NNCF 3.4.
    [
        ("fp16", "convert", 268_960_063, 265),
        ("int8", "quantize", 135_094_277, 138),
        ("int4", "quantize", 85_690_821, 91),
    ],
)
def test_measured_openvino_sizes(
    smollm2: ModelSpec, precision: str, step: str, model_bytes: int, folder_mib: int
) -> None:
    assert smollm2.parameters == 134_515_008
    assert weight_bytes(smollm2, precision, group_size=64).covers(model_bytes)
    disk = disk_bytes(smollm2, step, precision, group_size=64)
    assert disk is not None and disk.covers(folder_mib * MIB)


def test_measured_openvino_memory(smollm2: ModelSpec) -> None:
    for step, peak_mib in (("convert", 1167), ("quantize", 1202)):
        assert host_memory_bytes(smollm2, step, "int8").covers(peak_mib * MIB), step


@pytest.mark.parametrize("seconds", [16.6, 45, 50])
def test_measured_openvino_time(smollm2: ModelSpec, seconds: float) -> None:
    assert step_seconds(smollm2, "convert").covers(seconds)


def test_smaller_precision_is_smaller(llama31: ModelSpec) -> None:
    sizes = [weight_bytes(llama31, name).low for name in ("fp32", "bf16", "fp8", "nvfp4", "int4")]
    assert sizes == sorted(sizes, reverse=True)
    groups = [weight_bytes(llama31, "int4", group_size=size).low for size in (32, 64, 128, -1)]
    assert groups == sorted(groups, reverse=True)


def test_a_tied_head_stored_again_costs_its_bytes(smollm2: ModelSpec, llama31: ModelSpec) -> None:
    again = weight_bytes(smollm2, "fp16", untied=True).low - weight_bytes(smollm2, "fp16").low
    assert again == pytest.approx(49152 * 576 * 2, rel=0.01)
    assert weight_bytes(llama31, "fp16", untied=True) == weight_bytes(llama31, "fp16")


def test_capacity_in_tokens_and_whole_blocks(llama31: ModelSpec) -> None:
    capacity = kv_capacity(llama31, "fp16", 8 * GIB, 1000, block_tokens=32)
    assert capacity.tokens.low == capacity.tokens.high == 65536
    assert capacity.sequences.low == 64  # 1,000 tokens take 32 blocks of 32
    assert "1,024 tokens" in capacity.sequences.formula
    assert kv_capacity(llama31, "fp16", 0, 1000).sequences.high == 0


def test_sliding_window_bounds_the_cache(tmp_path: Path) -> None:
    mistral = spec_of(tmp_path / "m", {**LLAMA_8B, "architectures": ["MistralForCausalLM"], "model_type": "mistral",
                                       "sliding_window": 4096, "rope_scaling": None})  # fmt: skip
    short, long = (kv_bytes_per_sequence(mistral, "fp16", tokens) for tokens in (4096, 32768))
    assert short.exact and short.low == 4096 * 128 * 1024
    assert long.low == short.low and long.high == 8 * short.low
    assert "sliding window of 4,096" in long.note and "keep 4,096 tokens" in long.formula
    gemma = read_model(make_config_folder(tmp_path / "g", "gemma2"), require_weights=False)
    half = kv_bytes_per_sequence(gemma, "fp16", 256)
    assert half.low == pytest.approx(half.high * 0.75)


def test_latent_attention_has_a_compressed_cache(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path / "d",
        {**LLAMA_8B, "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "rope_scaling": None,
         "num_key_value_heads": 32, "kv_lora_rank": 512, "qk_rope_head_dim": 64},
    )  # fmt: skip
    token = kv_bytes_per_token(spec, "bf16")
    assert token.low == 32 * 576 * 2 and token.high > 10 * token.low
    assert "32 layers x 576 x 2 B" in token.formula and "latent" in token.note.lower()


def test_activations_and_runtime(llama31: ModelSpec) -> None:
    few, many = (activation_bytes(llama31, batch_tokens=n, batch_size=8) for n in (256, 8192))
    assert few.high < many.low < 2 * GIB
    assert "8,192 tokens" in many.formula
    assert runtime_bytes("gpu").high > runtime_bytes("cpu").high


@pytest.mark.parametrize("step", ["fetch", "check", "convert", "quantize", "build", "verify"])
def test_every_step_has_an_estimate_with_formula_and_source(llama31: ModelSpec, step: str) -> None:
    needs = step_estimate(llama31, step, "int8")
    for value in (needs.seconds, needs.host_memory_bytes, needs.disk_bytes):
        if value is not None:
            assert value.formula and value.source and value.high > 0
    assert needs.seconds is not None and needs.host_memory_bytes is not None
    assert (needs.disk_bytes is None) == (step in ("check", "verify"))


def test_a_precision_that_is_not_known(llama31: ModelSpec) -> None:
    with pytest.raises(BadInputError) as caught:
        weight_bytes(llama31, "int44")
    assert "Did you mean int4?" in caught.value.fix and "nvfp4" in caught.value.evidence
    for call in (
        lambda: kv_bytes_per_token(llama31, "int3"),
        lambda: step_seconds(llama31, "polish"),
        lambda: kv_bytes_per_sequence(llama31, "fp16", -1),
        lambda: kv_capacity(llama31, "fp16", 1, 0),
    ):
        with pytest.raises(BadInputError):
            call()


def test_every_precision_of_the_workbench_has_an_estimate(llama31: ModelSpec) -> None:
    from workbench.core.precision import KvPrecision, Precision

    for precision in Precision:
        weights = weight_bytes(llama31, precision)
        assert weights.low >= llama31.parameters * precision.weight_bits / 8 * 0.998
    for kv in KvPrecision:
        assert kv_bytes_per_token(llama31, kv).low > 0

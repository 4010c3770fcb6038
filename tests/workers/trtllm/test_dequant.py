"""Stored weights to float32, held to arithmetic written out by hand here: bytes in, numbers out."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from workbench.workers.protocol import WorkerError
from workbench.workers.trtllm.dequant import (
    Linear,
    activation_change,
    built_weight_only,
    dequantized,
    unpacked_e2m1,
    unpacked_int4,
)

if not importlib.util.find_spec("torch"):
    pytest.skip("not installed here: torch", allow_module_level=True)
import torch


def linear(algo: str, rows: int, columns: int, group: int = 0, **tensors: Any) -> Linear:
    return Linear("transformer.layers.0.mlp.fc", "rank0.safetensors", algo, group, rows, columns, tensors)


def fp8(*codes: int) -> Any:
    """E4M3 bytes as a tensor."""
    return torch.tensor(codes, dtype=torch.uint8).view(torch.float8_e4m3fn)


def e4m3(code: int) -> float:
    """E4M3 as the format defines it: bias 7, three mantissa bits, no infinities."""
    sign = -1.0 if code & 0x80 else 1.0
    exponent, mantissa = (code >> 3) & 0x0F, code & 0x07
    return sign * (mantissa / 8 * 2.0**-6 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7))


def e2m1(code: int) -> float:
    """E2M1 as the format defines it: bias 1, one mantissa bit."""
    sign = -1.0 if code & 0x8 else 1.0
    exponent, mantissa = (code >> 1) & 0x3, code & 0x1
    return sign * (mantissa / 2 if exponent == 0 else (1 + mantissa / 2) * 2.0 ** (exponent - 1))


def test_int4_holds_even_rows_in_the_low_bits() -> None:
    packed = torch.tensor([[0x21, 0x8F], [0x7E, 0x30]], dtype=torch.uint8)
    expected = [[1, -1], [2, -8], [-2, 0], [7, 3]]
    assert unpacked_int4(packed.view(torch.int8)).tolist() == expected


def test_int4_takes_both_byte_dtypes_alike() -> None:
    packed = torch.arange(256, dtype=torch.int32).to(torch.uint8).reshape(2, 128)
    assert torch.equal(unpacked_int4(packed), unpacked_int4(packed.view(torch.int8)))


def test_int4_weights_are_codes_times_their_blocks_scale() -> None:
    codes = [[(3 * row + column) % 16 - 8 for column in range(8)] for row in range(4)]
    scales = [[0.5 * (row + 1), 0.25 * (row + 1)] for row in range(4)]
    packed = [[(codes[2 * row][c] & 15) | ((codes[2 * row + 1][c] & 15) << 4) for c in range(8)] for row in range(2)]
    layer = linear(
        "W4A16_AWQ",
        4,
        8,
        4,
        weight=torch.tensor(packed, dtype=torch.uint8).view(torch.int8),
        weights_scaling_factor=torch.tensor(scales),
    )
    expected = [[codes[row][c] * scales[row][c // 4] for c in range(8)] for row in range(4)]
    assert dequantized(layer).tolist() == expected


def test_int4_scales_must_be_in_groups_of_the_size_that_config_names() -> None:
    weight = torch.zeros(2, 8, dtype=torch.int8)
    layer = linear("W4A16_AWQ", 4, 8, 8, weight=weight, weights_scaling_factor=torch.ones(4, 2))
    with pytest.raises(WorkerError) as raised:
        dequantized(layer)
    assert raised.value.code == "bad-checkpoint"
    assert "[4, 2]" in raised.value.cause
    assert "[4, 1]" in raised.value.cause


def test_e2m1_is_the_formats_table_with_even_columns_in_the_low_bits() -> None:
    packed = torch.tensor([[0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE]], dtype=torch.uint8)
    assert unpacked_e2m1(packed).tolist() == [[e2m1(code) for code in range(16)]]
    assert [e2m1(code) for code in range(8)] == [0, 0.5, 1, 1.5, 2, 3, 4, 6]


def test_nvfp4_weights_are_value_times_block_scale_times_global_scale() -> None:
    codes = [[(row * 5 + column) % 16 for column in range(32)] for row in range(2)]
    packed = [[codes[row][2 * c] | codes[row][2 * c + 1] << 4 for c in range(16)] for row in range(2)]
    blocks = [[0x38, 0x7E], [0x30, 0x41]]
    layer = linear(
        "NVFP4",
        2,
        32,
        weight=torch.tensor(packed, dtype=torch.uint8),
        weights_scaling_factor=fp8(*blocks[0], *blocks[1]).reshape(2, 2),
        weights_scaling_factor_2=torch.tensor(0.125),
        activation_scaling_factor=torch.tensor(1.0),
    )
    expected = [[e2m1(codes[row][c]) * e4m3(blocks[row][c // 16]) * 0.125 for c in range(32)] for row in range(2)]
    assert dequantized(layer).tolist() == expected


def test_fp8_weights_are_e4m3_times_one_scale() -> None:
    codes = [0x00, 0x01, 0x38, 0xB8, 0x7E, 0xFE, 0x45, 0x80]
    scales = {"weights_scaling_factor": torch.tensor([0.5]), "activation_scaling_factor": torch.tensor([1.0])}
    layer = linear("FP8", 2, 4, weight=fp8(*codes).reshape(2, 4), **scales)
    assert dequantized(layer).flatten().tolist() == [0.5 * e4m3(code) for code in codes]
    assert e4m3(0x7E) == 448
    bytes_alone = linear("FP8", 2, 4, weight=fp8(*codes).reshape(2, 4).view(torch.int8), **scales)
    assert torch.equal(dequantized(layer), dequantized(bytes_alone))


def test_fp8_by_row_has_a_scale_an_output() -> None:
    layer = linear(
        "FP8_PER_CHANNEL_PER_TOKEN",
        2,
        2,
        weight=fp8(0x38, 0x40, 0x38, 0x40).reshape(2, 2),
        per_channel_scale=torch.tensor([0.5, 3.0]),
    )
    assert dequantized(layer).tolist() == [[0.5, 1.0], [3.0, 6.0]]


def test_smoothquant_weights_have_a_scale_an_output_or_one() -> None:
    weight = torch.tensor([[-128, 127], [1, -1]], dtype=torch.int8)
    act = torch.tensor([1.0])
    by_row = linear(
        "W8A8_SQ_PER_CHANNEL", 2, 2, weight=weight, weights_scaling_factor=torch.tensor([0.5, 2.0]),
        activation_scaling_factor=act,
    )  # fmt: skip
    assert dequantized(by_row).tolist() == [[-64.0, 63.5], [2.0, -2.0]]
    single = linear(
        "W8A8_SQ_PER_CHANNEL", 2, 2, weight=weight, weights_scaling_factor=torch.tensor([0.5]),
        activation_scaling_factor=act,
    )  # fmt: skip
    assert dequantized(single).tolist() == [[-64.0, 63.5], [0.5, -0.5]]


@pytest.mark.parametrize(("bits", "levels"), [(8, 128), (4, 8)])
def test_weight_only_rounds_as_the_builder_does(bits: int, levels: int) -> None:
    weight = torch.tensor([[1.0, -0.5, 0.26, 0.0], [0.0, 0.0, 0.0, 0.0]])
    scale = 1.0 / levels
    expected = [min(levels - 1, max(-levels, round(value / scale))) * scale for value in (1.0, -0.5, 0.26, 0.0)]
    got = built_weight_only(weight, bits)
    assert got[0].tolist() == expected
    assert got[0][0] == (levels - 1) / levels  # the largest one is cut: the scale is over 2^(bits - 1)
    assert got[1].tolist() == [0.0] * 4


def test_fp8_inputs_are_cut_at_448_times_the_scale() -> None:
    change = activation_change(linear("FP8", 1, 3), None, torch.tensor([0.5]))
    assert change is not None
    # 0.53 / 0.5 = 1.06 lies between 1 and 1.125 in E4M3
    assert change(torch.tensor([[0.53, 1000.0, -1000.0]])).tolist() == [[0.5, 224.0, -224.0]]


def test_fp8_inputs_by_token_are_scaled_by_each_tokens_largest() -> None:
    change = activation_change(linear("FP8_PER_CHANNEL_PER_TOKEN", 1, 2), None, None)
    assert change is not None
    given = torch.tensor([[448.0, 17.0], [4.48, 0.17]])
    out = change(given)
    assert out[0].tolist() == [448.0, 16.0]  # 17 lies midway between 16 and 18: to the even one
    assert torch.allclose(out[1], torch.tensor([4.48, 0.16]))


def test_int8_inputs_round_to_even_after_the_factors_of_the_inputs() -> None:
    change = activation_change(
        linear("W8A8_SQ_PER_CHANNEL", 1, 4), torch.tensor([1.0, 2.0, 1.0, 1.0]), torch.tensor(2.0)
    )
    assert change is not None
    assert change(torch.tensor([[3.0, 2.5, 5.0, -900.0]])).tolist() == [[4.0, 4.0, 4.0, -256.0]]


def test_awq_inputs_are_multiplied_and_not_rounded() -> None:
    change = activation_change(linear("W4A16_AWQ", 1, 2), torch.tensor([0.5, 4.0]), None)
    assert change is not None
    assert change(torch.tensor([[0.3, 0.7]])).tolist() == torch.tensor([[0.15, 2.8]]).tolist()
    assert activation_change(linear("W4A16_AWQ", 1, 2), None, None) is None
    assert activation_change(linear("", 1, 2), None, None) is None


def test_nvfp4_inputs_take_a_scale_a_block_and_round_ties_to_even() -> None:
    change = activation_change(linear("NVFP4", 1, 16), None, torch.tensor(1.0 / 64))
    assert change is not None
    values = [6.0, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, -0.25, -0.75, 0.3, 0.8, 4.9, 5.1, 0.0, -6.0]
    # The block's largest is 6, so its scale is 1, which E4M3 holds over the global 1/64 (64 is a power of two).
    expected = [6.0, 0.0, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 0.0, -1.0, 0.5, 1.0, 4.0, 6.0, 0.0, -6.0]
    assert change(torch.tensor([values])).tolist() == [expected]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"weights_scaling_factor": torch.tensor([float("nan")])}, "not numbers"),
        ({"weights_scaling_factor": torch.tensor([0.0])}, "zero or negative"),
        ({"activation_scaling_factor": torch.tensor([-1.0])}, "zero or negative"),
        ({"activation_scaling_factor": None}, "not that of the tensors"),
        ({"weight": torch.zeros(2, 4)}, "not that of the tensors"),
        ({"weight": fp8(*[0] * 8).reshape(4, 2)}, "shape"),
        ({"weight": fp8(0x7F, *[0] * 7).reshape(2, 4)}, "not numbers"),
        ({"prequant_scaling_factor": torch.ones(4)}, "not that of the tensors"),
        ({"bias": torch.zeros(3)}, "shape"),
        ({"weight": None}, "not in the checkpoint"),
    ],
)
def test_what_cannot_be_right_is_said(change: dict[str, Any], word: str) -> None:
    tensors: dict[str, Any] = {
        "weight": fp8(*[0x38] * 8).reshape(2, 4),
        "weights_scaling_factor": torch.tensor([1.0]),
        "activation_scaling_factor": torch.tensor([1.0]),
    } | change
    layer = linear("FP8", 2, 4, **{name: value for name, value in tensors.items() if value is not None})
    with pytest.raises(WorkerError) as raised:
        dequantized(layer)
    assert raised.value.code == "bad-checkpoint"
    assert word in raised.value.message
    assert "transformer.layers.0.mlp.fc" in raised.value.cause
    assert raised.value.hint


def test_weights_in_the_kernels_own_layout_are_said_to_be_so() -> None:
    layer = linear("W8A16", 4, 4, weight=torch.zeros(4, 4, dtype=torch.int8), per_channel_scale=torch.ones(4))
    with pytest.raises(WorkerError, match="own kernels"):
        dequantized(layer)


def test_a_plain_weight_of_another_dtype_is_refused() -> None:
    layer = linear("", 2, 2, weight=torch.zeros(2, 2, dtype=torch.float16))
    layer.dtype = "bfloat16"
    with pytest.raises(WorkerError, match="dtype") as raised:
        dequantized(layer)
    assert "float16" in raised.value.cause
    layer.dtype = "float16"
    assert dequantized(layer).dtype is torch.float32

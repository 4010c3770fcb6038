"""How a model may be cut, told from its headers before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.workers.modelopt.models import config_of
from workbench.core.errors import BadInputError
from workbench.core.model import ModelSpec, read_model
from workbench.core.precision import Precision
from workbench.core.trtllm.parallel import awq_block_size, block_size, check_parallel, pipeline_sizes, tensor_sizes


def spec_of(folder: Path, family: str = "llama", **fields: Any) -> ModelSpec:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config_of(family, **fields)))
    return read_model(folder, require_tokenizer=False, require_weights=False)


def test_sizes_that_fit_pass_without_a_remark(tmp_path: Path) -> None:
    assert check_parallel(spec_of(tmp_path), 2, 2) == []


@pytest.mark.parametrize(
    ("tp", "pp", "fields", "said"),
    [
        (3, 1, {}, "4 attention heads cannot be split over 3 GPUs"),
        (4, 1, {"intermediate_size": 250}, "MLP's width of 250 cannot be split over 4 GPUs"),
        (1, 3, {}, "2 layers cannot be split into 3 equal pipeline stages"),
        (4, 1, {"num_attention_heads": 12, "num_key_value_heads": 6, "hidden_size": 384},
         "6 KV heads can neither be split over 4 GPUs nor repeated"),
    ],
)  # fmt: skip
def test_what_does_not_divide_is_named_with_what_would(
    tmp_path: Path, tp: int, pp: int, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInputError) as caught:
        check_parallel(spec_of(tmp_path, **fields), tp, pp)

    assert caught.value.failure.code == "bad-parallel"
    assert said in caught.value.evidence
    assert "parallel.tp: 1" in caught.value.fix


def test_experts_are_divided_by_their_own_width(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="tp 4") as caught:
        check_parallel(spec_of(tmp_path, "qwen3_moe", moe_intermediate_size=130), 4, 1)
    assert "experts' width of 130" in caught.value.evidence


@pytest.mark.parametrize("size", [0, -1, 5000])
def test_an_impossible_size_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(BadInputError):
        check_parallel(spec_of(tmp_path), size, 1)
    with pytest.raises(BadInputError):
        check_parallel(spec_of(tmp_path), 1, size)


def test_repeated_kv_heads_padding_and_shared_embeddings_are_said(tmp_path: Path) -> None:
    repeated = check_parallel(spec_of(tmp_path / "a"), 4, 1)
    padded = check_parallel(spec_of(tmp_path / "b", vocab_size=511), 2, 1)
    shared = check_parallel(spec_of(tmp_path / "c", tied=True), 1, 2)

    assert "2 KV heads on 4 GPUs" in repeated[0] and "2 times the memory" in repeated[0]
    assert "511 is padded to 512" in padded[0]
    assert "last pipeline stage gets its own copy" in shared[0]


def test_the_sizes_offered_are_those_that_pass(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, num_attention_heads=12, num_key_value_heads=4, hidden_size=384, num_hidden_layers=6)

    def passes(tp: int, pp: int) -> bool:
        try:
            check_parallel(spec, tp, pp)
        except BadInputError:
            return False
        return True

    assert tensor_sizes(spec) == tuple(size for size in range(1, 65) if passes(size, 1))
    assert pipeline_sizes(spec) == (1, 2, 3, 6)


@pytest.mark.parametrize(
    ("widths", "tp", "size"),
    [([4096, 14336], 1, 128), ([576, 1536], 1, 64), ([576], 2, 32), ([128, 256], 2, 64), ([2048], 8, 128)],
)
def test_awq_takes_the_largest_block_that_divides_and_says_why(widths: list[int], tp: int, size: int) -> None:
    found, why = awq_block_size(widths, tp)

    assert found == size
    assert why == "it divides every input width" if size == 128 else "128 does not divide" in why


def test_no_block_at_all_names_the_width_at_fault() -> None:
    with pytest.raises(BadInputError) as caught:
        awq_block_size([4096, 1000], 1)

    assert caught.value.failure.code == "bad-group-size"
    assert "1000" in caught.value.evidence


@pytest.mark.parametrize("wanted", [128, 0, -64, 48, "half"])
def test_a_block_that_was_asked_for_and_does_not_fit_is_refused(wanted: int | str) -> None:
    with pytest.raises(BadInputError) as caught:
        awq_block_size([576], 1, wanted)
    assert caught.value.failure.code == "bad-group-size"


def test_a_block_that_was_asked_for_and_fits_is_taken() -> None:
    assert awq_block_size([576], 1, 32)[0] == 32
    assert awq_block_size([576], 1, "64")[0] == 64


def test_only_block_formats_have_a_block() -> None:
    assert block_size(Precision.FP8, [576])[0] is None
    assert block_size(Precision.INT8_SQ, [100])[0] is None
    assert block_size(Precision.NVFP4, [576])[0] == 16
    assert block_size(Precision.W4A8_AWQ, [576])[0] == 64


def test_nvfp4_says_when_its_blocks_do_not_fit() -> None:
    with pytest.raises(BadInputError) as caught:
        block_size(Precision.NVFP4, [160], tp=4)
    assert "160 / 4 GPUs = 40" in caught.value.evidence

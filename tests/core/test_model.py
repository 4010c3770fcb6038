"""Model intake: what is read from good folders, and what is said about each kind of bad one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.models import (
    FAMILIES,
    LLAMA_8B,
    llama_tensors,
    make_config_folder,
    make_tiny_folder,
    make_weightless_folder,
    write_safetensors,
)
from workbench.core.errors import BadInputError
from workbench.core.intake.families import FAMILIES as KNOWN
from workbench.core.model import ModelSpec, read_model

TINY_PARAMETERS = 102_720


def plan(folder: Path, **more: Any) -> ModelSpec:
    return read_model(folder, require_weights=False, require_tokenizer=False, **more)


def edit(folder: Path, **fields: Any) -> Path:
    file = folder / "config.json"
    config = json.loads(file.read_text()) | fields
    file.write_text(json.dumps({key: value for key, value in config.items() if value is not Ellipsis}))
    return folder


def refused(folder: Path, *words: str, **more: Any) -> BadInputError:
    """The error that reading gives, which must hold all `words` and say what to do."""
    with pytest.raises(BadInputError) as caught:
        read_model(folder, **more)
    text = str(caught.value)
    for word in words:
        assert word.lower() in text.lower(), text
    assert caught.value.fix, text
    assert text.isascii() or text.encode("utf-8")
    return caught.value


# Good folders


def test_tiny_llama(tmp_path: Path) -> None:
    spec = read_model(make_tiny_folder(tmp_path / "tiny"))
    assert (spec.name, spec.architecture, spec.model_type) == ("tiny", "LlamaForCausalLM", "llama")
    assert (spec.layers, spec.hidden_size, spec.heads, spec.kv_heads, spec.head_size) == (2, 64, 4, 2, 16)
    assert (spec.parameters, spec.weight_bytes, spec.dtype) == (TINY_PARAMETERS, 2 * TINY_PARAMETERS, "bf16")
    assert spec.parameters_source == "safetensors headers"
    assert spec.input_channels == (64, 160)
    assert spec.has_tokenizer and spec.has_chat_template and spec.weights_present
    assert not spec.tied_embeddings and not spec.custom_code
    assert spec.quantization is None and spec.experts is None
    assert dict(spec.files)["model.safetensors"] > spec.weight_bytes
    assert [name for name, _ in spec.files] == sorted(name for name, _ in spec.files)


def test_llama_3_1_8b_from_headers_of_sparse_shards(tmp_path: Path) -> None:
    spec = read_model(make_weightless_folder(tmp_path / "llama"))
    assert spec.parameters == 8_030_261_248  # what the model card says
    assert spec.weight_bytes == 16_060_522_496  # total_size of its own index
    assert spec.rope_theta == 500_000.0
    assert spec.rope_scaling is not None
    assert (spec.rope_scaling.kind, spec.rope_scaling.factor) == ("llama3", 8.0)
    assert spec.rope_scaling.original_max_positions == 8192
    assert spec.rope_scaling.raw["high_freq_factor"] == 4.0
    assert spec.input_channels == (4096, 14336)


@pytest.mark.parametrize("shards", [1, 4])
def test_8b_folder_is_read_in_50_ms(tmp_path: Path, shards: int) -> None:
    folder = make_weightless_folder(tmp_path / "llama", shards=shards)
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        read_model(folder)
        taken.append(time.perf_counter() - start)
    assert min(taken) < 0.050, taken


def test_parameters_from_config_equal_those_from_headers(tmp_path: Path) -> None:
    whole = read_model(make_weightless_folder(tmp_path / "llama"))
    for file in (tmp_path / "llama").glob("model*"):
        file.unlink()
    bare = plan(tmp_path / "llama")
    assert bare.parameters_source == "computed from config.json" and not bare.weights_present
    assert (bare.parameters, bare.weight_bytes) == (whole.parameters, whole.weight_bytes)
    assert (bare.input_channels, bare.dtype) == (whole.input_channels, "bf16")


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_is_read(tmp_path: Path, family: str) -> None:
    spec = plan(make_config_folder(tmp_path / family, family))
    assert (spec.layers, spec.hidden_size, spec.vocab_size) == (2, 64, 128)
    assert spec.head_size == 16 and spec.heads % spec.kv_heads == 0


def test_gpt2_names_and_defaults(tmp_path: Path) -> None:
    spec = plan(make_config_folder(tmp_path / "gpt2", "gpt2"))
    assert (spec.intermediate_size, spec.max_positions, spec.rope_theta) == (256, 256, None)
    assert spec.tied_embeddings and spec.kv_heads == spec.heads


def test_gpt2_weights_are_transposed_and_masks_are_no_parameters(tmp_path: Path) -> None:
    folder = make_config_folder(tmp_path / "gpt2", "gpt2")
    write_safetensors(
        folder / "model.safetensors",
        {
            "wte.weight": ("F32", (128, 64)),
            "wpe.weight": ("F32", (256, 64)),
            "h.0.attn.c_attn.weight": ("F32", (64, 192)),
            "h.0.mlp.c_proj.weight": ("F32", (256, 64)),
            "h.0.attn.bias": ("F32", (1, 1, 256, 256)),
        },
    )
    spec = read_model(folder)
    assert spec.input_channels == (64, 256)
    assert spec.parameters == 128 * 64 + 256 * 64 + 64 * 192 + 256 * 64
    assert spec.dtype == "fp32" and spec.tied_embeddings


def test_mixture_of_experts(tmp_path: Path) -> None:
    spec = plan(make_config_folder(tmp_path / "mixtral", "mixtral"))
    assert spec.experts is not None
    assert (spec.experts.count, spec.experts.per_token, spec.experts.layers) == (4, 2, 2)
    assert spec.experts.intermediate_size == 160


def test_mixtral_8x7b_parameters(tmp_path: Path) -> None:
    config = {
        "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": 4096,
        "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "vocab_size": 32000, "max_position_embeddings": 32768, "num_local_experts": 8, "num_experts_per_tok": 2,
        "tie_word_embeddings": False,
    }  # fmt: skip
    tmp_path.joinpath("config.json").write_text(json.dumps(config))
    assert plan(tmp_path).parameters == 46_702_792_704  # the published count


def test_deepseek_v3_latent_attention_and_experts(tmp_path: Path) -> None:
    config = {
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": 7168,
        "intermediate_size": 18432, "moe_intermediate_size": 2048, "num_hidden_layers": 61,
        "num_attention_heads": 128, "num_key_value_heads": 128, "vocab_size": 129280,
        "max_position_embeddings": 163840, "n_routed_experts": 256, "n_shared_experts": 1,
        "num_experts_per_tok": 8, "first_k_dense_replace": 3, "kv_lora_rank": 512, "q_lora_rank": 1536,
        "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "tie_word_embeddings": False,
        "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]},
    }  # fmt: skip
    tmp_path.joinpath("config.json").write_text(json.dumps(config))
    spec = plan(tmp_path)
    assert round(spec.parameters / 1e9) == 671  # as published
    assert (spec.head_size, spec.latent_kv_size) == (192, 576)
    assert spec.experts is not None and spec.experts.layers == 58
    assert spec.quantization is not None
    assert (spec.quantization.method, spec.quantization.bits, spec.quantization.group_size) == ("fp8", 8, 128)


def test_multimodal_folder_is_read_through_text_config(tmp_path: Path) -> None:
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
        "text_config": {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240,
                        "num_hidden_layers": 34, "sliding_window": 1024,
                        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}},
        "vision_config": {"hidden_size": 1152}, "torch_dtype": "bfloat16",
    }  # fmt: skip
    tmp_path.joinpath("config.json").write_text(json.dumps(config))
    spec = plan(tmp_path)
    assert (spec.heads, spec.kv_heads, spec.head_size, spec.vocab_size) == (8, 4, 256, 262_208)
    assert (spec.sliding_window, spec.sliding_layers, spec.tied_embeddings) == (1024, 29, True)
    assert spec.rope_scaling is not None and spec.rope_scaling.kind == "linear"
    assert spec.dtype == "bf16"


@pytest.mark.parametrize(
    ("fields", "theta", "kind", "factor"),
    [
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, 10_000.0, "linear", 2.0),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "rope_theta": ...}, 5e5, None, None),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}}, 1e6, "yarn", 4.0),
        (
            {"rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}},
            1e6, "linear", 8.0,
        ),
        (
            {"rope_scaling": {"type": "longrope", "long_factor": [1.0], "short_factor": [1.0]},
             "original_max_position_embeddings": 64},
            10_000.0, "longrope", 4.0,
        ),
        ({"rope_theta": ...}, 10_000.0, None, None),
    ],
)  # fmt: skip
def test_rope_of_both_layouts(
    tmp_path: Path, fields: dict[str, Any], theta: float, kind: str | None, factor: float | None
) -> None:
    spec = plan(edit(make_config_folder(tmp_path / "m"), **fields))
    assert spec.rope_theta == theta
    assert (spec.rope_scaling.kind if spec.rope_scaling else None) == kind
    assert (spec.rope_scaling.factor if spec.rope_scaling else None) == factor


@pytest.mark.parametrize(
    ("family", "fields", "window", "layers"),
    [
        ("mistral", {}, 128, 2),
        ("mistral", {"sliding_window": None}, None, 0),
        ("qwen2", {"sliding_window": 64, "use_sliding_window": False}, None, 0),
        ("qwen2", {"sliding_window": 64, "use_sliding_window": True, "max_window_layers": 1}, 64, 1),
        ("gemma2", {}, 128, 1),
        ("llama", {"sliding_window": 64, "layer_types": ["full_attention", "sliding_attention"]}, 64, 1),
    ],
)
def test_sliding_window(tmp_path: Path, family: str, fields: dict[str, Any], window: int | None, layers: int) -> None:
    spec = plan(edit(make_config_folder(tmp_path / "m", family), **fields))
    assert (spec.sliding_window, spec.sliding_layers) == (window, layers)


def test_falcon_key_value_heads(tmp_path: Path) -> None:
    folder = make_config_folder(tmp_path / "m", "falcon")
    assert plan(folder).kv_heads == 1
    assert plan(edit(folder, multi_query=False)).kv_heads == 4
    assert plan(edit(folder, new_decoder_architecture=True, num_kv_heads=2, num_key_value_heads=...)).kv_heads == 2


def test_tied_embeddings_follow_the_headers_when_the_config_is_silent(tmp_path: Path) -> None:
    folder = edit(make_tiny_folder(tmp_path / "m"), tie_word_embeddings=...)
    assert not read_model(folder).tied_embeddings
    config = json.loads((folder / "config.json").read_text())
    write_safetensors(folder / "model.safetensors", llama_tensors(config | {"tie_word_embeddings": True}))
    assert read_model(folder).tied_embeddings


@pytest.mark.parametrize(("dtype", "word"), [("F16", "fp16"), ("F32", "fp32"), ("BF16", "bf16"), ("F8_E4M3", "fp8")])
def test_dtype_is_that_of_most_bytes(tmp_path: Path, dtype: str, word: str) -> None:
    folder = make_config_folder(tmp_path / "m")
    tensors = llama_tensors(json.loads((folder / "config.json").read_text()), dtype)
    write_safetensors(folder / "model.safetensors", tensors | {"model.norm.weight": ("F32", (64,))})
    assert read_model(folder).dtype == word


def test_name_in_the_hugging_face_cache(tmp_path: Path) -> None:
    folder = make_tiny_folder(tmp_path / "models--org--Some-Model" / "snapshots" / ("a" * 40))
    assert read_model(folder).name == "Some-Model"


def test_text_with_broken_escapes_is_made_printable(tmp_path: Path) -> None:
    folder = make_config_folder(tmp_path / "m")
    text = (folder / "config.json").read_text().replace('"model_type": "llama"', '"model_type": "ll\\ud800"')
    (folder / "config.json").write_text(text)
    assert plan(folder).model_type.encode("utf-8") == b"ll?"


# Already quantized folders


def packed(folder: Path, quantization: dict[str, Any], tensors: dict[str, tuple[str, tuple[int, ...]]]) -> ModelSpec:
    edit(make_config_folder(folder), quantization_config=quantization)
    write_safetensors(folder / "model.safetensors", {"model.embed_tokens.weight": ("F16", (128, 64))} | tensors)
    return read_model(folder)


GATE = "model.layers.0.mlp.gate_proj."


@pytest.mark.parametrize(
    ("table", "tensors", "expected"),
    [
        (
            {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": True, "sym": True},
            {"qweight": ("I32", (8, 160)), "qzeros": ("I32", (2, 20)), "scales": ("F16", (2, 160)),
             "g_idx": ("I32", (64,))},
            ("gptq", 4, 32),
        ),
        (
            {"quant_method": "gptq", "bits": 3, "group_size": -1},
            {"qweight": ("I32", (6, 160)), "scales": ("F16", (1, 160))},
            ("gptq", 3, None),
        ),
        (
            {"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm"},
            {"qweight": ("I32", (64, 20)), "qzeros": ("I32", (1, 20)), "scales": ("F16", (1, 160))},
            ("awq", 4, 64),
        ),
        (
            {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {
                "group_0": {"weights": {"num_bits": 4, "group_size": 32, "type": "int"}}}},
            {"weight_packed": ("I32", (160, 8)), "weight_scale": ("BF16", (160, 2)), "weight_shape": ("I64", (2,))},
            ("compressed-tensors", 4, 32),
        ),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
            {"weight": ("U8", (5120, 1)), "weight.absmax": ("F32", (160,)), "weight.quant_map": ("F32", (16,)),
             "weight.quant_state.bitsandbytes__nf4": ("U8", (80,))},
            ("bitsandbytes", 4, None),
        ),
        (
            {"quant_method": "fp8", "weight_block_size": [128, 128]},
            {"weight": ("F8_E4M3", (160, 64)), "weight_scale_inv": ("F32", (2, 1))},
            ("fp8", 8, 128),
        ),
        (
            {"quant_method": "modelopt", "quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"},
            {"weight": ("U8", (160, 32)), "weight_scale": ("F8_E4M3", (160, 4)), "weight_scale_2": ("F32", ()),
             "input_scale": ("F32", ())},
            ("modelopt", 4, 16),
        ),
    ],
    ids=["gptq", "gptq-3-bit", "awq", "compressed-tensors", "bitsandbytes", "fp8", "nvfp4"],
)  # fmt: skip
def test_packed_weights_are_counted_unpacked(
    tmp_path: Path, table: dict[str, Any], tensors: dict[str, Any], expected: tuple[str, int, int | None]
) -> None:
    spec = packed(tmp_path / "m", table, {GATE + name: value for name, value in tensors.items()})
    assert spec.quantization is not None
    assert (spec.quantization.method, spec.quantization.bits, spec.quantization.group_size) == expected
    assert spec.parameters == 128 * 64 + 160 * 64
    assert spec.parameters_source == "safetensors headers"
    if expected[0] != "bitsandbytes":  # its packed weights have no shape to see
        assert spec.input_channels == (64,)


def test_modelopt_says_it_in_a_file_of_its_own(tmp_path: Path) -> None:
    folder = make_config_folder(tmp_path / "m")
    table = {"producer": {"name": "modelopt", "version": "0.47"}, "quantization": {"quant_algo": "FP8"}}
    (folder / "hf_quant_config.json").write_text(json.dumps(table))
    quantized = plan(folder).quantization
    assert quantized is not None and (quantized.method, quantized.bits) == ("modelopt", 8)
    assert "FP8" in quantized.detail and "0.47" in quantized.detail


def test_packing_that_is_not_known_falls_back_to_the_config(tmp_path: Path) -> None:
    spec = packed(tmp_path / "m", {"quant_method": "novel", "bits": 2}, {GATE + "codes": ("I32", (10, 10))})
    assert spec.parameters_source == "computed from config.json"
    assert spec.parameters == TINY_PARAMETERS


# Folders that cannot be used


def test_missing_folder(tmp_path: Path) -> None:
    error = refused(tmp_path / "no" / "such", "does not exist", str(tmp_path / "no" / "such"), str(tmp_path))
    assert error.exit_code == 2


def test_file_instead_of_folder(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    refused(tmp_path / "model.gguf", "must be a folder", "GGUF")


def test_empty_folder(tmp_path: Path) -> None:
    refused(tmp_path, "is empty", "config.json")


def test_no_config(tmp_path: Path) -> None:
    make_tiny_folder(tmp_path / "inner" / "deep")
    (tmp_path / "inner" / "README.md").write_text("x")
    refused(tmp_path / "inner", "no config.json", str(tmp_path / "inner" / "deep"))


def test_link_to_nowhere(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to(tmp_path / "gone")
    (tmp_path / "x").write_text("x")
    refused(tmp_path, "no config.json")


@contextlib.contextmanager
def as_ordinary_user(*folders: Path) -> Iterator[None]:
    """Root may read all; become nobody for the block, who then owns the folders."""
    if os.geteuid() != 0:
        yield
        return
    for folder in folders:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("name", ["", "config.json", "model.safetensors", "tokenizer_config.json"])
def test_unreadable(name: str) -> None:
    root = Path(tempfile.mkdtemp(prefix="workbench-test-"))  # pytest's own folders are closed to others
    try:
        root.chmod(0o755)
        folder = make_tiny_folder(root / "m")
        with as_ordinary_user(folder):
            (folder / name).chmod(0)
            error = refused(folder, "cannot be read", "Permission denied", name)
            (folder / name).chmod(0o755)
        assert "mode" in error.fix
    finally:
        shutil.rmtree(root)


def test_config_that_is_a_pipe_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("x")
    os.mkfifo(tmp_path / "config.json")
    refused(tmp_path, "no config.json")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"a": 1,\n  "b" 2}', ("not JSON", "line 2, column 7")),
        (b"", ("not JSON", "line 1, column 1")),
        (b"[1, 2]", ("not a JSON object", "list")),
        (b"null", ("not a JSON object",)),
        (b"\xff\xfe{}", ("not UTF-8",)),
        (b"[" * 100_000, ("nested too deep",)),
        (b'{"a":' * 50_000, ("nested too deep",)),
        (b'{"num_hidden_layers": ' + b"9" * 5000 + b"}", ("number that is too long",)),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", ("Git LFS", "git lfs pull")),
    ],
    ids=["syntax", "empty", "list", "null", "utf-16", "deep-list", "deep-object", "huge-number", "lfs"],
)
def test_config_that_is_no_json_object(tmp_path: Path, raw: bytes, words: tuple[str, ...]) -> None:
    make_tiny_folder(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_bytes(raw)
    refused(tmp_path / "m", "config.json", *words)


@pytest.mark.parametrize("field", ["rope_scaling", "quantization_config", "task_specific_params"])
def test_deep_tables_do_no_harm(tmp_path: Path, field: str) -> None:
    folder = make_config_folder(tmp_path / "m")
    deep = '{"type": "linear", "factor": 2.0, "quant_method": "x", "deep": ' + "[" * 300 + "]" * 300 + "}"
    file = folder / "config.json"
    file.write_text(file.read_text().rstrip().removesuffix("}") + f', "{field}": {deep}}}')
    assert plan(folder).model_dump_json()


def test_all_missing_fields_are_named(tmp_path: Path) -> None:
    folder = edit(make_tiny_folder(tmp_path / "m"), hidden_size=..., vocab_size=None, num_attention_heads=...)
    refused(folder, "lacks fields", "hidden_size", "vocab_size", "num_attention_heads")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_attention_heads": 0}, ("num_attention_heads is 0",)),
        ({"num_hidden_layers": -2}, ("num_hidden_layers is -2",)),
        ({"num_key_value_heads": 3}, ("4 is not a multiple of num_key_value_heads 3",)),
        ({"num_attention_heads": 5, "num_key_value_heads": 5}, ("64 is not a multiple",)),
        ({"hidden_size": "64"}, ("hidden_size is '64'", "not a whole number")),
        ({"hidden_size": True}, ("hidden_size is True",)),
        ({"vocab_size": 1e30}, ("vocab_size",)),
        ({"num_hidden_layers": 10**12}, ("num_hidden_layers",)),
        ({"num_hidden_layers": 100_000}, ("100,000",)),
        ({"rope_theta": -1}, ("rope_theta is -1",)),
        ({"rope_scaling": "linear"}, ("rope_scaling is 'linear'",)),
        ({"rope_scaling": {"type": "linear", "factor": "2"}}, ("factor is '2'",)),
        ({"tie_word_embeddings": "no"}, ("tie_word_embeddings is 'no'",)),
        ({"num_local_experts": 2, "num_experts_per_tok": 4}, ("num_experts_per_tok 4 is more",)),
        ({"quantization_config": "int4"}, ("quantization_config",)),
        ({"architectures": "LlamaForCausalLM"}, ("not a list of names",)),
    ],
)
def test_impossible_values(tmp_path: Path, fields: dict[str, Any], words: tuple[str, ...]) -> None:
    refused(edit(make_tiny_folder(tmp_path / "m"), **fields), *words)


def test_several_impossible_values_are_named_together(tmp_path: Path) -> None:
    refused(
        edit(make_tiny_folder(tmp_path / "m"), num_attention_heads=0, vocab_size=-1),
        "heads is 0",
        "vocab_size is -1",
    )


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("LlamaForCausalML", "LlamaForCausalLM"),
        ("llamaforcausallm", "LlamaForCausalLM"),
        ("Qwen2_ForCausalLM", "Qwen2ForCausalLM"),
    ],
)
def test_unknown_architecture_near_a_known_one(tmp_path: Path, name: str, near: str) -> None:
    folder = edit(make_tiny_folder(tmp_path / "m"), architectures=[name])
    refused(folder, name, f"Did you mean {near}?", *(family.title for family in KNOWN))


def test_unknown_architecture_near_none(tmp_path: Path) -> None:
    error = refused(edit(make_tiny_folder(tmp_path / "m"), architectures=["BertModel"]), "BertModel", "Llama, Mistral")
    assert "Did you mean" not in error.fix


def test_missing_architectures(tmp_path: Path) -> None:
    refused(
        edit(make_tiny_folder(tmp_path / "m"), architectures=...),
        "which architecture",
        '["LlamaForCausalLM"]',
    )
    refused(edit(tmp_path / "m", architectures=[], model_type="zzz"), "which architecture", "Known families")


def test_missing_model_type(tmp_path: Path) -> None:
    refused(edit(make_tiny_folder(tmp_path / "m"), model_type=...), '"model_type": "llama"')


def test_custom_code_needs_to_be_asked_for(tmp_path: Path) -> None:
    folder = edit(make_tiny_folder(tmp_path / "m"), auto_map={"AutoModelForCausalLM": "modeling_x.X"})
    error = refused(folder, "code of its own", "auto_map", "`trust_remote_code = true`", "[model]")
    assert error.failure.code == "custom-code"
    assert read_model(folder, trust_remote_code=True).custom_code
    edit(folder, architectures=["XForCausalLM"], model_type="x")
    assert read_model(folder, trust_remote_code=True).architecture == "XForCausalLM"


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt", "m.pth"])
@pytest.mark.parametrize("require_weights", [True, False])
def test_pickle_only(tmp_path: Path, name: str, require_weights: bool) -> None:
    folder = make_config_folder(tmp_path / "m")
    (folder / name).write_bytes(b"\x80\x04.")
    refused(folder, "pickle", "runs whatever code", name, "safetensors", require_weights=require_weights)


def test_pickle_beside_safetensors_is_left_alone(tmp_path: Path) -> None:
    folder = make_tiny_folder(tmp_path / "m")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    assert read_model(folder).weights_present


def test_gguf_only(tmp_path: Path) -> None:
    folder = make_config_folder(tmp_path / "m")
    (folder / "model-Q4_0.gguf").write_bytes(b"GGUF")
    refused(folder, "GGUF", "llama.cpp", "original safetensors")


def test_adapter_only(tmp_path: Path) -> None:
    folder = make_config_folder(tmp_path / "m")
    (folder / "adapter_config.json").write_text("{}")
    write_safetensors(folder / "adapter_model.safetensors", {"x": ("F16", (2, 2))})
    refused(folder, "LoRA adapter", "merge")


def test_no_weights(tmp_path: Path) -> None:
    folder = make_config_folder(tmp_path / "m")
    refused(folder, "no weights", "model.safetensors")
    assert not read_model(folder, require_weights=False).weights_present


def test_shards_without_their_index(tmp_path: Path) -> None:
    folder = make_weightless_folder(tmp_path / "m")
    (folder / "model.safetensors.index.json").unlink()
    refused(folder, "model.safetensors.index.json is missing", "model-00001-of-00004.safetensors")


def test_missing_shard(tmp_path: Path) -> None:
    folder = make_weightless_folder(tmp_path / "m")
    (folder / "model-00003-of-00004.safetensors").unlink()
    refused(folder, "model-00003-of-00004.safetensors is missing", "Download")


def test_tensor_missing_in_its_shard(tmp_path: Path) -> None:
    folder = make_weightless_folder(tmp_path / "m")
    file = folder / "model.safetensors.index.json"
    index = json.loads(file.read_text())
    index["weight_map"]["model.layers.99.extra"] = "model-00002-of-00004.safetensors"
    file.write_text(json.dumps(index))
    refused(folder, "model-00002-of-00004.safetensors lacks a tensor", "model.layers.99.extra")


@pytest.mark.parametrize(
    "name", ["../../etc/passwd.safetensors", "/etc/x.safetensors", "evil.bin", 7, "a\n.safetensors"]
)
def test_index_that_points_elsewhere(tmp_path: Path, name: Any) -> None:
    folder = make_config_folder(tmp_path / "m")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": name}}))
    refused(folder, "model.safetensors.index.json names a file")


def test_no_tokenizer(tmp_path: Path) -> None:
    folder = make_tiny_folder(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    refused(folder, "no tokenizer", "tokenizer.json")
    spec = read_model(folder, require_tokenizer=False)
    assert not spec.has_tokenizer and spec.tokenizer_files == ("tokenizer_config.json",)
    (folder / "vocab.json").write_text("{}")
    (folder / "merges.txt").write_text("")
    assert read_model(folder).has_tokenizer


@pytest.mark.parametrize(
    ("content", "word"), [(None, "truncated"), (b"", "empty"), (b"version https://git-lfs.g", "LFS")]
)
def test_tokenizer_that_is_not_whole(tmp_path: Path, content: bytes | None, word: str) -> None:
    file = make_tiny_folder(tmp_path / "m") / "tokenizer.json"
    file.write_bytes(file.read_bytes()[:-20] if content is None else content)
    refused(tmp_path / "m", "tokenizer.json", word)


# Fuzzing

numbers = st.integers() | st.integers(-2, 200) | st.floats()
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = sorted(
    {*LLAMA_8B, "auto_map", "text_config", "quantization_config", "rope_parameters", "sliding_window", "layer_types",
     "head_dim", "num_local_experts", "num_experts_per_tok", "n_routed_experts", "moe_intermediate_size",
     "first_k_dense_replace", "decoder_sparse_step", "mlp_only_layers", "kv_lora_rank", "q_lora_rank", "attn_config",
     "use_sliding_window", "sliding_window_pattern", "original_max_position_embeddings", "dtype", "n_embd",
     "new_decoder_architecture", "multi_query", "expansion_ratio", "word_embed_proj_dim", "max_window_layers"}
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    family=st.sampled_from([family for family in KNOWN if family.model_type != "mistral3"]),
    changes=st.dictionaries(st.sampled_from(FIELDS), anything, max_size=5),
    quantization=st.none() | st.dictionaries(
        st.sampled_from(["quant_method", "bits", "group_size", "config_groups", "quant_algo", "load_in_4bit", "format",
                         "weight_block_size", "version", "w_bit"]),
        anything | st.sampled_from(["gptq", "awq", "fp8", "modelopt", "compressed-tensors", "bitsandbytes", "NVFP4"]),
        max_size=4,
    ),
    trust=st.booleans(),
)  # fmt: skip
def test_any_config_is_read_or_refused_in_words(
    tmp_path: Path, family: Any, changes: dict[str, Any], quantization: dict[str, Any] | None, trust: bool
) -> None:
    config = {
        **LLAMA_8B,
        "architectures": list(family.architectures[:1]),
        "model_type": family.model_type,
        **changes,
    }
    if quantization is not None:
        config["quantization_config"] = quantization
    (tmp_path / "config.json").write_text(json.dumps(config))
    write_safetensors(
        tmp_path / "model.safetensors",
        {"a.qweight": ("I32", (4, 8)), "a.weight": ("U8", (4, 8)), "b.weight_packed": ("I32", (8, 4))},
    )
    try:
        spec = read_model(tmp_path, require_tokenizer=False, trust_remote_code=trust)
    except BadInputError as error:
        assert error.what and str(error).encode("utf-8")
    else:
        assert spec.parameters > 0 and spec.model_dump_json()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_as_config(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "config.json").write_bytes(raw)
    with pytest.raises(BadInputError):
        plan(tmp_path)


def test_intake_imports_nothing_heavy() -> None:
    code = "import sys, workbench.core.model, workbench.core.estimate; print([m for m in sys.modules if m in {'torch', 'numpy', 'safetensors', 'transformers'}])"  # noqa: E501
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )

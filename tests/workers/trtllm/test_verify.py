"""Verify of TensorRT-LLM checkpoints: ones made by hand and then broken, and, where ModelOpt is, ones that it made.

Those made by hand come from tests/workers/handmade_checkpoint.py, which shares no code with the reader.
"""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workers.conftest import RunWorker, error_of, result_of
from tests.workers.trtllm.handmade_checkpoint import change_config, change_tensors, checkpoint
from workbench.core.messages import StepSpec
from workbench.workers.protocol import Channel, WorkerError

if lacking := [name for name in ("torch", "transformers", "tokenizers") if not importlib.util.find_spec(name)]:
    pytest.skip(f"not installed here: {', '.join(lacking)}", allow_module_level=True)

from tests.workers.modelopt.models import make_model
from workbench.workers.trtllm import verify as trtllm_verify

pytestmark = pytest.mark.slow  # the first one imports transformers, which takes longer than all of them

PROMPTS = ["What is the capital of France?", "List five things to check before a long bicycle tour, please. " * 3]
Models = Callable[..., Path]


def verify(folder: Path, model: Path, **settings: Any) -> dict[str, Any]:
    """The worker's own work, in this process, since importing transformers takes longer than a tiny model's run."""
    out = io.BytesIO()
    given = {"precision": "bf16", "prompts": PROMPTS, "max_new_tokens": 12, **settings}
    spec = {"worker": "trtllm.verify", "inputs": {"checkpoint": str(folder), "model": str(model)}, "settings": given}
    data = trtllm_verify.work(StepSpec.model_validate(spec), Channel(out, iter(())))  # type: ignore[arg-type]
    json.dumps(data)
    return data


def refused(folder: Path, model: Path, code: str, **settings: Any) -> WorkerError:
    """The error that verify must end with. It must say what to do."""
    with pytest.raises(WorkerError) as raised:
        verify(folder, model, **settings)
    error = raised.value
    assert error.code == code, f"{error.code}: {error.message} ({error.cause})"
    assert error.hint, error.message
    assert len(error.message.split()) >= 4
    return error


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """`models(family, **fields)` -> a tiny model's folder, made once a module. Not to be changed."""
    made: dict[str, Path] = {}

    def make(family: str, **fields: Any) -> Path:
        key = json.dumps([family, fields], sort_keys=True)
        if key not in made:
            made[key] = make_model(tmp_path_factory.mktemp("models") / family, family, **fields)
        return made[key]

    return make


@pytest.fixture
def llama(models: Models) -> Path:
    return models("llama")


@pytest.fixture
def tp2(llama: Path, tmp_path: Path) -> Path:
    """The Llama's checkpoint for two ranks, to be broken."""
    return checkpoint(llama, tmp_path / "tp2", tp=2)


# What is right passes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "fields", "tp", "pp"),
    [
        ("llama", {}, 1, 1),
        ("llama", {}, 2, 2),
        ("llama", {}, 4, 1),  # two key and value heads over four ranks: each is held twice
        ("llama", {"vocab_size": 509}, 2, 1),  # a vocabulary that has to be padded
        ("llama", {"tied": True}, 2, 1),
        ("llama31", {}, 1, 2),
        ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, 1, 1),
        ("mistral", {}, 2, 1),
        ("qwen2", {}, 2, 1),
    ],
)
def test_a_whole_checkpoint_gives_the_sources_logits(
    models: Models, tmp_path: Path, family: str, fields: dict[str, Any], tp: int, pp: int
) -> None:
    model = models(family, **fields)
    folder = checkpoint(model, tmp_path / "made", tp=tp, pp=pp)
    found = verify(folder, model, compute="float32")
    assert found["compute"] == "float32"
    assert found["max_abs_logit_error"] < 1e-3
    assert found["agreement"] == 1.0
    assert found["differences"] == []
    assert found["defaults_used"] == []
    assert found["ignored"] == []
    assert (found["tp"], found["pp"]) == (tp, pp)
    found = verify(folder, model, compute="bfloat16")
    assert found["compute"] == "bfloat16"
    assert found["max_abs_logit_error"] < 0.05


@pytest.mark.slow
def test_rounding_to_the_checkpoints_dtype_is_not_taken_for_a_mix_up(models: Models, tmp_path: Path) -> None:
    model = models("llama", dtype="float32")
    found = verify(checkpoint(model, tmp_path / "bf16"), model, compute="float32")
    assert found["max_abs_logit_error"] > 1e-3
    assert found["layout_logit_error"] < 1e-5
    assert found["agreement"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("tp", [1, 2])
def test_fp8_is_near_and_not_the_same(llama: Path, tmp_path: Path, tp: int) -> None:
    folder = checkpoint(llama, tmp_path / "fp8", tp=tp, fp8=True)
    found = verify(folder, llama, precision="fp8", min_agreement=0.5, max_kl=0.1)
    assert 0 < found["kl_nats"] < 0.1
    assert found["max_abs_logit_error"] > 1e-2
    assert found["linear_layers"] == {"FP8": 10, "none": 1}
    assert found["source_perplexity"] > 1


@pytest.mark.slow
def test_fp8_figures_are_the_same_for_one_and_two_ranks(llama: Path, tmp_path: Path) -> None:
    loose = {"precision": "fp8", "min_agreement": 0.0, "max_kl": 10.0}
    found = [verify(checkpoint(llama, tmp_path / f"tp{tp}", tp=tp, fp8=True), llama, **loose) for tp in (1, 2)]
    assert found[0]["kl_nats"] == pytest.approx(found[1]["kl_nats"], abs=1e-6)


@pytest.mark.slow
def test_fp8_below_the_floor_fails_with_its_figures(llama: Path, tmp_path: Path) -> None:
    folder = checkpoint(llama, tmp_path / "fp8", fp8=True)
    error = refused(folder, llama, "verify-failed", precision="fp8", min_agreement=0.0, max_kl=1e-6)
    assert "KL" in error.cause
    assert "at most 1e-06" in error.cause


@pytest.mark.slow
def test_the_worker_says_the_same_over_its_protocol(run_worker: RunWorker, llama: Path, tp2: Path) -> None:
    spec = {
        "inputs": {"checkpoint": str(tp2), "model": str(llama)},
        "settings": {"precision": "bf16", "prompts": PROMPTS[:1], "max_new_tokens": 4},
    }
    assert result_of(run_worker("trtllm.verify", spec))["max_abs_logit_error"] < 1e-3
    (tp2 / "rank1.safetensors").unlink()
    error = error_of(run_worker("trtllm.verify", spec))
    assert error.code == "bad-checkpoint"
    assert "rank1.safetensors" in error.cause


# What is broken does not


def test_a_missing_rank(llama: Path, tp2: Path) -> None:
    (tp2 / "rank1.safetensors").unlink()
    assert "rank1.safetensors of 2" in refused(tp2, llama, "bad-checkpoint").cause


def test_a_rank_too_many(llama: Path, tp2: Path) -> None:
    (tp2 / "rank2.safetensors").write_bytes((tp2 / "rank1.safetensors").read_bytes())
    assert "rank2.safetensors" in refused(tp2, llama, "bad-checkpoint").cause


def test_a_rank_cut_short(llama: Path, tp2: Path) -> None:
    path = tp2 / "rank0.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    error = refused(tp2, llama, "bad-checkpoint")
    assert "not a whole safetensors file" in error.message
    assert "rank0.safetensors" in error.cause


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"config"', b"\xff\xfe\x00"])
def test_config_that_is_not_a_json_object(llama: Path, tp2: Path, content: bytes) -> None:
    (tp2 / "config.json").write_bytes(content)
    assert "config.json" in refused(tp2, llama, "bad-checkpoint").message


def test_no_config(llama: Path, tp2: Path) -> None:
    (tp2 / "config.json").unlink()
    assert "config.json" in refused(tp2, llama, "bad-checkpoint").message


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "transformer.layers.1.attention.qkv.weight",
        "transformer.layers.0.mlp.proj.weight",
        "transformer.layers.0.input_layernorm.weight",
        "transformer.vocab_embedding.weight",
        "lm_head.weight",
    ],
)
def test_a_wrong_shape(llama: Path, tp2: Path, name: str) -> None:
    def cut(tensors: dict[str, Any]) -> None:
        tensors[name] = tensors[name][:-1]

    change_tensors(tp2, cut, rank=1)
    error = refused(tp2, llama, "bad-checkpoint")
    assert "shape" in error.message
    assert name in error.cause
    assert "rank1.safetensors" in error.cause


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "transformer.layers.1.attention.qkv.weight",
        "transformer.layers.0.post_layernorm.weight",
        "transformer.ln_f.weight",
    ],
)
def test_a_tensor_left_out(llama: Path, tp2: Path, name: str) -> None:
    change_tensors(tp2, lambda tensors: tensors.pop(name), rank=1)
    error = refused(tp2, llama, "bad-checkpoint")
    assert "not in the checkpoint" in error.message
    assert name in error.cause


@pytest.mark.slow
def test_a_bias_left_out(models: Models, tmp_path: Path) -> None:
    folder = checkpoint(models("qwen2"), tmp_path / "qwen")
    change_tensors(folder, lambda tensors: tensors.pop("transformer.layers.0.attention.qkv.bias"))
    assert "attention.qkv.bias" in refused(folder, models("qwen2"), "bad-checkpoint").cause


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
@pytest.mark.parametrize("name", ["transformer.layers.0.mlp.fc.weight", "transformer.ln_f.weight"])
def test_a_wrong_dtype(llama: Path, tp2: Path, name: str, dtype: str) -> None:
    import torch

    def convert(tensors: dict[str, Any]) -> None:
        tensors[name] = tensors[name].to(getattr(torch, dtype))

    change_tensors(tp2, convert)
    error = refused(tp2, llama, "bad-checkpoint")
    assert name.removesuffix(".weight") in error.cause
    assert dtype in error.cause


@pytest.mark.parametrize("value", ["int4", None, 7])
def test_a_dtype_that_is_none(llama: Path, tp2: Path, value: Any) -> None:
    change_config(tp2, lambda config: config.update(dtype=value))
    assert "dtype" in refused(tp2, llama, "bad-checkpoint").cause


@pytest.mark.slow
def test_rotary_base_left_out_falls_to_the_engines_default_and_is_named(llama: Path, tp2: Path) -> None:
    change_config(tp2, lambda config: config.pop("rotary_base"))
    error = refused(tp2, llama, "verify-failed")
    assert "rotary_base is 10000 (absent, the engine's default), the source has 100000" in error.cause
    assert "logit error" in error.cause


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "field", "value", "shown"),
    [
        ("llama", "norm_epsilon", 1e-3, "norm_epsilon is 0.001"),
        ("llama", "hidden_act", "gelu", "hidden_act is gelu"),
        ("llama31", "rotary_scaling", None, "rotary_scaling is None"),
        ("llama31", "rotary_scaling", {"type": "linear", "factor": 8.0}, "rotary_scaling is"),
        ("llama", "max_position_embeddings", 256, "max_position_embeddings is 256"),
        ("mistral", "runtime_defaults", None, "max_attention_window is None"),
        ("mistral", "runtime_defaults", {"max_attention_window": [16]}, "max_attention_window is 16 tokens"),
    ],
)
def test_config_that_disagrees_with_the_source_is_named(
    models: Models, tmp_path: Path, family: str, field: str, value: Any, shown: str
) -> None:
    folder = checkpoint(models(family), tmp_path / "made")
    change_config(folder, lambda config: config.update({field: value}))
    assert shown in refused(folder, models(family), "verify-failed").cause


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("num_hidden_layers", 3, "number of layers"),
        ("num_hidden_layers", "two", "whole number"),
        ("num_attention_heads", 0, "whole number"),
        ("norm_epsilon", "small", "not a number"),
        ("hidden_act", "swoosh", "activation"),
        ("rotary_scaling", {"type": "spiral"}, "rotary scaling"),
        ("quantization", {"quant_algo": "FP8"}, "not that of the tensors"),
        ("quantization", {"quant_algo": "FP9"}, "does not know"),
        ("quantization", {"quant_algo": None, "zero": 1}, "another TensorRT-LLM version"),
        ("quantization", {"quant_algo": None, "kv_cache_quant_algo": "FP8"}, "KV cache"),
        ("mapping", {"world_size": 4, "tp_size": 2, "pp_size": 1}, "parallel sizes"),
        ("mapping", {"world_size": 3, "tp_size": 3, "pp_size": 1}, "missing"),
        ("mapping", {"world_size": 2, "tp_size": "two", "pp_size": 1}, "parallel sizes"),
        ("mapping", [2], "not an object"),
        ("quantization", {"quant_algo": None, "group_size": "large"}, "cannot be read"),
        ("quantization", {"quant_algo": None, "exclude_modules": 5}, "cannot be read"),
        ("quantization", [], "another TensorRT-LLM version"),
        ("vocab_size", 1024, "shape"),
        ("runtime_defaults", {"max_attention_window": "wide"}, "attention window"),
    ],
)
def test_config_that_cannot_be_right(llama: Path, tp2: Path, field: str, value: Any, word: str) -> None:
    change_config(tp2, lambda config: config.update({field: value}))
    settings = {"precision": "fp8"} if "FP8" in str(value) and "kv" not in str(value) else {}
    assert word in refused(tp2, llama, "bad-checkpoint", **settings).message


@pytest.mark.slow
def test_gate_and_up_exchanged(llama: Path, tp2: Path) -> None:
    def exchange(tensors: dict[str, Any]) -> None:
        at = "transformer.layers.0.mlp"
        tensors[f"{at}.fc.weight"], tensors[f"{at}.gate.weight"] = (
            tensors[f"{at}.gate.weight"],
            tensors[f"{at}.fc.weight"],
        )

    for rank in (0, 1):
        change_tensors(tp2, exchange, rank)
    assert "logit error" in refused(tp2, llama, "verify-failed").cause


@pytest.mark.slow
def test_rank_files_exchanged(llama: Path, tp2: Path) -> None:
    first, second = (tp2 / f"rank{rank}.safetensors" for rank in (0, 1))
    first.rename(tp2 / "other")
    second.rename(first)
    (tp2 / "other").rename(second)
    refused(tp2, llama, "verify-failed")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["attention.qkv", "attention.dense", "mlp.proj"])
def test_one_layers_shards_exchanged(llama: Path, tp2: Path, name: str) -> None:
    from safetensors.torch import load_file

    at = f"transformer.layers.1.{name}.weight"
    shards = [load_file(tp2 / f"rank{rank}.safetensors")[at] for rank in (0, 1)]
    for rank in (0, 1):
        change_tensors(tp2, lambda tensors, rank=rank: tensors.update({at: shards[1 - rank]}), rank)  # type: ignore[misc]
    refused(tp2, llama, "verify-failed")


@pytest.mark.slow
def test_ranks_that_disagree_on_what_they_share(llama: Path, tp2: Path, tmp_path: Path) -> None:
    change_tensors(tp2, lambda tensors: tensors["transformer.ln_f.weight"].mul_(1.5), rank=1)
    assert "ranks disagree" in refused(tp2, llama, "bad-checkpoint").message
    tp4 = checkpoint(llama, tmp_path / "tp4", tp=4)
    change_tensors(tp4, lambda tensors: tensors["transformer.layers.0.attention.qkv.weight"][-1].add_(1), rank=1)
    assert "share a key or value head" in refused(tp4, llama, "bad-checkpoint").message


@pytest.mark.slow
@pytest.mark.parametrize("where", ["weights_scaling_factor", "activation_scaling_factor"])
@pytest.mark.parametrize(("value", "word"), [(float("nan"), "not numbers"), (0.0, "zero or negative")])
def test_scales_that_are_not_numbers(llama: Path, tmp_path: Path, where: str, value: float, word: str) -> None:
    folder = checkpoint(llama, tmp_path / "fp8", fp8=True)
    name = f"transformer.layers.1.mlp.proj.{where}"
    change_tensors(folder, lambda tensors: tensors[name].fill_(value))
    error = refused(folder, llama, "bad-checkpoint", precision="fp8")
    assert word in error.message
    assert name in error.cause


@pytest.mark.slow
def test_weights_that_are_not_numbers(llama: Path, tp2: Path) -> None:
    change_tensors(tp2, lambda tensors: tensors["lm_head.weight"][3, :4].fill_(float("inf")))
    assert "4 of" in refused(tp2, llama, "bad-checkpoint").cause


@pytest.mark.slow
def test_scales_of_the_kv_cache(llama: Path, tmp_path: Path) -> None:
    loose = {"precision": "fp8", "min_agreement": 0.0, "max_kl": 10.0}
    folder = checkpoint(llama, tmp_path / "kv", fp8=True, kv=True)
    found = verify(folder, llama, **loose)
    assert found["kv_cache_quant_algo"] == "FP8"
    assert any("keys and values rounded to FP8" in sentence for sentence in found["not_covered"])
    name = "transformer.layers.0.attention.kv_cache_scaling_factor"
    change_tensors(folder, lambda tensors: tensors[name].fill_(float("nan")))
    assert name in refused(folder, llama, "bad-checkpoint", **loose).cause
    change_tensors(folder, lambda tensors: tensors.pop(name))
    assert "KV cache" in refused(folder, llama, "bad-checkpoint", **loose).message


@pytest.mark.slow
def test_mixed_precision_is_read_by_its_list_of_layers(llama: Path, tmp_path: Path) -> None:
    plain, folder = checkpoint(llama, tmp_path / "plain"), checkpoint(llama, tmp_path / "mixed", fp8=True)
    parts = ("attention.qkv", "attention.dense", "mlp.fc", "mlp.gate", "mlp.proj")

    def second_layer_plain(tensors: dict[str, Any]) -> None:
        from safetensors.torch import load_file

        for name in [name for name in tensors if ".layers.1." in name and name.endswith("scaling_factor")]:
            del tensors[name]
        whole = load_file(plain / "rank0.safetensors")
        tensors.update({name: tensor for name, tensor in whole.items() if ".layers.1." in name})

    def listed(layers: tuple[int, ...], algo: str = "FP8") -> None:
        names = [f"transformer.layers.{layer}.{part}" for layer in layers for part in parts]
        mixed = {"quant_algo": "MIXED_PRECISION", "quantized_layers": {name: {"quant_algo": algo} for name in names}}
        (folder / "quant_cfg.json").write_text(json.dumps(mixed))

    change_tensors(folder, second_layer_plain)
    change_config(folder, lambda config: config.update(quantization={"quant_algo": "MIXED_PRECISION"}))
    loose = {"precision": "fp8", "min_agreement": 0.0, "max_kl": 0.1}
    assert "list of layers" in refused(folder, llama, "bad-checkpoint", **loose).message
    listed((0,))
    assert verify(folder, llama, **loose)["linear_layers"] == {"FP8": 5, "none": 6}
    listed((0, 1))
    assert "layers.1." in refused(folder, llama, "bad-checkpoint", **loose).cause
    listed((0,), "FP9")
    assert "FP9" in refused(folder, llama, "not-readable", **loose).cause


@pytest.mark.slow
def test_whatever_auto_quantize_chose_will_do(llama: Path, tmp_path: Path) -> None:
    folder = checkpoint(llama, tmp_path / "fp8", fp8=True)
    loose = {"precision": "int4_awq", "min_agreement": 0.0, "max_kl": 0.1}
    assert "FP8" in refused(folder, llama, "bad-checkpoint", **loose).cause
    assert verify(folder, llama, auto_quantize_bits=8.0, **loose)["quant_algo"] == "FP8"


@pytest.mark.slow
def test_tensors_that_the_engine_would_not_load_are_listed(llama: Path, tp2: Path) -> None:
    import torch

    change_tensors(tp2, lambda tensors: tensors.update({"transformer.layers.0.attention.rope.weight": torch.ones(2)}))
    assert verify(tp2, llama)["ignored"] == ["transformer.layers.*.attention.rope.weight"]


# What does not belong together


@pytest.mark.slow
def test_another_models_folder(models: Models, tp2: Path) -> None:
    assert "logit error" in refused(tp2, models("llama", seed=1), "verify-failed").cause
    assert "MistralForCausalLM" in refused(tp2, models("mistral"), "verify-failed").cause
    assert "num_hidden_layers is 2, the source has 1" in refused(
        tp2, models("llama", num_hidden_layers=1), "verify-failed"
    ).cause  # fmt: skip
    assert "vocabulary is smaller" in refused(tp2, models("llama", vocab_size=600), "verify-failed").message


def test_another_precision_than_asked_for(llama: Path, tp2: Path) -> None:
    assert "asked for FP8" in refused(tp2, llama, "bad-checkpoint", precision="fp8").cause


def test_folders_that_are_no_checkpoint(llama: Path, tmp_path: Path) -> None:
    assert "is a Hugging Face model" in refused(llama, llama, "bad-checkpoint").message
    for content, word in (
        ({"pretrained_config": {}, "build_config": {}, "version": "1.2.0"}, "is an engine"),
        ({"version": 0.8, "layers": []}, "older"),
    ):
        folder = tmp_path / word.replace(" ", "-")
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(content))
        assert word in refused(folder, llama, "bad-checkpoint").message


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"architecture": "FalconForCausalLM"}, "FalconForCausalLM"),
        ({"moe": {"num_experts": 8, "top_k": 2}}, "with experts"),
        ({"embedding_multiplier": 12.0}, "embedding_multiplier"),
        ({"quantization": {"quant_algo": "W4A8_QSERVE_PER_GROUP"}}, "W4A8_QSERVE_PER_GROUP"),
        ({"runtime_defaults": {"max_attention_window": [16, 32]}}, "[16, 32]"),
    ],
)
def test_what_the_reader_does_not_know_it_says(llama: Path, tp2: Path, change: dict[str, Any], shown: str) -> None:
    change_config(tp2, lambda config: config.update(change))
    assert shown in refused(tp2, llama, "not-readable").cause


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"compute": "float8"}, "bad-setting"),
        ({"precision": "bf17"}, "bad-setting"),
        ({"prompts": []}, "bad-setting"),
        ({"prompts": ["  "]}, "bad-setting"),
    ],
)
def test_settings_that_mean_nothing(llama: Path, tp2: Path, settings: dict[str, Any], code: str) -> None:
    with pytest.raises(WorkerError) as raised:
        verify(tp2, llama, **settings)
    assert raised.value.code == code


def test_an_input_that_is_not_there(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkerError) as raised:
        verify(tmp_path / "nowhere", llama)
    assert raised.value.code == "missing-input"


# What the prompts do not reach is said


@pytest.mark.slow
def test_a_window_beyond_the_prompts_is_said_not_to_be_covered(models: Models, tmp_path: Path) -> None:
    model = models("mistral", sliding_window=400)
    found = verify(checkpoint(model, tmp_path / "wide"), model)
    assert any("windows of 400 tokens" in sentence for sentence in found["not_covered"])
    within = verify(checkpoint(models("mistral"), tmp_path / "narrow"), models("mistral"))
    assert within["not_covered"] == []


def test_rope_scaling_of_long_inputs_alone_is_said_not_to_be_covered(models: Models, tmp_path: Path) -> None:
    model = models("llama", rope_scaling={"rope_type": "dynamic", "factor": 4.0})
    found = verify(checkpoint(model, tmp_path / "dynamic"), model)
    assert any("rope scaling beyond 512 tokens" in sentence for sentence in found["not_covered"])

"""config.json of a TensorRT-LLM checkpoint: nothing that the engine's class reads may be missing or wrong.

The rule that all this is about: a field left out is no error anywhere. The engine takes its class's default, a rope
base of 10,000 for a model trained with 100,000, and answers nonsense.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.workers.modelopt.models import FAMILIES, POSITIONS, WINDOW, config_of
from workbench.core.errors import BadInputError
from workbench.core.trtllm.config import complete, engine_defaults, engine_fields, family_of_architecture

COMMON = {
    "architecture", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_size", "vocab_size", "max_position_embeddings", "norm_epsilon", "hidden_act",
    "position_embedding_type", "rotary_base", "rotary_scaling", "rotary_pct", "rotary_embedding_dim", "qk_layernorm",
    "use_parallel_embedding", "embedding_sharding_dim", "runtime_defaults",
}  # fmt: skip
READ = {
    "llama": {"attn_bias", "mlp_bias", "residual_mlp", "moe", "remove_duplicated_kv_heads",
              "disable_weight_only_quant_plugin", "embedding_multiplier", "attention_multiplier",
              "residual_multiplier", "output_multiplier_scale"},
    "qwen": {"qwen_type", "attn_bias", "mlp_bias", "moe", "use_logn_attn", "disable_weight_only_quant_plugin",
             "seq_length", "num_labels", "mlp_only_layers", "decoder_sparse_step", "moe_intermediate_size",
             "moe_shared_expert_intermediate_size", "tie_word_embeddings"},
    "gemma": {"attn_bias", "mlp_bias", "inter_layernorms"},
    "gemma2": {"query_pre_attn_scalar", "final_logit_softcapping", "attn_logit_softcapping"},
    "gemma3": {"query_pre_attn_scalar", "final_logit_softcapping", "sliding_window", "rope_local_base_freq",
               "_sliding_window_pattern"},
    "phi3long": {"original_max_position_embeddings", "longrope_scaling_short_factors",
                 "longrope_scaling_long_factors"},
}  # fmt: skip
"""What the classes of TensorRT-LLM 1.2 read beside COMMON."""


def exported(**more: Any) -> dict[str, Any]:
    """What ModelOpt's exporter writes without TensorRT-LLM, at its barest."""
    mapping = {"world_size": 1, "tp_size": 1, "pp_size": 1}
    return {"dtype": "bfloat16", "logits_dtype": "float16", "mapping": mapping, "rank": 0,
            "quantization": {"quant_algo": None, "kv_cache_quant_algo": None}, **more}  # fmt: skip


def new_spelling(config: dict[str, Any]) -> dict[str, Any]:
    """The same config.json as transformers 5 saves it: one rope table, by kind of layer for Gemma 3."""
    new = dict(config)
    scaling = new.pop("rope_scaling", None) or {"rope_type": "default"}
    table = {**scaling, "rope_theta": new.pop("rope_theta")}
    if "rope_local_base_freq" in new:
        local = {"rope_type": "default", "rope_theta": new.pop("rope_local_base_freq")}
        table = {"full_attention": table, "sliding_attention": local}
        new.pop("sliding_window_pattern")
    return {**new, "rope_parameters": table}


@pytest.mark.parametrize("family", FAMILIES)
def test_all_that_the_engine_class_reads_is_written(family: str) -> None:
    source = config_of(family)
    engine = family_of_architecture(source["architectures"][0]).engine
    wanted = COMMON | READ.get(engine, set()) | READ.get(family, set())

    done = complete(exported(), source)

    assert wanted <= done.config.keys()
    assert wanted <= done.added.keys(), "what the exporter left out is reported as added"
    assert not done.corrected
    left = {name for name, value in done.defaults.items() if value is not None}
    assert not left, "nothing is left to the engine's defaults but what it then computes without"
    assert "rank" not in done.config, "one config.json serves all ranks"


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes_norms_and_rope_are_the_source_models(family: str) -> None:
    source = config_of(family)

    fields = engine_fields(source)

    for name in (
        "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size",
        "max_position_embeddings", "intermediate_size", "tie_word_embeddings",
    ):  # fmt: skip
        assert fields[name] == source[name], name
    assert fields["norm_epsilon"] == source["rms_norm_eps"]
    assert fields["rotary_base"] == source["rope_theta"]
    assert fields["head_size"] == source.get("head_dim", source["hidden_size"] // source["num_attention_heads"])
    assert fields["rotary_embedding_dim"] == fields["head_size"]
    assert fields["qk_layernorm"] is (family in ("qwen3", "qwen3_moe", "gemma3"))


@pytest.mark.parametrize("family", FAMILIES)
def test_both_spellings_of_transformers_give_the_same_fields(family: str) -> None:
    assert engine_fields(new_spelling(config_of(family))) == engine_fields(config_of(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rope_base_that_the_exporter_got_wrong_is_corrected_and_said(family: str) -> None:
    done = complete(exported(rotary_base=12_345.0), config_of(family))

    assert done.config["rotary_base"] == FAMILIES[family]["rope_theta"]
    assert [str(each) for each in done.corrected] == [f"rotary_base: 12345.0 -> {FAMILIES[family]['rope_theta']}"]


@pytest.mark.parametrize(
    ("family", "field", "value"),
    [
        ("llama", "hidden_act", "silu"),
        ("llama", "moe", {"num_experts": 0, "top_k": 0, "normalization_mode": 0}),
        ("llama31", "rotary_scaling", {"type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                       "high_freq_factor": 4.0, "original_max_position_embeddings": 128}),
        ("mixtral", "moe", {"num_experts": 4, "top_k": 2, "normalization_mode": 1}),
        ("mixtral", "hidden_act", "swiglu"),
        ("qwen2", "qwen_type", "qwen2"),
        ("qwen2", "attn_bias", True),
        ("qwen3", "attn_bias", False),
        ("qwen2_moe", "moe", {"num_experts": 4, "top_k": 2, "normalization_mode": 0}),
        ("qwen2_moe", "moe_shared_expert_intermediate_size", 256),
        ("qwen3_moe", "moe", {"num_experts": 4, "top_k": 2, "normalization_mode": 1}),
        ("qwen3_moe", "moe_intermediate_size", 128),
        ("gemma", "inter_layernorms", False),
        ("gemma2", "attn_logit_softcapping", 50.0),
        ("gemma2", "final_logit_softcapping", 30.0),
        ("gemma2", "query_pre_attn_scalar", 40),
        ("gemma3", "rope_local_base_freq", 5_000.0),
        ("gemma3", "_sliding_window_pattern", 2),
        ("gemma3", "final_logit_softcapping", None),
        ("phi3", "position_embedding_type", "rope_gpt_neox"),
        ("phi3", "rotary_scaling", None),
        ("phi3long", "position_embedding_type", "long_rope"),
        ("phi3long", "original_max_position_embeddings", 128),
    ],
)  # fmt: skip
def test_what_sets_a_family_apart(family: str, field: str, value: Any) -> None:
    found = engine_fields(config_of(family))[field]

    if isinstance(value, dict):
        assert {key: found[key] for key in value} == value
    else:
        assert found == value


def test_qwen_experts_under_transformers_5s_name_are_found() -> None:
    config = config_of("qwen3_moe")
    config["num_local_experts"] = config.pop("num_experts")

    assert engine_fields(config)["moe"]["num_experts"] == 4


def test_a_model_of_experts_that_names_no_number_is_refused() -> None:
    config = config_of("qwen3_moe")
    del config["num_experts"]

    with pytest.raises(BadInputError, match="num_experts") as caught:
        engine_fields(config)
    assert caught.value.failure.code == "bad-model"


@pytest.mark.parametrize(
    ("family", "more", "windows"),
    [
        ("llama", {}, None),
        ("mistral", {}, [WINDOW, WINDOW]),
        ("mistral", {"sliding_window": None}, None),
        ("gemma2", {}, [WINDOW, POSITIONS]),
        ("gemma3", {}, [WINDOW, POSITIONS]),
        ("qwen2", {}, None),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": 1}, [POSITIONS, 32]),
        ("phi3", {"sliding_window": POSITIONS - 1}, [POSITIONS - 1, POSITIONS - 1]),
        ("phi3", {"sliding_window": POSITIONS}, None),
    ],
)
def test_windows_reach_the_runtime(family: str, more: dict[str, Any], windows: list[int] | None) -> None:
    defaults = engine_fields(config_of(family, **more))["runtime_defaults"]

    assert (defaults["max_attention_window"] if defaults else None) == windows


def test_a_silent_config_gives_the_defaults_of_the_source_class_not_of_the_engines() -> None:
    config = config_of("mixtral")
    del config["rope_theta"], config["rms_norm_eps"]

    fields = engine_fields(config)

    assert (fields["rotary_base"], fields["norm_epsilon"]) == (1_000_000.0, 1e-5)


def test_what_a_config_leaves_silent_is_named_with_the_engines_value() -> None:
    bare = {"architecture": "LlamaForCausalLM", "hidden_size": 128, "num_attention_heads": 4}

    defaults = engine_defaults(bare)

    assert defaults["rotary_base"] == 10_000.0
    assert defaults["rotary_scaling"] is None
    assert defaults["head_size"] == 32
    assert "hidden_size" not in defaults


@pytest.mark.parametrize(
    ("family", "more", "evidence"),
    [
        ("llama", {"rope_scaling": {"rope_type": "longrope"}}, "longrope"),
        ("gemma2", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "yarn"),
        ("phi3", {"partial_rotary_factor": 0.5, "head_dim": 16}, "head_dim"),
        ("qwen3", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ("gemma3", {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ("gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ("gemma", {"hidden_act": "silu", "hidden_activation": "silu"}, "silu"),
    ],
)
def test_what_the_engine_class_cannot_say_is_refused(family: str, more: dict[str, Any], evidence: str) -> None:
    with pytest.raises(BadInputError) as caught:
        engine_fields(config_of(family, **more))

    assert caught.value.failure.code == "not-expressible"
    assert evidence in caught.value.evidence


def test_long_rope_without_its_factors_is_a_bad_model() -> None:
    scaling = {"type": "longrope", "short_factor": [1.0] * 16}

    with pytest.raises(BadInputError) as caught:
        engine_fields(config_of("phi3long", rope_scaling=scaling))
    assert caught.value.failure.code == "bad-model"


@pytest.mark.parametrize("name", ["hidden_size", "vocab_size", "num_hidden_layers", "max_position_embeddings"])
@pytest.mark.parametrize("value", [None, 0, "many", True])
def test_a_size_that_is_none_is_a_bad_model(name: str, value: Any) -> None:
    with pytest.raises(BadInputError, match=name) as caught:
        engine_fields(config_of("llama", **{name: value}))
    assert caught.value.failure.code == "bad-model"


def test_an_unknown_architecture_names_those_that_are_known() -> None:
    with pytest.raises(BadInputError) as caught:
        engine_fields({**config_of("llama"), "architectures": ["FalconForCausalLM"]})

    assert caught.value.failure.code == "not-exported"
    assert "Llama" in caught.value.evidence


def test_a_checkpoint_without_a_mapping_is_refused() -> None:
    written = exported()
    del written["mapping"]

    with pytest.raises(BadInputError) as caught:
        complete(written, config_of("llama"))
    assert caught.value.failure.code == "bad-checkpoint"


def test_the_mapping_is_made_whole() -> None:
    written = exported(mapping={"world_size": 2, "tp_size": 2, "pp_size": 1})

    plain = complete(written, config_of("llama")).config["mapping"]
    experts = complete(written, config_of("mixtral")).config["mapping"]

    assert plain == {"world_size": 2, "tp_size": 2, "pp_size": 1, "cp_size": 1, "gpus_per_node": 8}
    assert (experts["moe_tp_size"], experts["moe_ep_size"]) == (2, 1)


def test_a_vocabulary_padded_for_awq_stays_and_another_is_corrected() -> None:
    awq = {"quant_algo": "W4A16_AWQ", "kv_cache_quant_algo": None}

    padded = complete(exported(vocab_size=512, quantization=awq), config_of("llama", vocab_size=500))
    wrong = complete(exported(vocab_size=512), config_of("llama", vocab_size=500))

    assert (padded.config["vocab_size"], wrong.config["vocab_size"]) == (512, 500)
    assert [each.field for each in wrong.corrected] == ["vocab_size"]


def test_names_of_one_activation_are_not_corrected() -> None:
    assert not complete(exported(hidden_act="gelu_pytorch_tanh"), config_of("gemma2")).corrected


def test_shared_embeddings_follow_what_the_files_hold() -> None:
    written = exported(share_embedding_table=True)

    done = complete(written, config_of("llama"), share_embedding_table=False)

    assert done.config["share_embedding_table"] is False
    assert done.corrected[0].field == "share_embedding_table"

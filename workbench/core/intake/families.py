"""The one table of model families that are read: names, traits, and what a config may leave out.

Traits that decide the parameter count are checked against transformers' own classes by the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

Positions = Literal["rope", "learned", "alibi"]


@dataclass(frozen=True)
class Family:
    """Traits of a family where its config.json does not say otherwise."""

    title: str
    architectures: tuple[str, ...]
    model_type: str
    gated: bool = True
    """MLP with gate, up and down projections; else with two."""
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    head_bias: bool = False
    norm_vectors: int = 1
    """Vectors in a norm: 1 for RMSNorm or LayerNorm without bias, 2 for LayerNorm, 0 for none."""
    layer_norms: int = 2
    qk_norm: Literal["", "head", "full"] = ""
    tied: bool = False
    positions: Positions = "rope"
    position_offset: int = 0
    embedding_norm: bool = False
    transposed: bool = False
    """Linear weights are stored [in, out] (Conv1D)."""
    sliding: Literal["all", "upper", "half", "pattern"] = "all"
    """Which layers a sliding window is for, when `layer_types` is not given."""
    defaults: Mapping[str, object] = field(default_factory=dict)
    """Fields whose class default published configs rely on."""


def _gemma3_text() -> dict[str, object]:
    return {
        "vocab_size": 262_208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
        "max_position_embeddings": 131_072, "sliding_window": 4096, "sliding_window_pattern": 6,
        "rope_theta": 1_000_000.0,
    }  # fmt: skip


_MLA = {
    "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
    "v_head_dim": 128,
}  # fmt: skip

FAMILIES: tuple[Family, ...] = (
    Family("Llama", ("LlamaForCausalLM",), "llama"),
    Family("Mistral", ("MistralForCausalLM",), "mistral"),
    Family("Mistral3", ("Mistral3ForConditionalGeneration",), "mistral3"),
    Family("Mixtral", ("MixtralForCausalLM",), "mixtral",
           defaults={"num_local_experts": 8, "num_experts_per_tok": 2}),
    Family("Qwen2", ("Qwen2ForCausalLM",), "qwen2", qkv_bias=True, sliding="upper"),
    Family("Qwen2Moe", ("Qwen2MoeForCausalLM",), "qwen2_moe", qkv_bias=True, sliding="upper",
           defaults={"num_experts": 60, "num_experts_per_tok": 4, "moe_intermediate_size": 1408,
                     "shared_expert_intermediate_size": 5632}),
    Family("Qwen3", ("Qwen3ForCausalLM",), "qwen3", qk_norm="head", sliding="upper",
           defaults={"head_dim": 128}),
    Family("Qwen3Moe", ("Qwen3MoeForCausalLM",), "qwen3_moe", qk_norm="head", sliding="upper",
           defaults={"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768}),
    Family("Gemma", ("GemmaForCausalLM",), "gemma", tied=True, defaults={"head_dim": 256}),
    Family("Gemma2", ("Gemma2ForCausalLM",), "gemma2", tied=True, layer_norms=4, sliding="half",
           defaults={"head_dim": 256, "sliding_window": 4096}),
    Family("Gemma3", ("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"), "gemma3", tied=True,
           layer_norms=4, qk_norm="head", sliding="pattern", defaults=_gemma3_text()),
    Family("Phi", ("PhiForCausalLM",), "phi", gated=False, qkv_bias=True, out_bias=True, mlp_bias=True,
           head_bias=True, norm_vectors=2, layer_norms=1),
    Family("Phi3", ("Phi3ForCausalLM",), "phi3"),
    Family("PhiMoE", ("PhimoeForCausalLM", "PhiMoEForCausalLM"), "phimoe", norm_vectors=2,
           defaults={"num_local_experts": 16, "num_experts_per_tok": 2}),
    Family("GPT2", ("GPT2LMHeadModel",), "gpt2", gated=False, qkv_bias=True, out_bias=True, mlp_bias=True,
           norm_vectors=2, tied=True, positions="learned", transposed=True,
           defaults={"vocab_size": 50_257, "n_positions": 1024}),
    Family("GPTBigCode", ("GPTBigCodeForCausalLM",), "gpt_bigcode", gated=False, qkv_bias=True, out_bias=True,
           mlp_bias=True, norm_vectors=2, tied=True, positions="learned", defaults={"multi_query": True}),
    Family("GPTJ", ("GPTJForCausalLM",), "gptj", gated=False, mlp_bias=True, head_bias=True,
           norm_vectors=2, layer_norms=1),
    Family("GPTNeoX", ("GPTNeoXForCausalLM",), "gpt_neox", gated=False, qkv_bias=True, out_bias=True,
           mlp_bias=True, norm_vectors=2),
    Family("Falcon", ("FalconForCausalLM", "RWForCausalLM"), "falcon", gated=False, norm_vectors=2, tied=True,
           defaults={"multi_query": True, "parallel_attn": True, "max_position_embeddings": 2048}),
    Family("OPT", ("OPTForCausalLM",), "opt", gated=False, qkv_bias=True, out_bias=True, mlp_bias=True,
           norm_vectors=2, tied=True, positions="learned", position_offset=2),
    Family("Bloom", ("BloomForCausalLM",), "bloom", gated=False, qkv_bias=True, out_bias=True, mlp_bias=True,
           norm_vectors=2, tied=True, positions="alibi", embedding_norm=True),
    Family("MPT", ("MPTForCausalLM", "MptForCausalLM"), "mpt", gated=False, tied=True, positions="alibi"),
    Family("Starcoder2", ("Starcoder2ForCausalLM",), "starcoder2", gated=False, qkv_bias=True, out_bias=True,
           mlp_bias=True, norm_vectors=2, tied=True),
    Family("InternLM2", ("InternLM2ForCausalLM",), "internlm2"),
    Family("Granite", ("GraniteForCausalLM",), "granite"),
    Family("GraniteMoe", ("GraniteMoeForCausalLM",), "granitemoe",
           defaults={"num_local_experts": 8, "num_experts_per_tok": 2}),
    Family("Olmo", ("OlmoForCausalLM", "OLMoForCausalLM"), "olmo", norm_vectors=0),
    Family("Olmo2", ("Olmo2ForCausalLM",), "olmo2", qk_norm="full"),
    Family("Olmo3", ("Olmo3ForCausalLM",), "olmo3", qk_norm="full", defaults={"sliding_window": 4096},
           sliding="pattern"),
    Family("Olmoe", ("OlmoeForCausalLM",), "olmoe", qk_norm="full",
           defaults={"num_experts": 64, "num_experts_per_tok": 8}),
    Family("Cohere", ("CohereForCausalLM",), "cohere", layer_norms=1, tied=True),
    Family("Cohere2", ("Cohere2ForCausalLM",), "cohere2", layer_norms=1, tied=True, sliding="pattern",
           defaults={"sliding_window": 4096, "sliding_window_pattern": 4}),
    Family("StableLm", ("StableLmForCausalLM", "StableLMEpochForCausalLM"), "stablelm", norm_vectors=2),
    Family("SmolLM3", ("SmolLM3ForCausalLM",), "smollm3", tied=True, sliding="upper"),
    Family("DeepseekV2", ("DeepseekV2ForCausalLM",), "deepseek_v2",
           defaults={**_MLA, "n_routed_experts": 64, "n_shared_experts": 2, "moe_intermediate_size": 1407}),
    Family("DeepseekV3", ("DeepseekV3ForCausalLM",), "deepseek_v3",
           defaults={**_MLA, "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8,
                     "moe_intermediate_size": 2048, "first_k_dense_replace": 3}),
    Family("Glm", ("GlmForCausalLM",), "glm", qkv_bias=True, defaults={"head_dim": 128}),
    Family("Glm4", ("Glm4ForCausalLM",), "glm4", qkv_bias=True, layer_norms=4, defaults={"head_dim": 128}),
    Family("Exaone4", ("Exaone4ForCausalLM",), "exaone4", qk_norm="head", sliding="pattern"),
    Family("Nemotron", ("NemotronForCausalLM",), "nemotron", gated=False, norm_vectors=2),
)  # fmt: skip

GENERIC = Family("custom", (), "")
"""Traits assumed for a family that only its own code knows (`trust_remote_code`)."""

_BY_ARCHITECTURE = {name: family for family in FAMILIES for name in family.architectures}
_BY_MODEL_TYPE = {family.model_type: family for family in FAMILIES} | {
    "gemma3_text": _BY_ARCHITECTURE["Gemma3ForCausalLM"],
    "RefinedWebModel": _BY_ARCHITECTURE["FalconForCausalLM"],
    "RefinedWeb": _BY_ARCHITECTURE["FalconForCausalLM"],
}


def family_of(architecture: str) -> Family | None:
    """Family of an architecture name such as `LlamaForCausalLM`; None when it is not in the table."""
    return _BY_ARCHITECTURE.get(architecture)


def family_of_model_type(model_type: str) -> Family | None:
    return _BY_MODEL_TYPE.get(model_type)


def nearest_architecture(name: str) -> str | None:
    """The known architecture name that is spelt most like `name`, ignoring case; None when none is near."""
    lower = {known.lower(): known for known in _BY_ARCHITECTURE}
    if name.lower() in lower:
        return lower[name.lower()]
    near = get_close_matches(name.lower()[:80], list(lower), n=1, cutoff=0.75)
    return lower[near[0]] if near else None


def known_families() -> str:
    """The table's titles, for a message."""
    return ", ".join(family.title for family in FAMILIES)

"""A checkpoint's config.json as the engine's model class reads it, with TensorRT-LLM's own defaults where it is silent.

Nothing here looks at the source model's config: what config.json leaves out must show as it would in the engine.
The defaults are those of TensorRT-LLM 1.2's PretrainedConfig, LLaMAConfig, QWenConfig, GemmaConfig and Phi3Config.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from workbench.workers.protocol import WorkerError
from workbench.workers.trtllm.dequant import bad

NEEDED = object()
"""Marks a field that the engine's model class reads and has no default for."""

_COMMON: dict[str, Any] = {
    "architecture": NEEDED,
    "dtype": NEEDED,
    "hidden_size": NEEDED,
    "num_hidden_layers": NEEDED,
    "num_attention_heads": NEEDED,
    "vocab_size": NEEDED,
    "max_position_embeddings": NEEDED,
    "hidden_act": "gelu",
    "norm_epsilon": 1e-5,
    "num_key_value_heads": None,
    "intermediate_size": None,
    "head_size": None,
    "use_parallel_embedding": False,
    "embedding_sharding_dim": 0,
}
_ROTARY: dict[str, Any] = {"rotary_base": 10000.0, "rotary_scaling": None}
_BIASES: dict[str, Any] = {"attn_bias": False, "mlp_bias": False}
_DERIVED = ("num_key_value_heads", "intermediate_size", "head_size")
"""For these, null means the same as absent."""


@dataclass(frozen=True)
class Family:
    """What one of the engine's model classes reads, and the transformers class that computes the same."""

    name: str
    model_type: str
    reads: dict[str, Any]
    norm_offset: float = 0.0
    """What the exporter adds to norm weights: Gemma's are stored as 1 + w."""
    four_norms: bool = False
    qk_norms: bool = False
    fused: bool = False
    """Whether gate and up, and q, k and v, are one matrix on the Hugging Face side."""
    dense_bias: bool = True
    """Whether `attn_bias` holds for the output projection too."""
    experts: tuple[str, str, str, str] | None = None
    """Hugging Face names of a layer's expert block and of an expert's gate, up and down projections."""


_GEMMA = {**_ROTARY, **_BIASES}
_QWEN = {
    **_ROTARY,
    "attn_bias": True,
    "mlp_bias": False,
    "position_embedding_type": "learned_absolute",
    "qwen_type": NEEDED,
    "seq_length": NEEDED,
}
_LLAMA = {**_ROTARY, **_BIASES, "residual_mlp": False}
_QWEN_MOE = {**_QWEN, "moe": NEEDED, "moe_intermediate_size": NEEDED, "mlp_only_layers": [], "decoder_sparse_step": 1}
_GEMMA2 = {
    **_GEMMA,
    "query_pre_attn_scalar": NEEDED,
    "final_logit_softcapping": None,
    "attn_logit_softcapping": None,
}
_GEMMA3 = {
    **_GEMMA,
    "query_pre_attn_scalar": NEEDED,
    "final_logit_softcapping": None,
    "_sliding_window_pattern": NEEDED,
    "rope_local_base_freq": NEEDED,
    "sliding_window": None,
}
FAMILIES: dict[str, Family] = {
    "LlamaForCausalLM": Family("llama", "llama", _LLAMA),
    "MistralForCausalLM": Family("llama", "mistral", _LLAMA),
    "MixtralForCausalLM": Family(
        "llama", "mixtral", {**_LLAMA, "moe": NEEDED}, experts=("block_sparse_moe", "w1", "w3", "w2")
    ),
    "Qwen2ForCausalLM": Family("qwen", "qwen2", _QWEN, dense_bias=False),
    "Qwen3ForCausalLM": Family("qwen", "qwen3", _QWEN, qk_norms=True, dense_bias=False),
    "Qwen3MoeForCausalLM": Family(
        "qwen",
        "qwen3_moe",
        _QWEN_MOE,
        qk_norms=True,
        dense_bias=False,
        experts=("mlp", "gate_proj", "up_proj", "down_proj"),
    ),
    "GemmaForCausalLM": Family("gemma", "gemma", _GEMMA, norm_offset=1.0),
    "Gemma2ForCausalLM": Family("gemma2", "gemma2", _GEMMA2, norm_offset=1.0, four_norms=True),
    "Gemma3ForCausalLM": Family("gemma3", "gemma3_text", _GEMMA3, norm_offset=1.0, four_norms=True, qk_norms=True),
    "Phi3ForCausalLM": Family("phi3", "phi3", {**_ROTARY, "rotary_pct": NEEDED}, fused=True),
}
LONGROPE = ("longrope_scaling_short_factors", "longrope_scaling_long_factors", "original_max_position_embeddings")
_ROPE_TYPES = ("none", "linear", "dynamic", "longrope", "llama3", "yarn", "mrope")
_MULTIPLIERS = ("embedding_multiplier", "attention_multiplier", "residual_multiplier", "output_multiplier_scale")


@dataclass
class EngineConfig:
    """config.json as the engine's model class sees it."""

    raw: dict[str, Any]
    family: Family
    values: dict[str, Any] = field(default_factory=dict)
    defaults_used: dict[str, Any] = field(default_factory=dict)
    """Fields that config.json leaves out, with the value that the engine takes."""

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def whole(self, name: str) -> int:
        """A field that must be a whole number of at least 1. Raises WorkerError `bad-checkpoint`."""
        value = self.values[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise bad(f"`{name}` in config.json is not a whole number", "config.json", f"{name} = {value!r}")
        return value

    def number(self, name: str) -> float:
        """A field that must be a number. Raises WorkerError `bad-checkpoint`."""
        value = self.values[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise bad(f"`{name}` in config.json is not a number", "config.json", f"{name} = {value!r}")
        return float(value)


def engine_config(raw: dict[str, Any]) -> EngineConfig:
    """Read config.json as the engine would. Raises WorkerError `bad-checkpoint` or `not-readable`."""
    architecture = raw.get("architecture")
    family = FAMILIES.get(str(architecture))
    experts = raw["moe"].get("num_experts") if isinstance(raw.get("moe"), dict) else None
    if family is None or (experts and not family.experts):
        raise WorkerError(
            "checkpoints of this architecture cannot be read back here",
            code="not-readable",
            cause=f"architecture = {architecture!r}{' with experts' if family else ''}",
            hint=f"Verify knows {', '.join(sorted(FAMILIES))}; leave this step out for others.",
        )
    config = EngineConfig(raw, family)
    for name, default in {**_COMMON, **family.reads}.items():
        if name in raw and not (raw[name] is None and name in _DERIVED):
            config.values[name] = raw[name]
        elif default is NEEDED:
            raise bad(
                f"config.json lacks `{name}`, which the engine's {family.name} class reads and has no default for",
                "config.json",
                f"keys: {', '.join(sorted(raw))[:300]}",
                "Make the checkpoint again with a newer Engine Workbench, or add the value by hand.",
            )
        else:
            config.values[name] = config.defaults_used[name] = default
    _derive(config)
    _refuse(config)
    return config


def _derive(config: EngineConfig) -> None:
    heads, hidden = config.whole("num_attention_heads"), config.whole("hidden_size")
    for name, value in {
        "num_key_value_heads": heads,
        "intermediate_size": 4 * hidden,
        "head_size": hidden // heads,
    }.items():
        if config.values[name] is None:
            config.values[name] = config.defaults_used[name] = value
        config.whole(name)
    for name in ("num_hidden_layers", "vocab_size", "max_position_embeddings"):
        config.whole(name)
    if config["dtype"] not in ("float16", "bfloat16", "float32"):
        raise bad(
            "config.json names a dtype that the engine does not know", "config.json", f"dtype = {config['dtype']!r}"
        )
    config.number("norm_epsilon")
    config.number("rotary_base")
    if config.family.experts:
        _derive_experts(config)
    if config.family.name == "phi3":
        for name in LONGROPE:
            config.values[name] = config.raw.get(name)


def _derive_experts(config: EngineConfig) -> None:
    """`num_experts` and `top_k`, out of the `moe` table."""
    moe = config["moe"] if isinstance(config["moe"], dict) else {}
    for name in ("num_experts", "top_k"):
        config.values[name] = moe.get(name)
        config.whole(name)
    config.values["normalization_mode"] = moe.get("normalization_mode", 1)
    if config["architecture"] == "Qwen3MoeForCausalLM":
        config.whole("moe_intermediate_size")
        if config["mlp_only_layers"] or config["decoder_sparse_step"] != 1:
            raise WorkerError(
                "checkpoints that have experts in some layers alone cannot be read back here",
                code="not-readable",
                cause=f"mlp_only_layers = {config['mlp_only_layers']}, decoder_sparse_step = "
                f"{config['decoder_sparse_step']}",
                hint="Leave this step out for such a model.",
            )


def windows(config: EngineConfig) -> list[int | None]:
    """Tokens that each layer looks back on, itself included; None: on all.

    The engine's runtime takes them from `runtime_defaults`, whose list is repeated over the layers; no model class
    reads a window. Raises WorkerError `bad-checkpoint` or `not-readable`.
    """
    layers, most = config.whole("num_hidden_layers"), config.whole("max_position_embeddings")
    defaults = config.raw.get("runtime_defaults") or {}
    given = defaults.get("max_attention_window") if isinstance(defaults, dict) else defaults
    if given is None:
        return [None] * layers
    if not isinstance(given, list) or not given or not all(type(one) is int and one > 0 for one in given):
        raise bad(
            "config.json gives an attention window that is not a list of whole numbers",
            "config.json",
            f"runtime_defaults.max_attention_window = {given!r}"[:300],
        )
    found = [given[layer % len(given)] for layer in range(layers)]
    limits = [one if one < most else None for one in found]
    if len({one for one in limits if one}) > 1:
        raise WorkerError(
            "checkpoints with attention windows of several sizes cannot be read back here",
            code="not-readable",
            cause=f"runtime_defaults.max_attention_window = {given!r}"[:300],
            hint="Leave this step out for such a model.",
        )
    return limits


def _refuse(config: EngineConfig) -> None:
    """What the engine itself would fail on, or what this reader cannot follow."""
    scaling, pe = config["rotary_scaling"], config.values.get("position_embedding_type")
    if scaling is not None:
        kind = scaling.get("type", scaling.get("rope_type")) if isinstance(scaling, dict) else None
        if kind not in _ROPE_TYPES:
            raise bad(
                "config.json names a rotary scaling that the engine does not know",
                "config.json",
                f"rotary_scaling = {scaling!r}; known types: {', '.join(_ROPE_TYPES)}",
                "Leave rotary_scaling null for plain rotary embeddings.",
            )
    if pe is not None and pe != "rope_gpt_neox":
        raise bad(
            "the engine would not rotate queries and keys",
            "config.json",
            f"position_embedding_type = {pe!r}"
            + (" (the engine's default)" if "position_embedding_type" in config.defaults_used else ""),
            'Write "rope_gpt_neox".',
        )
    if config.family.name == "qwen" and str(config["qwen_type"]) != config.family.model_type:
        raise bad(
            "`qwen_type` and `architecture` in config.json disagree",
            "config.json",
            f"qwen_type = {config['qwen_type']!r}, architecture = {config['architecture']}",
            "The engine takes q and k norms from qwen_type.",
        )
    if config.family.name == "phi3":
        given = [name for name in LONGROPE[:2] if config.raw.get(name)]
        if given and not all(config.raw.get(name) for name in LONGROPE):
            raise bad(
                "config.json gives half of a long rope",
                "config.json",
                f"{', '.join(name for name in LONGROPE if not config.raw.get(name))} not there",
            )
    off = [name for name in _MULTIPLIERS if config.raw.get(name, 1.0) not in (1, None)]
    if off or config.values.get("residual_mlp"):
        raise WorkerError(
            "checkpoints with multipliers (Granite) or a residual MLP (Arctic) cannot be read back here",
            code="not-readable",
            cause=", ".join(off) or "residual_mlp",
            hint="Leave this step out for such a model.",
        )

"""Hugging Face config -> the fields that a TensorRT-LLM checkpoint's config.json must carry, family by family.

With no TensorRT-LLM importable, ModelOpt's exporter writes what it happens to know and leaves the rest out; the
engine's classes then take their own defaults without a word, such as a rope base of 10,000 for a model trained with
100,000, and the engine answers nonsense. So all that the 1.2 model classes read is written here from the source
model's config, what is there already is checked against it, and what stays silent is named with the engine's default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.core.errors import BadInputError
from workbench.core.trtllm.parallel import awq_block_size, block_size, check_parallel

__all__ = [
    "FAMILIES",
    "Completed",
    "Correction",
    "awq_block_size",
    "block_size",
    "check_parallel",
    "complete",
    "engine_defaults",
    "engine_fields",
    "family_of_architecture",
]

_RENORMALIZE = 1
"""MoeConfig.ExpertScaleNormalizationMode of TensorRT-LLM: 0 none, 1 renormalize the chosen experts' weights."""

_ROPE_KINDS = {
    "llama": frozenset(["linear", "dynamic", "llama3", "yarn"]),
    "qwen": frozenset(["linear", "dynamic", "llama3", "yarn"]),
    "gemma": frozenset(["linear"]),
    "phi3": frozenset(["longrope"]),
}
_TANH_GELU = frozenset(["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh"])
"""Names of one function in TensorRT-LLM, whose `gelu` is the tanh approximation; Gemma's classes want that one."""


@dataclass(frozen=True)
class EngineFamily:
    """How one Hugging Face architecture is exported and which engine class reads it."""

    decoder: str
    """ModelOpt's decoder type: decides how weights are fused and named."""
    engine: str
    """`llama`, `qwen`, `gemma` or `phi3`: TensorRT-LLM's class of model and config."""
    epsilon: float = 1e-6
    """Norm epsilon where config.json is silent: transformers' default for the class."""
    theta: float = 10_000.0
    """Rope base where config.json is silent."""
    tied: bool = False
    """Embeddings shared where config.json is silent."""


FAMILIES: dict[str, EngineFamily] = {
    "LlamaForCausalLM": EngineFamily("llama", "llama"),
    "MistralForCausalLM": EngineFamily("llama", "llama"),
    "MixtralForCausalLM": EngineFamily("llama", "llama", epsilon=1e-5, theta=1_000_000.0),
    "Qwen2ForCausalLM": EngineFamily("qwen", "qwen"),
    "Qwen2MoeForCausalLM": EngineFamily("qwen", "qwen"),
    "Qwen3ForCausalLM": EngineFamily("qwen", "qwen"),
    "Qwen3MoeForCausalLM": EngineFamily("qwen", "qwen"),
    "GemmaForCausalLM": EngineFamily("gemma", "gemma", tied=True),
    "Gemma2ForCausalLM": EngineFamily("gemma2", "gemma", tied=True),
    "Gemma3ForCausalLM": EngineFamily("gemma3", "gemma", theta=1_000_000.0, tied=True),
    "Phi3ForCausalLM": EngineFamily("phi3", "phi3", epsilon=1e-5),
}
"""Architectures whose checkpoints are written by way of ModelOpt and checked here."""


@dataclass(frozen=True)
class Correction:
    """A value that the exporter wrote and the source model's config contradicts."""

    field: str
    written: Any
    source: Any

    def __str__(self) -> str:
        return f"{self.field}: {self.written} -> {self.source}"


@dataclass(frozen=True)
class Completed:
    """A config.json made whole."""

    config: dict[str, Any]
    added: dict[str, Any]
    """Fields the exporter left out, with the values written."""
    corrected: tuple[Correction, ...]
    defaults: dict[str, Any]
    """Fields that stay silent and the value the engine takes for each."""
    remarks: tuple[str, ...]


def family_of_architecture(architecture: str) -> EngineFamily:
    """The family of `config.json`'s first architecture. Raises BadInputError `not-exported`."""
    family = FAMILIES.get(architecture)
    if family is None:
        names = ", ".join(name.removesuffix("ForCausalLM") for name in FAMILIES)
        raise BadInputError(
            f"{architecture[:60]} cannot be written as a TensorRT-LLM checkpoint by way of ModelOpt here",
            evidence=f"architectures that can: {names}",
            fix="Convert at full precision with TensorRT-LLM's own converter (model.converter = tensorrt_llm, in an "
            "environment that has tensorrt_llm), or choose another model.",
            code="not-exported",
        )
    return family


def engine_fields(source: Mapping[str, Any], *, tp: int = 1, pp: int = 1) -> dict[str, Any]:
    """All fields that the engine's class reads for this model, with the source's values.

    `source` is the parsed config.json of the Hugging Face folder, or transformers' `config.to_dict()`, in the spelling
    of transformers 4 or 5. Left to the exporter: dtype, logits_dtype, mapping, quantization.
    Raises BadInputError: `not-exported` (unknown architecture), `not-expressible` (the engine's class has no field for
    something this model needs), `bad-model` (a needed value is missing).
    """
    return _Fields(source, tp, pp).all()


def engine_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that a checkpoint's config.json leaves silent, with the value that TensorRT-LLM 1.2's class then takes.

    None as a value means that the class computes without it. Raises BadInputError `not-exported`.
    """
    family = family_of_architecture(str(config.get("architecture")))
    heads = config.get("num_attention_heads") or 1
    hidden = config.get("hidden_size") or 0
    head_size = config.get("head_size") or hidden // heads
    table: dict[str, Any] = {
        "logits_dtype": "float32", "hidden_act": "gelu", "norm_epsilon": 1e-5,
        "position_embedding_type": "learned_absolute", "max_position_embeddings": None, "num_key_value_heads": heads,
        "intermediate_size": 4 * hidden, "head_size": hidden // heads, "qk_layernorm": False,
        "rotary_embedding_dim": int(head_size * config.get("rotary_pct", 1.0)), "use_parallel_embedding": False,
        "embedding_sharding_dim": 0, "mapping": {"world_size": 1, "tp_size": 1, "pp_size": 1},
        "quantization": {"quant_algo": None, "kv_cache_quant_algo": None}, "runtime_defaults": None,
        "rotary_base": 10_000.0, "rotary_scaling": None,
    } | _CLASS_DEFAULTS[family.engine]  # fmt: skip
    return {field: value for field, value in table.items() if field not in config}


_CLASS_DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {
        "mlp_bias": False, "attn_bias": False, "residual_mlp": False, "disable_weight_only_quant_plugin": False,
        "moe": {"num_experts": 0, "top_k": 0}, "remove_duplicated_kv_heads": False, "embedding_multiplier": 1.0,
        "attention_multiplier": 1.0, "residual_multiplier": 1.0, "output_multiplier_scale": 1.0,
    },
    "qwen": {
        "mlp_bias": False, "attn_bias": True, "disable_weight_only_quant_plugin": False, "use_logn_attn": False,
        "moe": {"num_experts": 0, "top_k": 0}, "num_labels": 1, "mlp_only_layers": [], "decoder_sparse_step": 1,
    },
    "gemma": {"mlp_bias": False, "attn_bias": False, "final_logit_softcapping": None, "attn_logit_softcapping": None},
    "phi3": {},
}  # fmt: skip


def complete(
    written: Mapping[str, Any], source: Mapping[str, Any], *, share_embedding_table: bool | None = None
) -> Completed:
    """Add what the exporter's config.json (`written`) lacks and correct what the source's config contradicts.

    `share_embedding_table` is whether the rank files hold no `lm_head.weight`; None leaves the exporter's word.
    Raises BadInputError as `engine_fields` does, and `bad-checkpoint` when the parallel mapping is missing.
    """
    config = dict(written)
    mapping = config.get("mapping")
    if not isinstance(mapping, Mapping) or not all(isinstance(mapping.get(k), int) for k in ("tp_size", "pp_size")):
        raise BadInputError(
            "the checkpoint's config.json has no parallel mapping",
            evidence=f"mapping = {mapping}",
            code="bad-checkpoint",
        )
    tp, pp = int(mapping["tp_size"]), int(mapping["pp_size"])
    fields = _Fields(source, tp, pp)
    wanted = fields.all()
    if share_embedding_table is not None:
        wanted["share_embedding_table"] = share_embedding_table
    config.pop("rank", None)  # one file serves all ranks
    config["mapping"] = {**mapping, "cp_size": 1, "gpus_per_node": mapping.get("gpus_per_node", 8)}
    if wanted.get("moe", {}).get("num_experts"):
        config["mapping"] |= {"moe_tp_size": tp, "moe_ep_size": 1}
    added: dict[str, Any] = {}
    corrected = []
    for field, value in wanted.items():
        if field not in config:
            added[field] = value
        elif not _same(field, config[field], value):
            if field == "vocab_size" and _padded(config, value):
                continue
            corrected.append(Correction(field, config[field], value))
        else:
            continue
        config[field] = value
    return Completed(config, added, tuple(corrected), engine_defaults(config), tuple(fields.remarks))


def _same(field: str, written: Any, value: Any) -> bool:
    if field == "hidden_act" and value in _TANH_GELU:
        return written in _TANH_GELU
    if isinstance(written, int | float) and isinstance(value, int | float) and not isinstance(value, bool):
        return math.isclose(written, value, rel_tol=1e-9)
    if isinstance(value, dict) and isinstance(written, Mapping):
        return all(key in written and _same(key, written[key], value[key]) for key in value)
    return bool(written == value)


def _padded(config: Mapping[str, Any], vocab_size: int) -> bool:
    """Whether the exporter has padded the vocabulary to a multiple of 64, as it does for AWQ."""
    written = config["vocab_size"]
    algorithm = str((config.get("quantization") or {}).get("quant_algo"))
    return "AWQ" in algorithm and isinstance(written, int) and written % 64 == 0 and 0 < written - vocab_size < 64


class _Fields:
    """Reads the source's config in either spelling and lays out the engine's fields."""

    def __init__(self, source: Mapping[str, Any], tp: int, pp: int) -> None:
        outer = source
        text = source.get("text_config")
        self.source: Mapping[str, Any] = text if isinstance(text, Mapping) else source
        names = outer.get("architectures") or self.source.get("architectures") or []
        self.architecture = str(names[0]) if names else ""
        self.family = family_of_architecture(self.architecture)
        self.tp, self.pp = tp, pp
        self.remarks: list[str] = []

    def all(self) -> dict[str, Any]:
        rope = self._rope("full_attention")
        heads, hidden = self._needed("num_attention_heads"), self._needed("hidden_size")
        head_size = self._get("head_dim") or hidden // heads
        positions = self._needed("max_position_embeddings")
        pct = rope.get("partial_rotary_factor") or self._get("partial_rotary_factor") or 1.0
        fields: dict[str, Any] = {
            "architecture": self.architecture,
            "hidden_size": hidden,
            "intermediate_size": self._needed("intermediate_size"),
            "num_hidden_layers": self._needed("num_hidden_layers"),
            "num_attention_heads": heads,
            "num_key_value_heads": self._get("num_key_value_heads") or heads,
            "head_size": head_size,
            "vocab_size": self._needed("vocab_size"),
            "max_position_embeddings": positions,
            "norm_epsilon": self._get("rms_norm_eps", self.family.epsilon),
            "hidden_act": self._get("hidden_act", "silu"),
            "qk_layernorm": False,
            "position_embedding_type": "rope_gpt_neox",
            "rotary_base": float(rope.get("rope_theta") or self._get("rope_theta") or self.family.theta),
            "rotary_scaling": self._scaling(rope),
            "rotary_pct": pct,
            "rotary_embedding_dim": int(head_size * pct),
            "use_parallel_embedding": True,
            "embedding_sharding_dim": 0,
            "tie_word_embeddings": bool(self._get("tie_word_embeddings", self.family.tied)),
            "mlp_bias": bool(self._get("mlp_bias", False)),
            "attn_bias": bool(self._get("attention_bias", False)),
        }
        if pct != 1.0 and self.family.engine != "phi3":
            raise self._unexpressible(f"partial_rotary_factor = {pct}")
        fields |= {"llama": self._llama, "qwen": self._qwen, "gemma": self._gemma, "phi3": self._phi3}[
            self.family.engine
        ](fields)
        windows = self._windows(fields["num_hidden_layers"], positions)
        fields["runtime_defaults"] = {"max_attention_window": windows, "sink_token_length": None} if windows else None
        return fields

    def _llama(self, fields: dict[str, Any]) -> dict[str, Any]:
        experts = self._get("num_local_experts", 0) or 0
        more: dict[str, Any] = {
            "residual_mlp": False,
            "disable_weight_only_quant_plugin": False,
            "remove_duplicated_kv_heads": False,
            "embedding_multiplier": 1.0,
            "attention_multiplier": 1.0,
            "residual_multiplier": 1.0,
            "output_multiplier_scale": 1.0,
            "moe": _moe(experts, self._get("num_experts_per_tok", 2) if experts else 0, _RENORMALIZE if experts else 0),
        }
        if experts:
            more["hidden_act"] = "swiglu"
        return more

    def _qwen(self, fields: dict[str, Any]) -> dict[str, Any]:
        kind = self.architecture.removesuffix("ForCausalLM")
        qwen_type = {"Qwen2": "qwen2", "Qwen2Moe": "qwen2_moe", "Qwen3": "qwen3", "Qwen3Moe": "qwen3_moe"}[kind]
        third, moe = qwen_type.startswith("qwen3"), qwen_type.endswith("_moe")
        # transformers 5 writes Qwen's number of experts under Mixtral's name.
        name = "num_experts" if self._get("num_local_experts") is None else "num_local_experts"
        experts = self._needed(name) if moe else 0
        normalize = bool(self._get("norm_topk_prob", False))
        more = {
            "qwen_type": qwen_type,
            "attn_bias": bool(self._get("attention_bias", False)) if third else True,
            "qk_layernorm": third,
            "use_logn_attn": bool(self._get("use_logn_attn", False)),
            "disable_weight_only_quant_plugin": False,
            "num_labels": 1,
            "seq_length": fields["max_position_embeddings"],
            "mlp_only_layers": list(self._get("mlp_only_layers") or []),
            "decoder_sparse_step": self._get("decoder_sparse_step") or 1,
            "moe_intermediate_size": (self._get("moe_intermediate_size") or 0) if moe else 0,
            "moe_shared_expert_intermediate_size": (self._get("shared_expert_intermediate_size") or 0) if moe else 0,
            "moe": _moe(experts, (self._get("num_experts_per_tok") or 0) if moe else 0, int(normalize) if moe else 0),
        }
        if moe:
            more["hidden_act"] = "swiglu"
        return more

    def _gemma(self, fields: dict[str, Any]) -> dict[str, Any]:
        act = self._get("hidden_activation") or self._get("hidden_act") or "gelu_pytorch_tanh"
        if act not in _TANH_GELU:
            raise self._unexpressible(f"hidden_activation = {act}")
        # The class takes this for itself and ignores what it is given; the weights are split by it all the same.
        more: dict[str, Any] = {"hidden_act": "gelu", "use_parallel_embedding": self.tp > 1, "inter_layernorms": False}
        if self.architecture == "GemmaForCausalLM":
            return more
        more |= {
            "inter_layernorms": True,
            "query_pre_attn_scalar": self._get("query_pre_attn_scalar", 256),
            "final_logit_softcapping": self.source.get(
                "final_logit_softcapping", 30.0 if self.architecture == "Gemma2ForCausalLM" else None
            ),
        }
        if self.architecture == "Gemma2ForCausalLM":
            return more | {"attn_logit_softcapping": self.source.get("attn_logit_softcapping", 50.0)}
        if self._get("attn_logit_softcapping") is not None:
            raise self._unexpressible(f"attn_logit_softcapping = {self._get('attn_logit_softcapping')}")
        local = self._rope("sliding_attention")
        own = self.source.get("rope_parameters")
        base = local.get("rope_theta") if isinstance(own, Mapping) else self._get("rope_local_base_freq")
        if fields["rotary_scaling"]:
            self.remarks.append(
                "rope scaling of a Gemma 3 model is for its full-attention layers alone; whether this engine class "
                "keeps it off the sliding ones is not established, so compare long prompts"
            )
        return more | {
            "qk_layernorm": True,
            "sliding_window": self._get("sliding_window", 4096),
            "rope_local_base_freq": float(base or 10_000.0),
            "_sliding_window_pattern": self._pattern(fields["num_hidden_layers"]),
        }

    def _phi3(self, fields: dict[str, Any]) -> dict[str, Any]:
        if fields["head_size"] * fields["num_attention_heads"] != fields["hidden_size"]:
            raise self._unexpressible(f"head_dim = {fields['head_size']}")
        more: dict[str, Any] = {"hidden_act": "swiglu" if fields["hidden_act"] == "silu" else fields["hidden_act"]}
        scaling = fields["rotary_scaling"]
        if scaling:
            original = self._get("original_max_position_embeddings") or scaling.get("original_max_position_embeddings")
            if not original or not scaling.get("short_factor") or not scaling.get("long_factor"):
                raise self._missing(
                    "original_max_position_embeddings, short_factor and long_factor of its rope scaling"
                )
            more |= {
                "position_embedding_type": "long_rope",
                "original_max_position_embeddings": original,
                "longrope_scaling_short_factors": list(scaling["short_factor"]),
                "longrope_scaling_long_factors": list(scaling["long_factor"]),
                "rotary_scaling": None,  # the class reads the factors by the names above
            }
        return more

    def _rope(self, layers: str) -> Mapping[str, Any]:
        """Rope parameters of the layers of a kind: transformers 5's table, or 4's `rope_scaling`; {} when plain."""
        table = self.source.get("rope_parameters")
        if table is None:
            table = self.source.get("rope_scaling")
        if not isinstance(table, Mapping):
            return {}
        inner = table.get(layers)
        return inner if isinstance(inner, Mapping) else table

    def _scaling(self, rope: Mapping[str, Any]) -> dict[str, Any] | None:
        kind = rope.get("rope_type") or rope.get("type") or "default"
        if kind == "default":
            return None
        kind = "longrope" if kind == "su" else kind
        if kind not in _ROPE_KINDS[self.family.engine]:
            raise self._unexpressible(f"rope scaling of type {kind}")
        kept = {k: v for k, v in rope.items() if k not in ("rope_theta", "partial_rotary_factor") and v is not None}
        return kept | {"type": kind, "rope_type": kind}

    def _windows(self, layers: int, positions: int) -> list[int]:
        """Tokens that each layer looks back on; [] when all look back on all.

        No engine class reads a window from its own fields: it is a limit on the KV cache that the runtime takes from
        `runtime_defaults`.
        """
        window = self._get("sliding_window")
        if not window or window >= positions or self._get("use_sliding_window") is False:
            return []
        kinds = self.source.get("layer_types")
        if isinstance(kinds, list) and len(kinds) >= layers:
            found = [window if kind == "sliding_attention" else positions for kind in kinds[:layers]]
        elif self.architecture == "Gemma2ForCausalLM":
            found = [positions if layer % 2 else window for layer in range(layers)]
        elif self.architecture == "Gemma3ForCausalLM":
            every = self._pattern(layers)
            found = [window if (layer + 1) % every else positions for layer in range(layers)]
        elif self.family.engine == "qwen":
            if not self._get("use_sliding_window"):
                return []
            first = self._get("max_window_layers", layers)
            found = [window if layer >= first else positions for layer in range(layers)]
        else:
            found = [window] * layers
        return found if min(found) < positions else []

    def _pattern(self, layers: int) -> int:
        """Gemma 3: every how many layers one has full attention."""
        every = self._get("sliding_window_pattern") or self._get("_sliding_window_pattern")
        kinds = self.source.get("layer_types")
        if not isinstance(kinds, list):
            return int(every or 6)
        full = [index + 1 for index, kind in enumerate(kinds[:layers]) if kind == "full_attention"]
        every = full[0] if full else int(every or 6)
        if full != list(range(every, layers + 1, every)):
            raise self._unexpressible("layer_types that repeat no pattern")
        return every

    def _get(self, name: str, default: Any = None) -> Any:
        return self.source.get(name, default) if self.source.get(name) is not None else default

    def _needed(self, name: str) -> int:
        value = self._get(name)
        if type(value) is not int or value < 1:
            raise self._missing(name)
        return value

    def _missing(self, name: str) -> BadInputError:
        return BadInputError(
            f"the model's config.json does not give {name}",
            evidence=f"{name} = {str(self.source.get(name))[:80]}",
            fix="Take config.json from the model's repository again.",
            code="bad-model",
        )

    def _unexpressible(self, what: str) -> BadInputError:
        return BadInputError(
            f"TensorRT-LLM's class for {self.architecture} has no field for something this model needs",
            evidence=what,
            fix="Its engine would answer nonsense. Choose another model of the family, or the pytorch toolchain.",
            code="not-expressible",
        )


def _moe(experts: int, per_token: int, normalization: int) -> dict[str, Any]:
    return {"num_experts": experts, "top_k": per_token, "normalization_mode": normalization}

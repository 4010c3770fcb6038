"""The engine's model as transformers can run it: a checkpoint's config.json alone, with TensorRT-LLM's own defaults.

Nothing here looks at the source model's config: what config.json leaves out must show as it would in the engine.
The defaults are those of TensorRT-LLM 1.2's PretrainedConfig, LLaMAConfig, QWenConfig, GemmaConfig and Phi3Config.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from workbench.workers.protocol import WorkerError
from workbench.workers.trtllm_dequant import bad

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
    "Qwen2ForCausalLM": Family("qwen", "qwen2", _QWEN, dense_bias=False),
    "Qwen3ForCausalLM": Family("qwen", "qwen3", _QWEN, qk_norms=True, dense_bias=False),
    "GemmaForCausalLM": Family("gemma", "gemma", _GEMMA, norm_offset=1.0),
    "Gemma2ForCausalLM": Family("gemma2", "gemma2", _GEMMA2, norm_offset=1.0, four_norms=True),
    "Gemma3ForCausalLM": Family("gemma3", "gemma3_text", _GEMMA3, norm_offset=1.0, four_norms=True, qk_norms=True),
    "Phi3ForCausalLM": Family("phi3", "phi3", {**_ROTARY, "rotary_pct": NEEDED}, fused=True),
}
_LONGROPE = ("longrope_scaling_short_factors", "longrope_scaling_long_factors", "original_max_position_embeddings")
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
    if family is None or (raw.get("moe") or {}).get("num_experts"):
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
    config.number("norm_epsilon")
    config.number("rotary_base")
    if config.family.name == "phi3":
        for name in _LONGROPE:
            config.values[name] = config.raw.get(name)


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
        given = [name for name in _LONGROPE[:2] if config.raw.get(name)]
        if given and not all(config.raw.get(name) for name in _LONGROPE):
            raise bad(
                "config.json gives half of a long rope",
                "config.json",
                f"{', '.join(name for name in _LONGROPE if not config.raw.get(name))} not there",
            )
    off = [name for name in _MULTIPLIERS if config.raw.get(name, 1.0) not in (1, None)]
    if off or config.values.get("residual_mlp"):
        raise WorkerError(
            "checkpoints with multipliers (Granite) or a residual MLP (Arctic) cannot be read back here",
            code="not-readable",
            cause=", ".join(off) or "residual_mlp",
            hint="Leave this step out for such a model.",
        )


def transformers_config(config: EngineConfig, tied: bool) -> Any:
    """The transformers config of a model that computes what the engine would.

    Sliding windows are left out where the engine's class reads none (they are set when it runs); Gemma 3's
    pattern stays, since it chooses the rotary base. `tied`: the checkpoint has no lm_head of its own.
    """
    from transformers import AutoConfig

    activation = _activation(config)
    layers = config.whole("num_hidden_layers")
    values: dict[str, Any] = {
        "hidden_size": config.whole("hidden_size"),
        "num_hidden_layers": layers,
        "num_attention_heads": config.whole("num_attention_heads"),
        "num_key_value_heads": config.whole("num_key_value_heads"),
        "head_dim": config.whole("head_size"),
        "intermediate_size": config.whole("intermediate_size"),
        "vocab_size": config.whole("vocab_size"),
        "max_position_embeddings": config.whole("max_position_embeddings"),
        "rms_norm_eps": config.number("norm_epsilon"),
        "hidden_act": activation,
        "rope_theta": config.number("rotary_base"),
        "tie_word_embeddings": tied,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    scaling = config["rotary_scaling"]
    if scaling is not None and scaling.get("type", scaling.get("rope_type")) != "none":
        values["rope_scaling"] = {**scaling, "rope_type": scaling.get("type", scaling.get("rope_type"))}
    family = config.family.model_type
    if family in ("llama", "qwen3", "gemma", "gemma2", "gemma3_text"):
        values["attention_bias"] = bool(config["attn_bias"])
    if family == "llama":
        values["mlp_bias"] = bool(config["mlp_bias"])
    if family in ("mistral", "phi3"):
        values["sliding_window"] = None
    if family in ("qwen2", "qwen3"):
        values["use_sliding_window"] = False
    if family in ("gemma2", "gemma3_text"):
        scalar = config.number("query_pre_attn_scalar")
        values["query_pre_attn_scalar"] = int(scalar) if scalar.is_integer() else scalar
        for name in ("final_logit_softcapping", "attn_logit_softcapping"):
            values[name] = config.number(name) if config.values.get(name) else None
    if family.startswith("gemma"):
        values["hidden_activation"] = activation
    if family == "gemma2":
        values["layer_types"] = ["full_attention"] * layers
    if family == "gemma3_text":
        values["sliding_window_pattern"] = config.whole("_sliding_window_pattern")
        values["rope_local_base_freq"] = config.number("rope_local_base_freq")
        values["sliding_window"] = config["sliding_window"] or config.whole("max_position_embeddings")
    if family == "phi3":
        values.pop("head_dim")
        values["partial_rotary_factor"] = config.number("rotary_pct")
        values.pop("rope_scaling", None)  # the engine's class reads the long rope's factors alone
        if config[_LONGROPE[0]]:
            values["original_max_position_embeddings"] = config.whole("original_max_position_embeddings")
            values["rope_scaling"] = {
                "type": "longrope",
                "short_factor": config[_LONGROPE[0]],
                "long_factor": config[_LONGROPE[1]],
            }
    try:
        return AutoConfig.for_model(family, **values)
    except Exception as error:  # transformers validates with classes of its own
        raise bad(
            "config.json describes a model that cannot be computed",
            "config.json",
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
        ) from error


def _activation(config: EngineConfig) -> str:
    name = str(config["hidden_act"])
    if name in ("silu", "swiglu", "fast-swiglu"):
        return "silu"
    if "gelu" in name or name == "geglu":
        return "gelu_pytorch_tanh"  # every gelu of the engine is the tanh one
    if name in ("relu", "tanh", "sigmoid"):
        return name
    raise bad("config.json names an activation that the engine does not know", "config.json", f"hidden_act = {name!r}")


def build(config: EngineConfig, tied: bool, compute: str, attention: str | None) -> Any:
    """The empty transformers model in dtype `compute`, in eval mode; its values are to be filled in."""
    import torch
    from transformers import AutoModelForCausalLM

    extra = {"attn_implementation": attention} if attention else {}
    return AutoModelForCausalLM.from_config(
        transformers_config(config, tied), dtype=getattr(torch, compute), **extra
    ).eval()


def fill(model: Any, tensors: Iterable[tuple[str, Any]]) -> None:
    """Copy tensors into the model's parameters. Raises WorkerError `bad-checkpoint` when any stays unfilled."""
    import torch

    parameters = dict(model.named_parameters())
    left = set(parameters)
    with torch.no_grad():
        for name, tensor in tensors:
            parameters[name].copy_(tensor)
            left.discard(name)
        for name in [name for name in left if name.endswith(".bias")]:
            parameters[name].zero_()  # the engine has none there
            left.discard(name)
    if left:
        raise bad("the checkpoint does not fill the model", "", f"nothing for {', '.join(sorted(left)[:5])}")


_COMPARED = {
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "num_key_value_heads": "num_key_value_heads",
    "intermediate_size": "intermediate_size",
    "max_position_embeddings": "max_position_embeddings",
    "rms_norm_eps": "norm_epsilon",
    "query_pre_attn_scalar": "query_pre_attn_scalar",
    "final_logit_softcapping": "final_logit_softcapping",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "attention_bias": "attn_bias",
    "mlp_bias": "mlp_bias",
    "original_max_position_embeddings": "original_max_position_embeddings",
}


def differences(ours: Any, source: Any, config: EngineConfig) -> list[dict[str, Any]]:
    """Where config.json, read by the engine, disagrees with the source model's config: name, value, source.

    Both are transformers configs of the same class. Some of these show in logits of long inputs alone.
    """
    found: list[dict[str, Any]] = []

    def note(name: str, value: Any, other: Any) -> None:
        entry = {"name": name, "value": value, "source": other}
        if name in config.defaults_used:
            entry["default"] = True
        found.append(entry)

    for attribute, name in _COMPARED.items():
        value, other = getattr(ours, attribute, None), getattr(source, attribute, None)
        if name == "attn_bias" and config.family.name == "qwen":
            continue
        if _same(value, other) or (attribute == "original_max_position_embeddings" and not config.values.get(name)):
            continue
        note(name, value, other)
    if _size_of_head(ours) != _size_of_head(source):
        note("head_size", _size_of_head(ours), _size_of_head(source))
    ours_act, source_act = (_activation_of(one) for one in (ours, source))
    if ours_act != source_act:
        note("hidden_act", ours_act, source_act)
    ours_rope, source_rope = rope_of(ours), rope_of(source)
    for key in sorted(set(ours_rope) | set(source_rope)):
        if not _same(ours_rope.get(key), source_rope.get(key)):
            note(key, ours_rope.get(key), source_rope.get(key))
    pattern = [getattr(one, "layer_types", None) for one in (ours, source)]
    if config.family.name == "gemma3" and pattern[0] != pattern[1]:
        note("_sliding_window_pattern", config["_sliding_window_pattern"], pattern[1])
    return found


def rope_of(config: Any) -> dict[str, Any]:
    """A transformers config's rotary settings under TensorRT-LLM's names, the same for transformers 4 and 5."""
    given = getattr(config, "rope_parameters", None)
    if given is None:
        given = {
            **(getattr(config, "rope_scaling", None) or {}),
            "rope_theta": getattr(config, "rope_theta", 10000.0),
            "partial_rotary_factor": getattr(config, "partial_rotary_factor", 1.0),
        }
    found: dict[str, Any] = {}
    if isinstance(given.get("full_attention"), dict):  # Gemma 3: one rope a kind of layer
        local = given.get("sliding_attention") or {}
        found["rope_local_base_freq"] = float(local.get("rope_theta", 10000.0))
        given = given["full_attention"]
    elif getattr(config, "rope_local_base_freq", None) is not None:
        found["rope_local_base_freq"] = float(config.rope_local_base_freq)
    kind = given.get("rope_type", given.get("type")) or "default"
    found["rotary_base"] = float(given.get("rope_theta") or 10000.0)
    found["rotary_pct"] = float(given.get("partial_rotary_factor") or 1.0)
    found["rotary_scaling"] = None
    if kind in ("longrope", "su"):
        found["longrope_scaling_short_factors"] = given.get("short_factor")
        found["longrope_scaling_long_factors"] = given.get("long_factor")
    elif kind != "default":
        skip = ("rope_theta", "partial_rotary_factor", "rope_type", "type")
        found["rotary_scaling"] = {"type": kind, **{k: v for k, v in sorted(given.items()) if k not in skip}}
    return found


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool | int | float) and isinstance(other, bool | int | float):
        return abs(float(one) - float(other)) <= 1e-9 * max(1.0, abs(float(one)))
    if not one and not other:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return set(one) == set(other) and all(_same(one[key], other[key]) for key in one)
    return bool(one == other)


def _size_of_head(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _activation_of(config: Any) -> str:
    name = str(getattr(config, "hidden_activation", None) or config.hidden_act)
    return "gelu_pytorch_tanh" if "gelu" in name else name

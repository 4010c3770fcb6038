"""The engine's model as transformers can run it, by config.json alone, and where that differs from the source."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from workbench.workers.trtllm.dequant import bad
from workbench.workers.trtllm.engine_config import LONGROPE, EngineConfig, windows


def transformers_config(config: EngineConfig, tied: bool) -> Any:
    """The transformers config of a model that computes what the engine would.

    Sliding windows are those of `runtime_defaults`; Gemma 3's pattern chooses the rotary base too. `tied`: the
    checkpoint has no lm_head of its own.
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
    if family in ("gemma2", "gemma3_text"):
        scalar = config.number("query_pre_attn_scalar")
        values["query_pre_attn_scalar"] = int(scalar) if scalar.is_integer() else scalar
        for name in ("final_logit_softcapping", "attn_logit_softcapping"):
            values[name] = config.number(name) if config.values.get(name) else None
    if family.startswith("gemma"):
        values["hidden_activation"] = activation
    if family == "gemma3_text":
        values["sliding_window_pattern"] = config.whole("_sliding_window_pattern")
        values["rope_local_base_freq"] = config.number("rope_local_base_freq")
    if config.family.experts:
        values |= _experts(config)
    values |= _windows(config)
    if family == "phi3":
        values.pop("head_dim")
        values["partial_rotary_factor"] = config.number("rotary_pct")
        values.pop("rope_scaling", None)  # the engine's class reads the long rope's factors alone
        if config[LONGROPE[0]]:
            values["original_max_position_embeddings"] = config.whole("original_max_position_embeddings")
            values["rope_scaling"] = {
                "type": "longrope",
                "short_factor": config[LONGROPE[0]],
                "long_factor": config[LONGROPE[1]],
            }
    try:
        return AutoConfig.for_model(family, **values)
    except Exception as error:  # transformers validates with classes of its own
        raise bad(
            "config.json describes a model that cannot be computed",
            "config.json",
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
        ) from error


def _experts(config: EngineConfig) -> dict[str, Any]:
    count, chosen = config.whole("num_experts"), config.whole("top_k")
    if config.family.model_type == "mixtral":
        return {"num_local_experts": count, "num_experts_per_tok": chosen}
    return {
        "num_experts": count,
        "num_experts_per_tok": chosen,
        "moe_intermediate_size": config.whole("moe_intermediate_size"),
        "norm_topk_prob": config["normalization_mode"] == 1,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }


def _windows(config: EngineConfig) -> dict[str, Any]:
    """The transformers config's fields of sliding windows."""
    family, limits = config.family.model_type, windows(config)
    window = next((one for one in limits if one), None)
    kinds = ["sliding_attention" if one else "full_attention" for one in limits]
    if family in ("mistral", "mixtral", "phi3"):
        # One window for all layers; a mixture cannot be run here, and `differences` names it.
        return {"sliding_window": window if all(limits) else None}
    if family in ("qwen2", "qwen3", "qwen3_moe"):
        if family == "qwen3_moe":
            return {"use_sliding_window": all(limits), "sliding_window": window if all(limits) else None}
        return {"use_sliding_window": bool(window), "sliding_window": window, "layer_types": kinds}
    most = config.whole("max_position_embeddings")
    if family == "gemma2":
        return {"sliding_window": window or most, "layer_types": kinds}
    if family == "gemma3_text":
        every = config.whole("_sliding_window_pattern")
        local = [bool((layer + 1) % every) for layer in range(len(limits))]
        # The kinds choose the rotary base, so a window elsewhere cannot be run here; `differences` names it.
        return {
            "sliding_window": window if window and all(limits[at] for at, own in enumerate(local) if own) else most,
            "layer_types": ["sliding_attention" if own else "full_attention" for own in local],
        }
    return {}


def source_windows(config: Any) -> list[int | None]:
    """Tokens that each layer of a transformers config looks back on; None: on all."""
    layers, most = int(config.num_hidden_layers), int(config.max_position_embeddings)
    window = getattr(config, "sliding_window", None)
    if not window or window >= most or getattr(config, "use_sliding_window", True) is False:
        return [None] * layers
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * layers
    return [int(window) if kind == "sliding_attention" else None for kind in kinds[:layers]]


def not_reached(config: EngineConfig, longest: int) -> list[str]:
    """What shows in logits of longer inputs alone, in words. `longest`: tokens of the longest input that was run."""
    found = []
    for window in sorted({one for one in windows(config) if one}):
        if longest <= window:
            found.append(f"attention windows of {window:,} tokens (the longest prompt with its answer has {longest:,})")
    scaling = config["rotary_scaling"] or {}
    kind = scaling.get("type", scaling.get("rope_type"))
    limit = config.values.get(LONGROPE[2]) if config.values.get(LONGROPE[0]) else None
    if kind == "dynamic":
        limit = config.whole("max_position_embeddings")
    if limit and longest <= limit:
        found.append(
            f"rope scaling beyond {limit:,} tokens, compared as settings alone (the longest prompt with its answer has "
            f"{longest:,})"
        )
    return found


def _activation(config: EngineConfig) -> str:
    name = str(config["hidden_act"])
    if name in ("silu", "swiglu", "fast-swiglu"):
        return "silu"
    if "gelu" in name or name == "geglu":
        return "gelu_pytorch_tanh"  # every gelu of the engine is the tanh one
    if name in ("relu", "tanh", "sigmoid"):
        return name
    raise bad("config.json names an activation that the engine does not know", "config.json", f"hidden_act = {name!r}")


def build(config: EngineConfig, tied: bool, compute: str, attention: str | None, device: str = "cpu") -> Any:
    """The empty transformers model in dtype `compute` on `device`, in eval mode; its values are to be filled in."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        from transformers.initialization import no_init_weights
    except ImportError:  # transformers 4
        from transformers.modeling_utils import no_init_weights
    extra = {"attn_implementation": attention} if attention else {}
    wanted = transformers_config(config, tied)
    # Drawing random values for each weight would take longer than filling them all.
    with torch.device(device), no_init_weights():
        model = AutoModelForCausalLM.from_config(wanted, dtype=getattr(torch, compute), **extra).eval()
    model.tie_weights()  # transformers 5 does so while it draws
    return model


def fill(model: Any, tensors: Iterable[tuple[str, Any]]) -> None:
    """Copy tensors into the model's parameters. Raises WorkerError `bad-checkpoint` when any stays unfilled."""
    import torch

    parameters = dict(model.named_parameters())
    left = set(parameters)
    with torch.no_grad():
        for name, tensor in tensors:
            place, own = _place(parameters, name)
            own.copy_(tensor)
            left.discard(place)
        for name in [name for name in left if name.endswith(".bias")]:
            parameters[name].zero_()  # the engine has none there
            left.discard(name)
    if left:
        raise bad("the checkpoint does not fill the model", "", f"nothing for {', '.join(sorted(left)[:5])}")


def _place(parameters: dict[str, Any], name: str) -> tuple[str, Any]:
    """(parameter's name, the part of it that `name` stands for): transformers 5 keeps a layer's experts as one."""
    if name in parameters:
        return name, parameters[name]
    router = re.fullmatch(r"(.+)\.block_sparse_moe\.gate\.weight", name)
    if router:
        place = f"{router.group(1)}.mlp.gate.weight"
        return place, parameters[place]
    found = re.fullmatch(r"(.+)\.(?:block_sparse_moe|mlp)\.experts\.(\d+)\.(\w+)\.weight", name)
    if not found:
        raise bad("the checkpoint holds a weight that its model has no place for", "", name)
    at, expert, part = found.group(1), int(found.group(2)), found.group(3)
    if part in ("w2", "down_proj"):
        place = f"{at}.mlp.experts.down_proj"
        return place, parameters[place][expert]
    place = f"{at}.mlp.experts.gate_up_proj"
    half = parameters[place].shape[1] // 2
    return place, parameters[place][expert, :half] if part in ("w1", "gate_proj") else parameters[place][expert, half:]


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
    "num_local_experts": "num_experts",
    "num_experts": "num_experts",
    "num_experts_per_tok": "top_k",
    "moe_intermediate_size": "moe_intermediate_size",
    "norm_topk_prob": "normalization_mode",
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
    limits = [windows(config), source_windows(source)]
    if limits[0] != limits[1]:
        note("runtime_defaults.max_attention_window", *(_windows_in_words(one) for one in limits))
    if config.family.name == "gemma3":
        kinds = [getattr(one, "layer_types", None) for one in (ours, source)]
        if kinds[0] != kinds[1]:
            note("_sliding_window_pattern", config["_sliding_window_pattern"], kinds[1])
    if config.family.model_type == "mixtral" and config["normalization_mode"] != 1:
        note("moe.normalization_mode", config["normalization_mode"], 1)
    return found


def _windows_in_words(limits: list[int | None]) -> str | None:
    if not any(limits):
        return None
    if len(set(limits)) == 1:
        return f"{limits[0]} tokens in all layers"
    return ", ".join("all" if one is None else str(one) for one in limits[:12]) + (" ..." if limits[12:] else "")


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
    # Gemma 1 has both and computes with hidden_act; Gemma 2 and 3 have hidden_activation alone.
    name = str(getattr(config, "hidden_act", None) or config.hidden_activation)
    return "gelu_pytorch_tanh" if "gelu" in name else name

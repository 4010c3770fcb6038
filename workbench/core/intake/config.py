"""config.json -> checked facts: the old and the new spellings of each field, without any model code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from workbench.core.intake.families import (
    GENERIC,
    Family,
    family_of,
    family_of_model_type,
    known_families,
    nearest_architecture,
)
from workbench.core.intake.json import bad_model, shown

MAX_NUMBER = 2**40
"""No size in a config is near it; larger ones are mistakes."""

_ALIASES: dict[str, tuple[str, ...]] = {
    "num_hidden_layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "num_attention_heads": ("num_attention_heads", "n_head", "n_heads"),
    "num_key_value_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv"),
    "head_dim": ("head_dim",),
    "intermediate_size": ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"),
    "vocab_size": ("vocab_size", "padded_vocab_size"),
    "max_position_embeddings": (
        "max_position_embeddings",
        "n_positions",
        "max_seq_len",
        "seq_length",
        "n_ctx",
    ),
}
_FOUR_TIMES_HIDDEN = frozenset(["gpt2", "gpt_bigcode", "gptj", "falcon", "bloom", "mpt"])

_DTYPES = {
    "float64": "fp64", "float32": "fp32", "float": "fp32", "float16": "fp16", "half": "fp16",
    "bfloat16": "bf16", "float8_e4m3fn": "fp8",
}  # fmt: skip


class RopeScaling(BaseModel):
    """How positions are stretched beyond `original_max_positions`; `raw` is config.json's table, flat values only."""

    model_config = ConfigDict(frozen=True)

    kind: str
    factor: float | None = None
    original_max_positions: int | None = None
    raw: dict[str, Any]


class Experts(BaseModel):
    """Mixture of experts: `count` routed experts a layer, `per_token` of them used."""

    model_config = ConfigDict(frozen=True)

    count: int
    per_token: int | None
    intermediate_size: int
    shared_intermediate_size: int = 0
    """Width of the experts that every token uses; 0: there are none."""
    layers: int
    """Layers that have experts."""


class Facts(BaseModel):
    """What config.json says, with the family's defaults filled in."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    family: Family
    architecture: str
    model_type: str
    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_size: int
    vocab_size: int
    max_positions: int | None
    tied_embeddings: bool | None
    rope_theta: float | None
    rope_scaling: RopeScaling | None
    sliding_window: int | None
    sliding_layers: int
    latent_kv_size: int | None
    experts: Experts | None
    custom_code: bool
    dtype: str | None
    raw: dict[str, Any]
    """The text model's own table."""
    outer: dict[str, Any]
    """The whole of config.json."""


def read_facts(outer: dict[str, Any], *, trust_remote_code: bool) -> Facts:
    """Facts of a parsed config.json. Raises BadInputError that names all missing or impossible fields."""
    custom_code = bool(outer.get("auto_map"))
    architecture, family = _architecture(outer, custom_code and trust_remote_code)
    text = outer
    for key in ("text_config", "llm_config", "language_config"):
        if isinstance(outer.get(key), dict):
            text = {str(name): value for name, value in outer[key].items()}
            inner = text.get("model_type")
            if isinstance(inner, str) and (better := family_of_model_type(inner)) is not None:
                family = better
            break
    reader = _Reader(text, family)
    facts = _facts(reader, outer, architecture, family, custom_code)
    reader.finish()
    return facts


class _Reader:
    """Takes fields out of a config, collecting all that is missing or impossible for one message."""

    def __init__(self, table: Mapping[str, Any], family: Family) -> None:
        self.table, self.family = table, family
        self.missing: list[str] = []
        self.wrong: list[str] = []

    def raw(self, name: str) -> tuple[str, Any]:
        """The spelling in use and its value; None when neither the config nor the family has one."""
        for key in _ALIASES.get(name, (name,)):
            if self.table.get(key) is not None:
                return key, self.table[key]
        for key in _ALIASES.get(name, (name,)):
            if key in self.family.defaults:
                return key, self.family.defaults[key]
        return name, None

    def whole(self, name: str, *, low: int = 1, default: int | None = None) -> int | None:
        """A whole number from `low` on; `default` when there is none or it is impossible (and noted)."""
        key, value = self.raw(name)
        if value is None:
            return default
        if type(value) is not int:
            self.wrong.append(f"{key} is {shown(value)}, not a whole number")
        elif not low <= value <= MAX_NUMBER:
            self.wrong.append(f"{key} is {shown(value)}, which is impossible")
        else:
            return value
        return default

    def needed(self, name: str) -> int:
        """Like `whole`, for fields that must be there; 1 stands in until `finish` raises."""
        if self.raw(name)[1] is None:
            self.missing.append(name)
        return self.whole(name) or 1

    def flag(self, name: str, default: bool | None) -> bool | None:
        key, value = self.raw(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.wrong.append(f"{key} is {shown(value)}, not true or false")
            return default
        return value

    def number(self, name: str) -> float | None:
        key, value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.wrong.append(f"{key} is {shown(value)}, not a number")
        elif not 0 < value <= 1e30:
            self.wrong.append(f"{key} is {shown(value)}, which is impossible")
        else:
            return float(value)
        return None

    def finish(self) -> None:
        if self.missing:
            names = ", ".join(self.missing)
            more = f"; also {self.wrong[0]}" if self.wrong else ""
            raise bad_model(
                f"config.json lacks {'fields' if len(self.missing) > 1 else 'a field'} that a"
                f" {self.family.title} model needs: {names}",
                f"missing: {names}{more}",
                "Take config.json from the model's repository again.",
            )
        if self.wrong:
            raise bad_model(
                "config.json has impossible values",
                "; ".join(self.wrong[:8]),
                "Take config.json from the model's repository again.",
            )


def _facts(reader: _Reader, outer: dict[str, Any], architecture: str, family: Family, custom_code: bool) -> Facts:
    table = reader.table
    layers = reader.needed("num_hidden_layers")
    hidden = reader.needed("hidden_size")
    heads = reader.needed("num_attention_heads")
    vocabulary = reader.needed("vocab_size")
    if layers > 10_000:
        reader.wrong.append(f"num_hidden_layers is {layers:,}, which is impossible")
    head_size = reader.whole("head_dim")
    if family.title.startswith("Deepseek"):
        head_size = (reader.whole("qk_nope_head_dim") or 0) + (reader.whole("qk_rope_head_dim") or 0)
    elif head_size is None:
        if hidden % heads:
            reader.wrong.append(f"hidden_size {hidden} is not a multiple of num_attention_heads {heads}")
        head_size = max(hidden // heads, 1)
    kv_heads = _kv_heads(reader, heads)
    if heads % kv_heads:
        reader.wrong.append(f"num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}")
    max_positions = reader.whole("max_position_embeddings")
    if max_positions is None and family.positions != "alibi":
        reader.needed("max_position_embeddings")
    theta, scaling = _rope(reader) if family.positions == "rope" else (None, None)
    window, sliding_layers = _sliding(reader, layers)
    intermediate = _intermediate(reader, hidden)
    tied = reader.flag("tie_word_embeddings", None)
    if tied is None and isinstance(outer.get("tie_word_embeddings"), bool):
        tied = outer["tie_word_embeddings"]
    dtype = next((t[k] for t in (table, outer) for k in ("dtype", "torch_dtype") if isinstance(t.get(k), str)), None)
    model_type = outer.get("model_type")
    return Facts(
        family=family,
        architecture=architecture,
        model_type=model_type if isinstance(model_type, str) else family.model_type,
        layers=layers,
        hidden_size=hidden,
        intermediate_size=intermediate,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        vocab_size=vocabulary,
        max_positions=max_positions,
        tied_embeddings=tied,
        rope_theta=theta,
        rope_scaling=scaling,
        sliding_window=window,
        sliding_layers=sliding_layers,
        latent_kv_size=_latent(reader),
        experts=_experts(reader, layers, intermediate),
        custom_code=custom_code,
        dtype=_DTYPES.get(dtype.removeprefix("torch.")) if dtype else None,
        raw=dict(table),
        outer=outer,
    )


def _architecture(outer: dict[str, Any], own_code: bool) -> tuple[str, Family]:
    names = outer.get("architectures")
    model_type = outer.get("model_type")
    fix = f"Known families: {known_families()}."
    if names is None or names == []:
        family = family_of_model_type(model_type) if isinstance(model_type, str) else None
        if family is not None:
            fix = f'Add "architectures": ["{family.architectures[0]}"] to it. {fix}'
        raise bad_model(
            "config.json does not say which architecture the model has",
            f"architectures is {'empty' if names == [] else 'missing'}, model_type is {shown(model_type)}",
            fix,
        )
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise bad_model("architectures in config.json is not a list of names", shown(names), fix)
    architecture = str(names[0])
    family = family_of(architecture)
    if family is None and own_code:
        return architecture, (family_of_model_type(model_type) if isinstance(model_type, str) else None) or GENERIC
    if family is None:
        near = nearest_architecture(architecture)
        raise bad_model(
            f"the model's architecture {shown(architecture)} is not known",
            f"architectures = {shown(names)} in config.json",
            (f"Did you mean {near}? " if near else "Choose a text-generating model. ") + fix,
        )
    if not isinstance(model_type, str) or not model_type:
        raise bad_model(
            f"config.json lacks a field that a {family.title} model needs: model_type",
            f"model_type is {shown(model_type)}",
            f'Add "model_type": "{family.model_type}" to it.',
        )
    return architecture, family


def _kv_heads(reader: _Reader, heads: int) -> int:
    title = reader.family.title
    if title in ("GPT2", "GPTJ", "GPTNeoX", "OPT", "Bloom"):
        return heads
    if title == "Falcon":
        new = reader.flag("new_decoder_architecture", False)
        if not new:
            return 1 if reader.flag("multi_query", True) else heads
    if title == "GPTBigCode":
        return 1 if reader.flag("multi_query", True) else heads
    if title == "MPT":
        attention = reader.table.get("attn_config")
        if isinstance(attention, dict) and type(attention.get("kv_n_heads")) is int and attention["kv_n_heads"] > 0:
            return int(attention["kv_n_heads"])
    return reader.whole("num_key_value_heads", default=heads) or heads


def _intermediate(reader: _Reader, hidden: int) -> int:
    found = reader.whole("intermediate_size")
    if found is not None:
        return found
    if reader.family.model_type == "mpt":
        return hidden * (reader.whole("expansion_ratio", default=4) or 4)
    if reader.family.model_type in _FOUR_TIMES_HIDDEN and reader.raw("intermediate_size")[1] is None:
        return 4 * hidden
    return reader.needed("intermediate_size")


def _rope(reader: _Reader) -> tuple[float | None, RopeScaling | None]:
    """Base and stretching, from `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling`."""
    theta = reader.number("rope_theta") or reader.number("rotary_emb_base")
    table = reader.table.get("rope_parameters")
    if table is None:
        table = reader.table.get("rope_scaling")
    if isinstance(table, dict) and table and all(isinstance(part, dict) for part in table.values()):
        # One table a kind of layer (Gemma3, Olmo3); full attention is the one that reaches far.
        table = table.get("full_attention") or next(iter(table.values()))
    if table is not None and not isinstance(table, dict):
        reader.wrong.append(f"rope_scaling is {shown(table)}, not a table")
        table = None
    if not table:
        return theta or 10_000.0, None
    inner = _Reader(table, GENERIC)
    theta = inner.number("rope_theta") or theta or 10_000.0
    kind = table.get("rope_type") or table.get("type") or "default"
    if not isinstance(kind, str):
        reader.wrong.append(f"the rope type is {shown(kind)}, not a name")
        kind = "default"
    factor = inner.number("factor")
    original = inner.whole("original_max_position_embeddings") or reader.whole("original_max_position_embeddings")
    reader.wrong.extend(inner.wrong)
    if kind == "default":
        return theta, None
    if factor is None and original:
        longest = reader.whole("max_position_embeddings")
        factor = longest / original if longest else None
    raw = {str(key): value for key, value in table.items() if _flat(value)}
    return theta, RopeScaling(kind=kind, factor=factor, original_max_positions=original, raw=raw)


def _flat(value: Any) -> bool:
    """A plain value or a list of them: all that rope tables hold, and safe to write out again."""
    plain = (str, int, float, bool, type(None))
    return isinstance(value, plain) or (isinstance(value, list) and all(isinstance(part, plain) for part in value))


def _sliding(reader: _Reader, layers: int) -> tuple[int | None, int]:
    """The window in tokens, and the number of layers that have it."""
    if reader.flag("use_sliding_window", True) is False:
        return None, 0
    window = reader.whole("sliding_window", default=None)
    if window is None:
        return None, 0
    kinds = reader.table.get("layer_types")
    if isinstance(kinds, list) and kinds:
        count = sum(1 for kind in kinds[:layers] if kind == "sliding_attention")
        return (window, count) if count else (None, 0)
    family = reader.family
    if family.sliding == "upper":
        if reader.raw("use_sliding_window")[1] is None:
            return None, 0
        count = max(0, layers - (reader.whole("max_window_layers", low=0, default=layers) or 0))
    elif family.sliding == "half":
        count = (layers + 1) // 2
    elif family.sliding == "pattern":
        every = reader.whole("sliding_window_pattern", default=4) if type(
            reader.raw("sliding_window_pattern")[1]
        ) in (int, type(None)) else 4  # fmt: skip
        count = layers - layers // (every or 4)
    else:
        count = layers
    return (window, count) if count else (None, 0)


def _latent(reader: _Reader) -> int | None:
    """Size of the compressed key and value of a token, for multi-head latent attention."""
    if not reader.family.title.startswith("Deepseek"):
        return None
    rank, rope = reader.whole("kv_lora_rank"), reader.whole("qk_rope_head_dim")
    return rank + rope if rank and rope else None


def _experts(reader: _Reader, layers: int, intermediate: int) -> Experts | None:
    names = ("num_local_experts", "num_experts", "n_routed_experts")
    count = next((found for name in names if (found := reader.whole(name, low=0))), None)
    if not count:
        return None
    per_token = reader.whole("num_experts_per_tok", low=0, default=None) or None
    if per_token is not None and per_token > count:
        reader.wrong.append(f"num_experts_per_tok {per_token} is more than the {count} experts there are")
    width = reader.whole("moe_intermediate_size") or intermediate
    shared = reader.whole("shared_expert_intermediate_size", low=0) or 0
    if not shared:
        shared = (reader.whole("n_shared_experts", low=0) or 0) * width
    first = min(reader.whole("first_k_dense_replace", low=0) or 0, layers)
    step = reader.whole("decoder_sparse_step") or 1
    dense = reader.table.get("mlp_only_layers")
    skipped = {n for n in dense if type(n) is int} if isinstance(dense, list) else set()
    sparse = sum(1 for n in range(first, min(layers, 10_000)) if (n + 1) % step == 0 and n not in skipped)
    return Experts(
        count=count,
        per_token=per_token,
        intermediate_size=width,
        shared_intermediate_size=shared,
        layers=sparse,
    )

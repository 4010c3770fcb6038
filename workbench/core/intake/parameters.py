"""Parameter counts and linear layer widths from config.json alone, for folders without weights.

The formulas follow transformers' modelling code; the tests compare them with the classes themselves.
"""

from __future__ import annotations

from typing import Any

from workbench.core.intake.config import Facts


def embedding_parameters(facts: Facts) -> int:
    """Entries of the token embedding: vocabulary x width (OPT may embed in a width of its own)."""
    width = _int(facts, "word_embed_proj_dim", facts.hidden_size) if facts.model_type == "opt" else None
    return facts.vocab_size * (width or facts.hidden_size)


def count_parameters(facts: Facts) -> int:
    """All parameters of the text model; the output head counts unless it is tied to the embeddings."""
    family = facts.family
    tied = facts.tied_embeddings if facts.tied_embeddings is not None else family.tied
    hidden = facts.hidden_size
    total = embedding_parameters(facts) * (1 if tied else 2)
    if family.head_bias or facts.raw.get("lm_head_bias") is True:
        total += facts.vocab_size
    if family.positions == "learned" and facts.max_positions:
        total += (facts.max_positions + family.position_offset) * hidden
    if family.embedding_norm:
        total += 2 * hidden
    if facts.model_type == "opt":
        width = _int(facts, "word_embed_proj_dim", hidden)
        if width != hidden:
            total += 2 * width * hidden
    if not (facts.model_type == "opt" and facts.raw.get("do_layer_norm_before") is False):
        total += family.norm_vectors * hidden
    sparse = facts.experts.layers if facts.experts else 0
    total += facts.layers * (_attention(facts) + _layer_norms(facts) * family.norm_vectors * hidden)
    total += (facts.layers - sparse) * _mlp(facts, facts.intermediate_size)
    if facts.experts is not None:
        total += sparse * _moe(facts)
    return total


def input_channels(facts: Facts) -> tuple[int, ...]:
    """Distinct input widths of the linear layers, sorted; quantization groups must divide them."""
    hidden, heads = facts.hidden_size, facts.heads
    widths = {hidden}
    if facts.latent_kv_size is not None:
        widths |= {_int(facts, "kv_lora_rank", 512), heads * _int(facts, "v_head_dim", 128)}
        if rank := _query_rank(facts):
            widths.add(rank)
    else:
        widths.add(heads * facts.head_size)
    if facts.model_type == "opt":
        widths.add(_int(facts, "word_embed_proj_dim", hidden))
    if facts.experts is None or facts.experts.layers < facts.layers:
        widths.add(facts.intermediate_size)
    if facts.experts is not None:
        widths |= {facts.experts.intermediate_size, facts.experts.shared_intermediate_size or hidden}
    return tuple(sorted(widths))


def _attention(facts: Facts) -> int:
    family, hidden, heads, kv_heads = facts.family, facts.hidden_size, facts.heads, facts.kv_heads
    if facts.latent_kv_size is not None:
        return _latent_attention(facts)
    wide, narrow = heads * facts.head_size, kv_heads * facts.head_size
    total = 2 * hidden * wide + 2 * hidden * narrow
    qkv_bias, out_bias = family.qkv_bias, family.out_bias
    for name in ("attention_bias", "use_bias", "bias", "qkv_bias", "use_qkv_bias"):
        if isinstance(facts.raw.get(name), bool) and family.title not in ("Qwen2", "MPT", "Bloom", "OPT"):
            qkv_bias = facts.raw[name]
            if name in ("attention_bias", "use_bias", "bias") and not family.title.startswith("Glm"):
                out_bias = qkv_bias
            break
    total += (wide + 2 * narrow) * qkv_bias + hidden * out_bias
    if family.qk_norm == "head":
        total += 2 * facts.head_size
    elif family.qk_norm == "full" or facts.raw.get("use_qk_norm") is True:
        total += wide + narrow
    elif facts.raw.get("qk_layernorm") is True:
        total += 4 * facts.head_size if family.title == "Phi" else wide + narrow
    return total


def _latent_attention(facts: Facts) -> int:
    hidden, heads, head_size = facts.hidden_size, facts.heads, facts.head_size
    rank, rope = _int(facts, "kv_lora_rank", 512), _int(facts, "qk_rope_head_dim", 64)
    value = _int(facts, "v_head_dim", 128)
    query = _query_rank(facts)
    total = hidden * query + query + query * heads * head_size if query else hidden * heads * head_size
    total += hidden * (rank + rope) + rank + rank * heads * (head_size - rope + value)
    return total + heads * value * hidden


def _query_rank(facts: Facts) -> int:
    if "q_lora_rank" in facts.raw and facts.raw["q_lora_rank"] is None:
        return 0  # null is a plain query projection, absent is the class default
    return _int(facts, "q_lora_rank", 1536)


def _layer_norms(facts: Facts) -> int:
    raw = facts.raw
    if facts.family.title == "StableLm" and raw.get("use_parallel_residual") is True:
        return 1
    if facts.family.title == "Falcon":
        if raw.get("new_decoder_architecture") is True:
            return 2 if raw.get("num_ln_in_parallel_attn") in (None, 2) else 1
        return 2 if raw.get("parallel_attn") is False else 1
    return facts.family.layer_norms


def _mlp(facts: Facts, width: int) -> int:
    matrices = 3 if facts.family.gated else 2
    bias = facts.family.mlp_bias
    for name in ("mlp_bias", "use_bias", "bias"):
        if isinstance(facts.raw.get(name), bool) and facts.family.title not in ("MPT", "Bloom", "OPT"):
            bias = facts.raw[name]
            break
    return matrices * facts.hidden_size * width + (width * (matrices - 1) + facts.hidden_size) * bias


def _moe(facts: Facts) -> int:
    experts, hidden = facts.experts, facts.hidden_size
    assert experts is not None
    total = experts.count * (3 * hidden * experts.intermediate_size + hidden)
    total += 3 * hidden * experts.shared_intermediate_size
    if facts.family.title == "Qwen2Moe":
        total += hidden  # gate of the shared expert
    return total


def _int(facts: Facts, name: str, default: int) -> int:
    value: Any = facts.raw.get(name, facts.family.defaults.get(name, default))
    return value if type(value) is int and value > 0 else default

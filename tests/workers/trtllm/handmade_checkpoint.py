"""TensorRT-LLM checkpoints of tiny Llama-like models, fused and cut by code written here by hand.

It shares nothing with the reader that it tests, and needs no ModelOpt. Covers Llama, Mistral and Qwen2, tensor and
pipeline parallel, and FP8 with one scale a layer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Tensors = dict[str, Any]


def checkpoint(
    model: Path, out: Path, *, tp: int = 1, pp: int = 1, fp8: bool = False, dtype: str = "bfloat16", kv: bool = False
) -> Path:
    """Write config.json and rank files for the Hugging Face folder `model` into `out`; returns `out`."""
    from safetensors.torch import load_file, save_file

    source = json.loads((model / "config.json").read_text())
    weights = load_file(model / "model.safetensors")
    out.mkdir(parents=True)
    a_stage = source["num_hidden_layers"] // pp
    for rank in range(tp * pp):
        stage, part = divmod(rank, tp)
        tensors: Tensors = {}
        for local in range(a_stage):
            tensors |= _layer(weights, source, stage * a_stage + local, local, part, tp)
        if stage == 0:
            tensors["transformer.vocab_embedding.weight"] = _vocabulary(weights["model.embed_tokens.weight"], part, tp)
        if stage == pp - 1:
            tensors["transformer.ln_f.weight"] = weights["model.norm.weight"]
            if not source["tie_word_embeddings"]:
                tensors["lm_head.weight"] = _vocabulary(weights["lm_head.weight"], part, tp)
        save_file(_finished(tensors, weights, source, stage * a_stage, fp8, kv, dtype), out / f"rank{rank}.safetensors")
    (out / "config.json").write_text(json.dumps(_config(source, tp, pp, fp8, kv, dtype), indent=1))
    return out


def change_config(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Edit config.json in place."""
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def change_tensors(folder: Path, change: Callable[[Tensors], None], rank: int = 0) -> None:
    """Edit a rank's tensors in place."""
    from safetensors.torch import load_file, save_file

    path = folder / f"rank{rank}.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def _layer(weights: Tensors, source: dict[str, Any], layer: int, local: int, part: int, tp: int) -> Tensors:
    import torch

    heads, kv_heads = source["num_attention_heads"], source["num_key_value_heads"]
    head = source.get("head_dim") or source["hidden_size"] // heads
    at, to = f"model.layers.{layer}", f"transformer.layers.{local}"
    q = heads // tp * head
    first_kv, kv = (part * kv_heads // tp) * head, max(1, kv_heads // tp) * head
    rows = {
        "q": slice(part * q, part * q + q),
        "k": slice(first_kv, first_kv + kv),
        "v": slice(first_kv, first_kv + kv),
    }
    inner = source["intermediate_size"] // tp
    mine = slice(part * inner, part * inner + inner)
    out = {
        f"{to}.input_layernorm.weight": weights[f"{at}.input_layernorm.weight"],
        f"{to}.post_layernorm.weight": weights[f"{at}.post_attention_layernorm.weight"],
        f"{to}.attention.dense.weight": weights[f"{at}.self_attn.o_proj.weight"][:, part * q : part * q + q],
        f"{to}.mlp.fc.weight": weights[f"{at}.mlp.gate_proj.weight"][mine],
        f"{to}.mlp.gate.weight": weights[f"{at}.mlp.up_proj.weight"][mine],
        f"{to}.mlp.proj.weight": weights[f"{at}.mlp.down_proj.weight"][:, mine],
    }
    for kind in ("weight", "bias"):
        if f"{at}.self_attn.q_proj.{kind}" in weights:
            each = [weights[f"{at}.self_attn.{one}_proj.{kind}"][rows[one]] for one in "qkv"]
            out[f"{to}.attention.qkv.{kind}"] = torch.cat(each)
    return out


def _vocabulary(weight: Any, part: int, tp: int) -> Any:
    """A rank's rows; the last ranks' are filled up with zeros."""
    import torch

    share = -(-weight.shape[0] // tp)
    padded = torch.cat([weight, torch.zeros(share * tp - weight.shape[0], weight.shape[1], dtype=weight.dtype)])
    return padded[part * share : (part + 1) * share]


def _finished(
    tensors: Tensors, weights: Tensors, source: dict[str, Any], first: int, fp8: bool, kv: bool, dtype: str
) -> Tensors:
    """Of the checkpoint's dtype; the layers' matrices in FP8, with scales that all ranks have in common."""
    import torch

    out = {name: tensor.to(getattr(torch, dtype)).clone() for name, tensor in tensors.items()}
    parts = {
        "attention.qkv": [f"self_attn.{one}_proj" for one in "qkv"],
        "attention.dense": ["self_attn.o_proj"],
        "mlp.fc": ["mlp.gate_proj"],
        "mlp.gate": ["mlp.up_proj"],
        "mlp.proj": ["mlp.down_proj"],
    }
    for name in list(out) if fp8 else []:
        if not name.startswith("transformer.layers.") or not name.endswith(".weight") or "layernorm" in name:
            continue
        at = name.removesuffix(".weight")
        local, ours = at.removeprefix("transformer.layers.").split(".", 1)
        whole = [weights[f"model.layers.{first + int(local)}.{one}.weight"] for one in parts[ours]]
        scale = max(float(one.abs().max()) for one in whole) / 448
        out[name] = (tensors[name].float() / scale).clamp(-448, 448).to(torch.float8_e4m3fn)
        out[f"{at}.weights_scaling_factor"] = torch.tensor([scale])
        out[f"{at}.activation_scaling_factor"] = torch.tensor([20.0 / 448])
    if kv:
        for local_layer in {name.split(".")[2] for name in out if name.startswith("transformer.layers.")}:
            out[f"transformer.layers.{local_layer}.attention.kv_cache_scaling_factor"] = torch.tensor([0.05])
    return out


def _config(source: dict[str, Any], tp: int, pp: int, fp8: bool, kv: bool, dtype: str) -> dict[str, Any]:
    window = source.get("sliding_window") if source["model_type"] == "mistral" else None
    qwen = source["model_type"] == "qwen2"
    config = {
        "architecture": source["architectures"][0],
        "dtype": dtype,
        "logits_dtype": "float32",
        "hidden_size": source["hidden_size"],
        "intermediate_size": source["intermediate_size"],
        "num_hidden_layers": source["num_hidden_layers"],
        "num_attention_heads": source["num_attention_heads"],
        "num_key_value_heads": source["num_key_value_heads"],
        "head_size": source.get("head_dim") or source["hidden_size"] // source["num_attention_heads"],
        "vocab_size": source["vocab_size"],
        "max_position_embeddings": source["max_position_embeddings"],
        "norm_epsilon": source["rms_norm_eps"],
        "hidden_act": "silu",
        "position_embedding_type": "rope_gpt_neox",
        "rotary_base": source["rope_theta"],
        "rotary_scaling": source.get("rope_scaling"),
        "attn_bias": qwen or bool(source.get("attention_bias")),
        "mlp_bias": False,
        "use_parallel_embedding": True,
        "embedding_sharding_dim": 0,
        "mapping": {"world_size": tp * pp, "tp_size": tp, "pp_size": pp},
        "quantization": {
            "quant_algo": "FP8" if fp8 else None,
            "kv_cache_quant_algo": "FP8" if kv else None,
            **({"exclude_modules": ["lm_head"]} if fp8 else {}),
        },
        "runtime_defaults": {"max_attention_window": [window]} if window else None,
    }
    if qwen:
        config |= {"qwen_type": "qwen2", "seq_length": source["max_position_embeddings"]}
    else:
        config["residual_mlp"] = False
    return config

"""A tiny Llama with random weights and a tokenizer of its own: a real Hugging Face folder, made in a moment.

It says nonsense, and goes through every step that a real model goes through.
"""

from __future__ import annotations

import json
import random
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "max_position_embeddings": 512,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
    "bos_token_id": 126,
    "eos_token_id": 127,
}
_TEMPLATE = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
_SPREAD = 0.05


def write_tiny_model(folder: Path, seed: int = 7) -> Path:
    """Make the folder: config.json, tokenizer, and 0.2 MB of weights. The same seed gives the same bytes."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=1), "utf-8")
    generation = {"bos_token_id": CONFIG["bos_token_id"], "eos_token_id": CONFIG["eos_token_id"]}
    (folder / "generation_config.json").write_text(json.dumps(generation), "utf-8")
    _write_tokenizer(folder)
    _write_weights(folder / "model.safetensors", seed)
    return folder


def _write_tokenizer(folder: Path) -> None:
    """128 tokens: the printable characters of ASCII, the space, and the marks of beginning and end."""
    vocabulary = {chr(33 + n): n for n in range(94)}
    vocabulary["\u0120"] = 94
    vocabulary |= {f"<unused{n}>": n for n in range(95, 126)}
    vocabulary["<s>"], vocabulary["</s>"] = 126, 127
    special = [
        {"id": number, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for text, number in (("<s>", 126), ("</s>", 127))
    ]  # fmt: skip
    levels = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    tokenizer: dict[str, Any] = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
        "pre_tokenizer": {**levels, "add_prefix_space": False}, "post_processor": None,
        "decoder": {**levels, "add_prefix_space": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocabulary,
                  "merges": []},
    }  # fmt: skip
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
        "model_max_length": CONFIG["max_position_embeddings"], "chat_template": _TEMPLATE,
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")


def llama_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a Llama checkpoint with this config.json."""
    hidden, wide, words = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    size = config.get("head_dim") or hidden // config["num_attention_heads"]
    query, keys = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (words, hidden)}
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}"
        shapes |= {
            f"{layer}.input_layernorm.weight": (hidden,),
            f"{layer}.self_attn.q_proj.weight": (query, hidden),
            f"{layer}.self_attn.k_proj.weight": (keys, hidden),
            f"{layer}.self_attn.v_proj.weight": (keys, hidden),
            f"{layer}.self_attn.o_proj.weight": (hidden, query),
            f"{layer}.post_attention_layernorm.weight": (hidden,),
            f"{layer}.mlp.gate_proj.weight": (wide, hidden),
            f"{layer}.mlp.up_proj.weight": (wide, hidden),
            f"{layer}.mlp.down_proj.weight": (hidden, wide),
        }
    head = {} if config.get("tie_word_embeddings") else {"lm_head.weight": (words, hidden)}
    return {**shapes, "model.norm.weight": (hidden,), **head}


def _write_weights(path: Path, seed: int) -> None:
    """A safetensors file in BF16: norms are one, all else is random about zero."""
    source = random.Random(seed)  # noqa: S311 - weights, not secrets
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = bytearray()
    for name, shape in llama_shapes(CONFIG).items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = [source.gauss(0.0, _SPREAD) for _ in range(count)] if len(shape) > 1 else [1.0] * count
        begins = len(body)
        body += _upper(values)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begins, len(body)]}
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(body))


def _upper(values: list[float]) -> bytes:
    """BF16, little-endian: the upper half of each float32."""
    wide = array("f", values).tobytes()
    narrow = bytearray(len(wide) // 2)
    narrow[0::2], narrow[1::2] = wide[2::4], wide[3::4]
    return bytes(narrow)

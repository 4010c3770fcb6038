"""Writes tiny random Hugging Face folders by NumPy alone: full precision for several families, and GPTQ.

Tensor names and config.json's fields are those of transformers 4.57, which TensorRT-LLM 1.2 reads.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.fakes.trtllm_checkpoints import Tensors, save, write_tokenizer

HIDDEN, INNER, LAYERS, HEADS, KV_HEADS, HEAD, VOCABULARY = 64, 128, 2, 4, 2, 16, 320
GROUP = 32
CONFIG: dict[str, Any] = {
    "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS, "vocab_size": VOCABULARY, "max_position_embeddings": 512, "rope_theta": 100000.0,
    "rms_norm_eps": 1e-5, "torch_dtype": "bfloat16", "tie_word_embeddings": False, "bos_token_id": 0,
    "eos_token_id": 1, "hidden_act": "silu",
}  # fmt: skip
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", {}),
    "mistral": ("MistralForCausalLM", {"sliding_window": None, "head_dim": HEAD}),
    "qwen2": ("Qwen2ForCausalLM", {"use_sliding_window": False}),
    "qwen3": ("Qwen3ForCausalLM", {"head_dim": HEAD, "use_sliding_window": False, "attention_bias": False}),
    "gemma2": ("Gemma2ForCausalLM", {
        "head_dim": HEAD, "sliding_window": 256, "query_pre_attn_scalar": HEAD, "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0, "tie_word_embeddings": True, "hidden_activation": "gelu_pytorch_tanh",
        "hidden_act": "gelu_pytorch_tanh",
    }),
    "phi3": ("Phi3ForCausalLM", {"pad_token_id": 1, "sliding_window": None}),
    "granite": ("GraniteForCausalLM", {
        "embedding_multiplier": 12.0, "attention_multiplier": 0.25, "residual_multiplier": 0.5, "logits_scaling": 8.0,
    }),
}  # fmt: skip


def write_model(folder: Path, family: str = "llama", seed: int = 0, **changes: Any) -> Path:
    """A folder of BF16 weights; `changes` go into config.json, None drops a field."""
    architecture, own = FAMILIES[family]
    config = {"architectures": [architecture], "model_type": family, **CONFIG, **own, **changes}
    config = {name: value for name, value in config.items() if value is not None}
    random = np.random.default_rng(seed)
    tensors: Tensors = {}

    def put(name: str, *shape: int, middle: float = 0.0) -> None:
        values = (random.standard_normal(shape) * 0.05 + middle).astype(np.float32)
        tensors[name] = ("BF16", (values.view(np.uint32) >> 16).astype(np.uint16))

    norm = 0.0 if family == "gemma2" else 1.0
    for name, rows, columns, biased in linears(family):
        put(f"{name}.weight", rows, columns)
        if biased:
            put(f"{name}.bias", rows)
    _rest(put, family, config, norm)
    return _finish(folder, config, tensors)


def linears(family: str) -> list[tuple[str, int, int, bool]]:
    """(name, output, input, biased) of all linear layers but the head."""
    found = []
    for layer in range(LAYERS):
        at, biased = f"model.layers.{layer}", family == "qwen2"
        if family == "phi3":
            found += [(f"{at}.self_attn.qkv_proj", (HEADS + 2 * KV_HEADS) * HEAD, HIDDEN, False)]
            found += [(f"{at}.mlp.gate_up_proj", 2 * INNER, HIDDEN, False)]
        else:
            found += [(f"{at}.self_attn.q_proj", HEADS * HEAD, HIDDEN, biased)]
            found += [(f"{at}.self_attn.{part}_proj", KV_HEADS * HEAD, HIDDEN, biased) for part in "kv"]
            found += [(f"{at}.mlp.{part}_proj", INNER, HIDDEN, False) for part in ("gate", "up")]
        found += [(f"{at}.self_attn.o_proj", HIDDEN, HEADS * HEAD, False)]
        found += [(f"{at}.mlp.down_proj", HIDDEN, INNER, False)]
    return found


def _rest(put: Any, family: str, config: dict[str, Any], norm: float) -> None:
    put("model.embed_tokens.weight", VOCABULARY, HIDDEN)
    put("model.norm.weight", HIDDEN, middle=norm)
    if not config.get("tie_word_embeddings"):
        put("lm_head.weight", VOCABULARY, HIDDEN)
    names = ["input_layernorm", "post_attention_layernorm"]
    if family == "gemma2":
        names += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    for layer in range(LAYERS):
        for name in names:
            put(f"model.layers.{layer}.{name}.weight", HIDDEN, middle=norm)
        if family == "qwen3":
            for part in "qk":
                put(f"model.layers.{layer}.self_attn.{part}_norm.weight", HEAD, middle=norm)


def write_gptq(folder: Path, seed: int = 0, **quantization: Any) -> Path:
    """A folder as GPTQModel writes it: 4 bits, groups of GROUP, zero points stored one less, no act-order."""
    table = {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": False, **quantization}
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **CONFIG, "torch_dtype": "float16",
              "quantization_config": table}  # fmt: skip
    random = np.random.default_rng(seed)
    tensors: Tensors = {}
    for name, rows, columns, _ in linears("llama"):
        codes = random.integers(0, 16, (columns, rows), dtype=np.uint32)
        zeros = random.integers(0, 15, (columns // GROUP, rows), dtype=np.uint32)
        shifts = np.arange(0, 32, 4, dtype=np.uint32)
        packed = np.bitwise_or.reduce(codes.reshape(columns // 8, 8, rows) << shifts[None, :, None], axis=1)
        tensors[f"{name}.qweight"] = ("I32", packed.view(np.int32))
        packed = np.bitwise_or.reduce(zeros.reshape(len(zeros), rows // 8, 8) << shifts, axis=2)
        tensors[f"{name}.qzeros"] = ("I32", packed.view(np.int32))
        scales = random.uniform(0.005, 0.02, zeros.shape).astype(np.float16)
        tensors[f"{name}.scales"] = ("F16", scales)
        tensors[f"{name}.g_idx"] = ("I32", (np.arange(columns) // GROUP).astype(np.int32))

    def put(name: str, *shape: int, middle: float = 0.0) -> None:
        tensors[name] = ("F16", (random.standard_normal(shape) * 0.05 + middle).astype(np.float16))

    _rest(put, "llama", config, 1.0)
    return _finish(folder, config, tensors)


def gptq_matrix(tensors: dict[str, Any], name: str) -> Any:
    """(output, input) in float32 of a GPTQ layer, from arrays by name: what its quantizer meant."""
    shifts = np.arange(0, 32, 4, dtype=np.uint32)
    qweight, qzeros = tensors[f"{name}.qweight"].view(np.uint32), tensors[f"{name}.qzeros"].view(np.uint32)
    codes = ((qweight[:, None, :] >> shifts[None, :, None]) & 15).reshape(-1, qweight.shape[1]).astype(np.float32)
    zeros = ((qzeros[:, :, None] >> shifts) & 15).reshape(len(qzeros), -1).astype(np.float32) + 1
    scales = tensors[f"{name}.scales"].astype(np.float32)
    groups = tensors[f"{name}.g_idx"]
    return ((codes - zeros[groups]) * scales[groups]).T


def _finish(folder: Path, config: dict[str, Any], tensors: Tensors) -> Path:
    folder.mkdir(parents=True)
    save(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    write_tokenizer(folder)
    return folder

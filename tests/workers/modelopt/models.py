"""Tiny random Hugging Face folders of the families that ModelOpt's exporter knows, with a real tokenizer.

Sized so that every precision fits: widths that 64 and 16 divide on two GPUs, two layers for two pipeline stages, a
vocabulary that 64 divides. Weights, norms and biases are random enough that a dropped or swapped one shows in logits.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

RESOURCES = Path(__file__).resolve().parents[3] / "resources"
HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, HEAD_SIZE = 128, 256, 2, 4, 2, 32
VOCABULARY, POSITIONS, WINDOW, EXPERTS = 512, 512, 48, 4
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_GEMMA: dict[str, Any] = {
    "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "head_dim": 48,
    "tie_word_embeddings": True, "rms_norm_eps": 1e-6,
    "attention_bias": False,
}  # fmt: skip
"""Gemma's head size is its own: 4 x 48 is not the hidden size."""
_LLAMA3_SCALING = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}  # fmt: skip
_LONG_FACTORS = {
    "type": "longrope", "short_factor": [1.0 + at / 64 for at in range(16)],
    "long_factor": [1.0 + at / 8 for at in range(16)],
}  # fmt: skip

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "rope_theta": 100_000.0,
              "rms_norm_eps": 1e-5},
    "llama31": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "rope_theta": 500_000.0,
                "rms_norm_eps": 1e-5, "rope_scaling": _LLAMA3_SCALING},
    "mistral": {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "rope_theta": 10_000.0,
                "rms_norm_eps": 1e-5, "sliding_window": WINDOW, "head_dim": HEAD_SIZE},
    "qwen2": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "rope_theta": 1_000_000.0,
              "rms_norm_eps": 1e-6, "use_sliding_window": False, "sliding_window": 32, "max_window_layers": LAYERS,
              "tie_word_embeddings": True},
    "qwen3": {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "rope_theta": 1_000_000.0,
              "rms_norm_eps": 1e-6, "head_dim": 48, "attention_bias": False},
    "gemma": {"architectures": ["GemmaForCausalLM"], "model_type": "gemma", "rope_theta": 10_000.0, **_GEMMA},
    "gemma2": {"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "rope_theta": 10_000.0, **_GEMMA,
               "query_pre_attn_scalar": 40, "final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0,
               "sliding_window": WINDOW},
    "gemma3": {"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "rope_theta": 1_000_000.0,
               **_GEMMA, "query_pre_attn_scalar": 40, "sliding_window": WINDOW, "sliding_window_pattern": 2,
               "rope_local_base_freq": 5_000.0, "layer_types": ["sliding_attention", "full_attention"]},
    "phi3": {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "rope_theta": 10_000.0,
             "rms_norm_eps": 1e-5, "original_max_position_embeddings": POSITIONS},
    "phi3long": {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "rope_theta": 10_000.0,
                 "rms_norm_eps": 1e-5, "original_max_position_embeddings": 128, "rope_scaling": _LONG_FACTORS},
    "mixtral": {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "rope_theta": 1_000_000.0,
                "rms_norm_eps": 1e-5, "num_local_experts": EXPERTS, "num_experts_per_tok": 2},
    "qwen2_moe": {"architectures": ["Qwen2MoeForCausalLM"], "model_type": "qwen2_moe", "rope_theta": 1_000_000.0,
                  "rms_norm_eps": 1e-6, "num_experts": EXPERTS, "num_experts_per_tok": 2, "norm_topk_prob": False,
                  "moe_intermediate_size": 128, "shared_expert_intermediate_size": 256, "decoder_sparse_step": 1,
                  "mlp_only_layers": [], "use_sliding_window": False},
    "qwen3_moe": {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "rope_theta": 1_000_000.0,
                  "rms_norm_eps": 1e-6, "head_dim": 32, "num_experts": EXPERTS, "num_experts_per_tok": 2,
                  "norm_topk_prob": True, "moe_intermediate_size": 128, "decoder_sparse_step": 1,
                  "mlp_only_layers": [], "attention_bias": False},
}  # fmt: skip
"""What each family's config.json holds beside the sizes, in the spelling that transformers 4 and 5 both read."""


def make_model(
    folder: Path,
    family: str,
    *,
    tied: bool | None = None,
    seed: int = 0,
    dtype: str = "bfloat16",
    tokenizer: bool = True,
    **fields: Any,
) -> Path:
    """Write a model folder and return it. `family` is a key of FAMILIES; `tied` overrides whether the embeddings are
    shared; `fields` override or add to config.json (`vocab_size`, `num_hidden_layers`, `rope_theta` ...)."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = config_of(family, tied=tied, dtype=dtype, **fields)
    tensors = {name: tensor.to(getattr(torch, dtype)) for name, tensor in _tensors(config, seed).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _write(folder / "config.json", config)
    _write(folder / "generation_config.json", {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1})
    if tokenizer:
        write_tokenizer(folder, config["vocab_size"])
    return folder


def config_of(family: str, *, tied: bool | None = None, dtype: str = "bfloat16", **fields: Any) -> dict[str, Any]:
    """The config.json of a family's tiny model."""
    config: dict[str, Any] = {
        "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "vocab_size": VOCABULARY,
        "max_position_embeddings": POSITIONS, "hidden_act": "silu", "tie_word_embeddings": False,
        "torch_dtype": dtype, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
        **FAMILIES[family], **fields,
    }  # fmt: skip
    if tied is not None:
        config["tie_word_embeddings"] = tied
    return config


def write_tokenizer(folder: Path, vocabulary: int = VOCABULARY) -> None:
    """A byte-level BPE tokenizer learned from the shipped text, with a ChatML template; `vocabulary` entries."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    lines = (RESOURCES / "calibration.jsonl").read_text(encoding="utf-8").splitlines()
    tokenizer.train_from_iterator([json.loads(line)["text"] for line in lines], trainer)
    assert tokenizer.get_vocab_size() <= vocabulary
    tokenizer.save(str(folder / "tokenizer.json"))
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": SPECIAL[0], "eos_token": SPECIAL[1],
            "pad_token": SPECIAL[1], "chat_template": CHAT_TEMPLATE, "clean_up_tokenization_spaces": False,
            "model_max_length": POSITIONS,
        },
    )  # fmt: skip


def _write(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=1), encoding="utf-8")


def _tensors(config: dict[str, Any], seed: int) -> dict[str, Any]:
    """Random weights under the names of the family's Hugging Face class, in float32."""
    import torch

    random = torch.Generator().manual_seed(seed)
    kind, hidden = config["model_type"], config["hidden_size"]
    gemma = kind.startswith("gemma")
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head = config.get("head_dim") or hidden // heads
    inner = config["intermediate_size"]

    def matrix(rows: int, columns: int, scale: float = 1.0) -> Any:
        return torch.randn(rows, columns, generator=random) * (scale / math.sqrt(columns))

    def vector(size: int, mean: float, spread: float = 0.1) -> Any:
        return mean + spread * torch.randn(size, generator=random)

    def norm(size: int) -> Any:
        return vector(size, 0.0 if gemma else 1.0)  # Gemma multiplies by 1 + weight

    # An output layer shared with the embeddings gives logits of a like size to one of its own; and Gemma multiplies
    # what it looks up by the root of the hidden size.
    tied = config["tie_word_embeddings"]
    spread = 1.0 / math.sqrt(hidden) if gemma else 0.2 if tied else 1.0
    tensors = {
        "model.embed_tokens.weight": spread * torch.randn(config["vocab_size"], hidden, generator=random),
        "model.norm.weight": norm(hidden),
    }
    if not tied:
        tensors["lm_head.weight"] = matrix(config["vocab_size"], hidden, 3.0)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        tensors[f"{at}.input_layernorm.weight"] = norm(hidden)
        tensors[f"{at}.post_attention_layernorm.weight"] = norm(hidden)
        if kind in ("gemma2", "gemma3_text"):
            tensors[f"{at}.pre_feedforward_layernorm.weight"] = norm(hidden)
            tensors[f"{at}.post_feedforward_layernorm.weight"] = norm(hidden)
        attention = f"{at}.self_attn"
        sizes = {"q_proj": heads * head, "k_proj": kv_heads * head, "v_proj": kv_heads * head}
        if kind == "phi3":
            tensors[f"{attention}.qkv_proj.weight"] = matrix(sum(sizes.values()), hidden)
            tensors[f"{at}.mlp.gate_up_proj.weight"] = matrix(2 * inner, hidden)
        else:
            tensors |= {f"{attention}.{name}.weight": matrix(rows, hidden) for name, rows in sizes.items()}
        if kind in ("qwen2", "qwen2_moe") or config.get("attention_bias"):
            tensors |= {f"{attention}.{name}.bias": vector(rows, 0.0, 0.5) for name, rows in sizes.items()}
        if kind in ("qwen3", "qwen3_moe", "gemma3_text"):
            tensors |= {f"{attention}.{name}.weight": norm(head) for name in ("q_norm", "k_norm")}
        tensors[f"{attention}.o_proj.weight"] = matrix(hidden, heads * head)
        if kind == "mixtral":
            moe = f"{at}.block_sparse_moe"
            tensors[f"{moe}.gate.weight"] = matrix(config["num_local_experts"], hidden)
            for expert in range(config["num_local_experts"]):
                tensors |= {f"{moe}.experts.{expert}.{name}.weight": matrix(inner, hidden) for name in ("w1", "w3")}
                tensors[f"{moe}.experts.{expert}.w2.weight"] = matrix(hidden, inner)
            continue
        if kind.endswith("_moe"):
            moe, width = f"{at}.mlp", config["moe_intermediate_size"]
            tensors[f"{moe}.gate.weight"] = matrix(config["num_experts"], hidden)
            parts = {f"experts.{expert}": width for expert in range(config["num_experts"])}
            if kind == "qwen2_moe":
                parts["shared_expert"] = config["shared_expert_intermediate_size"]
                tensors[f"{moe}.shared_expert_gate.weight"] = matrix(1, hidden)
            for part, size in parts.items():
                tensors |= {f"{moe}.{part}.{name}.weight": matrix(size, hidden) for name in ("gate_proj", "up_proj")}
                tensors[f"{moe}.{part}.down_proj.weight"] = matrix(hidden, size)
            continue
        if kind != "phi3":
            tensors |= {f"{at}.mlp.{name}.weight": matrix(inner, hidden) for name in ("gate_proj", "up_proj")}
        tensors[f"{at}.mlp.down_proj.weight"] = matrix(hidden, inner)
    return tensors

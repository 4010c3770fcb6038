"""config.json of the models that the gallery's presets are for, as far as it matters: planning reads nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.fakes.models import LLAMA_8B, LLAMA_70B, write_tokenizer

QWEN_7B: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944,
    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
    "max_position_embeddings": 32768, "rope_theta": 1000000.0, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16", "sliding_window": 131072, "use_sliding_window": False,
}  # fmt: skip
MISTRAL_7B: dict[str, Any] = {
    "architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_size": 4096,
    "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "vocab_size": 32768, "max_position_embeddings": 32768, "rope_theta": 1000000.0, "sliding_window": None,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
GEMMA_9B: dict[str, Any] = {
    "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "hidden_size": 3584, "intermediate_size": 14336,
    "num_hidden_layers": 42, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256,
    "vocab_size": 256000, "max_position_embeddings": 8192, "rope_theta": 10000.0, "sliding_window": 4096,
    "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "query_pre_attn_scalar": 256,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16",
}  # fmt: skip
PHI_3_MINI: dict[str, Any] = {
    "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "hidden_size": 3072, "intermediate_size": 8192,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32064,
    "max_position_embeddings": 4096, "rope_theta": 10000.0, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
MIXTRAL: dict[str, Any] = {
    "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": 4096,
    "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 32000, "max_position_embeddings": 32768,
    "rope_theta": 1000000.0, "sliding_window": None, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-3.1-8b": ("Llama-3.1-8B", LLAMA_8B),
    "llama-3.3-70b": ("Llama-3.3-70B", LLAMA_70B),
    "qwen2.5-7b": ("Qwen2.5-7B", QWEN_7B),
    "mistral-7b": ("Mistral-7B", MISTRAL_7B),
    "gemma-2-9b": ("Gemma-2-9B", GEMMA_9B),
    "phi-3-mini": ("Phi-3-mini", PHI_3_MINI),
    "mixtral-8x7b": ("Mixtral-8x7B", MIXTRAL),
    "trtllm-int4-gptq": (
        "Llama-3.1-8B-GPTQ",
        {
            **LLAMA_8B,
            "torch_dtype": "float16",
            "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False},
        },
    ),
    "trtllm-fp16": ("Llama-3.1-8B-half", {**LLAMA_8B, "torch_dtype": "float16"}),
    "trtllm": ("Llama-3.1-8B", LLAMA_8B),
}
"""Beginning of a preset's id -> name and config.json of its model."""


def gallery_folder(parent: Path, preset_id: str) -> Path:
    """A config-only folder of the model that a preset is for."""
    name, config = next(model for start, model in MODELS.items() if preset_id.startswith(start))
    folder = parent / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder)
    return folder

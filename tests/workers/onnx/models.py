"""Tiny models of two architectures, with random weights large enough that their logits say something."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from tests.workers.conftest import TINY, make_tiny_llama


def make_tiny_qwen2(folder: Path, seed: int = 3) -> Path:
    """A tiny Qwen2: a tied embedding, biases on q, k and v, two end tokens."""
    make_tiny_llama(folder, seed=seed)
    tensors = load_file(folder / "model.safetensors")
    rng = np.random.default_rng(seed)
    for name in [name for name in tensors if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight"))]:
        size = tensors[name].shape[0]
        tensors[name.replace("weight", "bias")] = rng.normal(0, 0.1, size).astype(np.float16)
    del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "tie_word_embeddings": True}
    del config["head_dim"]
    (folder / "config.json").write_text(json.dumps(config))
    ends = {"bos_token_id": 0, "eos_token_id": [1, TINY["vocabulary"] - 1], "pad_token_id": 1}
    (folder / "generation_config.json").write_text(json.dumps(ends))
    return folder

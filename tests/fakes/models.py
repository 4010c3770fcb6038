"""Makers of model folders for tests: config only, full headers over sparse data, and a tiny real Llama."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from workbench.selftest.tiny_model import llama_shapes

_WIDTH = {"BF16": 2, "F16": 2, "F32": 4, "I32": 4, "U8": 1, "F8_E4M3": 1, "I8": 1, "I64": 8, "BOOL": 1}

TINY: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "max_position_embeddings": 256,
    "rope_theta": 10000.0,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}
_GPT2: dict[str, Any] = {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 128, "n_positions": 256}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", TINY),
    "mistral": ("MistralForCausalLM", {**TINY, "sliding_window": 128}),
    "mixtral": ("MixtralForCausalLM", {**TINY, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2": ("Qwen2ForCausalLM", TINY),
    "qwen3": ("Qwen3ForCausalLM", {**TINY, "head_dim": 16}),
    "gemma2": ("Gemma2ForCausalLM", {**TINY, "head_dim": 16, "sliding_window": 128}),
    "phi3": ("Phi3ForCausalLM", TINY),
    "gpt2": ("GPT2LMHeadModel", _GPT2),
    "falcon": ("FalconForCausalLM", TINY),
}

LLAMA_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rope_theta": 500000.0,
    "rope_scaling": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
"""config.json of Llama 3.1 8B, as far as it matters."""
LLAMA_70B: dict[str, Any] = {
    **LLAMA_8B,
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
}
"""And of Llama 3.3 70B."""


def write_tokenizer(folder: Path, *, chat_template: bool = True) -> None:
    """A tokenizer of 128 byte-level tokens that the tokenizers library really loads."""
    vocabulary = {chr(33 + n): n for n in range(94)}
    vocabulary["\u0120"] = 94
    for n in range(95, 126):
        vocabulary[f"<unused{n}>"] = n
    vocabulary["<s>"], vocabulary["</s>"] = 126, 127
    special = [
        {"id": n, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for text, n in (("<s>", 126), ("</s>", 127))
    ]  # fmt: skip
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocabulary,
                  "merges": []},
    }  # fmt: skip
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
        "model_max_length": 256,
    }  # fmt: skip
    if chat_template:
        config["chat_template"] = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def write_safetensors(path: Path, tensors: dict[str, tuple[str, tuple[int, ...]]]) -> int:
    """A safetensors file with a right header over a hole of zeros; takes next to no disk. Returns its data bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, shape) in tensors.items():
        size = _WIDTH[dtype]
        for length in shape:
            size *= length
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    with path.open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        file.truncate(8 + len(raw) + at)
    return at


def llama_tensors(config: dict[str, Any], dtype: str = "BF16") -> dict[str, tuple[str, tuple[int, ...]]]:
    """Names, types and shapes of a Llama checkpoint of this config."""
    return {name: (dtype, shape) for name, shape in llama_shapes(config).items()}


def make_config_folder(path: Path, family: str = "llama", *, tokenizer: bool = True, **overrides: Any) -> Path:
    """A folder with config.json (and tokenizer) but no weights; an override of None drops the field."""
    architecture, fields = FAMILIES[family]
    config = {"architectures": [architecture], "model_type": family, **fields, **overrides}
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}, indent=2))
    if tokenizer:
        write_tokenizer(path)
    return path


def make_tiny_folder(path: Path, **overrides: Any) -> Path:
    """A complete tiny Llama folder: config, tokenizer, and one safetensors file of zeros."""
    make_config_folder(path, "llama", **overrides)
    write_safetensors(path / "model.safetensors", llama_tensors(json.loads((path / "config.json").read_text())))
    return path


def make_weightless_folder(
    path: Path, config: dict[str, Any] | None = None, *, shards: int = 4, dtype: str = "BF16"
) -> Path:
    """An 8B-shaped Llama folder: right headers over sparse data, in shards with an index, a few KB on disk."""
    config = LLAMA_8B if config is None else config
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config, indent=2))
    write_tokenizer(path)
    tensors = llama_tensors(config, dtype)
    if shards == 1:
        write_safetensors(path / "model.safetensors", tensors)
        return path
    names, weight_map, total = list(tensors), {}, 0
    for number in range(shards):
        part = names[number * len(names) // shards : (number + 1) * len(names) // shards]
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        total += write_safetensors(path / file, {name: tensors[name] for name in part})
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return path


_REAL = """
import json, sys, torch, transformers
folder, fields, seed = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
torch.manual_seed(seed)
model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**fields)).to(torch.bfloat16)
model.generation_config.bos_token_id, model.generation_config.eos_token_id = 126, 127
model.save_pretrained(folder)
"""


def make_real_tiny_folder(path: Path, *, seed: int = 0, **overrides: Any) -> Path:
    """A tiny Llama with real random weights, saved by transformers in a process of its own (some 10 s)."""
    path.mkdir(parents=True, exist_ok=True)
    fields = (
        {k: v for k, v in TINY.items() if k != "torch_dtype"} | {"bos_token_id": 126, "eos_token_id": 127} | overrides
    )
    argv = [sys.executable, "-c", _REAL, str(path), json.dumps(fields), str(seed)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    write_tokenizer(path)
    return path

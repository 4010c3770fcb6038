"""Writes tiny random TensorRT-LLM checkpoints of the documented layout, without torch.

Names, shapes and types are those of ModelOpt's exporter (0.37 and 0.47), written out here by hand and not taken from
the stand-in, which checks them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

Family = Literal["llama", "qwen2"]
Precision = Literal["fp16", "fp8", "int4_awq"]

HIDDEN, INNER, LAYERS, HEADS, KV_HEADS, HEAD, VOCABULARY = 128, 256, 2, 4, 2, 32, 320
GROUP = 64
MAX_POSITIONS = 512
ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}
QUANTIZATION: dict[str, dict[str, Any]] = {
    "fp16": {"quant_algo": None, "kv_cache_quant_algo": None},
    "fp8": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]},
    "int4_awq": {
        "quant_algo": "W4A16_AWQ",
        "kv_cache_quant_algo": None,
        "group_size": GROUP,
        "has_zero_point": False,
        "pre_quant_scale": True,
        "exclude_modules": ["lm_head"],
    },
}
TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<|im_start|>",
    "eos_token": "<|im_end|>",
    "pad_token": "<|im_end|>",
    "chat_template": (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + "
        "'<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
}


def write_checkpoint(
    folder: Path, family: Family = "llama", precision: Precision = "fp16", tp: int = 1, pp: int = 1, seed: int = 0
) -> Path:
    """A checkpoint folder with its tokenizer files; `tp` x `pp` rank files."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for rank in range(tp * pp):
        tensors = rank_tensors(random, family, precision, tp, pp, rank // tp)
        save(folder / f"rank{rank}.safetensors", tensors)
    write_config(folder, family, precision, tp, pp)
    write_tokenizer(folder)
    return folder


def write_config(folder: Path, family: Family, precision: Precision, tp: int, pp: int, **changes: Any) -> None:
    config = {
        "producer": {"name": "modelopt", "version": "0.37.0"},
        "architecture": ARCHITECTURES[family],
        "dtype": "float16",
        "logits_dtype": "float16",
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "hidden_size": HIDDEN,
        "norm_epsilon": 1e-5,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": MAX_POSITIONS,
        "hidden_act": "silu",
        "use_parallel_embedding": True,
        "embedding_sharding_dim": 0,
        "head_size": HEAD,
        "intermediate_size": INNER,
        "position_embedding_type": "rope_gpt_neox",
        "rotary_base": 10000.0,
        "mapping": {"world_size": tp * pp, "tp_size": tp, "pp_size": pp},
        "quantization": QUANTIZATION[precision],
    }
    if family == "qwen2":
        config |= {"qwen_type": "qwen2", "seq_length": MAX_POSITIONS}
    (folder / "config.json").write_text(json.dumps({**config, **changes}, indent=1))


Tensors = dict[str, tuple[str, "np.ndarray[Any, Any]"]]


def rank_tensors(
    random: np.random.Generator, family: Family, precision: Precision, tp: int, pp: int, stage: int
) -> Tensors:
    """Name -> (safetensors type, array) of one rank in pipeline stage `stage`."""
    tensors: Tensors = {}

    def half(name: str, *shape: int) -> None:
        tensors[name] = ("F16", (random.standard_normal(shape) * 0.1).astype(np.float16))

    def scale(name: str, *shape: int) -> None:
        tensors[name] = ("F32", random.uniform(0.01, 0.1, shape).astype(np.float32))

    def linear(name: str, out: int, into: int) -> None:
        if precision == "fp16":
            half(f"{name}.weight", out, into)
        elif precision == "fp8":
            # Any byte below 0x7F is a finite number of F8_E4M3.
            tensors[f"{name}.weight"] = ("F8_E4M3", random.integers(0, 0x7F, (out, into), dtype=np.uint8))
            scale(f"{name}.weights_scaling_factor", 1)
            scale(f"{name}.activation_scaling_factor", 1)
        else:
            tensors[f"{name}.weight"] = ("I8", random.integers(-128, 128, (out // 2, into), dtype=np.int8))
            scale(f"{name}.weights_scaling_factor", out, into // GROUP)
            half(f"{name}.prequant_scaling_factor", into)

    if stage == 0:
        half("transformer.vocab_embedding.weight", VOCABULARY // tp, HIDDEN)
    for layer in range(LAYERS // pp):
        at = f"transformer.layers.{layer}"
        qkv = (HEADS + 2 * KV_HEADS) * HEAD // tp
        linear(f"{at}.attention.qkv", qkv, HIDDEN)
        if family == "qwen2":
            half(f"{at}.attention.qkv.bias", qkv)
        linear(f"{at}.attention.dense", HIDDEN, HEADS * HEAD // tp)
        if precision == "fp8":
            for kind in ("kv", "k", "v"):
                scale(f"{at}.attention.{kind}_cache_scaling_factor", 1)
        linear(f"{at}.mlp.fc", INNER // tp, HIDDEN)
        linear(f"{at}.mlp.gate", INNER // tp, HIDDEN)
        linear(f"{at}.mlp.proj", HIDDEN, INNER // tp)
        half(f"{at}.input_layernorm.weight", HIDDEN)
        half(f"{at}.post_layernorm.weight", HIDDEN)
    if stage == pp - 1:
        half("transformer.ln_f.weight", HIDDEN)
        half("lm_head.weight", VOCABULARY // tp, HIDDEN)
    return tensors


def save(path: Path, tensors: Tensors) -> None:
    """The safetensors file: NumPy has no FP8, so the header is written here."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, array) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for _, array in tensors.values():
            file.write(array.tobytes())


def write_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer with a chat template: every character is a token, or several."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    special = ["<|im_start|>", "<|im_end|>"]
    words = special + sorted(pre_tokenizers.ByteLevel.alphabet())
    words += [f"<filler{index}>" for index in range(VOCABULARY - len(words))]
    tokenizer = Tokenizer(models.BPE(vocab={word: index for index, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG))
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    (folder / "generation_config.json").write_text(json.dumps(ends))

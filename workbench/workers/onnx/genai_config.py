"""onnxruntime-genai's configuration of an ONNX folder, written from the model's own files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from workbench.workers.common import read_json, write_json
from workbench.workers.onnx.common import GENAI_FILE, MODEL_FILE
from workbench.workers.scoring.ends import end_ids

UNKNOWN_CONTEXT = 4096
"""Tokens, where the model's configuration has no length of its own."""
_TYPES = frozenset(
    ["chatglm", "ernie4_5", "gemma", "gemma2", "gemma3_text", "gpt2", "granite", "internlm2", "llama", "mistral",
     "nemotron", "olmo", "phi", "qwen2", "qwen3", "smollm3"]
)  # fmt: skip
"""Model types that onnxruntime-genai 0.18 runs as a plain decoder, under the names that transformers gives them. The
graph is the same for all, so others are given as `llama`. Phi-3 too: genai's own type for it fills the cache again at
4,096 tokens for two sets of rotary factors that an exported graph does not have."""


def write_genai_config(folder: Path, facts: dict[str, Any]) -> None:
    """Write genai_config.json of `folder`, which holds config.json and the tokenizer.

    `facts` are onnx.json's: `layers`, `kv_heads`, `head_size`, `vocabulary`, `max_seq_len` (None: not known), and
    `inputs`, the names of the graph's inputs, where position_ids is not among them. Sampling is greedy and neutral:
    what a request says is what is meant. An answer ends with any end token of generation_config.json (else
    config.json) or the tokenizer's own, which ends a turn in chat templates; where none is named, genai asks its
    tokenizer. What the model does not say is left out. Raises WorkerError `bad-json`.
    """
    config = read_json(folder / "config.json")
    inner = config.get("text_config")
    text = {**config, **inner} if isinstance(inner, dict) else config
    ends = model_ends(folder)
    pad = _first(folder, "pad_token_id", text)
    begin = _first(folder, "bos_token_id", text)
    length = facts.get("max_seq_len") or UNKNOWN_CONTEXT
    kind = str(text.get("model_type", ""))
    inputs = {
        "input_ids": "input_ids",
        "attention_mask": "attention_mask",
        "position_ids": "position_ids",
        "past_key_names": "past_key_values.%d.key",
        "past_value_names": "past_key_values.%d.value",
    }
    names = facts.get("inputs")
    if names is not None:
        inputs = {key: name for key, name in inputs.items() if "%d" in name or name in names}
    tokens: dict[str, Any] = {"bos_token_id": begin, "pad_token_id": pad if pad is not None or not ends else ends[0]}
    tokens["eos_token_id"] = ends if len(ends) > 1 else next(iter(ends), None)
    model: dict[str, Any] = {
        **{name: token for name, token in tokens.items() if token is not None},
        "context_length": length,
        "decoder": {
            "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
            "filename": MODEL_FILE,
            "head_size": facts["head_size"],
            "hidden_size": text.get("hidden_size") or text.get("n_embd") or facts["kv_heads"] * facts["head_size"],
            "inputs": inputs,
            "outputs": {
                "logits": "logits",
                "present_key_names": "present.%d.key",
                "present_value_names": "present.%d.value",
            },
            "num_attention_heads": text.get("num_attention_heads") or text.get("n_head") or facts["kv_heads"],
            "num_hidden_layers": facts["layers"],
            "num_key_value_heads": facts["kv_heads"],
        },
        "type": kind if kind in _TYPES else "llama",
        "vocab_size": facts["vocabulary"],
    }
    search = {
        "do_sample": False,
        "early_stopping": True,
        "max_length": length,
        "min_length": 0,
        "num_beams": 1,
        "num_return_sequences": 1,
        "past_present_share_buffer": False,
        "repetition_penalty": 1.0,
        "temperature": 1.0,
        "top_k": 50,
        "top_p": 1.0,
    }
    write_json(folder / GENAI_FILE, {"model": model, "search": search})


def model_ends(folder: Path) -> list[int]:
    """End tokens of a model folder: the model's own, in ascending order, then the tokenizer's."""
    ends = sorted(end_ids(folder))
    token = _tokenizer_end(folder)
    if token is not None and token not in ends:
        ends.append(token)
    return ends


def _tokenizer_end(folder: Path) -> int | None:
    """Id of `eos_token` of tokenizer_config.json; None where the files do not tell."""
    try:
        text = json.loads((folder / "tokenizer_config.json").read_bytes()).get("eos_token")
        text = text.get("content") if isinstance(text, dict) else text
        tokenizer = json.loads((folder / "tokenizer.json").read_bytes())
        added = {entry["content"]: entry["id"] for entry in tokenizer.get("added_tokens") or []}
        vocabulary = (tokenizer.get("model") or {}).get("vocab")
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    if not isinstance(text, str):
        return None
    found = added.get(text, vocabulary.get(text) if isinstance(vocabulary, dict) else None)
    return found if isinstance(found, int) else None


def _first(folder: Path, name: str, config: dict[str, Any]) -> int | None:
    path = folder / "generation_config.json"
    given = read_json(path).get(name) if path.is_file() else None
    found = config.get(name) if given is None else given
    found = found[0] if isinstance(found, list) and found else found
    return found if isinstance(found, int) else None

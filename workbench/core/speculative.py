"""Speculative decoding without a library: what each toolchain can do, sizes by formula, and whether a draft fits.

Words: a draft guesses tokens, the engine checks them in one pass, and keeps those that it would have chosen itself
(accepted) and one more. Acceptance rate: accepted / drafted tokens. Tokens a pass: 1 + accepted / passes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.core.precision import Precision
from workbench.core.preset_speculative import SpeculativeMode, SpeculativeTable

DRAFT_TOKENS = 5
"""Guesses for one pass with draft_target and prompt_lookup, where nothing is said; OpenVINO GenAI's own default."""
NGRAM_SIZE = 3
WINDOW_SIZE, VERIFICATION_SET = 4, 4
"""TensorRT-LLM's defaults of lookahead decoding: window 4, n-grams of 3, verification set 4."""
HEADS = 4
"""Medusa heads and EAGLE layers where nothing is said: the defaults of TensorRT-LLM's converters."""
TREE_TOKENS = 63
"""Nodes of their tree where nothing is said, likewise."""

MODES: Mapping[str, tuple[SpeculativeMode, ...]] = {
    "openvino": ("draft_target", "prompt_lookup"),
    "tensorrt_llm": ("draft_target", "lookahead", "medusa", "eagle"),
    "tensorrt_rtx": (),
    "onnxruntime": (),
    "pytorch": (),
    "endpoint": (),
}
"""What each toolchain can do; none of them needs to be named."""

_BUILD_MODES: Mapping[SpeculativeMode, str] = {
    "draft_target": "draft_tokens_external",
    "lookahead": "lookahead_decoding",
    "medusa": "medusa",
    "eagle": "eagle",
}


def why_not(toolchain: str, mode: SpeculativeMode) -> str:
    """In words, why a toolchain cannot do a mode; empty when it can."""
    modes = MODES.get(toolchain, ())
    if mode == "none" or mode in modes:
        return ""
    can = f"it can do {' and '.join(modes)}" if modes else "it checks no guesses"
    return f"{_TITLES.get(toolchain, toolchain)} has no speculative decoding by {mode}: {can}"


_TITLES = {
    "openvino": "OpenVINO GenAI",
    "tensorrt_llm": "TensorRT-LLM",
    "tensorrt_rtx": "TensorRT-RTX",
    "onnxruntime": "ONNX Runtime",
    "pytorch": "PyTorch",
    "endpoint": "An endpoint",
}


def build_mode(mode: SpeculativeMode) -> str:
    """The value of trtllm-build's --speculative_decoding_mode; "" for modes that nothing is built for."""
    return _BUILD_MODES.get(mode, "")


def draft_precision(table: SpeculativeTable) -> str:
    """The precision that `draft` names, for the same model at that precision; "" where it is a folder or nothing."""
    named = table.mode == "draft_target" and table.draft in [precision.value for precision in Precision]
    return str(table.draft) if named else ""


def lookahead_sizes(table: SpeculativeTable) -> tuple[int, int, int]:
    """Window size, n-gram size and verification set size of lookahead decoding."""
    return (
        table.window_size or WINDOW_SIZE,
        table.ngram_size or NGRAM_SIZE,
        table.verification_set or VERIFICATION_SET,
    )


def lookahead_draft_len(window: int, ngram: int, verification: int) -> int:
    """Most draft tokens of one pass of lookahead decoding: (0 if N = 1 else N - 2) + (W - 1 + V)(N - 1).

    TensorRT-LLM's calculateSpeculativeResource; an engine must be built for at least as many.
    """
    return (0 if ngram == 1 else ngram - 2) + (window - 1 + verification) * (ngram - 1)


def draft_len(table: SpeculativeTable) -> int:
    """Most draft tokens of one pass; 0 without speculative decoding."""
    if table.mode == "none":
        return 0
    if table.mode == "lookahead":
        return lookahead_draft_len(*lookahead_sizes(table))
    if table.draft_tokens is not None:
        return table.draft_tokens
    return TREE_TOKENS if table.mode in ("medusa", "eagle") else DRAFT_TOKENS


def acceptance_rate(draft_tokens: int | None, accepted_tokens: int | None) -> float | None:
    """Accepted / drafted tokens, 0 to 1; None where it is not reported, or nothing was drafted."""
    if not draft_tokens or accepted_tokens is None:
        return None
    return accepted_tokens / draft_tokens


def tokens_a_pass(accepted_tokens: int | None, passes: int | None) -> float | None:
    """Mean tokens that one pass of the engine brought, 1 or more; None where it is not reported."""
    if not passes or accepted_tokens is None:
        return None
    return 1 + accepted_tokens / passes


def tokenizer_print(folder: Path) -> str | None:
    """A fingerprint of the number that each token has in a folder's tokenizer.json; None where that cannot be read.

    All else in the file changes no token's number, and differs between versions of the library that wrote it: merges
    are strings in some and pairs in others.
    """
    try:
        data = json.loads((folder / "tokenizer.json").read_bytes())
        vocabulary = data["model"]["vocab"]
        if isinstance(vocabulary, list):  # Unigram: [token, score], numbered in order
            vocabulary = {token: number for number, (token, _) in enumerate(vocabulary)}
        added = {token["content"]: token["id"] for token in data.get("added_tokens") or ()}
        numbers = json.dumps({**vocabulary, **added}, sort_keys=True)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None
    return hashlib.sha256(numbers.encode()).hexdigest()


def tokenizer_problem(engine: Path, draft: Path) -> str:
    """Why a draft's tokens mean nothing to an engine; empty when they are the same, or nothing speaks against it.

    By tokenizer.json where both have one, else by the vocabulary size in config.json.
    """
    prints = tokenizer_print(engine), tokenizer_print(draft)
    if None not in prints:
        return "" if prints[0] == prints[1] else "their tokenizer.json name other tokens"
    sizes = _vocabulary(engine), _vocabulary(draft)
    if None not in sizes and sizes[0] != sizes[1]:
        return f"vocabularies of {sizes[0]:,} and {sizes[1]:,} tokens"
    return ""


def _vocabulary(folder: Path) -> int | None:
    try:
        data: Any = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    nested = data.get("pretrained_config")
    size = (nested if isinstance(nested, dict) else data).get("vocab_size")
    return size if isinstance(size, int) else None

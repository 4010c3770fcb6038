"""Reads a checkpoint as the loader does: config.json, then every rank's file, tensor by tensor."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tensorrt_llm._standin.layout import Want, check_config, rank_layout, world_size
from tensorrt_llm._standin.tensors import Tensor, is_finite, read_header


def read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """config.json and, beside it, quant_cfg.json (None: not there), both checked."""
    config = json.loads(path.read_text("utf-8"))
    if not isinstance(config, dict):
        raise TypeError("config.json must hold an object")
    beside = path.with_name("quant_cfg.json")
    quant_cfg = json.loads(beside.read_text("utf-8")) if beside.is_file() else None
    check_config(config, quant_cfg)
    return config, quant_cfg


def check_rank(
    folder: Path, config: dict[str, Any], quant_cfg: dict[str, Any] | None, rank: int
) -> tuple[str, int, int]:
    """Check one rank's file. Returns its digest, the bytes of its tensors and their number.

    Raises as the loader does: AssertionError for a file that is not there, RuntimeError for what does not fit.
    """
    path = folder / f"rank{rank}.safetensors"
    assert path.is_file(), f"no {path.name} in {folder}"
    found, start = read_header(path)
    wanted = rank_layout(config, quant_cfg, rank)
    required = {name for name, want in wanted.items() if want.required}
    for name in found:
        # Packed weights come with their scales, and KV scales in one of two ways.
        if found[name].dtype == "I8" and name.endswith(".weight"):
            scale = name.removesuffix("weight") + "per_channel_scale"
            if scale in wanted:
                required.add(scale)
    kinds = ("kv_cache_scaling_factor", "k_cache_scaling_factor", "v_cache_scaling_factor")
    for name in wanted:
        at, _, kind = name.rpartition(".")
        if kind == kinds[0] and not all(f"{at}.{half}" in found for half in kinds[1:]):
            required.add(name)
        if kind == kinds[1] and name in found:
            assert f"{at}.{kinds[2]}" in found, f"{at}.{kinds[2]} not found"
    missing = sorted(required - set(found))
    if missing:
        raise RuntimeError(f"Required but not provided tensors:{set(missing)}")
    extra = sorted(set(found) - set(wanted))
    if extra:
        raise RuntimeError(f"Provided but not required tensors: {set(extra)}")
    for name, tensor in found.items():
        _check(name, tensor, wanted[name])
        if wanted[name].scale and not is_finite(path, start, tensor):
            raise RuntimeError(f"Encounter error 'the scale is not finite' for parameter '{name}'")
    _check_share(found, config)
    size = max((tensor.end for tensor in found.values()), default=0)
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(1 << 20)).hexdigest()
    return digest, size, len(found)


def _check(name: str, tensor: Tensor, want: Want) -> None:
    shapes = [shape for shape, _ in want.forms]
    if tensor.shape not in shapes:
        why = f"The value updated is not the same shape as the original. Updated: {tensor.shape}, original: {shapes[0]}"
        raise RuntimeError(f"Encounter error '{why}' for parameter '{name}'")
    dtypes = [dtype for shape, kinds in want.forms if shape == tensor.shape for dtype in kinds]
    if tensor.dtype not in dtypes:
        why = f"Parameter was initialized as {dtypes[0]} but set to {tensor.dtype}"
        raise RuntimeError(f"Encounter error '{why}' for parameter '{name}'")


def _check_share(found: dict[str, Tensor], config: dict[str, Any]) -> None:
    """A head that is left out is the embedding's table: it must have the head's shape."""
    embedding, head = "transformer.vocab_embedding.weight", "lm_head.weight"
    if embedding in found and head not in found and world_size(config) == int(config["mapping"].get("tp_size", 1)):
        tp = int(config["mapping"].get("tp_size", 1))
        rows = -(-int(config["vocab_size"]) // tp)
        if found[embedding].shape[0] != rows:
            raise RuntimeError(
                f"lm_head.weight is not provided and vocab_embedding.weight of {found[embedding].shape[0]} rows cannot "
                f"stand in for its {rows}"
            )

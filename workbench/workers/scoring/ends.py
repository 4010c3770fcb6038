"""The tokens that end a model's answer, from its folder's files."""

from __future__ import annotations

import json
from pathlib import Path


def end_ids(folder: Path) -> frozenset[int]:
    """`eos_token_id` of generation_config.json, else of config.json; empty where neither names one."""
    for name in ("generation_config.json", "config.json"):
        try:
            data = json.loads((folder / name).read_bytes())
        except (OSError, ValueError):
            continue
        found = data.get("eos_token_id") if isinstance(data, dict) else None
        if found is None and isinstance(data, dict) and isinstance(data.get("text_config"), dict):
            found = data["text_config"].get("eos_token_id")
        ids = [found] if isinstance(found, int) else found
        if isinstance(ids, list) and ids and all(isinstance(each, int) for each in ids):
            return frozenset(ids)
    return frozenset()

"""Reading fields of files that others wrote: what is missing, no number, or not finite is "not reported"."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def at(value: Any, *path: str | int) -> Any:
    """What stands at a path of keys and places, or None."""
    for step in path:
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int):
            value = value[step] if -len(value) <= step < len(value) else None
        else:
            return None
    return value


def real(value: Any, *path: str | int, scale: float = 1.0) -> float | None:
    """A finite number of 0 or more, times `scale`. Tools write -1 or NaN for what they do not have."""
    found = at(value, *path)
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        return None
    scaled = float(found) * scale
    return scaled if math.isfinite(scaled) and scaled >= 0 else None


def whole(value: Any, *path: str | int) -> int | None:
    found = real(value, *path)
    return None if found is None else round(found)


def text(value: Any, *path: str | int) -> str:
    """A text, cut to what a table can show."""
    found = at(value, *path)
    return found.strip()[:500] if isinstance(found, str) else ""


def spread(
    name: str, source: Any, keys: Mapping[str, str], *, scale: float = 1.0, count: int | None = None
) -> dict[str, float | int | None]:
    """Fields of a point for a metric: `keys` says which of `mean`, `p50` ... the tool has under which name."""
    found: dict[str, float | int | None] = {
        f"{name}_{ours}_ms": real(source, theirs, scale=scale) for ours, theirs in keys.items()
    }
    there = any(value is not None for value in found.values())
    return {**found, f"{name}_n": count if there else None}

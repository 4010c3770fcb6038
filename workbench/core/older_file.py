"""Files of an older schema: brought to today's step by step, and copied before they are written in today's form."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Step = Callable[[dict[str, Any]], dict[str, Any]]
"""Data of one schema -> data of the next."""


def upgraded(data: Mapping[str, Any], found: int, newest: int, steps: Mapping[int, Step]) -> dict[str, Any] | None:
    """Data of schema `found` as data of schema `newest`, by `steps` (schema -> what makes the next one of it).

    None when a step between them is not known; the input is left as it is.
    """
    made = dict(data)
    for at in range(found, newest):
        if at not in steps:
            return None
        made = steps[at](made)
    return made


def keep_older(path: Path, content: bytes, found: int) -> Path:
    """Keep what a file of schema `found` holds as `NAME.schema-N.bak` beside it, with its rights; where the copy is.

    A copy that is there already is the first one and stays. Raises OSError; then there is no copy.
    """
    kept = path.with_name(f"{path.name}.schema-{found}.bak")
    if kept.exists():
        return kept
    growing = path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.bak")
    try:
        mode = path.stat().st_mode & 0o777
        with open(os.open(growing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:  # noqa: PTH123
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        growing.replace(kept)
    except OSError:
        with contextlib.suppress(OSError):
            growing.unlink(missing_ok=True)
        raise
    return kept

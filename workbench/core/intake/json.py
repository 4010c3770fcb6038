"""Reads a model folder's JSON files and says clearly what is wrong with one."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

from workbench.core.errors import BadInputError
from workbench.core.intake.safetensors_header import lfs_pointer

MAX_JSON_BYTES = 64 * 2**20


def read_json(path: Path, *, what: str = "") -> dict[str, Any]:
    """A JSON object from a file, with clear words for all that can be wrong. Raises BadInputError."""
    name = what or path.name
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise bad_model(f"{name} is not an ordinary file", str(path))
        if info.st_size > MAX_JSON_BYTES:
            raise bad_model(f"{name} is too large to be what its name says", f"{info.st_size:,} bytes: {path}")
        raw = path.read_bytes()
    except OSError as error:
        raise bad_model(
            f"{name} cannot be read",
            f"{path}: {error.strerror or error}",
            "Check the file's owner and mode.",
        ) from None
    if raw.startswith(b"version https://git-lfs"):
        raise lfs_pointer(name)
    try:
        value = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise bad_model(f"{name} is not UTF-8 text", f"byte {error.start} of {path}") from None
    except json.JSONDecodeError as error:
        raise bad_model(
            f"{name} is not JSON: {error.msg}", f"line {error.lineno}, column {error.colno} of {path}"
        ) from None
    except RecursionError:
        raise bad_model(f"{name} is nested too deep to be a model's file", str(path)) from None
    except ValueError:  # an integer of thousands of digits
        raise bad_model(f"{name} holds a number that is too long", str(path)) from None
    if not isinstance(value, dict):
        raise bad_model(f"{name} is not a JSON object", f"it is a {_kind(value)}: {path}", "It begins with '{'.")
    if b"\\u" in raw:
        try:  # lone surrogates cannot be printed or stored
            value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
        except RecursionError:
            raise bad_model(f"{name} is nested too deep to be a model's file", str(path)) from None
    return {str(key): entry for key, entry in value.items()}


def bad_model(what: str, evidence: str = "", fix: str = "") -> BadInputError:
    return BadInputError(
        what,
        evidence=evidence,
        fix=fix or "Copy or download the model folder again, or correct the file.",
        code="bad-model",
    )


def shown(value: Any, limit: int = 80) -> str:
    """A value from a config, short and printable, for a message."""
    if value is None:
        return "missing"
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        text = f"a {_kind(value)}"
    text = re.sub(r"\s+", " ", text).encode("ascii", "backslashreplace").decode()
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _kind(value: Any) -> str:
    names = {list: "list", dict: "object", str: "text", bool: "truth value", int: "number", float: "number"}
    return names.get(type(value), "null")

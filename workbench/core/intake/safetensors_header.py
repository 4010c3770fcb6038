"""Reads and checks the header of a safetensors file: names, types, shapes and spans, never the data.

The layout is 8 bytes of little-endian header length, the JSON header, then the data, whose spans must follow
each other without holes or overlap (https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any, NamedTuple

from workbench.core.errors import BadInputError

MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""
MAX_TENSOR_BYTES = 2**62

DTYPE_BITS = {
    **dict.fromkeys(["F4"], 4),
    **dict.fromkeys(["F6_E2M3", "F6_E3M2"], 6),
    **dict.fromkeys(["BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"], 8),
    **dict.fromkeys(["F16", "BF16", "I16", "U16"], 16),
    **dict.fromkeys(["F32", "I32", "U32"], 32),
    **dict.fromkeys(["F64", "I64", "U64", "C64"], 64),
}
FLOAT_NAMES = {
    "F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8", "F8_E5M2": "fp8",
    "F8_E4M3FNUZ": "fp8", "F8_E5M2FNUZ": "fp8",
}  # fmt: skip

_LFS_MARK = b"version https://git-lfs"
_AGAIN = "Copy or download that file again."


class Tensor(NamedTuple):
    """One tensor of a file. `elements` counts entries as stored, so packed weights count low."""

    dtype: str
    shape: tuple[int, ...]
    elements: int
    bytes: int


def read_header(path: Path) -> dict[str, Tensor]:
    """Name -> tensor of one safetensors file, checked against the file's size. Raises BadInputError."""
    name = path.name
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise _bad(f"{name} is not an ordinary file", str(path))
        with path.open("rb") as file:
            start = file.read(8)
            if start == _LFS_MARK[:8]:
                raise lfs_pointer(name)
            if len(start) < 8:
                raise _bad(f"{name} is truncated: a safetensors file has at least 8 bytes", f"{info.st_size} bytes")
            length = int.from_bytes(start, "little")
            if length > info.st_size - 8:
                raise _bad(
                    f"{name} is truncated or no safetensors file: its header ends beyond the file's end",
                    f"header of {length:,} bytes in a file of {info.st_size:,} bytes",
                )
            if length > MAX_HEADER_BYTES:
                raise _bad(
                    f"the header of {name} is over the format's limit of {MAX_HEADER_BYTES:,} bytes",
                    f"{length:,} bytes",
                )
            raw = file.read(length)
    except FileNotFoundError:
        raise _bad(f"{name} is missing", str(path)) from None
    except OSError as error:
        raise BadInputError(
            f"{name} cannot be read",
            evidence=f"{path}: {error.strerror or error}",
            fix="Check the file's owner and mode, and the disk.",
            code="bad-model",
        ) from None
    return _check_spans(name, _parse(name, raw), info.st_size - 8 - length)


def lfs_pointer(name: str) -> BadInputError:
    """The error for a Git LFS pointer that stands where the file's content should be."""
    return BadInputError(
        f"{name} is a Git LFS pointer: the repository was cloned without its large files",
        evidence="it begins with 'version https://git-lfs.github.com/spec/v1'",
        fix="Run `git lfs install && git lfs pull` in the folder, or download the model again.",
        code="bad-model",
    )


def _parse(name: str, raw: bytes) -> dict[str, Any]:
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        first = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise _bad(f"the header of {name} is not JSON", first) from None
    if not isinstance(header, dict):
        raise _bad(f"the header of {name} is not a JSON object", f"it is a {type(header).__name__}")
    header.pop("__metadata__", None)
    return header


def _check_spans(name: str, header: dict[str, Any], data_bytes: int) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    spans: list[tuple[int, int, str]] = []
    for key, entry in header.items():
        tensor, begin, end = _entry(name, key, entry)
        tensors[key] = tensor
        spans.append((begin, end, key))
    spans.sort()
    at = 0
    for begin, end, key in spans:
        if end > data_bytes:
            raise _bad(
                f"{name} is truncated: its tensors end beyond the end of the file",
                f"{_word(key)} ends at byte {end:,} of {data_bytes:,} bytes of data",
            )
        if begin != at:
            what = "overlaps the tensor before it" if begin < at else "leaves a hole before it"
            raise _bad(
                f"{name} is corrupt: {_word(key)} {what}",
                f"begins at {begin:,}, the one before ends at {at:,}",
            )
        at = end
    if at != data_bytes:
        raise _bad(f"{name} is corrupt: there are bytes after its last tensor", f"{data_bytes - at:,} bytes too many")
    return tensors


def _entry(name: str, key: str, entry: Any) -> tuple[Tensor, int, int]:
    if not isinstance(entry, dict):
        raise _bad(f"{name} is corrupt: {_word(key)} has no description", _word(entry))
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise _bad(f"{name}: {_word(key)} has a data type that is not known", _word(dtype))
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise _bad(f"{name} is corrupt: {_word(key)} has an impossible shape", _word(shape))
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(type(offset) is int and 0 <= offset <= MAX_TENSOR_BYTES for offset in offsets)
        or offsets[0] > offsets[1]
    ):
        raise _bad(f"{name} is corrupt: {_word(key)} has impossible data offsets", _word(offsets))
    elements = 1
    for size in shape:
        elements *= size
        if elements > MAX_TENSOR_BYTES:
            raise _bad(f"{name} is corrupt: {_word(key)} has an impossible shape", _word(shape))
    needed, odd = divmod(elements * DTYPE_BITS[dtype], 8)
    span = offsets[1] - offsets[0]
    if odd or needed != span:
        raise _bad(
            f"{name} is corrupt: the bytes of {_word(key)} do not fit its shape",
            f"{dtype} x {_word(shape)} is {needed:,} bytes, its span has {span:,}",
        )
    return Tensor(dtype, tuple(shape), elements, span), offsets[0], offsets[1]


def _word(value: Any, limit: int = 80) -> str:
    """A value from the file, short and printable, for a message."""
    if isinstance(value, list):
        value = value[:8]
    try:
        text = value if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):  # integers too long to print, nesting too deep
        text = f"a {type(value).__name__}"
    text = text.encode("ascii", "backslashreplace").decode()
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _bad(what: str, evidence: str) -> BadInputError:
    return BadInputError(what, evidence=evidence, fix=_AGAIN, code="bad-model")

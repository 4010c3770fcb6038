"""Reads safetensors files without any library: header, checks, and values where they are scales."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "I8": 1, "U8": 1, "I32": 4, "I64": 8}


class Tensor(NamedTuple):
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(path: Path) -> tuple[dict[str, Tensor], int]:
    """Tensors by name and where the data begins. Raises ValueError as safetensors does for a damaged file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = int.from_bytes(head, "little")
        if len(head) < 8 or 8 + length > size:
            raise ValueError("Error while deserializing header: header too large")
        data: dict[str, Any] = json.loads(file.read(length))
    data.pop("__metadata__", None)
    tensors = {}
    at = 0
    for name, entry in sorted(data.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        tensor = Tensor(entry["dtype"], tuple(entry["shape"]), begin, end)
        count = int(np.prod(tensor.shape)) if tensor.shape else 1
        if tensor.dtype not in SIZES or begin != at or end - begin != count * SIZES[tensor.dtype]:
            raise ValueError(f"Error while deserializing header: invalid offset for tensor {name}")
        at = end
        tensors[name] = tensor
    if 8 + length + at != size:
        raise ValueError("Error while deserializing header: metadata incomplete buffer")
    return tensors, 8 + length


def is_finite(path: Path, start: int, tensor: Tensor) -> bool:
    """Whether a floating tensor has neither NaN nor infinity."""
    with path.open("rb") as file:
        file.seek(start + tensor.begin)
        raw = file.read(tensor.end - tensor.begin)
    if tensor.dtype == "F8_E4M3":
        return not bool(((np.frombuffer(raw, np.uint8) & 0x7F) == 0x7F).any())
    if tensor.dtype == "BF16":
        return not bool(((np.frombuffer(raw, np.uint16) & 0x7F80) == 0x7F80).any())
    kind = {"F32": np.float32, "F16": np.float16}.get(tensor.dtype)
    return True if kind is None else bool(np.isfinite(np.frombuffer(raw, kind)).all())


def read_tensors(folder: Path) -> dict[str, tuple[str, Any]]:
    """(type, array) of all tensors of a folder's *.safetensors files; BF16 as 16-bit whole numbers."""
    kinds = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "I32": np.int32, "I64": np.int64, "I8": np.int8,
             "U8": np.uint8}  # fmt: skip
    found: dict[str, tuple[str, Any]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        header, start = read_header(path)
        raw = path.read_bytes()
        for name, tensor in header.items():
            data = np.frombuffer(raw[start + tensor.begin : start + tensor.end], kinds[tensor.dtype])
            found[name] = (tensor.dtype, data.reshape(tensor.shape))
    if not found:
        raise FileNotFoundError(f"no *.safetensors file in {folder}")
    return found


def write_safetensors(path: Path, tensors: dict[str, tuple[str, Any]]) -> None:
    """The file, its header in the order given."""
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
            file.write(np.ascontiguousarray(array).tobytes())

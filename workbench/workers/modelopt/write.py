"""Rank files written tensor by tensor, so that a checkpoint never stands in memory beside the model it comes from.

ModelOpt converts and copies all of a rank's tensors before it saves them, and older safetensors turns all of them into
bytes once more: two to three times the model. Here each tensor is converted, looked at, written and let go.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Any

from workbench.workers.protocol import WorkerError

_NAMES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
"""torch's dtypes in the words of the safetensors format."""


def write_rank(tensors: dict[str, Any], path: Path, convert: Callable[[str, Any], Any]) -> None:
    """Write `tensors` as a safetensors file, emptying the dict on the way.

    `convert` gives a tensor its final dtype; shapes stay. Tensors may share memory: each gets its own bytes.
    Raises WorkerError `bad-weights` for a weight that is NaN or infinite.
    """
    import torch

    dtypes = {name: convert(name, torch.empty(0, dtype=tensor.dtype)).dtype for name, tensor in tensors.items()}
    # The library's order: wide types first, so that all are aligned.
    names = sorted(tensors, key=lambda name: (-dtypes[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        start, end = end, end + tensors[name].numel() * dtypes[name].itemsize
        kind = _NAMES[str(dtypes[name]).removeprefix("torch.")]
        header[name] = {"dtype": kind, "shape": list(tensors[name].shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    def ready(name: str) -> Any:
        tensor = convert(name, tensors.pop(name)).cpu().contiguous()
        if name.endswith(("weight", "bias")):
            check_finite([(name, tensor)], path.name)
        return tensor

    # One thread converts and looks at the next tensor while this one is written.
    with path.open("wb", buffering=0) as file, ThreadPoolExecutor(1) as ahead:
        os.posix_fallocate(file.fileno(), 0, 8 + len(text) + end)  # a disk too full says so now
        _write_all(file, len(text).to_bytes(8, "little") + text)
        coming = ahead.submit(ready, names[0]) if names else None
        for following in [*names[1:], None] if names else []:
            tensor = coming.result() if coming else None
            coming = ahead.submit(ready, following) if following else None
            _write_all(file, tensor.reshape(-1).view(torch.uint8).numpy())


def _write_all(file: FileIO, data: Any) -> None:
    view = memoryview(data)
    while view:  # the kernel takes at most 2 GiB at once
        view = view[file.write(view) :]


def check_finite(named: Iterable[tuple[str, Any]], where: str) -> None:
    """Raise WorkerError `bad-weights` that names the first floating-point tensor with a NaN or an infinite value."""
    import torch

    for name, tensor in named:
        if tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16) or not tensor.numel():
            continue
        low, high = (float(value) for value in torch.aminmax(tensor))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise WorkerError(
                "a weight is not a finite number",
                code="bad-weights",
                cause=f"{name} in {where}: {low:g} to {high:g}",
                hint="NaN in the model folder means a broken file: fetch it again. Infinite values alone come of FP16, "
                "which ends at 65,504: use bf16.",
            )

"""Tensors for the graph, made of arrays; 4-bit ones from bytes that are packed already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

LEAST_SCALE = 2.0**-24
"""The smallest number of FP16 above zero: a channel of zeros needs a scale too."""


def stored(name: str, array: Any) -> Any:
    """A TensorProto of an array of a type that numpy knows."""
    from onnx import numpy_helper

    return numpy_helper.from_array(array, name)


def stored_bytes(name: str, data_type: int, shape: Sequence[int], packed: Any) -> Any:
    """A TensorProto of `shape` whose bytes are those of the array `packed`, whatever its own shape and type."""
    from onnx import TensorProto

    tensor = TensorProto(name=name, data_type=data_type, raw_data=packed.tobytes())
    tensor.dims.extend(int(size) for size in shape)
    return tensor


def pack_nibbles(values: Any) -> Any:
    """Values of 0 to 15 (or -8 to 7) in one byte each, row-major, packed two to a byte, the first in the low half."""
    import numpy as np

    flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8) & 0xF
    if flat.size % 2:
        flat = np.append(flat, np.uint8(0))
    return flat[0::2] | (flat[1::2] << 4)

"""What the ONNX workers share: the files of an ONNX folder, read without its weights, checked and written.

The folder is one form for all runtimes: `model.onnx`, all its weights in one file `model.onnx.data` beside it,
onnxruntime-genai's configuration, the tokenizer, and `onnx.json` with the facts.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from workbench.core.artifact import PROVENANCE_FILE
from workbench.workers.common import explain_import, first_line, link_or_copy, read_json, take_files
from workbench.workers.protocol import Channel, WorkerError

PACKAGES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-genai",
    "onnxruntime-genai-cuda",
    "onnx",
    "optimum-onnx",
    "nvidia-modelopt",
    "tensorrt-rtx-cu13-libs",
    "transformers",
    "torch",
)
MODEL_FILE, DATA_FILE = "model.onnx", "model.onnx.data"
FACTS_FILE, GENAI_FILE = "onnx.json", "genai_config.json"
FACTS_SCHEMA = 1
OPSET, IR_VERSION = 21, 10
"""The first that hold 4-bit and 8-bit float weights with block scales, and the last that all runtimes here read."""
INLINE_BYTES = 1024
"""Tensors below this stay in model.onnx: shape inference must see the small constants."""
ALIGNMENT = 4096
"""Bytes; weights that begin on a page can be mapped into memory."""
_PIECE_BYTES = 16 << 20

Told = Callable[[int, int], None]
"""Progress: bytes done, bytes in all."""


def load_cuda() -> None:
    """CUDA's libraries of the environment's own wheels, for ONNX Runtime on a GPU: it and onnxruntime-genai's add-on
    look for them by name alone."""
    import onnxruntime

    if preload := getattr(onnxruntime, "preload_dlls", None):
        preload()


def copy_companions(source: Path, target: Path) -> None:
    """Copy what stands beside the weights: configuration, tokenizer, chat template, facts."""
    for path in sorted(source.iterdir()):
        if path.is_file() and path.name not in (MODEL_FILE, DATA_FILE, PROVENANCE_FILE):
            link_or_copy(path, target / path.name)


def take_model(source: Path, out: Path, channel: Channel) -> bool:
    """Bring an ONNX folder's files into `out`; whether all of them are links. Raises WorkerError `bad-onnx`."""
    linked = take_files(source, out, channel)
    _need_model(out)
    return linked


def read_facts(folder: Path) -> dict[str, Any]:
    """`onnx.json` of a folder. Raises WorkerError `bad-onnx` when it is missing or of a newer schema, `bad-json`."""
    if not (folder / FACTS_FILE).is_file():
        raise WorkerError(
            "the folder is not an ONNX checkpoint of the workbench",
            code="bad-onnx",
            cause=f"no {FACTS_FILE} in {folder}",
            hint="Run the convert step again.",
        )
    facts = read_json(folder / FACTS_FILE)
    if facts.get("schema_version") != FACTS_SCHEMA:
        raise WorkerError(
            "the ONNX checkpoint was made by another version of the workbench",
            code="bad-onnx",
            cause=f"schema_version = {facts.get('schema_version')} in {FACTS_FILE}, {FACTS_SCHEMA} is read here",
            hint="Run the convert step again.",
        )
    return facts


def read_graph(folder: Path) -> Any:
    """The ModelProto of a folder without its external weights. Raises WorkerError `bad-onnx`, `import-failed`."""
    try:
        import onnx
    except (ImportError, RuntimeError) as error:
        raise explain_import(error) from error
    _need_model(folder)
    try:
        model = onnx.load(str(folder / MODEL_FILE), load_external_data=False)
    except OSError:
        raise
    except Exception as error:
        raise _unreadable(f"{type(error).__name__}: {first_line(error)}") from error
    if not model.opset_import or not model.graph.node:
        # Any bytes may happen to be a message without fields; an empty file is one.
        raise _unreadable(f"{MODEL_FILE} holds no operator ({(folder / MODEL_FILE).stat().st_size:,} bytes)")
    return model


def check_folder(folder: Path) -> Any:
    """The ModelProto of a folder, without its weights, once they are known to be all there.

    Raises WorkerError: `bad-onnx` for a model that cannot be read, `missing-onnx-data` that names the file and a
    tensor that needs it, `import-failed`. Reads no weights, so it is quick for any size.
    """
    model = read_graph(folder)
    for tensor in tensors_of(model):
        if not is_external(tensor):
            continue
        place = place_of(tensor)
        path = _inside(folder, place.location, tensor.name)
        size = path.stat().st_size if path.is_file() else None
        if size is None or place.offset + place.length > size:
            found = "it is not there" if size is None else f"it ends at byte {size:,}"
            raise WorkerError(
                f"weights of the ONNX model are missing: {place.location}",
                code="missing-onnx-data",
                cause=f"{tensor.name} is bytes {place.offset:,} to {place.offset + place.length:,} of "
                f"{place.location}; {found}",
                hint="Copy the file that belongs to this model.onnx, or run the step that makes the folder again.",
            )
    return model


class Place:
    """Where an external tensor's bytes are."""

    def __init__(self, location: str, offset: int, length: int) -> None:
        self.location, self.offset, self.length = location, offset, length


def is_external(tensor: Any) -> bool:
    return bool(tensor.data_location == 1)


def place_of(tensor: Any) -> Place:
    """File, offset and length of an external tensor. Raises WorkerError `bad-onnx`."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    try:
        offset, length = int(entries.get("offset", "0")), entries.get("length")
        size = tensor_bytes(tensor) if length is None else int(length)
        if offset < 0 or size < 0:
            raise ValueError(f"bytes {offset} to {offset + size}")
        return Place(entries["location"], offset, size)
    except (KeyError, ValueError) as error:
        raise _unreadable(f"{tensor.name} does not say where its data are: {error}") from error


def tensor_bytes(tensor: Any) -> int:
    """Bytes of a tensor's data, from its shape and type: 4-bit types are packed two to a byte."""
    import math

    return -(-math.prod(tensor.dims) * type_bits(tensor.data_type) // 8)


def type_bits(data_type: int) -> int:
    """Bits of one element of an ONNX data type. Raises KeyError for strings and types not known here."""
    return _BITS[data_type]


_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16,
         17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8}  # fmt: skip
"""Bits by TensorProto.DataType: the numbers are the format's own, so no package is needed to know them."""


def tensors_of(model: Any) -> Iterator[Any]:
    """Every TensorProto of a model: initializers and constants, of its functions and inner graphs too."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("g"):
                yield from _graph_tensors(attribute.g)
            for graph in attribute.graphs:
                yield from _graph_tensors(graph)


def save_model(
    model: Any,
    folder: Path,
    base: Path | None = None,
    told: Told | None = None,
    *,
    turned: Collection[str] = (),
    consume: bool = False,
) -> int:
    """Write a ModelProto as model.onnx with one data file; bytes of the two.

    Tensors of `INLINE_BYTES` and more go to the data file one by one, and `model` gives up their bytes as they are
    written, so no second copy of the weights is held and nothing above 2 GB is ever serialised. Those that are
    external already are streamed from `base`, which must be another folder; `consume` removes each of its files once
    nothing more is read from it. Matrices named in `turned` are stored transposed, and their shape is turned with them.
    Raises OSError (a full disk), WorkerError `missing-onnx-data`.
    """
    tensors = [tensor for tensor in tensors_of(model) if is_external(tensor) or _large(tensor) or tensor.name in turned]
    total, done = sum(map(tensor_bytes, tensors)), 0
    readers = Counter(place_of(tensor).location for tensor in tensors if is_external(tensor))
    data = folder / DATA_FILE
    with data.open("wb") as file:
        for tensor in tensors:
            offset = -(-file.tell() // ALIGNMENT) * ALIGNMENT
            file.seek(offset)
            for piece in _turn(tensor, base) if tensor.name in turned else _pieces(tensor, base):
                file.write(piece)
                done += len(piece)
                if told is not None:
                    told(done, total)
            if is_external(tensor) and consume and base is not None:
                location = place_of(tensor).location
                readers[location] -= 1
                if not readers[location]:
                    (base / location).unlink()
            _point(tensor, DATA_FILE, offset, file.tell() - offset)
        file.flush()
        os.fsync(file.fileno())
    if not tensors:
        data.unlink()
    raw = model.SerializeToString()
    partial = folder / f"{MODEL_FILE}.partial"
    partial.write_bytes(raw)
    partial.replace(folder / MODEL_FILE)
    return len(raw) + (data.stat().st_size if tensors else 0)


def _large(tensor: Any) -> bool:
    return tensor.data_type in _BITS and tensor_bytes(tensor) >= INLINE_BYTES


def _pieces(tensor: Any, base: Path | None) -> Iterator[bytes]:
    if not is_external(tensor):
        yield _raw(tensor)
        return
    place = place_of(tensor)
    left = place.length
    with _source(base, place, tensor).open("rb") as file:
        file.seek(place.offset)
        while left > 0:
            piece = file.read(min(left, _PIECE_BYTES))
            if not piece:
                raise WorkerError(
                    f"weights of the ONNX model are missing: {place.location}",
                    code="missing-onnx-data",
                    cause=f"{tensor.name} lacks {left:,} bytes",
                    hint="Run the step that makes the folder again.",
                )
            left -= len(piece)
            yield piece


def _source(base: Path | None, place: Place, tensor: Any) -> Path:
    if base is None:
        raise _unreadable(f"{tensor.name} is in {place.location}, and no folder was given to read it from")
    return _inside(base, place.location, tensor.name)


def _turn(tensor: Any, base: Path | None) -> Iterator[bytes]:
    """A matrix's bytes transposed, some rows at a time; turns its shape."""
    import numpy as np

    rows, columns = (int(size) for size in tensor.dims)
    kind = np.dtype(f"u{type_bits(tensor.data_type) // 8}")
    if is_external(tensor):
        place = place_of(tensor)
        path = _source(base, place, tensor)
        matrix = np.memmap(path, kind, "r", place.offset, (rows, columns))
    else:
        matrix = np.frombuffer(_raw(tensor), kind).reshape(rows, columns)
    tensor.dims[:] = [columns, rows]
    # Wide enough that a cache line which is fetched is used whole.
    width = max(64 // kind.itemsize, _PIECE_BYTES // (rows * kind.itemsize))
    for column in range(0, columns, width):
        yield np.ascontiguousarray(matrix[:, column : column + width].T).tobytes()


def _raw(tensor: Any) -> bytes:
    """A tensor's bytes, little-endian; those that are kept as numbers are packed."""
    if tensor.HasField("raw_data"):
        return bytes(tensor.raw_data)
    from onnx import numpy_helper

    return bytes(numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data)


def _point(tensor: Any, location: str, offset: int, length: int) -> None:
    """Make a tensor external and give up the bytes it holds."""
    for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "external_data"):
        tensor.ClearField(field)
    tensor.data_location = 1
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def _inside(folder: Path, location: str, tensor: str) -> Path:
    """The data file of a folder. Raises WorkerError `bad-onnx` for one outside it."""
    path = Path(location)
    if path.is_absolute() or ".." in path.parts or not location:
        raise _unreadable(f"{tensor} has its data outside the folder: {location!r}")
    return folder / path


def _need_model(folder: Path) -> None:
    if not (folder / MODEL_FILE).is_file():
        raise WorkerError(
            "the folder holds no ONNX model",
            code="bad-onnx",
            cause=f"{MODEL_FILE} not in {folder}",
            hint="Run the step that makes it again.",
        )


def _unreadable(cause: str) -> WorkerError:
    return WorkerError(
        "the ONNX model cannot be read",
        code="bad-onnx",
        cause=cause,
        hint="Run the step that makes it again; a copy that was cut short leaves such files.",
    )

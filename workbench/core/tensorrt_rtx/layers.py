"""An engine's layers, bindings and optimisation profiles: layers.json, and how the builder's log says them.

TensorRT's EngineInspector wants a loaded engine and so a GPU. The builder's verbose log ends with the same table when
it builds with detailed profiling verbosity, wherever it runs; `LayerReader` reads it from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from workbench.core.errors import BadInputError

LAYERS_FILE = "layers.json"
SCHEMA_VERSION = 1
_MAX_BYTES = 256 << 20


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Tensor(_Frozen):
    """A tensor that a layer reads or makes."""

    name: str
    dtype: str
    """In the workbench's words where there is one: `fp16`, `int4`, `int64`."""
    shape: tuple[int, ...] = ()
    """-1: known when the engine runs."""


class Layer(_Frozen):
    """One kernel, or a piece of host work, of the compiled engine."""

    name: str
    type: str
    """As TensorRT says it: `gemm`, `kgen` (generated pointwise and reduction code), `shape_call` ..."""
    profile: int = 0
    """Of which optimisation profile: each has its own layers."""
    inputs: tuple[Tensor, ...] = ()
    constants: tuple[Tensor, ...] = ()
    """Weights, scales and other numbers that are stored in the engine."""
    outputs: tuple[Tensor, ...] = ()
    precision: str = ""
    """Of its weights (constants of two dimensions or more, the one of least bits), else of its first output."""
    origin: tuple[str, ...] = ()
    """Nodes of the ONNX model that went into it."""
    tactic: str = ""
    """The kernel, where the log names it."""


class Binding(_Frozen):
    """An input or output of the engine."""

    name: str
    mode: Literal["input", "output"]
    dtype: str
    shape: tuple[int, ...] = ()


class ShapeRange(_Frozen):
    """Least, optimised-for and largest shape of one input."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


class Profile(_Frozen):
    """One optimisation profile."""

    name: str
    shapes: dict[str, ShapeRange] = {}
    """By input."""


class LayerTable(_Frozen):
    """layers.json: what the Engines page shows of a compiled engine."""

    schema_version: int = SCHEMA_VERSION
    layers: tuple[Layer, ...] = ()
    bindings: tuple[Binding, ...] = ()
    profiles: tuple[Profile, ...] = ()
    source: str = "the builder's log"


def read_layers(path: Path) -> LayerTable:
    """The table in `path` (layers.json, or the engine folder with it).

    Raises BadInputError: `no-layers` when there is none, `bad-layers` when it cannot be read.
    """
    file = path / LAYERS_FILE if path.is_dir() else path
    if not file.is_file():
        raise BadInputError(
            "The engine has no list of its layers.",
            evidence=f"{file} is not there",
            fix="Build the engine again: the list is written with it.",
            code="no-layers",
        )
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ValueError(f"{file.stat().st_size:,} bytes are no list of layers")
        table = LayerTable.model_validate_json(file.read_bytes())
        if table.schema_version > SCHEMA_VERSION:
            raise ValueError(f"schema {table.schema_version} is of a newer Engine Workbench")
    except (OSError, ValueError) as error:
        said = error.errors(include_url=False)[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise BadInputError(
            "The engine's list of layers cannot be read.",
            evidence=f"{file}: {said}"[:400],
            fix="Build the engine again: the list is written with it.",
            code="bad-layers",
        ) from error
    return table


# --- the builder's log ---

_TYPES = {
    "half": "fp16",
    "fp16": "fp16",
    "float": "fp32",
    "fp32": "fp32",
    "bfloat16": "bf16",
    "bf16": "bf16",
    "int8": "int8",
    "int4": "int4",
    "int32": "int32",
    "int64": "int64",
    "fp8": "fp8",
    "fp8e4m3": "fp8",
    "fp4": "fp4",
    "fp4e2m1": "fp4",
    "e8m0": "e8m0",
    "bool": "bool",
    "uint8": "uint8",
}
_BITS = {"fp4": 4, "int4": 4, "fp8": 8, "int8": 8, "uint8": 8, "e8m0": 8, "bf16": 16, "fp16": 16, "fp32": 32}
_TENSOR = re.compile(
    r"\{ Name: (?P<name>.*?), (?:Location: \w+, )?Dimensions: \[(?P<shape>[-\d,]*)\],.*?Datatype: (?P<type>\w+)"
)
_LAYER = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<type>[^,]*), Inputs: \[(?P<rest>.*)$")
_PARTS = re.compile(r"\](?:, Constants: \[(?P<constants>.*?\}|)\])?, Outputs: \[(?P<outputs>.*?\}|)\]")
_TACTIC = re.compile(r", TacticName: (?P<tactic>[^,]*)")
_ORIGIN = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_BINDING = re.compile(
    r"^ ?Name: (?P<name>.*?), IOMode: (?P<mode>Input|Output), DataType: (?P<type>\w+), "
    r"Dimensions: \[(?P<shape>[-\d,]*)\]"
)
_PROFILE = re.compile(r" \[profile (\d+)\]")
_GROUP = re.compile(r"_myl(\d+)_\d+$")
LAYERS_HEAD, BINDINGS_HEADS = "Layers:", ("I/O Tensors:", "Bindings:")


class LayerReader:
    """Takes the builder's log line by line (without severities) and keeps the layers and bindings in it."""

    def __init__(self) -> None:
        self._part = ""
        self._layers: list[tuple[Layer, int | None]] = []
        self.bindings: list[Binding] = []

    def feed(self, line: str) -> bool:
        """Read one line; whether it belongs to the table."""
        if line.startswith(LAYERS_HEAD):
            # A builder that starts over says it all again.
            self._part, self._layers, self.bindings = "layers", [], []
            return True
        if not self._part:
            return False
        if line.startswith(BINDINGS_HEADS):
            self._part = "bindings"
            return True
        if self._part == "layers" and (layer := parse_layer(line)) is not None:
            group = _GROUP.search(layer.name)
            self._layers.append((layer, int(group[1]) if group else None))
            return True
        if self._part == "bindings" and (match := _BINDING.match(line)):
            self.bindings.append(
                Binding(
                    name=match["name"],
                    mode="input" if match["mode"] == "Input" else "output",
                    dtype=_dtype(match["type"]),
                    shape=_shape(match["shape"]),
                )
            )
            return True
        if line.strip():
            self._part = ""
        return False

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers, each with its profile.

        Only a layer that touches a binding of a later profile says so; it speaks for the others that were compiled
        with it (`_mylN_` in their names), and those that say nothing belong with the layer before them.
        """
        of_group: dict[int, int] = {}
        for layer, group in self._layers:
            if group is not None:
                of_group[group] = max(of_group.get(group, 0), layer.profile)
        found, last = [], 0
        for layer, group in self._layers:
            last = of_group[group] if group is not None else max(layer.profile, last)
            found.append(layer.model_copy(update={"profile": last}))
        return tuple(found)

    def table(self, profiles: Iterable[tuple[str, Mapping[str, Mapping[str, Iterable[int]]]]] = ()) -> LayerTable:
        """The table, with profiles as (name, input -> min, opt, max)."""
        return LayerTable(
            layers=self.layers,
            bindings=tuple(self.bindings),
            profiles=tuple(
                Profile(
                    name=name, shapes={one: ShapeRange.model_validate(dict(shape)) for one, shape in shapes.items()}
                )
                for name, shapes in profiles
            ),
        )


def parse_layer(line: str) -> Layer | None:
    """One line of the table -> the layer; None when it is none. `profile` is what the line itself says."""
    head = _LAYER.match(line)
    parts = _PARTS.search(head["rest"]) if head else None
    if head is None or parts is None:
        return None
    inputs = _tensors(head["rest"][: parts.start()])
    constants, outputs = _tensors(parts["constants"] or ""), _tensors(parts["outputs"])
    rest = head["rest"][parts.end() :]
    tactic = _TACTIC.search(rest)
    marks = [int(one) for one in _PROFILE.findall(line)]
    return Layer(
        name=_PROFILE.sub("", head["name"]),
        type=head["type"],
        profile=max(marks, default=0),
        inputs=inputs,
        constants=constants,
        outputs=outputs,
        precision=_precision(constants, outputs),
        origin=tuple(dict.fromkeys(_PROFILE.sub("", one) for one in _ORIGIN.findall(rest))),
        tactic=tactic["tactic"] if tactic else "",
    )


def _tensors(text: str) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(name=_PROFILE.sub("", match["name"]), dtype=_dtype(match["type"]), shape=_shape(match["shape"]))
        for match in _TENSOR.finditer(text)
    )


def _dtype(word: str) -> str:
    return _TYPES.get(word.lower(), word.lower())


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(one) for one in text.split(",") if one)


def _precision(constants: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str:
    weights = [one.dtype for one in constants if sum(size != 1 for size in one.shape) >= 2 and one.dtype in _BITS]
    if weights:
        return min(weights, key=lambda dtype: _BITS[dtype])
    return outputs[0].dtype if outputs else ""

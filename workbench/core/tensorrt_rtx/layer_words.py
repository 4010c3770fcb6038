"""An engine's layers as people read them: rows, sums and profiles, for the window and the command line alike."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.core.gpu import CATALOGUE
from workbench.core.tensorrt_rtx.layers import Layer, LayerTable, Profile, Tensor
from workbench.core.tensorrt_rtx.targets import ARCHITECTURES
from workbench.core.units import format_bytes, format_duration

TIMES = "\N{MULTIPLICATION SIGN}"
NOT_REPORTED = "not reported"
NO_PRECISION = "none"
"""A layer that moves or computes no numbers, such as one that works out shapes."""
_BITS = {"fp4": 4, "int4": 4, "fp8": 8, "int8": 8, "uint8": 8, "bool": 8, "e8m0": 8, "int64": 64}
_BITS |= {"bf16": 16, "fp16": 16, "fp32": 32, "int32": 32}
_OTHERS = {"7.5": "RTX 20 series, T4", "12.1": "DGX Spark (GB10)"}
"""GPUs of capabilities that the catalogue has none of."""
_NUMBER, _PART = re.compile(r"(?<=\.)\d+(?=\.)"), re.compile(r"(?<=\.N\.)(key|value)$")


@dataclass(frozen=True)
class LayerRow:
    """One layer, all of it in words but for the size of its constants."""

    name: str
    type: str
    precision: str
    constants_bytes: int
    """Weights, scales and other numbers that are stored for it."""
    inputs: str
    outputs: str
    origin: str
    """Nodes of the ONNX model that went into it."""
    profile: str
    kernel: str
    search: str
    """All of it in lower case."""


@dataclass(frozen=True)
class Sum:
    """Layers that are alike in one thing."""

    name: str
    layers: int
    constants_bytes: int
    """What several layers share counts with each of them."""


@dataclass(frozen=True)
class ProfileInput:
    """Inputs of one range of shapes; a layer's number in their name, and whether it is a key or value, is left open."""

    name: str
    count: int
    least: str
    best: str
    most: str


@dataclass(frozen=True)
class ProfileRows:
    """One optimisation profile."""

    name: str
    layers: int
    inputs: tuple[ProfileInput, ...]


def shape_words(shape: Sequence[int]) -> str:
    """(1, -1, 64) -> `1 x ? x 64` with times signs and no spaces; a number by itself is `scalar`."""
    return TIMES.join("?" if size < 0 else str(size) for size in shape) or "scalar"


def tensor_words(tensors: Sequence[Tensor]) -> str:
    """Name, type and shape of each."""
    return "; ".join(f"{one.name} {one.dtype} {shape_words(one.shape)}" for one in tensors)


def constants_bytes(layer: Layer) -> int:
    """Size of the numbers that are stored for a layer; a constant whose type or shape is not known counts nothing."""
    return sum(
        math.ceil(math.prod(one.shape) * _BITS.get(one.dtype, 0) / 8)
        for one in layer.constants
        if all(size >= 0 for size in one.shape)
    )


def layer_rows(table: LayerTable) -> tuple[LayerRow, ...]:
    """The layers in the engine's order."""
    names = [profile.name for profile in table.profiles]
    rows = []
    for layer in table.layers:
        profile = names[layer.profile] if layer.profile < len(names) else str(layer.profile)
        inputs, outputs, origin = tensor_words(layer.inputs), tensor_words(layer.outputs), ", ".join(layer.origin)
        precision = layer.precision or NO_PRECISION
        search = " ".join((layer.name, layer.type, precision, inputs, outputs, origin, layer.tactic)).casefold()
        size = constants_bytes(layer)
        words = (inputs, outputs, origin, profile, layer.tactic, search)
        rows.append(LayerRow(layer.name, layer.type, precision, size, *words))
    return tuple(rows)


def sums(rows: Sequence[LayerRow], key: Callable[[LayerRow], str]) -> tuple[Sum, ...]:
    """Layers by `key`, most of them first."""
    counts: dict[str, list[int]] = {}
    for row in rows:
        found = counts.setdefault(key(row), [0, 0])
        found[0] += 1
        found[1] += row.constants_bytes
    made = [Sum(name, layers, size) for name, (layers, size) in counts.items()]
    return tuple(sorted(made, key=lambda one: (-one.layers, one.name)))


def profile_rows(table: LayerTable) -> tuple[ProfileRows, ...]:
    """The profiles; inputs that differ in a number of their name alone, and not in their shapes, are one row."""
    count = [0] * len(table.profiles)
    for layer in table.layers:
        if layer.profile < len(count):
            count[layer.profile] += 1
    return tuple(ProfileRows(one.name, count[at], _inputs(one)) for at, one in enumerate(table.profiles))


def _inputs(profile: Profile) -> tuple[ProfileInput, ...]:
    found: dict[tuple[str, str, str, str], int] = {}
    for name, shape in profile.shapes.items():
        open_name = _PART.sub("*", _NUMBER.sub("N", name))
        key = (open_name, shape_words(shape.min), shape_words(shape.opt), shape_words(shape.max))
        found[key] = found.get(key, 0) + 1
    return tuple(ProfileInput(name, count, *shapes) for (name, *shapes), count in found.items())


def targets_of_result(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Compute capabilities that the build reported; none where it reported none."""
    found = result.get("targets")
    return tuple(str(one) for one in found) if isinstance(found, list | tuple) else ()


def target_parts(target: str) -> tuple[str, str]:
    """`8.9` -> (`8.9 Ada Lovelace`, `RTX 4080, RTX 4090, RTX 6000 Ada, L4, L40S`)."""
    named = {f"{major}.{minor}": name for (major, minor), name in ARCHITECTURES.items()}.get(target, "")
    gpus = [gpu.name for gpu in CATALOGUE.values() if gpu.capability == target]
    return f"{target} {named}".strip(), ", ".join(gpus) or _OTHERS.get(target, "")


def target_words(targets: Sequence[str]) -> list[str]:
    """`8.9` -> `8.9 Ada Lovelace (RTX 4080, RTX 4090, RTX 6000 Ada, L4, L40S)`."""
    return [f"{first} ({gpus})" if gpus else first for first, gpus in map(target_parts, targets)]


def engine_facts(result: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What an engine's build reported, as (name, words); `result` is its provenance's."""
    stripped, streaming = result.get("stripped"), result.get("weight_streaming")
    size, seconds = result.get("engine_bytes"), result.get("build_seconds")
    return (
        ("Engine", format_bytes(size) if isinstance(size, int) else NOT_REPORTED),
        ("Weight streaming", _switch(streaming)),
        ("Weights stripped", _switch(stripped)),
        ("Built in", format_duration(seconds) if isinstance(seconds, int | float) else NOT_REPORTED),
    )


def _switch(value: object) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else NOT_REPORTED

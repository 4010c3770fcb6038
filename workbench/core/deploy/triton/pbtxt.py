"""A model's config.pbtxt as data, and its text. Parsed back with Triton's own schema in checks.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

DType = Literal["BOOL", "UINT8", "UINT64", "INT32", "INT64", "FP16", "FP32", "STRING"]


@dataclass(frozen=True)
class Tensor:
    """An input or an output of a model."""

    name: str
    dtype: DType
    dims: tuple[int, ...]
    """Without the batch; -1: any size."""
    optional: bool = False
    ragged: bool = False
    """Requests of different lengths may be batched."""
    scalar: bool = False
    """The backend sees no dimension at all (`reshape`)."""


@dataclass(frozen=True)
class Batching:
    """Of the dynamic batcher."""

    preferred: int | None = None
    delay_us: int = 0
    queue: int = 0
    """0: without a limit."""


@dataclass(frozen=True)
class Step:
    """One model of an ensemble: its tensor -> the ensemble's."""

    model: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class Model:
    """A model of the repository."""

    name: str
    backend: str
    """`tensorrtllm`, `python`; `ensemble` is a platform."""
    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    parameters: Mapping[str, str] = field(default_factory=dict)
    instances: int = 0
    """On the CPU, where Python and the C++ backend's front run; 0: none (an ensemble)."""
    decoupled: bool | None = None
    batching: Batching | None = None
    steps: tuple[Step, ...] = ()


def config_text(model: Model) -> str:
    """The config.pbtxt."""
    kind = "platform" if model.backend == "ensemble" else "backend"
    lines = [f"name: {_quoted(model.name)}", f"{kind}: {_quoted(model.backend)}"]
    lines.append(f"max_batch_size: {model.max_batch_size}")
    if model.decoupled is not None:
        lines += ["model_transaction_policy {", f"  decoupled: {str(model.decoupled).lower()}", "}"]
    if model.batching is not None:
        lines += _batching(model.batching)
    for side, tensors in (("input", model.inputs), ("output", model.outputs)):
        for tensor in tensors:
            lines += _tensor(side, tensor)
    for step in model.steps:
        lines += _step(step, first=step is model.steps[0], last=step is model.steps[-1])
    if model.instances:
        lines += ["instance_group {", f"  count: {model.instances}", "  kind: KIND_CPU", "}"]
    for key, value in model.parameters.items():
        lines += ["parameters {", f"  key: {_quoted(key)}", f"  value {{ string_value: {_quoted(value)} }}", "}"]
    return "\n".join(lines) + "\n"


def _batching(batching: Batching) -> list[str]:
    lines = ["dynamic_batching {"]
    if batching.preferred:
        lines.append(f"  preferred_batch_size: [ {batching.preferred} ]")
    lines.append(f"  max_queue_delay_microseconds: {batching.delay_us}")
    lines.append(f"  default_queue_policy {{ max_queue_size: {batching.queue} }}")
    return [*lines, "}"]


def _tensor(side: str, tensor: Tensor) -> list[str]:
    dims = ", ".join(map(str, tensor.dims))
    lines = [f"{side} {{", f"  name: {_quoted(tensor.name)}", f"  data_type: TYPE_{tensor.dtype}"]
    lines.append(f"  dims: [ {dims} ]")
    if tensor.scalar:
        lines.append("  reshape { shape: [ ] }")
    if tensor.ragged:
        lines.append("  allow_ragged_batch: true")
    if tensor.optional:
        lines.append("  optional: true")
    return [*lines, "}"]


def _step(step: Step, *, first: bool, last: bool) -> list[str]:
    lines = ["ensemble_scheduling {"] if first else []
    lines += ["  step {", f"    model_name: {_quoted(step.model)}", "    model_version: -1"]
    for side, names in (("input_map", step.inputs), ("output_map", step.outputs)):
        for key, value in names.items():
            lines.append(f"    {side} {{ key: {_quoted(key)} value: {_quoted(value)} }}")
    lines.append("  }")
    return [*lines, "}"] if last else lines


def _quoted(text: str) -> str:
    """As a string of protobuf's text format; other bytes than printable ASCII as octal escapes of UTF-8."""
    out = []
    for byte in text.encode():
        if byte in (0x22, 0x5C):
            out.append("\\" + chr(byte))
        elif 0x20 <= byte < 0x7F:
            out.append(chr(byte))
        else:
            out.append(f"\\{byte:03o}")
    return '"' + "".join(out) + '"'

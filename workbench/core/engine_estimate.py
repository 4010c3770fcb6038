"""What is estimated of a running engine: the shape that CPU and GPU preflight share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from workbench.core.estimate import KvCapacity
from workbench.core.model import ModelSpec
from workbench.core.preset import Preset
from workbench.core.units import Range

DEFAULT_SEQUENCE_TOKENS = 4096
"""Length that "fits N sequences" is said for when neither preset nor model gives one."""


class MemoryPart(BaseModel):
    """One part of the memory picture while the engine runs. `bytes` is a range with its formula."""

    model_config = ConfigDict(frozen=True)

    name: str
    bytes: Range


class EngineEstimate(BaseModel):
    """The running engine at one precision: in host memory, or on each of `gpus` GPUs."""

    model_config = ConfigDict(frozen=True)

    precision: str
    parts: tuple[MemoryPart, ...]
    """Weights, KV pool, activations, runtime: in the order they are drawn."""
    total: Range
    memory_bytes: int
    """What the device has in all; of several GPUs, the smallest."""
    kv_bytes_per_token: Range
    kv_bytes_per_sequence: Range
    sequence_tokens: int
    kv_pool_bytes: int
    capacity: KvCapacity
    device: str = ""
    """GPU by name; empty: host memory."""
    gpus: int = 0
    """GPUs that share the engine; all figures are of one of them, the one that holds most. 0: host memory."""
    notes: tuple[str, ...] = ()
    """What the figures rest on, such as which parts every GPU holds whole."""

    def part(self, name: str) -> Range:
        """The part of that name. Raises KeyError."""
        for part in self.parts:
            if part.name == name:
                return part.bytes
        raise KeyError(name)


def sequence_tokens(preset: Preset, model: ModelSpec) -> int:
    """The longest sequence that the engine is to take."""
    return preset.limits.max_seq_len or model.max_positions or DEFAULT_SEQUENCE_TOKENS

"""Where a device's memory goes, in parts that add up to the byte. None is "not reported"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

GPU_PARTS = ("weights", "activations", "kv_used", "kv_free", "unsplit", "other", "free")
"""Parts of a GPU's memory, in the order in which they are stacked."""
HOST_PARTS = ("own", "weights", "activations", "kv_used", "kv_free", "unsplit", "other", "cache", "free")
PART_LABELS = {
    "own": "this program",
    "weights": "weights",
    "activations": "activations and runtime",
    "kv_used": "KV pool used",
    "kv_free": "KV pool free",
    "unsplit": "engine (not split)",
    "other": "other processes",
    "cache": "file cache",
    "free": "free",
}
_POOL_KEYS = ("kv_pool", "weights", "activations", "runtime")


@dataclass(frozen=True)
class EngineMemory:
    """What one engine says of its memory; bytes."""

    pids: tuple[int, ...]
    """Its host's process and that one's children."""
    reported: Mapping[str, int] = field(default_factory=dict)
    """`weights`, `activations`, `kv_pool`; of other keys `held` is how much it has here by its own account."""
    kv_used_share: float | None = None
    """Of the pool, 0 to 1."""


@dataclass(frozen=True)
class MemoryPart:
    name: str
    """One of GPU_PARTS or HOST_PARTS."""
    bytes: int

    @property
    def label(self) -> str:
        return PART_LABELS[self.name]


@dataclass(frozen=True)
class MemoryPicture:
    """A device's memory. The parts add up to the total, to the byte."""

    total_bytes: int
    parts: tuple[MemoryPart, ...]

    def bytes(self, name: str) -> int:
        """A part's size; 0 for one that this kind of device does not have."""
        return next((part.bytes for part in self.parts if part.name == name), 0)

    @property
    def engine_bytes(self) -> int:
        return sum(part.bytes for part in self.parts if part.name not in ("own", "other", "cache", "free"))

    def columns(self) -> dict[str, float | None]:
        """For a series: `part.weights` ..."""
        return {f"part.{part.name}": float(part.bytes) for part in self.parts}


def memory_parts(
    total_bytes: int | None,
    used_bytes: int | None,
    engines: Sequence[EngineMemory] = (),
    processes: Mapping[int, int | None] | None = None,
    *,
    own_bytes: int | None = None,
    cache_bytes: int | None = None,
    pool_resident: bool = True,
) -> MemoryPicture | None:
    """Who has a device's memory; None when the device does not say how much it has or how much is taken.

    `used_bytes`: all that cannot be had, what the driver reserves included; `processes`: bytes by process, None
    where not reported. With `own_bytes` or `cache_bytes` the device is the host. What an engine reports is believed
    up to what its processes hold; what they hold beyond that is `unsplit`. Where no process list knows the engine,
    `held` of its report stands in. Without `pool_resident` (a host, where reserved memory may never have been
    touched) the free part of the KV pool is not told from the rest.
    """
    if total_bytes is None or used_bytes is None:
        return None
    total = max(int(total_bytes), 0)
    used = left = min(max(int(used_bytes), 0), total)
    sizes = dict.fromkeys(GPU_PARTS, 0)
    own = 0 if own_bytes is None else min(max(int(own_bytes), 0), left)
    left -= own
    for engine in engines:
        split = _split(engine, processes or {}, left, pool_resident)
        for name, size in split.items():
            sizes[name] += size
            left -= size
    sizes["other"] = left
    cache = 0 if cache_bytes is None else min(max(int(cache_bytes), 0), total - used)
    sizes["free"] = total - used - cache
    names: tuple[str, ...] = GPU_PARTS
    if own_bytes is not None or cache_bytes is not None:
        names = HOST_PARTS
        sizes.update(own=own, cache=cache)
    return MemoryPicture(total, tuple(MemoryPart(name, sizes[name]) for name in names))


def _split(engine: EngineMemory, processes: Mapping[int, int | None], most: int, pool_resident: bool) -> dict[str, int]:
    """One engine's memory, at most `most`."""
    said = {key: max(int(value), 0) for key, value in engine.reported.items()}
    seen = [size for pid in engine.pids if (size := processes.get(pid)) is not None]
    held = sum(seen) if seen else max(said.get("held", 0), sum(said.get(key, 0) for key in _POOL_KEYS) * pool_resident)
    left = held = min(max(held, 0), most)

    def take(size: int) -> int:
        nonlocal left
        size = min(max(size, 0), left)
        left -= size
        return size

    parts = {"weights": take(said.get("weights", 0))}
    pool = said.get("kv_pool", 0)
    share = engine.kv_used_share
    if share is not None:  # a pool of which nobody knows what is used stays unsplit
        used = int(pool * min(max(share, 0.0), 1.0))
        parts["kv_used"] = take(used)
        parts["kv_free"] = take(pool - used) if pool_resident else 0
    parts["activations"] = take(said.get("activations", 0) + said.get("runtime", 0))
    parts["unsplit"] = left
    return parts

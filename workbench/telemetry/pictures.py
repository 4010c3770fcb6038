"""Whose memory it is: GPUs' and the host's readings put together with what engines report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workbench.telemetry.engine import EngineTrack
from workbench.telemetry.host import HostReading
from workbench.telemetry.memory import EngineMemory, MemoryPicture, memory_parts
from workbench.telemetry.nvml import GpuReading

_HOST_KEYS = ("process", "host", "pinned")
"""Of an engine's report: memory of the host, whatever it runs on."""

Families = Mapping[int, tuple[int, ...]]
"""An engine host's process -> itself and its children."""


def gpu_pictures(
    readings: Sequence[GpuReading], engines: Sequence[EngineTrack], families: Families
) -> list[MemoryPicture | None]:
    """A picture a GPU; None for one that does not report its memory."""
    holdings = [{p.pid: p.used_bytes for p in reading.processes or ()} for reading in readings]
    found: list[list[EngineMemory]] = [[] for _ in readings]
    for engine in engines:
        pids = _pids(engine, families)
        held = [sum(holding.get(pid) or 0 for pid in pids) for holding in holdings]
        said = {key: size for key, size in engine.memory_bytes.items() if key not in _HOST_KEYS}
        if "gpu" in said:
            said["held"] = said.pop("gpu")
        if any(held):
            for i, size in enumerate(held):
                if size:  # an engine on several GPUs: what it reports is spread as its memory is
                    share = {key: size * value // sum(held) for key, value in said.items()}
                    found[i].append(EngineMemory(pids, share, engine.kv_used_share))
        elif "held" in said and len(readings) == 1:
            # No list of processes, or one that counts them in another namespace: its own word must do.
            found[0].append(EngineMemory((), said, engine.kv_used_share))
    return [
        memory_parts(reading.total_bytes, reading.taken_bytes, found[i], holdings[i])
        for i, reading in enumerate(readings)
    ]


def host_picture(
    reading: HostReading, engines: Sequence[EngineTrack], gpus: Sequence[GpuReading], families: Families
) -> MemoryPicture | None:
    """The host's memory. Of an engine on a GPU only the resident memory of its process is here."""
    found = []
    for engine in engines:
        pids = set(_pids(engine, families))
        on_gpu = "gpu" in engine.memory_bytes or any(p.pid in pids for gpu in gpus for p in gpu.processes or ())
        said = {} if on_gpu else dict(engine.memory_bytes)
        said["held"] = engine.memory_bytes.get("process", 0)
        # `processes` counts children already.
        found.append(EngineMemory(() if engine.pid is None else (engine.pid,), said, engine.kv_used_share))
    return memory_parts(
        reading.total_bytes,
        reading.used_bytes,
        found,
        reading.processes,
        own_bytes=reading.own_bytes,
        cache_bytes=reading.cache_bytes or 0,
        pool_resident=False,
    )


def _pids(engine: EngineTrack, families: Families) -> tuple[int, ...]:
    return () if engine.pid is None else families.get(engine.pid, (engine.pid,))

"""What panels and recordings share: GPUs over time, events, and the newest of everything at one moment."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Protocol

from workbench.core.messages import Stats
from workbench.telemetry.clock import Clock
from workbench.telemetry.engine import EngineTrack, Mean
from workbench.telemetry.host import HostReading
from workbench.telemetry.memory import MemoryPicture
from workbench.telemetry.nvml import GpuReading
from workbench.telemetry.series import Series

HUNG_S = 10.0
"""A reading so old is shown no more: the call for the next one does not return."""


@dataclass(frozen=True)
class Event:
    """Something that happened, to be marked on the time axis."""

    at: float
    text: str
    kind: str = ""


@dataclass(frozen=True)
class GpuTrack:
    """One GPU over time."""

    index: int
    uuid: str
    name: str
    series: Series
    newest: GpuReading | None
    """None while the GPU does not answer."""
    picture: MemoryPicture | None = None


@dataclass(frozen=True)
class EngineSnapshot:
    id: str
    name: str
    toolchain: str
    pid: int | None
    at: float | None
    """When it last reported; None: not yet."""
    stats: Stats | None
    values: dict[str, float | None]
    """The newest of its series: speeds, blocks, requests."""
    generation_mean: Mean
    prefill_mean: Mean
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """The newest of everything."""

    at: float
    wall: float
    gpus: tuple[GpuReading, ...]
    gpu_pictures: tuple[MemoryPicture | None, ...]
    gpu_problem: str
    host: HostReading | None
    host_picture: MemoryPicture | None
    engines: tuple[EngineSnapshot, ...]


class Readings(Protocol):
    """What panels need: live (`Telemetry`) or read from a file (`recording.Recording`)."""

    clock: Clock
    started_at: float
    host: Series
    host_newest: HostReading | None
    host_picture: MemoryPicture | None
    gpu_problem: str
    host_problem: str

    @property
    def gpus(self) -> tuple[GpuTrack, ...]: ...

    @property
    def engines(self) -> tuple[EngineTrack, ...]: ...

    @property
    def past_engines(self) -> tuple[EngineTrack, ...]: ...

    def events(self, start: float = ..., end: float = ...) -> tuple[Event, ...]: ...

    def snapshot(self) -> Snapshot: ...


def snapshot_of(telemetry: Readings) -> Snapshot:
    """The newest of everything that is sampled, or was recorded."""
    at = telemetry.clock.now()
    answering = [
        (track.newest, track.picture)
        for track in telemetry.gpus
        if track.newest is not None and at - (track.series.newest_at or 0.0) < HUNG_S
    ]
    hung = any(track.newest is not None for track in telemetry.gpus) and not answering
    return Snapshot(
        at=at,
        wall=telemetry.clock.wall(at),
        gpus=tuple(reading for reading, _ in answering),
        gpu_pictures=tuple(picture for _, picture in answering),
        gpu_problem="the NVIDIA driver hangs" if hung else telemetry.gpu_problem,
        host=telemetry.host_newest,
        host_picture=telemetry.host_picture,
        engines=tuple(
            EngineSnapshot(
                id=engine.id,
                name=engine.name,
                toolchain=engine.toolchain,
                pid=engine.pid,
                at=engine.newest_at,
                stats=engine.newest,
                values={name: engine.series.at(name, at) for name in engine.series.names},
                generation_mean=engine.generation_mean,
                prefill_mean=engine.prefill_mean,
                notes=engine.notes,
            )
            for engine in telemetry.engines
        ),
    )


class Held(abc.ABC):
    """`Readings` with what they are made of held here; live ones and a recording fill it in their own ways.

    The tuples are replaced and never changed, so that any thread may read them.
    """

    def __init__(self, clock: Clock, started_at: float, host: Series) -> None:
        self.clock = clock
        self.started_at = started_at
        self.host = host
        self.host_newest: HostReading | None = None
        self.host_picture: MemoryPicture | None = None
        self.gpu_problem = ""
        """Why no GPU is reported, or what is wrong with one; empty when all is well."""
        self.host_problem = ""
        self._gpus: tuple[GpuTrack, ...] = ()
        self._engines: tuple[EngineTrack, ...] = ()
        self._past: tuple[EngineTrack, ...] = ()

    @property
    def gpus(self) -> tuple[GpuTrack, ...]:
        """All GPUs seen since the start, also those that do not answer now."""
        return self._gpus

    @property
    def engines(self) -> tuple[EngineTrack, ...]:
        return self._engines

    @property
    def past_engines(self) -> tuple[EngineTrack, ...]:
        """The last few that were detached, oldest first."""
        return self._past

    @abc.abstractmethod
    def events(self, start: float = float("-inf"), end: float = float("inf")) -> tuple[Event, ...]:
        """Events from `start` to `end`, oldest first."""

    def snapshot(self) -> Snapshot:
        return snapshot_of(self)

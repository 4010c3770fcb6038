"""All readings of the program in one place: GPUs and host are sampled here, engines push what they report."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from workbench.core.messages import Ready, Stats
from workbench.core.units import format_duration
from workbench.telemetry.clock import Clock
from workbench.telemetry.engine import EngineTrack, Mean
from workbench.telemetry.host import HostReading, HostSource
from workbench.telemetry.memory import EngineMemory, MemoryPicture, memory_parts
from workbench.telemetry.nvml import GpuReading, NvmlSource
from workbench.telemetry.sampler import Sampler
from workbench.telemetry.series import Series

BUSY_HZ = 10.0
IDLE_HZ = 1.0
BUSY_AFTER_S = 10.0
"""For so long after the last request the rate stays high."""
_MOST_EVENTS = 10_000
_MOST_PAST = 8

GPU_COLUMNS = (
    "memory_total_bytes",
    "memory_used_bytes",
    "utilisation_percent",
    "memory_utilisation_percent",
    "power_w",
    "temperature_c",
    "sm_mhz",
    "memory_mhz",
    "pcie_rx_bytes_s",
    "pcie_tx_bytes_s",
    "nvlink_rx_bytes_s",
    "nvlink_tx_bytes_s",
    "throttled",
)
"""Of a GPU's series, beside `part.*`."""
HOST_COLUMNS = ("memory_total_bytes", "memory_used_bytes", "cpu_percent", "swap_used_bytes")


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


class Telemetry:
    """Samples from `start` to `close`, hidden or not; 10 Hz while an engine has requests, else once a second.

    Every attribute may be read from any thread.
    """

    def __init__(
        self, clock: Clock | None = None, nvml: NvmlSource | None = None, host: HostSource | None = None
    ) -> None:
        self.clock = clock or Clock()
        self.started_at = self.clock.now()
        self.host = Series()
        self.host_newest: HostReading | None = None
        self.host_picture: MemoryPicture | None = None
        self.gpu_problem = ""
        """Why no GPU is reported, or what is wrong with one; empty when all is well."""
        self.host_problem = ""
        self._nvml = nvml or NvmlSource()
        self._host = host or HostSource()
        self._lock = threading.Lock()
        self._gpus: tuple[GpuTrack, ...] = ()
        self._engines: tuple[EngineTrack, ...] = ()
        self._past: tuple[EngineTrack, ...] = ()
        self._events: list[Event] = []
        self._families: dict[int, tuple[int, ...]] = {}
        self._busy_until = float("-inf")
        self._rate: float | None = None
        self._samplers: tuple[Sampler, ...] = ()
        self._closed = False

    # Running

    def start(self) -> None:
        """Begin to sample; a thread a source. Idempotent."""
        if self._samplers or self._closed:
            return
        self._samplers = (
            Sampler("nvml", self.read_gpus, self._interval, self._gpu_failed, self._nvml.close),
            Sampler("host", self.read_host, self._interval, self._host_failed),
        )
        for sampler in self._samplers:
            sampler.start()

    def close(self) -> None:
        """End the threads; what was recorded stays readable. Idempotent."""
        self._closed = True
        for sampler in self._samplers:
            sampler.stop()
        for sampler in self._samplers:
            sampler.join()

    def set_rate(self, hz: float | None) -> None:
        """Sample at this rate whatever happens; None: by what the engines do."""
        if hz is not None and hz <= 0:
            raise ValueError(f"a rate is more than 0 Hz, not {hz}")
        self._rate = hz
        self._wake()

    def _interval(self) -> float:
        if self._rate is not None:
            return 1.0 / self._rate
        busy = self.clock.now() < self._busy_until or any(engine.busy for engine in self._engines)
        return 1.0 / (BUSY_HZ if busy else IDLE_HZ)

    def _wake(self) -> None:
        for sampler in self._samplers:
            sampler.wake()

    # Sources; each is called by its own thread

    def read_gpus(self, interval_s: float = 1.0 / IDLE_HZ) -> None:
        """One reading of all GPUs; the next is due in `interval_s`."""
        at = self.clock.now()
        readings = self._nvml.read()
        tracks = {track.uuid: track for track in self._gpus}
        pictures = self._gpu_pictures(readings)
        for reading, picture in zip(readings, pictures, strict=True):
            track = tracks.get(reading.uuid)
            series = track.series if track else Series()
            series.add(at, _gpu_row(reading, picture), interval_s)
            tracks[reading.uuid] = GpuTrack(reading.index, reading.uuid, reading.name, series, reading, picture)
        answering = {reading.uuid for reading in readings}
        for uuid, track in tracks.items():
            if uuid not in answering and track.newest is not None:
                track.series.gap(at)
                tracks[uuid] = replace(track, newest=None, picture=None)
                self.mark(f"GPU {track.index} does not answer", "gpu")
        self._gpus = tuple(sorted(tracks.values(), key=lambda track: (track.index, track.uuid)))
        self.gpu_problem = self._nvml.problem

    def read_host(self, interval_s: float = 1.0 / IDLE_HZ) -> None:
        """One reading of the host; the next is due in `interval_s`."""
        engines = self._engines
        self._host.watch(engine.pid for engine in engines if engine.pid is not None)
        at = self.clock.now()
        reading = self._host.read()
        self._families = reading.families
        picture = self._host_picture(reading, engines)
        row: dict[str, float | None] = {
            "memory_total_bytes": reading.total_bytes,
            "memory_used_bytes": reading.used_bytes,
            "cpu_percent": reading.cpu_percent,
            "swap_used_bytes": reading.swap_used_bytes,
        }
        if picture is not None:
            row.update(picture.columns())
        self.host.add(at, row, interval_s)
        self.host_newest, self.host_picture, self.host_problem = reading, picture, ""
        for engine in engines:
            engine.tick(at)
        jump = self.clock.changed()
        if jump is not None:
            way = "on" if jump > 0 else "back"
            self.mark(f"wall clock moved {way} by {format_duration(abs(jump))}", "clock")

    def _gpu_failed(self, error: Exception) -> None:
        self.gpu_problem = f"GPUs could not be read: {type(error).__name__}: {error}"

    def _host_failed(self, error: Exception) -> None:
        self.host_problem = f"the host could not be read: {type(error).__name__}: {error}"

    # Memory

    def _pids(self, engine: EngineTrack) -> tuple[int, ...]:
        return () if engine.pid is None else self._families.get(engine.pid, (engine.pid,))

    def _gpu_pictures(self, readings: Sequence[GpuReading]) -> list[MemoryPicture | None]:
        holdings = [{p.pid: p.used_bytes for p in reading.processes or ()} for reading in readings]
        engines: list[list[EngineMemory]] = [[] for _ in readings]
        for engine in self._engines:
            pids = self._pids(engine)
            held = [sum(holding.get(pid) or 0 for pid in pids) for holding in holdings]
            said = {key: size for key, size in engine.memory_bytes.items() if key not in ("process", "host", "pinned")}
            if "gpu" in said:
                said["held"] = said.pop("gpu")
            if any(held):
                for i, size in enumerate(held):
                    if size:  # an engine on several GPUs: what it reports is spread as its memory is
                        share = {key: size * value // sum(held) for key, value in said.items()}
                        engines[i].append(EngineMemory(pids, share, engine.kv_used_share))
            elif "held" in said and len(readings) == 1:
                # No list of processes, or one that counts them in another namespace: its own word must do.
                engines[0].append(EngineMemory((), said, engine.kv_used_share))
        return [
            memory_parts(reading.total_bytes, reading.taken_bytes, engines[i], holdings[i])
            for i, reading in enumerate(readings)
        ]

    def _on_gpu(self, engine: EngineTrack) -> bool:
        """Whether what it reports is memory of a GPU."""
        if "gpu" in engine.memory_bytes:
            return True
        pids = set(self._pids(engine))
        newest = [track.newest for track in self._gpus]
        return any(p.pid in pids for reading in newest if reading is not None for p in reading.processes or ())

    def _host_picture(self, reading: HostReading, engines: Sequence[EngineTrack]) -> MemoryPicture | None:
        found = []
        for engine in engines:
            said = {} if self._on_gpu(engine) else dict(engine.memory_bytes)
            said["held"] = engine.memory_bytes.get("process", 0)
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

    # Engines

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

    def attach_engine(self, id: str, name: str, toolchain: str, pid: int | None, ready: Ready | None) -> EngineTrack:
        """An engine was loaded; give the track its host's `stats`."""
        track = EngineTrack(id, name, toolchain, pid, ready, self.clock.now(), self._heard)
        with self._lock:
            self._engines = (*(engine for engine in self._engines if engine.id != id), track)
        return track

    def detach_engine(self, id: str) -> None:
        """It was unloaded, or died. An id that is not there is passed over."""
        with self._lock:
            gone = [engine for engine in self._engines if engine.id == id]
            self._engines = tuple(engine for engine in self._engines if engine.id != id)
            self._past = (*self._past, *gone)[-_MOST_PAST:]
        for engine in gone:
            engine.detach(self.clock.now())

    def _heard(self, engine: EngineTrack, at: float) -> None:
        if engine.busy:
            slow = at >= self._busy_until
            self._busy_until = at + BUSY_AFTER_S
            if slow:
                self._wake()

    # Events

    def mark(self, text: str, kind: str = "", at: float | None = None) -> Event:
        """Something happened now, or `at`."""
        event = Event(self.clock.now() if at is None else at, text, kind)
        with self._lock:
            place = bisect_right([e.at for e in self._events], event.at)
            self._events.insert(place, event)
            del self._events[:-_MOST_EVENTS]
        return event

    def events(self, start: float = float("-inf"), end: float = float("inf")) -> tuple[Event, ...]:
        """Events from `start` to `end`, oldest first."""
        with self._lock:
            times = [event.at for event in self._events]
            return tuple(self._events[bisect_left(times, start) : bisect_right(times, end)])

    # All at once

    def snapshot(self) -> Snapshot:
        return snapshot_of(self)


def snapshot_of(telemetry: Readings) -> Snapshot:
    """The newest of everything that is sampled, or was recorded."""
    at = telemetry.clock.now()
    answering = [(track.newest, track.picture) for track in telemetry.gpus if track.newest is not None]
    return Snapshot(
        at=at,
        wall=telemetry.clock.wall(at),
        gpus=tuple(reading for reading, _ in answering),
        gpu_pictures=tuple(picture for _, picture in answering),
        gpu_problem=telemetry.gpu_problem,
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


def _gpu_row(reading: GpuReading, picture: MemoryPicture | None) -> dict[str, float | None]:
    row: dict[str, float | None] = {
        "memory_total_bytes": reading.total_bytes,
        "memory_used_bytes": reading.used_bytes,
        "throttled": None if reading.throttle is None else float(bool(reading.throttle)),
    }
    for name in GPU_COLUMNS:
        if name not in row:
            row[name] = getattr(reading, name)
    if picture is not None:
        row.update(picture.columns())
    return row

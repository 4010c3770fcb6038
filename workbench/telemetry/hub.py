"""All readings of the program in one place: GPUs and host are sampled here, engines push what they report."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from dataclasses import replace

from workbench.core.messages import Ready
from workbench.core.units import format_duration
from workbench.telemetry.clock import Clock
from workbench.telemetry.engine import EngineTrack
from workbench.telemetry.host import HostSource
from workbench.telemetry.memory import MemoryPicture
from workbench.telemetry.nvml import GpuReading, NvmlSource
from workbench.telemetry.pictures import gpu_pictures, host_picture
from workbench.telemetry.sampler import Sampler
from workbench.telemetry.series import Series
from workbench.telemetry.tracks import EngineSnapshot, Event, GpuTrack, Held, Readings, Snapshot

__all__ = ["EngineSnapshot", "Event", "GpuTrack", "Readings", "Snapshot", "Telemetry"]

BUSY_HZ = 10.0
IDLE_HZ = 1.0
BUSY_AFTER_S = 10.0
"""For so long after the last request the rate stays high."""
_LEAST_INTERVAL_S = 1.0 / 3
"""A machine under load delays its samplers: a reading stands for a second at least before a gap is shown."""
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


class Telemetry(Held):
    """Samples from `start` to `close`, hidden or not; 10 Hz while an engine has requests, else once a second.

    Every attribute may be read from any thread.
    """

    def __init__(
        self, clock: Clock | None = None, nvml: NvmlSource | None = None, host: HostSource | None = None
    ) -> None:
        clock = clock or Clock()
        super().__init__(clock, clock.now(), Series())
        self._nvml = nvml or NvmlSource()
        self._host = host or HostSource()
        self._lock = threading.Lock()
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
        pictures = gpu_pictures(readings, self._engines, self._families)
        for reading, picture in zip(readings, pictures, strict=True):
            track = tracks.get(reading.uuid)
            series = track.series if track else Series()
            series.add(at, _gpu_row(reading, picture), max(interval_s, _LEAST_INTERVAL_S))
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
        gpus = [track.newest for track in self._gpus if track.newest is not None]
        picture = host_picture(reading, engines, gpus, reading.families)
        row: dict[str, float | None] = {
            "memory_total_bytes": reading.total_bytes,
            "memory_used_bytes": reading.used_bytes,
            "cpu_percent": reading.cpu_percent,
            "swap_used_bytes": reading.swap_used_bytes,
        }
        if picture is not None:
            row.update(picture.columns())
        self.host.add(at, row, max(interval_s, _LEAST_INTERVAL_S))
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

    # Engines

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

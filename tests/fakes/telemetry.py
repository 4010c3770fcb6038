"""Invented readings through the real Telemetry and EngineTrack: an engine that works in bursts."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from workbench.core.messages import Ready, Stats
from workbench.telemetry.clock import Clock
from workbench.telemetry.engine import EngineTrack
from workbench.telemetry.hub import Telemetry
from workbench.telemetry.nvml import GpuReading
from workbench.telemetry.nvml_device import GpuProcess

GIB = 2**30
HOST_PID = 424_242
BLOCKS, BLOCK_TOKENS, LONGEST = 20_000, 32, 4096
WEIGHTS, ACTIVATIONS, POOL, OTHERS, TOTAL = 8 * GIB, 2 * GIB, 20 * GIB, GIB, 40 * GIB


@dataclass
class Times:
    """A clock that is set by hand."""

    now: float = 10_000.0
    epoch: float = 1.76e9

    def clock(self) -> Clock:
        return Clock(lambda: self.now, lambda: self.epoch + self.now)


@dataclass
class InventedGpus:
    """Stands where the driver does: `read` gives what was set."""

    count: int = 1
    load: float | None = 0.0
    power: float | None = 100.0
    temperature: float | None = 40.0
    used: int | None = WEIGHTS + ACTIVATIONS + POOL + OTHERS
    throttle: tuple[str, ...] | None = ()
    problem: str = ""
    lost: set[int] = field(default_factory=set)

    def read(self) -> tuple[GpuReading, ...]:
        return tuple(self._one(index) for index in range(self.count) if index not in self.lost)

    def _one(self, index: int) -> GpuReading:
        held = None if self.used is None else self.used - OTHERS
        return GpuReading(
            index=index, uuid=f"GPU-{index}", name="An invented GPU", driver="1.0", mig=None, total_bytes=TOTAL,
            used_bytes=self.used, reserved_bytes=0, utilisation_percent=self.load, memory_utilisation_percent=None,
            power_w=self.power, power_limit_w=350.0, temperature_c=self.temperature, sm_mhz=1800.0, memory_mhz=9000.0,
            throttle=self.throttle, pcie_rx_bytes_s=None, pcie_tx_bytes_s=None, nvlink_rx_bytes_s=None,
            nvlink_tx_bytes_s=None, processes=(GpuProcess(HOST_PID, held, "host"),),
        )  # fmt: skip

    def close(self) -> None:
        """Nothing is open."""


class Invented:
    """An engine that works in bursts, on a GPU or on the host alone; `step` lets time pass and reads everything."""

    def __init__(self, gpus: int = 1, engines: tuple[str, ...] = ("an-engine",), times: Times | None = None) -> None:
        self.times = times or Times()
        self.nvml = InventedGpus(gpus, problem="" if gpus else "no driver here")
        self.telemetry = Telemetry(self.times.clock(), self.nvml)  # type: ignore[arg-type]
        self.tracks: list[EngineTrack] = [self.load(name) for name in engines]
        self.generated, self.prefilled = 0, 0
        self._random = random.Random(7)
        self._elapsed = 0.0

    def load(self, name: str, toolchain: str = "OpenVINO GenAI") -> EngineTrack:
        ready = Ready(limits={"max_seq_len": LONGEST}, kv_blocks_total=BLOCKS, kv_block_tokens=BLOCK_TOKENS)
        return self.telemetry.attach_engine(f"{name}-{self.times.now}", name, toolchain, HOST_PID, ready)

    def stats(self, **changed: object) -> Stats:
        """What the engine says at this moment of its bursts."""
        share = (self._elapsed % 40) / 40
        active = 16 if share < 0.7 else 0
        used = int(BLOCKS * min(share, 0.7)) if active else 40
        said: dict[str, object] = {
            "kv_blocks_used": used, "kv_blocks_free": BLOCKS - used, "kv_blocks_reused": used // 8,
            "kv_blocks_total": BLOCKS, "requests_active": active, "requests_queued": 4 if active else 0,
            "batch": active, "context_tokens": self.prefilled, "generated_tokens": self.generated,
            "iteration_ms": 12.0,
            "memory_bytes": {"weights": WEIGHTS, "activations": ACTIVATIONS, "kv_pool": POOL},
        }  # fmt: skip
        return Stats.model_validate(said | changed)

    def step(self, seconds: float = 0.1, **changed: object) -> None:
        """Time passes; GPUs and host are read and engines report. `changed`: fields of `stats` that differ."""
        self.times.now += seconds
        self._elapsed += seconds
        busy = (self._elapsed % 40) / 40 < 0.7
        if busy:
            self.generated += int(900 * seconds * (1 + 0.3 * self._random.random()))
            self.prefilled += int(9000 * seconds * self._random.random())
        if self.nvml.load is not None:
            self.nvml.load = 95 + 5 * self._random.random() if busy else 0.0
        if self.nvml.power is not None:
            self.nvml.power = 300 + 20 * math.sin(self._elapsed) if busy else 90.0
        for track in self.tracks:
            track.take(self.stats(**changed), self.times.now)
        self.telemetry.read_gpus(seconds)
        self.telemetry.read_host(seconds)

    def run(self, seconds: float, step_s: float = 0.1) -> None:
        for _ in range(round(seconds / step_s)):
            self.step(step_s)

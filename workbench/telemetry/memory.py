"""Memory of the host and of each NVIDIA GPU, read at one moment. None is "not reported"."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class GpuMemory:
    """One GPU; bytes."""

    index: int
    name: str
    total_bytes: int
    used_bytes: int | None
    driver: str


@dataclass(frozen=True)
class MemorySample:
    """At `at` seconds of the monotonic clock; bytes."""

    at: float
    host_total_bytes: int
    host_used_bytes: int
    """Not to be had without taking it from somebody: total less available."""
    cache_bytes: int | None
    """Files that the kernel keeps and gives up when memory is wanted."""
    own_bytes: int
    """This process."""
    gpus: tuple[GpuMemory, ...] = ()
    gpu_problem: str = ""
    """Why no GPU is reported."""


class MemorySampler:
    """Reads when asked; keeps the NVML session open between readings. To be used from one thread at a time."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._nvml: bool | None = None
        self._problem = ""

    def sample(self) -> MemorySample:
        """One reading: about a millisecond."""
        host = psutil.virtual_memory()
        gpus = tuple(self._gpus())
        return MemorySample(
            at=time.monotonic(),
            host_total_bytes=host.total,
            host_used_bytes=host.total - host.available,
            cache_bytes=getattr(host, "cached", None),
            own_bytes=self._process.memory_info().rss,
            gpus=gpus,
            gpu_problem="" if gpus else self._problem or "the driver reports no device",
        )

    def close(self) -> None:
        if self._nvml:
            import pynvml

            pynvml.nvmlShutdown()
        self._nvml = None

    def _gpus(self) -> Iterator[GpuMemory]:
        import pynvml

        if self._nvml is None:
            try:
                pynvml.nvmlInit()
                self._nvml = True
            except pynvml.NVMLError as error:
                self._nvml, self._problem = False, f"no NVIDIA driver: {error}"
        if not self._nvml:
            return
        try:
            driver = str(pynvml.nvmlSystemGetDriverVersion())
            for index in range(pynvml.nvmlDeviceGetCount()):
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
                yield GpuMemory(index, pynvml.nvmlDeviceGetName(handle), int(memory.total), int(memory.used), driver)
        except pynvml.NVMLError as error:
            # A GPU that fell off the bus ends the session; the next reading begins a new one.
            self._problem = f"NVML answers with an error: {error}"
            self.close()


class Ring:
    """The newest samples of a span of seconds, oldest first."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._samples: deque[MemorySample] = deque()

    def add(self, sample: MemorySample) -> None:
        self._samples.append(sample)
        while self._samples and sample.at - self._samples[0].at > self.seconds:
            self._samples.popleft()

    def __iter__(self) -> Iterator[MemorySample]:
        return iter(self._samples)

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def newest(self) -> MemorySample | None:
        return self._samples[-1] if self._samples else None

"""Where a measurement is made, and readings of the machine taken along."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable

from workbench import __version__
from workbench.core.host import read_host
from workbench.core.measure.record import Environment, Sample
from workbench.core.messages import Stats
from workbench.telemetry.host import HostSource
from workbench.telemetry.nvml import GpuReading, NvmlSource


def read_environment(versions: dict[str, str] | None = None, nvml: NvmlSource | None = None) -> Environment:
    """This machine now; takes as long as reading the GPUs once."""
    host = read_host()
    source = nvml or NvmlSource()
    try:
        gpus = source.read()
    finally:
        if nvml is None:
            source.close()
    first = gpus[0] if gpus else None
    return Environment(
        workbench=__version__,
        os=host.os,
        python=platform.python_version(),
        cpu=host.cpu_name,
        cores=host.usable_cores,
        memory_bytes=host.memory_total_bytes,
        gpus=tuple(gpu.name for gpu in gpus),
        gpu_memory_bytes=tuple(gpu.total_bytes for gpu in gpus if gpu.total_bytes is not None),
        driver=first.driver if first is not None else "",
        sm_mhz=first.sm_mhz if first is not None else None,
        power_limit_w=first.power_limit_w if first is not None else None,
        other_gpu_bytes=first.used_bytes if first is not None else None,
        versions=dict(versions or {}),
    )


class SideReader:
    """Reads the machine beside a measurement; `read` is called from one thread, about twice a second."""

    def __init__(self, pid: int | None, gpus: int) -> None:
        """`gpus`: how many of the first GPUs the engine uses; 0: none is read."""
        self._pid = pid
        self._count = gpus
        self._nvml = NvmlSource() if gpus else None
        self._host = HostSource()
        if pid is not None:
            self._host.watch([pid])

    def read(self, stats: Stats | None) -> Sample:
        """One reading; `t_s` is on the monotonic clock."""
        gpus = self._nvml.read()[: self._count] if self._nvml is not None else ()
        held = self._host.read().processes.get(self._pid) if self._pid is not None else None
        used, total = (stats.kv_blocks_used, stats.kv_blocks_total) if stats is not None else (None, None)
        return Sample(
            t_s=time.monotonic(),
            kv_blocks_used=used,
            kv_blocks_total=total,
            kv_share=used / total if used is not None and total else stats.kv_share if stats is not None else None,
            requests_active=stats.requests_active if stats is not None else None,
            requests_queued=stats.requests_queued if stats is not None else None,
            gpu_memory_bytes=_sum(gpus, lambda gpu: gpu.used_bytes),
            host_memory_bytes=held,
            power_w=_sum(gpus, lambda gpu: gpu.power_w),
            utilisation_percent=_mean(gpus, lambda gpu: gpu.utilisation_percent),
            temperature_c=_most(gpus, lambda gpu: gpu.temperature_c),
            sm_mhz=_mean(gpus, lambda gpu: gpu.sm_mhz),
        )

    def close(self) -> None:
        if self._nvml is not None:
            self._nvml.close()


def _values(gpus: tuple[GpuReading, ...], value: Callable[[GpuReading], float | None]) -> list[float] | None:
    """Of all GPUs; None as soon as one does not report it."""
    found = [value(gpu) for gpu in gpus]
    known = [one for one in found if one is not None]
    return known if known and len(known) == len(found) else None


def _sum(gpus: tuple[GpuReading, ...], value: Callable[[GpuReading], float | None]) -> int | None:
    known = _values(gpus, value)
    return round(sum(known)) if known else None


def _mean(gpus: tuple[GpuReading, ...], value: Callable[[GpuReading], float | None]) -> float | None:
    known = _values(gpus, value)
    return sum(known) / len(known) if known else None


def _most(gpus: tuple[GpuReading, ...], value: Callable[[GpuReading], float | None]) -> float | None:
    known = _values(gpus, value)
    return max(known) if known else None

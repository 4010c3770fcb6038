"""NVIDIA GPUs as the driver reports them. Any one quantity may fail alone; a GPU may go and come back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from workbench.telemetry.nvml_device import Device, GpuProcess, Lost, find_devices

__all__ = ["GpuProcess", "GpuReading", "NvmlSource", "held_by_others"]

_BEGIN_AGAIN_S = 5.0
_NO_LIBRARY_AGAIN_S = 60.0
_FAST_S = 0.5


@dataclass(frozen=True)
class GpuReading:
    """One GPU, or one MIG instance of one, at one moment. None is "not reported".

    Of a MIG instance power, temperature, clocks and throttle reasons are those of the whole board, which is all that
    the driver says.
    """

    index: int
    """The driver's number of the board."""
    uuid: str
    name: str
    driver: str
    mig: str | None
    """The instance in words, `1g.10gb, GPU instance 7`; None for a whole GPU."""
    total_bytes: int | None
    used_bytes: int | None
    """Allocated, as nvidia-smi counts it: without `reserved_bytes`."""
    reserved_bytes: int | None
    """What the driver and the firmware keep for themselves."""
    utilisation_percent: float | None
    """Share of the last sampling period in which at least one kernel ran."""
    memory_utilisation_percent: float | None
    """Share of the last sampling period in which device memory was read or written."""
    power_w: float | None
    power_limit_w: float | None
    temperature_c: float | None
    sm_mhz: float | None
    memory_mhz: float | None
    throttle: tuple[str, ...] | None
    """What holds the clocks down, in words; empty: nothing does."""
    pcie_rx_bytes_s: float | None
    pcie_tx_bytes_s: float | None
    nvlink_rx_bytes_s: float | None
    nvlink_tx_bytes_s: float | None
    processes: tuple[GpuProcess, ...] | None
    unreported: tuple[str, ...] = ()
    """Names of the fields that the driver did not give."""

    @property
    def taken_bytes(self) -> int | None:
        """Not to be had: allocated and reserved."""
        return None if self.used_bytes is None else self.used_bytes + (self.reserved_bytes or 0)


def held_by_others(reading: GpuReading) -> tuple[tuple[str, int | None], ...]:
    """Other users of this machine with what their processes hold of a GPU, most first; None: not reported."""
    found: dict[str, int | None] = {}
    for process in reading.processes or ():
        if process.user:
            before, size = found.get(process.user), process.used_bytes
            found[process.user] = size if before is None else before if size is None else before + size
    return tuple(sorted(found.items(), key=lambda one: -(one[1] or 0)))


class NvmlSource:
    """Reads all GPUs. To be used from one thread at a time; keeps the NVML session open between readings."""

    def __init__(self, library: Any = None, now: Callable[[], float] = time.monotonic) -> None:
        self._library = library
        self._now = now
        self._devices: list[Device] = []
        self._open = False
        self._driver = ""
        self._again_at = float("-inf")
        self._lost = False
        self._read_at = float("-inf")
        self.problem = ""
        """Why no GPU is reported, or which one is lost; empty when all is well."""

    def read(self) -> tuple[GpuReading, ...]:
        """A reading of every GPU that answers: about 0.1 ms each, and 20 ms where PCIe traffic is due.

        Read slowly, one PCIe figure of each GPU is due; read fast, one of all GPUs, so that the rate is kept.
        """
        if (not self._open or self._lost) and self._now() >= self._again_at:
            self._begin()
        found = []
        now = self._now()
        fast, self._read_at = now - self._read_at < _FAST_S, now
        due = min(self._devices, key=lambda device: device.pcie_at, default=None)
        for device in self._devices:
            try:
                values = device.read(self._now(), pcie=not fast or device is due)
            except Lost as error:
                self._lost = True
                self._again_at = max(self._again_at, self._now() + _BEGIN_AGAIN_S)
                self.problem = f"GPU {device.index} does not answer: {error}"
                continue
            values["unreported"] = tuple(
                name for name in _REPORTED if values[name] is None and not (name == "mig" or name in device.pending)
            )
            found.append(GpuReading(driver=self._driver, **values))
        if self._lost:
            self._devices = [device for device in self._devices if not device.lost]
        return tuple(found)

    def close(self) -> None:
        """End the NVML session. Idempotent; `read` would begin another."""
        self._devices = []
        if self._open:
            self._open = False
            with contextlib.suppress(self._library.NVMLError):
                self._library.nvmlShutdown()

    def _begin(self) -> None:
        """Begin NVML, anew if it was begun: handles of a GPU that was lost are of no use any more."""
        if self._library is None:
            import pynvml

            self._library = pynvml
        nvml, known = self._library, {device.uuid: device for device in self._devices}
        self._again_at = self._now() + _BEGIN_AGAIN_S
        self.close()
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            if getattr(error, "value", None) == nvml.NVML_ERROR_LIBRARY_NOT_FOUND:
                self._again_at = self._now() + _NO_LIBRARY_AGAIN_S
            self.problem = f"no NVIDIA driver: {error}"
            return
        self._open = True
        try:
            self._driver = str(nvml.nvmlSystemGetDriverVersion())
        except nvml.NVMLError:
            self._driver = ""
        self._devices, problems = find_devices(nvml, known)
        self._lost = bool(problems)
        self.problem = "; ".join(problems) or ("" if self._devices else "the driver reports no GPU")
        if not self._devices:
            self._lost = True  # look again in a while


_REPORTED = tuple(f.name for f in fields(GpuReading) if f.name not in ("index", "uuid", "name", "driver", "unreported"))

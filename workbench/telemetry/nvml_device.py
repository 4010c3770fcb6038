"""One GPU, or MIG instance, behind NVML: each quantity asked for on its own, the slow ones less often."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil

SLOW_S = 1.0
"""What changes slowly, or takes the driver long (PCIe traffic: 20 ms a direction), is asked no more often than this."""
_REFUSED_AGAIN_S = 60.0
_FAILED_AGAIN_S = 5.0
_COUNTER_OLD_S = 10.0
_NEVER = float("-inf")
_ALL_LINKS = 0xFFFFFFFF

# Order of the list: what matters most first.
_THROTTLE_WORDS = (
    ("HwThermalSlowdown", "too hot (hardware)"),
    ("SwThermalSlowdown", "too hot"),
    ("HwPowerBrakeSlowdown", "power brake from outside"),
    ("HwSlowdown", "hardware slowdown"),
    ("SwPowerCap", "power limit"),
    ("BoardLimit", "board limit"),
    ("Reliability", "voltage limit"),
    ("SyncBoost", "held with the other GPUs"),
    ("ApplicationsClocksSetting", "clocks set by a user"),
    ("DisplayClockSetting", "display clock"),
)
# "GPU idle" holds clocks down too, and is not what anybody calls throttling.


@dataclass(frozen=True)
class GpuProcess:
    """A process that has memory of a GPU."""

    pid: int
    used_bytes: int | None
    """None where the driver does not say, as in most containers."""
    name: str = ""
    user: str = ""
    """Whose it is where that is another user of this machine; "" for one's own, and where the system does not say."""


class Lost(Exception):
    """The GPU does not answer any more."""


def find_devices(nvml: Any, known: dict[str, Device]) -> tuple[list[Device], list[str]]:
    """All GPUs, of those in MIG mode their instances, and what went wrong. Devices that are known keep their state."""
    devices: list[Device] = []
    problems: list[str] = []
    try:
        count = nvml.nvmlDeviceGetCount()
    except nvml.NVMLError as error:
        return [], [f"the driver does not say how many GPUs there are: {error}"]
    for index in range(count):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            parts: list[tuple[Any, str | None]] = [*_instances(nvml, handle)] or [(handle, None)]
            for own, mig in parts:
                uuid = _text(_try(nvml, nvml.nvmlDeviceGetUUID, own) or f"GPU-{index}")
                device = known.get(uuid) or Device(nvml, uuid)
                name = _text(_try(nvml, nvml.nvmlDeviceGetName, own) or nvml.nvmlDeviceGetName(handle))
                device.begin(index, name, own, handle, mig)
                devices.append(device)
        except nvml.NVMLError as error:
            problems.append(f"GPU {index} does not answer: {error}")
    return devices, problems


def _instances(nvml: Any, handle: Any) -> list[tuple[Any, str]]:
    """MIG instances of a board with their words; empty when it is not in that mode or has none."""
    mode = _try(nvml, getattr(nvml, "nvmlDeviceGetMigMode", None), handle)
    if not mode or mode[0] != nvml.NVML_DEVICE_MIG_ENABLE:
        return []
    found = []
    for slot in range(_try(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        own = _try(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, slot)
        if own is None:
            continue  # an empty slot
        words = []
        name = _text(_try(nvml, nvml.nvmlDeviceGetName, own))
        if " MIG " in name:
            words.append(name.rpartition(" MIG ")[2])
        for word, ask in (("GPU", nvml.nvmlDeviceGetGpuInstanceId), ("compute", nvml.nvmlDeviceGetComputeInstanceId)):
            number = _try(nvml, ask, own)
            if number is not None:
                words.append(f"{word} instance {number}")
        found.append((own, ", ".join(words) or f"MIG device {slot}"))
    return found


class Device:
    """Asks one GPU. Quantities that fail are left alone for a while, and only they."""

    def __init__(self, nvml: Any, uuid: str) -> None:
        self._nvml = nvml
        self.uuid = uuid
        self.index = 0
        self.lost = False
        self.pending: frozenset[str] = frozenset()
        """Fields that are None since two readings of a counter are needed."""
        self._name = ""
        self._mig: str | None = None
        self._own: Any = None
        self._board: Any = None
        self._again_at: dict[str, float] = {}
        self._slow: dict[str, tuple[float, Any]] = {}
        self._pcie: dict[str, float | None] = {"rx": None, "tx": None}
        self._pcie_at = {"rx": _NEVER, "tx": _NEVER}
        self._counters: dict[str, tuple[float, int]] = {}
        self._names: dict[int, str] = {}
        self._users: dict[int, str] = {}
        self._asked = self._failed = 0
        self._error: Exception | None = None
        n = nvml
        # A MIG instance has no power or temperature of its own: those are the board's.
        fatal = ("GPU_IS_LOST", "RESET_REQUIRED", "UNINITIALIZED", "DRIVER_NOT_LOADED", "GPU_NOT_FOUND", "NOT_FOUND")
        self._fatal = {getattr(n, f"NVML_ERROR_{word}", None) for word in fatal}
        refused = ("NOT_SUPPORTED", "FUNCTION_NOT_FOUND", "NO_PERMISSION", "INVALID_ARGUMENT", "DEPRECATED")
        self._refused = {getattr(n, f"NVML_ERROR_{word}", None) for word in refused}

    def begin(self, index: int, name: str, own: Any, board: Any, mig: str | None) -> None:
        """Take new handles."""
        self.index, self._name, self._own, self._board, self._mig = index, name, own, board, mig
        self.lost = False

    @property
    def pcie_at(self) -> float:
        """When the older of the two PCIe figures was asked for."""
        return min(self._pcie_at.values())

    def read(self, now: float, pcie: bool = True) -> dict[str, Any]:
        """All fields of a reading but the driver's; with `pcie` the older PCIe figure is asked for again.

        Raises Lost.
        """
        self._asked = self._failed = 0
        pending: set[str] = set()
        try:
            values = self._values(now, pending, pcie)
        except Lost:
            self.lost = True
            raise
        if self._asked and self._failed == self._asked:
            self.lost = True
            raise Lost(str(self._error))
        self.pending = frozenset(pending)
        return values

    def _values(self, now: float, pending: set[str], pcie: bool) -> dict[str, Any]:
        n, own, board = self._nvml, self._own, self._board
        total, used, reserved = self._memory(now)
        rates = self._ask("utilisation", now, "nvmlDeviceGetUtilizationRates", own)
        power = self._ask("power", now, "nvmlDeviceGetPowerUsage", board)
        limit = self._slowly("power_limit", now, lambda: self._ask_limit(now))
        temperature = self._ask(
            "temperature", now, "nvmlDeviceGetTemperature", board, getattr(n, "NVML_TEMPERATURE_GPU", 0)
        )
        reasons = self._ask("throttle", now, "nvmlDeviceGetCurrentClocksThrottleReasons", board)
        values: dict[str, Any] = {
            "index": self.index,
            "uuid": self.uuid,
            "name": self._name,
            "mig": self._mig,
            "total_bytes": total,
            "used_bytes": used,
            "reserved_bytes": reserved,
            "utilisation_percent": None if rates is None else float(rates.gpu),
            "memory_utilisation_percent": None if rates is None else float(rates.memory),
            "power_w": None if power is None else power / 1000,
            "power_limit_w": None if limit is None else limit / 1000,
            "temperature_c": None if temperature is None else float(temperature),
            "sm_mhz": self._clock("sm_mhz", now, n.NVML_CLOCK_SM),
            "memory_mhz": self._clock("memory_mhz", now, n.NVML_CLOCK_MEM),
            "throttle": None if reasons is None else self._throttle_words(int(reasons)),
            "processes": self._processes(now),
        }
        if pcie and self._mig is None:
            self._ask_pcie(now)
        for way, rate in self._pcie.items():
            values[f"pcie_{way}_bytes_s"] = rate
            if self._mig is None and self._pcie_at[way] == _NEVER:
                pending.add(f"pcie_{way}_bytes_s")
        for field, answer in self._slowly("links", now, lambda: self._links(now)).items():
            values[field] = answer
            if answer is None and field in self._counters:
                pending.add(field)
        return values

    # Asking

    def _ask(self, key: str, now: float, function: str, *arguments: Any) -> Any:
        """An answer, or None: not reported. Raises Lost when the GPU is gone."""
        if now < self._again_at.get(key, now):
            return None
        call = getattr(self._nvml, function, None)
        if call is None:
            self._again_at[key] = float("inf")
            return None
        self._asked += 1
        try:
            return call(*arguments)
        except self._nvml.NVMLError as error:
            code = getattr(error, "value", None)
            if code in self._fatal:
                raise Lost(str(error)) from None
            refused = code in self._refused
            # A refusal is an answer: only other errors count as silence of the whole GPU.
            self._failed += 0 if refused else 1
            self._error = error
            self._again_at[key] = now + (_REFUSED_AGAIN_S if refused else _FAILED_AGAIN_S)
            return None

    def _slowly(self, key: str, now: float, ask: Callable[[], Any]) -> Any:
        """The last answer while it is fresh enough."""
        at, answer = self._slow.get(key, (_NEVER, None))
        if now - at >= SLOW_S * 0.95:
            answer = ask()
            self._slow[key] = (now, answer)
        return answer

    def _memory(self, now: float) -> tuple[int | None, int | None, int | None]:
        """Total, used without reserved, reserved."""
        n = self._nvml
        if hasattr(n, "nvmlMemory_v2"):
            m = self._ask("memory_v2", now, "nvmlDeviceGetMemoryInfo", self._own, n.nvmlMemory_v2)
            if m is not None:
                # Some drivers count what is reserved into `used`; what is not free is never less than both.
                reserved = int(m.reserved)
                return int(m.total), max(int(m.total) - int(m.free) - reserved, 0), reserved
        m = self._ask("memory", now, "nvmlDeviceGetMemoryInfo", self._own)
        return (None, None, None) if m is None else (int(m.total), int(m.used), None)

    def _ask_limit(self, now: float) -> Any:
        return self._ask("power_limit", now, "nvmlDeviceGetEnforcedPowerLimit", self._board)

    def _clock(self, key: str, now: float, kind: int) -> float | None:
        mhz = self._ask(key, now, "nvmlDeviceGetClockInfo", self._board, kind)
        return None if mhz is None else float(mhz)

    def _throttle_words(self, reasons: int) -> tuple[str, ...]:
        found = []
        for name, words in _THROTTLE_WORDS:
            bit = getattr(self._nvml, f"nvmlClocksThrottleReason{name}", 0)
            if reasons & bit:
                found.append(words)
        return tuple(found)

    # Traffic

    def _links(self, now: float) -> dict[str, float | None]:
        return {
            "nvlink_rx_bytes_s": self._nvlink("rx", now),
            "nvlink_tx_bytes_s": self._nvlink("tx", now),
        }

    def _ask_pcie(self, now: float) -> None:
        """One direction, as the driver counts it over 20 ms, in KiB/s. A MIG instance has none of its own."""
        way = min(self._pcie_at, key=lambda way: self._pcie_at[way])
        if now - self._pcie_at[way] < SLOW_S * 0.95:
            return
        counter = getattr(self._nvml, f"NVML_PCIE_UTIL_{way.upper()}_BYTES")
        answer = self._ask(f"pcie_{way}", now, "nvmlDeviceGetPcieThroughput", self._board, counter)
        self._pcie[way] = None if answer is None else float(answer) * 1024
        self._pcie_at[way] = now

    def _nvlink(self, way: str, now: float) -> float | None:
        """Payload over all links, from the driver's counter in KiB."""
        field = getattr(self._nvml, f"NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_{way.upper()}", None)
        if self._mig is not None or field is None:
            return None
        key = f"nvlink_{way}_bytes_s"
        values = self._ask(key, now, "nvmlDeviceGetFieldValues", self._board, [(field, _ALL_LINKS)])
        if values is None:
            return None
        if values[0].nvmlReturn != getattr(self._nvml, "NVML_SUCCESS", 0):
            self._again_at[key] = now + _REFUSED_AGAIN_S
            return None
        count = int(values[0].value.ullVal) * 1024
        before = self._counters.get(key)
        self._counters[key] = (now, count)
        if before is None or count < before[1] or not 0 < now - before[0] < _COUNTER_OLD_S:
            return None
        return (count - before[1]) / (now - before[0])

    # Processes

    def _processes(self, now: float) -> tuple[GpuProcess, ...] | None:
        used: dict[int, int | None] = {}
        answered = False
        for function in ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses"):
            listed = self._ask(function, now, function, self._own)
            if listed is None:
                continue
            answered = True
            for entry in listed:
                before, size = used.get(entry.pid), entry.usedGpuMemory
                # Who computes and draws is in both lists, with the same memory.
                used[entry.pid] = size if before is None else before if size is None else max(before, size)
        if not answered:
            return None
        self._names = {pid: self._names.get(pid) or self._process_name(pid) for pid in used}
        self._users = {pid: self._users[pid] if pid in self._users else other_user(pid) for pid in used}
        return tuple(GpuProcess(pid, size, self._names[pid], self._users[pid]) for pid, size in sorted(used.items()))

    def _process_name(self, pid: int) -> str:
        with contextlib.suppress(psutil.Error, OSError):
            return str(psutil.Process(pid).name())
        return _text(_try(self._nvml, getattr(self._nvml, "nvmlSystemGetProcessName", None), pid)).rpartition("/")[2]


def other_user(pid: int) -> str:
    """Name (or number) of the user whose process it is; "" for this process's user, and where it is not told."""
    try:
        owner = psutil.Process(pid).uids().real
    except (psutil.Error, OSError):
        return ""
    if owner == os.getuid():
        return ""
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return f"user {owner}"


def _try(nvml: Any, call: Callable[..., Any] | None, *arguments: Any) -> Any:
    if call is None:
        return None
    try:
        return call(*arguments)
    except (nvml.NVMLError, UnicodeDecodeError):
        return None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")

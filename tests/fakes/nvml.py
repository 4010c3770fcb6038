"""NVML without a driver: the functions of pynvml that the program calls, over GPUs that a test moves.

Stricter than the real library: what real pynvml lacks cannot be had here either, arguments are bound to the real
functions' signatures, answers are the real structs, errors the real classes; a handle from before `nvmlShutdown` is a
test failure, where the real library may crash.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import pynvml

GIB = 2**30
ALL_LINKS = 0xFFFFFFFF
NO_INSTANCE = 0xFFFFFFFF


@dataclass
class FakeProcess:
    pid: int
    used_bytes: int | None
    graphics: bool = False


@dataclass
class FakeInstance:
    """A MIG instance."""

    uuid: str
    profile: str = "1g.10gb"
    gpu_instance: int = 7
    compute_instance: int = 0
    total: int = 10 * GIB
    used: int = GIB
    processes: list[FakeProcess] = field(default_factory=list)


@dataclass
class FakeGpu:
    uuid: str = "GPU-0"
    name: str = "NVIDIA H100 80GB HBM3"
    total: int = 80 * GIB
    used: int = 2 * GIB
    reserved: int = GIB // 2
    utilisation: int = 40
    memory_utilisation: int = 20
    power_mw: int = 300_500
    limit_mw: int = 700_000
    temperature: int = 55
    sm_mhz: int = 1980
    memory_mhz: int = 2619
    throttle: int = 0
    pcie_rx: int = 1000
    pcie_tx: int = 500
    nvlink_kib: dict[str, int] | None = None
    """Counters `rx` and `tx`; None: no NVLink."""
    processes: list[FakeProcess] = field(default_factory=list)
    instances: list[FakeInstance | None] = field(default_factory=list)
    """Slots for MIG instances; with any the board is in MIG mode."""
    errors: dict[str, int] = field(default_factory=dict)
    """Function name -> the error it answers with."""
    error: int | None = None
    """What every call for this GPU answers with: it is lost."""


class FakeHandle:
    """What stands for `nvmlDevice_t`."""

    def __init__(self, session: int, gpu: FakeGpu, instance: FakeInstance | None = None) -> None:
        self.session = session
        self.gpu = gpu
        self.instance = instance


class FakeNvml:
    """To be used in place of the module pynvml."""

    def __init__(self, *gpus: FakeGpu, driver: str = "580.159.04") -> None:
        self.gpus = list(gpus)
        self.driver = driver
        self.no_driver: int | None = None
        """What nvmlInit answers with."""
        self.begun = 0
        """How often nvmlInit was called with success."""
        self.open = 0
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        real = getattr(pynvml, name)  # AttributeError for what real pynvml lacks
        own = getattr(type(self), f"_{name}", None)
        if not inspect.isfunction(real):
            return real  # constants, structs and error classes
        assert own is not None, f"the stand-in does not know {name}"
        signature = inspect.signature(real)

        def call(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)  # TypeError as the real one
            bound.apply_defaults()
            self.calls.append(name)
            if name != "nvmlInit" and not self.open:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
            first = next(iter(bound.arguments.values()), None)
            if isinstance(first, FakeHandle):
                self._check(first, name)
            return own(self, *bound.arguments.values())

        return call

    def _check(self, handle: FakeHandle, name: str) -> None:
        assert handle.session == self.begun, f"{name} with a handle from before nvmlShutdown"
        gpu = handle.gpu
        if gpu.error is not None or gpu not in self.gpus:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST if gpu.error is None else gpu.error)
        if name in gpu.errors:
            raise pynvml.NVMLError(gpu.errors[name])

    # The library

    def _nvmlInit(self) -> None:
        if self.no_driver is not None:
            raise pynvml.NVMLError(self.no_driver)
        self.open += 1
        self.begun += 1

    def _nvmlShutdown(self) -> None:
        self.open -= 1

    def _nvmlSystemGetDriverVersion(self) -> str:
        return self.driver

    def _nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def _nvmlDeviceGetHandleByIndex(self, index: int) -> FakeHandle:
        if not 0 <= index < len(self.gpus):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        if self.gpus[index].error is not None:
            raise pynvml.NVMLError(self.gpus[index].error)
        return FakeHandle(self.begun, self.gpus[index])

    def _nvmlSystemGetProcessName(self, pid: int) -> str:
        return f"/opt/somewhere/process-{pid}"

    # MIG

    def _nvmlDeviceGetMigMode(self, handle: FakeHandle) -> list[int]:
        return [int(bool(handle.gpu.instances))] * 2

    def _nvmlDeviceGetMaxMigDeviceCount(self, handle: FakeHandle) -> int:
        return len(handle.gpu.instances)

    def _nvmlDeviceGetMigDeviceHandleByIndex(self, handle: FakeHandle, index: int) -> FakeHandle:
        instance = handle.gpu.instances[index]
        if instance is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return FakeHandle(self.begun, handle.gpu, instance)

    def _nvmlDeviceGetGpuInstanceId(self, handle: FakeHandle) -> int:
        return self._instance(handle).gpu_instance

    def _nvmlDeviceGetComputeInstanceId(self, handle: FakeHandle) -> int:
        return self._instance(handle).compute_instance

    @staticmethod
    def _instance(handle: FakeHandle) -> FakeInstance:
        if handle.instance is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return handle.instance

    @staticmethod
    def _board(handle: FakeHandle) -> FakeGpu:
        """Board-wide figures are refused for an instance."""
        if handle.instance is not None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return handle.gpu

    # One GPU

    def _nvmlDeviceGetName(self, handle: FakeHandle) -> str:
        return handle.gpu.name + (f" MIG {handle.instance.profile}" if handle.instance else "")

    def _nvmlDeviceGetUUID(self, handle: FakeHandle) -> str:
        return handle.instance.uuid if handle.instance else handle.gpu.uuid

    def _nvmlDeviceGetMemoryInfo(self, handle: FakeHandle, version: int | None) -> Any:
        part, reserved = handle.instance or handle.gpu, 0 if handle.instance else handle.gpu.reserved
        free = part.total - part.used - reserved
        if not version:
            return pynvml.c_nvmlMemory_t(total=part.total, free=free, used=part.used + reserved)
        if version != pynvml.nvmlMemory_v2:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH)
        memory = pynvml.c_nvmlMemory_v2_t()
        memory.total, memory.reserved, memory.free, memory.used = part.total, reserved, free, part.used
        return memory

    def _nvmlDeviceGetUtilizationRates(self, handle: FakeHandle) -> Any:
        if handle.gpu.instances:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return pynvml.c_nvmlUtilization_t(gpu=handle.gpu.utilisation, memory=handle.gpu.memory_utilisation)

    def _nvmlDeviceGetPowerUsage(self, handle: FakeHandle) -> int:
        return self._board(handle).power_mw

    def _nvmlDeviceGetEnforcedPowerLimit(self, handle: FakeHandle) -> int:
        return self._board(handle).limit_mw

    def _nvmlDeviceGetTemperature(self, handle: FakeHandle, sensor: int) -> int:
        assert sensor == pynvml.NVML_TEMPERATURE_GPU
        return self._board(handle).temperature

    def _nvmlDeviceGetClockInfo(self, handle: FakeHandle, kind: int) -> int:
        gpu = self._board(handle)
        return {pynvml.NVML_CLOCK_SM: gpu.sm_mhz, pynvml.NVML_CLOCK_MEM: gpu.memory_mhz}[kind]

    def _nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: FakeHandle) -> int:
        return self._board(handle).throttle

    def _nvmlDeviceGetPcieThroughput(self, handle: FakeHandle, counter: int) -> int:
        gpu = self._board(handle)
        return {pynvml.NVML_PCIE_UTIL_RX_BYTES: gpu.pcie_rx, pynvml.NVML_PCIE_UTIL_TX_BYTES: gpu.pcie_tx}[counter]

    def _nvmlDeviceGetFieldValues(self, handle: FakeHandle, fields: list[Any]) -> Any:
        gpu = self._board(handle)
        values = (pynvml.c_nvmlFieldValue_t * len(fields))()
        ways = {
            pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX: "rx",
            pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX: "tx",
        }
        for value, (number, scope) in zip(values, fields, strict=True):
            value.fieldId, value.scopeId = number, scope
            value.valueType = pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG
            if gpu.nvlink_kib is None or scope != ALL_LINKS:
                value.nvmlReturn = pynvml.NVML_ERROR_NOT_SUPPORTED
            else:
                value.value.ullVal = gpu.nvlink_kib[ways[number]]
        return values

    def _nvmlDeviceGetComputeRunningProcesses(self, handle: FakeHandle) -> list[Any]:
        return self._processes(handle, graphics=False)

    def _nvmlDeviceGetGraphicsRunningProcesses(self, handle: FakeHandle) -> list[Any]:
        return self._processes(handle, graphics=True)

    @staticmethod
    def _processes(handle: FakeHandle, graphics: bool) -> list[Any]:
        part = handle.instance or handle.gpu
        return [
            pynvml.nvmlFriendlyObject(
                {
                    "pid": process.pid,
                    "usedGpuMemory": process.used_bytes,
                    "gpuInstanceId": handle.instance.gpu_instance if handle.instance else NO_INSTANCE,
                    "computeInstanceId": handle.instance.compute_instance if handle.instance else NO_INSTANCE,
                }
            )
            for process in part.processes
            if process.graphics == graphics
        ]

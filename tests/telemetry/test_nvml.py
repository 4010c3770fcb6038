"""GPUs by a driver that refuses single questions, loses boards, splits them, or is not there at all."""

from __future__ import annotations

import inspect
import os
import pwd
import subprocess
from dataclasses import fields, replace

import pynvml
import pytest

from tests.fakes.nvml import GIB, FakeGpu, FakeInstance, FakeNvml, FakeProcess
from workbench.telemetry.nvml import GpuProcess, GpuReading, NvmlSource, held_by_others


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def source(*gpus: FakeGpu) -> tuple[FakeNvml, NvmlSource, Time]:
    time = Time()
    library = FakeNvml(*gpus)
    return library, NvmlSource(library, time), time


def read_for(nvml: NvmlSource, time: Time, seconds: float, step: float = 0.1) -> list[tuple[GpuReading, ...]]:
    found = []
    for _ in range(round(seconds / step)):
        found.append(nvml.read())
        time.now += step
    return found


def test_the_stand_in_is_no_more_than_the_real_library() -> None:
    names = [name[1:] for name in vars(FakeNvml) if name.startswith("_nvml")]
    assert len(names) > 15
    for name in names:
        assert inspect.isfunction(getattr(pynvml, name)), name
    library = FakeNvml(FakeGpu())
    with pytest.raises(AttributeError):
        library.nvmlDeviceGetMood  # noqa: B018
    with pytest.raises(TypeError):
        library.nvmlDeviceGetClockInfo(1)
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        library.nvmlDeviceGetCount()


def test_a_gpu_says_all() -> None:
    gpu = FakeGpu(
        processes=[FakeProcess(os.getpid(), GIB), FakeProcess(4_100_000, None), FakeProcess(os.getpid(), GIB, True)],
        nvlink_kib={"rx": 0, "tx": 0},
        throttle=pynvml.nvmlClocksThrottleReasonSwPowerCap | pynvml.nvmlClocksThrottleReasonHwThermalSlowdown,
    )
    _, nvml, time = source(gpu)
    (first,) = nvml.read()
    assert nvml.problem == ""
    assert (first.index, first.uuid, first.name, first.driver, first.mig) == (
        0,
        "GPU-0",
        "NVIDIA H100 80GB HBM3",
        "580.159.04",
        None,
    )
    assert (first.total_bytes, first.used_bytes, first.reserved_bytes) == (80 * GIB, 2 * GIB, GIB // 2)
    assert first.taken_bytes == 2 * GIB + GIB // 2
    assert (first.utilisation_percent, first.memory_utilisation_percent) == (40.0, 20.0)
    assert (first.power_w, first.power_limit_w, first.temperature_c) == (300.5, 700.0, 55.0)
    assert (first.sm_mhz, first.memory_mhz) == (1980.0, 2619.0)
    assert first.throttle == ("too hot (hardware)", "power limit")
    assert first.processes is not None
    assert [(p.pid, p.used_bytes) for p in first.processes] == [(os.getpid(), GIB), (4_100_000, None)]
    assert "python" in first.processes[0].name or "pytest" in first.processes[0].name
    assert first.processes[1].name == "process-4100000"
    assert first.unreported == ()

    gpu.nvlink_kib = {"rx": 2000, "tx": 1000}
    time.now += 1.0
    (second,) = nvml.read()
    assert second.nvlink_rx_bytes_s == pytest.approx(2000 * 1024)
    assert second.nvlink_tx_bytes_s == pytest.approx(1000 * 1024)
    assert second.pcie_rx_bytes_s == 1000 * 1024
    assert second.pcie_tx_bytes_s == 500 * 1024


def test_idle_clocks_are_not_throttling() -> None:
    _, nvml, _ = source(FakeGpu(throttle=pynvml.nvmlClocksThrottleReasonGpuIdle))
    assert nvml.read()[0].throttle == ()


FIELD_OF = {
    "nvmlDeviceGetUtilizationRates": {"utilisation_percent", "memory_utilisation_percent"},
    "nvmlDeviceGetPowerUsage": {"power_w"},
    "nvmlDeviceGetEnforcedPowerLimit": {"power_limit_w"},
    "nvmlDeviceGetTemperature": {"temperature_c"},
    "nvmlDeviceGetClockInfo": {"sm_mhz", "memory_mhz"},
    "nvmlDeviceGetCurrentClocksThrottleReasons": {"throttle"},
    "nvmlDeviceGetPcieThroughput": {"pcie_rx_bytes_s", "pcie_tx_bytes_s"},
    "nvmlDeviceGetFieldValues": {"nvlink_rx_bytes_s", "nvlink_tx_bytes_s"},
    "nvmlDeviceGetMemoryInfo": {"total_bytes", "used_bytes", "reserved_bytes"},
}
ERRORS = [
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_NO_PERMISSION,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    pynvml.NVML_ERROR_UNKNOWN,
    pynvml.NVML_ERROR_TIMEOUT,
]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("function", FIELD_OF)
def test_one_field_that_fails_is_absent_alone_and_asked_again_only_now_and_then(function: str, error: int) -> None:
    gpu = FakeGpu(nvlink_kib={"rx": 0, "tx": 0}, errors={function: error})
    library, nvml, time = source(gpu)
    readings = read_for(nvml, time, 3.5)
    assert all(len(answer) == 1 for answer in readings)
    reading = readings[-1][0]
    absent = {f.name for f in fields(reading) if getattr(reading, f.name) is None} - {"mig"}
    assert absent == FIELD_OF[function] == set(reading.unreported)
    assert nvml.problem == ""
    assert library.calls.count(function) <= 2 * len(FIELD_OF[function]), "asked again at every reading"
    assert library.begun == 1

    del gpu.errors[function]
    after = read_for(nvml, time, 66.0, 0.5)[-1][0]
    assert after.unreported == (), "it answers again and is not asked"


def test_memory_without_what_the_driver_reserves() -> None:
    """Older drivers know no second version of the question."""

    class Older(FakeNvml):
        def _nvmlDeviceGetMemoryInfo(self, handle: object, version: int | None) -> object:
            if version:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
            return super()._nvmlDeviceGetMemoryInfo(handle, version)  # type: ignore[arg-type]

    nvml = NvmlSource(Older(FakeGpu()))
    (reading,) = nvml.read()
    assert (reading.total_bytes, reading.used_bytes, reading.reserved_bytes) == (80 * GIB, 2 * GIB + GIB // 2, None)
    assert reading.taken_bytes == 2 * GIB + GIB // 2


@pytest.mark.parametrize("error", [pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_UNKNOWN])
def test_a_gpu_that_is_lost_and_comes_back(error: int) -> None:
    first, second = FakeGpu("GPU-a"), FakeGpu("GPU-b")
    library, nvml, time = source(first, second)
    assert [reading.uuid for reading in nvml.read()] == ["GPU-a", "GPU-b"]
    second.error = error
    for answer in read_for(nvml, time, 12.0):
        assert [reading.uuid for reading in answer] == ["GPU-a"]
        assert answer[0].power_w == 300.5
    assert "GPU 1 does not answer" in nvml.problem
    assert 2 <= library.begun <= 4, "NVML is begun anew every few seconds"
    second.error = None
    answers = read_for(nvml, time, 6.0)
    assert [reading.uuid for reading in answers[-1]] == ["GPU-a", "GPU-b"]
    assert nvml.problem == ""
    assert library.open == 1


def test_a_single_gpu_that_is_lost_leaves_nothing_and_says_so() -> None:
    gpu = FakeGpu()
    _, nvml, time = source(gpu)
    assert len(nvml.read()) == 1
    gpu.error = pynvml.NVML_ERROR_GPU_IS_LOST
    assert nvml.read() == ()
    assert nvml.problem == "GPU 0 does not answer: GPU is lost"
    gpu.error = None
    assert len(read_for(nvml, time, 6.0)[-1]) == 1


def test_a_gpu_that_is_taken_away_is_absent() -> None:
    library, nvml, time = source(FakeGpu("GPU-a"), FakeGpu("GPU-b"))
    nvml.read()
    del library.gpus[0]
    answers = read_for(nvml, time, 7.0)
    assert [reading.uuid for reading in answers[0]] == ["GPU-b"]
    assert [(reading.index, reading.uuid) for reading in answers[-1]] == [(0, "GPU-b")]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "NVML Shared Library Not Found"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "Driver Not Loaded"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "mismatch"),
    ],
)
def test_without_a_driver_the_reason_is_given_and_it_is_looked_for_again(error: int, words: str) -> None:
    library, nvml, time = source(FakeGpu())
    library.no_driver = error
    answers = read_for(nvml, time, 20.0, 1.0)
    assert set(answers) == {()}
    assert nvml.problem.startswith("no NVIDIA driver: ") and words in nvml.problem
    assert library.calls.count("nvmlInit") <= 5
    library.no_driver = None
    assert len(read_for(nvml, time, 61.0, 1.0)[-1]) == 1
    assert nvml.problem == ""


def test_a_driver_without_gpus() -> None:
    library, nvml, time = source()
    assert nvml.read() == ()
    assert nvml.problem == "the driver reports no GPU"
    library.gpus.append(FakeGpu())
    assert len(read_for(nvml, time, 6.0)[-1]) == 1


def test_mig_instances_are_gpus_of_their_own() -> None:
    instances = [
        FakeInstance("MIG-1", "1g.10gb", 7, used=GIB, processes=[FakeProcess(4_100_001, GIB)]),
        None,
        FakeInstance("MIG-2", "3g.40gb", 2, total=40 * GIB, used=5 * GIB),
    ]
    library, nvml, time = source(FakeGpu("GPU-a", instances=instances), FakeGpu("GPU-b"))
    readings = read_for(nvml, time, 3.0)[-1]
    assert [(r.index, r.uuid, r.mig) for r in readings] == [
        (0, "MIG-1", "1g.10gb, GPU instance 7, compute instance 0"),
        (0, "MIG-2", "3g.40gb, GPU instance 2, compute instance 0"),
        (1, "GPU-b", None),
    ]
    small, large, _ = readings
    assert (small.total_bytes, small.used_bytes) == (10 * GIB, GIB)
    assert (large.total_bytes, large.used_bytes) == (40 * GIB, 5 * GIB)
    assert small.power_w == large.power_w == 300.5, "the board's"
    assert small.processes == (GpuProcess(4_100_001, GIB, "process-4100001"),)
    assert large.processes == ()
    assert set(small.unreported) == {
        "utilisation_percent",
        "memory_utilisation_percent",
        "pcie_rx_bytes_s",
        "pcie_tx_bytes_s",
        "nvlink_rx_bytes_s",
        "nvlink_tx_bytes_s",
    }
    assert library.begun == 1


def test_a_board_in_mig_mode_without_instances_is_a_gpu() -> None:
    _, nvml, _ = source(FakeGpu("GPU-a", instances=[None, None]))
    assert [(r.uuid, r.mig) for r in nvml.read()] == [("GPU-a", None)]


def test_pcie_traffic_is_asked_sparingly_and_keeps_the_rate() -> None:
    """It takes the driver 20 ms a question: at 10 Hz no reading may ask more than one."""
    library, nvml, time = source(*(FakeGpu(f"GPU-{i}") for i in range(4)))
    nvml.read()
    for _ in range(50):
        time.now += 0.1
        before = library.calls.count("nvmlDeviceGetPcieThroughput")
        nvml.read()
        assert library.calls.count("nvmlDeviceGetPcieThroughput") - before <= 1
    assert all(r.pcie_rx_bytes_s and r.pcie_tx_bytes_s for r in nvml.read())
    one, nvml, time = source(FakeGpu())
    read_for(nvml, time, 10.0)
    assert 18 <= one.calls.count("nvmlDeviceGetPcieThroughput") <= 21, "each direction once a second"


def test_an_nvlink_counter_that_starts_again_gives_no_figure() -> None:
    gpu = FakeGpu(nvlink_kib={"rx": 5000, "tx": 5000})
    _, nvml, time = source(gpu)
    nvml.read()
    gpu.nvlink_kib = {"rx": 10, "tx": 6000}
    time.now += 1.0
    (reading,) = nvml.read()
    assert reading.nvlink_rx_bytes_s is None
    assert reading.nvlink_tx_bytes_s == pytest.approx(1000 * 1024)
    assert "nvlink_rx_bytes_s" not in reading.unreported, "it is, but not now"


def test_closing_ends_the_session_once() -> None:
    library, nvml, _ = source(FakeGpu())
    nvml.read()
    nvml.close()
    nvml.close()
    assert library.open == 0


@pytest.mark.parametrize("error", [pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED])
def test_one_answer_that_the_gpu_is_lost_is_enough(error: int) -> None:
    """The other answers may be what the driver remembers."""
    _, nvml, _ = source(FakeGpu("GPU-a"), FakeGpu("GPU-b", errors={"nvmlDeviceGetTemperature": error}))
    assert [reading.uuid for reading in nvml.read()] == ["GPU-a"]
    assert "GPU 1 does not answer" in nvml.problem


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
def test_processes_of_other_users_have_their_names_and_ones_own_none() -> None:
    other = pwd.getpwnam("nobody")
    theirs = subprocess.Popen(["sleep", "60"], user=other.pw_uid)
    mine = subprocess.Popen(["sleep", "60"])
    try:
        gpu = FakeGpu(
            processes=[
                FakeProcess(theirs.pid, 3 * GIB),
                FakeProcess(mine.pid, GIB),
                FakeProcess(4_100_000, GIB),
            ]
        )
        _, nvml, time = source(gpu)
        (reading,) = nvml.read()
        assert reading.processes is not None
        assert {process.pid: process.user for process in reading.processes} == {
            theirs.pid: "nobody",
            mine.pid: "",
            4_100_000: "",
        }
        assert held_by_others(reading) == (("nobody", 3 * GIB),)
        gpu.processes = [FakeProcess(theirs.pid, None)]
        time.now += 2
        assert held_by_others(nvml.read()[0]) == (("nobody", None),), "memory that is not reported is not none"
    finally:
        for process in (theirs, mine):
            process.kill()
            process.wait()


def test_who_holds_memory_is_summed_by_user() -> None:
    processes = (
        GpuProcess(1, GIB, "python", "anna"),
        GpuProcess(2, 5 * GIB, "python", "ben"),
        GpuProcess(3, 2 * GIB, "python", "anna"),
        GpuProcess(4, None, "python", "anna"),
        GpuProcess(5, GIB, "python"),
    )
    _, nvml, _ = source(FakeGpu())
    (reading,) = nvml.read()
    assert held_by_others(replace(reading, processes=processes)) == (("ben", 5 * GIB), ("anna", 3 * GIB))
    assert held_by_others(replace(reading, processes=None)) == ()

"""All sources together: threads that end, rates that follow the engines, GPUs that go, memory that adds up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pynvml
import pytest

from tests.fakes.nvml import GIB, FakeGpu, FakeInstance, FakeNvml, FakeProcess
from workbench.core.messages import Ready, Stats
from workbench.telemetry.clock import Clock
from workbench.telemetry.host import HostReading, HostSource
from workbench.telemetry.hub import GPU_COLUMNS, HOST_COLUMNS, Telemetry
from workbench.telemetry.nvml import NvmlSource

PID = 4_100_000


class Bench:
    """Telemetry over a fake driver; time passes when the test says so."""

    def __init__(self, *gpus: FakeGpu) -> None:
        self.now, self.epoch = 1000.0, 1_700_000_000.0
        self.library = FakeNvml(*gpus)
        self.telemetry = Telemetry(
            Clock(lambda: self.now, lambda: self.epoch), NvmlSource(self.library, lambda: self.now)
        )

    def read(self, seconds: float = 1.0) -> None:
        self.now += seconds
        self.epoch += seconds
        self.telemetry.read_host()
        self.telemetry.read_gpus()


def until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return condition()


def names() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("telemetry-")}


@pytest.fixture
def running() -> Iterator[Callable[..., Telemetry]]:
    made: list[Telemetry] = []

    def make(*gpus: FakeGpu) -> Telemetry:
        telemetry = Telemetry(nvml=NvmlSource(FakeNvml(*gpus)))
        made.append(telemetry)
        return telemetry

    yield make
    for telemetry in made:
        telemetry.close()
    assert names() == set(), "threads are left"


def test_one_thread_a_source_and_none_after_the_end(running: Callable[..., Telemetry]) -> None:
    telemetry = running(FakeGpu())
    assert names() == set()
    telemetry.set_rate(100)
    telemetry.start()
    telemetry.start()
    assert names() == {"telemetry-nvml", "telemetry-host"}
    assert until(lambda: len(telemetry.gpus) == 1 and len(telemetry.gpus[0].series.rows(0, 1e12).t) > 5)
    assert until(lambda: len(telemetry.host.rows(0, 1e12).t) > 5)
    telemetry.close()
    telemetry.close()
    count = len(telemetry.host.rows(0, 1e12).t)
    time.sleep(0.05)
    assert len(telemetry.host.rows(0, 1e12).t) == count
    assert telemetry.gpus[0].series.dropped == telemetry.host.dropped == 0


def test_closing_wakes_a_sampler_that_sleeps(running: Callable[..., Telemetry]) -> None:
    telemetry = running()
    telemetry.set_rate(0.01)
    telemetry.start()
    assert until(lambda: telemetry.host_newest is not None)
    begin = time.monotonic()
    telemetry.close()
    assert time.monotonic() - begin < 1.0


def test_closing_before_the_start_and_starting_after_the_end_are_harmless(running: Callable[..., Telemetry]) -> None:
    telemetry = running()
    telemetry.close()
    telemetry.start()
    assert names() == set()


def test_the_rate_rises_at_once_with_a_request(running: Callable[..., Telemetry]) -> None:
    telemetry = running(FakeGpu())
    telemetry.start()
    assert until(lambda: telemetry.host.newest_at is not None)
    track = telemetry.attach_engine("e", "demo", "openvino", None, None)
    begin = telemetry.clock.now()
    track.take(Stats(requests_active=1), begin)
    assert until(lambda: len(telemetry.host.rows(begin, 1e12).t) >= 4, 2.0)
    assert telemetry.clock.now() - begin < 0.9, "still once a second"
    assert track.busy


def test_a_source_that_fails_is_asked_again_and_the_other_goes_on(running: Callable[..., Telemetry]) -> None:
    class Bad(HostSource):
        count = 0

        def read(self) -> HostReading:
            self.count += 1
            if self.count < 3:
                raise OSError("no such thing")
            return super().read()

    telemetry = Telemetry(nvml=NvmlSource(FakeNvml(FakeGpu())), host=Bad())
    telemetry.set_rate(20)
    telemetry.start()
    try:
        assert until(lambda: "OSError: no such thing" in telemetry.host_problem)
        assert until(lambda: telemetry.host_newest is not None)
        assert telemetry.host_problem == ""
        assert len(telemetry.gpus) == 1
    finally:
        telemetry.close()


def test_series_hold_what_the_panels_draw() -> None:
    bench = Bench(FakeGpu(throttle=pynvml.nvmlClocksThrottleReasonSwPowerCap))
    for _ in range(3):
        bench.read()
    (track,) = bench.telemetry.gpus
    assert set(GPU_COLUMNS) <= set(track.series.names)
    assert set(HOST_COLUMNS) <= set(bench.telemetry.host.names)
    assert {f"part.{name}" for name in ("weights", "kv_used", "kv_free", "unsplit", "other", "free")} <= set(
        track.series.names
    )
    assert {"part.own", "part.cache", "part.other", "part.free"} <= set(bench.telemetry.host.names)
    assert track.series.newest("power_w") == 300.5
    assert track.series.newest("throttled") == 1.0
    assert track.series.newest("nvlink_rx_bytes_s") is None


def test_a_gpu_that_goes_is_a_gap_in_its_own_series_alone() -> None:
    first, second = FakeGpu("GPU-a"), FakeGpu("GPU-b")
    bench = Bench(first, second)
    for _ in range(5):
        bench.read()
    second.error = pynvml.NVML_ERROR_GPU_IS_LOST
    for _ in range(10):
        bench.read()
    lost = bench.telemetry.gpus[1]
    assert [track.uuid for track in bench.telemetry.gpus] == ["GPU-a", "GPU-b"]
    assert lost.newest is None and lost.series.newest("power_w") is None
    assert "GPU 1 does not answer" in bench.telemetry.gpu_problem
    assert [event.text for event in bench.telemetry.events()] == ["GPU 1 does not answer"]
    second.error = None
    for _ in range(7):
        bench.read()
    back = bench.telemetry.gpus[1]
    assert back.series is lost.series and back.newest is not None
    assert back.series.at("power_w", 1003.0) == 300.5
    assert back.series.at("power_w", 1010.0) is None
    assert bench.telemetry.gpus[0].series.at("power_w", 1010.0) == 300.5
    assert bench.telemetry.gpu_problem == ""


def test_mig_instances_have_tracks_of_their_own() -> None:
    bench = Bench(FakeGpu("GPU-a", instances=[FakeInstance("MIG-1"), FakeInstance("MIG-2", gpu_instance=8)]))
    bench.read()
    assert [(t.index, t.uuid) for t in bench.telemetry.gpus] == [(0, "MIG-1"), (0, "MIG-2")]


def test_an_engines_memory_on_a_gpu_adds_up() -> None:
    gpu = FakeGpu(used=60 * GIB, processes=[FakeProcess(PID, 50 * GIB), FakeProcess(7_000_000, 8 * GIB)])
    bench = Bench(gpu)
    track = bench.telemetry.attach_engine("e", "demo", "tensorrt_llm", PID, Ready(kv_blocks_total=100))
    memory = {"weights": 16 * GIB, "kv_pool": 20 * GIB, "process": 3 * GIB}
    for used in (0, 50, 100, 25):
        bench.now += 0.5
        track.take(Stats(kv_blocks_used=used, requests_active=1, memory_bytes=memory), bench.now)
        bench.read(0.5)
        series = bench.telemetry.gpus[0].series
        parts = {name: series.newest(name) or 0.0 for name in series.names if name.startswith("part.")}
        assert sum(parts.values()) == 80 * GIB
        assert parts["part.kv_used"] == 20 * GIB * used / 100
        assert parts["part.kv_free"] == 20 * GIB * (100 - used) / 100
        assert parts["part.weights"] == 16 * GIB
        assert parts["part.unsplit"] == 14 * GIB
        assert parts["part.other"] == 10.5 * GIB, "other processes and what the driver reserves"
    host = bench.telemetry.host
    assert host.newest("part.kv_used") == host.newest("part.weights") == 0.0, "they are on the GPU"
    host_parts = [host.newest(name) or 0.0 for name in host.names if name.startswith("part.")]
    assert sum(host_parts) == host.newest("memory_total_bytes")


def test_an_engine_on_two_gpus_is_spread_as_its_memory_is() -> None:
    gpus = [FakeGpu(f"GPU-{i}", used=30 * GIB, processes=[FakeProcess(PID, 20 * GIB)]) for i in range(2)]
    bench = Bench(*gpus)
    track = bench.telemetry.attach_engine("e", "demo", "tensorrt_llm", PID, None)
    track.take(Stats(requests_active=0, memory_bytes={"weights": 30 * GIB}), bench.now)
    bench.read()
    assert [t.series.newest("part.weights") for t in bench.telemetry.gpus] == [15 * GIB, 15 * GIB]


def test_an_engine_on_the_cpu_is_in_the_hosts_picture_alone() -> None:
    bench = Bench(FakeGpu(used=GIB))
    track = bench.telemetry.attach_engine("e", "demo", "openvino", PID, Ready(kv_blocks_total=64))
    memory = {"kv_pool": 64 * 2**20, "process": 300 * 2**20}
    track.take(Stats(kv_blocks_used=16, requests_active=1, memory_bytes=memory), bench.now)
    bench.read()
    gpu, host = bench.telemetry.gpus[0].series, bench.telemetry.host
    assert gpu.newest("part.kv_used") == gpu.newest("part.unsplit") == 0.0
    assert host.newest("part.kv_used") == 16 * 2**20
    assert host.newest("part.kv_free") == 0.0, "nobody says that it is resident"
    assert host.newest("part.unsplit") == 284 * 2**20


def test_processes_that_the_driver_does_not_size_leave_the_engines_word() -> None:
    bench = Bench(FakeGpu(used=40 * GIB, processes=[FakeProcess(PID, None)]))
    track = bench.telemetry.attach_engine("e", "demo", "pytorch", PID, None)
    track.take(Stats(memory_bytes={"gpu": 30 * GIB, "weights": 16 * GIB}), bench.now)
    bench.read()
    series = bench.telemetry.gpus[0].series
    assert series.newest("part.weights") == 16 * GIB
    assert series.newest("part.unsplit") == 14 * GIB


def test_engines_come_and_go() -> None:
    bench = Bench()
    telemetry = bench.telemetry
    first = telemetry.attach_engine("a", "one", "openvino", None, None)
    telemetry.attach_engine("b", "two", "pytorch", None, None)
    assert [engine.id for engine in telemetry.engines] == ["a", "b"]
    telemetry.detach_engine("a")
    telemetry.detach_engine("nobody")
    assert [engine.id for engine in telemetry.engines] == ["b"]
    assert telemetry.past_engines == (first,)
    for i in range(20):
        telemetry.attach_engine(f"c{i}", "many", "openvino", None, None)
        telemetry.detach_engine(f"c{i}")
    assert len(telemetry.past_engines) == 8


def test_events_are_in_the_order_of_their_time() -> None:
    bench = Bench()
    bench.telemetry.mark("now", "a")
    bench.telemetry.mark("before", "b", at=990.0)
    bench.now = 1010.0
    bench.telemetry.mark("later")
    assert [event.text for event in bench.telemetry.events()] == ["before", "now", "later"]
    assert [event.text for event in bench.telemetry.events(995.0, 1005.0)] == ["now"]
    assert bench.telemetry.events(2000.0, 3000.0) == ()


@pytest.mark.parametrize(("jump", "words"), [(3600.0, "on by 1 h 00 min"), (-120.0, "back by 2 min 00 s")])
def test_a_clock_that_is_set_becomes_an_event_and_moves_no_reading(jump: float, words: str) -> None:
    bench = Bench()
    bench.read()
    wall = bench.telemetry.clock.wall(1001.0)
    bench.epoch += jump
    for _ in range(3):
        bench.read()
    assert [event.text for event in bench.telemetry.events()] == [f"wall clock moved {words}"]
    assert bench.telemetry.clock.wall(1001.0) == wall
    assert bench.telemetry.host.dropped == 0
    assert len(bench.telemetry.host.rows(0, 2000).t) == 4


def test_a_snapshot_is_the_newest_of_all() -> None:
    bench = Bench(FakeGpu())
    track = bench.telemetry.attach_engine("e", "demo", "openvino", PID, None)
    track.take(Stats(kv_blocks_used=3, kv_blocks_total=10), bench.now)
    bench.read()
    snapshot = bench.telemetry.snapshot()
    assert snapshot.at == bench.now and snapshot.wall == bench.epoch
    assert [gpu.uuid for gpu in snapshot.gpus] == ["GPU-0"]
    assert snapshot.gpu_pictures[0] is not None and snapshot.gpu_pictures[0].total_bytes == 80 * GIB
    assert snapshot.host is not None and snapshot.host_picture is not None
    assert [(e.id, e.values["kv_blocks_used"]) for e in snapshot.engines] == [("e", 3.0)]


def test_a_driver_that_hangs_is_said_and_old_readings_are_not_shown_as_new() -> None:
    bench = Bench(FakeGpu())
    bench.read()
    bench.now += 30.0
    bench.telemetry.read_host()
    snapshot = bench.telemetry.snapshot()
    assert snapshot.gpus == () and snapshot.gpu_problem == "the NVIDIA driver hangs"
    assert bench.telemetry.gpus[0].series.at("power_w", bench.now) is None


def test_a_rate_is_more_than_nothing() -> None:
    with pytest.raises(ValueError, match="more than 0"):
        Bench().telemetry.set_rate(0)

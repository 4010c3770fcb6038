"""`workbench monitor`: what it shows of GPUs that are fakes, and the real command on this machine."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pynvml
import pytest
from rich.console import Console

from tests.cli.command import ROOT, start, workbench
from tests.fakes.nvml import GIB, FakeGpu, FakeInstance, FakeProcess
from tests.telemetry.test_hub import Bench
from workbench.cli.monitor_view import line, plain, spark, view
from workbench.telemetry.recording import read
from workbench.telemetry.series import Series


def shown(bench: Bench, width: int = 160, *, live: bool = True) -> str:
    console = Console(width=width, height=200, force_terminal=False, record=True, file=io.StringIO())
    console.print(view(bench.telemetry, bench.telemetry.snapshot(), live=live))
    return console.export_text()


def test_a_gpu_is_shown_with_all_it_says() -> None:
    gpu = FakeGpu(
        used=40 * GIB,
        throttle=pynvml.nvmlClocksThrottleReasonSwPowerCap,
        processes=[FakeProcess(4_100_000 + i, (i + 1) * GIB) for i in range(7)] + [FakeProcess(4_200_000, None)],
        nvlink_kib={"rx": 0, "tx": 0},
    )
    bench = Bench(gpu)
    for _ in range(3):
        bench.read()
    text = shown(bench)
    for words in (
        "NVIDIA H100 80GB HBM3   driver 580.159.04",
        "40 GiB of 80 GiB, and 512 MiB of the driver",
        "other processes 40.5 GiB",
        "free 39.5 GiB",
        "40 %",
        "300 W of 700 W",
        "55 °C",
        "SM 1980 MHz, memory 2619 MHz",
        "power limit",
        "in 1000 KiB/s, out 500 KiB/s",
        "NVLink        in 0 B/s, out 0 B/s",
        "process-4100006 (4100006) 7 GiB",
        "2 more",
        "host",
    ):
        assert words in text, words
    told = line(bench.telemetry.snapshot())
    assert "GPU 0 40 %, 40 GiB of 80 GiB, 300 W, 55 °C, 1980 MHz, held down: power limit" in told
    assert "\n" not in told


def test_what_is_not_reported_is_said_so() -> None:
    errors = dict.fromkeys(
        (
            "nvmlDeviceGetUtilizationRates",
            "nvmlDeviceGetPowerUsage",
            "nvmlDeviceGetTemperature",
            "nvmlDeviceGetClockInfo",
            "nvmlDeviceGetCurrentClocksThrottleReasons",
            "nvmlDeviceGetPcieThroughput",
            "nvmlDeviceGetComputeRunningProcesses",
            "nvmlDeviceGetGraphicsRunningProcesses",
        ),
        pynvml.NVML_ERROR_NOT_SUPPORTED,
    )
    bench = Bench(FakeGpu(errors=errors))
    bench.read()
    text = shown(bench)
    assert text.count("not reported") >= 9
    assert "None" not in text and "nan" not in text
    assert "W not reported" in line(bench.telemetry.snapshot())
    bench = Bench(FakeGpu(errors={"nvmlDeviceGetMemoryInfo": pynvml.NVML_ERROR_NOT_SUPPORTED}))
    bench.read()
    assert "memory not reported" in shown(bench)


def test_instances_and_a_lost_gpu_are_named() -> None:
    lost = FakeGpu("GPU-b")
    bench = Bench(FakeGpu("GPU-a", instances=[FakeInstance("MIG-1")]), lost)
    bench.read()
    lost.error = pynvml.NVML_ERROR_GPU_IS_LOST
    bench.read()
    text = shown(bench)
    assert "GPU 0 (1g.10gb, GPU instance 7, compute instance 0)" in text
    assert "GPU 1  NVIDIA H100 80GB HBM3: does not answer" in text


def test_a_narrow_terminal_is_no_trouble() -> None:
    bench = Bench(FakeGpu())
    bench.read()
    assert max(len(row) for row in shown(bench, 40).splitlines()) <= 40


def test_a_spark_line_goes_from_nothing_to_the_top_and_leaves_gaps() -> None:
    series = Series()
    for i in range(60):
        if not 20 <= i < 40:
            series.add(1000.0 + i, {"x": 0.0 if i < 20 else 100.0}, 1.0)
    drawn = spark(series, "x", 100.0, 1060.0)
    assert drawn.strip().startswith("▁") and drawn.strip().endswith("█")
    assert " " in drawn.strip()
    assert set(spark(Series(), "x", None, 10.0)) <= {" "}


def _sum(parts: dict[str, int | None]) -> int:
    return sum(size or 0 for size in parts.values())


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "least", "most"), [("1.2", 2, 4), ("0.1", 1, 1)])
def test_json_for_some_seconds_is_an_object_a_reading(seconds: str, least: int, most: int, tmp_path: Path) -> None:
    begin = time.monotonic()
    path = tmp_path / "a.jsonl"
    ran = workbench("monitor", "--json", "--seconds", seconds, "-i", "0.3", "--record", str(path))
    assert ran.code == 0, ran.err
    readings = [json.loads(told) for told in ran.out.splitlines()]
    assert least <= len(readings) <= most and time.monotonic() - begin < 15
    times = [reading["time"] for reading in readings]
    assert times == sorted(set(times)) and all(set(reading) == set(readings[0]) for reading in readings)
    assert readings[0]["host"]["total_bytes"] > 0 and read(path).host.newest("memory_used_bytes")
    once = workbench("monitor", "--json", "--once", "--seconds", seconds)
    assert once.code == 0 and set(once.json) == set(readings[0])


@pytest.mark.slow
def test_one_snapshot_as_json() -> None:
    ran = workbench("monitor", "--json")
    assert ran.code == 0, ran.err
    answer = ran.json
    assert set(answer) == {"time", "gpus", "gpu_problem", "host"}
    assert _sum(answer["host"]["memory_parts"]) == answer["host"]["total_bytes"]
    assert answer["host"]["memory_parts"]["weights"] is None, "no engine is known"
    assert answer["host"]["cpu_percent"] is not None
    for gpu in answer["gpus"]:
        assert _sum(gpu["memory_parts"]) == gpu["total_bytes"]
    assert answer["gpus"] or answer["gpu_problem"]


@pytest.mark.slow
def test_once_for_people() -> None:
    ran = workbench("monitor", "--once")
    assert ran.code == 0 and ran.err == ""
    assert "host" in ran.out and "CPU" in ran.out and "free" in ran.out
    assert "Ctrl+C" not in ran.out, "it ended"


@pytest.mark.slow
@pytest.mark.parametrize("once", [True, False])
def test_a_recording_that_cannot_be_written_is_refused_by_the_name_that_was_given(tmp_path: Path, once: bool) -> None:
    for path in (tmp_path / "none" / "a.jsonl.gz", Path("/proc/a.jsonl")):
        begin = time.monotonic()
        ran = workbench("monitor", *(["--once"] if once else ["--seconds", "60"]), "--record", str(path))
        assert ran.code == 2 and f"{path} cannot be written." in ran.err and ".partial" not in ran.err
        assert time.monotonic() - begin < 30, "it is said before, not after a minute of watching"


@pytest.mark.slow
def test_into_a_pipe_it_is_a_line_a_reading_and_ctrl_c_writes_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    process = start("monitor", "--interval", "0.2", "--record", str(path))
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(4)]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "Traceback" not in out + err
    assert all("host" in told and "CPU" in told for told in lines)
    recording = read(path)
    assert len(recording.host.rows(0, 1e12).t) >= 4
    assert recording.host.newest("cpu_percent") is not None
    again = workbench("monitor", "--seconds", "1", "--record", str(path))
    assert again.code == 2 and "exists already" in again.err


@pytest.mark.slow
def test_it_ends_by_itself_after_the_seconds() -> None:
    begin = time.monotonic()
    ran = workbench("monitor", "--interval", "0.3", "--seconds", "1")
    assert ran.code == 0
    assert 2 <= len(ran.out.splitlines()) <= 4
    assert time.monotonic() - begin < 15


@pytest.mark.slow
@pytest.mark.parametrize(
    "option", [("--interval", "0"), ("--interval", "0.01"), ("--interval", "99"), ("--seconds", "-1")]
)
def test_options_out_of_range_are_bad_input(option: tuple[str, str]) -> None:
    assert workbench("monitor", *option).code == 2


@pytest.mark.slow
def test_on_a_terminal_it_is_a_live_view_that_gives_the_screen_back() -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench", "monitor", "--interval", "0.2"],
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    seen = b""
    try:
        end = time.monotonic() + 20
        while seen.count(b"CPU") < 3 and time.monotonic() < end:
            seen += os.read(master, 65536)
        process.send_signal(signal.SIGINT)
        while True:
            try:
                more = os.read(master, 65536)
            except OSError:  # the other side is closed
                break
            if not more:
                break
            seen += more
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait(10)
        os.close(master)
    assert b"Traceback" not in seen
    assert seen.count(b"CPU") >= 3
    assert seen.count(b"\x1b[?1049h") == seen.count(b"\x1b[?1049l") == 1, "the alternate screen, there and back"
    assert seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l"), "the cursor is back"


def test_the_snapshot_is_plain_data() -> None:
    bench = Bench(FakeGpu(processes=[FakeProcess(4_100_000, GIB)]))
    bench.read()
    again = json.loads(json.dumps(plain(bench.telemetry.snapshot())))
    assert again["gpus"][0]["processes"] == [
        {"pid": 4_100_000, "used_bytes": GIB, "name": "process-4100000", "user": ""}
    ]
    parts = again["gpus"][0]["memory_parts"]
    assert _sum(parts) == 80 * GIB
    engine = {"weights", "activations", "kv_used", "kv_free", "unsplit"}
    assert {name for name, size in parts.items() if size is None} == engine, "not reported, for no engine is known"


def test_parts_of_an_engine_that_is_known_are_numbers() -> None:
    bench = Bench(FakeGpu(processes=[FakeProcess(4_100_000, GIB)]))
    bench.telemetry.attach_engine("e1", "tiny", "tensorrt_llm", 4_100_000, None)
    bench.read()
    parts = plain(bench.telemetry.snapshot())["gpus"][0]["memory_parts"]
    assert parts["unsplit"] == GIB and None not in parts.values() and _sum(parts) == 80 * GIB


def test_only_what_goes_on_says_how_to_end_it() -> None:
    bench = Bench(FakeGpu())
    bench.read()
    assert "Ctrl+C ends" in shown(bench) and "Ctrl+C" not in shown(bench, live=False)

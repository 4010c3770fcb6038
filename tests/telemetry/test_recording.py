"""Recordings: what was written is read; what is damaged is said."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pynvml
import pytest

from tests.fakes.nvml import GIB, FakeGpu, FakeProcess
from tests.telemetry.test_hub import PID, Bench
from workbench.core.errors import BadInputError
from workbench.core.messages import Ready, Stats
from workbench.telemetry.recording import csv_rows, read, write, write_csv


@pytest.fixture
def bench() -> Bench:
    """A minute with an engine, a GPU that is lost for a while, and a clock that is set."""
    gpu = FakeGpu(used=60 * GIB, processes=[FakeProcess(PID, 50 * GIB)])
    bench = Bench(gpu)
    bench.read()
    track = bench.telemetry.attach_engine("e", "demo", "tensorrt_llm", PID, Ready(kv_blocks_total=100))
    bench.telemetry.mark("burst x16", "burst")
    for i in range(60):
        gpu.power_mw = 300_000 + i * 1000
        gpu.error = pynvml.NVML_ERROR_GPU_IS_LOST if 30 <= i < 40 else None
        if i == 45:
            bench.epoch += 3600
        memory = {"weights": 16 * GIB, "kv_pool": 20 * GIB}
        track.take(
            Stats(
                kv_blocks_used=i, kv_blocks_total=100, requests_active=2, generated_tokens=10 * i, memory_bytes=memory
            ),
            bench.now + 0.5,
        )
        bench.read()
    return bench


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_what_was_written_is_read(bench: Bench, tmp_path: Path, name: str) -> None:
    telemetry = bench.telemetry
    path = write(telemetry, tmp_path / name)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")
    recording = read(path)
    pairs = [
        (telemetry.host, recording.host),
        (telemetry.gpus[0].series, recording.gpus[0].series),
        (telemetry.engines[0].series, recording.engines[0].series),
    ]
    for old, new in pairs:
        assert new.names == old.names
        assert new.dropped == 0
        one, other = old.rows(0, 1e9), new.rows(0, 1e9)
        assert np.allclose(one.t, other.t, atol=1e-6)
        for column in old.names:
            assert np.array_equal(one.values[column], other.values[column], equal_nan=True)
            before = old.view(column, 1000, 1062)
            after = new.view(column, 1000, 1062)
            assert np.array_equal(before.high, after.high, equal_nan=True)
    assert recording.events() == telemetry.events()
    assert recording.snapshot().gpus == telemetry.snapshot().gpus
    assert recording.snapshot().host == telemetry.snapshot().host
    assert recording.snapshot().host_picture == telemetry.snapshot().host_picture
    assert recording.engines[0].generation_mean == telemetry.engines[0].generation_mean
    assert recording.engines[0].ready == telemetry.engines[0].ready
    assert recording.engines[0].newest == telemetry.engines[0].newest
    assert recording.gpus[0].series.at("power_w", 1036.0) is None, "the gap is there too"
    for at in (1001.0, 1044.0, 1047.0, 1060.0):
        assert recording.clock.wall(at) == pytest.approx(telemetry.clock.wall(at))
    assert recording.clock.now() == telemetry.clock.now()
    assert recording.clock.changed() is None
    assert recording.machine["memory_bytes"] > 0
    recording.close()


def test_a_recording_can_be_cut_and_written_again(bench: Bench, tmp_path: Path) -> None:
    whole = read(write(bench.telemetry, tmp_path / "whole"))
    part = read(write(whole, tmp_path / "part", 1010.0, 1020.0))
    assert part.machine == whole.machine
    assert part.host.rows(0, 1e9).t.tolist() == [float(t) for t in range(1010, 1021)]
    assert (part.started_at, part.ended_at) == (1010.0, 1020.0)
    assert part.events() == ()


def test_an_engine_that_was_unloaded_is_recorded(bench: Bench, tmp_path: Path) -> None:
    bench.telemetry.detach_engine("e")
    recording = read(write(bench.telemetry, tmp_path / "a"))
    assert recording.engines == ()
    assert recording.past_engines[0].name == "demo"
    assert recording.past_engines[0].series.at("kv_blocks_used", 1030.5) == 29.0


def test_nothing_is_overwritten_and_nothing_is_left_behind(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("mine")
    with pytest.raises(BadInputError, match="exists already"):
        write(bench.telemetry, path)
    assert path.read_text() == "mine"
    with pytest.raises(BadInputError, match="cannot be written"):
        write(bench.telemetry, tmp_path / "no" / "such")
    with pytest.raises(BadInputError, match="nothing to record"):
        write(bench.telemetry, tmp_path / "b", 0.0, 1.0)
    with pytest.raises(BadInputError, match="nothing to record"):
        write(Bench().telemetry, tmp_path / "b")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def damages(good: bytes) -> dict[str, bytes]:
    lines = good.splitlines(keepends=True)
    header = json.loads(lines[0])
    block = json.loads(lines[1])
    newer = json.dumps({**header, "version": 99}).encode() + b"\n"
    uneven = json.dumps({**block, "t": block["t"][:-1]}).encode() + b"\n"
    return {
        "empty": b"",
        "not JSON": b"\x00\x01\x02\n",
        "another file": b'{"schema": "something"}\n',
        "a list": b"[1, 2]\n",
        "newer": newer + b"".join(lines[1:]),
        "no header fields": b'{"schema": "engine-workbench-telemetry", "version": 1}\n',
        "cut between lines": b"".join(lines[:-1]),
        "cut in a line": good[: len(good) // 2],
        "a line less": b"".join(lines[:1] + lines[2:]),
        "uneven columns": lines[0] + uneven + b"".join(lines[2:]),
        "unknown series": good.replace(b'{"series":"host"', b'{"series":"hosts"', 1),
        "bad gzip": b"\x1f\x8bnot really",
        "cut gzip": gzip.compress(good)[:-20],
    }


DAMAGES = (
    "empty",
    "not JSON",
    "another file",
    "a list",
    "newer",
    "no header fields",
    "cut between lines",
    "cut in a line",
    "a line less",
    "uneven columns",
    "unknown series",
    "bad gzip",
    "cut gzip",
)


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_file_that_is_no_good_is_said_so(bench: Bench, tmp_path: Path, kind: str) -> None:
    good = write(bench.telemetry, tmp_path / "good").read_bytes()
    path = tmp_path / "bad"
    path.write_bytes(damages(good)[kind])
    with pytest.raises(BadInputError) as caught:
        read(path)
    assert str(path) in caught.value.what
    assert caught.value.failure.code == {
        "newer": "newer",
        "another file": "not-a-recording",
        "a list": "not-a-recording",
    }.get(kind, "damaged")
    assert caught.value.failure.evidence


def test_there_is_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no file"):
        read(tmp_path / "nowhere")
    with pytest.raises(BadInputError):
        read(tmp_path)


def test_csv_has_units_and_a_row_a_moment(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_csv(bench.telemetry, path, 1000.0, 1062.0)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 121, "61 readings and 60 reports between them"
    times = [float(row["monotonic_s"]) for row in rows]
    assert times == sorted(set(times))
    by_time = {float(row["monotonic_s"]): row for row in rows}
    assert by_time[1002.0]["gpu0 power_w"] == "300"
    assert by_time[1002.5]["gpu0 power_w"] == "300", "the reading in force"
    assert by_time[1036.0]["gpu0 power_w"] == "", "a gap is empty, not zero"
    assert by_time[1001.0]["demo kv_blocks_used"] == ""
    assert by_time[1001.5]["demo kv_blocks_used"] == "0"
    assert by_time[1002.0]["gpu0 memory_weights_bytes"] == str(16 * GIB)
    assert by_time[1060.0]["time"] == "2023-11-14T23:14:20.000Z"
    units = ("_bytes", "_percent", "_w", "_c", "_mhz", "_bytes_s", "_tok_s", "_ms", "_0_or_1", "_requests")
    plain = {"demo requests_active", "demo requests_queued"}
    for heading in list(rows[0])[2:]:
        assert heading.endswith(units) or "kv_blocks" in heading or heading in plain, heading
    with pytest.raises(BadInputError):
        write_csv(bench.telemetry, tmp_path / "no" / "such.csv", 0.0, 1.0)


def test_csv_of_nothing_is_a_heading() -> None:
    assert list(csv_rows(Bench().telemetry, 0.0, 1.0)) == [["time", "monotonic_s"]]

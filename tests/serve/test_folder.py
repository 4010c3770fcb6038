"""A server's folder and its readings, without a server."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.core.errors import BadInputError
from workbench.core.serving import Percentiles, ServeReading, ServeSpec, ServeState
from workbench.serve.client import checked_model, default_model
from workbench.serve.folder import ServingFolder, create, find, new_id, serving_ids
from workbench.serve.ports import PortUse, bind, is_loopback, port_use, shown_url
from workbench.serve.readings import BoundedLines, bound_log, line_of, log_pieces, older_of, read_readings


def make(servings: Path, name: str, state: ServeState | None = None) -> ServingFolder:
    folder = create(servings, ServeSpec(id=name, engine="/e", name="e", model="m"))
    if state is not None:
        folder.write_state(state)
    return folder


def test_a_server_that_nobody_holds_is_lost(tmp_path: Path) -> None:
    folder = make(tmp_path, "a", ServeState(status="ready", url="http://127.0.0.1:8000/v1"))
    assert folder.state().status == "lost"
    failure = folder.state().failure
    assert failure is not None and "it was ready" in failure.evidence
    lock = os.open(folder.lock_path, os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert folder.state().status == "ready"
        assert find(tmp_path, "8000") == folder
    finally:
        os.close(lock)
    folder.write_state(ServeState(status="stopped"))
    assert folder.state().status == "stopped"
    with pytest.raises(BadInputError):
        find(tmp_path, "8000")


def test_servers_are_found_by_parts_of_their_ids(tmp_path: Path) -> None:
    ids = [new_id(1_700_000_000.25), new_id(1_700_000_001.0)]
    assert ids == sorted(ids) and ids[0].startswith("20231114-221320250-")
    for name in ids:
        make(tmp_path, name)
    assert serving_ids(tmp_path) == ids
    assert find(tmp_path, "last").id == ids[1]
    assert find(tmp_path, ids[0][-4:]).id == ids[0]
    with pytest.raises(BadInputError, match="fits 2 servers"):
        find(tmp_path, "2023")
    with pytest.raises(BadInputError, match="No server is called 'x'"):
        find(tmp_path, "x")


@pytest.mark.parametrize("damage", ["", "{", '{"status": "nonsense"}', "[]"])
def test_damaged_files_are_said(tmp_path: Path, damage: str) -> None:
    folder = make(tmp_path, "a")
    folder.state_path.write_text(damage)
    with pytest.raises(BadInputError, match="cannot be read"):
        folder.state()


def test_readings_are_read_from_any_moment_on(tmp_path: Path) -> None:
    path = tmp_path / "readings.jsonl"
    lines = BoundedLines(path, most_lines=1000)
    for second in range(2500):
        lines.write(line_of(ServeReading(at=float(second), requests=second, ttft=Percentiles(p50=1.5, n=9))))
    lines.close()
    assert path.stat().st_size < 60_000 and older_of(path).is_file()
    everything = read_readings(path, 0.0, 10_000)
    assert [reading.at for reading in everything] == [float(second) for second in range(1000, 2500)]
    assert everything[0].ttft == Percentiles(p50=1.5, n=9)
    assert [reading.at for reading in read_readings(path, 1990.0, 10_000)][:3] == [1991.0, 1992.0, 1993.0]
    assert [reading.at for reading in read_readings(path, 0.0, 3)] == [2497.0, 2498.0, 2499.0]
    assert read_readings(path, 2499.0, 10) == []


def test_half_a_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "readings.jsonl"
    path.write_bytes(line_of(ServeReading(at=1.0)) + b'\nrubbish\n{"at": 2.0}\n{"at": 3')
    assert [reading.at for reading in read_readings(path, 0.0, 10)] == [1.0, 2.0]
    assert read_readings(tmp_path / "none.jsonl", 0.0, 10) == []


def test_lines_that_cannot_be_written_end_nothing(tmp_path: Path) -> None:
    lines = BoundedLines(tmp_path / "a.log", most_lines=2)
    lines.write(b"one")
    (tmp_path / "a.1.log").mkdir()  # rolling fails from now on
    for _ in range(5):
        lines.write(b"two")
    assert lines.problem
    lines.close()


def test_a_log_of_another_program_stays_bounded(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    with path.open("ab", buffering=0) as writer:
        for number in range(100):
            writer.write(b"%098d\n" % number)
            bound_log(path, most_bytes=1000)
        assert path.stat().st_size + older_of(path).stat().st_size < 2000
        assert path.read_bytes() == b"%098d\n" % 99, "the writer goes on at its start"
    assert older_of(path).read_bytes().endswith(b"%098d\n" % 98)
    assert older_of(path).stat().st_mode & 0o077 == 0
    older_of(path).unlink()
    older_of(path).mkdir()  # it cannot be put aside from now on
    path.write_bytes(bytes(1000))
    with pytest.raises(OSError):
        bound_log(path, most_bytes=1000)
    assert path.stat().st_size == 0


@pytest.mark.parametrize("put_aside", [lambda path: bound_log(path, 1), lambda path: path.replace(older_of(path))])
def test_a_followed_log_goes_on_where_it_was_put_aside(tmp_path: Path, put_aside: Callable[[Path], object]) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(b"first, and longer than what comes\n")
    older_of(path).write_bytes(b"older\n")
    steps = iter([True, True, False])
    seen = []
    for piece in log_pieces(path, goes_on=lambda: next(steps), pause_s=0.0):
        seen.append(piece)
        if piece.startswith(b"first"):
            put_aside(path)
            with path.open("ab") as log:
                log.write(b"second\n")
    assert seen == [b"older\n", b"first, and longer than what comes\n", b"second\n"]


def test_two_cannot_listen_on_one_port() -> None:
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with bind("127.0.0.1", port, listen=True), pytest.raises(BadInputError) as caught:
            bind("127.0.0.1", port, listen=True)
        assert caught.value.failure.code == "port-in-use"
        assert port_use("127.0.0.1", 0) is None


def test_names_and_addresses() -> None:
    assert default_model("SmolLM2-135M-Instruct int4") == "SmolLM2-135M-Instruct-int4"
    assert default_model("\n") == "model"
    assert checked_model("org/name") == "org/name"
    assert is_loopback("127.0.0.1") and is_loopback("localhost") and is_loopback("::1")
    assert not is_loopback("0.0.0.0") and not is_loopback("localhost.example")
    assert shown_url("::1", 80) == "http://[::1]:80"
    assert PortUse(8000, 12, "python", 8001).words == "port 8000 is used by python (pid 12); 8001 is free"
    assert PortUse(8000).words == "port 8000 is used by another program"

"""Lanes across real processes: first come first served, and freed by the kernel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workbench.jobs.lanes import Lane, held, is_locked, lanes_in_order

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from workbench.jobs.lanes import Lane
lane = Lane(Path(sys.argv[1]), sys.argv[2])
lane.take_ticket()
print("ticket", flush=True)
lane.acquire()
print("mine", flush=True)
with open(sys.argv[3], "a") as out:
    out.write(sys.argv[4] + "\\n")
time.sleep(float(sys.argv[5]))
lane.release()
"""


def holder(lanes: Path, order: Path, name: str, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lanes), "gpu:0", str(order), name, str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None and process.stdout.readline() == "ticket\n"
    return process


@pytest.mark.slow
def test_order_of_arrival_across_processes(tmp_path: Path) -> None:
    order = tmp_path / "order"
    waiting = [holder(tmp_path / "lanes", order, name, 0.2) for name in "abcd"]
    for process in waiting:
        process.communicate(timeout=60)
    assert order.read_text().split() == list("abcd")


def test_a_killed_holder_and_a_killed_waiter_free_the_lane(tmp_path: Path) -> None:
    order = tmp_path / "order"
    first, second, third = (holder(tmp_path / "lanes", order, name, s) for name, s in (("a", 60), ("b", 60), ("c", 0)))
    while not order.exists():
        time.sleep(0.01)
    for process in (second, first):
        process.send_signal(signal.SIGKILL)
        process.communicate()
    third.communicate(timeout=30)
    assert order.read_text().split() == ["a", "c"]


def test_a_lane_that_is_given_up_lets_the_next_through(tmp_path: Path) -> None:
    one, two, three = (Lane(tmp_path, "cpu") for _ in range(3))
    assert one.acquire() and not two.acquire(timeout_seconds=0.1)
    three.take_ticket()
    assert not three.is_mine()
    one.release()
    assert three.is_mine()
    three.release()


def test_lanes_are_independent_and_taken_in_one_order(tmp_path: Path) -> None:
    assert [lane.name for lane in lanes_in_order(tmp_path, ["gpu:1", "cpu", "gpu:0", "cpu"])] == [
        "cpu",
        "gpu:0",
        "gpu:1",
    ]
    with held(tmp_path, "gpu:0"):
        assert Lane(tmp_path, "gpu:1").acquire(timeout_seconds=0)
        assert not Lane(tmp_path, "gpu:0").acquire(timeout_seconds=0)
    again = Lane(tmp_path, "gpu:0")
    assert again.acquire(timeout_seconds=0)
    again.release()


def test_names_that_look_alike_are_different_lanes(tmp_path: Path) -> None:
    with held(tmp_path, "path:/a/b"):
        lane = Lane(tmp_path, "path:/a_b")
        assert lane.acquire(timeout_seconds=0)
        lane.release()


def test_a_file_that_is_not_there_is_not_locked(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "none")

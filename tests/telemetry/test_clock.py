"""The wall clock may be set while readings come; their times must not move."""

from __future__ import annotations

import time

import pytest

from workbench.telemetry.clock import Clock


class Watch:
    """Two clocks that a test turns."""

    def __init__(self) -> None:
        self.monotonic, self.epoch = 100.0, 1_700_000_000.0

    def clock(self) -> Clock:
        return Clock(lambda: self.monotonic, lambda: self.epoch)

    def pass_time(self, seconds: float, wall: float | None = None) -> None:
        self.monotonic += seconds
        self.epoch += seconds if wall is None else wall


def test_a_real_clock_gives_the_time_of_day() -> None:
    clock = Clock()
    assert clock.wall(clock.now()) == pytest.approx(time.time(), abs=0.5)
    assert clock.changed() is None


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 1.5, -1.5])
def test_a_set_clock_is_told_once_and_old_readings_keep_their_time(jump: float) -> None:
    watch = Watch()
    clock = watch.clock()
    before = clock.now()
    wall = clock.wall(before)
    watch.pass_time(10.0, 10.0 + jump)
    assert clock.changed() == pytest.approx(jump)
    assert clock.changed() is None
    assert clock.wall(before) == wall
    watch.pass_time(1.0)
    assert clock.wall(clock.now()) == pytest.approx(watch.epoch)


def test_a_clock_that_is_steered_is_followed_in_silence() -> None:
    watch = Watch()
    clock = watch.clock()
    for _ in range(100):
        watch.pass_time(1.0, 1.06)
        assert clock.changed() is None
    assert clock.wall(clock.now()) == pytest.approx(watch.epoch, abs=0.1)


def test_a_sleeping_machine_is_a_jump() -> None:
    """The monotonic clock stands still while the machine sleeps, the wall clock does not."""
    watch = Watch()
    clock = watch.clock()
    watch.pass_time(0.0, 7200.0)
    assert clock.changed() == pytest.approx(7200.0)

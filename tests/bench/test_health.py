"""The load generator says so when it was itself the bottleneck."""

from __future__ import annotations

import asyncio
import time

from tests.bench.made import Clockwork, measure
from workbench.bench.health import SelfWatch
from workbench.bench.loop import run_blocking
from workbench.bench.target import Ask, Ended, Heard
from workbench.core.measure.load import Load
from workbench.core.measure.record import ClientHealth


def watched(busy_s: float, rest_s: float, rounds: int = 6) -> ClientHealth:
    async def work() -> ClientHealth:
        watch = SelfWatch()
        task = asyncio.ensure_future(watch.run())
        await asyncio.sleep(0)
        watch.begin()
        for _ in range(rounds):
            until = time.monotonic() + busy_s
            while time.monotonic() < until:
                pass
            await asyncio.sleep(rest_s)
        watch.end()
        task.cancel()
        return watch.health()

    return run_blocking(work)


def test_a_client_that_has_time_is_no_bottleneck_and_its_share_is_measured() -> None:
    seen = watched(0.0, 0.05)
    assert seen.cpu_share is not None and seen.cpu_share < 0.5
    assert seen.loop_lag_p99_ms is not None and seen.late_p99_ms is None


def test_a_loop_that_is_held_up_is_said() -> None:
    seen = watched(0.05, 0.001)
    assert seen.loop_lag_p99_ms is not None and seen.loop_lag_p99_ms > 20
    assert seen.bottleneck and "noticed responses up to" in seen.words


def test_requests_that_were_sent_late_are_said() -> None:
    watch = SelfWatch()
    seen = watch.health([0.001] * 50 + [0.08] * 50)
    assert seen.late_p99_ms is not None and round(seen.late_p99_ms) == 80
    assert (
        seen.bottleneck
        and seen.words == "The load generator was the bottleneck: it sent requests up to 80 ms late (p99)."
    )
    assert not SelfWatch().health([0.0001] * 100).bottleneck


def test_what_the_client_does_after_the_measured_time_is_not_counted() -> None:
    class Slow(Clockwork):
        async def send(self, ask: Ask, heard: Heard) -> Ended:
            try:
                return await super().send(ask, heard)
            finally:
                if time.monotonic() - self.sent[0] > 0.1:
                    time.sleep(0.1)

    point = measure(Slow(ttft_s=0.03), Load(duration_s=0.1), 1)
    assert point.client.loop_lag_p99_ms is not None and point.client.loop_lag_p99_ms < 50

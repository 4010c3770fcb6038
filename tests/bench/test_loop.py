"""The blocking wrapper: fine timers, stops, and nothing left behind."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time

import pytest

from workbench.bench import loop as under_test
from workbench.bench.loop import run_blocking


def test_gives_the_result_and_raises_what_the_work_raises() -> None:
    async def work(fail: bool) -> int:
        await asyncio.sleep(0)
        if fail:
            raise KeyError("x")
        return 7

    assert run_blocking(lambda: work(False)) == 7
    with pytest.raises(KeyError):
        run_blocking(lambda: work(True), threading.Event())


def test_runs_on_any_thread_and_leaves_no_task() -> None:
    ended = []

    async def forever() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def work() -> str:
        task = asyncio.ensure_future(forever())
        await asyncio.sleep(0.01)
        return f"{task.done()} on {threading.current_thread().name}"

    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(run_blocking(work)), name="measuring")
    thread.start()
    thread.join(5)
    assert (said, ended) == (["False on measuring"], [True])


def test_timers_are_finer_than_a_millisecond() -> None:
    async def late() -> float:
        lates = []
        for _ in range(60):
            due_s = time.monotonic() + 0.0021
            await asyncio.sleep(0.0021)
            lates.append(time.monotonic() - due_s)
        return statistics.median(lates)

    assert run_blocking(late) < 0.0006, "whole milliseconds, rounded up, would be 0.9 ms late"


def test_work_that_does_not_look_at_the_stop_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_STOP_GRACE_S", 0.1)
    stop = threading.Event()
    stop.set()

    async def deaf() -> None:
        await asyncio.sleep(60)

    with pytest.raises(asyncio.CancelledError):
        run_blocking(deaf, stop)

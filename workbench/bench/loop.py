"""The event loop that a load runs on: any thread may run one, and its timers are finer than a millisecond."""

from __future__ import annotations

import asyncio
import select
import selectors
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_STOP_GRACE_S = 60.0
_LOOK_S = 0.1


class FineSelector(selectors.EpollSelector):
    """epoll waits in whole milliseconds, rounded up; select() on its descriptor waits in microseconds.

    Requests of an open loop would else be sent up to a millisecond late, every one of them.
    """

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0 or timeout > 1 or self.fileno() >= 1024:  # select()'s own limit
            return super().select(timeout)
        ready = super().select(0)
        if ready:
            return ready
        select.select([self.fileno()], [], [], timeout)
        return super().select(0)


def run_blocking(work: Callable[[], Coroutine[Any, Any, T]], stop: threading.Event | None = None) -> T:
    """Run `work()` on a loop of its own, here, and give its result. For threads that have no loop.

    `stop` is for the work to look at; if it goes on long after that, it is cancelled.
    Raises what the work raises.
    """
    loop = asyncio.SelectorEventLoop(FineSelector())
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(_guarded(work(), stop))
    finally:
        try:
            loop.run_until_complete(_clear())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


async def _guarded(work: Coroutine[Any, Any, T], stop: threading.Event | None) -> T:
    if stop is None:
        return await work
    task = asyncio.ensure_future(work)
    left_s = _STOP_GRACE_S
    while not task.done():
        await asyncio.wait([task], timeout=_LOOK_S)
        if stop.is_set():
            left_s -= _LOOK_S
            if left_s <= 0:
                task.cancel()
    return await task


async def _clear() -> None:
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)

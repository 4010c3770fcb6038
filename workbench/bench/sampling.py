"""Samples the server's side along with a point: KV cache, memory, power - whatever the given function reports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from workbench.core.measure.record import Sample

EVERY_S = 0.5

Sampler = Callable[[], Sample]
"""May take its time (a query over the network): it is called on a thread of its own. What it raises is no sample."""


async def sample_along(sampler: Sampler, origin_s: float, into: list[Sample], every_s: float = EVERY_S) -> None:
    """Call `sampler` until cancelled. Times are set here: when it was asked, in seconds since `origin_s`."""
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    while True:
        asked_s = loop.time()
        try:
            sample = await loop.run_in_executor(None, sampler)
        except Exception:
            sample = None
        if sample is not None:
            into.append(sample.model_copy(update={"t_s": asked_s - origin_s}))
        due_s = max(due_s + every_s, loop.time())
        await asyncio.sleep(due_s - loop.time())

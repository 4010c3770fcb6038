"""What the tests of the load generator share: targets that answer by a clock, and asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from workbench.bench.drive import run_point
from workbench.bench.http_target import HttpTarget
from workbench.bench.loop import run_blocking
from workbench.bench.target import Ask, Ended, Heard, Target
from workbench.core.endpoint import dialect_of
from workbench.core.measure.load import Load
from workbench.core.measure.record import PointRecord


def asks(tokens: int = 4) -> Callable[[int], Ask]:
    return lambda number: Ask(number, tokens, text=f"question {number}", ignore_eos=True)


@dataclass
class Clockwork:
    """A target that answers every request by the clock; `ended` may say otherwise for a request's prompt."""

    ttft_s: float = 0.01
    itl_s: float = 0.002
    ended: Callable[[int], Ended | None] = lambda number: None
    stall: tuple[float, float] | None = None
    """Answers nothing between these two times after its first request."""
    open: int = 0
    most_open: int = 0
    cancelled: int = 0
    sent: list[float] = field(default_factory=list)
    closed: bool = False

    async def send(self, ask: Ask, heard: Heard) -> Ended:
        self.sent.append(time.monotonic())
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            ended = self.ended(ask.prompt)
            if ended is not None:
                return ended
            if self.stall is not None:
                since_s = time.monotonic() - self.sent[0]
                if self.stall[0] <= since_s < self.stall[1]:
                    await asyncio.sleep(self.stall[1] - since_s)
            await asyncio.sleep(self.ttft_s)
            heard.chunk(time.monotonic(), 1)
            for _ in range(ask.max_tokens - 1):
                await asyncio.sleep(self.itl_s)
                heard.chunk(time.monotonic(), 1)
            return Ended("length", input_tokens=3, output_tokens=ask.max_tokens, count_source="engine ids")
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.open -= 1

    async def close(self) -> None:
        self.closed = True


def measure(target: Target, load: Load, level: float | None = None, tokens: int = 4, **options: object) -> PointRecord:
    """One point of the load's first level."""
    at = load.levels[0] if level is None else level
    return run_blocking(lambda: run_point(target, load, at, 0, asks(tokens), **options))  # type: ignore[arg-type]


def measure_http(
    url: str, load: Load, tokens: int = 8, server: str = "vllm", model: str = "mock", **options: object
) -> tuple[PointRecord, HttpTarget]:
    """One point against a server, and the target it went through."""

    async def work() -> tuple[PointRecord, HttpTarget]:
        target = HttpTarget(url, model, dialect=dialect_of(server), **options)  # type: ignore[arg-type]
        try:
            return await run_point(target, load, load.levels[0], 0, asks(tokens)), target
        finally:
            await target.close()

    return run_blocking(work)

"""Runs one point of a load: sends requests closed or open loop, times them, and keeps everything raw.

Open loop never waits for answers, and its t0 is when a request was due: a slow server cannot hide by slowing the
client down (coordinated omission).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Callable

from workbench.bench.arrivals import due_times
from workbench.bench.flight import Flight
from workbench.bench.health import SelfWatch
from workbench.bench.progress import PointPhase, Progress, Running
from workbench.bench.sampling import Sampler, sample_along
from workbench.bench.target import Ask, Ended, Heard, Tally, Target
from workbench.core.errors import Failure
from workbench.core.measure.load import Load
from workbench.core.measure.record import PointEnd, PointRecord, RequestEnd, Sample

__all__ = ["Progress", "run_point"]

_TICK_S = 0.05
_PROGRESS_S = 0.25
_PULL_S = 0.01
_ROW_OPEN = 100
_ROW_CLOSED = 20
_BACK_OFF_S = 0.01
_MOST_BACK_OFF_S = 0.25
_YIELD_EVERY = 8
_ABORT_WAIT_S = 15.0


async def run_point(
    target: Target,
    load: Load,
    level: float,
    repeat: int,
    asks: Callable[[int], Ask],
    on_progress: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
    *,
    subject: str = "",
    sampler: Sampler | None = None,
    order: int = 0,
) -> PointRecord:
    """Measure one level once.

    `asks(n)` gives the n-th request from 0, warm-up included, for as long as it is asked; of a trace it raises
    IndexError after the last. `on_progress` is called on this loop's thread, at most five times a second. `stop`
    ends the point early: what came is kept, and its `end` is `stopped`. A target that is gone, or that fails every
    request, ends it as `failed`.
    The measured time of a load by duration is that duration exactly, and what was begun in it may end after it; by
    number of requests it lasts from the first one's t0 to the last one's end, and the warm-up has ended before.
    """
    return await _Point(target, load, level, repeat, asks, on_progress, stop).run(subject, sampler, order)


class _Point:
    def __init__(
        self,
        target: Target,
        load: Load,
        level: float,
        repeat: int,
        asks: Callable[[int], Ask],
        on_progress: Callable[[Progress], None] | None,
        stop: threading.Event | None,
    ) -> None:
        self._target = target
        self._load = load
        self._level = level
        self._repeat = repeat
        self._asks = asks
        self._on_progress = on_progress
        self._stop = stop
        self._closed = load.arrival == "closed"
        self._flights: list[Flight] = []
        self._open: set[Flight] = set()
        self._tally = Tally()
        self._running = Running()
        self._watch = SelfWatch()
        self._chance = random.Random(f"{load.seed}/cancel")  # noqa: S311 - reproducible
        self._issuing = True
        self._stopped = False
        self._failure: Failure | None = None
        self._sent = self._done = self._errors = self._row = 0
        self._first_due_s = 0.0
        self._begun_s: float | None = None
        """Monotonic time at which the measured time began."""
        self._window_over = False
        self._timers: list[asyncio.TimerHandle] = []

    async def run(self, subject: str, sampler: Sampler | None, order: int) -> PointRecord:
        began_at = time.time()
        self._loop = asyncio.get_running_loop()
        self._idle = asyncio.Event()
        self._halt = asyncio.Event()
        self._origin_s = time.monotonic()
        samples: list[Sample] = []
        aside = [asyncio.ensure_future(self._tick()), asyncio.ensure_future(self._watch.run())]
        if sampler is not None:
            aside.append(asyncio.ensure_future(sample_along(sampler, self._origin_s, samples)))
        if self._load.cancel_share:
            aside.append(asyncio.ensure_future(self._pull()))
        try:
            self._look_at_stop()
            await (self._run_closed() if self._closed else self._run_open())
        finally:
            self._issuing = False
            for timer in self._timers:
                timer.cancel()
            await self._abort_all()
            for task in aside:
                task.cancel()
            results = await asyncio.gather(*aside, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):  # of a callback
                raise result
        self._watch.end()
        end: PointEnd = "failed" if self._failure is not None else "stopped" if self._stopped else "complete"
        late = [
            flight.sent_s - flight.due_s for flight in self._flights if flight.due_s is not None and not flight.warmup
        ]
        from_s = self._begun_s if self._begun_s is not None else time.monotonic()
        return PointRecord(
            subject=subject,
            level=self._level,
            repeat=self._repeat,
            began_at=began_at,
            duration_s=self._measured_time(from_s),
            measured_from_s=from_s - self._origin_s,
            end=end,
            requests=tuple(flight.record(self._origin_s, self._load.timeout_s) for flight in self._flights),
            samples=tuple(samples),
            client=self._watch.health(late),
            failure=self._failure,
            order=order,
        )

    def _measured_time(self, from_s: float) -> float:
        if self._window_over and self._load.duration_s is not None:
            return self._load.duration_s
        ends = [flight.ended_s for flight in self._flights if not flight.warmup]
        return max(0.0, max(ends, default=from_s) - from_s)

    # Closed loop

    async def _run_closed(self) -> None:
        load = self._load
        warm = bool(load.warmup_s or load.warmup_requests)
        if warm and load.duration_s is None:
            # By number of requests there is no steady state to look at: the warm-up ends first, whole.
            await self._workers(warmup_only=True)
        await self._workers(warmup_only=False)

    async def _workers(self, warmup_only: bool) -> None:
        workers = [asyncio.ensure_future(self._worker(warmup_only)) for _ in range(int(self._level))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _worker(self, warmup_only: bool) -> None:
        while self._issuing:
            warmup = self._in_warmup
            if not warmup:
                if warmup_only:
                    return
                if self._load.requests is not None and self._sent >= self._load.requests:
                    return
                self._begin(time.monotonic())
            try:
                flight = self._launch(None, warmup)
            except IndexError:
                return
            assert flight.task is not None
            await flight.task
            if flight.ended is not None and flight.ended.end == "error" and self._issuing:
                pause_s = min(_BACK_OFF_S * 2 ** min(self._row, 10), _MOST_BACK_OFF_S)
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._halt.wait(), pause_s)

    @property
    def _in_warmup(self) -> bool:
        if self._begun_s is not None:
            return False
        passed_s = time.monotonic() - self._origin_s
        return len(self._flights) < self._load.warmup_requests or passed_s < self._load.warmup_s

    # Open loop

    async def _run_open(self) -> None:
        load = self._load
        for number, due_s in enumerate(due_times(load, self._level, self._repeat, self._asks)):
            at_s = self._origin_s + due_s
            warmup = number < load.warmup_requests or due_s < load.warmup_s
            if not warmup and self._begun_s is None:
                self._first_due_s = at_s
            if not warmup and (
                (load.requests is not None and self._sent >= load.requests)
                or (load.duration_s is not None and at_s >= self._first_due_s + load.duration_s)
            ):
                break
            await self._until(at_s, number)
            if not self._issuing:
                break
            if not warmup:
                self._begin(at_s)
            self._launch(at_s, warmup)
        self._issuing = False
        while self._open:
            self._idle.clear()
            await self._idle.wait()
        if load.duration_s is not None and self._begun_s is not None and not self._stopped and self._failure is None:
            capped = load.requests is not None and self._sent >= load.requests
            if not capped and load.arrival != "trace":
                # Answers came quickly; the measured time is what was asked for all the same.
                await self._until(self._begun_s + load.duration_s)
                self._end_window()

    async def _until(self, at_s: float, number: int = 0) -> None:
        """Wait for that moment, or until there is nothing more to send."""
        left_s = at_s - time.monotonic()
        if left_s <= 0:
            if number % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
            return
        while left_s > 0 and not self._stopped and self._failure is None:
            await asyncio.sleep(min(left_s, _TICK_S))
            left_s = at_s - time.monotonic()

    # Both

    def _begin(self, now_s: float) -> None:
        """The measured time begins, unless it has."""
        if self._begun_s is not None:
            return
        self._begun_s = now_s
        self._watch.begin()
        if self._load.duration_s is not None:
            end_s = now_s + self._load.duration_s
            self._timers.append(self._loop.call_at(end_s, self._end_window))
            self._timers.append(self._loop.call_at(end_s + self._load.drain_s, self._give_up_all, "abort"))

    def _end_window(self) -> None:
        self._window_over = True
        self._issuing = False
        self._watch.end()

    def _launch(self, due_s: float | None, warmup: bool) -> Flight:
        """Raises what `asks` raises."""
        number = len(self._flights)
        ask = self._asks(number)
        half_at = max(1, ask.max_tokens // 2) if self._chance.random() < self._load.cancel_share else None
        heard = Heard(self._tally, half_at)
        flight = Flight(number, ask, heard, due_s, warmup)
        if half_at is not None:
            heard.enough = lambda: flight.give_up("cancelled")
        self._flights.append(flight)
        self._open.add(flight)
        self._sent += not warmup
        flight.task = self._loop.create_task(self._fly(flight, ask))
        return flight

    async def _fly(self, flight: Flight, ask: Ask) -> None:
        timer = self._loop.call_later(self._load.timeout_s, flight.give_up, "timeout")
        flight.started = True
        flight.sent_s = time.monotonic()
        try:
            if flight.why is None:
                flight.ended = await self._target.send(ask, flight.heard)
        except asyncio.CancelledError:
            if flight.why is None:
                raise
        except Exception as error:
            flight.ended = Ended("error", error=f"{type(error).__name__}: {error}")
        finally:
            flight.ended_s = time.monotonic()
            if flight.heard.sent_s is not None:
                flight.sent_s = flight.heard.sent_s
            timer.cancel()
            self._open.discard(flight)
            if not self._open:
                self._idle.set()
        self._count(flight)

    def _count(self, flight: Flight) -> None:
        ended = flight.ended
        failed = flight.why == "timeout" if ended is None else ended.end == "error"
        if not flight.warmup:
            self._errors += failed
            if ended is not None and not failed:
                self._done += 1
                self._running.ended(flight.t0_s, flight.heard)
        if ended is None:
            return
        if not failed:
            self._row = 0
            return
        self._row += 1
        if ended.fatal is not None:
            self._fail(ended.fatal)
        elif self._row >= (_ROW_CLOSED + 2 * int(self._level) if self._closed else _ROW_OPEN):
            self._fail(
                Failure(
                    code="all-failed",
                    what="The target answers no request any more.",
                    evidence=f"{self._row} requests in a row failed; the last one: {ended.error}",
                    fix="Look at the server's log; try one request by hand.",
                )
            )

    def _fail(self, failure: Failure) -> None:
        if self._failure is None:
            self._failure = failure
            self._end_early()

    def _end_early(self) -> None:
        self._issuing = False
        self._halt.set()
        self._watch.end()
        self._give_up_all("abort")

    def _give_up_all(self, why: RequestEnd) -> None:
        for flight in list(self._open):
            flight.give_up(why)

    async def _abort_all(self) -> None:
        self._give_up_all("abort")
        tasks = [flight.task for flight in self._open if flight.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=_ABORT_WAIT_S)

    # Along with it

    async def _pull(self) -> None:
        """Responses that are kept elsewhere are looked at more often where requests are to be cut short."""
        while True:
            for flight in list(self._open):
                if flight.heard.half_at is not None and flight.heard.pull is not None:
                    flight.heard.pull()
            await asyncio.sleep(_PULL_S)

    def _look_at_stop(self) -> None:
        if self._stop is not None and self._stop.is_set() and not self._stopped:
            self._stopped = True
            self._end_early()

    async def _tick(self) -> None:
        next_s = time.monotonic() + _PROGRESS_S
        while True:
            await asyncio.sleep(_TICK_S)
            self._look_at_stop()
            if self._on_progress is not None and time.monotonic() >= next_s:
                next_s = time.monotonic() + _PROGRESS_S
                self._on_progress(self._progress())

    def _progress(self) -> Progress:
        for flight in list(self._open):
            if flight.heard.pull is not None:
                flight.heard.pull()
        now_s = time.monotonic()
        measured_s = now_s - self._begun_s if self._begun_s is not None else 0.0
        phase: PointPhase = "measuring"
        if self._begun_s is None:
            phase = "warm-up"
        elif self._window_over or not self._issuing:
            phase = "draining"
        shares = [
            measured_s / self._load.duration_s if self._load.duration_s is not None else None,
            (self._done + self._errors) / self._load.requests if self._load.requests is not None else None,
        ]
        known = [share for share in shares if share is not None]
        return Progress(
            self._level,
            self._repeat,
            phase,
            now_s - self._origin_s,
            measured_s,
            min(1.0, max(known)) if known else None,
            self._sent,
            self._done,
            self._errors,
            len(self._open),
            self._tally.tokens,
            self._running.tok_s(now_s, self._tally.tokens),
            *self._running.percentiles(),
        )

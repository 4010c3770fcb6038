"""An engine host behind the server: many answers come by one listening thread, and wake the event loop once for all
that came together.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Callable, Sequence

from workbench.core.errors import Failure
from workbench.core.messages import Drafted, Finished, Stats
from workbench.jobs.engine import EngineClient, Generation
from workbench.jobs.generation import BAD_REQUEST
from workbench.serve.backend import Asked, Piece

__all__ = ["BAD_REQUEST", "EngineBackend"]

STATS_S = 0.5
_LONGEST_OF_ENDPOINT = 1024


class EngineBackend:
    """Answers by an EngineClient, which stays its maker's to close. Made in the event loop."""

    def __init__(self, client: EngineClient, program: str = "engine host") -> None:
        self._client = client
        self._program = program
        self._loop = asyncio.get_running_loop()
        self._news: collections.deque[EngineAnswer] = collections.deque()
        self._told = False
        self._failure: Failure | None = None
        self._callbacks: list[Callable[[Failure], None]] = []
        client.on_end = self._ended
        client.set_stats_interval(STATS_S)
        if client.failure is not None:
            self._failure = client.failure

    @property
    def program(self) -> str:
        return self._program

    @property
    def max_seq_len(self) -> int | None:
        return self._client.ready.limits.get("max_seq_len")

    @property
    def takes(self) -> tuple[str, ...] | None:
        """Names of the sampling settings that the engine knows; None: not reported."""
        return self._client.ready.sampling

    @property
    def longest_answer(self) -> int | None:
        # Our own hosts cut it to the room that the prompt leaves; another server would refuse what is too much.
        hello = self._client.hello
        return _LONGEST_OF_ENDPOINT if hello is not None and hello.worker == "endpoint.host" else None

    @property
    def failure(self) -> Failure | None:
        return self._failure

    def when_failed(self, callback: Callable[[Failure], None]) -> None:
        if self._failure is not None:
            callback(self._failure)
        else:
            self._callbacks.append(callback)

    @property
    def stats(self) -> Stats | None:
        return self._client.stats

    def kv_share(self) -> float | None:
        stats = self._client.stats
        if stats is None:
            return None
        total = stats.kv_blocks_total or self._client.ready.kv_blocks_total
        if stats.kv_blocks_used is not None and total:
            return min(1.0, stats.kv_blocks_used / total)
        return stats.kv_share

    def drafted(self) -> Drafted | None:
        return drafted_of(self._client.stats)

    def generated_tokens(self) -> int | None:
        stats = self._client.stats
        return None if stats is None else stats.generated_tokens

    def start(self, asked: Asked) -> EngineAnswer:
        generation = self._client.submit(asked.messages, asked.prompt, asked.ids, asked.sampling)
        answer = EngineAnswer(generation)
        if asked.stream:
            generation.when_news(lambda: self._tell(answer))
        else:
            generation.when_done(lambda: self._tell(answer))
        return answer

    # The client's listening thread

    def _tell(self, answer: EngineAnswer) -> None:
        # An iteration's answers come one after the other: the loop is woken by the first of them alone.
        self._news.append(answer)
        if not self._told:
            self._told = True
            self._in_loop(self._deliver)

    def _ended(self, failure: Failure) -> None:
        self._in_loop(self._fail, failure)

    def _in_loop(self, callback: Callable[..., None], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(callback, *args)

    # The event loop

    def _deliver(self) -> None:
        self._told = False  # before looking: what comes from now on wakes again
        while self._news:
            self._news.popleft().wake()

    def _fail(self, failure: Failure) -> None:
        self._failure = failure
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(failure)


def drafted_of(stats: Stats | None) -> Drafted | None:
    """What an engine counts of speculative decoding; None: nothing."""
    if stats is None or stats.accepted_tokens is None:
        return None
    return Drafted(draft_tokens=stats.draft_tokens, accepted_tokens=stats.accepted_tokens, passes=stats.draft_passes)


class EngineAnswer:
    """One answer as it comes."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._index = 0
        self._waiter: asyncio.Future[None] | None = None
        self._woken = False

    def wake(self) -> None:
        self._woken = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> Sequence[Piece]:
        while True:
            if not self._woken:
                self._waiter = asyncio.get_running_loop().create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
            self._woken = False
            pieces = self._take()
            if pieces:
                return pieces

    def _take(self) -> list[Piece]:
        events = self._generation.take(self._index)
        chunks = self._generation.chunks_since(self._index)  # after the events, so that there is one for each
        pieces = []
        for number, event in enumerate(events):
            if isinstance(event, Finished):
                pieces.append(Piece(finish=event.reason, usage=event.usage, failure=self._generation.failure))
            else:
                self._index += 1
                pieces.append(Piece(event.text, event.ids, event.logprobs, event.tokens, chunks[number].t_s))
        return pieces

    def abort(self) -> None:
        self._generation.abort()

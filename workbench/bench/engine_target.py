"""Drives an engine host through its client. Times are those of the client's listening thread."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Sequence
from typing import Protocol

from workbench.bench.target import Ask, Ended, Heard
from workbench.core.errors import Failure, WorkbenchError
from workbench.core.messages import ChatTurn, Drafted, FinishReason, Sampling, Usage
from workbench.core.metrics import Chunk
from workbench.core.openai import apportion

_ABORT_GRACE_S = 10.0


class Answered(Protocol):
    """What is asked of a finished request."""

    @property
    def reason(self) -> FinishReason: ...
    @property
    def usage(self) -> Usage | None: ...
    @property
    def failure(self) -> Failure | None: ...
    @property
    def ids(self) -> tuple[int, ...]: ...
    @property
    def drafted(self) -> Drafted | None: ...


class Submitted(Protocol):
    """A request under way, as `EngineClient.submit` gives it."""

    @property
    def t0_s(self) -> float: ...
    def when_done(self, callback: Callable[[], None]) -> None: ...
    def chunks_since(self, index: int) -> tuple[Chunk, ...]: ...
    def abort(self) -> None: ...
    def result(self, timeout_s: float | None = None) -> Answered: ...


class Client(Protocol):
    """What the load generator needs of an engine's client; the one of engine hosts fits."""

    @property
    def failure(self) -> Failure | None: ...
    def submit(
        self,
        messages: Sequence[ChatTurn] | None = None,
        prompt: str | None = None,
        ids: Sequence[int] | None = None,
        sampling: Sampling | None = None,
    ) -> Submitted: ...


class EngineTarget:
    """An engine host. The client stays its owner's."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def send(self, ask: Ask, heard: Heard) -> Ended:
        loop = asyncio.get_running_loop()
        sampling = Sampling(
            max_tokens=ask.max_tokens, ignore_eos=ask.ignore_eos, temperature=ask.temperature, seed=ask.seed
        )
        try:
            submitted = self._client.submit(messages=ask.messages, prompt=ask.text, ids=ask.ids, sampling=sampling)
        except WorkbenchError as error:
            return Ended("error", error=_words(error.failure), fatal=self._client.failure)
        over: asyncio.Future[None] = loop.create_future()

        def ended() -> None:
            # The loop may be closed already when a request ends that nobody waits for any more.
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, over)

        seen = 0

        def pull() -> None:
            nonlocal seen
            came = submitted.chunks_since(seen)
            seen += len(came)
            for t_s, tokens in came:
                heard.chunk(t_s, tokens)

        heard.sent_s = submitted.t0_s
        heard.pull = pull
        heard.source = "engine ids"
        submitted.when_done(ended)
        try:
            await over
        except asyncio.CancelledError:
            submitted.abort()
            # The engine must be rid of it before the next point begins.
            await asyncio.wait([over], timeout=_ABORT_GRACE_S)
            pull()
            raise
        finally:
            heard.pull = None
        pull()
        return self._ended(submitted.result(0.0), heard)

    def _ended(self, answer: Answered, heard: Heard) -> Ended:
        usage = answer.usage
        reported = usage.output_tokens if usage is not None else None
        by_ids = bool(answer.ids) or not heard.times
        if not by_ids and reported is not None:
            heard.recount(array("l", apportion([1] * len(heard.times), reported)))
        return Ended(
            answer.reason,
            error=_words(answer.failure) if answer.failure is not None else "",
            input_tokens=usage.input_tokens if usage is not None else None,
            output_tokens=reported,
            count_source="engine ids" if by_ids else "server usage" if reported is not None else None,
            fatal=self._client.failure if answer.reason == "error" else None,
            drafted=answer.drafted,
        )

    async def close(self) -> None:
        return


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _words(failure: Failure) -> str:
    return f"{failure.what} ({failure.evidence})" if failure.evidence else failure.what

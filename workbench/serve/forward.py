"""A program with the same routes behind the front door: bodies go there, its bytes come back unchanged, and are read
on the way for their tokens alone.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Callable

from workbench.bench.stream import Pattern
from workbench.bench.wire import Connection, Gone, Origin, Pool, WireError
from workbench.core.errors import Failure, StepFailedError
from workbench.core.messages import Drafted, Usage
from workbench.core.openai import EventReader, MalformedEventError, TokenCounter, read_event
from workbench.jobs.engine import EngineClient
from workbench.serve.backend import Passed

_MOST_READ = 16 * 2**20
"""Of an answer in one piece, to find its usage; longer ones are passed on and not counted."""


class HttpForwarder:
    """Passes requests on to a program of this machine. Made in the event loop.

    `client` keeps the program alive and says when it is gone; it stays its maker's to close.
    """

    def __init__(self, client: EngineClient, url: str, program: str) -> None:
        """`url`: scheme, host and port. Raises ValueError when it is none."""
        self._client, self._program = client, program
        self._origin = Origin(url)
        self._pool = Pool(self._origin)
        self._loop = asyncio.get_running_loop()
        self._callbacks: list[Callable[[Failure], None]] = []
        client.on_end = self._ended
        self._failure = client.failure  # after that: it may end in this very moment

    @property
    def program(self) -> str:
        return self._program

    @property
    def max_seq_len(self) -> int | None:
        return self._client.ready.limits.get("max_seq_len")

    @property
    def failure(self) -> Failure | None:
        return self._failure

    def when_failed(self, callback: Callable[[Failure], None]) -> None:
        if self._failure is not None:
            callback(self._failure)
        else:
            self._callbacks.append(callback)

    def kv_share(self) -> float | None:
        stats = self._client.stats
        total = (stats.kv_blocks_total if stats is not None else None) or self._client.ready.kv_blocks_total
        if stats is None or stats.kv_blocks_used is None or not total:
            return None
        return min(1.0, stats.kv_blocks_used / total)

    def drafted(self) -> Drafted | None:
        """trtllm-serve's own records are of the last iterations alone and are not gathered."""
        return None

    async def forward(self, path: str, body: bytes, *, stream: bool) -> ForwardedAnswer:
        """Send a request and wait for the answer's status. Raises StepFailedError when the program cannot be
        reached.
        """
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._origin.netloc}\r\nContent-Type: application/json\r\n"
            f"Accept: {'text/event-stream' if stream else 'application/json'}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        request = head.encode("latin-1") + body
        try:
            try:
                return await self._ask(request, fresh=False)
            except Gone:  # it closed an idle connection in the very moment in which this was sent
                return await self._ask(request, fresh=True)
        except WireError as error:
            raise self._broken(str(error)) from error

    async def _ask(self, request: bytes, *, fresh: bool) -> ForwardedAnswer:
        connection = await self._pool.get(fresh)
        answer = ForwardedAnswer(self._pool, connection, self._broken)
        try:
            await answer.begin(request)
        except BaseException:
            answer.abort()
            raise
        return answer

    def _broken(self, words: str) -> StepFailedError:
        if self._failure is not None:
            return StepFailedError(
                self._failure.what, evidence=self._failure.evidence, fix=self._failure.fix, code=self._failure.code
            )
        return StepFailedError(f"{self._program} broke off.", evidence=words, code="broke-off")

    async def close(self) -> None:
        """Close all connections to the program."""
        await self._pool.close()

    def _ended(self, failure: Failure) -> None:
        """From the client's listening thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._fail, failure)

    def _fail(self, failure: Failure) -> None:
        self._failure = failure
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(failure)


class ForwardedAnswer:
    """One answer on its way through."""

    def __init__(self, pool: Pool, connection: Connection, broken: Callable[[str], StepFailedError]) -> None:
        self._pool, self._connection, self._broken = pool, connection, broken
        self._came: collections.deque[bytes] = collections.deque()
        self._waiter: asyncio.Future[None] | None = None
        self._over: asyncio.Future[None] | None = None
        self._closed = False
        self._ended = False
        self.status = 0
        self.content_type = ""
        self._events = EventReader()
        self._pattern = Pattern()
        self._counter = TokenCounter()
        self._whole = bytearray()

    async def begin(self, request: bytes) -> None:
        """Send it and wait until the status is known. Raises WireError."""
        self._over = self._connection.ask(request, self._hear)
        self._over.add_done_callback(self._is_over)
        while not self._came and not self._over.done():
            await self._news()
        if not self._came and self._over.exception() is not None:
            self._over.result()
        self.status = self._connection.status
        self.content_type = self._connection.content_type or "application/json"

    async def next(self) -> Passed | None:
        """The bytes that came since the last call; None at the end. Raises StepFailedError."""
        assert self._over is not None
        while not self._came:
            if self._ended:
                return None
            if self._over.done():
                return self._end()
            await self._news()
        data = b"".join(self._came)
        self._came.clear()
        return self._read(data)

    def abort(self) -> None:
        """Close the connection, which ends the request in the program."""
        if not self._closed:
            self._closed = True
            self._came.clear()
            self._pool.drop(self._connection)
            self._wake()

    def _end(self) -> Passed | None:
        """The body is over: what the whole of it says, or why it is not whole."""
        assert self._over is not None
        self._ended = True
        error = self._over.exception()
        if error is not None:
            self.abort()
            raise self._broken(str(error)) from error
        if not self._closed:
            self._closed = True
            self._pool.put(self._connection)
        told = self._counted(self._events.end() if self._streams else [bytes(self._whole)] if self._whole else [])
        return told if told.tokens or told.finish or told.usage else None

    @property
    def _streams(self) -> bool:
        return self.content_type == "text/event-stream"

    def _read(self, data: bytes) -> Passed:
        if self._streams:
            return self._counted(self._events.feed(data), data)
        if self.status == 200 and len(self._whole) + len(data) <= _MOST_READ:
            self._whole += data
        return Passed(data)

    def _counted(self, payloads: list[bytes], data: bytes = b"") -> Passed:
        tokens, finish = 0, ""
        usage: Usage | None = None
        for payload in payloads:
            length = self._pattern.text_length(payload)
            if length >= 0:
                tokens += self._counter.take_text(length) if length else 0
                continue
            try:
                delta = read_event(payload)
            except MalformedEventError:
                continue  # it is passed on as it is: the client may know it
            tokens += self._counter.take(delta)
            finish, usage = delta.finish or finish, delta.usage or usage
            if delta.error:
                finish = "error"
            self._pattern.learn(payload, delta)
        return Passed(data, tokens, finish, usage)

    def _hear(self, body: bytes, _now_s: float) -> None:
        self._came.append(bytes(body))
        self._wake()

    def _is_over(self, over: asyncio.Future[None]) -> None:
        if not over.cancelled():
            over.exception()  # looked at, whoever still wants to know: an answer that was aborted, nobody asks again
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _news(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

"""Worker `endpoint.host`: speaks the worker protocol to its client and HTTP to a server that somebody else runs.

So whatever talks to engines talks to endpoints. The key comes by the environment and leaves this process in request
headers alone: what a server says is searched for it before it is passed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from typing import Any

from workbench.core.messages import (
    Abort,
    Count,
    Counted,
    Finished,
    Generate,
    Ready,
    Sampling,
    Shutdown,
    Stats,
    StatsInterval,
    StepSpec,
)
from workbench.core.server_metrics import MetricsError
from workbench.workers.common import input_folder
from workbench.workers.endpoint.answer import Answer
from workbench.workers.endpoint.server import Server, open_spec, take_key
from workbench.workers.hosts.common import (
    DEFAULT_STATS_SECONDS,
    CommandReader,
    EndOfCommands,
    Incoming,
    Rubbish,
    RubbishLog,
    TooLong,
    line_too_long,
)
from workbench.workers.protocol import Channel, run_worker

PACKAGES = ("httpx", "httpcore")
_LEAST_METRICS_S = 0.25
"""A server is not asked more often."""
_ALIVE_S = 10.0
"""A client takes a host that is silent for minutes for hung, and a server may let requests wait that long."""
_FAILED_PAUSE_S = 5.0


class Host:
    """The open requests and what becomes of them."""

    def __init__(self, channel: Channel, server: Server) -> None:
        self._channel = channel
        self._server = server
        self._rubbish = RubbishLog(channel)
        self._open: dict[str, tuple[Answer, asyncio.Task[Finished]]] = {}
        self._side: set[asyncio.Task[None]] = set()
        self._stats_s = DEFAULT_STATS_SECONDS
        self._stats_changed = asyncio.Event()
        self._requests = 0
        self._generated = 0
        self._context = 0

    async def serve(self, reader: CommandReader) -> dict[str, Any]:
        """Serve until told to stop or standard input ends; the result's data."""
        inbox: asyncio.Queue[tuple[float, Incoming]] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        threading.Thread(target=_hand_over, args=(reader, loop, inbox), name="inbox", daemon=True).start()
        stats = loop.create_task(self._tell_stats())
        try:
            while True:
                received_s, command = await inbox.get()
                if not self._obey(command, received_s):
                    break
        finally:
            stats.cancel()
            await self._abort_all()
            await self._server.client.aclose()
        return {"requests": self._requests, "generated_tokens": self._generated}

    def _obey(self, command: Incoming, received_s: float) -> bool:
        """Do what a command says; False: the host is to end."""
        if isinstance(command, Generate):
            self._admit(command, received_s)
        elif isinstance(command, Count):
            self._aside(self._count(command))
        elif isinstance(command, Abort):
            self._abort(command.request)
        elif isinstance(command, StatsInterval):
            self._stats_s = command.seconds
            self._stats_changed.set()
        elif isinstance(command, Rubbish):
            if command.request is not None:
                self._refuse(command.request, f"the request is not valid: {command.text}")
            else:
                self._rubbish.note(command.text)
        elif isinstance(command, TooLong):
            raise line_too_long(command.size_bytes)
        return not isinstance(command, Shutdown | EndOfCommands)

    # Requests

    def _admit(self, command: Generate, received_s: float) -> None:
        name = command.request
        if name in self._open:
            self._refuse(name, f"a request named {name!r} is not finished yet; give each its own name")
            return
        self._requests += 1
        answer = Answer(self._server, command, received_s, self._channel.send_lines)
        task = asyncio.get_running_loop().create_task(answer.run())
        self._open[name] = answer, task
        # By a callback, since a task that is cancelled before its first turn runs none of its code.
        task.add_done_callback(lambda done: self._ended(answer, done))

    def _ended(self, answer: Answer, task: asyncio.Task[Finished]) -> None:
        del self._open[answer.name]
        self._generated += answer.tokens
        self._context += answer.input_tokens
        error = None if task.cancelled() else task.exception()
        if task.cancelled():
            end = answer.aborted()
        elif error is not None:  # one request must not end the host
            words = f"the endpoint's host failed: {type(error).__name__}: {error}"
            end = Finished(t=time.monotonic(), request=answer.name, reason="error", message=self._server.hide(words))
        else:
            end = task.result()
        self._channel.send(end)

    def _refuse(self, name: str, message: str) -> None:
        self._channel.send(Finished(t=time.monotonic(), request=name, reason="error", message=message))

    def _abort(self, name: str) -> None:
        found = self._open.get(name)
        if found is None:
            self._refuse(name, f"there is no request named {name!r} to abort; it may have finished")
        else:
            found[1].cancel()

    async def _abort_all(self) -> None:
        tasks = [task for _, task in self._open.values()]
        for task in [*tasks, *self._side]:
            task.cancel()
        await asyncio.gather(*tasks, *self._side, return_exceptions=True)

    async def _count(self, command: Count) -> None:
        body: dict[str, Any] = {"prompt": command.prompt or ""}
        if command.messages is not None:
            body = {"messages": [turn.model_dump() for turn in command.messages]}
        tokens = await self._server.count(body)
        longest = self._server.max_seq_len
        problem = ""
        if tokens is not None and longest is not None and tokens >= longest:
            problem = (
                f"the prompt is {tokens:,} tokens and the server's longest sequence is {longest:,}, "
                "prompt and answer together; shorten the prompt"
            )
        limit = None if longest is None else longest - 1
        self._channel.send(
            Counted(t=time.monotonic(), request=command.request, tokens=tokens, limit=limit, problem=problem)
        )

    def _aside(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._side.add(task)
        task.add_done_callback(self._side.discard)

    # Stats

    async def _tell_stats(self) -> None:
        """Tell of the server's state as often as the client wants, and of being alive while requests are open."""
        told_s = 0.0
        failed = False
        while True:
            wanted = self._stats_s > 0
            pause = max(self._stats_s, _LEAST_METRICS_S) if wanted else _ALIVE_S
            if failed:
                pause = max(pause, _FAILED_PAUSE_S)
            self._stats_changed.clear()
            now = time.monotonic()
            if wanted or (self._open and now - told_s >= _ALIVE_S):
                failed = not await self._ask_state(failed)
                self._channel.send(self._stats(known=not failed))
                told_s = time.monotonic()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stats_changed.wait(), pause)

    async def _ask_state(self, failed_before: bool) -> bool:
        """Ask the server for its metrics; False: it did not tell."""
        if not self._server.metrics_url:
            return True
        try:
            await self._server.ask_metrics(self._server.metrics_url)
        except MetricsError as error:
            if not failed_before:
                self._server.say(f"GET {self._server.metrics_url}: {error}", warn=True)
            return False
        return True

    def _stats(self, *, known: bool) -> Stats:
        """The server's figures; tokens are those of this client alone where the server does not count them."""
        if known and self._server.metrics_url:
            stats = self._server.state.stats()
            if stats.generated_tokens is not None:
                return stats
        else:
            stats = Stats()
        running = sum(answer.tokens for answer, _ in self._open.values())
        return stats.model_copy(update={"context_tokens": self._context, "generated_tokens": self._generated + running})


def _hand_over(
    reader: CommandReader, loop: asyncio.AbstractEventLoop, inbox: asyncio.Queue[tuple[float, Incoming]]
) -> None:
    """From the reader's queue into the event loop's."""
    while True:
        for item in reader.take(wait=True):
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(inbox.put_nowait, item)
            if isinstance(item[1], EndOfCommands | TooLong):
                return


def sampling_names(server: Server) -> tuple[str, ...]:
    """Settings that this kind of server takes, in the order of `Sampling`."""
    return tuple(name for name in Sampling.model_fields if name in server.dialect.fields)


async def _run(reader: CommandReader, server: Server, channel: Channel, began_s: float) -> dict[str, Any]:
    try:
        await server.open()
    except BaseException:
        await server.client.aclose()
        raise
    limits = {"max_seq_len": server.max_seq_len} if server.max_seq_len is not None else {}
    channel.send(
        Ready(
            limits=limits,
            kv_blocks_total=server.state.kv_blocks_total,
            kv_block_tokens=server.state.kv_block_tokens,
            load_seconds=time.monotonic() - began_s,
            chat_template=server.spec.api != "triton",
            sampling=sampling_names(server),
            settings=server.applied(),
        )
    )
    return await Host(channel, server).serve(reader)


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Find the server that the folder given as input `engine` describes, and serve by it."""
    began_s = time.monotonic()
    reader = CommandReader(channel)
    endpoint = open_spec(input_folder(spec, "engine"))
    server = Server(endpoint, take_key(endpoint), channel)
    try:
        return asyncio.run(_run(reader, server, channel, began_s))
    except BrokenPipeError:
        os._exit(1)  # nobody listens any more


if __name__ == "__main__":
    run_worker("endpoint.host", work, packages=PACKAGES, reads_commands=True)

"""What every engine host does with its commands and its table of requests, whatever library serves them.

A host adds how a request is handed over, how its answer is collected, and what its `stats` say.
"""

from __future__ import annotations

import abc
import asyncio
import collections
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from workbench.core.messages import Abort, Count, Generate, Sampling, Shutdown, Stats, StatsInterval
from workbench.workers.hosts.common import (
    CommandReader,
    EndOfCommands,
    Incoming,
    Limits,
    Outbox,
    Request,
    RequestError,
    Rubbish,
    RubbishLog,
    StatsTimer,
    TooLong,
    capped_max_tokens,
    counted,
    line_too_long,
    prompt_ids,
)
from workbench.workers.hosts.text import ChatTemplate, Detokenizer, StopFinder, TemplateError, load_chat_template
from workbench.workers.protocol import Channel


class ServedEngine(Protocol):
    """What is asked of a loaded engine here."""

    @property
    def limits(self) -> Limits: ...

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        """Tokens of a text."""


E = TypeVar("E", bound=ServedEngine)


class EngineHost(abc.ABC, Generic[E]):
    """The requests of an engine: `_open` are in the library's hands, `_waiting` are not yet."""

    def __init__(
        self, channel: Channel, engine: E, template: ChatTemplate | None, new_detokenizer: Callable[[], Detokenizer]
    ) -> None:
        self._channel = channel
        self._engine = engine
        self._template = template
        self._new_detokenizer = new_detokenizer
        self._outbox = Outbox(channel)
        self._rubbish = RubbishLog(channel)
        self._timer = StatsTimer()
        self._open: dict[str, Request] = {}
        self._waiting: collections.deque[Request] = collections.deque()
        self._requests = 0
        """How many were handed to the library since the start."""
        self._context_tokens = 0
        self._generated_tokens = 0

    # A host's own

    @abc.abstractmethod
    def _own_settings(self, sampling: Sampling, most: int) -> Any:
        """The library's form of a request's settings; `most`: tokens its answer may get. Raises RequestError."""

    @abc.abstractmethod
    def _take_in(self, request: Request) -> bool:
        """A request that passed every check here: queue it, or hand it over. False: it was refused."""

    @abc.abstractmethod
    def _cancel(self, request: Request) -> None:
        """Have the library stop a request that was open."""

    @abc.abstractmethod
    def _stats(self) -> Stats:
        """What there is to say of the engine now."""

    def _close(self, request: Request) -> None:
        """Forget an open request that has ended."""
        del self._open[request.name]

    # Commands

    def _obey(self, command: Incoming, received_s: float) -> bool:
        """Do what a command says; False: the host is to end."""
        if isinstance(command, Generate):
            self._admit(command, received_s)
        elif isinstance(command, Count):
            engine = self._engine
            self._channel.send(counted(command, self._template, engine.encode, engine.limits))
        elif isinstance(command, Abort):
            self._abort(command.request)
        elif isinstance(command, StatsInterval):
            self._timer.set(command.seconds)
            self._tell_stats_if_due()
        elif isinstance(command, Rubbish):
            if command.request is not None:
                self._outbox.refused(command.request, f"the request is not valid: {command.text}")
            else:
                self._rubbish.note(command.text)
        elif isinstance(command, TooLong):
            self._abort_all()
            raise line_too_long(command.size_bytes)
        return not isinstance(command, Shutdown | EndOfCommands)

    def _admit(self, command: Generate, received_s: float) -> None:
        """Check a request and take it in."""
        name, sampling, limits = command.request, command.sampling, self._engine.limits
        if name in self._open or any(request.name == name for request in self._waiting):
            self._outbox.refused(name, f"a request named {name!r} is not finished yet; give each its own name")
            return
        try:
            ids = prompt_ids(command, self._template, self._engine.encode, limits)
            most = capped_max_tokens(sampling.max_tokens, len(ids), limits)
            own = self._own_settings(sampling, most)
        except RequestError as error:
            self._outbox.refused(name, str(error))
            return
        detokenizer, stops = self._new_detokenizer(), StopFinder(sampling.stop)
        taken = self._take_in(Request(name, ids, sampling, own, detokenizer, stops, received_s))
        if taken and most < sampling.max_tokens:
            wanted = f"{sampling.max_tokens:,} tokens asked for"
            self._channel.log(f"request {name}: {wanted}, there is room for {most:,}")

    def _abort(self, name: str) -> None:
        request = self._open.get(name)
        if request is not None:
            self._close(request)
            self._cancel(request)
        else:
            request = next((one for one in self._waiting if one.name == name), None)
            if request is None:
                self._outbox.refused(name, f"there is no request named {name!r} to abort; it may have finished")
                return
            self._waiting.remove(request)
        self._outbox.finished(request, "abort", timings={})

    def _fail_all(self, message: str) -> None:
        """End what is open with an error: nobody asked for its end, so it was not aborted."""
        for request in list(self._open.values()):
            self._close(request)
            self._outbox.finished(request, "error", timings={}, message=message)

    def _abort_all(self) -> None:
        for name in [*(request.name for request in self._waiting), *self._open]:
            with contextlib.suppress(Exception):  # what fails here is about to go anyway
                self._abort(name)
        self._outbox.send()

    # Counts

    def _note_tokens(self, request: Request, ids: list[int]) -> None:
        """Count new tokens of an answer, and its prompt with the first; to be called before they are sent."""
        if ids and request.first_token_s is None:
            self._context_tokens += len(request.prompt_ids)
        self._generated_tokens += len(ids)

    def _tell_stats_if_due(self) -> None:
        if self._timer.due():
            self._channel.send(self._stats())

    def _served(self) -> dict[str, Any]:
        """The result's data."""
        return {"requests": self._requests, "generated_tokens": self._generated_tokens}


class LoopHost(EngineHost[E]):
    """A host that lives in an event loop: commands come from a thread, lines go out once a turn."""

    def __init__(
        self, channel: Channel, engine: E, template: ChatTemplate | None, new_detokenizer: Callable[[], Detokenizer]
    ) -> None:
        super().__init__(channel, engine, template, new_detokenizer)
        self._work = asyncio.Event()
        self._flushing = False

    @abc.abstractmethod
    def _flush(self) -> None:
        """Send the lines of an iteration, after `_flushing` was set back."""

    def _fill_batch(self) -> None:
        """Hand over what waits and fits."""

    async def _obey_all(self, reader: CommandReader) -> None:
        """Obey the commands as they come, until one ends the host."""
        inbox: asyncio.Queue[tuple[float, Incoming]] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        threading.Thread(target=_hand_over, args=(reader, loop, inbox), name="inbox", daemon=True).start()
        while True:
            received_s, command = await inbox.get()
            if not self._obey(command, received_s):
                return
            if inbox.empty():
                self._fill_batch()
                self._outbox.send()

    def _flush_soon(self) -> None:
        """Lines of an iteration go out together: its answers come one after the other in a turn of the loop."""
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flushing = False
        self._flush()


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


def usable_template(folder: Path, channel: Channel) -> ChatTemplate | None:
    """The chat template in `folder`; None where there is none, or it is broken, which is logged."""
    try:
        return load_chat_template(folder)
    except TemplateError as error:
        channel.log(f"the chat template cannot be used, plain prompts only: {error}", "warning")
        return None


def told_limits(limits: Limits, *, max_batch_size: int, max_num_batched_tokens: int) -> dict[str, int]:
    """The limits of a `ready` line; the KV pool's is left out where it is not known."""
    given = {
        "max_seq_len": limits.max_seq_len,
        "max_batch_size": max_batch_size,
        "max_num_batched_tokens": max_num_batched_tokens,
        "kv_tokens": limits.kv_tokens,
    }
    return {name: value for name, value in given.items() if value is not None}

"""The client of an engine host: starts it, talks to it, and ends it. The host belongs to its client and dies
with it.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType

from pydantic import BaseModel

from workbench.core.errors import BadInputError, CancelledError, Failure, StepFailedError
from workbench.core.messages import (
    MAX_LINE_BYTES,
    PROTOCOL_VERSION,
    Abort,
    ChatTurn,
    Count,
    Counted,
    Error,
    Finished,
    Generate,
    Hello,
    Log,
    Message,
    Phase,
    Progress,
    Ready,
    Sampling,
    Shutdown,
    Stats,
    StatsInterval,
    Tokens,
)
from workbench.jobs.engine_wire import HostCommand, HostProcess, HostWords
from workbench.jobs.generation import Answer, Event, Generation

__all__ = ["Answer", "EngineClient", "Event", "Generation", "HostCommand"]

_LOGGED_MESSAGES = 10_000
_LOOK_S = 0.1
"""How often it is looked whether loading is to stop."""


class EngineClient:
    """A loaded engine that takes many requests at once. Made by `start`; a context manager.

    All methods may be called from any thread. `on_stats` is called from the thread that reads the host's
    messages, so it must be quick; what it raises is noted in the log.
    The host asks the kernel to kill it when the *thread* that started it ends (PR_SET_PDEATHSIG follows
    threads), so that thread must outlive the host: the client starts it from the very thread that then
    listens to it.
    """

    def __init__(
        self,
        command: HostCommand,
        log_path: Path,
        on_load: Callable[[Message], None] | None,
        on_stats: Callable[[Stats], None] | None,
        on_end: Callable[[Failure], None] | None,
        silence_s: float,
    ) -> None:
        self.on_stats = on_stats
        self.on_end = on_end
        self.log_path = log_path
        self._on_load = on_load
        self._silence_s = silence_s
        self._lock = threading.Lock()
        self._open: dict[str, Generation] = {}
        self._counts: dict[str, Future[Counted]] = {}
        self._numbers = itertools.count(1)
        self._stats: Stats | None = None
        self._hello: Hello | None = None
        self._ready: Ready | None = None
        self._host_error: Failure | None = None
        self._failure: Failure | None = None
        self._closing = False
        self._logged = 0
        self._loaded = threading.Event()
        self._process = HostProcess(command, log_path, self._hear, self._check_silence, self._ended)

    @classmethod
    def start(
        cls,
        command: HostCommand,
        log_path: Path,
        on_load: Callable[[Message], None] | None = None,
        timeout_s: float = 600.0,
        *,
        on_stats: Callable[[Stats], None] | None = None,
        on_end: Callable[[Failure], None] | None = None,
        stop: threading.Event | None = None,
        silence_s: float = 120.0,
    ) -> EngineClient:
        """Start a host and wait until it takes requests.

        `on_load` gets the messages before that (phases, progress, log). `on_end` is told, from the listening
        thread, why the host is gone, whoever ended it. `stop`: set it to give up loading. `silence_s`: a host that
        says nothing for so long while requests are open is taken for hung and killed. The host's raw output is
        appended to `log_path`.
        Raises CancelledError when stopped, StepFailedError when the host fails, dies or is not ready in `timeout_s`.
        """
        client = cls(command, log_path, on_load, on_stats, on_end, silence_s)
        try:
            client._process.start()
            if not client._wait_loaded(timeout_s, stop):
                client._process.end_with(
                    HostWords(
                        Failure(
                            code="timeout",
                            what="The engine was not ready in time.",
                            evidence=f"waited {timeout_s:g} s{client._process.last_line_shown()}",
                            fix="Give it longer, or look at its log for what it was doing.",
                        )
                    )
                )
                client._process.wait(10.0)
            with client._lock:
                failure = client._failure
            if failure is not None or client._ready is None:
                raise _error(failure or _closed())
        except BaseException:
            client.close(grace_s=0.0)
            raise
        return client

    def _wait_loaded(self, timeout_s: float, stop: threading.Event | None) -> bool:
        ends = time.monotonic() + timeout_s
        while not self._loaded.wait(min(_LOOK_S, max(0.0, ends - time.monotonic()))):
            if stop is not None and stop.is_set():
                raise CancelledError("Loading the engine was stopped.", code="load-stopped")
            if time.monotonic() >= ends:
                return False
        return True

    def __enter__(self) -> EngineClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def ready(self) -> Ready:
        """Limits and KV blocks, as the host told them."""
        assert self._ready is not None
        return self._ready

    @property
    def hello(self) -> Hello | None:
        """The host's process id and versions."""
        return self._hello

    @property
    def stats(self) -> Stats | None:
        """The latest `stats`; None before the first."""
        return self._stats

    @property
    def failure(self) -> Failure | None:
        """Why the host is gone; None while it lives."""
        return self._failure

    def submit(
        self,
        messages: Sequence[ChatTurn] | None = None,
        prompt: str | None = None,
        ids: Sequence[int] | None = None,
        sampling: Sampling | None = None,
    ) -> Generation:
        """Ask for an answer to exactly one of a conversation (chat template applied), a prompt or token ids.

        Never waits. Raises BadInputError for input that cannot be sent, StepFailedError when the host is gone
        or does not read.
        """
        if sum(part is not None for part in (messages, prompt, ids)) != 1:
            raise BadInputError("Give exactly one of messages, prompt and ids.")
        name = f"r{next(self._numbers)}"
        sampling = sampling or Sampling()
        line = _line(
            Generate(
                request=name,
                messages=None if messages is None else tuple(messages),
                prompt=prompt,
                ids=None if ids is None else tuple(ids),
                sampling=sampling,
            )
        )
        generation = Generation(name, sampling, self._abort)
        with self._lock:
            if self._failure is not None or self._closing:
                raise _error(self._failure or _closed())
            if not self._open:
                self._process.heard_s = time.monotonic()
            self._open[name] = generation
        try:
            generation.t0_s = time.monotonic()
            self._process.send(line)
        except StepFailedError:
            with self._lock:
                self._open.pop(name, None)
            raise
        return generation

    def count(self, messages: Sequence[ChatTurn] | None = None, prompt: str | None = None) -> Future[Counted]:
        """Ask how many tokens a conversation or a prompt is, and whether the engine would take it.

        Never waits; the answer comes between two iterations, and fails as StepFailedError when the host is gone.
        Raises as `submit` does.
        """
        if (messages is None) == (prompt is None):
            raise BadInputError("Give exactly one of messages and prompt.")
        name = f"c{next(self._numbers)}"
        line = _line(Count(request=name, messages=None if messages is None else tuple(messages), prompt=prompt))
        future: Future[Counted] = Future()
        with self._lock:
            if self._failure is not None or self._closing:
                raise _error(self._failure or _closed())
            self._counts[name] = future
        try:
            self._process.send(line)
        except StepFailedError:
            with self._lock:
                self._counts.pop(name, None)
            raise
        return future

    def set_stats_interval(self, seconds: float) -> None:
        """How often the host sends `stats`; 0: never."""
        self._process.send(_line(StatsInterval(seconds=seconds)))

    def close(self, grace_s: float = 3.0) -> None:
        """End the host: ask, then SIGTERM after `grace_s`, then SIGKILL. Open requests end as failed.
        Idempotent.
        """
        with self._lock:
            self._closing = True
        if grace_s > 0:
            with contextlib.suppress(StepFailedError):
                self._process.send(_line(Shutdown()))
            self._process.send_end()
        self._process.stop(grace_s)

    def _abort(self, name: str) -> None:
        with contextlib.suppress(StepFailedError):
            self._process.send(_line(Abort(request=name)))

    # Called by the listening thread

    def _hear(self, message: Message, now_s: float) -> None:
        if isinstance(message, Tokens | Finished):
            generation = self._open.get(message.request)
            if generation is None:
                return
            if not generation.add(message, now_s):
                raise HostWords(
                    Failure(
                        code="flood",
                        what="The engine host sent more tokens than were asked for, or ids that no vocabulary has.",
                        evidence=f"request {message.request}, max_tokens {generation.sampling.max_tokens:,}",
                        fix="This is a fault of the host; its log may say more.",
                    )
                )
            if isinstance(message, Finished):
                with self._lock:
                    self._open.pop(message.request, None)
        elif isinstance(message, Counted):
            with self._lock:
                future = self._counts.pop(message.request, None)
            if future is not None:
                future.set_result(message)
        elif isinstance(message, Stats):
            self._stats = message
            if self.on_stats is not None:
                self._call(self.on_stats, message)
        elif isinstance(message, Ready):
            self._ready = message
            self._loaded.set()
        elif isinstance(message, Hello):
            self._greet(message)
        elif isinstance(message, Error):
            self._host_error = Failure(
                code=message.code, what=message.message, evidence=message.cause, fix=message.hint
            )
        elif isinstance(message, Log):
            self._logged += 1
            if self._logged <= _LOGGED_MESSAGES:
                self._process.note(f"[{message.level}] {message.text}")
            self._while_loading(message)
        elif isinstance(message, Phase | Progress):
            self._while_loading(message)

    def _while_loading(self, message: Message) -> None:
        if self._on_load is not None and self._ready is None:
            self._call(self._on_load, message)

    def _greet(self, message: Hello) -> None:
        self._hello = message
        if message.protocol != PROTOCOL_VERSION:
            raise HostWords(
                Failure(
                    code="protocol",
                    what="The engine host speaks another version of the protocol.",
                    evidence=f"it speaks {message.protocol}, this program {PROTOCOL_VERSION}",
                    fix="Use the worker files of the same Engine Workbench version.",
                )
            )

    def _call(self, callback: Callable[..., None], message: Message) -> None:
        try:
            callback(message)
        except Exception as error:
            self._process.note(f"[client] a callback failed: {type(error).__name__}: {error}")

    def _check_silence(self, silent_s: float) -> None:
        if self._open and silent_s > self._silence_s:
            raise HostWords(
                Failure(
                    code="hung",
                    what="The engine host says nothing any more and was ended.",
                    evidence=f"{len(self._open)} open requests, no message for {silent_s:.0f} s",
                    fix="Load the engine again; its log may say more.",
                )
            )

    def _ended(self, words: Failure | None, explained: Failure) -> None:
        """The host is gone: by `words` if the client ended it, else as `explained` from its exit."""
        with self._lock:
            self._failure = words or (_closed() if self._closing else self._host_error or explained)
            left = list(self._open.values())
            self._open.clear()
            counts = list(self._counts.values())
            self._counts.clear()
        for future in counts:
            future.set_exception(_error(self._failure))
        for generation in left:
            generation.fail(self._failure)
        self._loaded.set()
        if self.on_end is not None:
            try:
                self.on_end(self._failure)
            except Exception as error:
                self._process.note(f"[client] a callback failed: {type(error).__name__}: {error}")


def _line(command: BaseModel) -> bytes:
    try:
        line = command.model_dump_json(exclude_none=True).encode() + b"\n"
    except ValueError as error:
        raise BadInputError(
            "The prompt holds text that is not valid Unicode.",
            evidence=str(error),
            fix="Send plain UTF-8 text.",
        ) from error
    if len(line) > MAX_LINE_BYTES:
        raise BadInputError(
            "The prompt is too long to be sent.",
            evidence=f"{len(line):,} bytes; the limit is {MAX_LINE_BYTES:,}",
            fix="Send a shorter prompt.",
        )
    return line


def _closed() -> Failure:
    return Failure(code="closed", what="The engine was closed.", fix="Load it again.")


def _error(failure: Failure) -> StepFailedError:
    return StepFailedError(failure.what, evidence=failure.evidence, fix=failure.fix, code=failure.code)

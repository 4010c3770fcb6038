"""What every engine host shares: commands from stdin, the table of open requests, their lines out, the stats
timer.

The hot loop writes its `tokens` lines by hand: eight requests at 500 tokens a second leave half a millisecond
per iteration before the protocol shows in the throughput.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.core.messages import (
    MAX_LINE_BYTES,
    Abort,
    Count,
    Counted,
    Drafted,
    Finished,
    FinishReason,
    Generate,
    RubbishError,
    Sampling,
    Shutdown,
    StatsInterval,
    Usage,
    parse_command,
)
from workbench.workers.common import first_line
from workbench.workers.hosts.drafting import DraftCount
from workbench.workers.hosts.text import ChatTemplate, Detokenizer, StopFinder, TemplateError
from workbench.workers.protocol import Channel, WorkerError

DEFAULT_STATS_SECONDS = 0.5
_LOGGED_RUBBISH_LINES = 20


class RequestError(Exception):
    """A request that cannot be served; its text is the `finished` line's message."""


@dataclass(frozen=True)
class EndOfCommands:
    """Standard input was closed: whoever started the host is gone."""


@dataclass(frozen=True)
class TooLong:
    """A command line over the protocol's limit."""

    size_bytes: int


@dataclass(frozen=True)
class Rubbish:
    """A command line that is no command."""

    text: str
    request: str | None
    """The request it wanted to make, where that can be read."""


Incoming = Generate | Count | Abort | StatsInterval | Shutdown | Rubbish | TooLong | EndOfCommands


class CommandReader:
    """A thread that reads commands into a queue, so that the engine's loop never waits for them unless it is
    idle.
    """

    def __init__(self, channel: Channel) -> None:
        self._lines = channel.commands()
        self._queue: queue.SimpleQueue[tuple[float, Incoming]] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="commands", daemon=True).start()

    def _read(self) -> None:
        for line in self._lines:
            if len(line) > MAX_LINE_BYTES:
                self._put(TooLong(len(line)))
                return
            if line.strip():
                try:
                    self._put(parse_command(line))
                except RubbishError as error:
                    self._put(Rubbish(str(error), _request_of(line)))
        self._put(EndOfCommands())

    def _put(self, command: Incoming) -> None:
        self._queue.put((time.monotonic(), command))

    def take(self, *, wait: bool) -> Iterator[tuple[float, Incoming]]:
        """All commands that have come, with the time they came; `wait`: sleep until there is at least one."""
        if wait:
            yield self._queue.get()
        while True:
            try:
                yield self._queue.get_nowait()
            except queue.Empty:
                return


def _request_of(line: bytes) -> str | None:
    """The request's name in a `generate` line whose other fields are wrong."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    name = data.get("request") if isinstance(data, dict) and data.get("type") == "generate" else None
    # Half a surrogate pair cannot be written back.
    return name if isinstance(name, str) and name == name.encode("utf-8", "replace").decode() else None


@dataclass(eq=False)
class Request:
    """One request that the engine works on, or will."""

    name: str
    prompt_ids: list[int]
    sampling: Sampling
    config: Any
    """The engine's own form of the sampling settings."""
    detokenizer: Detokenizer
    stops: StopFinder
    received_s: float
    admitted_s: float = 0.0
    first_token_s: float | None = None
    output_tokens: int = 0
    handle: Any = None
    drafted: DraftCount = field(default_factory=DraftCount)
    json_name: str = field(init=False)

    def __post_init__(self) -> None:
        self.json_name = json.dumps(self.name)

    @property
    def usage(self) -> Usage:
        return Usage(input_tokens=len(self.prompt_ids), output_tokens=self.output_tokens)


_quoted = json.encoder.encode_basestring_ascii


def tokens_line(request: Request, text: str, ids: Sequence[int], logprobs: Sequence[float] | None, now_s: float) -> str:
    """One `tokens` message as a line, without the pydantic model's cost."""
    shown = "" if logprobs is None else ',"logprobs":' + json.dumps(list(logprobs))
    return (
        f'{{"t":{now_s:.6f},"type":"tokens","request":{request.json_name},"text":{_quoted(text)},'
        f'"ids":[{",".join(map(str, ids))}]{shown}}}\n'
    )


class Outbox:
    """Answers on their way out: lines gathered during an iteration, written together at its end."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lines: list[str] = []

    def tokens(self, request: Request, ids: Sequence[int], logprobs: Sequence[float] | None, *, last: bool) -> bool:
        """Queue new tokens with the text they add. True: a stop string was found, the answer ends here."""
        now = time.monotonic()
        if ids and request.first_token_s is None:
            request.first_token_s = now
        request.output_tokens += len(ids)
        text = request.detokenizer.feed(ids)
        if last:
            text += request.detokenizer.flush()
        text, stopped = request.stops.feed(text, last=last)
        if ids or text:
            self._lines.append(tokens_line(request, text, ids, logprobs, now))
        return stopped

    def finished(
        self,
        request: Request,
        reason: FinishReason,
        *,
        timings: dict[str, float],
        message: str = "",
        drafted: Drafted | None = None,
    ) -> None:
        """Queue the end of a request, after its tokens."""
        now = time.monotonic()
        clock = {"host_latency_ms": (now - request.received_s) * 1000}
        if request.admitted_s:
            clock["host_queue_ms"] = (request.admitted_s - request.received_s) * 1000
        if request.first_token_s is not None:
            clock["host_ttft_ms"] = (request.first_token_s - request.received_s) * 1000
        self._append(
            Finished(
                t=now,
                request=request.name,
                reason=reason,
                usage=request.usage,
                timings={name: round(value, 3) for name, value in {**timings, **clock}.items()},
                message=message,
                drafted=drafted or request.drafted.message,
            )
        )

    def refused(self, name: str, message: str) -> None:
        """Queue the end of a request that never began."""
        self._append(Finished(t=time.monotonic(), request=name, reason="error", message=message))

    def _append(self, message: Finished) -> None:
        self._lines.append(message.model_dump_json(exclude_none=True) + "\n")

    def send(self) -> None:
        """Write what is queued, in one go."""
        if self._lines:
            data = "".join(self._lines).encode()
            self._lines.clear()
            self._channel.send_lines(data)


@dataclass(frozen=True)
class Limits:
    """What one request may ask for, in tokens."""

    max_seq_len: int
    """Prompt and answer together, by the model."""
    kv_tokens: int | None
    """Prompt and answer together, by the KV pool."""
    vocabulary: int | None
    prompt_batch: int | None = None
    """Longest prompt where prompts are not split over iterations."""


def prompt_ids(
    command: Generate, template: ChatTemplate | None, encode: Callable[[str, bool], list[int]], limits: Limits
) -> list[int]:
    """The prompt's tokens. `encode` takes the text and whether the tokenizer adds its special tokens.

    Raises RequestError, with the counts, for anything that the engine could not serve.
    """
    given = [name for name in ("messages", "prompt", "ids") if getattr(command, name) is not None]
    if len(given) != 1:
        raise RequestError(
            f"a request gives exactly one of messages, prompt and ids, this one gives {' and '.join(given) or 'none'}"
        )
    if command.ids is not None:
        ids = list(command.ids)
        top = limits.vocabulary
        wrong = next((i for i in ids if i < 0 or (top is not None and i >= top)), None)
        if wrong is not None:
            raise RequestError(f"token id {wrong} is not in the vocabulary of {top if top is not None else '?'} tokens")
    else:
        ids = _encoded(command, template, encode)
    refuse_length(len(ids), limits)
    return ids


def _encoded(
    command: Generate | Count, template: ChatTemplate | None, encode: Callable[[str, bool], list[int]]
) -> list[int]:
    text = _prompt_text(command, template)
    nul = text.find("\0")
    if nul >= 0:
        raise RequestError(f"the prompt holds a NUL byte at character {nul}; take it out")
    try:
        return encode(text, command.messages is None)
    except RuntimeError as error:
        raise RequestError(f"the engine's tokenizer failed on the prompt: {first_line(error)}") from error


def refuse_length(tokens: int, limits: Limits) -> None:
    """Raises RequestError, with the counts, for a prompt of a length that the engine cannot serve."""
    if not tokens:
        raise RequestError("the prompt is empty; give at least one token")
    if tokens >= limits.max_seq_len:
        raise RequestError(
            f"the prompt is {tokens:,} tokens and the engine's longest sequence is {limits.max_seq_len:,}, "
            "prompt and answer together; shorten the prompt"
        )
    if limits.kv_tokens is not None and tokens >= limits.kv_tokens:
        raise RequestError(
            f"the prompt is {tokens:,} tokens and the KV pool holds {limits.kv_tokens:,}, "
            "prompt and answer together; shorten the prompt or load the engine with a larger KV pool"
        )
    if limits.prompt_batch is not None and tokens > limits.prompt_batch:
        raise RequestError(
            f"the prompt is {tokens:,} tokens and an iteration takes {limits.prompt_batch:,}; "
            "switch chunked prefill on or raise max_num_batched_tokens"
        )


def counted(
    command: Count, template: ChatTemplate | None, encode: Callable[[str, bool], list[int]], limits: Limits
) -> Counted:
    """How long the prompt is and why it would be refused, if it would; never raises RequestError."""
    tokens: int | None = None
    problem = ""
    try:
        tokens = len(_encoded(command, template, encode))
        refuse_length(tokens, limits)
    except RequestError as error:
        problem = str(error)
    most = [limits.max_seq_len - 1, *([limits.kv_tokens - 1] if limits.kv_tokens is not None else [])]
    most += [limits.prompt_batch] if limits.prompt_batch is not None else []
    return Counted(t=time.monotonic(), request=command.request, tokens=tokens, limit=min(most), problem=problem)


def _prompt_text(command: Generate | Count, template: ChatTemplate | None) -> str:
    if command.messages is None:
        return command.prompt or ""
    if template is None:
        raise RequestError("this engine has no chat template; send a plain prompt")
    if not command.messages:
        raise RequestError("the conversation is empty; give at least one message")
    try:
        return template.render([turn.model_dump() for turn in command.messages])
    except TemplateError as error:
        raise RequestError(f"the chat template does not accept this conversation: {error}") from error


def capped_max_tokens(wanted: int, prompt_tokens: int, limits: Limits) -> int:
    """How many tokens an answer may get: what is wanted, as far as the sequence length and the KV pool go."""
    room = limits.max_seq_len if limits.kv_tokens is None else min(limits.max_seq_len, limits.kv_tokens)
    return min(wanted, room - prompt_tokens)


class StatsTimer:
    """When the next `stats` is due."""

    def __init__(self, seconds: float = DEFAULT_STATS_SECONDS) -> None:
        self._seconds = seconds
        self._next_s = 0.0

    @property
    def on(self) -> bool:
        return self._seconds > 0

    def set(self, seconds: float) -> None:
        self._seconds = seconds
        self._next_s = 0.0

    def due(self) -> bool:
        """Whether it is time; if so the next one is an interval from now."""
        now = time.monotonic()
        if not self.on or now < self._next_s:
            return False
        self._next_s = now + self._seconds
        return True


class RubbishLog:
    """Notes command lines that are no commands; the first few in full, then only every thousandth."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._count = 0

    def note(self, text: str) -> None:
        self._count += 1
        if self._count <= _LOGGED_RUBBISH_LINES:
            self._channel.log(f"ignored a command line: {text}", "warning")
        elif self._count % 1000 == 0:
            self._channel.log(f"ignored {self._count:,} command lines so far", "warning")


def line_too_long(size_bytes: int) -> WorkerError:
    """The error that ends a host which was sent a line over the protocol's limit."""
    return WorkerError(
        "a command line is over the protocol's limit",
        code="line-too-long",
        cause=f"{size_bytes:,} bytes; the limit is {MAX_LINE_BYTES:,}",
        hint="Send a shorter prompt.",
    )


def resident_bytes() -> int | None:
    """Resident memory of this process (Linux); None where it is not reported."""
    try:
        for line in Path("/proc/self/status").read_text("ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def available_bytes() -> int | None:
    """Memory that can be had without swapping (Linux); None where it is not reported."""
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None

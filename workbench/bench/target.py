"""What is measured, as the load generator sees it: something that takes one request and tells of its responses."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from workbench.core.answer import CountSource
from workbench.core.errors import Failure
from workbench.core.messages import ChatTurn, Drafted
from workbench.core.metrics import Chunk

Outcome = Literal["stop", "length", "abort", "error"]


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to be sent. Exactly one of `messages`, `text` and `ids` is given."""

    prompt: int
    """Its number in the workload, from 0."""
    max_tokens: int
    messages: tuple[ChatTurn, ...] | None = None
    """For the chat template."""
    text: str | None = None
    """As it is."""
    ids: tuple[int, ...] | None = None
    ignore_eos: bool = False
    temperature: float = 0.0
    seed: int | None = None
    at_s: float | None = None
    """Of a trace: when it is due, in seconds since the trace's beginning."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a request ended, as its target saw it."""

    end: Outcome
    error: str = ""
    """In words, with `end` error."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    """As the engine or server reports it."""
    count_source: CountSource | None = None
    """Where the token counts of the responses are from; None: one a response was assumed."""
    malformed: int = 0
    """Events that were not of the protocol and were passed over."""
    fatal: Failure | None = None
    """The target is gone for good: no further request can succeed."""
    drafted: Drafted | None = None
    """What speculative decoding did for it; None: not reported."""


class Tally:
    """What a point has heard so far, over all its requests."""

    __slots__ = ("tokens",)

    def __init__(self) -> None:
        self.tokens = 0


class Heard:
    """Where a target puts the responses of one request. Cheap: two arrays, and no object a token."""

    __slots__ = ("_tally", "counted", "counts", "enough", "half_at", "pull", "sent_s", "source", "times")

    def __init__(self, tally: Tally | None = None, half_at: int | None = None) -> None:
        self.times = array("d")
        """Seconds on the monotonic clock (`time.monotonic`, which is the event loop's)."""
        self.counts = array("l")
        """Output tokens of each response; 0 where it carried text or bookkeeping only."""
        self.counted = 0
        self.half_at = half_at
        """So many tokens are enough: then `enough` is called, once."""
        self.enough: Callable[[], None] | None = None
        self.pull: Callable[[], None] | None = None
        """Set by a target that keeps the responses elsewhere meanwhile: brings those over that have come."""
        self.sent_s: float | None = None
        """Set by a target that knows better than its caller when the request was handed to the transport."""
        self.source: CountSource | None = None
        """Where `counts` are from so far; what `Ended` says goes before it."""
        self._tally = tally or Tally()

    def chunk(self, t_s: float, tokens: int) -> None:
        """A response came at `t_s` with so many output tokens. Called on the event loop's thread."""
        self.times.append(t_s)
        self.counts.append(tokens)
        self.counted += tokens
        self._tally.tokens += tokens
        if self.half_at is not None and self.counted >= self.half_at:
            self.half_at = None
            if self.enough is not None:
                self.enough()

    def recount(self, counts: array[int]) -> None:
        """Set the token counts right once the true ones are known; one for each response.

        Raises ValueError when their number differs.
        """
        if len(counts) != len(self.times):
            raise ValueError(f"{len(counts)} counts for {len(self.times)} responses")
        total = sum(counts)
        self._tally.tokens += total - self.counted
        self.counts, self.counted = counts, total

    def chunks(self, origin_s: float) -> tuple[Chunk, ...]:
        """All responses with times since `origin_s`."""
        return tuple(Chunk(t_s - origin_s, tokens) for t_s, tokens in zip(self.times, self.counts, strict=True))


class Target(Protocol):
    """Takes requests, any number at a time, on one event loop."""

    async def send(self, ask: Ask, heard: Heard) -> Ended:
        """Send a request and see it to its end. Failures of the request or of the server come back in words as
        `Ended`, never as exceptions.

        When the task is cancelled, the request is given up on the server's side as well, and CancelledError goes on.
        """
        ...

    async def close(self) -> None:
        """Let go of connections. What the target drives is its owner's to end."""
        ...

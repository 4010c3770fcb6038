"""What stands behind a server's front door: what answers requests itself, or a program that they are passed on to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from workbench.core.errors import Failure
from workbench.core.messages import ChatTurn, Drafted, FinishReason, Sampling, Usage

ApiKind = Literal["chat", "completions"]


@dataclass(frozen=True)
class Asked:
    """A request as it was read and checked: exactly one of `messages`, `prompt` and `ids`."""

    kind: ApiKind
    sampling: Sampling
    messages: tuple[ChatTurn, ...] | None = None
    prompt: str | None = None
    ids: tuple[int, ...] | None = None
    stream: bool = False
    include_usage: bool = False
    """Usage as the last event of a stream."""
    token_ids: bool = False
    """The ids of new tokens with every event of a stream, and of all tokens with a whole answer."""
    echo: bool = False
    """The prompt's text stands before the answer."""


class Piece(NamedTuple):
    """What an answer grew by. The last one has `finish`; it may carry no text."""

    text: str = ""
    ids: Sequence[int] = ()
    logprobs: Sequence[float] | None = None
    tokens: int = 0
    at_s: float = 0.0
    """When it arrived from the engine, on the monotonic clock."""
    finish: FinishReason | None = None
    usage: Usage | None = None
    failure: Failure | None = None
    """With finish `error`."""


class Answering(Protocol):
    """An answer under way, used by the event loop alone."""

    async def next(self) -> Sequence[Piece]:
        """All that has come since the last call, at least one piece; not to be called after one with `finish`.

        Of an answer that is not streamed all comes at its end.
        """

    def abort(self) -> None:
        """The client does not want it any more; never waits, does nothing once it has ended."""


class _Behind(Protocol):
    @property
    def program(self) -> str:
        """What answers, for people: `engine host`, `trtllm-serve 1.2.1`."""

    @property
    def max_seq_len(self) -> int | None:
        """Prompt and answer together, in tokens; None: not reported."""

    @property
    def failure(self) -> Failure | None:
        """Why it is gone; None while it lives."""

    def when_failed(self, callback: Callable[[Failure], None]) -> None:
        """Have `callback` called, in the event loop, once it is gone; at once if it is already."""

    def kv_share(self) -> float | None:
        """Of the KV cache in use, 0 to 1; None: not reported."""

    def drafted(self) -> Drafted | None:
        """Speculative decoding since it was loaded; None: not reported."""


class Backend(_Behind, Protocol):
    """Answers requests itself: the server's own routes stand in front of it."""

    @property
    def takes(self) -> Collection[str] | None:
        """Names of the sampling settings that it knows; None: not reported."""

    @property
    def longest_answer(self) -> int | None:
        """Tokens to ask for where a client of chat names no limit; None: as many as the sequence has room for."""

    def generated_tokens(self) -> int | None:
        """Since it was loaded; None: not reported."""

    def start(self, asked: Asked) -> Answering:
        """Begin an answer; never waits. Raises BadInputError for what it cannot be asked, StepFailedError when it is
        gone.
        """


class Passed(NamedTuple):
    """Bytes of an answer on their way through."""

    data: bytes
    tokens: int = 0
    """Which they brought, as far as that can be seen while they pass."""
    finish: str = ""
    """The reason, where these bytes hold it."""
    usage: Usage | None = None


class Forwarded(Protocol):
    """An answer of the program behind, used by the event loop alone."""

    @property
    def status(self) -> int: ...

    @property
    def content_type(self) -> str: ...

    async def next(self) -> Passed | None:
        """The bytes that came since the last call; None at the end. Raises StepFailedError when it broke off."""

    def abort(self) -> None:
        """Close the connection to the program, which ends the request there; never waits."""


class Forwarder(_Behind, Protocol):
    """A program with the same routes of its own: checked bodies go there, and its bytes come back unchanged."""

    async def forward(self, path: str, body: bytes, *, stream: bool) -> Forwarded:
        """Send a request (`/v1/completions`, `/v1/chat/completions`) and wait for the answer's status.

        Cancelling it ends the request there. Raises StepFailedError when the program cannot be reached.
        """

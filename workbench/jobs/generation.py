"""One request to an engine host as its client sees it: events as they come, raw timings, and the answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from workbench.core import metrics
from workbench.core.answer import CountSource
from workbench.core.errors import BadInputError, Failure, StepFailedError
from workbench.core.figures import Figures
from workbench.core.messages import Drafted, Finished, FinishReason, Sampling, Tokens, Usage
from workbench.core.metrics import Chunk
from workbench.jobs.came import Came, News

Event = Tokens | Finished

_EXTRA_EVENTS = 64
"""Messages that a well-behaved host may send beyond one a token."""
_ID_END = 2**31
"""No vocabulary has this many tokens: engines hold ids in 32 bits."""


@dataclass(frozen=True)
class Answer(Figures):
    """A finished request. Timings are the client's: see workbench.core.metrics for the formulas.

    `text`, `ids` and `chunks` hold whatever arrived, also when the request failed or was aborted.
    """

    text: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    """Natural logarithm of each token's probability; None when not asked for or not reported."""
    reason: FinishReason
    failure: Failure | None
    """With reason `error`: what went wrong."""
    usage: Usage | None
    """As the engine reports it."""
    engine_timings_ms: dict[str, float] = field(hash=False)
    """As the host reports them; names that begin with `host_` are its own clock, the others the engine's."""
    t0_s: float
    """Monotonic time at which the request was handed to the transport."""
    chunks: tuple[Chunk, ...]
    """Every response's time and token count."""
    count_source: CountSource | None = "engine ids"
    """Where the token counts are from; None: nothing counted them, and a response is taken for one token."""
    drafted: Drafted | None = None
    """What speculative decoding did for it; None: not reported."""

    @property
    def output_tokens(self) -> int:
        return metrics.output_tokens(self.chunks)

    def raise_for_failure(self) -> Answer:
        """The answer itself; raises BadInputError for a request the engine refused, StepFailedError for other
        errors.
        """
        if self.failure is not None:
            kind = BadInputError if self.failure.code == BAD_REQUEST else StepFailedError
            failure = self.failure
            raise kind(failure.what, evidence=failure.evidence, fix=failure.fix, code=failure.code)
        return self


BAD_REQUEST = "bad-request"


class Generation:
    """A request under way. Iterating gives its events from the first on, waiting for those to come; any
    number of threads may iterate, and each sees all of them. The last event is always `Finished`.
    """

    def __init__(self, request: str, sampling: Sampling, send_abort: Callable[[str], None]) -> None:
        self.request = request
        self.sampling = sampling
        self.t0_s = time.monotonic()
        self._send_abort = send_abort
        self._came = Came(request)
        self._end: Finished | None = None
        self._failure: Failure | None = None
        self._changed = threading.Condition()
        self._done = threading.Event()
        self._callbacks: list[Callable[[], None]] = []
        self._on_news: Callable[[], None] | None = None

    @property
    def done(self) -> bool:
        return self._done.is_set()

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """Time and token count of every response that has come."""
        with self._changed:
            return self._came.chunks()

    def news(self, index: int) -> tuple[News, Finished | None]:
        """What the responses from that number on brought together, and the end where it has come; never waits.

        Cheaper than `take`: it makes no message anew.
        """
        with self._changed:
            return self._came.since(index), self._end

    def chunks_since(self, index: int) -> tuple[Chunk, ...]:
        """Time and token count of the responses from that number on."""
        with self._changed:
            return self._came.chunks(index)

    @property
    def failure(self) -> Failure | None:
        """Why it ended with reason `error`; None before that."""
        return self._failure

    def when_done(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once it has ended, from the listening thread, or here and now if it has already.

        It must be quick and must not raise.
        """
        with self._changed:
            if not self._done.is_set():
                self._callbacks.append(callback)
                return
        callback()

    def when_news(self, callback: Callable[[], None]) -> None:
        """Have `callback` called after each response and at the end, from the listening thread; here and now besides
        if something has come already. There is one such callback a request; it must be quick and must not raise.
        """
        with self._changed:
            self._on_news = callback
            come = len(self._came) > 0 or self._done.is_set()
        if come:
            callback()

    def abort(self) -> None:
        """Ask the host to stop it; it ends with reason `abort`. Nothing happens when it is done already."""
        if not self.done:
            self._send_abort(self.request)

    def __iter__(self) -> Iterator[Event]:
        index = 0
        while True:
            event = self.event(index)
            assert event is not None
            yield event
            if isinstance(event, Finished):
                return
            index += 1

    def event(self, index: int, timeout_s: float | None = None) -> Event | None:
        """The event with that number (from 0), waiting for it; None when it has not come in time.

        Raises IndexError when the request ended with fewer events.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._count > index or self._done.is_set(), timeout_s)
            if index < len(self._came):
                return self._came.event(index)
            if self._end is not None and index == len(self._came):
                return self._end
            if self._done.is_set():
                raise IndexError(f"request {self.request} ended after {self._count} events")
            return None

    def take(self, index: int) -> tuple[Event, ...]:
        """All events from that number on that have come; never waits."""
        with self._changed:
            count, end = len(self._came), self._end
            found: list[Event] = [self._came.event(number) for number in range(index, count)]
        return (*found, end) if end is not None and index <= count else tuple(found)

    @property
    def _count(self) -> int:
        return len(self._came) + (self._end is not None)

    def result(self, timeout_s: float | None = None) -> Answer:
        """The answer, waiting for its end. A failed request gives an answer with `failure` set.

        Raises StepFailedError (code `timeout`) when it has not ended in time; it goes on then.
        """
        if not self._done.wait(timeout_s):
            raise StepFailedError(
                "The answer is not finished yet.",
                evidence=f"waited {timeout_s:g} s, {self._came.tokens} tokens came",
                fix="Wait longer, or abort the request.",
                code="timeout",
            )
        came, end = self._came, self._end
        assert end is not None
        return Answer(
            text=came.text,
            ids=came.ids,
            logprobs=came.logprobs,
            reason=end.reason,
            failure=self._failure,
            usage=end.usage,
            engine_timings_ms=dict(end.timings),
            t0_s=self.t0_s,
            chunks=came.chunks(),
            count_source=end.count_source or ("engine ids" if came.ids or not came.tokens else None),
            drafted=end.drafted,
        )

    # What the client's reader does

    def add(self, event: Event, now_s: float) -> bool:
        """Take an event that arrived at `now_s`. False: the host sends what the request cannot have."""
        ended = False
        with self._changed:
            if self._done.is_set():
                return True
            if isinstance(event, Finished):
                if event.reason == "error" and self._failure is None:
                    self._failure = Failure(
                        code=BAD_REQUEST,
                        what=event.message or "The engine refused the request without saying why.",
                    )
                if event.counts is not None:
                    self._came.recount(event.counts)
                self._end = event
                self._done.set()
                ended = True
            elif event.tokens or event.text:
                most = self.sampling.max_tokens + _EXTRA_EVENTS
                if not 0 <= event.tokens <= most - self._came.tokens or len(self._came) >= most:
                    return False
                if not all(0 <= token < _ID_END for token in event.ids):
                    return False
                self._came.add(event, now_s)
            self._changed.notify_all()
            on_news = self._on_news
        if ended:
            self._tell()
        if on_news is not None:
            on_news()
        return True

    def fail(self, failure: Failure) -> None:
        """End it because its host is gone; what came stays."""
        with self._changed:
            if self._done.is_set():
                return
            self._failure = failure
            self._end = Finished(request=self.request, reason="error", message=failure.what)
            self._done.set()
            self._changed.notify_all()
            on_news = self._on_news
        self._tell()
        if on_news is not None:
            on_news()

    def _tell(self) -> None:
        """Outside the lock, since a callback may ask this request for what came."""
        with self._changed:
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

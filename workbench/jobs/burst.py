"""A burst: the same or several prompts sent to an engine at once, so that in-flight batching can be watched."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from workbench.core import metrics
from workbench.core.answer import AnswerRecord, EngineRef
from workbench.core.conversation import clean_text
from workbench.core.errors import BadInputError, Failure, WorkbenchError
from workbench.core.messages import ChatTurn, Finished, FinishReason, Sampling
from workbench.core.metrics import Chunk
from workbench.jobs.burst_prompts import MOST_BYTES, MOST_PROMPTS, SUFFIXES, Prompt, read_prompts
from workbench.jobs.engine import EngineClient
from workbench.jobs.generation import Generation

__all__ = [
    "MOST_BYTES", "MOST_PROMPTS", "MOST_REQUESTS", "SUFFIXES", "Burst", "BurstRow", "BurstSummary", "Prompt",
    "RowState", "read_prompts",
]  # fmt: skip

MOST_REQUESTS = 64
BURST_SCHEMA = 1
_MOST_SEED = 2**63 - 1

RowState = Literal["waiting", "active", "done", "failed", "stopped"]
_ENDS: dict[FinishReason, RowState] = {"stop": "done", "length": "done", "abort": "stopped", "error": "failed"}


@dataclass(frozen=True)
class BurstRow:
    """One request of a burst as it is now. Figures that are not known or not reported are None."""

    number: int
    """From 1."""
    prompt: str
    state: RowState = "waiting"
    """Waiting: no token has come yet."""
    input_tokens: int | None = None
    """As the engine reports it, at the end."""
    output_tokens: int | None = 0
    """None: text came, but no token ids to count."""
    ttft_ms: float | None = None
    output_tok_s: float | None = None
    """Output speed per user, TTFT left out; of an active row, so far."""
    latency_ms: float | None = None
    """End to end; None until the request ended."""
    text: str = ""
    reason: FinishReason | None = None
    failure: Failure | None = None
    seed: int | None = None

    @property
    def open(self) -> bool:
        return self.reason is None


@dataclass(frozen=True)
class BurstSummary:
    """A burst in figures; see METRICS: throughput counts from t0 to the last token."""

    total: int
    done: int
    active: int
    waiting: int
    failed: int
    stopped: int
    input_tokens: int | None
    """Sum over the rows that report it; None: none does."""
    input_rows: int
    """How many rows report it."""
    output_tokens: int | None
    ttft_p50_ms: float | None
    ttft_p95_ms: float | None
    ttft_rows: int
    """How many rows the two percentiles are of."""
    output_tok_s: float | None
    """All rows together."""
    elapsed_s: float
    """Since the first request was sent, until the last one ended."""

    @property
    def ended(self) -> bool:
        return not self.active and not self.waiting


class _Request:
    """A row with what it takes to bring it up to date: only what is new is looked at."""

    def __init__(self, number: int, prompt: Prompt, sampling: Sampling) -> None:
        self.prompt = prompt
        self.sampling = sampling
        self.generation: Generation | None = None
        self.row = BurstRow(number, prompt.text, seed=sampling.seed)
        self.last_s: float | None = None
        """When the last token came."""
        self.end_s = 0.0
        """When it ended: with its last token, unless something else ended it; then, when that was seen."""
        self._responses = self._tokens = 0
        self._first: Chunk | None = None
        self._text = ""

    def refuse(self, failure: Failure | None) -> None:
        """It was not sent: because of `failure`, or because the burst was stopped before."""
        reason: FinishReason = "error" if failure is not None else "abort"
        self.end_s = time.monotonic()
        self.row = BurstRow(
            self.row.number, self.prompt.text, _ENDS[reason], reason=reason, failure=failure, seed=self.row.seed
        )

    def look(self) -> BurstRow:
        """The row as it is now; the same object when nothing came."""
        generation = self.generation
        if generation is None or not self.row.open:
            return self.row
        news, end = generation.news(self._responses)
        if news.responses == self._responses and end is None:
            return self.row
        self._responses = news.responses
        self._tokens += news.tokens
        self._first = self._first or news.first
        self.last_s = self.last_s if news.last_s is None else news.last_s
        self._text += news.text
        if end is not None:
            last_s = self.last_s if end.reason in ("stop", "length") else None
            self.end_s = time.monotonic() if last_s is None else last_s
        usage = end.usage if end is not None else None
        ends = self._ends()
        counted: int | None = self._tokens
        if not self._tokens and self._text:
            counted = usage.output_tokens if usage is not None else None
        state: RowState = _ENDS[end.reason] if end is not None else "active" if self._responses else "waiting"
        self.row = BurstRow(
            number=self.row.number,
            prompt=self.prompt.text,
            state=state,
            input_tokens=usage.input_tokens if usage is not None else None,
            output_tokens=counted,
            ttft_ms=metrics.ttft_ms(generation.t0_s, ends),
            output_tok_s=metrics.output_tok_s(ends),
            latency_ms=metrics.latency_ms(generation.t0_s, ends) if end is not None else None,
            text=self._text,
            reason=end.reason if end is not None else None,
            failure=generation.failure if end is not None and end.reason == "error" else None,
            seed=self.row.seed,
        )
        return self.row

    def _ends(self) -> tuple[Chunk, ...]:
        """The first response and all later ones as one: the formulas ask for no more of the times."""
        first, later = self._first, self._tokens - (self._first.tokens if self._first else 0)
        if first is None or self.last_s is None:
            return ()
        return (first, Chunk(self.last_s, later)) if later else (first,)

    def record(self) -> str:
        """All there is to know of it, with the raw timings, as JSON in one line."""
        generation = self.generation
        answer: AnswerRecord | None = None
        if generation is not None:
            events = generation.take(0)
            if not events or not isinstance(events[-1], Finished):
                events = (*events, Finished(request=generation.request, reason="abort"))
            answer = AnswerRecord.from_events(
                events,
                t0_s=generation.t0_s,
                chunks=generation.chunks,
                sampling=self.sampling,
                failure=generation.failure,
            )
        head = {
            "number": self.row.number,
            "state": self.row.state,
            "prompt": self.prompt.text,
            "messages": [turn.model_dump() for turn in self.prompt.turns] or None,
            "system": self.prompt.system,
            "seed": self.row.seed,
            "failure": self.row.failure.model_dump() if self.row.failure is not None else None,
        }
        kept = answer.model_dump_json() if answer is not None else "null"
        return f'{json.dumps(head, ensure_ascii=False)[:-1]}, "answer": {kept}}}'


class Burst:
    """`count` requests at once. Prompts are repeated in order up to `count`; further ones are not sent.

    With a seed each request has its own: the first the seed itself, the next one more, and so on. `system` and `chat`
    say how a text is sent: as a message with the chat template, or as it is. `start` takes as long as writing the
    prompts as JSON takes, so not on a GUI thread; all else is quick. Any thread may call any method.
    Raises BadInputError for a count outside 1 to MOST_REQUESTS and when there is no prompt.
    """

    def __init__(
        self,
        client: EngineClient,
        prompts: Sequence[str | Prompt],
        count: int,
        sampling: Sampling | None = None,
        system: str = "",
        chat: bool = True,
        source: str = "",
        engine: EngineRef | None = None,
    ) -> None:
        given = [Prompt(prompt) if isinstance(prompt, str) else prompt for prompt in prompts]
        if not 1 <= count <= MOST_REQUESTS:
            raise BadInputError(
                f"A burst is 1 to {MOST_REQUESTS} requests.", evidence=f"asked for {count:,}", code="bad-burst"
            )
        if not given or any(not prompt.text.strip() for prompt in given[:count]):
            raise BadInputError(
                "There is nothing to send: the prompt is empty.", fix="Write a message first.", code="empty-prompt"
            )
        self.count = count
        self.source = source
        """Where the prompts are from, in words."""
        self.distinct = min(len(given), count)
        self.given = len(given)
        self.sampling = sampling or Sampling()
        self.system = system
        self.chat = chat
        self.engine = engine
        self.started_at = time.time()
        """Seconds since the epoch."""
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(self.started_at))
        self.id = f"{stamp}-{secrets.token_hex(3)}"
        self._client = client
        self._t0_s: float | None = None
        self._ended_s: float | None = None
        self._stopped = False
        self._lock = threading.Lock()
        self._requests = [
            _Request(place + 1, given[place % len(given)], _with_seed(self.sampling, place)) for place in range(count)
        ]

    def start(self) -> None:
        """Send all requests. One that is refused is a failed row, and the others go on."""
        try:
            for request in self._requests:
                if self._stopped:
                    break
                self._submit(request)
        finally:  # whatever happened, no row stays open that nothing will ever close
            with self._lock:
                for request in self._requests:
                    if request.generation is None and request.row.open:
                        request.refuse(None)

    def _submit(self, request: _Request) -> None:
        messages, prompt = self._sent(request.prompt)
        try:
            generation = self._client.submit(messages=messages, prompt=prompt, sampling=request.sampling)
        except WorkbenchError as error:
            with self._lock:
                request.refuse(error.failure)
            return
        with self._lock:
            request.generation = generation
            if self._t0_s is None:
                self._t0_s = generation.t0_s
            stopped = self._stopped
        if stopped:
            generation.abort()

    def stop(self) -> None:
        """Abort all that is open; what came stays."""
        with self._lock:
            self._stopped = True
            open_ones = [request.generation for request in self._requests if request.generation is not None]
        for generation in open_ones:
            generation.abort()

    def rows(self) -> tuple[BurstRow, ...]:
        """All rows as they are now; a row in which nothing changed is the same object as before. Never waits."""
        with self._lock:
            rows = tuple(request.look() for request in self._requests)
            if self._ended_s is None and not any(row.open for row in rows):
                self._ended_s = max(request.end_s for request in self._requests)
            return rows

    def summary(self, rows: Sequence[BurstRow] | None = None) -> BurstSummary:
        """The burst in figures, of `rows()` or of those that were just asked for."""
        shown = self.rows() if rows is None else rows
        counts = dict.fromkeys(("done", "active", "waiting", "failed", "stopped"), 0)
        for row in shown:
            counts[row.state] += 1
        inputs = [row.input_tokens for row in shown if row.input_tokens is not None]
        outputs = [row.output_tokens for row in shown if row.output_tokens is not None]
        ttfts = [row.ttft_ms for row in shown if row.ttft_ms is not None]
        with self._lock:
            t0_s, ended_s = self._t0_s, self._ended_s
            last_s = max((r.last_s for r in self._requests if r.last_s is not None), default=None)
        speed = None
        if t0_s is not None and last_s is not None:
            speed = metrics.throughput_tok_s(sum(outputs), last_s - t0_s)
        now_s = time.monotonic() if ended_s is None else ended_s
        return BurstSummary(
            total=len(shown),
            **counts,
            input_tokens=sum(inputs) if inputs else None,
            input_rows=len(inputs),
            output_tokens=sum(outputs) if outputs else None,
            ttft_p50_ms=metrics.percentile(ttfts, 50),
            ttft_p95_ms=metrics.percentile(ttfts, 95),
            ttft_rows=len(ttfts),
            output_tok_s=speed,
            elapsed_s=now_s - t0_s if t0_s is not None else 0.0,
        )

    def to_json(self) -> str:
        """Everything, with the raw timings (monotonic seconds of this run): what is kept and exported.

        Takes some time for long answers: not for a GUI thread. Requests that are still open are written as aborted.
        """
        self.rows()
        head = {
            "schema_version": BURST_SCHEMA,
            "kind": "burst",
            "id": self.id,
            "started_at": self.started_at,
            "source": self.source,
            "count": self.count,
            "chat": self.chat,
            "system": self.system,
            "sampling": self.sampling.model_dump(mode="json"),
            "engine": self.engine.model_dump(mode="json") if self.engine is not None else None,
        }
        rows = ",\n  ".join(request.record() for request in self._requests)
        # A prompt that was refused for half a character is kept all the same.
        return clean_text(json.dumps(head, ensure_ascii=False, indent=1)[:-2] + f',\n "rows": [\n  {rows}\n ]\n}}\n')

    def _sent(self, prompt: Prompt) -> tuple[tuple[ChatTurn, ...] | None, str | None]:
        """What is handed to the engine: messages, or a text as it is."""
        if not prompt.turns and not self.chat:
            return None, prompt.text
        turns = prompt.turns or (ChatTurn(role="user", content=prompt.text),)
        system = self.system if prompt.system is None else prompt.system
        if system and turns[0].role != "system":
            turns = (ChatTurn(role="system", content=system), *turns)
        return turns, None


def _with_seed(sampling: Sampling, place: int) -> Sampling:
    if sampling.seed is None:
        return sampling
    seed = sampling.seed + place
    return sampling.model_copy(update={"seed": seed if seed <= _MOST_SEED else seed - _MOST_SEED - 1})

"""What a server counts and times: for Prometheus under the field's names, and for people as readings.

Names are vLLM's with `workbench_` before them, and so are the buckets; what vLLM has no name for follows its style.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from workbench.core.messages import Drafted
from workbench.core.serving import ServeReading
from workbench.serve.rolling import Rate, Rolling

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "workbench_"
_NOTED = 20
"""Refusals of a kind that are noted each; then every hundredth, so that a crowd does not push all else out."""
RATE_S = 5.0
"""Speeds of a reading are over the last seconds."""

_DRAFTS = {
    "num_drafts": ("passes", "Passes in which guesses of speculative decoding were checked, or could have been."),
    "num_draft_tokens": ("draft_tokens", "Tokens that speculative decoding guessed."),
    "num_accepted_tokens": ("accepted_tokens", "Guessed tokens that the engine kept."),
}
"""vLLM's name after `spec_decode_` -> field of Drafted."""
_TTFT = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
)  # fmt: skip
_ITL = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
_REQUEST = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip


class Timed:
    """The times of one request, on the monotonic clock."""

    __slots__ = ("_itl", "began_s", "first_s", "input_tokens", "last_s", "output_tokens", "queue_s")

    def __init__(self, began_s: float, itl: Histogram) -> None:
        self.began_s = began_s
        self.queue_s: float | None = None
        """How long it waited for a seat; None: it has none yet."""
        self.first_s: float | None = None
        self.last_s: float | None = None
        self.input_tokens = 0
        self.output_tokens = 0
        self._itl = itl

    def came(self, tokens: int, at_s: float) -> None:
        """A response with tokens arrived. A response without one is none."""
        if tokens <= 0:
            return
        self.output_tokens += tokens
        if self.last_s is None:
            self.first_s = at_s
        else:
            self._itl.observe(at_s - self.last_s)
        self.last_s = at_s

    @property
    def ttft_s(self) -> float | None:
        return None if self.first_s is None else self.first_s - self.began_s

    @property
    def itl_s(self) -> float | None:
        """Mean time between tokens."""
        if self.first_s is None or self.last_s is None or self.output_tokens < 2:
            return None
        return (self.last_s - self.first_s) / (self.output_tokens - 1)


class Meter:
    """All of one server's figures. Used by one event loop alone."""

    def __init__(self, model: str, max_seq_len: int = 131_072, on_problem: Callable[[str], None] | None = None) -> None:
        self._on_problem = on_problem
        self._registry = CollectorRegistry()
        self._model = model
        self.began_at = int(time.time())
        """Seconds since the epoch."""
        self._running = self._gauge("num_requests_running", "Requests that are with the engine.")
        self._waiting = self._gauge("num_requests_waiting", "Requests that wait for their turn.")
        self._kv = self._gauge("kv_cache_usage_perc", "Share of the KV cache in use, 0 to 1.")
        self._kv_told = False
        self._drafts = {name: self._counter(f"spec_decode_{name}", words) for name, (_, words) in _DRAFTS.items()}
        self._drafted: dict[str, int] = {}
        self._connections = self._gauge("num_connections", "Open connections.")
        self._prompt = self._counter("prompt_tokens", "Prompt tokens of requests that ended.")
        self._generated = self._counter("generation_tokens", "Tokens of answers.")
        self._success = Counter(
            PREFIX + "request_success", "Requests that ended, by the reason.", ["model_name", "finished_reason"],
            registry=self._registry,
        )  # fmt: skip
        self._away = Counter(
            PREFIX + "requests_refused", "Requests that were sent away, by HTTP status.", ["model_name", "status"],
            registry=self._registry,
        )  # fmt: skip
        self._aborted = self._counter("requests_aborted", "Requests whose client went away or did not read.")
        self._failed = self._counter("requests_failed", "Requests that ended with a fault of the server (5xx).")
        self._ttft = self._histogram("time_to_first_token_seconds", "From the request to its first token.", _TTFT)
        self._itl = self._histogram("inter_token_latency_seconds", "Between responses with tokens.", _ITL)
        self._tpot = self._histogram(
            "request_time_per_output_token_seconds", "Mean time between tokens of a request.", _ITL
        )
        self._latency = self._histogram("e2e_request_latency_seconds", "From the request to its end.", _REQUEST)
        self._queue = self._histogram("request_queue_time_seconds", "Wait for a turn.", _REQUEST)
        counts = _one_two_five(max_seq_len)
        self._prompt_sizes = self._histogram("request_prompt_tokens", "Prompt tokens of a request.", counts)
        self._answer_sizes = self._histogram("request_generation_tokens", "Tokens of an answer.", counts)
        self._rolling = {name: Rolling() for name in ("ttft", "itl", "latency", "queue_wait")}
        self._token_rate, self._request_rate = Rate(RATE_S), Rate(RATE_S)
        self._engine_tokens: int | None = None
        self._looked_s = 0.0
        self.completed = self.aborted = self.failed = 0
        self.input_tokens = self.output_tokens = 0
        self.refused: dict[str, int] = {}

    def note(self, words: str) -> None:
        """Something that the operator may want to know."""
        if self._on_problem is not None:
            self._on_problem(words)

    # Requests

    def begin(self, at_s: float | None = None) -> Timed:
        return Timed(time.monotonic() if at_s is None else at_s, self._itl)

    def took_seat(self, timed: Timed, waited_s: float) -> None:
        timed.queue_s = waited_s
        self._queue.observe(waited_s)
        self._rolling["queue_wait"].add(waited_s * 1000)

    def tokens(self, timed: Timed, tokens: int, at_s: float) -> None:
        """A response of an answer arrived."""
        if tokens > 0:
            first = timed.first_s is None
            timed.came(tokens, at_s)
            self.output_tokens += tokens
            self._generated.inc(tokens)
            if self._engine_tokens is None:
                self._token_rate.add(tokens)
            if first:
                ttft_s = at_s - timed.began_s
                self._ttft.observe(ttft_s)
                self._rolling["ttft"].add(ttft_s * 1000)

    def settle(self, timed: Timed, input_tokens: int, output_tokens: int) -> None:
        """What the engine itself counted, once the answer has ended."""
        timed.input_tokens = input_tokens
        more = output_tokens - timed.output_tokens
        if more > 0:  # such as an end token that no response carried
            timed.output_tokens = output_tokens
            self.output_tokens += more
            self._generated.inc(more)
            if self._engine_tokens is None:  # an answer in one piece: when each came is not known
                now_s = time.monotonic()
                since_s = timed.last_s if timed.last_s is not None else timed.began_s + (timed.queue_s or 0.0)
                self._token_rate.add_since(more, min(since_s, now_s), now_s)

    def end(self, timed: Timed, reason: str) -> None:
        """An answer is complete: `stop` or `length`."""
        self.completed += 1
        self._request_rate.add(1)
        self._success.labels(self._model, reason).inc()
        latency_s = time.monotonic() - timed.began_s
        self._latency.observe(latency_s)
        self._rolling["latency"].add(latency_s * 1000)
        if timed.itl_s is not None:
            self._tpot.observe(timed.itl_s)
            self._rolling["itl"].add(timed.itl_s * 1000)
        self._sizes(timed)

    def abort(self, timed: Timed, why: str = "") -> None:
        """The client went away or did not read."""
        self.aborted += 1
        self._aborted.inc()
        self._success.labels(self._model, "abort").inc()
        self._sizes(timed)
        if why:
            self.note(why)

    def aborted_early(self) -> None:
        """The client went away before it had sent its request."""
        self.aborted += 1
        self._aborted.inc()

    def fail(self, timed: Timed | None, words: str) -> None:
        """5xx."""
        self.failed += 1
        self._failed.inc()
        if timed is not None:
            self._sizes(timed)
        self.note(words)

    def refuse(self, status: int, words: str) -> None:
        """Sent away before the engine had it."""
        name = str(status)
        self.refused[name] = self.refused.get(name, 0) + 1
        self._away.labels(self._model, name).inc()
        if self.refused[name] <= _NOTED or self.refused[name] % 100 == 0:
            self.note(words)

    def _sizes(self, timed: Timed) -> None:
        self.input_tokens += timed.input_tokens
        self._prompt.inc(timed.input_tokens)
        if timed.input_tokens:
            self._prompt_sizes.observe(timed.input_tokens)
            self._answer_sizes.observe(timed.output_tokens)

    # Out

    def now(
        self, *, active: int, queued: int, connections: int, kv_share: float | None, drafted: Drafted | None = None
    ) -> None:
        """How it is at this moment. `drafted`: speculative decoding since the engine was loaded."""
        for name, (field, _) in _DRAFTS.items():
            count: int | None = getattr(drafted, field, None)
            if count is not None:
                self._drafts[name].inc(max(0, count - self._drafted.get(name, 0)))
                self._drafted[name] = count
        self._running.set(active)
        self._waiting.set(queued)
        self._connections.set(connections)
        self._kv_told = kv_share is not None
        self._kv.set(kv_share or 0.0)

    def prometheus(self) -> bytes:
        """Prometheus text; what the engine does not report is not there, nor when each counter was made."""
        left_out = [b"_created", *([] if self._kv_told else [b"kv_cache_usage_perc"])]
        left_out += [f"spec_decode_{name}".encode() for name in _DRAFTS if name not in self._drafted]
        lines = generate_latest(self._registry).splitlines(keepends=True)
        return b"".join(line for line in lines if not any(name in line.partition(b"{")[0] for name in left_out))

    def reading(
        self,
        at: float,
        *,
        active: int,
        queued: int,
        connections: int,
        kv_share: float | None,
        generated: int | None = None,
    ) -> ServeReading:
        """`at`: seconds since the epoch. `generated`: the engine's own count of tokens, where it has one: it runs on
        evenly while answers in one piece are on their way.
        """
        now_s = time.monotonic()
        if generated is not None:
            if self._engine_tokens is not None:
                self._token_rate.add_since(max(0, generated - self._engine_tokens), self._looked_s, now_s)
            self._engine_tokens, self._looked_s = generated, now_s
        return ServeReading(
            at=at,
            connections=connections,
            active=active,
            queued=queued,
            requests=self.completed + self.aborted + self.failed + sum(self.refused.values()),
            completed=self.completed,
            aborted=self.aborted,
            refused=dict(sorted(self.refused.items())),
            failed=self.failed,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            output_tok_s=self._token_rate.per_s(now_s),
            req_s=self._request_rate.per_s(now_s),
            kv_share=kv_share,
            **{name: rolling.percentiles(now_s) for name, rolling in self._rolling.items()},
        )

    # Making

    def _gauge(self, name: str, words: str) -> Gauge:
        return Gauge(PREFIX + name, words, ["model_name"], registry=self._registry).labels(self._model)

    def _counter(self, name: str, words: str) -> Counter:
        return Counter(PREFIX + name, words, ["model_name"], registry=self._registry).labels(self._model)

    def _histogram(self, name: str, words: str, buckets: tuple[float, ...]) -> Histogram:
        made = Histogram(PREFIX + name, words, ["model_name"], registry=self._registry, buckets=buckets)
        return made.labels(self._model)


def _one_two_five(most: int) -> tuple[float, ...]:
    """1, 2, 5, 10, 20 ... as far as a sequence may be long."""
    found: list[float] = []
    power = 1
    while True:
        for step in (1, 2, 5):
            if step * power > most:
                return tuple(found) or (1.0,)
            found.append(float(step * power))
        power *= 10

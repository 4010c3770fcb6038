"""One streaming answer as it comes: bytes -> events -> token counts with their times."""

from __future__ import annotations

import json
from typing import Protocol

from workbench.bench.target import Heard
from workbench.core.openai import Delta, EventReader, MalformedEventError, TokenCounter, read_event

_MOST_KEPT = 1 << 20
_TRIES = 4
_PROBE = "x"


class Answering(Protocol):
    """What is asked of the connection."""

    status: int
    content_type: str

    def end_soon(self) -> None: ...
    def abandon(self, why: str) -> None: ...


class Stream:
    """Reads the body of an answer into `heard`. What is no event stream is kept in `rest`, up to 1 MiB."""

    __slots__ = (
        "_connection", "_events", "_heard", "_most", "_now_s", "_pattern", "counter", "done", "error", "finish",
        "last_malformed", "malformed", "rest",
    )  # fmt: skip

    def __init__(self, heard: Heard, connection: Answering, most: int = 1 << 20) -> None:
        """`most`: an answer of more responses than that is given up."""
        self.counter = TokenCounter()
        self.done = False
        """`[DONE]` came."""
        self.finish = ""
        self.error = ""
        self.malformed = 0
        self.last_malformed = ""
        self.rest = bytearray()
        self._heard = heard
        self._connection = connection
        self._most = most
        self._events = EventReader()
        self._pattern = Pattern()
        self._now_s = 0.0

    def hear(self, body: bytes, now_s: float) -> None:
        """A part of the body was read at `now_s`."""
        self._now_s = now_s
        if self._connection.status != 200 or self._connection.content_type == "application/json":
            if len(self.rest) < _MOST_KEPT:
                self.rest += body
            return
        for payload in self._events.feed(body):
            self._take(payload)
        if self._events.done and not self.done:
            self.done = True
            self._connection.end_soon()
        if len(self._heard.times) > self._most:
            self._connection.abandon(f"it goes on and on: {len(self._heard.times):,} responses came")

    def end(self) -> None:
        """The body is over."""
        for payload in self._events.end():
            self._take(payload)
        self.done = self.done or self._events.done
        if self._events.too_long:
            self.malformed += self._events.too_long
            self.last_malformed = "longer than any event may be"
        if self._connection.status == 200 and self.rest:
            # In one piece though a stream was asked for: no first token to time, but an answer.
            self._take(bytes(self.rest))

    def _take(self, payload: bytes) -> None:
        length = self._pattern.text_length(payload)
        if length >= 0:
            if length:
                self._heard.chunk(self._now_s, self.counter.take_text(length))
            return
        try:
            delta = read_event(payload)
        except MalformedEventError as error:
            self.malformed += 1
            self.last_malformed = str(error)
            return
        before = len(self.counter.counts)
        tokens = self.counter.take(delta)
        if len(self.counter.counts) > before:
            self._heard.chunk(self._now_s, tokens)
        self.finish = delta.finish or self.finish
        self.error = delta.error or self.error
        self._pattern.learn(payload, delta)


class Pattern:
    """Knows events that differ from one that was parsed in nothing but their text, and so need no parsing.

    Servers send the same object with every token and another text in it. An event is such a one if it begins and ends
    as the known one and what is between is the inside of a JSON string without an escape.
    """

    __slots__ = ("_after", "_before", "_shortest", "_tries")

    def __init__(self) -> None:
        self._before = self._after = b""
        self._shortest = 0
        self._tries = _TRIES

    def text_length(self, payload: bytes) -> int:
        """Bytes of the text, or -1: it must be parsed."""
        before, after = self._before, self._after
        if not before or not payload.startswith(before) or not payload.endswith(after):
            return -1
        length = len(payload) - self._shortest
        if length < 0:
            return -1
        text = payload[len(before) : len(before) + length]
        if b'"' in text or b"\\" in text or min(text, default=32) < 32:
            return -1
        return length

    def learn(self, payload: bytes, delta: Delta) -> None:
        """Take an event that was parsed as the pattern if it holds a text and nothing that may change otherwise."""
        if not self._tries or not delta.text or delta.finish or delta.usage:
            return
        if delta.ids or delta.logprob_tokens or delta.tokens:
            return
        self._tries -= 1
        for ascii_only in (False, True):
            quoted = json.dumps(delta.text, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
            place = payload.rfind(quoted)
            if place >= 0:
                break
        else:
            return
        before, after = payload[: place + 1], payload[place + len(quoted) - 1 :]
        try:
            proven = read_event(before + _PROBE.encode() + after) == delta._replace(text=_PROBE)
        except MalformedEventError:
            return
        if proven:
            self._before, self._after, self._shortest = before, after, len(before) + len(after)

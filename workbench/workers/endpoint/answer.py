"""One request to a server: its stream, turned into the protocol's lines as it comes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import httpx

from workbench.core.endpoint_words import dropped
from workbench.core.errors import Failure
from workbench.core.messages import Finished, FinishReason, Generate
from workbench.core.openai import (
    Api,
    Delta,
    EventReader,
    MalformedEventError,
    TokenCounter,
    apportion,
    finish_reason,
    left_out,
    read_event,
    request_body,
    shown,
)
from workbench.workers.endpoint.server import Server
from workbench.workers.hosts.common import RequestError

_ERROR_BYTES = 65_536
_WHOLE_BYTES = 64 * 2**20
_LOGGED_EVENTS = 3
_SPARE = 32
"""So many lines, or tokens, over those asked for are passed on: half of what a client takes."""
_HELD_CHARACTERS = 2**20


class Answer:
    """A request under way."""

    def __init__(self, server: Server, command: Generate, received_s: float, send: Callable[[bytes], None]) -> None:
        self.name = command.request
        self._server = server
        self._command = command
        self._received_s = received_s
        self._send = send
        self._json_name = json.dumps(self.name)
        self._counter = TokenCounter()
        self._finish = ""
        self._first_s: float | None = None
        self._malformed = 0
        self._in_thought = False
        self._failure: Failure | None = None
        self._lines: list[int] = []
        """Length of the text of every line sent; -1: a line of no token."""
        self._held = ""
        """Text that waits for the last line: a client takes no more lines than a few over the tokens asked for."""

    @property
    def tokens(self) -> int:
        """Output tokens so far; before its end an estimate where nothing counts them."""
        return self._counter.total

    @property
    def input_tokens(self) -> int:
        return self._counter.usage.input_tokens if self._counter.usage is not None else 0

    async def run(self) -> Finished:
        """See it to its end; failures come back as a `finished` with reason error. Raises CancelledError."""
        try:
            api, body = self._body()
        except RequestError as error:
            return Finished(t=time.monotonic(), request=self.name, reason="error", message=str(error))
        url = self._server.spec.url(api)
        try:
            while not await self._exchange(url, body):
                api, body = self._body()
        except (httpx.HTTPError, OSError) as error:
            if not (self._finish and self._first_s is not None):  # all had come; only the last line is missing
                self._failure = self._server.network_failure(error, url, begun=self._first_s is not None)
        if self._in_thought:
            self._held += "\n</think>\n\n"
        if self._held:
            self._tell(self._held, (), None, 0)
        return self._end()

    def aborted(self) -> Finished:
        """Its end when it was stopped."""
        return self._finished("abort", "")

    def _body(self) -> tuple[Api, dict[str, Any]]:
        command, server = self._command, self._server
        given = [name for name in ("messages", "prompt", "ids") if getattr(command, name) is not None]
        if len(given) != 1:
            many = " and ".join(given) or "none"
            raise RequestError(f"a request gives exactly one of messages, prompt and ids, this one gives {many}")
        if command.messages is not None and not command.messages:
            raise RequestError("the conversation is empty; give at least one message")
        if not server.dialect.fields.get("ignore_eos") and command.sampling.ignore_eos:
            raise RequestError(
                f"{server.title} takes no ignore_eos, so the length of an answer cannot be fixed there; "
                "let answers end by themselves"
            )
        lost = left_out(command.sampling, server.dialect)
        if lost:
            raise RequestError(f"{server.title} takes no {' and no '.join(lost)}; leave it out")
        api: Api = "chat" if command.messages is not None else "completions"
        ids = command.ids
        if server.spec.api == "triton":
            api = "triton"
            if ids is not None or (command.messages is not None and len(command.messages) > 1):
                raise RequestError("Triton's generate takes one text: no conversation and no token ids")
        return api, request_body(
            api,
            server.spec.model,
            command.sampling,
            server.dialect,
            messages=command.messages,
            prompt=command.prompt,
            ids=ids,
            usage=server.takes_usage,
        )

    async def _exchange(self, url: str, body: dict[str, Any]) -> bool:
        """Send it and read the answer. False: refused for a field that it can do without."""
        async with self._server.client.stream("POST", url, json=body) as response:
            if response.status_code in (400, 422):
                said = await _beginning(response, _ERROR_BYTES)
                if self._server.asks_less(said.decode("utf-8", "replace"), body):
                    return False
                self._failure = self._server.status_failure(response, said, url)
                return True
            await self._read(response, url)
            return True

    async def _read(self, response: httpx.Response, url: str) -> None:
        content_type = response.headers.get("content-type", "").lower()
        if response.status_code != 200:
            body = await _beginning(response, _ERROR_BYTES)
            self._failure = self._server.status_failure(response, body, url)
        elif "text/event-stream" in content_type:
            await self._read_stream(response, url)
        elif "json" in content_type:
            self._server.warn_of_no_stream()
            body = await _beginning(response, _WHOLE_BYTES)
            if not self._take(body):
                self._failure = self._failure or self._server.not_openai(response, body, url)
        else:
            self._failure = self._server.not_openai(response, await _beginning(response, 2000), url)

    async def _read_stream(self, response: httpx.Response, url: str) -> None:
        reader = EventReader()
        async for data in response.aiter_bytes():
            for payload in reader.feed(data):
                self._take(payload)
            if self._failure is not None or reader.done:
                break
        if self._failure is None:
            for payload in reader.end():
                self._take(payload)
        self._malformed += reader.too_long
        whole = self._server.spec.api == "triton" and self._first_s is not None  # its streams end with their body
        if self._failure is None and not reader.done and not self._finish and not whole:
            self._failure = dropped(url)
        elif self._failure is None and self._first_s is None and self._malformed:
            self._failure = Failure(
                code="endpoint-not-openai",
                what="The server's events cannot be read.",
                evidence=f"{url}: {self._malformed:,} malformed events and none that is well formed",
                fix="Check that the URL is that of an OpenAI-compatible API.",
            )

    def _take(self, payload: bytes) -> bool:
        """One event, or a whole answer. False: it was malformed."""
        try:
            delta = read_event(payload)
        except MalformedEventError as error:
            self._malformed += 1
            if self._malformed <= _LOGGED_EVENTS:
                self._server.say(f"request {self.name}: malformed event passed over: {error}", warn=True)
            return False
        if delta.error:
            self._failure = Failure(
                code="endpoint-error",
                what="The server ended the answer with an error.",
                evidence=self._server.hide(shown(delta.error, 300)),
                fix="Look at its own log.",
            )
            return True
        if delta.finish:
            self._finish = delta.finish
        tokens = self._counter.take(delta)
        text = self._text(delta)
        if tokens or text:
            if self._first_s is None:
                self._first_s = time.monotonic()
            self._say(text, delta, tokens)
        return True

    def _say(self, text: str, delta: Delta, tokens: int) -> None:
        """Pass on what came, as far as the client takes it; what is too much ends the answer."""
        most = self._command.sampling.max_tokens + _SPARE
        if self._counter.exact and self.tokens > most:
            self._failure = Failure(
                code="endpoint-error",
                what="The server sends more tokens than were asked for.",
                evidence=f"{self.tokens:,} came, {self._command.sampling.max_tokens:,} were asked for",
                fix="Ask for more tokens, or set the server to keep to max_tokens.",
            )
        elif len(self._lines) < most:
            self._tell(text, delta.ids, delta.logprobs if self._command.sampling.logprobs else None, tokens)
        elif len(self._held) < _HELD_CHARACTERS:
            self._held += text  # pieces smaller than tokens

    def _text(self, delta: Delta) -> str:
        """What is shown of it: reasoning stands between the marks that models themselves use."""
        parts = []
        if delta.thought:
            parts.append(delta.thought if self._in_thought else f"<think>\n{delta.thought}")
            self._in_thought = True
        if delta.text:
            parts.append(f"\n</think>\n\n{delta.text}" if self._in_thought else delta.text)
            self._in_thought = False
        return self._server.hide("".join(parts))

    def _tell(self, text: str, ids: tuple[int, ...], logprobs: tuple[float, ...] | None, tokens: int) -> None:
        self._lines.append(len(text) if tokens else -1)
        shown_logprobs = "" if logprobs is None else ',"logprobs":' + json.dumps(list(logprobs))
        counted = "" if ids else f',"count":{tokens}'
        self._send(
            (
                f'{{"t":{time.monotonic():.6f},"type":"tokens","request":{self._json_name},'
                f'"text":{json.dumps(text)},"ids":[{",".join(map(str, ids))}]{shown_logprobs}{counted}}}\n'
            ).encode()
        )

    def _end(self) -> Finished:
        if self._malformed > _LOGGED_EVENTS:
            self._server.say(f"request {self.name}: {self._malformed:,} malformed events in all", warn=True)
        if self._failure is not None:
            failure = self._failure
            words = ". ".join(part.rstrip(".") for part in (failure.what, failure.evidence, failure.fix) if part)
            return self._finished("error", words)
        self._counter.settle()
        made = self._counter.usage.output_tokens if self._counter.usage is not None else self.tokens
        reason = finish_reason(self._finish, self._command.sampling.max_tokens, made)
        if reason == "error":
            return self._finished("error", f"the server ended the answer with {self._finish!r}")
        return self._finished(reason, "")

    def _finished(self, reason: FinishReason, message: str) -> Finished:
        now = time.monotonic()
        counts: list[int] | None = None
        if not self._counter.exact and self._counter.usage is not None:
            shares = iter(apportion([size for size in self._lines if size >= 0], self._counter.usage.output_tokens))
            counts = [next(shares) if size >= 0 else 0 for size in self._lines]
        timings = {"host_latency_ms": (now - self._received_s) * 1000}
        if self._first_s is not None:
            timings["host_ttft_ms"] = (self._first_s - self._received_s) * 1000
        return Finished.model_validate(
            {
                "t": now,
                "request": self.name,
                "reason": reason,
                "usage": self._counter.usage,
                "timings": {name: round(value, 3) for name, value in timings.items()},
                "message": message,
                "counts": counts,
                "count_source": self._counter.source,
            }
        )


async def _beginning(response: httpx.Response, most: int) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_bytes():
        parts.append(part)
        size += len(part)
        if size >= most:
            break
    return b"".join(parts)[:most]

"""The server's routes: what is checked, in which order, before a request reaches the engine, and how it is told."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Protocol

from starlette.routing import Route, Router

from workbench import __version__
from workbench.core.serving import ServeLimits, ServingStatus
from workbench.serve.guard import Guard
from workbench.serve.metrics import CONTENT_TYPE, Meter
from workbench.serve.openai_api import ApiError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

PATHS: Mapping[str, str] = {"/v1/chat/completions": "chat", "/v1/completions": "completions"}
TURNED_AWAY = "workbench.turned_away"
"""In a request's scope: the status that its client was told before all of it had come."""
_MOST_SHOWN = 80
_CALL = "workbench.call"
_BODIES = 16
"""So many bodies of the largest size may be in memory: while they come, wait for their turn and are answered."""


class Inside(Protocol):
    """What the routes ask the door."""

    model: str
    limits: ServeLimits
    guard: Guard
    meter: Meter

    @property
    def status(self) -> ServingStatus: ...

    @property
    def max_seq_len(self) -> int | None: ...

    @property
    def program(self) -> str: ...

    @property
    def owner(self) -> str: ...

    def refuse_if_closed(self) -> None:
        """Raises ApiError while it loads, drains or has failed."""

    def measure(self) -> None:
        """Bring the gauges up to date."""

    async def answer(self, call: Call) -> None:
        """Answer a request whose body was read. Raises ApiError as long as nothing was sent."""


class GoneError(Exception):
    """The client went away."""


class Call:
    """One HTTP request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.path: str = scope["path"]
        self.method: str = scope["method"]
        client = scope.get("client")
        self.client = client[0] if client else "?"
        self.headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.receive = receive
        self._send = send
        self.began_s = time.monotonic()
        self.body = b""
        self.held_bytes = 0
        """Of its body, in memory."""
        self.body_read = self.method in ("GET", "HEAD") and not self._announces_body()
        self.status = 0
        self.ended = False
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None
        self.queue_s: float | None = None
        self.closing = False
        """The connection is not to be used again."""

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)

    def _announces_body(self) -> bool:
        return self.header(b"transfer-encoding") is not None or (self.header(b"content-length") or b"0") != b"0"

    async def start(self, status: int, content_type: str, headers: Mapping[str, str], length: int | None) -> None:
        told = [(b"content-type", content_type.encode("latin-1", "replace"))]
        if length is not None:
            told.append((b"content-length", str(length).encode()))
        if not self.body_read or self.closing:
            told.append((b"connection", b"close"))
        told.extend((name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items())
        await self._send({"type": "http.response.start", "status": status, "headers": told})
        self.status = status  # only now: whoever is cancelled before has sent nothing

    async def write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes = b"") -> None:
        self.ended = True
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def reply(
        self, status: int, body: bytes, content_type: str = "application/json", headers: Mapping[str, str] | None = None
    ) -> None:
        """A whole answer."""
        await self.start(status, content_type, headers or {}, len(body))
        await self.finish(body)

    async def refuse(self, error: ApiError) -> None:
        await self.reply(error.status, error.body, headers=error.headers)


class Routes:
    """The ASGI application. `access` gets a line a request."""

    def __init__(self, inside: Inside, access: Callable[[str], None] | None) -> None:
        self._inside = inside
        self._access = access
        self._bodies_bytes = 0
        self._most_bodies_bytes = max(64 * 2**20, _BODIES * inside.limits.body_bytes)
        # A bare router: the middleware of an application would answer faults by itself, in another layout.
        self._app = Router(
            routes=[
                *(Route(path, _Endpoint(self._generate, "POST")) for path in PATHS),
                Route("/v1/models", _Endpoint(self._models)),
                Route("/v1/models/{model:path}", _Endpoint(self._one_model)),
                Route("/health", _Endpoint(self._health)),
                Route("/version", _Endpoint(self._version)),
                Route("/metrics", _Endpoint(self._metrics)),
            ],
            redirect_slashes=False,
            default=self._nothing,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(scope, receive, send)
        scope[_CALL] = call
        try:
            try:
                self._inside.guard.check(call.path, call.headers)
                if not call.path.isprintable():  # a route takes a path with a line's end for the one without
                    await self._nothing(scope, receive, send)
                await self._app(scope, receive, send)
            except ApiError as error:
                await self._told(call, error)
            except GoneError:
                call.status = scope.get(TURNED_AWAY, 0)
                if not call.status:  # else it was counted as what it was turned away for
                    self._inside.meter.aborted_early()
            except Exception as error:  # a fault of ours; the server goes on
                # By its kind alone: its text may hold what the client sent.
                words = f"The server made a mistake: {type(error).__name__}."
                self._inside.meter.fail(None, f"{call.method} {_shown(call.path)}: {words}")
                if not call.status:
                    await call.refuse(ApiError(500, words, code="internal_error"))
                else:
                    raise
        finally:
            if self._access is not None:
                self._access(_line(call))

    async def _told(self, call: Call, error: ApiError) -> None:
        """What a client did wrong, or what could not be done for it."""
        words = f"{error.status} to {call.client}: {_reason(error)}"
        if error.status in (500, 502, 504):
            self._inside.meter.fail(None, words)
        else:
            self._inside.meter.refuse(error.status, words)
        await call.refuse(error)

    async def _generate(self, call: Call) -> None:
        self._inside.refuse_if_closed()
        try:
            await self._read(call)
            self._inside.refuse_if_closed()
            await self._inside.answer(call)
        finally:
            self._bodies_bytes -= call.held_bytes

    async def _read(self, call: Call) -> None:
        """The body, within the limits. Raises ApiError before more than the limit was read."""
        most = self._inside.limits.body_bytes
        if (call.header(b"content-encoding") or b"identity").lower() != b"identity":
            raise ApiError(415, "Compressed bodies are not read; send it as it is.")
        announced = call.header(b"content-length")
        if announced is not None and announced.isdigit() and int(announced[:20]) > most:
            raise _too_large(most)
        parts: list[bytes] = []
        while True:
            message = await call.receive()
            if message["type"] == "http.disconnect":
                raise GoneError
            part = message.get("body", b"")
            call.held_bytes += len(part)
            self._bodies_bytes += len(part)
            if call.held_bytes > most:
                raise _too_large(most)
            if self._bodies_bytes > self._most_bodies_bytes:
                raise ApiError(429, "Too many large requests are here at once.", headers={"retry-after": "2"})
            parts.append(part)
            if not message.get("more_body", False):
                break
        call.body = b"".join(parts)
        call.body_read = True

    async def _models(self, call: Call) -> None:
        self._inside.refuse_if_closed()
        await call.reply(200, _json({"object": "list", "data": [self._model()]}))

    async def _one_model(self, call: Call) -> None:
        self._inside.refuse_if_closed()
        asked = call.path.removeprefix("/v1/models/")
        if asked != self._inside.model:
            raise ApiError(404, f"There is no model {asked[:100]!r} here.", param="model", code="model_not_found")
        await call.reply(200, _json(self._model()))

    def _model(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "id": self._inside.model, "object": "model", "created": self._inside.meter.began_at,
            "owned_by": self._inside.owner,
        }  # fmt: skip
        if self._inside.max_seq_len is not None:
            found["max_model_len"] = self._inside.max_seq_len
        return found

    async def _health(self, call: Call) -> None:
        status = self._inside.status
        await call.reply(
            200 if status == "ready" else 503,
            _json({"status": status}),
            headers={} if status == "ready" else {"retry-after": "2"},
        )

    async def _version(self, call: Call) -> None:
        told = {"version": __version__, "server": "engine-workbench", "program": self._inside.program}
        await call.reply(200, _json(told))

    async def _metrics(self, call: Call) -> None:
        self._inside.measure()
        await call.reply(200, self._inside.meter.prometheus(), CONTENT_TYPE)

    async def _nothing(self, scope: Scope, receive: Receive, send: Send) -> None:
        call: Call = scope[_CALL]
        raise ApiError(404, f"There is nothing at {_shown(call.path)}.", code="not_found")


class _Endpoint:
    """A route's ASGI application, which Starlette wants as an object rather than a function."""

    def __init__(self, handler: Callable[[Call], Awaitable[None]], method: str = "GET") -> None:
        self._handler = handler
        self._methods = ("GET", "HEAD") if method == "GET" else (method,)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call: Call = scope[_CALL]
        if call.method not in self._methods:
            allowed = ", ".join(self._methods)
            raise ApiError(405, f"{_shown(call.path)} takes {allowed} alone.", headers={"allow": allowed})
        await self._handler(call)


def _too_large(most: int) -> ApiError:
    return ApiError(413, f"The body is larger than {most:,} bytes, which is this server's limit.", code="too_large")


def _reason(error: ApiError) -> str:
    """For the problems that are shown: by its code, since its words may hold what the client sent."""
    named = {
        "invalid_api_key": "wrong or missing key", "model_not_found": "another model was asked for",
        "invalid_json": "the body is no JSON object", "too_large": "the body is too large",
        "queue_full": "no room in the queue", "not_found": "no such path",
        "host_not_allowed": "asked by another host's name", "origin_not_allowed": "asked by a web page",
        "context_length_exceeded": "the prompt is too long",
    }  # fmt: skip
    known = named.get(error.code or "")
    return known or (f"{error.param} is not usable" if error.param else error.message[:200])


def _line(call: Call) -> str:
    """`2026-11-21T22:50:01Z 127.0.0.1 POST /v1/completions 200 in=12 out=64 queue_ms=0 ms=830`; no prompt text."""
    parts = [
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        call.client,
        call.method if call.method.isascii() else "?",
        _shown(call.path),
        str(call.status or 499),
    ]
    if call.input_tokens is not None:
        parts.append(f"in={call.input_tokens}")
    if call.output_tokens is not None:
        parts.append(f"out={call.output_tokens}")
    if call.queue_s is not None:
        parts.append(f"queue_ms={call.queue_s * 1000:.0f}")
    parts.append(f"ms={(time.monotonic() - call.began_s) * 1000:.0f}")
    return " ".join(parts)


def _shown(path: str) -> str:
    """A path as it may stand in a log: one word of plain characters."""
    clean = "".join(c if c.isascii() and c.isprintable() and not c.isspace() else "?" for c in path[:_MOST_SHOWN])
    return clean if len(path) <= _MOST_SHOWN else clean + "..."


def _json(value: object) -> bytes:
    return json.dumps(value).encode()

"""Connections: uvicorn's HTTP protocol, with what it lacks against clients that are slow, silent, greedy or too many.

Every limit ends one connection and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import resource
import socket
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from workbench.core.serving import ServeLimits
from workbench.serve.app import TURNED_AWAY

BACKLOG = 4096
_SEND_BUFFER_BYTES = 64 * 1024
"""Of a connection, in the kernel: with the usual megabytes a client that does not read would show only much later."""
_MOST_HEADER_BYTES = 64 * 1024
_FRAMING_A_BYTE = 8
"""What chunks may take around a byte of a body; with one chunk a byte it is five."""
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
_LINGER_S = 2.0
"""How long a client that is still sending may take to read why it was turned away."""
_LINGER_REFUSED_S = 0.5
_LINGER_BYTES = 2**20
_MOST_LINGERING = 256
_RESERVED_FILES = 128
"""Open files for all else than connections."""
_SWEEP_S = 1.0

_BUSY = b'{"error": {"message": "Too many connections.", "type": "server_error", "param": null, "code": "busy"}}'
_SLOW = b'{"error": {"message": "The request took too long to come.", "type": "invalid_request_error", "param": null, "code": "timeout"}}'  # noqa: E501
_LONG = b'{"error": {"message": "The request\'s headers are too large.", "type": "invalid_request_error", "param": null, "code": null}}'  # noqa: E501
_NO_HTTP = (
    b'{"error": {"message": "This is no HTTP request.", "type": "invalid_request_error", "param": null, "code": null}}'
)

_quiet = logging.getLogger("workbench.serve.http")
"""Strangers must not be able to fill the log: what they do is counted, and the app speaks for itself."""
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


def _canned(status: str, body: bytes, more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{more}"
    return head.encode() + b"connection: close\r\n\r\n" + body


_400 = _canned("400 Bad Request", _NO_HTTP)
_503 = _canned("503 Service Unavailable", _BUSY, "retry-after: 1\r\n")
_408 = _canned("408 Request Timeout", _SLOW)
_431 = _canned("431 Request Header Fields Too Large", _LONG)


def raise_open_files() -> int:
    """Let this process have as many open files as it may; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, 2**20)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Listener:
    """The listening socket and all its connections."""

    def __init__(
        self,
        app: Callable[..., Any],
        limits: ServeLimits,
        on_refused: Callable[[int, str], None],
        on_slow: Callable[[str], None],
    ) -> None:
        self.limits = limits
        self.on_refused = on_refused
        self.on_slow = on_slow
        self.most = max(1, min(limits.connections, raise_open_files() - _RESERVED_FILES))
        self.lingering: set[DoorProtocol] = set()
        self.state = ServerState()
        self._config = Config(
            app, http="httptools", ws="none", lifespan="off", loop="asyncio", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, timeout_keep_alive=max(1, round(limits.idle_s)),
        )  # fmt: skip
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def connections(self) -> int:
        return len(self.state.connections)

    async def open(self, bound: socket.socket) -> None:
        """Listen on a bound socket and own it from now on."""
        self._config.load()
        self._date()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: DoorProtocol(self, self._config, loop), sock=bound, backlog=BACKLOG
        )
        self._sweeper = loop.create_task(self._sweep())

    async def close(self, grace_s: float = 1.0) -> None:
        """Stop listening, let connections end that are about to, and cut the others off."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.state.connections):
            connection.shutdown()
        ends = time.monotonic() + grace_s
        while (self.state.connections or self.lingering) and time.monotonic() < ends:
            await asyncio.sleep(0.01)
        for each in [*self.state.connections, *self.lingering]:
            cast(DoorProtocol, each).cut()
        for task in list(self.state.tasks):
            task.cancel()
        if self.state.tasks:
            await asyncio.wait(list(self.state.tasks), timeout=5.0)
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])
        await asyncio.sleep(0)  # transports that were cut are closed in the loop's next turn

    async def _sweep(self) -> None:
        """One timer for all connections."""
        pause_s = min(_SWEEP_S, self.limits.idle_s / 4, self.limits.write_s / 4)
        while True:
            await asyncio.sleep(pause_s)
            self._date()
            now_s = time.monotonic()
            for each in [*self.state.connections, *self.lingering]:
                connection = cast(DoorProtocol, each)
                try:
                    connection.look(now_s)
                except Exception:  # whatever it was: the others are still looked after
                    connection.cut()

    def _date(self) -> None:
        self.state.default_headers = [(b"date", formatdate(usegmt=True).encode())]


class _Transport:
    """A transport that counts what is written, and whose `close` waits for a client that is still sending."""

    def __init__(self, transport: asyncio.Transport, protocol: DoorProtocol) -> None:
        self._transport = transport
        self._write = transport.write
        self._protocol = protocol
        self.written = 0
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.get_extra_info = transport.get_extra_info

    def write(self, data: bytes) -> None:
        self.written += len(data)
        self._write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._protocol.lingers or self._transport.is_closing()

    def close(self) -> None:
        self._protocol.let_go()


class DoorProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, listener: Listener, config: Config, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(config, listener.state, {}, loop)
        self.logger = _quiet
        self._listener = listener
        self._raw: asyncio.Transport | None = None
        self._counted: _Transport | None = None
        self.lingers = False
        self._linger_ends_s = 0.0
        self._dropped = 0
        self._asks_since_s: float | None = time.monotonic()
        """Since when the client owes bytes of a request; None: it does not."""
        self._within = False
        """A request has begun and not all of it has come."""
        self._in_headers = False
        self._header_bytes = 0
        self._messages = 0
        self._body_bytes = 0
        self._framing_bytes = 0
        """Chunk sizes, their extensions and trailers, which no body's limit sees."""
        self._upgrades = False
        self._handed = -1
        self._handed_at_s = 0.0

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        listener = self._listener
        if listener.connections >= listener.most:
            listener.on_refused(503, f"more than {listener.most:,} connections")
            self._raw.write(_503)
            if len(listener.lingering) < _MOST_LINGERING:
                self._linger(_LINGER_REFUSED_S)
            else:
                self._raw.close()  # the client may see a reset instead
            return
        self._counted = _Transport(self._raw, self)
        super().connection_made(cast(asyncio.Transport, self._counted))

    def data_received(self, data: bytes) -> None:
        if self.lingers:
            self._dropped += len(data)
            if self._dropped > _LINGER_BYTES:
                self.cut()
            return
        if not self._within:
            self._asks_since_s = time.monotonic()
            self._within = True
            data = _without_upgrade(data)
        went_on, number, had = self._in_headers, self._messages, self._body_bytes
        super().data_received(data)
        if self._upgrades:
            self._within = True
            self._turn_away(_400, 400, "a request asked for another protocol")
            return
        if self._in_headers:
            # The piece in which they began may hold much else; it is of bounded size.
            self._header_bytes = self._header_bytes + len(data) if went_on else 0
            if self._header_bytes > _MOST_HEADER_BYTES:
                self._turn_away(_431, 431, "the headers of a request are too large")
        elif self._within and not went_on and number == self._messages:
            self._framing_bytes += len(data) - (self._body_bytes - had)
            if self._framing_bytes > _MOST_HEADER_BYTES + _FRAMING_A_BYTE * self._body_bytes:
                self._turn_away(_431, 431, "the chunks or trailers of a request are too large")

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.lingering.discard(self)
        if self._counted is not None:
            super().connection_lost(exc)

    # The parser's side

    def on_message_begin(self) -> None:
        self._in_headers = True
        self._messages += 1
        self._body_bytes = self._framing_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_headers:  # trailers are let go
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._upgrades = self.parser.should_upgrade()
        if not self._upgrades:  # what comes after one is not for this parser
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._upgrades:
            return
        self._asks_since_s = None
        self._within = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """For what is no HTTP."""
        self._within = True  # how much of it is still to come is not known
        self._turn_away(_400, 400, "something that is no HTTP request came")

    # The end

    def let_go(self) -> None:
        """Close once all is written; a client in the midst of sending gets the time to read the answer first."""
        if self.lingers or self._raw is None:
            return
        if self._within and not self._raw.is_closing() and len(self._listener.lingering) < _MOST_LINGERING:
            # Closing now would reset the connection, and the client might never see the answer.
            self.flow.resume_reading()
            self._linger()
        else:
            self._raw.close()

    def cut(self) -> None:
        if self._raw is not None:
            self._raw.abort()

    def _linger(self, longest_s: float = _LINGER_S) -> None:
        assert self._raw is not None
        self.lingers = True
        self._linger_ends_s = time.monotonic() + longest_s
        self._listener.lingering.add(self)
        if self._raw.can_write_eof():
            with contextlib.suppress(OSError, RuntimeError):
                self._raw.write_eof()

    def _turn_away(self, answer: bytes, status: int, words: str) -> None:
        self._listener.on_refused(status, words)
        if self._raw is not None and not self._raw.is_closing():
            if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
                self._raw.write(answer)
            if self.cycle is not None and not self.cycle.response_complete:
                cast(dict[str, Any], self.cycle.scope)[TURNED_AWAY] = status
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            self.let_go()

    # The sweeper's side

    def look(self, now_s: float) -> None:
        """End the connection where the client is too slow."""
        if self._raw is None:
            return
        if self.lingers:
            if now_s >= self._linger_ends_s:
                self.cut()
            return
        if self._counted is None:
            return
        limits = self._listener.limits
        waiting = self._raw.get_write_buffer_size()
        handed = self._counted.written - waiting
        if not waiting or handed != self._handed:
            self._handed, self._handed_at_s = handed, now_s
        elif now_s - self._handed_at_s >= limits.write_s:
            self._listener.on_slow(f"a client left its answer unread for {limits.write_s:g} s")
            self.cut()
            return
        busy = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
        if busy or self.pipeline or self.flow.read_paused or self._asks_since_s is None:
            return
        if now_s - self._asks_since_s >= limits.idle_s:
            if self._within:
                self._turn_away(_408, 408, f"a request did not come within {limits.idle_s:g} s")
            else:
                self._raw.close()


def _without_upgrade(data: bytes) -> bytes:
    """The first bytes of a request without its wish for another protocol, which some clients (Java's) put into each:
    the parser would take the body for that protocol. As long as before, so that all else stays where it is.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"\r\nx-grade:", head) + end + rest if end else data

"""HTTP/1.1 connections for load: kept open between requests, parsed in C, read into one buffer.

A client library for all purposes costs several times more a response than all the rest of the load generator; what is
measured must not be the client.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import httptools

from workbench.core.endpoint import trust
from workbench.core.openai import shown

CONNECT_TIMEOUT_S = 10.0
_BUFFER_BYTES = 256 * 1024
_END_GRACE_S = 1.0
_IDLE_KEPT = 4096


class WireError(Exception):
    """The exchange failed below HTTP; in words."""


class Gone(WireError):
    """The server closed a connection that was kept open before it answered anything: safe to ask once more."""


class Origin:
    """Where requests go: scheme, host, port and trust. Raises ValueError for a URL that is none."""

    def __init__(self, base_url: str, *, verify_tls: bool = True, ca_file: str = "") -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not a URL of a server: {shown(base_url)}")
        self.host = parts.hostname
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.path = parts.path.rstrip("/")
        self.netloc = parts.netloc.rpartition("@")[2]
        self.tls = trust(verify_tls, ca_file) if parts.scheme == "https" else None


class Connection(asyncio.BufferedProtocol):
    """One connection, one exchange at a time."""

    def __init__(self, buffer: memoryview) -> None:
        self.status = 0
        self.content_type = ""
        self.retry_after = ""
        self.answered = False
        """Whether anything of the present answer came."""
        self.reusable = False
        self._buffer = buffer
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._hear: Callable[[bytes, float], None] | None = None
        self._over: asyncio.Future[None] | None = None
        self._until_close = True
        self._in_body = False
        self._now_s = 0.0
        self._used = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    @property
    def alive(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def ask(self, request: bytes, hear: Callable[[bytes, float], None]) -> asyncio.Future[None]:
        """Send a request; `hear(body part, time)` is called as parts come. The future is done when the answer is
        complete and fails as WireError.
        """
        assert self._transport is not None
        self._over = asyncio.get_running_loop().create_future()
        self._hear = hear
        self._parser = httptools.HttpResponseParser(self)
        self.status, self.content_type, self.retry_after = 0, "", ""
        self.answered = self.reusable = self._in_body = False
        self._until_close = True
        self._transport.write(request)
        return self._over

    def end_soon(self) -> None:
        """All that matters has come: a server that does not end its answer is not waited for."""
        over = self._over
        if over is not None and not over.done():
            asyncio.get_running_loop().call_later(_END_GRACE_S, _settle, over)

    def abandon(self, why: str) -> None:
        """Give the answer up and fail with these words."""
        self.close()
        self._fail(WireError(why))

    def close(self) -> None:
        self._hear = None
        if self._transport is not None:
            self._transport.abort()

    # Of the transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._now_s = time.monotonic()
        parser = self._parser
        if parser is None:  # said something without being asked
            self.close()
            return
        self.answered = True
        try:
            parser.feed_data(self._buffer[:nbytes])
        except httptools.HttpParserError as error:
            self.close()
            self._fail(WireError(f"the answer is no HTTP: {shown(str(error.__context__ or error))}"))
        except httptools.HttpParserUpgrade:
            self.close()
            self._fail(WireError("the server wants to change the protocol"))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._over is None or self._over.done():
            return
        if self._in_body and self._until_close and exc is None:
            self._over.set_result(None)
        elif not self.answered and self._used:
            self._fail(Gone("the server closed the connection"))
        else:
            cause = f": {exc}" if exc is not None else ""
            self._fail(WireError(f"the server closed the connection before its answer was complete{cause}"))

    def _fail(self, error: WireError) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_exception(error)

    # Of the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"content-type":
            self.content_type = value.decode("latin-1").partition(";")[0].strip().lower()
        elif name == b"retry-after":
            self.retry_after = value.decode("latin-1")
        elif name in (b"content-length", b"transfer-encoding"):
            self._until_close = False

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        self.status = self._parser.get_status_code()
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        if self._hear is not None:
            self._hear(body, self._now_s)

    def on_message_complete(self) -> None:
        assert self._parser is not None
        if self.status < 200:  # an interim answer; the real one follows
            return
        self.reusable = self._parser.should_keep_alive() and self.alive
        self._used = True
        self._parser = None
        if self._over is not None:
            _settle(self._over)


class Pool:
    """Connections to one origin, as many as there are requests at a time."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        """Shared: every read is dealt with before the next one."""
        self.opened = 0

    async def get(self, fresh: bool = False) -> Connection:
        """A free connection, a new one if there is none or `fresh`. Raises WireError."""
        while self._idle and not fresh:
            connection = self._idle.pop()
            if connection.alive:
                return connection
            self._all.discard(connection)
        origin = self._origin
        loop = asyncio.get_running_loop()
        opening = loop.create_connection(
            lambda: Connection(self._buffer),
            origin.host,
            origin.port,
            ssl=origin.tls,
            server_hostname=origin.host if origin.tls is not None else None,
        )
        try:
            _, made = await asyncio.wait_for(opening, CONNECT_TIMEOUT_S)
        except asyncio.TimeoutError:
            raise WireError(f"no connection to {origin.host}:{origin.port} within {CONNECT_TIMEOUT_S:g} s") from None
        except ssl.SSLCertVerificationError as error:
            raise WireError(f"the certificate of {origin.host} is not trusted: {error.verify_message}") from error
        except ssl.SSLError as error:
            raise WireError(f"TLS with {origin.host}:{origin.port} failed: {error.reason or error}") from error
        except ConnectionRefusedError as error:
            raise WireError(f"nothing listens at {origin.host}:{origin.port}") from error
        except socket.gaierror as error:
            raise WireError(f"the name {origin.host} is not known") from error
        except OSError as error:
            if str(error).startswith("Multiple exceptions"):  # one for each address of the name
                raise WireError(f"no address of {origin.host} takes a connection at port {origin.port}") from error
            raise WireError(f"no connection to {origin.host}:{origin.port}: {error.strerror or error}") from error
        self.opened += 1
        self._all.add(made)
        return made

    def put(self, connection: Connection) -> None:
        """Give it back; one that cannot be used again is closed."""
        if connection.reusable and connection.alive and len(self._idle) < _IDLE_KEPT:
            self._idle.append(connection)
        else:
            self.drop(connection)

    def drop(self, connection: Connection) -> None:
        self._all.discard(connection)
        connection.close()

    async def close(self) -> None:
        for connection in list(self._all):
            self.drop(connection)
        self._idle.clear()
        await asyncio.sleep(0)  # transports call connection_lost with the loop's next round


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

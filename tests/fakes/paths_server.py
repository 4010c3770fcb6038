"""An HTTP server that answers each path with what it was given: for layouts that only some servers have."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

JSON = "application/json"
EVENTS = "text/event-stream"


@dataclass
class Reply:
    body: bytes | str = b""
    kind: str = JSON
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Answer = Reply | Callable[[bytes], Reply]


@dataclass
class PathsServer:
    """`paths` may be changed at any time; a path that is not there is 404."""

    paths: dict[str, Answer]
    port: int = 0
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    """Path and body of every request."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@contextlib.contextmanager
def answering(paths: dict[str, Answer]) -> Iterator[PathsServer]:
    """The server on a thread of its own."""
    told = PathsServer(dict(paths))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            told.asked.append((self.path, body))
            answer = told.paths.get(self.path, Reply('{"detail":"Not Found"}', status=404))
            reply = answer(body) if callable(answer) else answer
            data = reply.body.encode() if isinstance(reply.body, str) else reply.body
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.kind)
            self.send_header("Content-Length", str(len(data)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="paths-server")
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5.0)

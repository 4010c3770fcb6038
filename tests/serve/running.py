"""A front door that really listens, on a thread with its own event loop, before a host without an engine."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from workbench.core.messages import StepSpec
from workbench.core.serving import ServeLimits
from workbench.jobs.engine import EngineClient, HostCommand
from workbench.serve.door import FrontDoor
from workbench.serve.engine_backend import EngineBackend
from workbench.serve.ports import bind

HOST = Path(__file__).parents[1] / "fakes" / "host.py"
MODEL = "tiny"


class Running:
    """`door` and `client` may be looked at; what is asked of the door goes through `call`."""

    def __init__(self, client: EngineClient, loop: asyncio.AbstractEventLoop) -> None:
        self.client = client
        self.loop = loop
        self.door: FrontDoor
        self.port = 0
        self.lines: list[str] = []
        self.problems: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def call(self, asked: Callable[[], Any]) -> Any:
        """Do something in the server's loop; what it gives back, awaited."""

        async def do() -> Any:
            result = asked()
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(do(), self.loop).result(30)

    def ask(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None, method: str | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method or ("GET" if data is None else "POST"), path, data, headers or {})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def error(self, path: str, body: Any = None, **more: Any) -> tuple[int, dict[str, Any]]:
        """Status and OpenAI's error object of a request that is refused."""
        status, _, data = self.ask(path, body, **more)
        return status, json.loads(data)["error"]

    def connect(self, sent: bytes = b"", receive_bytes: int | None = None) -> socket.socket:
        connection = socket.socket()
        if receive_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(20)
        try:
            connection.connect(("127.0.0.1", self.port))
            connection.sendall(sent)
        except OSError:
            connection.close()
            raise
        return connection

    def raw(self, path: str, body: Any, headers: str = "") -> bytes:
        data = json.dumps(body).encode()
        return (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}\r\n{headers}\r\n".encode() + data
        )

    def engine_active(self) -> int | None:
        """Requests in the engine, as it says itself; it says so once a turn."""
        stats = self.client.stats
        return None if stats is None else stats.requests_active


def wait_for(true: Callable[[], bool], timeout_s: float = 8.0) -> bool:
    ends = time.monotonic() + timeout_s
    while time.monotonic() < ends:
        if true():
            return True
        time.sleep(0.01)
    return true()


@contextlib.contextmanager
def running(
    folder: Path, limits: ServeLimits | None = None, *, key: str | None = None, attach: bool = True, **settings: Any
) -> Iterator[Running]:
    """`settings`: of the host (tests/fakes/host.py)."""
    settings = {"tokens_per_s": 200, "kv_blocks": 64, **settings}
    command = HostCommand(argv=(sys.executable, str(HOST)), spec=StepSpec(worker="fake.host", settings=settings))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="server")
    thread.start()
    try:
        with EngineClient.start(command, folder / "host.log", timeout_s=30) as client:
            server = Running(client, loop)

            async def open_it() -> None:
                server.door = FrontDoor(
                    model=MODEL,
                    host="127.0.0.1",
                    limits=limits or ServeLimits(),
                    key=key,
                    access=server.lines.append,
                    on_problem=server.problems.append,
                )
                listener = bind("127.0.0.1", 0)
                server.port = listener.getsockname()[1]
                await server.door.open(listener)
                if attach:
                    server.door.attach(EngineBackend(client))

            server.call(open_it)
            try:
                yield server
            finally:
                server.call(lambda: server.door.drain(now=True))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        left = asyncio.all_tasks(loop)
        loop.close()
        assert not left, left

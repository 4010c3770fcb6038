"""The HTTP side of the stand-in: health, metadata, configuration, generate, and metrics on their own port."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from tests.fakes.triton.backend_utils import InferenceResponse
from tests.fakes.triton.repository import NUMPY, Repository, TritonRefusedError, _type


class Server:
    """Both ports, on loopback."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.bodies: list[dict[str, Any]] = []
        self.cut_after: int | None = None
        """The connection of a stream is cut after so many events."""
        self.error_after: int | None = None
        self.front = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, metrics=False))
        self.metrics = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, metrics=True))
        for server in (self.front, self.metrics):
            server.daemon_threads = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.front.server_port}"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.metrics.server_port}/metrics"

    def tensors(self, name: str, body: dict[str, Any]) -> dict[str, np.ndarray]:
        """Fields that are inputs; others are parameters, which are single values. Raises TritonRefusedError."""
        config = self.repository._config(name)
        known = {one.name: one for one in config.input}
        found = {}
        for key, value in body.items():
            if key not in known:
                if isinstance(value, list | dict) and key != "parameters":
                    raise TritonRefusedError(f"parameter '{key}' has invalid type")
                continue
            kind = NUMPY[_type(known[key])]
            values = value if isinstance(value, list) else [value]
            if kind is np.object_:
                array = np.array([str(one).encode() for one in values], dtype=object)
            else:
                array = np.array(values).astype(kind)
            found[key] = array.reshape(1, -1) if config.max_batch_size > 0 else array
        return found

    def prometheus(self) -> str:
        lines = [
            f'nv_inference_request_success{{model="{name}",version="1"}} {count}'
            for name, count in self.repository.counts.items()
        ]
        lines += [
            f'nv_inference_pending_request_count{{model="{name}",version="1"}} 0' for name in self.repository.counts
        ]
        for name, engine in self.repository.engines.items():
            label = f'model="{name}",version="1"'
            lines.append(f'nv_trt_llm_request_metrics{{{label},request_type="active"}} {engine.active}')
            lines.append(f'nv_trt_llm_request_metrics{{{label},request_type="waiting"}} 0')
            for kind, value in (
                ("max", 1000),
                ("used", engine.active),
                ("free", 1000 - engine.active),
                ("tokens_per", 32),
            ):
                lines.append(f'nv_trt_llm_kv_cache_block_metrics{{kv_cache_block_type="{kind}",{label}}} {value}')
        return "\n".join(lines) + "\n"


@contextlib.contextmanager
def serving(repository: Repository) -> Iterator[Server]:
    server = Server(repository)
    threads = [threading.Thread(target=one.serve_forever, args=(0.02,)) for one in (server.front, server.metrics)]
    for thread in threads:
        thread.start()
    try:
        yield server
    finally:
        for one in (server.front, server.metrics):
            one.shutdown()
            one.server_close()
        for thread in threads:
            thread.join()


def _json(response: InferenceResponse, name: str) -> dict[str, Any]:
    if response.has_error():
        found = response.error()
        assert found is not None
        return {"error": found.message()}
    told: dict[str, Any] = {"model_name": name, "model_version": "1"}
    for tensor in response.output_tensors():
        values = [one.decode() if isinstance(one, bytes) else one for one in tensor.as_numpy().reshape(-1).tolist()]
        told[tensor.name()] = values[0] if len(values) == 1 else values
    return told


def _handler(server: Server, *, metrics: bool) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5
        disable_nagle_algorithm = True

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            if metrics:
                self._reply(200, server.prometheus().encode(), "text/plain")
                return
            parts = self.path.strip("/").split("/")
            try:
                if self.path in ("/v2/health/ready", "/v2/health/live"):
                    self._reply(200, b"")
                elif parts == ["v2"]:
                    self._reply(200, json.dumps({"name": "triton", "version": "2.70.0"}).encode())
                elif parts[:2] == ["v2", "models"] and len(parts) == 3:
                    self._reply(200, json.dumps(server.repository.metadata(parts[2])).encode())
                elif parts[:2] == ["v2", "models"] and parts[3:] == ["ready"]:
                    server.repository._config(parts[2])
                    self._reply(200, b"")
                elif parts[:2] == ["v2", "models"] and parts[3:] == ["config"]:
                    self._reply(200, json.dumps(server.repository.config_json(parts[2])).encode())
                else:
                    self._reply(404, b"")
            except TritonRefusedError as error:
                self._reply(400, json.dumps({"error": str(error)}).encode())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            parts = self.path.strip("/").split("/")
            if parts == ["v2", "repository", "index"]:
                names = [{"name": name, "version": "1", "state": "READY"} for name in server.repository.configs]
                self._reply(200, json.dumps(names).encode())
                return
            name, verb = parts[2], parts[3]
            server.bodies.append(body)
            try:
                tensors = server.tensors(name, body)
                (self._stream if verb == "generate_stream" else self._whole)(name, tensors)
            except TritonRefusedError as error:
                self._reply(400, json.dumps({"error": str(error)}).encode())

        def _whole(self, name: str, tensors: dict[str, np.ndarray]) -> None:
            found: list[InferenceResponse] = []
            server.repository.run(name, tensors, found.append)
            found = [one for one in found if one.has_error() or one.output_tensors()]
            if len(found) != 1:
                raise TritonRefusedError(f"generate expects model to produce exactly 1 response, got {len(found)}")
            self._reply(400 if found[0].has_error() else 200, json.dumps(_json(found[0], name)).encode())

        def _stream(self, name: str, tensors: dict[str, np.ndarray]) -> None:
            gone = threading.Event()
            sent = 0

            def send(response: InferenceResponse) -> None:
                nonlocal sent
                if gone.is_set():
                    return
                try:
                    if not sent:
                        self.send_response(400 if response.has_error() else 200)
                        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
                        self.send_header("Transfer-Encoding", "chunked")
                        self.end_headers()
                    told = _json(response, name)
                    if server.error_after is not None and sent == server.error_after:
                        told = {"error": "the engine is out of memory"}
                    self._chunk(b"data: " + json.dumps(told, ensure_ascii=False).encode() + b"\n\n")
                    sent += 1
                    if sent == server.cut_after:
                        self.close_connection = True
                        gone.set()
                except OSError:
                    gone.set()

            server.repository.run(name, tensors, send, cancelled=gone.is_set)
            with contextlib.suppress(OSError):
                if not gone.is_set():
                    self.wfile.write(b"0\r\n\r\n")

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            self.wfile.flush()

        def _reply(self, status: int, body: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler

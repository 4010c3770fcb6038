"""A small Hub on 127.0.0.1: the few routes that a download needs, and the ways in which one goes wrong."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fakes.models import make_tiny_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "org/tiny"


@dataclass
class Hub:
    """What the server serves, what it was asked, and how it misbehaves."""

    files: dict[str, bytes] = field(default_factory=dict)
    status: int = 200
    error_code: str = ""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """(method, path, Range header)"""
    tokens: set[str] = field(default_factory=set)
    cut_after: dict[str, list[int]] = field(default_factory=dict)
    """File -> bytes after which the connection breaks, one for each answer to come."""
    stall_after: dict[str, int] = field(default_factory=dict)
    """File -> bytes after which the server sends nothing more."""
    stalled: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    damage: bool = False
    models: list[dict[str, Any]] = field(default_factory=list)
    """What a search looks through."""
    url: str = ""

    def ranges(self, name: str) -> list[str]:
        return [asked for method, path, asked in self.requests if method == "GET" and path.endswith(name)]


def handler_for(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            hub.requests.append((self.command, self.path, self.headers.get("Range", "")))
            hub.tokens.add(self.headers.get("authorization", ""))
            if hub.status != 200:
                self.reply(hub.status, b'{"error": "no"}', body, {"X-Error-Code": hub.error_code})
            elif self.path.startswith("/api/models?"):
                asked = parse_qs(urlsplit(self.path).query)
                words = asked.get("search", [""])[0].lower()
                known = [m for m in hub.models if words in m["id"].lower()][: int(asked["limit"][0])]
                self.reply(200, json.dumps(known).encode(), body, {"Content-Type": "application/json"})
            elif self.path.startswith(f"/api/models/{REPO}/revision/"):
                siblings = [{"rfilename": name, "size": len(data)} for name, data in hub.files.items()]
                info = {
                    "_id": "1",
                    "id": REPO,
                    "modelId": REPO,
                    "sha": COMMIT,
                    "siblings": siblings,
                    "tags": [],
                }
                self.reply(200, json.dumps(info).encode(), body, {"Content-Type": "application/json"})
            elif self.path.startswith(f"/{REPO}/resolve/{COMMIT}/"):
                self.file(self.path.rsplit("/", 1)[1].split("?")[0], body)
            else:
                self.reply(404, b"{}", body, {"X-Error-Code": "RepoNotFound"})

        def file(self, name: str, body: bool) -> None:
            data = hub.files[name]
            etag = hashlib.sha256(data).hexdigest() if name.endswith(".safetensors") else hashlib.sha1(data).hexdigest()
            headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            begin, status = 0, 200
            asked = self.headers.get("Range")
            if asked and body:
                begin, status = int(asked.removeprefix("bytes=").split("-")[0]), 206
                headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
            if hub.damage and name.endswith(".safetensors"):
                data = data[:-1] + b"!"
            cuts = hub.cut_after.get(name) if body else None
            self.reply(
                status,
                data[begin:],
                body,
                headers,
                cut=cuts.pop(0) if cuts else None,
                stall=hub.stall_after.get(name),
            )

        def reply(
            self, status: int, data: bytes, body: bool, headers: dict[str, str], cut: int | None = None,
            stall: int | None = None,
        ) -> None:  # fmt: skip
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if not body:
                return
            if stall is not None:
                self.wfile.write(data[:stall])
                self.wfile.flush()
                hub.stalled.set()
                hub.release.wait(30)
                self.close_connection = True
                return
            self.wfile.write(data if cut is None else data[:cut])
            if cut is not None:
                self.wfile.flush()
                self.close_connection = True

    return Handler


@contextlib.contextmanager
def running_hub(folder: Path) -> Iterator[Hub]:
    """A Hub on 127.0.0.1 with one complete tiny model, beside files that must not be fetched."""
    make_tiny_folder(folder, vocab_size=50_000)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files |= {
        "README.md": b"# x",
        "pytorch_model.bin": b"\x80\x04.",
        "modeling_x.py": b"boom",
        ".gitattributes": b"x",
    }
    hub = Hub(files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(hub))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        hub.release.set()
        server.shutdown()
        thread.join()
        server.server_close()

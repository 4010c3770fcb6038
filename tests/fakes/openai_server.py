"""An OpenAI-compatible server of known timings, and of every fault that a real one shows.

A real server on a real port: in this process on a thread (`serving`), or in one of its own
(`python -m tests.fakes.openai_server --help`). It notes when it took each request and when it wrote each token, on
the monotonic clock, which all processes of a machine share: the truth that a client's figures are held against.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import heapq
import itertools
import json
import random
import ssl
import sys
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

from workbench.bench.loop import FineSelector

WORDS = [" the", " quick", " fox", " sees", " ein", " Stück", " of", " light", ",", " and", " then", " 東京"]
QUOTED = [json.dumps(word, ensure_ascii=False) for word in WORDS]


_MOST_STEPS = 200


@dataclass(frozen=True)
class Behaviour:
    """How one request is answered. Times in seconds."""

    ttft_s: float = 0.02
    """From the request read to the first token written."""
    itl_s: float = 0.005
    """Between tokens."""
    jitter: float = 0.0
    """Share by which each gap varies, evenly to both sides, seeded by the request's number."""
    tokens_per_chunk: int = 1
    natural_tokens: int | None = None
    """Length of an answer without `ignore_eos`; None: as many as asked for."""
    usage: bool = True
    """Sent at the end if asked for."""
    ids: bool = False
    """Token ids with each event if asked for (`return_token_ids`)."""
    logprobs: bool = True
    """Sent if asked for."""
    empty_first: bool = True
    """Chat begins with an event that has a role and no text, at once, as vLLM does after the prefill."""
    done: bool = True
    """`[DONE]` at the end."""
    status: int = 200
    body: bytes | None = None
    """Of an error status; None: OpenAI's layout."""
    headers: tuple[tuple[str, str], ...] = ()
    malformed_every: int = 0
    """So many events apart comes one that is no JSON."""
    comments_every: int = 0
    """So many events apart comes a keep-alive comment."""
    drop_after: int | None = None
    """The connection is cut after so many tokens."""
    hang_after: int | None = None
    """Nothing comes any more after so many tokens."""
    error_after: int | None = None
    """An error event comes after so many tokens."""
    crlf: bool = False
    split_writes: bool = False
    """Every write is cut in two, within a character where there is one."""
    close: bool = False
    """`Connection: close`, body up to the connection's end."""
    streams: bool = True
    """False: answers in one piece though a stream was asked for."""
    not_openai: bool = False
    """Answers HTML to everything."""


@dataclass
class Served:
    """What was done with one request."""

    number: int
    began_s: float
    """When it was read."""
    wanted: int = 0
    times: array[float] = field(default_factory=lambda: array("d"))
    """When each event with tokens was written."""
    counts: array[int] = field(default_factory=lambda: array("l"))
    completed: bool = False
    aborted: bool = False
    """The client went away."""
    body: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    path: str = ""

    @property
    def tokens(self) -> int:
        return sum(self.counts)


class OpenAIServer:
    """The server; `behaviour` may be changed at any time and holds for requests that come after."""

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        models: tuple[str, ...] = ("mock",),
        key: str | None = None,
        most_active: int | None = None,
        choose: Callable[[int], Behaviour] | None = None,
        keep_bodies: bool = True,
        metrics: str = "vllm",
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        self.models = models
        self.key = key
        """Requests need it as a bearer token."""
        self.most_active = most_active
        """Further requests wait, first come, first served: a queue model."""
        self.choose = choose
        """Behaviour by the request's number, from 0."""
        self.keep_bodies = keep_bodies
        self.metrics = metrics
        """Names of the Prometheus text: `vllm`, or empty for none (404)."""
        self.served: list[Served] = []
        self.connections = 0
        """Ever accepted."""
        self.port = 0
        self.active = 0
        self._waiting: deque[_Answer] = deque()
        self._heap: list[tuple[float, int, _Answer]] = []
        self._serial = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0
        self._server: asyncio.Server | None = None
        self._open: set[_Connection] = set()
        self._tls = False

    @property
    def url(self) -> str:
        """Base URL."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    async def start(self, port: int = 0, tls: ssl.SSLContext | None = None, reuse: bool = False) -> None:
        self._loop = asyncio.get_running_loop()
        self._tls = tls is not None
        self._server = await self._loop.create_server(
            lambda: _Connection(self),
            "127.0.0.1",
            port,
            ssl=tls,
            ssl_handshake_timeout=_HANDSHAKE_S if tls else None,
            backlog=4096,
            reuse_address=reuse or None,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._heap.clear()
        if self._server is not None:
            self._server.close()
        for connection in list(self._open):
            connection.cut()
        if self._server is not None:
            await self._server.wait_closed()

    def take(self, answer: _Answer) -> None:
        if self.most_active is not None and self.active >= self.most_active:
            self._waiting.append(answer)
            return
        self.active += 1
        answer.begin(time.monotonic() if self.most_active is not None else answer.served.began_s)

    def over(self, answer: _Answer) -> None:
        """An active answer ended, or a waiting one was given up."""
        if not answer.active:
            with contextlib.suppress(ValueError):
                self._waiting.remove(answer)
            return
        answer.active = False
        self.active -= 1
        while self._waiting and (self.most_active is None or self.active < self.most_active):
            self.active += 1
            self._waiting.popleft().begin(time.monotonic())

    def at(self, t_s: float, answer: _Answer) -> None:
        heapq.heappush(self._heap, (t_s, next(self._serial), answer))
        if self._timer is None or t_s < self._timer_s:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            self._timer_s = self._heap[0][0]
            self._timer = self._loop.call_at(self._timer_s, self._due)

    def _due(self) -> None:
        self._timer = None
        heap = self._heap
        self._timer_s = float("-inf")  # whatever is pushed meanwhile is seen below
        self._timer = _HELD
        try:
            for _ in range(_MOST_STEPS):  # others than the clock must be heard as well: a client that goes away
                if not heap or heap[0][0] > time.monotonic():
                    break
                t_s, _, answer = heapq.heappop(heap)
                answer.step(t_s)
        finally:
            self._timer = None
            self._arm()

    def prometheus(self) -> str:
        used = sum(answer.served.tokens for _, _, answer in self._heap)
        return (
            "# HELP vllm:num_requests_running Number of requests in model execution batches.\n"
            "# TYPE vllm:num_requests_running gauge\n"
            f'vllm:num_requests_running{{engine="0",model_name="{self.models[0]}"}} {float(self.active)}\n'
            "# TYPE vllm:num_requests_waiting gauge\n"
            f'vllm:num_requests_waiting{{engine="0",model_name="{self.models[0]}"}} {float(len(self._waiting))}\n'
            "# TYPE vllm:kv_cache_usage_perc gauge\n"
            f'vllm:kv_cache_usage_perc{{engine="0",model_name="{self.models[0]}"}} {min(1.0, used / 1e5)}\n'
        )

    def truth(self, first: int = 0) -> dict[str, Any]:
        """What really happened, in ms and tok/s, of the completed requests from that number on."""
        done = [one for one in self.served[first:] if one.completed and one.times]
        if not done:
            return {"requests": 0}
        ttft = sorted((one.times[0] - one.began_s) * 1000 for one in done)
        itl = sorted((one.times[-1] - one.times[0]) * 1000 / (one.tokens - 1) for one in done if one.tokens > 1)
        began, ended = min(one.began_s for one in done), max(one.times[-1] for one in done)
        tokens = sum(one.tokens for one in done)
        return {
            "requests": len(done),
            "tokens": tokens,
            "events": sum(len(one.times) for one in done),
            "began_s": began,
            "ended_s": ended,
            "ttft_mean_ms": sum(ttft) / len(ttft),
            "ttft_p50_ms": ttft[len(ttft) // 2],
            "itl_mean_ms": sum(itl) / len(itl) if itl else None,
            "itl_p50_ms": itl[len(itl) // 2] if itl else None,
            "tok_s": tokens / (ended - began) if ended > began else None,
            "req_s": len(done) / (ended - began) if ended > began else None,
        }


_HANDSHAKE_S = 2.0


class _Held(asyncio.TimerHandle):
    def __init__(self) -> None:
        pass

    def cancel(self) -> None:
        pass


_HELD = _Held()


class _Answer:
    """One streaming or whole answer under way."""

    def __init__(self, connection: _Connection, served: Served, behaviour: Behaviour, body: dict[str, Any]) -> None:
        self.connection = connection
        self.served = served
        self.behaviour = behaviour
        self.active = False
        server = connection.server
        self.chat = served.path.endswith("chat/completions")
        asked = int(body.get("max_tokens") or body.get("max_completion_tokens") or 16)
        self.wanted = asked
        if behaviour.natural_tokens is not None and not body.get("ignore_eos"):
            self.wanted = min(asked, behaviour.natural_tokens)
        self.finish = "length" if self.wanted == asked else "stop"
        served.wanted = self.wanted
        options = body.get("stream_options") or {}
        self.usage = behaviour.usage and bool(options.get("include_usage"))
        self.running_usage = self.usage and bool(options.get("continuous_usage_stats"))
        self.ids = behaviour.ids and bool(body.get("return_token_ids"))
        self.logprobs = behaviour.logprobs and body.get("logprobs") not in (None, False)
        self.stream = bool(body.get("stream")) and behaviour.streams
        self.input = _prompt_tokens(body)
        self.token = 0
        self.events = 0
        self.chance = random.Random(served.number)
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        prefix = "chatcmpl" if self.chat else "cmpl"
        self.head = (
            f'{{"id":"{prefix}-{served.number:08d}","object":"{kind}","created":1760000000,'
            f'"model":{json.dumps(body.get("model", server.models[0]))}'
        )
        head, tail = f'data: {self.head},"choices":[{{"index":0,', ',"finish_reason":null}]}\n\n'
        self._plain = [
            f'{head}"delta":{{"content":{word}}}{tail}'.encode() if self.chat else f'{head}"text":{word}{tail}'.encode()
            for word in QUOTED
        ]
        """Events of one token, made beforehand: the server must be quicker than the client."""

    def begin(self, now_s: float) -> None:
        self.active = True
        self.connection.server.at(now_s + self._vary(self.behaviour.ttft_s), self)

    def _vary(self, seconds: float) -> float:
        jitter = self.behaviour.jitter
        return seconds * (1 + self.chance.uniform(-jitter, jitter)) if jitter else seconds

    def step(self, due_s: float) -> None:
        """Write what is due; `due_s` and not now is what the next step counts from, so that nothing drifts."""
        one = self.behaviour
        if not self.stream:
            if self.token == 0 and self.wanted > 1:
                self.token = self.wanted
                self.connection.server.at(due_s + one.itl_s * (self.wanted - 1), self)
                return
            self._whole()
            return
        count = min(one.tokens_per_chunk, self.wanted - self.token)
        out = []
        if self.token == 0 and self.chat and one.empty_first:
            out.append(self._event(f'{{"index":0,"delta":{{"role":"assistant","content":""}}{_TAIL}'))
        if one.comments_every and self.events % one.comments_every == 0:
            out.append(b": keep-alive\n\n")
        if one.malformed_every and self.events % one.malformed_every == one.malformed_every - 1:
            out.append((b'data: {"choices": [{"delta": {"cont\n\n', b"data: 17\n\n", b"nonsense\n\n")[self.events % 3])
        text = "".join(WORDS[(self.token + i) % len(WORDS)] for i in range(count))
        self.token += count
        self.events += 1
        last = self.token >= self.wanted
        out.append(self._token_event(text, count, last))
        ended = last
        if one.error_after is not None and self.token >= one.error_after:
            out.append(b'data: {"error":{"message":"the engine gave up","type":"server_error","code":500}}\n\n')
            ended = True
        if ended:
            if self.usage:
                out.append(b"data: " + f'{self.head},"choices":[],{self._usage()}}}'.encode() + b"\n\n")
            if one.done:
                out.append(b"data: [DONE]\n\n")
        self.served.times.append(time.monotonic())
        self.served.counts.append(count)
        self.connection.send_part(b"".join(out))
        if one.drop_after is not None and self.token >= one.drop_after:
            self.connection.cut()
            return
        if one.hang_after is not None and self.token >= one.hang_after:
            return
        if ended:
            self.served.completed = last
            self.connection.finish(self)
        else:
            self.connection.server.at(due_s + self._vary(one.itl_s * count), self)

    def _usage(self) -> str:
        total = self.input + self.token
        return f'"usage":{{"prompt_tokens":{self.input},"total_tokens":{total},"completion_tokens":{self.token}}}'

    def _event(self, choice: str) -> bytes:
        return f'data: {self.head},"choices":[{choice}]}}\n\n'.encode()

    def _token_event(self, text: str, count: int, last: bool) -> bytes:
        if count == 1 and not (last or self.logprobs or self.ids or self.running_usage):
            return self._plain[(self.token - 1) % len(WORDS)]
        quoted = json.dumps(text, ensure_ascii=False)
        part = f'"delta":{{"content":{quoted}}}' if self.chat else f'"text":{quoted}'
        extra = ""
        if self.logprobs:
            one = f'{{"token":{quoted},"logprob":-0.5,"bytes":null,"top_logprobs":[]}}'
            extra = f',"logprobs":{{"content":[{",".join([one] * count)}]}}'
            if not self.chat:
                parts = {"tokens": ["x"] * count, "token_logprobs": [-0.5] * count}
                extra = f',"logprobs":{json.dumps(parts)}'
        if self.ids:
            extra += f',"token_ids":{list(range(self.token - count + 1, self.token + 1))}'
        finish = f'"{self.finish}"' if last else "null"
        tail = f"],{self._usage()}}}" if self.running_usage else "]}"
        return f'data: {self.head},"choices":[{{"index":0,{part}{extra},"finish_reason":{finish}}}{tail}\n\n'.encode()

    def _whole(self) -> None:
        text = "".join(WORDS[i % len(WORDS)] for i in range(self.wanted))
        self.token = self.wanted
        part: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        whole = {
            "id": f"whole-{self.served.number}",
            "object": "chat.completion" if self.chat else "text_completion",
            "created": 1760000000,
            "model": self.connection.server.models[0],
            "choices": [{"index": 0, **part, "finish_reason": self.finish}],
        }
        if self.behaviour.usage:
            whole |= json.loads(f"{{{self._usage()}}}")
        self.served.times.append(time.monotonic())
        self.served.counts.append(self.wanted)
        self.served.completed = True
        self.connection.server.over(self)
        self.connection.answer = None
        self.connection.reply(200, json.dumps(whole).encode())


_TAIL = ',"logprobs":null,"finish_reason":null}'


def _prompt_tokens(body: dict[str, Any]) -> int:
    prompt = body.get("prompt")
    if isinstance(prompt, list):
        return len(prompt)
    if isinstance(prompt, str):
        return max(1, len(prompt.split()))
    messages = body.get("messages") or []
    return max(1, sum(len(str(turn.get("content", "")).split()) for turn in messages if isinstance(turn, dict)))


class _Connection(asyncio.Protocol):
    def __init__(self, server: OpenAIServer) -> None:
        self.server = server
        self.transport: asyncio.Transport | None = None
        self.answer: _Answer | None = None
        self._rest = b""
        self._behaviour = server.behaviour
        self._chunked = True
        self._pieces: deque[bytes] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.connections += 1
        self.server._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server._open.discard(self)
        self.transport = None
        if self.answer is not None:
            self.answer.served.aborted = True
            self.server.over(self.answer)
            self.answer = None

    def data_received(self, data: bytes) -> None:
        now_s = time.monotonic()
        self._rest += data
        head_end = self._rest.find(b"\r\n\r\n")
        if head_end < 0:
            return
        first, *lines = self._rest[:head_end].decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if len(self._rest) < head_end + 4 + length:
            return
        body = self._rest[head_end + 4 : head_end + 4 + length]
        self._rest = self._rest[head_end + 4 + length :]
        method, path, _ = first.split(" ", 2)
        self._request(method, path, headers, body, now_s)

    def _request(self, method: str, path: str, headers: dict[str, str], body: bytes, now_s: float) -> None:
        server = self.server
        self._behaviour = server.behaviour
        if server.behaviour.not_openai:
            self.reply(200, b"<html><title>Welcome</title></html>", "text/html")
        elif path == "/metrics":
            text = server.prometheus() if server.metrics else ""
            self.reply(200 if text else 404, text.encode(), "text/plain; version=0.0.4")
        elif path in ("/health", "/v1/health"):
            self.reply(200, b"")
        elif path == "/truth":
            self.reply(200, json.dumps(server.truth()).encode())
        elif path == "/forget":
            server.served.clear()
            self.reply(200, b"{}")
        elif path == "/behave" and method == "POST":
            server.behaviour = replace(server.behaviour, **json.loads(body))
            self.reply(200, b"{}")
        elif server.key is not None and headers.get("authorization") != f"Bearer {server.key}":
            sent = headers.get("authorization", "none")
            self.reply(401, _error(f"Incorrect API key provided: {sent}", "invalid_api_key"))
        elif path == "/v1/models":
            data = [
                {"id": name, "object": "model", "owned_by": "mock", "max_model_len": 8192} for name in server.models
            ]
            self.reply(200, json.dumps({"object": "list", "data": data}).encode())
        elif path in ("/v1/chat/completions", "/v1/completions") and method == "POST":
            self._generate(path, headers, body, now_s)
        else:
            self.reply(404, _error(f"Not Found: {path}", "not_found"))

    def _generate(self, path: str, headers: dict[str, str], raw: bytes, now_s: float) -> None:
        server = self.server
        try:
            body = json.loads(raw)
        except ValueError:
            self.reply(400, _error("the body is not JSON", "invalid_request"))
            return
        number = len(server.served)
        kept = body if server.keep_bodies else {}
        served = Served(number, now_s, body=kept, headers=headers if server.keep_bodies else {}, path=path)
        server.served.append(served)
        self._behaviour = one = server.choose(number) if server.choose is not None else server.behaviour
        if body.get("model") not in server.models:
            self.reply(404, _error(f"The model `{body.get('model')}` does not exist.", "model_not_found"))
            return
        if one.status != 200:
            self.reply(one.status, one.body if one.body is not None else _error(f"status {one.status}", "made_up"))
            return
        self.answer = _Answer(self, served, one, body)
        if self.answer.stream:
            self._chunked = not one.close
            framing = "Connection: close" if one.close else "Transfer-Encoding: chunked"
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n{framing}\r\n"
            extra = "".join(f"{name}: {value}\r\n" for name, value in one.headers)
            self._write(f"{head}{extra}\r\n".encode())
        server.take(self.answer)

    def send_part(self, data: bytes) -> None:
        if self._behaviour.crlf:
            data = data.replace(b"\n", b"\r\n")
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._write(data)

    def _write(self, data: bytes) -> None:
        if self.transport is None:
            return
        if self._behaviour.split_writes or self._pieces:
            middle = next((i + 1 for i, byte in enumerate(data) if byte >= 0xC0), len(data) // 2)
            self._pieces += [data[:middle], data[middle:]]
            if len(self._pieces) == 2:
                self._pump()
            return
        self.transport.write(data)

    def _pump(self) -> None:
        """Write the next piece, and the one after it a moment later, so that it is read by itself."""
        if self.transport is None or self.transport.is_closing():
            self._pieces.clear()
            return
        self.transport.write(self._pieces.popleft())
        if self._pieces:
            asyncio.get_running_loop().call_later(0.0005, self._pump)

    def finish(self, answer: _Answer) -> None:
        self.answer = None
        self.server.over(answer)
        if self._chunked:
            self._write(b"0\r\n\r\n")
        elif self.transport is not None:
            self.transport.close()

    def reply(self, status: int, body: bytes, kind: str = "application/json") -> None:
        extra = "".join(f"{name}: {value}\r\n" for name, value in self._behaviour.headers)
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
        if self.transport is not None:
            self.transport.write(head.encode() + body)

    def cut(self) -> None:
        """End the connection at once."""
        if self.answer is not None:
            self.server.over(self.answer)
            self.answer = None
        if self.transport is not None:
            self.transport.abort()
            self.transport = None


def _error(message: str, code: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "invalid_request_error", "code": code}}).encode()


@contextlib.contextmanager
def serving(
    behaviour: Behaviour | None = None, *, tls: ssl.SSLContext | None = None, port: int = 0, **options: Any
) -> Iterator[OpenAIServer]:
    """A server on a thread of its own."""
    server = OpenAIServer(behaviour, **options)
    selector = FineSelector()
    loop = asyncio.SelectorEventLoop(selector)
    over = asyncio.Event()
    up = threading.Event()

    async def serve() -> None:
        await server.start(port, tls)
        up.set()
        await over.wait()
        await server.stop()
        # A refused handshake never became a `_Connection`: it ends when the client hangs up, or at its time limit.
        until = time.monotonic() + 2 * _HANDSHAKE_S
        while len(selector.get_map()) > 1 and time.monotonic() < until:  # one is the loop's own
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.01)  # transports close with the loop's next rounds

    def run() -> None:
        loop.run_until_complete(serve())
        loop.close()

    thread = threading.Thread(target=run, name="openai-server")
    thread.start()
    try:
        assert up.wait(10), "the server did not start"
        yield server
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        assert not thread.is_alive(), "the server did not end"


def main() -> None:
    """Serve in a process of its own; prints its port."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--most-active", type=int)
    parser.add_argument("--key")
    for one in fields(Behaviour):
        if isinstance(one.default, bool):
            parser.add_argument(f"--{one.name.replace('_', '-')}", type=lambda v: v == "true", default=one.default)
        elif isinstance(one.default, int | float) or (one.default is None and one.name != "body"):
            kind = float if isinstance(one.default, float) else int
            parser.add_argument(f"--{one.name.replace('_', '-')}", type=kind, default=one.default)
    given = vars(parser.parse_args())
    behaviour = Behaviour(**{one.name: given[one.name] for one in fields(Behaviour) if one.name in given})
    server = OpenAIServer(behaviour, key=given["key"], most_active=given["most_active"], keep_bodies=False)

    async def run() -> None:
        await server.start(given["port"])
        print(server.port, flush=True)
        # Ends with whoever started it: nothing is ever sent on its standard input.
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await server.stop()

    loop = asyncio.SelectorEventLoop(FineSelector())
    loop.run_until_complete(run())


if __name__ == "__main__":
    main()

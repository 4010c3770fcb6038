"""The server in front of the demo engine: what it costs in tokens a second, and a minute of a thousand clients.

Two measurements in one run:

- the price: tokens/s of 8 streams through the front door over tokens/s of 8 streams by the engine client directly, in
  turns on one engine host, both from the process that holds the front door, so that a busy machine slows both alike;
- the crowd, on the server as it is started for people: 1,000 clients at once for a minute, each on a connection of its
  own, beside clients with wrong keys, with bodies of 100 MB, and such that never read. Nothing but 200 and 429 may come
  to the good ones, every 200 whole, and the bad ones must be turned away.

Tokens a second of CPU time, of the engine's host and the front door together, are what is held against the bar: on a
machine whose cores the engine fills they are tokens/s, and what others do there disturbs them little. Tokens/s by the
clock stand beside them.

The ratio of the first is held against its bar; the second must show no failure or the benchmark is not ok.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil

from benchmarks._common import find_engine, finish, table
from workbench.core.home import Home
from workbench.core.home_choice import home_from
from workbench.core.messages import Sampling
from workbench.core.serving import ServeLimits
from workbench.jobs.engine import EngineClient, HostCommand
from workbench.serve import client as serving
from workbench.serve.door import FrontDoor
from workbench.serve.engine_backend import EngineBackend
from workbench.serve.ports import bind
from workbench.toolchains.running import engine_start

BAR = 0.9
STREAMS = 8
WRITE_S = 10.0
"""After which the server cuts off a client that does not read."""
PROMPT = "Write a story about a lighthouse keeper who collects clocks."
_KEY_VARIABLE = "SERVE_BENCHMARK_KEY"
KEY = os.environ.get(_KEY_VARIABLE) or str(serving.new_key())


def ask_bytes(model: str, tokens: int, *, stream: bool, key: str = KEY) -> bytes:
    body = json.dumps(
        {"model": model, "prompt": PROMPT, "max_tokens": tokens, "ignore_eos": True, "temperature": 0, "stream": stream}
    ).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers, body of one HTTP answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    if headers.get("transfer-encoding") == "chunked":
        parts = []
        while size := int(await reader.readuntil(b"\r\n"), 16):
            parts.append((await reader.readexactly(size + 2))[:-2])
        await reader.readexactly(2)
        body = b"".join(parts)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return int(head[0].split()[1]), headers, body


# The price


def direct(client: EngineClient, tokens: int) -> float:
    """Tokens a second of 8 streams by the engine client."""
    sampling = Sampling(max_tokens=tokens, ignore_eos=True)
    began = time.monotonic()
    answers = [client.submit(prompt=PROMPT, sampling=sampling) for _ in range(STREAMS)]
    made = sum(answer.result(300).raise_for_failure().output_tokens for answer in answers)
    return made / (time.monotonic() - began)


async def through(port: int, model: str, tokens: int) -> float:
    """The same through the server, on connections that are open already."""
    links = [await asyncio.open_connection("127.0.0.1", port) for _ in range(STREAMS)]

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        writer.write(ask_bytes(model, tokens, stream=True))
        status, _, body = await read_answer(reader)
        if status != 200 or not body.endswith(b"data: [DONE]\n\n"):
            raise RuntimeError(f"status {status}: {body[:200]!r}")
        return tokens  # ignore_eos: exactly so many

    began = time.monotonic()
    made = sum(await asyncio.gather(*(one(*link) for link in links)))
    seconds = time.monotonic() - began
    for _, writer in links:
        writer.close()
    return made / seconds


# The crowd


@dataclass
class Seen:
    statuses: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    connections: int = 0


async def good_client(port: int, model: str, number: int, until_s: float, seen: Seen) -> None:
    """Asks again and again, streamed and not; goes away for as long as a 429 says."""
    stream = bool(number % 2)
    request = ask_bytes(model, 8, stream=stream)
    reader = writer = None
    try:
        while time.monotonic() < until_s:
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    seen.connections += 1
                assert reader is not None
                writer.write(request)
                status, headers, body = await asyncio.wait_for(read_answer(reader), 150)
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
                seen.failures[type(error).__name__] += 1
                if writer is not None:
                    writer.close()
                reader = writer = None
                continue
            seen.statuses[status] += 1
            if status == 200:
                whole = body.endswith(b"data: [DONE]\n\n") if stream else b'"finish_reason": "length"' in body
                seen.failures["not whole"] += not whole
                seen.tokens += 8
            elif status == 429:
                await asyncio.sleep(min(float(headers["retry-after"]), 5.0) * (0.5 + number % 10 / 10))
            else:
                seen.failures[f"status {status}"] += 1
            if headers.get("connection") == "close" and writer is not None:
                writer.close()
                reader = writer = None
    finally:
        if writer is not None:
            writer.close()


async def bad_clients(port: int, model: str, until_s: float, seen: Seen) -> None:
    """Wrong keys, bodies of 100 MB, readers that never read: one of each at a time."""
    silent = []
    began_s = time.monotonic()
    while time.monotonic() < until_s - 2:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ask_bytes(model, 8, stream=False, key="ewb-wrong-key"))
        status, _, _ = await read_answer(reader)
        seen.bad["wrong key: 401" if status == 401 else f"wrong key: {status} (!)"] += 1
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /v1/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n"
        writer.write(f"{head}Content-Length: {100 * 2**20}\r\n\r\n".encode() + bytes(65536))
        status, _, _ = await read_answer(reader)
        seen.bad["100 MB: 413" if status == 413 else f"100 MB: {status} (!)"] += 1
        writer.close()
        if time.monotonic() - began_s < (until_s - began_s) / 3:
            # Asks for megabytes at once; the stream's small limit stops it reading after a few KB.
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            writer.write(f"GET /metrics HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode() * 1000)
            silent.append((reader, writer))
        await asyncio.sleep(1.0)
    for reader, writer in silent:
        try:
            while await asyncio.wait_for(reader.read(2**20), 5):
                pass
            seen.bad["never read: cut off"] += 1
        except ConnectionError:
            seen.bad["never read: cut off"] += 1
        except asyncio.TimeoutError:
            seen.bad["never read: still held (!)"] += 1
        writer.close()


async def crowd(port: int, model: str, clients: int, seconds: float) -> Seen:
    seen = Seen()
    until_s = time.monotonic() + seconds
    await asyncio.gather(
        bad_clients(port, model, until_s, seen),
        *(good_client(port, model, number, until_s, seen) for number in range(clients)),
    )
    return seen


async def inside(home: Home, engine: Path) -> None:
    """The front door in a process of its own: says its port, then measures the direct way whenever it is told to."""
    client = await asyncio.to_thread(load, home, engine)
    door = FrontDoor(model="demo", host="127.0.0.1", limits=ServeLimits(), key=KEY)
    listener = bind("127.0.0.1", 0)
    print(listener.getsockname()[1], flush=True)
    await door.open(listener)
    door.attach(EngineBackend(client))
    while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
        print(await asyncio.to_thread(direct, client, int(line)), flush=True)
    await door.drain(now=True)
    await asyncio.to_thread(client.close)


def cpu_s(process: psutil.Process) -> float:
    """CPU time of the front door's process and of the engine's host under it."""
    return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True)))


def price(engine: Path, rounds: int, tokens: int) -> tuple[list[float], list[float], list[float]]:
    """Ratios of tokens/s, ratios of tokens a second of CPU (which others on the machine disturb less), and
    microseconds of CPU that the front door's own process took a token; prints a table.
    """
    argv = [sys.executable, __file__, "--engine", str(engine), "--inside"]
    env = {**os.environ, _KEY_VARIABLE: KEY}
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, env=env) as process:
        assert process.stdin is not None and process.stdout is not None
        port = int(process.stdout.readline())
        watched = psutil.Process(process.pid)

        def direct_rate(count: int) -> float:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(f"{count}\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        direct_rate(16)
        asyncio.run(through(port, "demo", 16))
        ratios, cpu_ratios, rows, costs_us = [], [], [], []
        for number in range(rounds):
            before_s = cpu_s(watched)
            plain = direct_rate(tokens)
            between_s, own_s = cpu_s(watched), sum(watched.cpu_times()[:2])
            served = asyncio.run(through(port, "demo", tokens))
            after_s = cpu_s(watched)
            costs_us.append((sum(watched.cpu_times()[:2]) - own_s) / (STREAMS * tokens) * 1e6)
            plain = (plain + direct_rate(tokens)) / 2
            direct_cpu_s = (between_s - before_s + cpu_s(watched) - after_s) / 2
            cpu_ratios.append(direct_cpu_s / (after_s - between_s))
            ratios.append(served / plain)
            shown = (plain, served, ratios[-1], cpu_ratios[-1])
            rows.append([number + 1, *(f"{value:.3f}" if value < 10 else f"{value:.1f}" for value in shown)])
        process.stdin.close()
    print(table(["round", "direct tok/s", "server tok/s", "ratio by clock", "ratio by CPU time"], rows), flush=True)
    print(f"the server's own process: {statistics.median(costs_us):.0f} us of CPU a token", flush=True)
    return ratios, cpu_ratios, costs_us


def load(home: Home, engine: Path) -> EngineClient:
    start = engine_start(home, engine, [], os.environ).start
    command = HostCommand(argv=start.argv, env=start.env, cwd=str(home.root), spec=start.spec)
    return EngineClient.start(command, home.root / "serve-benchmark.txt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", help="an OpenVINO engine's folder")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    engine = find_engine(given.engine)
    home = home_from(os.environ).make()
    if given.inside:
        asyncio.run(inside(home, engine))
        return
    ratios, cpu_ratios, costs_us = price(engine, given.rounds, given.tokens)
    limits = ServeLimits(write_s=min(WRITE_S, given.seconds / 6))
    request = serving.ServeRequest(engine=engine, model="demo", port=0, limits=limits)
    spec = serving.prepare(home, request, has_key=True)
    folder = serving.start(home, spec, KEY)
    try:
        state = serving.wait_ready(folder)
        port = int(state.url.rsplit(":", 1)[1].split("/")[0])
        seen = asyncio.run(crowd(port, "demo", given.clients, given.seconds))
        reading = serving.read_readings(folder)[-1]
        well = asyncio.run(through(port, "demo", 8)) > 0
    finally:
        serving.stop(folder)
    failures = {name: count for name, count in seen.failures.items() if count}
    bad = {name: count for name, count in seen.bad.items() if "(!)" in name}
    statuses = {str(status): count for status, count in sorted(seen.statuses.items())}
    print()
    print(f"{given.clients:,} clients for {given.seconds:g} s on {seen.connections:,} connections: "
          f"{', '.join(f'{count:,} x {status}' for status, count in statuses.items())}; "
          f"failures beyond 429: {failures or 'none'}")  # fmt: skip
    print(f"beside them: {', '.join(f'{count} x {name}' for name, count in seen.bad.items())}; still serving: {well}")
    print(f"server: {reading.output_tok_s} tok/s at the end, TTFT p50 {reading.ttft.p50} ms, p99 {reading.ttft.p99} ms")
    ratio = statistics.median(cpu_ratios)
    good = not failures and not bad and well
    detail: dict[str, Any] = {
        "ratios": [round(each, 3) for each in cpu_ratios], "load_average": os.getloadavg()[0],
        "ratio_by_the_clock": round(statistics.median(ratios), 3), "clients": given.clients,
        "seconds": given.seconds, "statuses": statuses, "failures": failures, "bad": dict(seen.bad),
        "served_tokens": seen.tokens, "server_cpu_us_a_token": round(statistics.median(costs_us)),
        "still_serving": well, "engine": engine.name,
    }  # fmt: skip
    finish("serve", ratio if good else 0.0, BAR, detail)


if __name__ == "__main__":
    main()

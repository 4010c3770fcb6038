"""What the load generator sustains a core of its own CPU time, beside AIPerf, against a server of known timings.

One run: first one, then the other against the same server in a process of its own. CPU time is that of the client's
whole process tree, between the server's first request and its last token, so that neither start-up nor export counts.
AIPerf (`pip install aiperf` into an environment of its own) is given by --peer.
"""

from __future__ import annotations

import argparse
import bisect
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from _common import find_engine, finish, table  # noqa: E402

from workbench.bench import Ask, HttpTarget, run_blocking, run_point  # noqa: E402
from workbench.core.endpoint import dialect_of  # noqa: E402
from workbench.core.measure.figures import point_figures  # noqa: E402
from workbench.core.measure.load import Load  # noqa: E402

BAR = 2.0
AGREE = 0.03
SAMPLE_S = 0.05


@dataclass(frozen=True)
class Phase:
    """A load and the server's timings under it."""

    name: str
    streams: int
    requests: int
    tokens: int
    ttft_s: float
    itl_s: float


PHASES = (
    Phase("token events", 64, 256, 400, 0.05, 0.002),
    Phase("requests", 64, 4000, 2, 0.05, 0.005),
    Phase("moderate", 8, 48, 64, 0.5, 0.025),
)


@dataclass(frozen=True)
class Seen:
    """What a client did and what it says of it."""

    truth: dict[str, Any]
    cpu_s: float
    ttft_ms: float
    """p50, as the client reports it."""
    itl_ms: float
    tok_s: float
    note: str = ""

    @property
    def window_s(self) -> float:
        return float(self.truth["ended_s"] - self.truth["began_s"])

    @property
    def events_per_core(self) -> float:
        return float(self.truth["events"]) / self.cpu_s

    @property
    def requests_per_core(self) -> float:
        return float(self.truth["requests"]) / self.cpu_s


@contextmanager
def server(phase: Phase) -> Iterator[int]:
    """A server in its own process; its port."""
    command = [sys.executable, "-m", "tests.fakes.openai_server"]
    command += ["--ttft-s", str(phase.ttft_s), "--itl-s", str(phase.itl_s)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(10)


class CpuOf:
    """CPU seconds of a process and its children over time."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._last: dict[int, float] = {}
        self._times: list[float] = []
        self._cpu: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_S):
            try:
                processes = [self._root, *self._root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            for process in processes:
                try:
                    used = process.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                self._last[process.pid] = used.user + used.system
            self._times.append(time.monotonic())
            self._cpu.append(sum(self._last.values()))

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def between(self, from_s: float, to_s: float) -> float:
        return self._at(to_s) - self._at(from_s)

    def _at(self, t_s: float) -> float:
        after = min(bisect.bisect_left(self._times, t_s), len(self._times) - 1)
        before = max(after - 1, 0)
        span = self._times[after] - self._times[before]
        share = min(1.0, max(0.0, (t_s - self._times[before]) / span)) if span > 0 else 1.0
        return self._cpu[before] + share * (self._cpu[after] - self._cpu[before])


def run_client(command: list[str], port: int, log: Path) -> tuple[dict[str, Any], float]:
    """The server's truth of this client's requests, warm-up left out, and the client's CPU seconds in that time."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=log.parent, stdout=out, stderr=subprocess.STDOUT)
        cpu = CpuOf(process.pid)
        try:
            code = process.wait(300)
        finally:
            cpu.close()
    if code:
        print(log.read_text(errors="replace")[-3000:], file=sys.stderr)
        sys.exit(2)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/truth") as answer:
        truth = json.load(answer)
    return truth, cpu.between(truth["began_s"], truth["ended_s"])


def ours(phase: Phase, port: int, folder: Path) -> Seen:
    given = json.dumps({"port": port, "streams": phase.streams, "requests": phase.requests, "tokens": phase.tokens})
    log = folder / f"ours-{phase.name.replace(' ', '-')}.log"
    truth, cpu_s = run_client([sys.executable, str(Path(__file__).resolve()), "--as-client", given], port, log)
    said = json.loads(log.read_text().splitlines()[-1])
    return Seen(truth, cpu_s, said["ttft_ms"], said["itl_ms"], said["tok_s"], said["client"])


def as_client(given: dict[str, int]) -> None:
    """The load generator as a program: what is measured of it."""
    tokens = given["tokens"]
    load = Load(requests=given["requests"], levels=(float(given["streams"]),))

    async def work() -> Any:
        url = f"http://127.0.0.1:{given['port']}/v1"
        target = HttpTarget(url, "mock", dialect=dialect_of("vllm"))
        try:
            return await run_point(
                target, load, load.levels[0], 0, lambda n: Ask(n, tokens, text=f"question {n}", ignore_eos=True)
            )
        finally:
            await target.close()

    point = run_blocking(work)
    figures = point_figures(point)
    assert figures.ttft_ms is not None and figures.itl_ms is not None and figures.completed == given["requests"]
    said = {
        "ttft_ms": figures.ttft_ms.p50,
        "itl_ms": figures.itl_ms.p50,
        "tok_s": figures.output_tok_s,
        "client": point.client.words,
    }
    print(json.dumps(said))


def theirs(phase: Phase, port: int, folder: Path, peer: str, tokenizer: Path) -> Seen:
    out = folder / f"peer-{phase.name.replace(' ', '-')}"
    command = [
        peer, "profile", "-m", "mock", "--url", f"http://127.0.0.1:{port}", "--endpoint-type", "chat", "--streaming",
        "--concurrency", str(phase.streams), "--request-count", str(phase.requests),
        "--use-server-token-count", "--extra-inputs", "ignore_eos:true", "--tokenizer", str(tokenizer),
        "--synthetic-input-tokens-mean", "8", "--output-tokens-mean", str(phase.tokens),
        "--output-tokens-stddev", "0", "--ui", "none", "--export-level", "summary",
        "--no-gpu-telemetry", "--no-server-metrics", "--output-artifact-dir", str(out),
    ]  # fmt: skip
    truth, cpu_s = run_client(command, port, folder / f"{out.name}.log")
    said = json.loads((out / "profile_export_aiperf.json").read_text())
    return Seen(
        truth,
        cpu_s,
        said["time_to_first_token"]["p50"],
        said["inter_token_latency"]["p50"],
        said["output_token_throughput"]["avg"],
        f"AIPerf {said['aiperf_version']}",
    )


def row(name: str, seen: Seen) -> list[str]:
    return [
        name,
        f"{seen.truth['events'] / seen.window_s:,.0f}",
        f"{seen.truth['requests'] / seen.window_s:,.0f}",
        f"{seen.cpu_s / seen.window_s:.2f}",
        f"{seen.events_per_core:,.0f}",
        f"{seen.requests_per_core:,.0f}",
        f"{seen.ttft_ms:.2f}",
        f"{seen.truth['ttft_p50_ms']:.2f}",
        f"{seen.itl_ms:.3f}",
        f"{seen.truth['itl_p50_ms']:.3f}",
    ]


HEADINGS = (
    "phase", "events/s", "req/s", "cores", "events/s a core", "req/s a core", "TTFT ms", "true", "ITL ms", "true",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--peer", default=shutil.which("aiperf"), help="the aiperf program")
    parser.add_argument("--tokenizer", help="folder of a tokenizer for aiperf; else the newest engine's")
    parser.add_argument("--as-client", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_client:
        as_client(json.loads(options.as_client))
        return
    if not options.peer:
        print("aiperf is not installed; give it by --peer", file=sys.stderr)
        sys.exit(2)
    tokenizer = Path(options.tokenizer) if options.tokenizer else find_engine(None)
    detail: dict[str, Any] = {"cores": psutil.cpu_count(), "load_average_before": psutil.getloadavg()[0]}
    rows, ratios, apart = [], [], []
    with tempfile.TemporaryDirectory(prefix="loadgen-") as name:
        folder = Path(name)
        for phase in PHASES:
            with server(phase) as port:
                mine = ours(phase, port, folder)
            with server(phase) as port:
                peer = theirs(phase, port, folder, options.peer, tokenizer)
            rows += [row(f"{phase.name}: ours", mine), row(f"{phase.name}: aiperf", peer)]
            detail[phase.name] = {
                who: {
                    "events_per_s": round(seen.truth["events"] / seen.window_s, 1),
                    "requests_per_s": round(seen.truth["requests"] / seen.window_s, 1),
                    "client_cores": round(seen.cpu_s / seen.window_s, 3),
                    "events_per_core_s": round(seen.events_per_core),
                    "requests_per_core_s": round(seen.requests_per_core),
                    "ttft_p50_ms": round(seen.ttft_ms, 3),
                    "ttft_p50_true_ms": round(seen.truth["ttft_p50_ms"], 3),
                    "itl_p50_ms": round(seen.itl_ms, 4),
                    "itl_p50_true_ms": round(seen.truth["itl_p50_ms"], 4),
                    "tok_s": round(seen.tok_s, 1),
                    "tok_s_true": round(seen.truth["tok_s"], 1),
                    "note": seen.note,
                }
                for who, seen in (("ours", mine), ("aiperf", peer))
            }
            if phase.name == "moderate":
                apart = [abs(mine.ttft_ms / peer.ttft_ms - 1), abs(mine.itl_ms / peer.itl_ms - 1)]
            elif phase.name == "requests":
                ratios.append(mine.requests_per_core / peer.requests_per_core)
            else:
                ratios.append(mine.events_per_core / peer.events_per_core)
    print(table(HEADINGS, rows))
    detail |= {"ratio_events": round(ratios[0], 2), "ratio_requests": round(ratios[1], 2)}
    detail |= {"ttft_apart": round(apart[0], 4), "itl_apart": round(apart[1], 4), "apart_bar": AGREE}
    agree = max(apart) <= AGREE
    if not agree:
        print(f"TTFT and ITL differ by {apart[0]:.1%} and {apart[1]:.1%}: more than {AGREE:.0%}", file=sys.stderr)
    finish("loadgen", min(ratios) if agree else 0.0, BAR, detail)


if __name__ == "__main__":
    main()

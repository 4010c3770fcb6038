"""What the engine host and its protocol cost: tokens a second through EngineClient against the same pipeline driven
directly, in a process of its own, at 8 concurrent requests of fixed length. Runs alternate; medians of five.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from _common import find_engine, finish, table  # noqa: E402

from workbench.core.messages import Sampling, StepSpec  # noqa: E402
from workbench.jobs.engine import EngineClient, HostCommand  # noqa: E402

BAR = 0.97
CONCURRENCY = 8
PROMPT_TOKENS = 32


def prompts() -> list[list[int]]:
    """Token ids, the same for both ways; each prompt its own, so that no cache helps."""
    return [[100 + (7 * row + column) % 900 for column in range(PROMPT_TOKENS)] for row in range(CONCURRENCY)]


def settings() -> dict[str, Any]:
    return {"kv_blocks": 256, "max_batch_size": 16, "max_num_batched_tokens": 256}


def drive_directly(engine: Path) -> None:
    """The other process: a run for each line on stdin, its seconds on stdout."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    import numpy as np
    import openvino
    import openvino_genai

    from workbench.workers.openvino.engine import host_settings, load_engine
    from workbench.workers.protocol import Channel

    silent = Channel(io.BytesIO(), iter(()))
    pipeline = load_engine(engine, host_settings(settings(), silent), silent).pipeline
    out.write("ready\n")
    for line in sys.stdin:
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = int(line)
        config.ignore_eos = True
        begin = time.perf_counter()
        handles = [
            pipeline.add_request(number, openvino.Tensor(np.array([ids], dtype=np.int64)), config)
            for number, ids in enumerate(prompts())
        ]
        count = 0
        while pipeline.has_non_finished_requests():
            pipeline.step()
            for handle in handles:
                while handle.can_read():
                    count += sum(len(output.generated_ids) for output in handle.read().values())
        seconds = time.perf_counter() - begin
        out.write(json.dumps({"tokens": count, "seconds": seconds}) + "\n")


class Direct:
    """The pipeline driven directly, seen from here."""

    def __init__(self, engine: Path, log: Path) -> None:
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, __file__, "--drive", str(engine)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        if self._line() != "ready":
            sys.exit(f"the pipeline could not be loaded directly: {log.read_text(errors='replace')[-500:]}")

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def run(self, new_tokens: int) -> tuple[int, float]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{new_tokens}\n")
        self._process.stdin.flush()
        result = json.loads(self._line())
        return result["tokens"], result["seconds"]

    def close(self) -> None:
        self._process.communicate()


def run_client(client: EngineClient, new_tokens: int) -> tuple[int, float]:
    """Tokens, and seconds from the first request handed over to the last answer complete."""
    sampling = Sampling(max_tokens=new_tokens, ignore_eos=True)
    begin = time.perf_counter()
    generations = [client.submit(ids=ids, sampling=sampling) for ids in prompts()]
    answers = [generation.result(600).raise_for_failure() for generation in generations]
    seconds = time.perf_counter() - begin
    return sum(answer.output_tokens for answer in answers), seconds


def measure(engine: Path, runs: int, new_tokens: int) -> tuple[list[float], list[float]]:
    """Tokens a second, direct and through the host, run by run."""
    direct_speeds, host_speeds = [], []
    expected = CONCURRENCY * new_tokens
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "host.log"
        command = HostCommand(
            argv=(sys.executable, "-m", "workbench.workers.openvino.host"),
            env={"PYTHONPATH": str(ROOT)},
            spec=StepSpec(worker="openvino.host", inputs={"engine": str(engine)}, settings=settings()),
        )
        direct = Direct(engine, Path(folder) / "direct.log")
        with EngineClient.start(command, log) as client:
            for number in range(runs + 1):
                # Whoever goes first meets another state of the machine, so they take turns at that too.
                order = (True, False) if number % 2 else (False, True)
                for is_direct in order:
                    tokens, seconds = direct.run(new_tokens) if is_direct else run_client(client, new_tokens)
                    if tokens != expected:
                        sys.exit(f"{tokens} tokens came, {expected} were asked for")
                    if number:  # the first round warms up
                        (direct_speeds if is_direct else host_speeds).append(tokens / seconds)
        direct.close()
    return direct_speeds, host_speeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", metavar="DIR", help="engine folder (default: the demo engine)")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128, help="output tokens a request")
    parser.add_argument("--drive", metavar="DIR", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.drive:
        drive_directly(Path(given.drive))
        return
    engine = find_engine(given.engine)
    print(f"{engine}: {CONCURRENCY} requests of {PROMPT_TOKENS} + {given.tokens} tokens, {given.runs} runs")
    direct, host = measure(engine, given.runs, given.tokens)
    rows = [
        (number, f"{one:.1f}", f"{other:.1f}", f"{other / one:.3f}")
        for number, (one, other) in enumerate(zip(direct, host, strict=True), 1)
    ]
    middle = statistics.median(direct), statistics.median(host)
    ratio = middle[1] / middle[0]
    rows.append(("median", f"{middle[0]:.1f}", f"{middle[1]:.1f}", f"{ratio:.3f}"))
    print(table(("run", "direct tok/s", "host tok/s", "ratio"), rows))
    detail = {
        "engine": engine.name,
        "direct_tok_s": [round(value, 2) for value in direct],
        "host_tok_s": [round(value, 2) for value in host],
        "concurrency": CONCURRENCY,
        "output_tokens": given.tokens,
    }
    finish("overhead", ratio, BAR, detail)


if __name__ == "__main__":
    main()

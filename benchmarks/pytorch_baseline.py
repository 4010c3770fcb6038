"""The PyTorch baseline: plain `generate`, eager and compiled, and continuous batching by the engine host.

    python -m benchmarks.pytorch_baseline --model FOLDER --device cuda --out result.json
    python -m benchmarks.pytorch_baseline --random 8b --model /dev/shm/llama-8b --tokenizer FOLDER --out result.json

Tokens a second, TTFT, and the share of what the memory allows: for each step all weights and the KV cache are read
once, at the bandwidth that a copy on the device reaches in the same run. The ratio in the last line is the host's
output throughput at the most requests over that of plain `generate` for one.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from _common import finish, table  # noqa: E402
from _gpu_load import SIZES, describe, make_random_llama  # noqa: E402

from workbench.core.errors import WorkbenchError  # noqa: E402
from workbench.core.messages import Sampling, StepSpec  # noqa: E402
from workbench.jobs.engine import Answer, EngineClient, HostCommand  # noqa: E402

BAR = 2.0
"""Continuous batching is there for many requests at once: less than this would mean that it does not batch."""
HOST_WAYS: dict[str, dict[str, Any]] = {
    "eager": {"compile_level": 0, "cuda_graphs": False},
    "compiled": {"compile_level": 1, "cuda_graphs": False},
    "compiled+graphs": {"compile_level": 1, "cuda_graphs": True},
}


class Run:
    """What was asked for, what was found so far, and how much time is left."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        self.began = time.monotonic()
        self.found: dict[str, Any] = {"command": " ".join(["python -m benchmarks.pytorch_baseline", *sys.argv[1:]])}
        self.rows: list[dict[str, Any]] = []

    @property
    def left_s(self) -> float:
        return float(self.asked.limit_s) - (time.monotonic() - self.began)

    def keep(self, *rows: dict[str, Any]) -> None:
        """Add rows and write all that is known: what a run that is cut off has measured is not lost."""
        self.rows += rows
        for row in rows:
            print(f"{time.monotonic() - self.began:6.1f} s  {json.dumps(row)}", flush=True)
        data = {**self.found, "rows": self.rows, "seconds": round(time.monotonic() - self.began, 1)}
        self.asked.out.write_text(json.dumps(data, indent=1) + "\n")


def main() -> None:
    asked = _arguments()
    run = Run(asked)
    run.found["environment"] = environment(asked.device)
    print(json.dumps(run.found["environment"]), flush=True)
    folder = asked.model
    if asked.random is not None and not (folder / "config.json").is_file():
        parameters = make_random_llama(folder, asked.tokenizer, asked.random, asked.device)
        print(f"{time.monotonic() - run.began:6.1f} s  random weights, {parameters:,} parameters", flush=True)
    run.found["model"] = {"name": folder.name, "weights": "random" if asked.random else "as given"}
    for precision in asked.precision:
        if "generate" in asked.parts:
            plain(run, folder, precision)
        if "host" in asked.parts:
            for way in asked.ways:
                serve(run, folder, precision, way)
    _shares(run)
    run.keep()
    _print(run)
    most = max((r for r in run.rows if r.get("output_tok_s") and r["way"].startswith("host")),
               key=lambda r: r["requests"], default=None)  # fmt: skip
    one = next((r for r in run.rows if r.get("output_tok_s") and r["requests"] == 1), None)
    ratio = most["output_tok_s"] / one["output_tok_s"] if most and one else 0.0
    finish("pytorch-baseline", ratio, BAR, {"rows": len(run.rows), "model": run.found["model"], "out": str(asked.out)})


def plain(run: Run, folder: Path, precision: str) -> None:
    """`generate` in a process of its own, so that nothing of it stays on the device."""
    asked = run.asked
    given = {"device": asked.device, "folder": str(folder), "precision": precision, "modes": asked.modes,
             "batches": asked.generate_batches, "prompt": asked.prompt, "answer": asked.answer}  # fmt: skip
    argv = [sys.executable, "-m", "benchmarks._pytorch_plain", json.dumps(given)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env) as process:
        assert process.stdout is not None
        timer = threading.Timer(max(5.0, run.left_s), process.kill)
        timer.start()
        for line in process.stdout:
            if not line.startswith("{"):
                continue
            told = json.loads(line)
            if "way" in told:
                run.keep({"precision": precision, **told})
            elif "read_bytes" in told:
                run.found.setdefault("facts", told)
            else:
                run.found.setdefault("bandwidth", told["bandwidth"])
        timer.cancel()
    if process.returncode:
        run.keep({"precision": precision, "way": "generate", "requests": 0,
                  "failure": f"the process ended with {process.returncode}"})  # fmt: skip


def serve(run: Run, folder: Path, precision: str, way: str) -> None:
    """Continuous batching by the worker that serves engines."""
    asked = run.asked
    name = f"host, {way}"
    settings: dict[str, Any] = {
        "device": asked.device, "dtype": "bfloat16", "max_batch_size": max(asked.requests), "logprobs": False,
        "kv_cache_bytes": asked.kv_bytes, **HOST_WAYS[way],
    }  # fmt: skip
    if precision != "bf16":
        settings["quantization"] = precision
    if run.left_s < asked.least_s:
        run.keep({"precision": precision, "way": name, "requests": 0, "failure": "not run: no time left"})
        return
    command = HostCommand(
        argv=(sys.executable, "-m", "workbench.workers.pytorch.host"),
        cwd=str(ROOT),
        spec=StepSpec(worker="pytorch.host", inputs={"engine": str(folder)}, settings=settings),
        env={"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))},
    )
    log = asked.out.with_suffix(f".{way}.{precision}.log")
    try:
        with EngineClient.start(command, log, timeout_s=run.left_s) as client:
            ready = client.ready
            told = {"load_s": ready.load_seconds, "settings": dict(ready.settings), "kv_blocks": ready.kv_blocks_total}
            print(f"{time.monotonic() - run.began:6.1f} s  {name}: {json.dumps(told)}", flush=True)
            for requests in asked.requests:
                if run.left_s < 15:
                    run.keep({"precision": precision, "way": name, "requests": requests, "failure": "no time left"})
                    break
                run.keep({"precision": precision, "way": name, **wave(run, client, requests), **told})
    except WorkbenchError as error:
        run.keep({"precision": precision, "way": name, "requests": 0, "failure": " ".join(error.failure.lines())[:600]})


def wave(run: Run, client: EngineClient, requests: int) -> dict[str, Any]:
    """So many requests at once, twice: the first time warms up. Prompts are random ids, no two begin alike."""
    asked = run.asked
    chance = random.Random(requests)
    found: dict[str, Any] = {}
    cold = 0.0
    for number in range(2):
        sampling = Sampling(max_tokens=asked.answer, ignore_eos=True)
        prompts = [[chance.randrange(100, 4000) for _ in range(asked.prompt)] for _ in range(requests)]
        begin = time.monotonic()
        generations = [client.submit(ids=ids, sampling=sampling) for ids in prompts]
        deadline = time.monotonic() + max(10.0, run.left_s)
        answers = [g.result(max(1.0, deadline - time.monotonic())) for g in generations]
        seconds = time.monotonic() - begin
        if number == 0:
            cold = seconds
        found = {**_figures(answers, seconds), "warm_up_s": round(cold - seconds, 2)}
    stats = client.stats
    found["gpu_bytes"] = None if stats is None else stats.memory_bytes.get("gpu")
    return {"requests": requests, "prompt_tokens": asked.prompt, "answer_tokens": asked.answer, **found}


def _figures(answers: list[Answer], seconds: float) -> dict[str, Any]:
    whole = [a for a in answers if a.failure is None]
    ttft = [a.ttft_ms for a in whole if a.ttft_ms is not None]
    itl = [a.itl_ms for a in whole if a.itl_ms is not None]
    failed = next((a.failure.what for a in answers if a.failure is not None), None)
    middle = statistics.median(itl) if itl else None
    return {
        "output_tok_s": sum(a.output_tokens for a in whole) / seconds,
        "decode_tok_s": len(whole) * 1000 / middle if middle else None,
        "ttft_ms_p50": statistics.median(ttft) if ttft else None,
        "itl_ms_p50": middle,
        **({"failures": len(answers) - len(whole), "first_failure": failed} if failed else {}),
    }


def _shares(run: Run) -> None:
    """Share of the memory's limit: bytes that a step must read, over what the device copied a second."""
    bandwidth, facts = run.found.get("bandwidth"), run.found.get("facts")
    if not bandwidth or not facts:
        return
    quantized = {r["precision"]: r["read_bytes"] for r in run.rows if r.get("read_bytes")}
    for row in run.rows:
        if not row.get("decode_tok_s"):
            continue
        context = row["prompt_tokens"] + row["answer_tokens"] / 2
        read = quantized.get(row["precision"], facts["read_bytes"])
        step_bytes = read + row["requests"] * context * facts["kv_bytes_per_token"]
        row["limit_tok_s"] = row["requests"] * bandwidth / step_bytes
        row["share_of_limit"] = row["decode_tok_s"] / row["limit_tok_s"]


def environment(device: str) -> dict[str, Any]:
    """GPU, driver, clocks and versions of this run."""
    found: dict[str, Any] = {**describe(device), "platform": sys.platform, "cores": os.cpu_count()}
    asked = "name,driver_version,memory.total,power.limit,clocks.max.sm,clocks.max.mem,clocks.sm,clocks.mem"
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            values = [part.strip() for part in done.stdout.splitlines()[0].split(",")]
            found["gpu"] = dict(zip(asked.split(","), values, strict=True))
    except OSError:
        found["gpu"] = None
    for name in ("accelerate", "torchao", "triton", "flash-attn", "kernels"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def _print(run: Run) -> None:
    bandwidth = run.found.get("bandwidth")
    print(f"\n{run.found['model']}; device copy {bandwidth / 1e12:.2f} TB/s" if bandwidth else "")
    headings = ["precision", "way", "requests", "tok/s", "decode tok/s", "of limit", "TTFT ms", "ITL ms", "warm-up s"]

    def cell(value: Any, form: str) -> str:
        return "-" if value is None else format(value, form)

    rows = []
    for r in run.rows:
        figures = [("output_tok_s", ".1f"), ("decode_tok_s", ".1f"), ("share_of_limit", ".1%"), ("ttft_ms_p50", ".1f"),
                   ("itl_ms_p50", ".2f")]  # fmt: skip
        end = r["failure"][:80] if "failure" in r else cell(r.get("warm_up_s"), ".1f")
        rows.append([r["precision"], r["way"], r["requests"], *(cell(r.get(k), form) for k, form in figures), end])
    print(table(headings, rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="Hugging Face folder; made there with --random")
    parser.add_argument("--random", choices=sorted(SIZES), help="make a random Llama of this size, where none is")
    parser.add_argument("--tokenizer", type=Path, help="folder whose tokenizer files the random model gets")
    parser.add_argument("--out", type=Path, required=True, help="the figures, *.json; the host's logs lie beside it")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--parts", nargs="+", default=["generate", "host"], choices=["generate", "host"])
    parser.add_argument("--precision", nargs="+", default=["bf16"], choices=["bf16", "int8", "fp8"])
    parser.add_argument("--modes", nargs="+", default=["eager", "compiled"], choices=["eager", "compiled"])
    parser.add_argument("--ways", nargs="+", default=list(HOST_WAYS), choices=list(HOST_WAYS))
    parser.add_argument("--generate-batches", type=int, nargs="+", default=[1])
    parser.add_argument("--requests", type=int, nargs="+", default=[1, 32, 128])
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--answer", type=int, default=128)
    parser.add_argument("--kv-bytes", type=int, default=8 * 2**30)
    parser.add_argument("--limit-s", type=float, default=520.0, help="nothing new is begun after that")
    parser.add_argument("--least-s", type=float, default=60.0, help="a host is not started with less left")
    asked = parser.parse_args()
    if asked.random is not None and asked.tokenizer is None:
        parser.error("--random needs --tokenizer")
    asked.out = asked.out.resolve()
    return asked


if __name__ == "__main__":
    main()

"""What the workbench adds to a TensorRT-RTX build: its worker process against the same build called directly.

Both are processes of the toolchain's interpreter, timed from their start to their end, with the same ONNX folder,
targets, profiles and builder flags; the worker also checks the folder, links it, follows progress, and writes layers
and the context model. Pairs alternate in one run; the ratio is the median of worker / direct. Bar: 1.05.

`python benchmarks/trt_build.py ONNX_FOLDER [--pairs 3] [--targets 8.9] [--python INTERPRETER]`; the interpreter is
else WORKBENCH_TENSORRT_RTX_PYTHON, or WORKBENCH_TEST_ONNX.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._common import finish, table
from workbench.core.messages import Error, Result, StepSpec, parse_message

ROOT = Path(__file__).resolve().parent.parent
BAR = 1.05
VARIABLES = ("WORKBENCH_TENSORRT_RTX_PYTHON", "WORKBENCH_TEST_ONNX")
WORKER = "tensorrt_rtx.build"


def processor_seconds() -> float:
    """Of the processes that are over."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def time_worker(python: str, folder: Path, out: Path, settings: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """Seconds of one build by the worker, and its result. Ends the program when it fails."""
    out.mkdir()
    spec = StepSpec(worker=WORKER, settings=settings, inputs={"checkpoint": str(folder)}, output=str(out))
    begin = time.perf_counter()
    with (
        (out.parent / "worker.log").open("wb") as log,
        subprocess.Popen(
            [python, "-m", f"workbench.workers.{WORKER}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=ROOT,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(spec.model_dump_json().encode() + b"\n")
        process.stdin.flush()
        messages = [parse_message(line) for line in process.stdout]
        process.wait()
    seconds = time.perf_counter() - begin
    last = messages[-1]
    if not isinstance(last, Result):
        print(last.message if isinstance(last, Error) else f"no result but {last!r}", file=sys.stderr)
        sys.exit(2)
    return seconds, last.data


def time_direct(python: str, folder: Path, engine: Path, profiles: Path, targets: list[str]) -> float:
    """Seconds of one build called directly."""
    begin = time.perf_counter()
    subprocess.run(
        [python, str(ROOT / "benchmarks/_trt_direct.py"), folder / "model.onnx", engine, profiles, *targets],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="ONNX folder of the convert step")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--targets", default="8.9", help="compute capabilities, with commas")
    parser.add_argument("--max-seq-len", type=int, default=2048)
    parser.add_argument("--python", default=next((os.environ[name] for name in VARIABLES if name in os.environ), ""))
    asked = parser.parse_args()
    if not asked.python or not (asked.folder / "model.onnx").is_file():
        print(f"an ONNX folder and an interpreter are needed: --python, or {' or '.join(VARIABLES)}", file=sys.stderr)
        sys.exit(2)
    targets = asked.targets.split(",")
    settings = {"targets": targets, "max_seq_len": asked.max_seq_len, "opt_prompt": min(512, asked.max_seq_len)}
    worker_s: list[float] = []
    direct_s: list[float] = []
    used_s: dict[str, list[float]] = {"worker": [], "direct": []}
    result: dict[str, Any] = {}
    direct_bytes = 0
    with tempfile.TemporaryDirectory(dir=asked.folder.parent, prefix="trt-build-") as scratch:
        here = Path(scratch)
        profiles = here / "profiles.json"
        _, result = time_worker(asked.python, asked.folder, here / "warm", settings)  # both read warm files then
        profiles.write_text(json.dumps(result["profiles"]))
        for pair in range(asked.pairs):
            for which in ("worker", "direct") if pair % 2 else ("direct", "worker"):
                before = processor_seconds()
                if which == "worker":
                    worker_s.append(time_worker(asked.python, asked.folder, here / f"engine-{pair}", settings)[0])
                else:
                    engine = here / "direct.trt"
                    direct_s.append(time_direct(asked.python, asked.folder, engine, profiles, targets))
                    direct_bytes = engine.stat().st_size
                used_s[which].append(round(processor_seconds() - before, 2))
    ratios = [ours / theirs for ours, theirs in zip(worker_s, direct_s, strict=True)]
    rows = [
        (pair + 1, f"{theirs:.2f} s", f"{ours:.2f} s", f"{ratio:.3f}")
        for pair, (theirs, ours, ratio) in enumerate(zip(direct_s, worker_s, ratios, strict=True))
    ]
    print(table(("pair", "direct", "workbench", "ratio"), rows))
    detail = {
        "model": asked.folder.name,
        "targets": targets,
        "direct_s": [round(one, 2) for one in direct_s],
        "workbench_s": [round(one, 2) for one in worker_s],
        "processor_s": used_s,
        "engine_bytes": result["engine_bytes"],
        "direct_engine_bytes": direct_bytes,
        "monitor": result["monitor"],
        "versions": result["versions"],
    }
    finish("trt_build", statistics.median(ratios), BAR, detail, at_most=True)


if __name__ == "__main__":
    main()

"""Every precision, family and layout through convert or quantize, verify, and the stand-in's build and run; a table.

    python -m tests.trtllm_matrix --modelopt PYTHON [--smollm2 FOLDER] [--families qwen2,mistral,gemma2] [--out FILE]

ModelOpt and verify are the real workers' `work` in one process of PYTHON, since its imports take longer than a tiny
model's step; build and run are worker processes over the stand-in. Exit 1 when any case ends otherwise than it should.
Too long for CI, where tests/jobs/test_trtllm_jobs.py runs some of it through the queue.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.fakes import trtllm
from workbench.core.messages import Error, Result, Sampling, StepSpec, parse_message
from workbench.jobs.engine import EngineClient, HostCommand

ROOT = Path(__file__).resolve().parents[1]
FULL = ("bf16", "fp16", "int8", "int4")
PRECISIONS = (*FULL, "fp8", "fp8_rowwise", "int8_sq", "int4_awq", "w4a8_awq", "nvfp4")
PROMPTS = ["What is a KV cache?", "The capital of France is", "def add(a, b):", "1, 2, 3, 4,"]
LOGIT_LIMIT = 1e-3
"""Full precision, float32 arithmetic."""


def cases(families: list[str], smollm2: Path | None, place: Path) -> list[dict[str, Any]]:
    """All cases: model folder, precision, tp, pp."""
    models = {family: place / "models" / family for family in families}
    if smollm2 is not None:
        models["smollm2"] = smollm2
    found = []
    for name, model in models.items():
        # SmolLM2 has nine heads: 3 divides them, 2 does not.
        layouts = [(1, 1), (3, 1), (1, 2)] if name == "smollm2" else [(1, 1), (2, 1), (1, 2)]
        for precision in PRECISIONS:
            for tp, pp in layouts:
                label = f"{name} {precision} tp{tp} pp{pp}"
                folder = place / "checkpoints" / label.replace(" ", "-")
                found.append(
                    {"name": name, "label": label, "model": str(model), "precision": precision, "tp": tp, "pp": pp,
                     "folder": str(folder)}
                )  # fmt: skip
    return found


def checkpoints(path: str) -> None:
    """In ModelOpt's interpreter: make and verify each checkpoint; a JSON line a case on stdout."""
    import io

    from tests.workers.modelopt.models import make_model
    from workbench.workers.modelopt import convert as modelopt_convert
    from workbench.workers.modelopt import quantize as modelopt_quantize
    from workbench.workers.protocol import Channel, WorkerError
    from workbench.workers.trtllm import verify as trtllm_verify

    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    for case in json.loads(Path(path).read_text("utf-8")):
        model = Path(case["model"])
        if not model.exists():
            make_model(model, case["name"])
        precision = case["precision"]
        settings: dict[str, Any] = {"precision": precision, "tp": case["tp"], "pp": case["pp"]}
        inputs = {"model": str(model)}
        work: Any = modelopt_convert.work
        if precision not in FULL:
            work = modelopt_quantize.work
            settings["calibration"] = {"samples": 32, "length": 64, "batch_size": 8}
            inputs["calibration"] = str(ROOT / "resources" / "calibration_512.jsonl")
        checkpoint = Path(case["folder"])
        checkpoint.mkdir(parents=True)
        channel = Channel(io.BytesIO(), iter(()))
        started = time.monotonic()
        try:
            step = StepSpec(worker="w", settings=settings, inputs=inputs, output=str(checkpoint))
            case["made"] = work(step, channel)
            case["make_seconds"] = round(time.monotonic() - started, 2)
            limits = {"min_agreement": 0.0, "max_kl": 100.0, "max_logit_error": LOGIT_LIMIT, "compute": "float32"}
            step = StepSpec(
                worker="w",
                settings={"precision": precision, "prompts": PROMPTS, "max_new_tokens": 12, **limits},
                inputs={"checkpoint": str(checkpoint), "model": str(model)},
                output="",
            )
            case["verified"] = trtllm_verify.work(step, channel)
        except WorkerError as error:
            case["error"] = f"{error.message}: {error.cause}"
        out.write(json.dumps(case) + "\n")


def build_and_run(case: dict[str, Any], *, run: bool) -> str:
    """The stand-in's engine of a checkpoint, and an answer from its host. Empty, or what went wrong."""
    engine = Path(case["folder"]).with_name(Path(case["folder"]).name + "-engine")
    engine.mkdir()
    ranks = case["tp"] * case["pp"]
    blackwell = {"sm": 100, "gpu": "NVIDIA B200"} if case["precision"] == "nvfp4" else {}
    env = trtllm.environment(seconds=0, gpus=ranks, **blackwell)
    env["PYTHONPATH"] += os.pathsep + str(ROOT)
    flags = {"max_batch_size": 4, "max_seq_len": 256, "max_num_tokens": 256, "workers": ranks}
    spec = StepSpec(
        worker="trtllm.build",
        settings={"argv_flags": flags, "workers": ranks},
        inputs={"checkpoint": case["folder"]},
        output=str(engine),
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench.workers.trtllm.build"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **env},
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(spec.model_dump_json().encode() + b"\n")
    process.stdin.flush()
    ended = [m for m in map(parse_message, process.stdout) if isinstance(m, Result | Error)]
    process.stdin.close()
    process.wait()
    if not ended or isinstance(ended[-1], Error):
        return f"build: {ended[-1].message}: {ended[-1].cause}" if ended else "build: no result"
    if not run:
        return ""
    host = StepSpec(worker="trtllm.host", inputs={"engine": str(engine)}, settings={})
    command = HostCommand(argv=(sys.executable, "-m", "workbench.workers.trtllm.host"), env=env, spec=host)
    with EngineClient.start(command, engine.with_suffix(".log"), timeout_s=90) as client:
        answer = client.submit(prompt="Hello", sampling=Sampling(max_tokens=3)).result(60)
    return "" if answer.output_tokens == 3 else f"run: {answer.reason}, {answer.output_tokens} tokens"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modelopt", required=True)
    parser.add_argument("--smollm2", type=Path)
    parser.add_argument("--families", default="qwen2,mistral,gemma2")
    parser.add_argument("--no-run", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows, wrong = [], 0
    with tempfile.TemporaryDirectory(prefix="matrix-") as scratch:
        listed = Path(scratch) / "cases.json"
        listed.write_text(json.dumps(cases([f for f in given.families.split(",") if f], given.smollm2, Path(scratch))))
        maker = subprocess.Popen(
            [given.modelopt, "-W", "ignore", "-m", "tests.trtllm_matrix", "--checkpoints", str(listed)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert maker.stdout is not None
        for line in maker.stdout:
            case = json.loads(line)
            verified = case.get("verified", {})
            problem = case.get("error", "") or build_and_run(case, run=not given.no_run)
            wrong += bool(problem)
            rows.append(
                f"{case['label']:32} {verified.get('layout_logit_error') or 0:9.2e} {verified.get('kl_nats', -1):9.5f}"
                f" {100 * verified.get('agreement', -1):6.1f} % {problem or 'ok'}"
            )
            print(rows[-1], flush=True)
        code = maker.wait()
    expected = len(rows)
    print(f"{expected - wrong} of {expected} cases ok")
    if given.out:
        given.out.write_text("\n".join(rows) + "\n")
    return 1 if wrong or code or not rows else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--checkpoints"]:
        checkpoints(sys.argv[2])
    else:
        sys.exit(main())

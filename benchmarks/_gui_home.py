"""A home as years of work leave it: engine folders with provenance and many files, jobs with plan, state and log."""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path
from typing import Any

from workbench.core.artifact import PROVENANCE_FILE, FileEntry, Machine, Provenance, StepRecord, write_json
from workbench.core.home import Home
from workbench.core.plan import Plan, PlanModel, Step, StepKind, cache_key
from workbench.jobs.folder import JobFolder, create
from workbench.store.store import Store

FILES = 12
PRECISIONS = ("fp16", "int8", "int4", "fp8", "int4_awq", "int8_sq")
KINDS: tuple[StepKind, ...] = ("check", "convert", "quantize", "build", "verify")


def make_home(root: Path, engines: int, jobs: int) -> Home:
    """The home at `root`, its folders known to the store."""
    home = Home(root).make()
    for number in range(engines):
        make_engine(home.artifacts / "engines", number)
    for number in range(jobs):
        make_job(home.jobs, number)
    with Store.open(home) as store:
        store.sync()
    return home


def make_engine(place: Path, number: int) -> Path:
    """An engine folder with its files, as a build leaves it."""
    precision = PRECISIONS[number % len(PRECISIONS)]
    name = f"llama-{number:04d}-{precision}"
    folder = place / name
    folder.mkdir(parents=True)
    files = []
    for part in range(FILES):
        text = f"part {part} of {name}\n".encode()
        (folder / f"part-{part:02d}.bin").write_bytes(text)
        files.append(FileEntry(path=f"part-{part:02d}.bin", bytes=len(text), sha256=hashlib.sha256(text).hexdigest()))
    steps = tuple(
        StepRecord(
            id=f"{kind}:{precision}", kind=kind, worker=f"openvino.{kind}", argv=(sys.executable, "-m", "worker"),
            settings={"device": "CPU", "precision": precision, "group_size": 128, "limits": {"max_batch_size": 16}},
            inputs={"source": "d" * 64},
            versions={f"package-{part}": f"{part}.{number % 10}" for part in range(30)},
            seconds=61.0 + number, key=cache_key({"kind": kind, "name": name}),
            result={"versions": {"openvino-genai": "2026.1"}, "limits": {"max_seq_len": 8192}},
        )
        for kind in KINDS[1:]
    )  # fmt: skip
    provenance = Provenance(
        kind="engine", name=name, key=cache_key({"name": name}), created_at=time.time() - 3600.0 * number,
        workbench="0.1.0", toolchain="openvino", precision=precision, preset_id="demo",
        preset={"limits": {"max_batch_size": 16, "max_num_tokens": 8192}, "precision": {"kv_cache": "int8"}},
        steps=steps, files=tuple(files),
        model=PlanModel(
            name=f"Llama-{number % 7}", path="/models/llama", architecture="LlamaForCausalLM", digest="d" * 64,
            parameters=10**6, weight_bytes=10**6,
        ),
        machine=Machine(cpu="a CPU", cpu_identity="cpu-1", memory_bytes=2**34, os="Linux"),
    )  # fmt: skip
    write_json(folder / PROVENANCE_FILE, provenance)
    return folder


def make_job(place: Path, number: int) -> JobFolder:
    """A job that is over, every tenth one not well."""
    now = time.time() - 600.0 * (number + 1)
    precision = PRECISIONS[number % len(PRECISIONS)]
    steps = tuple(
        Step(
            id=f"{kind}:{precision}", kind=kind, title=kind.capitalize(), variant=precision, worker=f"openvino.{kind}",
            argv=(sys.executable, "-m", "worker"), settings={"precision": precision},
            key=cache_key({"kind": kind, "number": number}),
        )
        for kind in KINDS
    )  # fmt: skip
    folder = create(place, Plan(title=f"Llama-{number % 7} {precision}", toolchain="openvino", steps=steps), now)
    state = folder.raw_state()
    well = bool(number % 10)
    for step in state.steps:
        step.status, step.started_at, step.finished_at = "done", now, now + 60.0
        step.result = {"bytes": 10**6, "versions": {"torch": "2.13"}}
    if not well:
        state.steps[-1].status = "cancelled"
    state.status = "done" if well else "cancelled"
    state.started_at, state.finished_at = now, now + 300.0
    folder.write_state(state)
    folder.log_path.write_text(f"job {number} begins\njob {number} ends\n")
    return folder


def numbers_in_log(path: Path) -> dict[str, Any]:
    """What a job's log holds of the writer's lines: how many came in their order, and how many
    other lines there are."""
    from benchmarks._log_writer import line

    count, wrong, expected = 0, 0, line(0)
    with path.open("rb") as log:
        for text in log:
            if text == expected:
                count += 1
                expected = line(count)
            else:
                wrong += 1
    return {"lines": count, "other_lines": wrong}

"""Makes engine folders of the stand-in as a build leaves them: trtllm-build's files, a tokenizer, notes, provenance."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.fakes import trtllm
from tests.fakes.trtllm_checkpoints import Family, Precision, write_checkpoint, write_tokenizer
from workbench.core.artifact import FileEntry, Machine, Provenance, StepRecord, list_files, write_json
from workbench.core.plan import PlanModel

LIMITS = {"max_batch_size": 8, "max_input_len": 192, "max_seq_len": 256, "max_num_tokens": 512}
GPU = {"name": "NVIDIA H100 80GB HBM3", "compute_capability": "9.0"}
DIGEST = "d" * 64


def make_trtllm_engine(
    folder: Path,
    precision: Precision = "fp8",
    tp: int = 1,
    pp: int = 1,
    *,
    family: Family = "llama",
    flags: Mapping[str, Any] | None = None,
    tokenizer: bool = True,
    preset: Mapping[str, Any] | None = None,
) -> Path:
    """An engine at `folder`, its model folder with a tokenizer beside it (`NAME-model`).

    `flags` are trtllm-build's, above LIMITS. `tokenizer`: whether the engine has its own.
    `preset`: tables above the plain ones, such as {"runtime": {"kv_fraction": 0.8}}.
    """
    checkpoint = write_checkpoint(folder.with_name(f"{folder.name}-checkpoint"), family, precision, tp, pp)
    argv = [str(trtllm.BIN / "trtllm-build"), "--checkpoint_dir", str(checkpoint), "--output_dir", str(folder)]
    for name, value in {**LIMITS, **(flags or {})}.items():
        argv += [f"--{name}", str(value)]
    env = {**os.environ, **trtllm.environment(seconds=0)}
    done = subprocess.run(argv, env=env, cwd=checkpoint, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    shutil.rmtree(checkpoint)
    model = folder.with_name(f"{folder.name}-model")
    model.mkdir()
    write_tokenizer(model)
    if tokenizer:
        write_tokenizer(folder)
    write_notes(folder, precision, tp, pp, model, preset or {})
    return folder


def write_notes(folder: Path, precision: str, tp: int, pp: int, model: Path, preset: Mapping[str, Any]) -> None:
    """engine.json and the provenance, which lists the files that are there now."""
    config = json.loads((folder / "config.json").read_bytes())
    notes = {
        "schema_version": 1,
        "toolchain": "tensorrt_llm",
        "versions": {"tensorrt_llm": config["version"]},
        "gpu": GPU,
        "ranks": tp * pp,
        "limits": LIMITS,
    }
    (folder / "engine.json").write_text(json.dumps(notes), "utf-8")
    tables = {
        "schema": 1,
        "title": "T",
        "goal": "throughput",
        "toolchain": "tensorrt_llm",
        "precision": {"weights": precision, "kv_cache": "fp8" if precision == "fp8" else "auto"},
        "parallel": {"tp": tp, "pp": pp},
        "limits": LIMITS,
        **preset,
    }
    name = f"tiny {precision}"
    entries = tuple(
        FileEntry(
            path=path.relative_to(folder).as_posix(),
            bytes=path.stat().st_size,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in list_files(folder)
    )
    step = StepRecord(
        id=f"build:{precision}",
        kind="build",
        worker="trtllm.build",
        argv=("python3", "-m", "workbench.workers.trtllm.build"),
        versions={"tensorrt-llm": config["version"]},
        seconds=1.0,
        key="b" * 64,
        result=notes,
    )
    provenance = Provenance(
        kind="engine",
        name=name,
        key=hashlib.sha256(f"{precision} {tp} {pp} {folder}".encode()).hexdigest(),
        created_at=1_700_000_000.0,
        workbench="0",
        toolchain="tensorrt_llm",
        precision=precision,
        preset=tables,
        model=PlanModel(
            name="tiny",
            path=str(model),
            architecture="LlamaForCausalLM",
            digest=DIGEST,
            parameters=1_000_000,
            weight_bytes=2_000_000,
        ),
        machine=_MACHINE.model_copy(update={"gpus": (GPU["name"],) * tp * pp}),
        steps=(step,),
        files=entries,
    )
    write_json(folder / "provenance.json", provenance)


_MACHINE = Machine(cpu="c", cpu_identity="c", memory_bytes=1, os="o")

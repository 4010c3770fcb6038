"""A launch folder's batch script through a real Slurm of one node."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.deploy.test_launch import environment, free_port, needs_mpi, ran
from tests.fakes import trtllm
from tests.fakes.slurm import OneNodeSlurm, missing_programs
from tests.fakes.trtllm_engines import make_trtllm_engine
from workbench.core.deploy.facts import read_engine_facts
from workbench.core.deploy.launch import LaunchOptions
from workbench.deploy.launch import make_launch
from workbench.deploy.write import write_export

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_programs()), reason=f"lacks {', '.join(missing_programs())}"),
]


@needs_mpi
def test_one_task_a_rank_and_no_other_number(tmp_path: Path) -> None:
    engine = make_trtllm_engine(tmp_path / "tp2", tp=2)
    folder = write_export(make_launch(read_engine_facts(engine), LaunchOptions()), tmp_path / "launch")
    programs = tmp_path / "bin"
    programs.mkdir()
    named = {name: trtllm.BIN / name for name in ("nvidia-smi", "trtllm-serve", "trtllm-llmapi-launch")}
    for name, target in {**named, "python3": Path(sys.executable)}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{target}" "$@"\n')
        (programs / name).chmod(0o755)
    slurm = OneNodeSlurm().start()
    try:
        # The node has no GPUs to count out, and no MPI library: the stand-in goes by Slurm's own variables.
        env = {**environment(programs, PORT=free_port(), WAIT_S="60", MPI="none"), **slurm.env}
        sbatch = shutil.which("sbatch", path=os.environ["PATH"]) or "/usr/bin/sbatch"

        def submit(*options: str) -> Path:
            argv = [sbatch, "--parsable", "--gpus-per-node=0", *options, "job.sbatch"]
            done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=True)
            return folder / f"slurm-{done.stdout.strip()}.log"

        wrong = submit("--ntasks=1", "--ntasks-per-node=1")
        end = time.monotonic() + 30
        while not (wrong.exists() and "tp 2 x pp 1, which is 2 processes" in wrong.read_text()):
            assert time.monotonic() < end, wrong.read_text() if wrong.exists() else slurm.logs()
            time.sleep(0.1)
        log = submit()
        done = ran(folder / "smoke-test.sh", env)
        said = log.read_text() if log.exists() else slurm.logs()
        assert done.returncode == 0, done.stderr + said
        assert "stand-in: rank 0 of 2" in said and "stand-in: rank 1 of 2" in said
    finally:
        slurm.stop()

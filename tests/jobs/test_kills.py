"""SIGKILL at random moments of the worker, the supervisor and the command, over and over.

The scripted job is short, so ten moments of each spread over all of its life; the same with the real toolchain is in
test_real_kills.py.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.fakes.plans import scripted_plan, scripted_step
from tests.jobs.soundness import orphans, partial_folders, unsound
from workbench.core.home import Home
from workbench.core.plan import Plan
from workbench.jobs import client
from workbench.jobs.folder import JobFolder, job_ids

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
KILLS = 10
JOB_SECONDS = 1.6

COMMAND = """
import os, sys
from pathlib import Path
from workbench.core.home_choice import home_from
from workbench.core.plan import Plan
from workbench.jobs import client
folder = client.start(home_from(os.environ), Plan.model_validate_json(Path(sys.argv[1]).read_bytes()))
client.wait(folder)
"""


def three_steps(home: Home, salt: str) -> Plan:
    def actions(name: str) -> list[list[object]]:
        return [["child", True], ["write", "a.bin", name, 100_000], ["sleep", 0.15], ["write", "b.bin", name, 100_000]]

    return scripted_plan(
        scripted_step(home, "convert", actions("c"), salt=salt),
        scripted_step(home, "quantize", actions("q"), after="convert", kind="quantize", salt=salt),
        scripted_step(home, "build", actions("b"), after="quantize", kind="build", salt=salt),
    )


def kill(process: psutil.Process | int | None) -> bool:
    pid = process.pid if isinstance(process, psutil.Process) else process
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def worker_of(supervisor: int | None) -> psutil.Process | None:
    try:
        children = psutil.Process(supervisor).children() if supervisor else []
    except psutil.Error:
        return None
    return children[0] if children else None


@pytest.mark.parametrize("target", ["worker", "supervisor"])
def test_kills_inside_a_job(home: Home, target: str) -> None:
    dice = random.Random(f"kill {target}")
    hits = 0
    for number in range(KILLS):
        plan = three_steps(home, f"{target} {number}")
        folder = client.start(home, plan)
        time.sleep(dice.uniform(0.0, JOB_SECONDS))
        supervisor = folder.raw_state().supervisor_pid
        hits += kill(worker_of(supervisor) if target == "worker" else supervisor)
        state = client.wait(folder, 60)
        assert not orphans(folder.path), f"moment {number}"
        assert not unsound(home), f"moment {number}"
        assert state.status in ("done", "failed", "interrupted")
        if state.status != "done":
            assert state.failure is not None and state.failure.code in ("killed", "interrupted"), state.failure
            finished = [s.id for s in state.steps if s.status in ("done", "reused")]
            client.retry(folder)
            state = client.wait(folder, 60)
            assert all(s.status == "reused" for s in state.steps if s.id in finished)
        assert state.status == "done"
        assert not partial_folders(home) and not unsound(home)
    assert hits >= KILLS // 2, "most kills must have met a living process"


def test_kills_of_the_command_do_not_touch_the_job(home: Home, tmp_path: Path) -> None:
    dice = random.Random("kill command")
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    followed = 0
    for number in range(KILLS):
        plan = three_steps(home, f"command {number}")
        path = tmp_path / f"plan{number}.json"
        path.write_text(plan.model_dump_json())
        before = set(job_ids(home.jobs))
        command = subprocess.Popen(
            [sys.executable, str(script), str(path)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
        time.sleep(dice.uniform(0.0, JOB_SECONDS + 0.8))
        command.kill()
        command.wait()
        for job_id in set(job_ids(home.jobs)) - before:
            folder = JobFolder(home.jobs / job_id)
            state = client.wait(folder, 60)
            if state.status == "interrupted":  # killed between making the folder and starting the supervisor
                assert state.supervisor_pid is None
                client.retry(folder)
                state = client.wait(folder, 60)
            assert state.status == "done"
            followed += 1
            assert not orphans(folder.path)
        assert not unsound(home) and not partial_folders(home)
    assert followed >= KILLS // 2, "most kills must have come after the job was begun"

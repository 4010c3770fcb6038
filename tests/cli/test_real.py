"""The main job end to end with the real toolchain, on a tiny Llama made on the spot: build, reuse, ask, interrupt."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.cli.command import start, workbench
from tests.fakes.models import make_real_tiny_folder
from tests.jobs.soundness import orphans, partial_folders, unsound
from workbench.core.home import Home
from workbench.core.job import JobState
from workbench.jobs import client
from workbench.jobs.folder import JobFolder, job_ids

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("WORKBENCH_TEST_KILLS", "1"))
"""Random moments at which each kind of process is killed; the full proof takes 10, CI one."""
# Random weights answer nonsense whatever the precision, so here the limits say nothing.
ANY_QUALITY = ["--set", "verify.min_agreement=0", "--set", "verify.max_kl=100"]
SECONDS = 180.0


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_real_tiny_folder(tmp_path_factory.mktemp("models") / "tiny")


def arguments(model: Path, *extra: str) -> list[str]:
    return ["build", "cpu-int8", "--model", str(model), *ANY_QUALITY, *extra]


def last_job(home: Home) -> JobFolder | None:
    ids = job_ids(home.jobs)
    return JobFolder(home.jobs / ids[-1]) if ids else None


def wait_until(home: Home, condition: Callable[[JobState], bool]) -> JobFolder:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        folder = last_job(home)
        if folder is not None and condition(folder.state()):
            return folder
        time.sleep(0.02)
    raise AssertionError("it never came to that")


def running(kind: str) -> Callable[[JobState], bool]:
    return lambda state: any(s.kind == kind and s.status == "running" for s in state.steps)


@pytest.mark.early
def test_three_precisions_from_folder_to_answer(home: Home, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "engines"
    ran = workbench(*arguments(tiny, "--precision", "fp16,int8,int4", "--out", str(out), "--json"))
    assert ran.code == 0, ran.err
    made = {row["precision"]: row for row in ran.json["made"]}
    assert [made[p]["path"] for p in ("fp16", "int8", "int4")] == [str(out / p) for p in ("fp16", "int8", "int4")]
    assert not unsound(home, *out.iterdir()) and not partial_folders(home)
    for row in made.values():
        assert row["size_bytes"] > 0 and 0 <= row["verify"]["agreement"] <= 1 and row["verify"]["output_tok_s"] > 0
    listed = workbench("engines", "--json").json
    assert {row["path"] for row in listed} == {row["path"] for row in made.values()}
    shown = workbench("engines", "show", str(out / "int8"), "--json").json
    steps = [step["id"] for step in shown["provenance"]["steps"]]
    assert steps == ["convert", "quantize:int8", "build:int8"]
    assert shown["provenance"]["model"]["digest"] and shown["provenance"]["steps"][0]["versions"]["optimum-intel"]

    answer = workbench("prompt", str(out / "int4"), "hello", "--max-tokens", "5", "--json").json
    assert answer["output_tokens"] == 5 and answer["reason"] == "length" and answer["ttft_ms"] > 0
    used = answer["kv_blocks_used_peak"]
    assert used is None or 0 < used <= answer["kv_blocks_total"], "a short answer may be over too soon"

    folder = tmp_path / "launch"
    assert workbench("export", "launch", str(out / "int4"), "--out", str(folder)).code == 0
    run_elsewhere(folder.rename(tmp_path / "elsewhere"), tmp_path)

    raw = workbench("prompt", str(out / "fp16"), "hello", "--max-tokens", "3", "--raw", "--stats")
    assert raw.code == 0 and "tokens/s" in raw.err and "KV" in raw.err and "tokens/s" not in raw.out

    again = workbench(*arguments(tiny, "--precision", "fp16,int8,int4", "--json")).json
    assert {s["status"] for s in again["steps"] if s["kind"] != "check"} == {"reused", "none"}
    assert [row["path"] for row in again["made"]] == [row["path"] for row in made.values()]

    refused = workbench("prompt", str(out / "int8"), "hi", "--set", "precision.weights=int4")
    assert refused.code == 2 and "fixed in a built engine" in refused.err
    removed = workbench("engines", "rm", str(out / "int8"), "--yes")
    assert removed.code == 0 and not (out / "int8").exists()


def run_elsewhere(folder: Path, scratch: Path) -> None:
    """A launch folder as a person runs it, with this interpreter in place of one that it would make."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    env = {"PATH": "/usr/bin:/bin", "HOME": str(scratch), "READY_PYTHON": sys.executable, "PORT": port, "WAIT_S": "90"}
    with subprocess.Popen([folder / "run.sh"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        asked = subprocess.run([folder / "smoke-test.sh"], env=env, capture_output=True, text=True, check=False)
        server.send_signal(signal.SIGTERM)
        said = server.communicate(timeout=60)[0].decode()
    assert asked.returncode == 0, asked.stderr + said
    assert "answers as" in asked.stdout and "checksums" in said and server.returncode == 0, said


def test_until_stops_there_and_names_the_folder(home: Home, tiny: Path, tmp_path: Path) -> None:
    ran = workbench(*arguments(tiny, "--until", "convert", "--out", str(tmp_path / "ir")))
    assert ran.code == 0 and ran.out.strip() == str(tmp_path / "ir")
    assert (tmp_path / "ir" / "openvino_model.xml").is_file()
    blocked = workbench("prompt", str(tmp_path / "ir"), "hi")
    assert blocked.code == 2 and "not an engine" in blocked.err


def test_ctrl_c_at_every_step_cancels_and_retry_goes_on(home: Home, tiny: Path) -> None:
    for kind in ("convert", "quantize", "build", "verify"):
        command = start(*arguments(tiny))
        folder = wait_until(home, running(kind))
        os.kill(command.pid, signal.SIGINT)
        _, err = command.communicate(timeout=60)
        assert command.returncode == 5, err
        assert "cancelled" in err and "Traceback" not in err
        assert folder.state().status == "cancelled"
        assert not orphans(folder.path) and not partial_folders(home) and not unsound(home)
    assert workbench("jobs", "retry", "last").code == 0
    folder = last_job(home)
    assert folder is not None
    state = folder.state()
    assert state.status == "done" and state.attempt == 2
    assert [s.status for s in state.steps if s.kind != "check"] == ["reused", "reused", "reused", "done"]


def test_a_lost_command_does_not_end_its_job(home: Home, tiny: Path) -> None:
    lost = start(*arguments(tiny))
    folder = wait_until(home, running("convert"))
    os.kill(lost.pid, signal.SIGHUP)
    lost.communicate(timeout=60)
    follower = start("jobs", "log", "-f", "last")
    wait_until(home, running("quantize"))
    os.killpg(follower.pid, signal.SIGKILL)
    follower.communicate()
    followed = workbench("jobs", "log", "-f", folder.id[-4:])
    assert followed.code == 0, followed.err
    assert "workbench.workers.openvino.verify" in followed.out and "done" in followed.err
    assert folder.state().status == "done" and not orphans(folder.path)


@pytest.mark.nightly
@pytest.mark.parametrize("target", ["worker", "supervisor", "command"])
def test_kills_at_random_moments(home: Home, tiny: Path, tmp_path: Path, target: str) -> None:
    dice = random.Random(f"real {target} {KILLS}")
    length_s, hits = 14.0, 0
    for number in range(KILLS):
        own = Home(tmp_path / f"home-{number}").make()
        env = {"WORKBENCH_HOME": str(own.root)}
        command = start(*arguments(tiny), env=env)
        time.sleep(dice.uniform(0.5, length_s))
        folder = last_job(own)
        if target == "command":
            os.killpg(command.pid, signal.SIGKILL)
            hits += folder is not None
        elif folder is not None and (pid := folder.raw_state().supervisor_pid):
            victim: psutil.Process | None = psutil.Process(pid) if psutil.pid_exists(pid) else None
            if target == "worker" and victim is not None:
                victim = next(iter(victim.children()), None)
            if victim is not None:
                victim.kill()
                hits += 1
        out, err = command.communicate(timeout=SECONDS)
        assert "Traceback" not in out + err
        folder = last_job(own)
        if folder is None:
            assert target == "command"
            continue
        state = client.wait(folder, SECONDS)
        assert not orphans(folder.path) and not unsound(own), f"moment {number}"
        if target == "command":
            assert state.status == "done" or state.supervisor_pid is None
        elif command.returncode != 0:
            assert command.returncode == 4 and "retry" in err.lower(), err
        finished = {s.id for s in state.steps if s.status in ("done", "reused") and s.kind != "check"}
        if state.status != "done":
            assert workbench("jobs", "retry", folder.id, env=env).code == 0
            state = folder.state()
            assert all(s.status == "reused" for s in state.steps if s.id in finished)
        assert state.status == "done" and not partial_folders(own) and not unsound(own)
    assert hits >= KILLS // 2, "most kills must have met a living process"


def test_two_commands_that_build_the_same_at_once(home: Home, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "engine"
    commands: list[subprocess.Popen[str]] = [start(*arguments(tiny, "--out", str(out), "--json")) for _ in range(2)]
    for command in commands:
        _, err = command.communicate(timeout=SECONDS)
        assert command.returncode == 0, err
    assert not unsound(home, out) and not partial_folders(home)
    engines = workbench("engines", "--json").json
    assert [row["path"] for row in engines] == [str(out)]
    statuses = [JobFolder(home.jobs / i).state().steps for i in job_ids(home.jobs)]
    for step_pair in zip(*statuses, strict=True):
        if step_pair[0].kind != "check":
            assert sorted(s.status for s in step_pair) == ["done", "reused"], step_pair[0].id


def test_the_toolchain_may_live_in_another_interpreter(home: Home, tiny: Path, tmp_path: Path) -> None:
    """A second virtual environment that sees the same packages, but not this checkout."""
    import site
    import sys

    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "other")], check=True)
    packages = next((tmp_path / "other" / "lib").glob("python3*")) / "site-packages"
    (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    other = tmp_path / "other" / "bin" / "python"
    env = {"WORKBENCH_OPENVINO_PYTHON": str(other)}
    ran = workbench(*arguments(tiny, "--until", "convert", "--json"), env=env)
    assert ran.code == 0, ran.err
    step = JobFolder(home.jobs / job_ids(home.jobs)[-1]).plan().steps[1]
    assert step.argv[0] == str(other) and "worker-code" in step.env["PYTHONPATH"]

"""Interpreters in containers and over SSH: argv, what they are given to see, and workers that really run there."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fakes import trtllm
from tests.fakes.places import notes, write_docker, write_python, write_ssh
from tests.fakes.trtllm_checkpoints import write_checkpoint
from workbench.core.home import Home
from workbench.core.messages import Hello, Message, Phase, Result, StepSpec, parse_message
from workbench.toolchains import get
from workbench.toolchains.asking import probe_worker
from workbench.toolchains.base import Environment
from workbench.toolchains.environments import find_environments
from workbench.toolchains.places import place_of, worker_argv

IMAGE = "nvcr.io/nvidia/tensorrt-llm/release:1.2.1"
DOCKER = ("docker", "run", "-i", "--rm", "--gpus", "all", IMAGE, "python3")


def test_a_container_gets_folders_variables_and_an_owner(tmp_path: Path) -> None:
    paths = (tmp_path / "home", tmp_path / "home" / "deeper", Path("/models"))
    variables = {"PYTHONPATH": "/code", "CUDA_VISIBLE_DEVICES": "1"}
    mine = ("docker", "run", "-i", "--rm", "--gpus", "all", "-v", "/models:/models", IMAGE, "python3")
    argv = worker_argv(mine, "workbench.workers.x", variables=variables, paths=paths, user=(1000, 100))
    options = argv[2 : argv.index("-i")]
    assert options == (
        "--init", "--user", "1000:100", "-e", "HOME=/tmp", "-e", "USER=workbench",
        "-e", "PYTHONPATH=/code", "-e", "CUDA_VISIBLE_DEVICES=1", "-v", f"{tmp_path}/home:{tmp_path}/home",
    )  # fmt: skip
    assert argv[-4:] == (IMAGE, "python3", "-m", "workbench.workers.x")
    assert argv.count("/models:/models") == 1, "what the prefix mounts itself is left to it"
    root = worker_argv(DOCKER, "x", variables={}, user=(0, 0))
    assert "--user" not in root and "--init" in root
    chosen = worker_argv(("docker", "run", "--init", "-i", "--user", "7", IMAGE, "python3"), "x", variables={},
                         user=(1000, 100))  # fmt: skip
    assert chosen.count("--user") == 1 and chosen.count("--init") == 1
    podman = worker_argv(("podman", *DOCKER[1:]), "x", variables={"A": "b"}, user=(1000, 100))
    assert podman[:4] == ("podman", "run", "-e", "A=b"), "its root is this user already"


def test_folders_that_links_lead_to_are_mounted_too(tmp_path: Path) -> None:
    """A hub's cache: snapshots hold links to ../../blobs."""
    snapshot, blobs = tmp_path / "models--x" / "snapshots" / "abc", tmp_path / "models--x" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "1f").write_bytes(b"x")
    (snapshot / "model.safetensors").symlink_to("../../blobs/1f")
    argv = worker_argv(DOCKER, "x", variables={}, paths=(snapshot,), user=(0, 0))
    assert [argv[n + 1] for n, word in enumerate(argv) if word == "-v"] == [
        f"{blobs}:{blobs}",
        f"{snapshot}:{snapshot}",
    ]


def test_ssh_is_never_asked_for_a_password_and_words_are_quoted() -> None:
    argv = worker_argv(("ssh", "lab", "/opt/my env/python"), "m", variables={"PYTHONPATH": "/a b", "X": "$HOME;`id`"})
    assert argv == (
        "ssh", "-o", "BatchMode=yes", "lab", "env", "-u", "WORKBENCH_PARENT_PID", "'PYTHONPATH=/a b'",
        "'X=$HOME;`id`'", "'/opt/my env/python'", "-m", "m",
    )  # fmt: skip
    own = ("ssh", "-o", "BatchMode=no", "lab", "python3")
    assert worker_argv(own, "m", variables={})[:4] == own[:4]
    slurm = worker_argv(("srun", "-G1", "python3"), "m", variables={"X": "a b"})
    assert slurm == ("srun", "-G1", "env", "-u", "WORKBENCH_PARENT_PID", "X=a b", "python3", "-m", "m"), (
        "no shell there"
    )
    assert place_of(("conda", "run", "python")) == "here" and place_of(("/usr/bin/ssh", "lab", "python")) == "remote"
    wrapped = worker_argv(("conda", "run", "-n", "x", "python"), "m", variables={"X": "1"})
    assert wrapped[4:] == ("env", "-u", "WORKBENCH_PARENT_PID", "X=1", "python", "-m", "m")


# --- workers that run there


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    """A folder with a `docker` whose image holds the stand-in of TensorRT-LLM."""
    folder = tmp_path / "programs"
    write_docker(folder, path=f"{folder}:{trtllm.BIN}:/usr/bin:/bin")
    write_python(folder, trtllm.SITE)
    return folder


def prefix(folder: Path, program: str = "docker", *more: str) -> str:
    if program == "ssh":
        return f"{folder / 'ssh'} lab {folder / 'python3'}"
    return " ".join([str(folder / "docker"), "run", "-i", "--rm", "--gpus", "all", *more, IMAGE, "python3"])


@pytest.mark.slow
def test_tensorrt_llm_is_found_in_an_image(home: Home, docker: Path) -> None:
    environ = {"WORKBENCH_TENSORRT_LLM_PREFIX": prefix(docker)}
    found = find_environments(get("tensorrt_llm"), home, environ)[0]
    assert not found.problem and found.versions["tensorrt-llm"] == "1.2.1", found.problem
    told = notes(docker)[0]
    assert f"-v {home.root}:{home.root}" in told and "--init" in told and "-e PYTHONPATH=" in told
    report: dict[str, Any] = dict(
        probe_worker(found, {"packages": ["tensorrt-llm"], "import": True}, paths=(home.root,))
    )
    assert report["imports"] == {"tensorrt-llm": ""}
    assert report["gpus"][0]["name"] == "NVIDIA H100 80GB HBM3" and report["mpi"]["launcher"].endswith("mpirun")


@pytest.mark.parametrize("failure", ["no-mpi", "no-tensorrt", "no-driver", "driver-too-old", "torch-mismatch"])
def test_why_an_import_fails_in_an_image_is_told(home: Home, docker: Path, failure: str) -> None:
    environ = {"WORKBENCH_TENSORRT_LLM_PREFIX": prefix(docker, "docker", "-e", f"TRTLLM_STANDIN_FAIL={failure}")}
    found = find_environments(get("tensorrt_llm"), home, environ)[0]
    report: dict[str, Any] = dict(
        probe_worker(found, {"packages": ["tensorrt-llm"], "import": True}, paths=(home.root,))
    )
    assert report["causes"]["tensorrt-llm"]["code"] == failure
    assert report["imports"]["tensorrt-llm"] and report["fixes"]["tensorrt-llm"]


def test_tensorrt_llm_is_found_over_ssh(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "pro grams"
    write_ssh(folder, path=f"{trtllm.BIN}:/usr/bin:/bin")
    write_python(folder, trtllm.SITE)
    words = f"'{folder / 'ssh'}' lab '{folder / 'python3'}'"
    found = find_environments(get("tensorrt_llm"), home, {"WORKBENCH_TENSORRT_LLM_PREFIX": words})[0]
    assert not found.problem and found.place == "remote", found.problem
    assert found.versions["tensorrt-llm"] == "1.2.1"
    other = words.replace(" lab ", " elsewhere ")
    lost = find_environments(get("tensorrt_llm"), home, {"WORKBENCH_TENSORRT_LLM_PREFIX": other})[0]
    assert "Could not resolve hostname" in lost.problem


def test_a_machine_that_does_not_see_the_workers_files_is_told(home: Home, tmp_path: Path, docker: Path) -> None:
    folder = tmp_path / "blind"
    write_ssh(folder)
    # A machine whose python finds nothing under this one's folders.
    (folder / "python3").write_text('#!/bin/sh\nunset PYTHONPATH\nexec /usr/bin/env python3 -I "$@"\n')
    (folder / "python3").chmod(0o755)
    found = find_environments(get("tensorrt_llm"), home, {"WORKBENCH_TENSORRT_LLM_PREFIX": prefix(folder, "ssh")})[0]
    assert "not there under that name" in found.problem and "WORKBENCH_HOME" in found.problem


@contextlib.contextmanager
def started(environment: Environment, spec: StepSpec, paths: tuple[Path, ...]) -> Iterator[subprocess.Popen[bytes]]:
    """A worker as the supervisor starts it, its spec given."""
    module = f"workbench.workers.{spec.worker}"
    with subprocess.Popen(
        environment.argv(module, paths=paths),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/", start_new_session=True,
        env={**os.environ, **environment.env(), "WORKBENCH_PARENT_PID": str(os.getpid())},
    ) as process:  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(spec.model_dump_json().encode() + b"\n")
        process.stdin.flush()
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def messages_of(process: subprocess.Popen[bytes]) -> Iterator[Message]:
    assert process.stdout is not None
    for line in process.stdout:
        yield parse_message(line)


def build_spec(tmp_path: Path) -> StepSpec:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    (tmp_path / "engine").mkdir()
    return StepSpec(
        worker="trtllm.build",
        inputs={"checkpoint": str(checkpoint)},
        settings={"argv_flags": {"max_batch_size": 4, "max_seq_len": 128}},
        output=str(tmp_path / "engine"),
    )


@pytest.mark.slow
@pytest.mark.parametrize("program", ["docker", "ssh"])
def test_an_engine_is_built_there(home: Home, tmp_path: Path, docker: Path, program: str) -> None:
    write_ssh(docker, path=f"{docker}:{trtllm.BIN}:/usr/bin:/bin")
    environ = {"WORKBENCH_TENSORRT_LLM_PREFIX": prefix(docker, program)}
    found = find_environments(get("tensorrt_llm"), home, environ)[0]
    assert found.usable or found.missing, found.problem
    with started(found, build_spec(tmp_path), (tmp_path,)) as process:
        told = list(messages_of(process))
    assert isinstance(told[-1], Result), told[-1]
    assert told[-1].data["versions"]["tensorrt_llm"] == "1.2.1"
    assert json.loads((tmp_path / "engine" / "config.json").read_text())["version"] == "1.2.1"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "way"), [("docker", "SIGTERM"), ("docker", "SIGKILL"), ("ssh", "SIGKILL"), ("ssh", "end of file")]
)
def test_cancel_reaches_the_worker_there(home: Home, tmp_path: Path, docker: Path, program: str, way: str) -> None:
    write_ssh(docker, path=f"{docker}:{trtllm.BIN}:/usr/bin:/bin")
    (docker / "python3").write_text(
        (docker / "python3").read_text().replace("PYTHONPATH=", "TRTLLM_STANDIN_SECONDS=120 PYTHONPATH=", 1)
    )
    found = find_environments(get("tensorrt_llm"), home, {"WORKBENCH_TENSORRT_LLM_PREFIX": prefix(docker, program)})[0]
    with started(found, build_spec(tmp_path), (tmp_path,)) as process:
        worker = 0
        for message in messages_of(process):
            if isinstance(message, Hello):
                worker = message.pid
            if isinstance(message, Phase) and message.name == "Compile the engine":
                break
        there = psutil.Process(worker)
        family = [there, *there.children(recursive=True)]
        assert len(family) >= 2 and process.pid not in [one.pid for one in family]
        assert os.getpgid(worker) != process.pid, "it is in no group of the starter's"
        if way == "end of file":
            assert process.stdin is not None
            process.stdin.close()
        else:
            os.killpg(process.pid, getattr(signal, way))
        deadline = time.monotonic() + 10
        while any(_runs(one) for one in family) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not [one for one in family if _runs(one)]


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False

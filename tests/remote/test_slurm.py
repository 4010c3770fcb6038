"""Steps as jobs of a real Slurm of one node on loopback: queued, run, preempted, cancelled by us and by others."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import workbench
from tests.fakes.models import make_real_tiny_folder
from tests.fakes.slurm import OneNodeSlurm, missing_programs, version
from tests.remote.relays import Relay, processes_below, scripted, wait_until
from workbench.core.artifact import read_provenance
from workbench.core.home import Home
from workbench.core.host import read_host
from workbench.core.target import Target
from workbench.jobs.folder import find
from workbench.toolchains.looks import look_at
from workbench.toolchains.targets import save_target

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_programs()), reason=f"not on this machine: {', '.join(missing_programs())}"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[OneNodeSlurm]:
    try:
        slurm = OneNodeSlurm().start()
    except RuntimeError as error:
        if version() == (22, 5):
            raise
        pytest.skip(f"Slurm {version()} is set up otherwise than the one that is known here: {error}")
    try:
        yield slurm
    finally:
        slurm.stop()


@pytest.fixture
def slurm(cluster: OneNodeSlurm, monkeypatch: pytest.MonkeyPatch) -> OneNodeSlurm:
    for name, value in {**cluster.env, "WORKBENCH_SLURM_LOOK_SECONDS": "0.2"}.items():
        monkeypatch.setenv(name, value)
    return cluster


@pytest.fixture
def target(tmp_path: Path, slurm: OneNodeSlurm) -> Iterator[Target]:
    # The relay's own words: nothing is left in the queue or behind it when a test fails.
    yield Target(name="batch", kind="slurm", folder=str(tmp_path / "far"), python={"default": sys.executable})
    for job in slurm.command("squeue", "-h", "-o", "%i").split():
        slurm.command("scancel", job)
    left = processes_below(str(tmp_path / "far"))
    wait_until(lambda: not any(process.is_running() for process in left) or not processes_below(str(tmp_path / "far")))


def jobs(slurm: OneNodeSlurm, state: str = "RUNNING") -> list[str]:
    return slurm.command("squeue", "-h", "-t", state, "-o", "%i").split()


def test_a_run_waits_its_turn_is_followed_and_fetched_and_failures_keep_their_words(
    target: Target, code: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.partial"
    spec = scripted(["phase", "work", 1, 1], ["log", "hello"], ["write", "a.bin", "abc", 1000], output=output)
    nowhere = target.model_copy(update={"partition": "nowhere"})
    with (
        Relay(target, code, spec, "--gpus", "0") as relay,
        Relay(target, code, scripted(["error", "no weights"])) as other,
        Relay(nowhere, code, scripted(["sleep", 62])) as refused,
    ):
        assert relay.end() == 0, relay.messages
        assert other.end() == refused.end() == 3
    assert (output / "a.bin").read_bytes() == b"abc" * 1000
    assert relay.of("result")[0]["data"] == {"actions": 3}
    assert "hello" in relay.logs()
    assert other.error()["message"] == "no weights"
    assert refused.error()["code"] == "no-partition" and "nowhere" in refused.error()["cause"]
    assert not list((tmp_path / "far" / "runs").iterdir())


def test_a_preempted_run_is_queued_again_and_comes_to_its_end(
    target: Target, code: Path, tmp_path: Path, slurm: OneNodeSlurm
) -> None:
    begun = tmp_path / "begun"
    spec = scripted(
        ["log", "begun"], ["append", "../../../begun", "x"], ["wait_for", "../../../go"], output=tmp_path / "o.partial"
    )
    with Relay(target, code, spec) as relay:
        wait_until(begun.exists, words=lambda: (relay.messages, slurm.logs()))
        first = jobs(slurm)
        script = tmp_path / "urgent.sh"
        script.write_text("#!/bin/sh\nsleep 1\n")
        assert slurm.command("sbatch", "--parsable", "-p", "urgent", "--exclusive", "-o", "/dev/null", str(script))
        wait_until(lambda: any("queued again" in text for text in relay.logs()), words=relay.logs)
        (tmp_path / "go").touch()
        assert relay.end() == 0, (relay.messages, relay.raw)
    assert begun.read_text() == "x\nx\n"
    again = next(text for text in relay.logs() if "queued again" in text)
    assert f"job {first[0]} was preempted" in again and "from the beginning" in again
    assert relay.logs().count("begun") == 2


def test_cancelled_by_us_while_it_runs_and_while_it_waits_and_by_somebody_else(
    target: Target, code: Path, tmp_path: Path, slurm: OneNodeSlurm
) -> None:
    closed = target.model_copy(update={"partition": "closed", "name": "closed"})
    with (
        Relay(target, code, scripted(["touch", "../../../up1"], ["sleep", 63])) as other,
        Relay(closed, code, scripted(["sleep", 61])) as waiting,
    ):
        wait_until((tmp_path / "up1").exists, words=lambda: (other.messages, other.raw))
        theirs = jobs(slurm)
        with Relay(target, code, scripted(["child", True], ["touch", "../../../up2"], ["sleep", 60])) as relay:
            wait_until((tmp_path / "up2").exists, words=lambda: (relay.messages, relay.raw))
            wait_until(lambda: any("will not start" in text for text in waiting.logs()), words=waiting.logs)
            slurm.command("scancel", *theirs)
            ours = [*(job for job in jobs(slurm) if job not in theirs), *jobs(slurm, "PENDING")]
            assert len(theirs) == 1 and len(ours) == 2
            for process in (relay.process, waiting.process):
                process.send_signal(signal.SIGTERM)
            assert relay.end(10) == waiting.end(10) == other.end() == 3
    assert not processes_below(str(tmp_path / "far"))
    for number in (*ours, *theirs):
        assert slurm.command("squeue", "-h", "-t", "all", "-j", number, "-o", "%T").strip() == "CANCELLED"
    assert other.error()["code"] == "cancelled-there" and "CANCELLED" in other.error()["cause"]
    assert any("PartitionDown" in text for text in waiting.logs())
    assert not list((tmp_path / "far" / "runs").iterdir())


def test_a_relay_that_is_killed_leaves_its_job_and_the_next_one_picks_it_up(
    target: Target, code: Path, tmp_path: Path, slurm: OneNodeSlurm
) -> None:
    done = tmp_path / "done"
    spec = scripted(["log", "one"], ["append", "../../../done", "x"], ["wait_for", "../../../go"], ["log", "two"])
    with Relay(target, code, spec) as relay:
        wait_until(done.exists, words=lambda: (relay.messages, relay.raw))
        os.killpg(relay.process.pid, signal.SIGKILL)
        relay.end()
        assert len(jobs(slurm)) == 1
    with Relay(target, code, spec) as relay:
        wait_until(lambda: b"runs on" in relay.raw, words=lambda: (relay.messages, relay.raw))
        (tmp_path / "go").touch()
        assert relay.end() == 0, (relay.messages, relay.raw)
    assert b"time limit 30:00" in relay.raw
    assert done.read_text() == "x\n"
    assert [text for text in relay.logs() if text in ("one", "two")] == ["one", "two"]


def test_a_build_of_the_command_line_goes_through_the_queue(target: Target, home: Home, tmp_path: Path) -> None:
    """A real model folder, a real toolchain, the job's supervisor, and the artefact with the node's figures in it."""
    save_target(home, target)
    look = look_at(home, target, allocate=True)
    assert look.failure is None and not look.problems(target)
    assert look.slurm.startswith("slurm") and look.partition is not None and look.partition.name == "work"
    assert look.allocated and look.host is not None and look.host.cpu_identity == read_host().cpu_identity
    preset = tmp_path / "base.toml"
    preset.write_text(
        'schema = 1\ntitle = "base"\ngoal = "try-it"\ntoolchain = "pytorch"\n[precision]\nweights = "bf16"\n'
    )
    model = make_real_tiny_folder(tmp_path / "tiny")
    built = workbench("build", str(preset), "--model", str(model), "--target", "batch", "--until", "build", "--json")
    assert built.code == 0, built.err
    folder = Path(json.loads(built.out)["made"][-1]["path"])
    assert read_provenance(folder).machine.cpu == look.host.cpu_name
    job = find(home.jobs, "last")
    assert job.plan().target == "batch" and all(not step.lanes for step in job.plan().steps)
    assert re.search(r"Slurm job \d+ runs on|job \d+ pending", job.log_path.read_text())

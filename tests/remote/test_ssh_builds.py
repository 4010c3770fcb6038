"""Jobs whose steps run over a real sshd: a build of the command line that is cut in the middle, and a cancelled job."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli.command import start
from tests.fakes.hf_folders import write_model
from tests.fakes.plans import scripted_plan, scripted_step
from tests.fakes.sshd import Sshd
from tests.jobs.soundness import partial_folders
from tests.remote.relays import MODULE, ROOT, processes_below, wait_until
from workbench.core.artifact import problems, read_provenance
from workbench.core.home import Home
from workbench.jobs import client
from workbench.jobs.folder import find
from workbench.toolchains.targets import save_target

pytestmark = [pytest.mark.sshd, pytest.mark.slow]


def test_a_build_is_cut_in_the_middle_of_convert_and_goes_on(
    sshd: Sshd, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBENCH_REMOTE_WAIT_SECONDS", "0.2")
    save_target(home, sshd.target())
    model = write_model(tmp_path / "tiny")
    far = sshd.folder / "far"
    building = start("build", "cpu-fp16", "--model", str(model), "--target", "box", "--until", "convert", "--json")
    try:
        wait_until(lambda: list(far.glob("runs/openvino.convert-*/state.json")) or building.poll() is not None, 60)
        assert sshd.cut()
        out, err = building.communicate(timeout=120)
    finally:
        building.kill()
    assert building.returncode == 0, err
    made = Path(json.loads(out)["made"][-1]["path"])
    log = find(home.jobs, "last").log_path.read_text()
    assert "was cut" in log and "Connected to box again" in log and log.count("] trace (") >= 1
    provenance = read_provenance(made)
    assert not problems(made, provenance) and (made / "openvino_model.xml").is_file()
    steps = provenance.model_dump_json(include={"steps": {"__all__": {"inputs", "result", "settings"}}})
    assert str(model) in steps and str(far) not in steps
    assert not partial_folders(home) and not list((far / "runs").iterdir())


def test_a_cancelled_job_leaves_no_process_there(sshd: Sshd, home: Home, code: Path, tmp_path: Path) -> None:
    given = ("--target", sshd.target().model_dump_json(), "--module", MODULE, "--code", str(code))
    actions = [["child", False], ["child", True], ["log", "at work"], ["hang"]]
    step = scripted_step(home, "convert", actions)
    step = step.model_copy(
        update={"argv": (sys.executable, "-m", "workbench.remote.relay", *given), "env": {"PYTHONPATH": str(ROOT)}}
    )
    folder = client.start(home, scripted_plan(step))
    wait_until(lambda: "at work" in folder.log_path.read_text(), words=lambda: folder.log_path.read_text())
    there = processes_below(str(sshd.folder / "far" / "runs"))
    assert len(there) >= 4  # keeper, worker and its children; what reads for us
    client.cancel(folder)
    state = client.wait(folder, 30.0)
    assert state.status == "cancelled" and "is ended, with all its processes" in folder.log_path.read_text()
    assert not set(there) & set(processes_below(str(sshd.folder / "far" / "runs")))
    assert not partial_folders(home) and not list((sshd.folder / "far" / "runs").iterdir())

"""Other machines as places of builds: their files, looks at them, and plans for them."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.looks import keep_look
from tests.fakes.models import make_config_folder, make_tiny_folder
from workbench.core.artifact import Machine
from workbench.core.errors import BadInputError, BlockedError
from workbench.core.gpu import GpuSpec
from workbench.core.home import Home
from workbench.core.host import read_host
from workbench.core.preset import find_preset, gallery_folders
from workbench.core.target import Target
from workbench.toolchains.doctor import targets_report
from workbench.toolchains.drafts import open_draft
from workbench.toolchains.elsewhere import look_summary, look_words
from workbench.toolchains.looks import (
    fresh_look,
    gpus_of_gres,
    last_look,
    look_at,
)
from workbench.toolchains.planner import plan_build, refuse_blocked
from workbench.toolchains.targets import find_target, list_targets, make_target, path_of, remove_target, save_target


@pytest.fixture
def box(home: Home) -> Target:
    target = make_target(name="box", kind="ssh", host="me@box", folder="/data/wb", python={"default": "/opt/py"})
    save_target(home, target)
    return target


def test_a_targets_file_is_written_read_refused_and_removed(home: Home, box: Target) -> None:
    assert find_target(home, "box") == box and not path_of(home, "box").stat().st_mode & 0o077
    with pytest.raises(BadInputError, match="already"):
        save_target(home, box)
    path_of(home, "odd").write_text('kind = "ssh"\nhost = "-x"\nfolder = "/x"\n')
    path_of(home, "new").write_text('kind = "warp"\nschema_version = 9\n')
    found = list_targets(home)
    assert [target.name for target in found.targets] == ["box"]
    assert {name: failure.code for name, failure in found.broken} == {"odd": "bad-target", "new": "newer-schema"}
    for name in ("nobody", "../box", ""):
        with pytest.raises(BadInputError, match="There is no target"):
            find_target(home, name)
    remove_target(home, "odd")
    remove_target(home, "box")
    assert not list_targets(home).targets and not path_of(home, "odd").exists()


def write_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_look_tells_host_gpus_and_interpreters_and_is_kept(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real program on this machine, beside an nvidia-smi that answers as driver 570 does."""
    programs = tmp_path / "bin"
    programs.mkdir()
    row = "0, GPU-1, NVIDIA H100 80GB HBM3, 9.0, 81559, 4, Disabled, 570.133.20"
    write_program(programs / "nvidia-smi", f"echo '{row}'; echo '1, GPU-2, [N/A], [N/A], [N/A], 1, Disabled, 570'")
    write_program(programs / "old-python", "echo old; exit 3")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    target = make_target(
        name="me",
        kind="here",
        python={"default": sys.executable, "pytorch": "old-python", "modelopt": "/nowhere/python"},
    )
    look = look_at(home, target)
    assert look.failure is None and look.host is not None
    assert look.host.cpu_identity == read_host().cpu_identity, "the same machine has the same key for its blobs"
    assert look.host.memory_total_bytes == read_host().memory_total_bytes
    assert [(gpu.name, gpu.index, gpu.sm) for gpu in look.gpus] == [("H100 SXM", 0, 90)] and look.driver == "570.133.20"
    assert look.pythons["openvino"].versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert look.pythons["pytorch"].problem and look.pythons["modelopt"].problem == "/nowhere/python is not there"
    assert last_look(home, target) == look
    changed = target.model_copy(update={"python": {"default": "/usr/bin/python3"}})
    assert last_look(home, changed) is None, "of another description"


def test_what_cannot_be_asked_is_an_answer_with_its_fix(home: Home) -> None:
    target = make_target(name="me", kind="here", python={"default": "/nowhere/python"})
    look = look_at(home, target)
    assert look.failure is not None and look.failure.code == "no-python-there"
    assert "workbench target change me --python" in look.failure.fix
    assert look_summary(target, look) == look.failure.what
    with pytest.raises(BlockedError, match="There is no /nowhere/python"):
        fresh_look(home, target)


def test_problems_of_a_target_each_have_a_fix(home: Home, box: Target) -> None:
    look = keep_look(home, box, rsync="", folder_problem="/data may not be written")
    assert [failure.code for failure in look.problems(box)] == ["folder-there", "no-rsync-there"]
    shared = box.model_copy(update={"shared": True})
    assert [f.code for f in look.model_copy(update={"home_seen": False}).problems(shared)][-1] == "not-shared"
    row = targets_report(home)[0]
    assert row["problems"][0]["what"] == "The folder on box cannot be used." and row["looked_at"]
    assert any("problem: The folder" in line for line in look_words(box, look))


def draft_of(home: Home, preset: str, model: Path, target: str):  # type: ignore[no-untyped-def]
    chosen = find_preset(preset, gallery_folders())
    return open_draft(chosen, model, home=home, host=read_host(), config_only=True, target=target)


def test_a_plan_for_a_target_counts_with_its_gpus_host_and_interpreters(
    home: Home, box: Target, tmp_path: Path
) -> None:
    keep_look(home, box, gpus=2)
    model = make_config_folder(tmp_path / "llama")
    draft = draft_of(home, "llama-3.1-8b-fp8-h100", model, "box")
    report = draft.report()
    assert report.planned_for == "planned for H100 SXM (GPU 0 of target box)" and report.target == "box"
    assert not any(advice.code in ("no-gpu", "no-environment") for advice in (*report.elsewhere, *report.advice))
    build = next(step for step in report.steps if step.kind == "build")
    assert build.lanes == ("target:box:gpu:0",)
    argv = list(build.argv)
    assert argv[:3] == [sys.executable, "-m", "workbench.remote.relay"]
    assert build.estimate.disk_bytes is not None
    assert argv[argv.index("--room") + 1] == str(int(build.estimate.disk_bytes.low))
    assert Target.model_validate_json(argv[argv.index("--target") + 1]) == box
    assert argv[argv.index("--module") + 1] == "workbench.workers.trtllm.build"
    assert argv[argv.index("--python") + 1] == "/opt/trt/bin/python"
    assert "CUDA_VISIBLE_DEVICES=0" in argv and (Path(argv[argv.index("--code") + 1]) / "workbench/core").is_dir()
    assert "remote" in os.listdir(Path(build.env["PYTHONPATH"]) / "workbench")
    plan = plan_build(draft.toolchain, replace(draft.request(), model_digest="0" * 64))
    assert plan.target == "box" and Machine.model_validate(plan.machine).gpus == ("H100 SXM", "H100 SXM")
    assert Machine.model_validate(plan.machine).cpu == "Other CPU"


def test_a_cpu_engine_is_keyed_by_the_targets_cpu(home: Home, box: Target, tmp_path: Path) -> None:
    keep_look(home, box)
    model = make_tiny_folder(tmp_path / "tiny")
    there = draft_of(home, "cpu-int8", model, "box").report(digest="0" * 64)
    build = next(step for step in there.steps if step.kind == "build")
    assert build.key_facts["cpu"].startswith("Other CPU")
    assert build.lanes == ("target:box:cpu",)


def test_too_few_gpus_no_room_and_no_interpreter_there_stand_in_the_way(
    home: Home, box: Target, tmp_path: Path
) -> None:
    model = make_config_folder(tmp_path / "llama")
    keep_look(home, box, gpus=1, free=2**20)
    report = draft_of(home, "llama-3.3-70b-fp8-2xh100", model, "box").report()
    gpus = next(advice for advice in report.elsewhere if advice.code == "no-gpu")
    assert gpus.text.endswith("not in target box.") and "1 x H100 SXM on target box" in gpus.arithmetic
    room = next(advice for advice in report.advice if advice.code == "disk-there")
    assert "1 MiB free at /data/wb" in room.arithmetic and room.estimate_only
    keep_look(home, box, gpus=1, pythons={})
    with pytest.raises(BlockedError, match="No interpreter there holds") as raised:
        refuse_blocked(draft_of(home, "llama-3.1-8b-fp8-h100", model, "box").report())
    assert "workbench target change box --python tensorrt_llm=" in raised.value.fix


def test_slurm_is_told_how_many_gpus_and_says_itself_which(home: Home, tmp_path: Path) -> None:
    target = make_target(name="c", kind="slurm", folder="/scratch/wb", partition="h100")
    save_target(home, target)
    keep_look(home, target, gpus=8)
    report = draft_of(home, "llama-3.3-70b-fp8-2xh100", make_config_folder(tmp_path / "llama"), "c").report()
    build = next(step for step in report.steps if step.kind == "build")
    argv = list(build.argv)
    assert argv[argv.index("--gpus") + 1] in ("1", "2") and not any("CUDA_VISIBLE" in word for word in argv)
    assert build.lanes == ()
    verify = next(step for step in report.steps if step.kind == "verify")
    told = json.loads(verify.argv[list(verify.argv).index("--target") + 1])
    assert told["partition"] == "h100" and "--gpus" in verify.argv


@pytest.mark.parametrize(
    ("gres", "count", "problem"),
    [
        ("gpu:h100:8(S:0-1)", 8, ""),
        ("gpu:a100_80gb:4", 4, ""),
        ("gpu:8", 0, "8 GPUs whose kind Slurm does not tell"),
        ("gpu:tpu9:2", 0, "of a kind that is not known, tpu9"),
        ("", 0, "the partition has no GPUs"),
    ],
)
def test_gpus_by_what_sinfo_says(gres: str, count: int, problem: str) -> None:
    gpus, said = gpus_of_gres(gres)
    assert len(gpus) == count and problem in said
    assert all(isinstance(gpu, GpuSpec) and gpu.index == index for index, gpu in enumerate(gpus))


def test_the_program_for_other_machines_needs_nothing_and_is_read_by_an_old_python() -> None:
    import workbench.workers.machine as machine

    path = Path(machine.__file__)
    ast.parse(path.read_text(), feature_version=(3, 6))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-", json.dumps({"folder": str(path)})],
        input=path.read_bytes(),
        capture_output=True,
        check=True,
        cwd="/",
    )
    found = json.loads(done.stdout)
    assert found["schema"] == machine.SCHEMA and found["folder"]["problem"].endswith("is a file")

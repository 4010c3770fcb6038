"""Toolchain environments are made by real jobs from folders of wheels: checked, gone on with, used, taken away."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.fakes.wheels import make_wheel, make_wheels
from workbench.core.environment_record import EnvironmentRecord, read_record, write_record
from workbench.core.errors import BadInputError, BlockedError
from workbench.core.gpu import GpuSpec, find_gpu
from workbench.core.home import Home
from workbench.core.plan import Plan
from workbench.core.wheels import Interpreter, read_pins, requirement_lines, wheels_in
from workbench.jobs import client
from workbench.toolchains.asking import WorkerSaidError, ask_worker
from workbench.toolchains.base import Environment
from workbench.toolchains.code import package_root
from workbench.toolchains.environments import choose_environment, find_environments
from workbench.toolchains.install.checks import Check, Surroundings, Where, checks_of, read_surroundings, refuse
from workbench.toolchains.install.interpreter import Python, ask_python, choose_python
from workbench.toolchains.install.manage import inventory, uninstall, users_of, wanted_of
from workbench.toolchains.install.plan import bundle_plan, free_name, install_checks, install_plan, plan_install
from workbench.toolchains.install.recipes import RECIPES, recipe_of
from workbench.workers.protocol import Channel, WorkerError
from workbench.workers.wheel_fetch import refuse_full, run_pip, sha256_of

SITE = "WORKBENCH_SITE"
LENT = "import site; site.addsitedir({path!r})"


@pytest.fixture(autouse=True)
def _no_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SITE, str(tmp_path / "site"))


def fake_environment(home: Home, toolchain: str, name: str, record: EnvironmentRecord | None = None) -> Path:
    """A folder with an interpreter that is this one's."""
    folder = home.environments / toolchain / name
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).parent}\nversion = {sys.version.split()[0]}\n")
    if record is not None:
        write_record(folder, record)
    return folder


# --- recipes, names, interpreters ---


def test_the_shipped_lists_and_pins_are_there() -> None:
    for recipe in RECIPES.values():
        for each in (*recipe.lists, *recipe.lists_gpu):
            for path in (each.file, each.lock, each.constraints):
                assert path is None or path.is_file(), path
        assert recipe.installed.source and recipe.wheels.source


def test_tensorrt_llm_is_installed_between_two_calls_for_the_same_torch(home: Home) -> None:
    files = [each.file.read_text() for each in recipe_of("tensorrt_llm").lists]
    assert "torch==2.9.1+cu130" in files[0] and "tensorrt-llm==1.2.1" in files[1] and "-r requirements-1" in files[2]
    assert recipe_of("tensorrt_llm").pythons == ("3.12", "3.10")


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "-x"])
def test_names_that_are_no_folder_of_ours_are_refused(home: Home, name: str) -> None:
    with pytest.raises(BadInputError, match="no name"):
        plan_install(home, "modelopt", name=name)


def test_the_name_of_a_making_that_was_not_finished_is_taken_again(home: Home) -> None:
    assert free_name(home, "modelopt") == "default"
    fake_environment(home, "modelopt", "default", EnvironmentRecord(complete=True))
    assert free_name(home, "modelopt") == "default-2"
    fake_environment(home, "modelopt", "default-2", EnvironmentRecord(done=("environment",)))
    assert free_name(home, "modelopt") == "default-2"
    assert plan_install(home, "modelopt").goes_on
    with pytest.raises(BadInputError, match="There is an environment default"):
        plan_install(home, "modelopt", name="default")


@pytest.mark.parametrize(
    ("gpus", "file"), [((), "requirements.txt"), ((find_gpu("H100 SXM"),), "requirements-gpu.txt")]
)
def test_pytorch_gets_torchao_where_a_gpu_is(gpus: tuple[GpuSpec, ...], file: str, home: Home) -> None:
    install = plan_install(home, "pytorch", name="mine", gpus=lambda: gpus)
    assert install.lists[0].file.name == file
    assert install_plan(install, home).title == "PyTorch environment 'mine'"


@pytest.mark.parametrize("name", ["onnxruntime", "tensorrt_rtx"])
def test_onnx_runtime_comes_in_its_build_for_gpus_where_one_is(name: str, home: Home) -> None:
    plain = plan_install(home, name, name="mine", gpus=tuple)
    gpu = plan_install(home, name, name="theirs", gpus=lambda: (find_gpu("RTX 4090"),))
    for install, wanted, other in ((plain, "onnxruntime", "onnxruntime-gpu"), (gpu, "onnxruntime-gpu", "onnxruntime")):
        asked = {Requirement(line).name for line in requirement_lines(install.lists[0].file)}
        checked = install_plan(install, home).steps[0].settings["packages"]
        assert wanted in asked and wanted in checked and other not in asked and other not in checked
        assert ("tensorrt-rtx-cu13-libs" in asked) is (name == "tensorrt_rtx")
    assert recipe_of(name).pythons == ("3.12", "3.11"), "onnxruntime 1.31 wants Python 3.11"


def test_what_one_environment_of_both_onnx_toolchains_pins_the_other_does_too() -> None:
    one, other = (recipe_of(name).lists[0] for name in ("onnxruntime", "tensorrt_rtx"))
    for version in ("3.11", "3.12"):
        pins = [read_pins(each.lock, Interpreter(version)) for each in (one, other) if each.lock]
        assert pins[0].items() <= pins[1].items()
        assert {"tensorrt-rtx-cu13-libs", "onnxruntime-ep-nv-tensorrt-rtx-cu13"} <= pins[1].keys()
        wanted = {Requirement(line).name for line in requirement_lines(other.file)}
        assert wanted <= pins[1].keys()


def test_a_python_that_does_not_fit_is_refused_with_those_that_do(tmp_path: Path) -> None:
    recipe = replace(recipe_of("tensorrt_llm"), pythons=("3.9",))
    with pytest.raises(BadInputError, match="cannot be installed with this Python") as caught:
        choose_python(recipe, sys.executable)
    assert "wanted: 3.9" in caught.value.evidence
    with pytest.raises(BlockedError, match="There is no Python") as none:
        choose_python(recipe, environ={"PATH": str(tmp_path)})
    assert "python3.9" in none.value.evidence and "--python" in none.value.fix
    with pytest.raises(BadInputError, match="no Python that"):
        ask_python("/bin/true", "given")
    found = ask_python(sys.executable, "given")
    assert found.version == sys.version.split()[0] and found.glibc >= (2, 17)


def test_one_for_all_users_is_made_where_the_settings_say(home: Home, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.toml").write_text(f'[folders]\ntoolchains = ["{tmp_path / "opt"}"]\n')
    install = plan_install(home, "modelopt", system=True)
    assert install.folder == tmp_path / "opt" / "modelopt" / "default"
    assert not (tmp_path / "opt").exists(), "nothing is written before the job"


def test_an_index_that_is_locked_is_not_gone_around(home: Home, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    site = tmp_path / "site" / "a.toml"
    site.write_text('locked = ["network"]\n[network]\npackage_index = "https://lab/simple"\n')
    assert plan_install(home, "openvino").where.index == "https://lab/simple"
    assert plan_install(home, "openvino", index="https://lab/simple").where.index == "https://lab/simple"
    for options in ({"index": "https://other/simple"}, {"extra_indexes": ("https://other/simple",)}):
        with pytest.raises(BlockedError, match="administrator has locked") as caught:
            plan_install(home, "openvino", **options)  # type: ignore[arg-type]
        assert str(site) in caught.value.evidence and caught.value.failure.code == "locked"
        with pytest.raises(BlockedError, match="administrator has locked"):
            bundle_plan(home, "openvino", tmp_path / "out", python_version="3.12", **options)  # type: ignore[arg-type]
    site.write_text('[network]\npackage_index = "https://lab/simple"\n')
    assert plan_install(home, "openvino", index="https://other/simple").where.index == "https://other/simple"


def test_an_environment_that_has_no_record_is_not_made_anew_over(home: Home) -> None:
    folder = fake_environment(home, "openvino", "default")  # as version 0.1.0 made them
    with pytest.raises(BadInputError, match="There is an environment default"):
        plan_install(home, "openvino", name="default")
    assert plan_install(home, "openvino").name == "default-2" and folder.is_dir()


# --- checks ---

PYTHON = Python("/x/python3.12", "given", "3.12.1", (2, 36))
NETWORK = {"indexes": [], "find_links": [], "no_index": False, "proxies": {}, "route": True, "reached": None}
AROUND = Surroundings(10**12, NETWORK, {"found": [], "driver": None}, True, None, {})


def states(
    around: Surroundings = AROUND, where: Where | None = None, name: str = "openvino", python: Python = PYTHON
) -> dict[str, str]:
    recipe = recipe_of(name)
    return {c.name: c.state for c in checks_of(recipe, recipe.lists, python, where or Where(), around)}


def test_each_check_says_what_is_there_and_what_is_wanted(tmp_path: Path) -> None:
    assert set(states().values()) == {"ok"}
    assert states(replace(AROUND, free_bytes=10**9))["disk"] == "blocked"
    assert states(replace(AROUND, free_bytes=4 * 10**9))["disk"] == "warn"
    assert states(python=replace(PYTHON, glibc=(2, 17)))["C library"] == "blocked"
    assert states(python=replace(PYTHON, glibc=(0, 0)))["C library"] == "blocked"
    assert states(where=Where(offline="locked away"))["packages"] == "blocked"
    assert states(replace(AROUND, network={**NETWORK, "route": False}))["packages"] == "blocked"
    assert states(where=Where(wheels=tmp_path))["wheels"] == "blocked"
    assert states(where=Where(wheels=tmp_path / "none"))["wheels"] == "blocked"


def test_what_tensorrt_llm_needs_besides_is_looked_at() -> None:
    assert states(name="tensorrt_llm")["CUDA 13 packages"] == "blocked", "the usual index lacks them"
    given = Where(extra_indexes=("file:///index",))
    found = states(name="tensorrt_llm", where=given)
    assert found["CUDA 13 packages"] == "warn", "an index is named, and nobody has asked it"
    assert found["GPU"] == found["driver"] == found["CUDA toolkit"] == "warn" and found["MPI"] == "ok"
    no_mpi = replace(AROUND, mpi_library=False, gpus={"found": [{"name": "H100"}], "driver": "570.86.10"})
    found = states(no_mpi, given, "tensorrt_llm")
    assert (found["MPI"], found["driver"], found["GPU"]) == ("blocked", "warn", "ok")
    new = replace(AROUND, gpus={"found": [{"name": "H100"}], "driver": "580.65.06"})
    assert states(new, given, "tensorrt_llm")["driver"] == "ok"


def test_a_folder_of_wheels_that_lacks_some_names_them_before_a_job_is_made(home: Home, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    make_wheels(wheels, "modelopt", without=("pulp", "pyarrow"))
    install = plan_install(home, "modelopt", wheels=wheels)

    def checked() -> tuple[Check, ...]:
        return checks_of(install.recipe, install.lists, install.python, install.where, AROUND)

    checks = checked()
    with pytest.raises(BlockedError) as caught:
        install_plan(install, home, checks)
    assert "pulp==3.3.2" in caught.value.evidence and "pyarrow==" in caught.value.evidence
    assert "workbench toolchain bundle" in caught.value.fix
    make_wheels(wheels, "modelopt")
    refuse(checked(), "it")
    (wheels / "manifest.json").write_text(json.dumps({"wheels": {p.name: {"bytes": 1} for p in wheels.glob("pulp*")}}))
    (check,) = [c for c in checked() if c.name == "wheels"]
    assert check.state == "blocked" and "pulp" in check.text


def test_settings_say_where_packages_come_from(home: Home, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.toml").write_text('[network]\noffline = true\npackage_index = "file:///mirror"\n')
    install = plan_install(home, "openvino")
    assert install.where.index == "file:///mirror" and "network.offline" in install.where.offline
    with pytest.raises(BlockedError, match="fetched"):
        bundle_plan(home, "openvino", tmp_path / "out")
    (tmp_path / "site" / "b.toml").write_text(f'[network]\nwheels = "{tmp_path}"\n')
    assert plan_install(home, "openvino").where.wheels == tmp_path
    with pytest.raises(BadInputError, match=r"cannot be installed with Python 3\.11"):
        (tmp_path / "site" / "a.toml").unlink()
        bundle_plan(home, "tensorrt_llm", tmp_path / "out", python_version="3.11")


# --- the job ---


def run(home: Home, wheels: Path, name: str = "mine") -> tuple[client.JobFolder, client.JobState]:
    install = plan_install(home, "modelopt", name=name, wheels=wheels)
    folder = client.start(home, install_plan(install, home, install_checks(install)))
    return folder, client.wait(folder, 240)


@pytest.mark.slow
def test_an_environment_that_failed_goes_on_and_is_found_used_and_taken_away(home: Home, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    # pydantic and psutil are this interpreter's: the probe in the new environment runs with them.
    here = next(path for path in sys.path if path.endswith("site-packages"))
    make_wheels(wheels, "modelopt")
    make_wheel(
        wheels, "nvidia-modelopt", pin(wheels, "nvidia-modelopt"), modules=("modelopt",), code="import gone_away"
    )
    make_wheel(wheels, "psutil", pin(wheels, "psutil"), modules=("lent_psutil",))
    lend = home.environments / "modelopt" / "mine"
    mask = os.umask(0o077)  # as a careful administrator's
    try:
        folder, state = run(home, wheels)
    finally:
        os.umask(mask)
    log = folder.log_path.read_text()
    assert (lend / "bin").stat().st_mode & 0o777 == 0o755, "one for all users is read by all"
    assert state.status == "failed" and state.failure is not None, log
    record = read_record(lend)
    assert record is not None and not record.complete and record.done == ("environment", "list 1")
    assert "--no-index" in log and "Successfully installed" in log
    (found,) = [e for e in find_environments(wanted_of("modelopt"), home, {}) if e.made]
    assert "not finished" in found.problem and "--as mine" in found.fix
    with pytest.raises(BlockedError) as caught:
        choose_environment(wanted_of("modelopt"), home, {})
    assert caught.value.fix == found.fix
    # What was wrong is mended, and the same job goes on: nothing is installed again.
    (packages,) = lend.glob("lib/python3*/site-packages")
    (packages / "modelopt" / "__init__.py").write_text("")
    (packages / "lent.pth").write_text(f"import sys; sys.path.append({here!r})\n")
    client.retry(folder)
    state = client.wait(folder, 120)
    log = folder.log_path.read_text()
    assert state.status == "done", log
    assert log.count("Successfully installed") == 1
    rows = [row for row in inventory(home, {}) if row.toolchain == "modelopt" and row.name]
    assert [(row.name, row.environment.made) for row in rows] == [("mine", True)]
    with subprocess.Popen([str(lend / "bin" / "python"), "-c", "input()"], stdin=subprocess.PIPE) as process:
        while not users_of(lend):
            time.sleep(0.02)
        with pytest.raises(BlockedError, match="in use") as busy:
            uninstall(home, "modelopt", "mine", {})
        assert f"process {process.pid}" in busy.value.evidence
    assert uninstall(home, "modelopt", "mine", {}) == lend
    assert list(lend.parent.iterdir()) == []
    with pytest.raises(BadInputError, match="There is no environment mine"):
        uninstall(home, "modelopt", "mine", {})


def pin(folder: Path, name: str) -> str:
    """The version of a wheel that is there."""
    return next(str(wheel.version) for wheel in wheels_in(folder) if wheel.name == name)


@pytest.mark.slow
def test_one_that_is_cancelled_leaves_nothing(home: Home, tmp_path: Path) -> None:
    make_wheels(tmp_path / "wheels", "modelopt")
    install = plan_install(home, "modelopt", name="mine", wheels=tmp_path / "wheels")
    folder = client.start(home, install_plan(install, home))
    end = time.monotonic() + 60
    while not (install.folder / "pyvenv.cfg").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    assert client.cancel(folder)
    assert client.wait(folder, 60).status == "cancelled"
    assert not install.folder.exists()


@pytest.mark.slow
def test_one_that_two_ask_for_is_made_once(home: Home, tmp_path: Path) -> None:
    make_wheels(tmp_path / "wheels", "modelopt")
    install = plan_install(home, "modelopt", name="mine", wheels=tmp_path / "wheels")
    plan = install_plan(install, home)
    plan = replace_step(plan, imports=False)
    first, second = client.start(home, plan), client.start(home, plan)
    states = [client.wait(first, 240), client.wait(second, 240)]
    assert [state.status for state in states] == ["done", "done"]
    assert states[0].steps[0].result == states[1].steps[0].result
    logs = first.log_path.read_text() + second.log_path.read_text()
    assert logs.count("Successfully installed") == 1 and "it is there already" in logs
    other = client.start(home, replace_step(plan, imports=False, toolchain="openvino"))
    state = client.wait(other, 60)
    assert state.failure is not None and state.failure.code == "output-exists" and read_record(install.folder)


def replace_step(plan: Plan, **settings: object) -> Plan:
    """The plan whose one step has other settings."""
    (step,) = plan.steps
    return plan.model_copy(update={"steps": (step.model_copy(update={"settings": {**step.settings, **settings}}),)})


@pytest.mark.slow
def test_lists_are_installed_in_their_order_within_their_limits(tmp_path: Path) -> None:
    wheels, lists = tmp_path / "wheels", tmp_path / "lists"
    lists.mkdir()
    for name, version in (("torch", "1.0+cu1"), ("torch", "1.1"), ("below", "1.0"), ("below", "2.0")):
        make_wheel(wheels, name, version)
    make_wheel(wheels, "top", "1.0", ["below", "torch>=1.1", "torchvision"])
    make_wheel(wheels, "torchvision", "0.1")
    for name, text in (("1", "torch==1.0+cu1\n"), ("2", "top\n"), ("limits", "below<2\n")):
        (lists / name).write_text(text)
    rows: list[dict[str, str]] = [{"file": str(lists / each)} for each in ("1", "2", "1")]
    rows[1]["constraints"] = str(lists / "limits")
    here = Environment("any", (sys.executable,), "this one", worker_path=str(package_root()))
    settings: dict[str, object] = {"folder": str(tmp_path / "made"), "lists": rows, "wheels": str(wheels)}
    made = ask_worker(here, "environment", {**settings, "packages": ["top", "torch"]}, 120.0)
    found = {name: version for name, version in made["versions"].items() if name not in ("pip", "setuptools")}
    # The third list puts back the build that the second took away; torchvision is then one for another build.
    assert found == {"torch": "1.0+cu1", "top": "1.0", "below": "1.0"}
    record = read_record(tmp_path / "made")
    assert record is not None and record.complete and record.done == ("environment", "list 1", "list 2", "list 3")


@pytest.mark.slow
def test_a_damaged_wheel_is_named_and_nothing_is_installed(home: Home, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    make_wheels(wheels, "modelopt")
    rows = {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in wheels.glob("*.whl")}
    (pulp,) = wheels.glob("pulp*.whl")
    right, rows[pulp.name]["sha256"] = rows[pulp.name]["sha256"], "0" * 64
    (wheels / "manifest.json").write_text(json.dumps({"schema": 1, "wheels": rows}))
    _, state = run(home, wheels)
    assert state.failure is not None and re.search(r"A wheel is damaged: pulp-.*whl", state.failure.what)
    rows[pulp.name]["sha256"] = right
    (wheels / "manifest.json").write_text(json.dumps({"schema": 1, "wheels": rows}))
    later = wheels / pulp.name.replace("-py3-", "-7-py3-")  # a build of the same version, which pip prefers
    shutil.copyfile(pulp, later)
    _, state = run(home, wheels)
    assert state.failure is not None and f"not in the manifest of its folder: {later.name}" in state.failure.what


@pytest.mark.slow
def test_a_folder_that_holds_something_else_is_not_touched(home: Home, tmp_path: Path) -> None:
    make_wheels(tmp_path / "wheels", "modelopt")
    taken = home.environments / "modelopt" / "mine"
    taken.mkdir(parents=True)
    (taken / "letter").write_text("dear reader")
    _, state = run(home, tmp_path / "wheels")
    assert state.failure is not None and "holds something else" in state.failure.what
    assert (taken / "letter").read_text() == "dear reader"


# --- those that are there ---


@pytest.mark.slow
def test_the_settings_and_the_administrator_name_environments(home: Home, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    opt = tmp_path / "opt"
    shared = fake_environment(Home(tmp_path / "other"), "openvino", "lab").rename(tmp_path / "lab")
    (opt / "openvino").mkdir(parents=True)
    shared = shared.rename(opt / "openvino" / "lab")
    (site / "a.toml").write_text(
        f'[folders]\ntoolchains = ["{opt}"]\n[toolchains.openvino]\npython = "{sys.executable}"\n'
    )
    found = find_environments(wanted_of("openvino"), home, {SITE: str(site)})
    assert found[0].named and found[0].origin == f"named in the settings: {site / 'a.toml'}"
    assert found[1].origin == f"put there by the administrator: {shared}" and not found[1].named
    with pytest.raises(BlockedError, match="put there by the administrator"):
        uninstall(home, "openvino", "lab", {SITE: str(site)})
    assert shared.is_dir()
    ours = fake_environment(Home(tmp_path / "other"), "openvino", "ours", EnvironmentRecord(complete=True))
    ours = ours.rename(opt / "openvino" / "ours")
    assert uninstall(home, "openvino", "ours", {SITE: str(site)}) == ours and not ours.exists()
    (site / "a.toml").write_text('[toolchains.openvino]\nprefix = ["/nowhere/docker", "python3"]\n')
    (first, *_) = find_environments(wanted_of("openvino"), home, {SITE: str(site)})
    assert first.named and first.problem and first.prefix == ("/nowhere/docker", "python3")


@pytest.mark.slow
def test_the_newest_is_first_and_one_whose_interpreter_is_gone_is_told_of(home: Home) -> None:
    for name, made_at in (("a", 10.0), ("b", 30.0), ("c", 20.0)):
        fake_environment(home, "openvino", name, EnvironmentRecord(complete=True, made_at=made_at))
    found = [e for e in find_environments(wanted_of("openvino"), home, {}) if e.made]
    assert [e.origin[-1] for e in found] == ["b", "c", "a"]
    python = home.environments / "openvino" / "b" / "bin" / "python"
    python.unlink()
    python.symlink_to("/opt/gone/bin/python3.12")
    gone = next(e for e in find_environments(wanted_of("openvino"), home, {}) if e.origin.endswith(": b"))
    assert gone.problem == "was made with /opt/gone/bin/python3.12, which is gone"
    assert "workbench toolchain uninstall openvino b" in gone.fix
    config = home.environments / "openvino" / "c" / "pyvenv.cfg"
    config.write_text("version = 3.8.2\n")
    other = next(e for e in find_environments(wanted_of("openvino"), home, {}) if e.origin.endswith(": c"))
    assert other.problem.startswith("was made with Python 3.8, and its interpreter is 3.")


@pytest.mark.parametrize("part", ["", "openvino", "openvino/lab", "openvino/lab/bin"])
def test_what_everybody_may_have_put_there_for_all_users_is_not_run(home: Home, tmp_path: Path, part: str) -> None:
    (tmp_path / "site").mkdir()
    opt, mark = tmp_path / "opt", tmp_path / "ran"
    python = opt / "openvino" / "lab" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\ntouch {mark}\n")
    python.chmod(0o755)
    (tmp_path / "site" / "a.toml").write_text(f'[folders]\ntoolchains = ["{opt}"]\n')
    (opt / part).chmod(0o777)
    found = next(e for e in find_environments(wanted_of("openvino"), home, dict(os.environ)) if "lab" in e.origin)
    assert found.problem == f"is not run: everybody may write to {opt / part}" and not found.usable
    assert not mark.exists()
    (opt / part).chmod(0o755)
    found = next(e for e in find_environments(wanted_of("openvino"), home, dict(os.environ)) if "lab" in e.origin)
    assert mark.exists() and "is not run" not in found.problem


def test_one_that_is_being_made_is_not_taken_away(home: Home) -> None:
    with subprocess.Popen([sys.executable, "-m", "workbench.workers.environment"], stdin=subprocess.PIPE) as maker:
        fake_environment(home, "openvino", "mine", EnvironmentRecord(done=("environment",), pid=maker.pid))
        (found,) = [e for e in find_environments(wanted_of("openvino"), home, {}) if e.made]
        assert found.problem == "is being made"
        with pytest.raises(BlockedError, match="in use"):
            uninstall(home, "openvino", "mine", {})


def test_a_making_whose_number_another_program_has_now_was_not_finished(home: Home) -> None:
    fake_environment(home, "openvino", "mine", EnvironmentRecord(done=("environment",), pid=os.getppid()))
    (found,) = [e for e in find_environments(wanted_of("openvino"), home, {}) if e.made]
    assert found.problem == "was not finished (done: environment)" and "--as mine" in found.fix
    uninstall(home, "openvino", "mine", {})


@pytest.mark.slow
def test_a_variable_counts_before_a_prefix_of_the_settings(home: Home, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.toml").write_text('[toolchains.openvino]\nprefix = ["/nowhere/docker", "python3"]\n')
    environ = {SITE: str(tmp_path / "site"), "WORKBENCH_OPENVINO_PYTHON": sys.executable}
    found = find_environments(wanted_of("openvino"), home, environ)
    assert [e.prefix[0] for e in found] == [sys.executable, "/nowhere/docker"]


@pytest.mark.slow
def test_an_interpreter_that_was_replaced_is_asked_anew(home: Home, tmp_path: Path) -> None:
    folder = fake_environment(home, "openvino", "mine", EnvironmentRecord(complete=True))
    (folder / "lib" / "python3.12" / "site-packages").mkdir(parents=True)
    (folder / "bin" / "python").unlink()
    (folder / "bin" / "python").symlink_to(tmp_path / "base")
    base = f'#!/bin/sh\nPYTHONPATH=$PYTHONPATH:{":".join(sys.path)} exec {sys.executable} "$@"\n'
    for text, problem in ((base, False), ("#!/bin/sh\nexit 1\n", True)):
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").chmod(0o755)
        (tmp_path / "new").replace(tmp_path / "base")  # as an upgrade does
        found = next(e for e in find_environments(wanted_of("openvino"), home, {}) if e.made)
        assert found.problem.startswith("could not be asked") is problem, found.problem


def test_links_and_strange_names_are_not_uninstalled(home: Home, tmp_path: Path) -> None:
    (home.environments / "openvino").mkdir(parents=True)
    os.symlink(tmp_path, home.environments / "openvino" / "elsewhere")
    with pytest.raises(BlockedError, match="a link"):
        uninstall(home, "openvino", "elsewhere", {})
    for name in ("..", "", "../openvino"):
        with pytest.raises(BadInputError, match="There is no environment"):
            uninstall(home, "openvino", name, {})
    assert tmp_path.is_dir()


@pytest.mark.slow
def test_the_machine_is_looked_at_for_real(home: Home) -> None:
    around = read_surroundings(home.environments / "openvino" / "default", dict(os.environ))
    assert around.free_bytes > 0 and isinstance(around.mpi_library, bool)


def test_a_crash_of_pip_is_told_by_its_last_line_and_a_full_disk_as_such() -> None:
    # As pip writes it when a wheel that it has fetched does not fit on the disk.
    program = "print('ERROR: Exception:', flush=True); raise OSError(28, 'No space left on device')"
    with Path(os.devnull).open("wb", buffering=0) as nowhere:
        error = run_pip([sys.executable, "-c", program], Channel(nowhere, iter(())))
    assert error == "OSError: [Errno 28] No space left on device"
    with pytest.raises(WorkerError, match="disk is full") as caught:
        refuse_full(error)
    assert caught.value.code == "disk-full" and "Free space" in caught.value.hint


@pytest.mark.skipif(os.getuid() != 0, reason="the folder is one that root may not write either")
def test_a_bundle_whose_folder_cannot_be_written_says_so(home: Home) -> None:
    step = bundle_plan(home, "openvino", Path("/proc/wheels"), python_version="3.12").steps[0]
    here = Environment("openvino", (sys.executable,), "this one", worker_path=str(package_root()))
    with pytest.raises(WorkerSaidError, match="cannot be written") as caught:
        ask_worker(here, "bundle", dict(step.settings), 60.0)
    said = caught.value.message
    assert said.code == "not-written" and "/proc/wheels" in said.cause and "--out" in said.hint

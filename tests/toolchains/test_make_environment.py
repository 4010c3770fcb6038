"""A toolchain environment is made by a real job: venv, pip, from wheels alone."""

from __future__ import annotations

import subprocess
import time
import zipfile
from pathlib import Path

import pytest

from workbench.core.errors import BadInputError
from workbench.core.gpu import GpuSpec, find_gpu
from workbench.core.home import Home
from workbench.core.host import read_host
from workbench.jobs import client
from workbench.toolchains.doctor import machine_problems, machine_report
from workbench.toolchains.environments import find_environments
from workbench.toolchains.make_environment import REQUIREMENTS, WITH_GPU, environment_plan, free_name
from workbench.toolchains.tensorrt_llm.toolchain import TensorRtLlm


def make_wheel(folder: Path, name: str, version: str) -> None:
    """A wheel with one module, as pip takes it."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(path, text)


@pytest.mark.slow
def test_an_environment_from_a_folder_of_wheels_is_found_by_the_doctor(home: Home, tmp_path: Path) -> None:
    make_wheel(tmp_path / "wheels", "nvidia_modelopt", "0.40.0")
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("nvidia-modelopt>=0.37  # quantization\n")
    plan = environment_plan(home, "modelopt", "mine", wheels=tmp_path / "wheels", requirements=wanted)
    folder = client.start(home, plan)
    state = client.wait(folder, 240)
    assert state.status == "done", folder.log_path.read_text()
    log = folder.log_path.read_text()
    assert "--no-index" in log and "Successfully installed nvidia-modelopt-0.40.0" in log
    (part,) = TensorRtLlm().parts
    found = next(each for each in find_environments(part, home, {}) if "made by the workbench: mine" in each.origin)
    assert found.prefix == (str(home.environments / "modelopt" / "mine" / "bin" / "python"),)
    ask = [*found.prefix, "-c", "import importlib.metadata as m, nvidia_modelopt; print(m.version('nvidia-modelopt'))"]
    assert subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip() == "0.40.0"
    assert free_name(home, "modelopt") == "default"


@pytest.mark.slow
def test_one_that_fails_says_why_and_leaves_nothing(home: Home, tmp_path: Path) -> None:
    make_wheel(tmp_path / "wheels", "something", "1.0")
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("nvidia-modelopt>=0.37\n")
    folder = client.start(
        home, environment_plan(home, "modelopt", "mine", wheels=tmp_path / "wheels", requirements=wanted)
    )
    state = client.wait(folder, 240)
    assert state.status == "failed" and state.failure is not None
    assert "could not be installed" in state.failure.what and "nvidia-modelopt" in state.failure.evidence
    assert not (home.environments / "modelopt" / "mine").exists()


@pytest.mark.slow
def test_one_that_is_cancelled_leaves_nothing(home: Home, tmp_path: Path) -> None:
    make_wheel(tmp_path / "wheels", "nvidia_modelopt", "0.40.0")
    folder = client.start(home, environment_plan(home, "modelopt", "mine", wheels=tmp_path / "wheels"))
    made = home.environments / "modelopt" / "mine"
    end = time.monotonic() + 60
    while not (made / "pyvenv.cfg").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    assert client.cancel(folder)
    assert client.wait(folder, 60).status == "cancelled"
    assert not made.exists()


def test_a_folder_that_holds_something_else_is_not_touched(home: Home, tmp_path: Path) -> None:
    make_wheel(tmp_path / "wheels", "something", "1.0")
    taken = home.environments / "modelopt" / "mine"
    taken.mkdir(parents=True)
    (taken / "letter").write_text("dear reader")
    folder = client.start(home, environment_plan(home, "modelopt", "mine", wheels=tmp_path / "wheels"))
    state = client.wait(folder, 60)
    assert state.failure is not None and "holds something else" in state.failure.what
    assert (taken / "letter").read_text() == "dear reader"
    assert free_name(home, "modelopt") == "default"


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "-x"])
def test_names_that_are_no_folder_of_ours_are_refused(home: Home, name: str) -> None:
    with pytest.raises(BadInputError, match="no name"):
        environment_plan(home, "modelopt", name)


def test_an_empty_folder_of_wheels_is_refused_before_a_job_is_made(home: Home, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no wheels"):
        environment_plan(home, "modelopt", "x", wheels=tmp_path)


def test_the_shipped_lists_are_there() -> None:
    assert all(path.is_file() for path in (*REQUIREMENTS.values(), *WITH_GPU.values()))


@pytest.mark.parametrize(
    ("gpus", "file"), [((), "requirements.txt"), ((find_gpu("H100 SXM"),), "requirements-gpu.txt")]
)
def test_pytorch_gets_torchao_where_a_gpu_is(gpus: tuple[GpuSpec, ...], file: str, home: Home, tmp_path: Path) -> None:
    plan = environment_plan(home, "pytorch", "mine", gpus=lambda: gpus)
    assert plan.title == "PyTorch environment 'mine'"
    assert Path(str(plan.steps[0].settings["requirements"])).name == file
    assert environment_plan(home, "modelopt", "mine", gpus=lambda: gpus).steps[0].settings["requirements"] == str(
        REQUIREMENTS["modelopt"]
    )
    with pytest.raises(BadInputError) as caught:
        environment_plan(home, "pytorch", "mine", wheels=tmp_path, gpus=lambda: gpus)
    assert f"{file} -d FOLDER" in caught.value.failure.fix, "the wheels that are asked for are those that are taken"


@pytest.mark.slow
def test_a_pytorch_environment_that_the_workbench_made_and_lacks_something_is_a_problem(
    home: Home, tmp_path: Path
) -> None:
    make_wheel(tmp_path / "wheels", "torch", "2.13.0")
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("torch>=2.8\n")
    plan = environment_plan(home, "pytorch", "mine", wheels=tmp_path / "wheels", requirements=wanted)
    assert client.wait(client.start(home, plan), 240).status == "done"
    report = machine_report(home, read_host(), {"PATH": "/nowhere"})
    said = [problem["what"] for problem in machine_problems(report) if "PyTorch" in problem["what"]]
    assert len(said) == 1 and str(home.environments / "pytorch" / "mine") in said[0]

"""Interpreters are found and asked for real; workers get their files without this interpreter's packages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from workbench.core.data import data_folder
from workbench.core.errors import BlockedError
from workbench.core.home import Home
from workbench.toolchains import get
from workbench.toolchains.asking import installed_versions
from workbench.toolchains.base import Package
from workbench.toolchains.code import staged_root
from workbench.toolchains.environments import choose_environment, find_environments

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bare(tmp_path: Path) -> str:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    return str(tmp_path / "bare" / "bin" / "python")


def test_staged_files_are_core_and_workers_alone(home: Home) -> None:
    root = staged_root(home)
    assert sorted(p.name for p in (root / "workbench").iterdir()) == ["__init__.py", "core", "workers"]
    assert staged_root(home) == root
    program = "import workbench.workers.protocol, workbench; print(workbench.__file__)"
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(root)},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.startswith(str(root))


def test_another_interpreter_is_asked_and_its_answer_kept(home: Home, bare: str) -> None:
    environ = {"WORKBENCH_OPENVINO_PYTHON": bare}
    first = find_environments(get("openvino"), home, environ)[0]
    assert first.prefix == (bare,) and not first.usable
    # A bare interpreter has no pydantic, so the probe cannot speak: that is a problem in words, not an empty list.
    assert "pydantic" in first.problem or "pydantic" in first.missing


def test_an_interpreter_that_is_not_there(home: Home) -> None:
    found = find_environments(get("openvino"), home, {"WORKBENCH_OPENVINO_PYTHON": "/no/such/python"})
    assert found[0].problem and not found[0].usable
    assert found[-1].prefix == (sys.executable,)


def test_none_usable_says_what_each_lacks(home: Home) -> None:
    class Impossible:
        name = "impossible"
        title = "Impossible"
        packages = (Package("no-such-distribution"),)
        install_hint = "There is no way."

    with pytest.raises(BlockedError, match="no-such-distribution") as caught:
        choose_environment(Impossible(), home, {})  # type: ignore[arg-type]
    assert caught.value.failure.exit_code == 3 and caught.value.fix == "There is no way."


def test_versions_come_without_imports() -> None:
    found = installed_versions((Package("pydantic"), Package("no-such-distribution")))
    assert found["pydantic"].startswith("2.") and "no-such-distribution" not in found


def test_requirements_beside_the_toolchain_equal_the_extra() -> None:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "workbench" / "toolchains" / "openvino" / "requirements.txt").read_text()
    lines = {line.split("#")[0].strip() for line in text.splitlines()} - {""}
    base = {d for d in project["dependencies"] if d.startswith(("pydantic", "psutil"))}
    demo = {"pip>=24", *(pin for pin in project["optional-dependencies"]["demo"] if pin.startswith("gguf"))}
    assert lines == set(project["optional-dependencies"]["openvino"]) | base | demo, "core, in a worker, imports base"


def lines_of(path: Path) -> set[str]:
    """Requirements of a file, without its comments."""
    return {line.split("#")[0].strip() for line in path.read_text().splitlines()} - {""}


def test_what_a_pytorch_environment_gets_equals_the_extra() -> None:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    folder = ROOT / "workbench" / "toolchains" / "pytorch"
    own = ("pydantic", "psutil", "jinja2", "safetensors", "numpy")
    base = {pin for pin in project["dependencies"] if pin.startswith(own)}
    lines = lines_of(folder / "requirements.txt")
    assert len(base) == len(own) and lines == set(project["optional-dependencies"]["pytorch"]) | base
    (more,) = lines_of(folder / "requirements-gpu.txt") - {"-r requirements.txt"}
    assert more.startswith("torchao>=")
    named = {re.split("[<>=]", line)[0] for line in (*lines, more)}
    assert {package.name for package in get("pytorch").packages} - named == {"triton"}, "which comes with torch"


def test_shipped_data_is_found() -> None:
    assert (data_folder("presets") / "demo.toml").is_file()
    assert (data_folder("resources") / "verify_prompts.json").is_file()


def test_threads_that_ask_for_the_workers_files_at_once_get_them_whole(home: Home) -> None:
    start, found = threading.Barrier(8), list[Path]()
    failed: list[Exception] = []

    def ask() -> None:
        start.wait()
        try:
            found.append(staged_root(home))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and len(set(found)) == 1
    assert [path.name for path in found[0].parent.iterdir()] == [found[0].name], "no half copies stay"
    assert (found[0] / "workbench" / "core" / "messages.py").is_file()

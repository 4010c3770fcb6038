"""CUDA, MPI and network as the doctor finds them: from true files, programs and pip's own settings."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from workbench.core.home import Home
from workbench.core.host import read_host
from workbench.toolchains.doctor import is_meant, machine_problems, machine_report, report_words
from workbench.toolchains.surroundings import (
    cuda_toolkit,
    cuda_version,
    has_route,
    mpi_report,
    network_report,
    offline_words,
    pip_settings,
    without_password,
)


def program(path: Path, says: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\n")
    path.chmod(0o755)


@pytest.mark.parametrize(("number", "words"), [(12040, "12.4"), (13000, "13.0"), (11080, "11.8"), (12100, "12.10")])
def test_cuda_versions(number: int, words: str) -> None:
    assert cuda_version(number) == words


def test_the_toolkit_is_found_by_its_file_or_its_compiler(tmp_path: Path) -> None:
    named = tmp_path / "cuda"
    named.mkdir()
    (named / "version.json").write_text(json.dumps({"cuda": {"name": "CUDA SDK", "version": "13.0.1"}}))
    assert cuda_toolkit({"CUDA_HOME": str(named), "PATH": ""}) == {"path": str(named), "version": "13.0.1"}
    (named / "version.json").write_text("[]")
    program(named / "bin" / "nvcc", "Cuda compilation tools, release 12.8, V12.8.93")
    by_path = cuda_toolkit({"PATH": f"{named / 'bin'}:/usr/bin:/bin"})
    assert by_path == {"path": str(named), "version": "12.8"}


def test_mpirun_says_its_version(tmp_path: Path) -> None:
    program(tmp_path / "mpirun", "mpirun (Open MPI) 4.1.4\n\nReport bugs to ...")
    found = mpi_report({"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert found == {"mpirun": str(tmp_path / "mpirun"), "version": "mpirun (Open MPI) 4.1.4"}
    assert mpi_report({"PATH": "/nowhere"}) == {"mpirun": "", "version": ""}


def test_pip_is_asked_for_its_settings_and_passwords_are_not_shown(tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://me:secret@wheels.example/simple\nno-index = false\n")
    environ = {**os.environ, "PIP_CONFIG_FILE": str(config), "PIP_NO_INDEX": "1", "HTTPS_PROXY": "http://u:p@proxy:8"}
    assert pip_settings(environ)["no-index"] == "1", "the environment has the last word"
    report = network_report(environ)
    assert report["indexes"][0] == "https://(not shown)@wheels.example/simple" and report["reached"] is None
    assert report["proxies"]["https_proxy"] == "http://(not shown)@proxy:8"
    assert "secret" not in json.dumps(report)
    assert "no package index" in offline_words(report)


def test_a_route_out_is_read_from_the_system(tmp_path: Path) -> None:
    assert has_route(tmp_path) is None
    head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
    (tmp_path / "route").write_text(head + "eth0 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n")
    assert has_route(tmp_path) is False
    loop = f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 00200200 lo\n"
    (tmp_path / "ipv6_route").write_text(loop)
    assert has_route(tmp_path) is False
    (tmp_path / "route").write_text(head + "eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0\n")
    assert has_route(tmp_path) is True


def test_offline_in_words() -> None:
    base = {"no_index": False, "indexes": [], "find_links": [], "proxies": {}, "route": True, "reached": None}
    assert offline_words(base) == "" and offline_words({**base, "route": None}) == ""
    assert "no route" in offline_words({**base, "route": False})
    assert offline_words({**base, "route": False, "indexes": ["file:///wheels"]}) == ""
    assert "does not answer" in offline_words({**base, "reached": False})
    assert offline_words({**base, "route": False, "reached": True}) == ""


def test_an_index_that_does_not_answer_is_said(tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = http://127.0.0.1:9/simple\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    report = network_report({**kept, "PIP_CONFIG_FILE": str(config)}, reach=True)
    if any(place.startswith(("/", "file:")) for place in (*report["indexes"][1:], *report["find_links"])):
        pytest.skip("this machine's own settings name local packages, which answer")
    assert report["reached"] is False and report["problem"]


def test_the_report_has_them_all_for_the_command_line_too(home: Home) -> None:
    home.make()
    report = machine_report(home, read_host(), os.environ) | {"store": {"artifacts": 0, "jobs": 0}}
    words = report_words(report, [])
    for start in ("CUDA ", "MPI ", "network package index: "):
        assert sum(line.startswith(start) for line in words) == 1
    json.dumps(report)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://a:b@host/x", "https://(not shown)@host/x"),
        ("https://a:b@c@host/x", "https://(not shown)@host/x"),
        ("https://host/@x", "https://host/@x"),
        ("file:///opt/x", "file:///opt/x"),
    ],
)
def test_passwords(address: str, shown: str) -> None:
    assert without_password(address) == shown


def test_a_gpu_without_mpi_is_told_what_to_install(home: Home) -> None:
    home.make()
    report = machine_report(home, read_host(), {"PATH": "/nowhere"}) | {"store": {"artifacts": 0, "jobs": 0}}
    gpu = {"index": 0, "name": "A GPU", "compute_capability": "9.0", "memory_bytes": 1 << 30}
    report["gpus"] = {"found": [gpu], "driver": "580.1", "cuda": "13.0", "problem": ""}
    words = "\n".join(report_words(report, []))
    assert "driver 580.1 (CUDA 13.0)" in words and "no mpirun" in words and "openmpi-bin" in words


def lines_of(report: dict[str, Any], title: str) -> list[str]:
    """A toolchain's lines of the report."""
    words = report_words(report, [])
    first = next(number for number, line in enumerate(words) if line.startswith(title))
    rest = words[first + 1 :]
    return [words[first], *rest[: next(n for n, line in enumerate(rest) if not line.startswith(" "))]]


def test_endpoints_and_pytorch_are_told_of_and_an_endpoint_builds_nothing(home: Home) -> None:
    home.make()
    report = machine_report(home, read_host(), {"PATH": "/nowhere"}) | {"store": {"artifacts": 0, "jobs": 0}}
    own = lines_of(report, "Endpoint")
    assert "workbench endpoint add" in own[0] and own[1].endswith(": ok") and "httpx" in own[2]
    pytorch = next(each for each in report["toolchains"] if each["name"] == "pytorch")
    assert lines_of(report, "PyTorch")[0].endswith("continuous batching.)")
    for toolchain in report["toolchains"]:
        if toolchain["name"] != "endpoint":
            for row in toolchain["environments"]:
                row["usable"] = False
    words = [problem["what"] for problem in machine_problems(report)]
    assert "No toolchain can be used: nothing can be built." in words
    assert lines_of(report, "PyTorch")[-1].startswith("  to have it: ")
    (row,) = pytorch["environments"]
    assert not is_meant(pytorch, {**row, "versions": {"torch": "2.13.0"}}), "torch is beside OpenVINO's tools too"
    assert is_meant(pytorch, {**row, "made": True}) and is_meant(pytorch, {**row, "named": True})


def test_a_pytorch_for_cpus_beside_a_gpu_is_said(home: Home) -> None:
    home.make()
    report = machine_report(home, read_host(), {"PATH": "/nowhere"}) | {"store": {"artifacts": 0, "jobs": 0}}
    (row,) = next(each for each in report["toolchains"] if each["name"] == "pytorch")["environments"]
    gpu = {"index": 0, "name": "A GPU", "compute_capability": "9.0", "memory_bytes": 1 << 30}
    here = {"found": [gpu], "driver": "580.1", "cuda": "13.0", "problem": ""}
    none = {"found": [], "driver": None, "cuda": None, "problem": "no driver"}
    for version, gpus, said in (
        ("2.13.0+cpu", here, True),
        ("2.13.0+cpu", none, False),
        ("2.13.0", here, False),
        ("2.11.0+cu130", here, False),
    ):
        row["versions"]["torch"] = version
        report["gpus"] = gpus
        assert ("CPUs alone" in "\n".join(lines_of(report, "PyTorch"))) == said

"""`workbench toolchain`: what can be installed, and wheels that are collected and go on being collected."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.cli.test_settings import workbench
from tests.fakes.wheels import make_wheel, make_wheels
from workbench.core.home import Home
from workbench.toolchains.asking import ask_worker
from workbench.toolchains.base import Environment
from workbench.toolchains.code import package_root


@pytest.fixture(autouse=True)
def _no_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_SITE", str(tmp_path / "site"))


@pytest.mark.slow
def test_what_is_there_and_what_can_be_installed_is_listed(home: Home) -> None:
    folder = home.environments / "modelopt" / "old"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to("/opt/gone/python3.12")
    ran = workbench("toolchain")
    assert ran.code == 0, ran.err
    assert "which is gone" in ran.out and "to have it: workbench toolchain install tensorrt_llm" in ran.out
    rows = workbench("toolchain", "list", "--json").json
    (old,) = [row for row in rows if row["name"] == "old"]
    assert old["toolchain"] == "modelopt" and not old["usable"] and not old["used"]
    refused = workbench("toolchain", "uninstall", "modelopt", "old")
    assert refused.code == 2 and "--yes" in refused.err and folder.exists()
    assert workbench("toolchain", "uninstall", "modelopt", "old", "--yes").code == 0 and not folder.exists()


def test_what_cannot_be_is_refused_before_a_job_is_made(home: Home, tmp_path: Path) -> None:
    make_wheels(tmp_path / "wheels", "modelopt", without=("pulp",))
    ran = workbench("toolchain", "check", "modelopt", "--wheels", str(tmp_path / "wheels"))
    assert ran.code == 3 and "BLOCKED  wheels" in ran.out and "pulp==" in ran.out
    ran = workbench("toolchain", "install", "modelopt", "--wheels", str(tmp_path / "wheels"))
    assert ran.code == 3 and "pulp==" in ran.err and "workbench toolchain bundle" in ran.err
    assert workbench("toolchain", "check", "something").code == 2
    assert list(home.jobs.iterdir()) == [] and not home.environments.exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info[:2] in ((3, 10), (3, 12)), reason="this interpreter is one that fits")
def test_without_a_python_all_else_that_lacks_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = workbench("toolchain", "check", "tensorrt_llm", "--json")
    states = {check["name"]: check["state"] for check in ran.json["checks"]}
    assert ran.code == 3 and not ran.json["can"] and states["Python"] == "blocked" and {"disk", "MPI"} <= states.keys()
    assert "BLOCKED  Python" in workbench("toolchain", "check", "tensorrt_llm", "--wheels", str(tmp_path)).out
    refused = workbench("toolchain", "install", "tensorrt_llm")
    assert refused.code == 3 and "no Python" in refused.err


@pytest.mark.slow
def test_wheels_are_collected_and_a_damaged_one_is_fetched_again(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, out = tmp_path / "shop", tmp_path / "out"
    make_wheels(shop, "modelopt", without=("psutil",))
    make_wheel(shop, "pulp", next(shop.glob("pulp-*")).name.split("-")[1], ["further>=1"])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shop))
    words = ("toolchain", "bundle", "modelopt", "--out", str(out), "--python-version", "3.11", "--no-gpu")
    ran = workbench(*words)
    assert ran.code == 4 and "psutil==" in ran.err and "kept" in ran.err, ran.err
    kept = {path.name for path in out.glob("*.whl")}
    assert kept and not json.loads((out / "manifest.json").read_text())["complete"]
    make_wheels(shop, "modelopt", without=("pulp",))
    make_wheel(shop, "further", "1.5")
    (damaged,) = out.glob("sentencepiece-*.whl")
    damaged.write_bytes(damaged.read_bytes()[:50])
    ran = workbench(*words)
    assert ran.code == 0, ran.err
    assert "sentencepiece" in ran.err and "is damaged and is fetched again" in ran.err
    # A copy that was broken off, without the manifest that would tell: what is damaged is seen all the same.
    (out / "manifest.json").unlink()
    damaged.write_bytes(damaged.read_bytes()[:50])
    ran = workbench(*words)
    assert ran.code == 0 and f"{damaged.name} is damaged and is fetched again" in ran.err, ran.err
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["complete"] and manifest["python_version"] == "3.11"
    assert {"further-1.5-py3-none-any.whl", *kept} <= set(manifest["wheels"]) == {p.name for p in out.glob("*.whl")}


@pytest.mark.slow
def test_lists_whose_versions_are_not_all_known_are_collected_by_pip_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, out, wanted, limits = tmp_path / "shop", tmp_path / "out", tmp_path / "list.txt", tmp_path / "limits.txt"
    for version in ("1.0", "2.0"):
        make_wheel(shop, "below", version)
    make_wheel(shop, "top", "1.0", ["below"])
    wanted.write_text("top\n")
    limits.write_text("below<2\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shop))
    here = Environment("any", (sys.executable,), "this one", worker_path=str(package_root()))
    settings: dict[str, object] = {
        "out": str(out), "lists": [{"file": str(wanted), "constraints": str(limits)}], "python": sys.executable,
        "python_version": f"{sys.version_info[0]}.{sys.version_info[1]}",
    }  # fmt: skip
    made = ask_worker(here, "bundle", settings, 120.0)
    names = {"below-1.0-py3-none-any.whl", "top-1.0-py3-none-any.whl"}
    assert made["wheels"] == 2 and {path.name for path in out.glob("*.whl")} == names
    damaged = out / "top-1.0-py3-none-any.whl"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:50])
    ask_worker(here, "bundle", settings, 120.0)
    rows = json.loads((out / "manifest.json").read_text())["wheels"]
    assert damaged.read_bytes() == whole and rows[damaged.name]["bytes"] == len(whole) and set(rows) == names


@pytest.mark.slow
def test_the_indexes_given_are_asked_and_the_log_has_no_password(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, index, out = tmp_path / "shop", tmp_path / "index", tmp_path / "out"
    make_wheels(shop, "modelopt")
    for path in shop.glob("*.whl"):
        page = index / path.name.split("-")[0].replace("_", "-") / "index.html"
        page.parent.mkdir(parents=True)
        page.write_text(f'<!DOCTYPE html><html><body><a href="{path.as_uri()}">{path.name}</a></body></html>')
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)  # this machine's pip may ask others
    monkeypatch.setenv("PIP_RETRIES", "0")
    ran = workbench(
        "toolchain", "bundle", "modelopt", "--out", str(out), "--python-version", "3.11", "--no-gpu",
        "--index", index.as_uri(), "--extra-index", "http://anna:sec@ret@localhost:9/simple",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert {path.name for path in out.glob("*.whl")} == {path.name for path in shop.glob("*.whl")}
    (log,) = home.jobs.glob("*/log.txt")
    said = log.read_text() + ran.out + ran.err
    assert "http://(not shown)@localhost:9/simple" in said and "sec@" not in said and "ret@" not in said

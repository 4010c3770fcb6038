"""The parts of the package's build that hold without building: the lock, the launchers, archives of the same bytes."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from workbench.toolchains.install.recipes import RECIPES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
LOCKS = (ROOT / "packaging" / "requirements.lock", ROOT / "packaging" / "build-requirements.lock")
TOOLCHAIN_LOCKS = sorted({one.lock for recipe in RECIPES.values() for one in recipe.lists if one.lock is not None})


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules of packaging/ that need no tools of the build."""
    monkeypatch.syspath_prepend(str(ROOT / "packaging"))
    import lock_toolchains
    from build_tree import archive, launchers

    return SimpleNamespace(archive=archive, launchers=launchers, locks=lock_toolchains)


def pins(lock: Path) -> dict[str, str]:
    return {
        canonicalize_name(name): version
        for name, version in re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", lock.read_text("utf-8"), re.MULTILINE)
    }


def test_lock_holds_every_dependency_in_a_version_that_fits() -> None:
    pinned = pins(LOCKS[0])
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    environment = {"python_version": "3.12", "sys_platform": "linux"}
    for requirement in map(Requirement, wanted):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            assert name in pinned, f"bash packaging/lock.sh: {name} is not locked"
            assert requirement.specifier.contains(pinned[name]), f"bash packaging/lock.sh: {name} {pinned[name]}"
    assert "pip" in pinned  # it makes toolchain environments


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_lock_gives_hashes_and_names_no_host(lock: Path) -> None:
    text = lock.read_text("utf-8")
    assert "://" not in text and "--index" not in text and "--find-links" not in text
    for entry in re.split(r"\n(?=[A-Za-z])", text.removeprefix("--only-binary :all:").strip()):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]


@pytest.mark.parametrize("lock", TOOLCHAIN_LOCKS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_toolchain_locks_hold_what_their_writer_writes(lock: Path, build: SimpleNamespace) -> None:
    text = lock.read_text("utf-8")
    (pythons,) = {
        recipe.pythons
        for recipe in RECIPES.values()
        if lock in [each.lock for each in (*recipe.lists, *recipe.lists_gpu)]
    }
    head = build.locks.head_of(pythons)
    kept = text.removeprefix(head).splitlines()
    pinned = [Requirement(line) for line in kept]
    by_python = {
        python: {
            one.name: str(one.specifier).removeprefix("==")
            for one in pinned
            if one.marker is None or one.marker.evaluate({"python_version": python})
        }
        for python in pythons
    }
    assert text.startswith(head) and sorted(build.locks.lines(by_python)) == sorted(kept)


def test_a_lock_tells_versions_apart_by_python_and_gives_an_older_one_its_successors(build: SimpleNamespace) -> None:
    found = {
        "3.12": {"same": "1", "each": "3", "late": "2", "last": "1"},
        "3.10": {"same": "1", "each": "1", "last": "0"},
        "3.11": {"same": "1", "each": "2", "late": "1", "last": "0"},
    }
    assert build.locks.lines(found) == [
        "each==1 ; python_version < '3.11'", "each==2 ; python_version == '3.11'", "each==3 ; python_version >= '3.12'",
        "last==0 ; python_version < '3.12'", "last==1 ; python_version >= '3.12'",
        "late==1 ; python_version < '3.12'", "late==2 ; python_version >= '3.12'",
        "same==1",
    ]  # fmt: skip


def small_tree(folder: Path, *, umask: int) -> Path:
    before = os.umask(umask)
    try:
        tree = folder / "engine-workbench-1.0"
        (tree / "bin").mkdir(parents=True)
        (tree / "bin" / "run").write_text("#!/bin/sh\n", "utf-8")
        (tree / "bin" / "run").chmod(0o777 & ~umask)
        for name in ("zeta", "alpha", "Beta"):
            (tree / name).write_text(name * 1000, "utf-8")
        (tree / "link").symlink_to("alpha")
    finally:
        os.umask(before)
    return tree


def test_the_same_tree_packs_to_the_same_bytes(tmp_path: Path, build: SimpleNamespace) -> None:
    digests, epoch = [], 1_700_000_000
    for place, umask in (("one", 0o022), ("two/deeper", 0o077)):
        (tmp_path / place).mkdir(parents=True)
        tree = small_tree(tmp_path / place, umask=umask)
        build.archive.settle(tree, epoch)
        build.archive.pack(tree, tmp_path / place / "x.tar.xz", epoch)
        digests.append(hashlib.sha256((tmp_path / place / "x.tar.xz").read_bytes()).hexdigest())
    assert digests[0] == digests[1]
    (tmp_path / "one" / "engine-workbench-1.0" / "alpha").write_text("other", "utf-8")
    build.archive.pack(tree.parents[2] / "one" / tree.name, tmp_path / "other.tar.xz", epoch)
    assert build.archive.digest(tmp_path / "other.tar.xz") != digests[0]


def test_archive_says_nothing_of_who_packed_it(tmp_path: Path, build: SimpleNamespace) -> None:
    tree, epoch = small_tree(tmp_path, umask=0o077), 1_700_000_000
    if os.geteuid() == 0:
        os.chown(tree / "alpha", 12345, 12345)
    build.archive.settle(tree, epoch)
    build.archive.pack(tree, tmp_path / "x.tar.xz", epoch)
    with tarfile.open(tmp_path / "x.tar.xz") as tar:
        members = {one.name.removeprefix(tree.name).lstrip("/"): one for one in tar}
    assert list(members) == ["", "Beta", "alpha", "bin", "bin/run", "link", "zeta"]
    assert {(one.uid, one.gid, one.uname, one.gname, one.mtime) for one in members.values()} == {(0, 0, "", "", epoch)}
    assert members["bin/run"].mode == members["bin"].mode == 0o755 and members["alpha"].mode == 0o644
    assert members["link"].linkname == "alpha"
    (tmp_path / "sums").mkdir()
    build.archive.write_sums(tmp_path, [tmp_path / "x.tar.xz"])
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=tmp_path, check=True)


def test_launchers_find_their_runtime_through_links_and_odd_names(tmp_path: Path, build: SimpleNamespace) -> None:
    tree = tmp_path / "a folder's name"
    (tree / "runtime" / "bin").mkdir(parents=True)
    build.launchers.write(tree)
    python = tree / "runtime" / "bin" / "python3.12"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$0" "${PYTHONPATH-none}" "${PYTHONHOME-none}" "$@"\n', "utf-8")
    python.chmod(0o755)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "workbench"
    link.symlink_to(tree / "bin" / "workbench")
    said = subprocess.run(
        [link, "engines", "two words"],
        env={**os.environ, "PYTHONPATH": "/other", "PYTHONHOME": "/other"},
        cwd="/", capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert Path(said[0]).samefile(python)
    assert said[1:3] == ["none", "none"]
    assert said[-2:] == ["engines", "two words"]
    for name, words in build.launchers.PROGRAMS.items():
        assert words[1].isascii() and "'" not in words[1], name  # it stands in single quotes
        compile(words[1], name, "exec")

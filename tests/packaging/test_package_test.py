"""The parts of the package's test that need no root: which mirror, which mounts, what changed, what is written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGING = Path(__file__).resolve().parents[2] / "packaging"


@pytest.fixture(autouse=True)
def _importable() -> Iterator[None]:
    sys.path.insert(0, str(PACKAGING))
    yield
    sys.path.remove(str(PACKAGING))


def test_mirrors_of_both_forms_and_not_the_security_archive() -> None:
    from package_test.bases import mirrors_in

    text = (
        "# deb http://old.example/debian bookworm main\n"
        "deb [signed-by=/k.gpg] http://a.example/debian bookworm main\n"
        "deb http://a.example/debian-security bookworm-security main\n"
        "Types: deb\nURIs: http://b.example/ubuntu/ http://c.example/debian\nSuites: noble\n"
    )
    assert mirrors_in(text, "debian") == ["http://a.example/debian", "http://c.example/debian"]
    assert mirrors_in(text, "ubuntu") == ["http://b.example/ubuntu/"]


def test_a_mirror_is_named_by_its_variable_or_not_at_all(tmp_path: Path) -> None:
    from package_test.bases import keyring, mirror
    from package_test.checks import NotRun

    (tmp_path / "sources.list").write_text("deb http://a.example/debian bookworm main\n")
    assert mirror("debian", {}, tmp_path) == "http://a.example/debian"
    assert mirror("debian", {"WORKBENCH_DEBIAN_MIRROR": "file:///m"}, tmp_path) == "file:///m"
    with pytest.raises(NotRun, match="WORKBENCH_UBUNTU_MIRROR"):
        mirror("ubuntu", {}, tmp_path)
    with pytest.raises(NotRun, match="WORKBENCH_UBUNTU_KEYRING"):
        keyring("ubuntu", {"WORKBENCH_UBUNTU_KEYRING": str(tmp_path / "none.gpg")})


def test_mounts_come_last_first_and_only_from_below() -> None:
    from package_test.chroot import mounts_below

    table = (
        "proc /proc proc rw 0 0\n/dev/a /s/noble2 ext4 rw 0 0\nproc /s/noble/proc proc rw 0 0\n"
        "dev /s/noble/dev dev rw 0 0\nshm /s/noble/dev/shm tmpfs rw 0 0\nx /s/noble/with\\040space ext4 rw 0 0\n"
    )
    wanted = ["/s/noble/with space", "/s/noble/dev/shm", "/s/noble/dev", "/s/noble/proc"]
    assert mounts_below(Path("/s/noble"), table) == wanted


def test_what_came_went_and_changed_is_named(tmp_path: Path) -> None:
    from package_test.trees import differences, listing

    for name in ("same", "other", "gone"):
        (tmp_path / name).write_text(name)
    before = listing(tmp_path)
    (tmp_path / "gone").unlink()
    (tmp_path / "other").write_text("now")
    (tmp_path / "came").symlink_to("same")
    assert differences(before, listing(tmp_path)) == ["+ came", "- gone", "~ other"]


def test_traces_leave_out_people_and_the_books(tmp_path: Path) -> None:
    from package_test.trees import traces

    for name in ("opt/engine-workbench/bin", "usr/bin", "home/anna/engine-workbench", "var/lib/dpkg/info"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "usr" / "bin" / "workbench").symlink_to("/gone")
    (tmp_path / "var" / "lib" / "dpkg" / "info" / "engine-workbench.list").touch()
    assert traces(tmp_path) == ["opt/engine-workbench", "usr/bin/workbench"]


def test_a_failed_check_stops_only_what_depends_on_it(capsys: pytest.CaptureFixture[str]) -> None:
    from package_test.checks import Board, Failed, NotRun

    board = Board()

    def fails() -> None:
        raise Failed("broken\nmore of it")

    def cannot() -> None:
        raise NotRun("no mirror")

    assert board.run("noble", "first", lambda: "fine")
    assert not board.run("noble", "second", fails, "first")
    assert not board.run("noble", "third", lambda: "never", "second")
    assert not board.run("noble", "fourth", cannot)
    assert board.run("noble", "fifth", lambda: None)
    assert [one.state for one in board.done] == ["ok", "FAILED", "not run", "not run", "ok"]
    assert [one.name for one in board.failed] == ["second"]
    assert "| more of it" in capsys.readouterr().out


def test_results_of_other_suites_stay_for_the_same_package_only(tmp_path: Path) -> None:
    from package_test.checks import Check
    from package_test.results import write

    page, outcomes = tmp_path / "RESULTS.md", tmp_path / "kept" / "outcomes.json"
    facts = {"package's SHA-256": "aa", "date": "1"}
    write(page, outcomes, facts, [Check("noble", "version", "FAILED", 1.0, "0.1|x\nmore")], {"noble": {}})
    write(page, outcomes, facts, [Check("jammy", "version", "ok", 2.0)], {"jammy": {"pulled": ["libx11-6 1"]}})
    text = page.read_text()
    assert "1 ok, 1 failed, 0 not run." in text
    assert "| version | **FAILED** | 1.0 | 0.1\\|x |" in text
    assert "libx11-6." in text
    write(page, outcomes, {**facts, "package's SHA-256": "bb"}, [Check("jammy", "version", "ok", 2.0)], {})
    assert "FAILED" not in page.read_text()

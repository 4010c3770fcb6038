"""Git repositories of presets, by real git over files: fetched, brought up to date, and nothing of them runs."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from tests.core.test_galleries import git
from workbench.core.errors import BadInputError
from workbench.core.galleries import preset_folders
from workbench.core.home import Home
from workbench.core.preset import find_preset, gallery_folders
from workbench.core.settings import SITE_VARIABLE, save_setting
from workbench.toolchains.preset_sources import preset_sources, update_presets, without_password


def make_repository(folder: Path, inside: str = "") -> Path:
    place = folder / inside
    place.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    write_preset(place, "lab-int8", "The lab")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "presets")
    return folder


def write_preset(folder: Path, name: str, title: str) -> None:
    text = (gallery_folders()[0] / "cpu-int8.toml").read_text()
    (folder / f"{name}.toml").write_text(text.replace("title = ", f"title = '{title}' # ", 1))


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, SITE_VARIABLE: str(tmp_path / "site")}


def test_folders_that_one_may_not_look_into_are_said_to_be_away(
    home: Home, environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "closed").symlink_to("x" * 300)  # fails when it is looked at, for root too
    save_setting(home, environ, "folders.presets", [str(tmp_path / "closed"), str(tmp_path / "closed" / "in")])
    assert [s.exists for s in preset_sources(home, environ) if s.origin == "settings"] == [False, False]


def test_a_repository_is_fetched_and_brought_up_to_date(home: Home, environ: dict[str, str], tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", "presets")
    save_setting(home, environ, "folders.presets", [f"git+file://{source}"])
    assert [s.commit for s in preset_sources(home, environ) if s.origin == "repository"] == [""]
    (made,) = update_presets(home, environ)
    assert made.failure is None and made.before == "" and made.commit == git(source, "rev-parse", "HEAD")
    assert find_preset("lab-int8", preset_folders(home, environ)).title == "The lab"
    (again,) = update_presets(home, environ)
    assert again.words == f"up to date at {made.commit[:12]}"
    write_preset(source / "presets", "lab-int8", "The lab, better")
    git(source, "commit", "-qam", "better")
    git(source, "commit", "-q", "--amend", "-m", "history rewritten")
    (later,) = update_presets(home, environ)
    assert later.before == made.commit and later.commit == git(source, "rev-parse", "HEAD") != made.commit
    assert find_preset("lab-int8", preset_folders(home, environ)).title == "The lab, better"
    (shown,) = [s for s in preset_sources(home, environ) if s.origin == "repository"]
    assert shown.commit == later.commit and shown.exists and shown.folder.name == "presets"
    assert len(list((home.cache / "presets").iterdir())) == 1, "nothing is left beside it"


def test_a_branch_is_taken_where_one_is_named(home: Home, environ: dict[str, str], tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source")
    git(source, "checkout", "-qb", "lab/next")
    write_preset(source, "lab-int8", "Next")
    git(source, "commit", "-qam", "next")
    git(source, "checkout", "-q", "main")
    save_setting(home, environ, "folders.presets", [f"git+file://{source}@lab/next"])
    assert update_presets(home, environ)[0].failure is None
    assert find_preset("lab-int8", preset_folders(home, environ)).title == "Next"


def test_one_that_cannot_be_had_keeps_what_was_there(home: Home, environ: dict[str, str], tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source")
    other = make_repository(tmp_path / "other")
    save_setting(home, environ, "folders.presets", [f"git+file://{source}", f"git+file://{other}@gone"])
    first, missing = update_presets(home, environ)
    assert first.failure is None
    assert missing.failure is not None and "gone" in missing.failure.evidence and missing.failure.code == "not-fetched"
    source.rename(tmp_path / "away")
    first, _ = update_presets(home, environ)
    assert first.failure is not None and first.commit == first.before != ""
    assert find_preset("lab-int8", preset_folders(home, environ)).title == "The lab"


def test_nothing_of_a_repository_runs_or_leads_out_of_it(home: Home, environ: dict[str, str], tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source")
    mark, template = tmp_path / "ran", tmp_path / "template" / "hooks"
    template.mkdir(parents=True)
    (template / "post-checkout").write_text(f"#!/bin/sh\ntouch {mark}\n")
    (template / "post-checkout").chmod(0o755)
    (tmp_path / "gitconfig").write_text(
        f"[init]\ntemplateDir = {template.parent}\n[core]\nhooksPath = {template}\n[protocol]\nallow = always\n"
    )
    environ = {**environ, "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig")}
    secret = tmp_path / "secret.toml"
    secret.write_text("secret = 1\n")
    (source / "leak.toml").symlink_to(secret)
    inner = make_repository(tmp_path / "inner")
    git(source, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "sub")
    git(source, "add", ".")
    git(source, "commit", "-qm", "traps")
    save_setting(home, environ, "folders.presets", [f"git+file://{source}"])
    (made,) = update_presets(home, environ)
    assert made.failure is None and not mark.exists()
    folder = made.repository.folder
    assert not (folder / "leak.toml").is_symlink() and "secret = 1" not in (folder / "leak.toml").read_text()
    assert not (folder / "sub" / "lab-int8.toml").exists()


@pytest.mark.parametrize("branch", ["--upload-pack=touch", "a..b", "-x", "a b", "$(x)"])
def test_no_branch_is_taken_for_an_option(home: Home, environ: dict[str, str], tmp_path: Path, branch: str) -> None:
    source = make_repository(tmp_path / "source")
    save_setting(home, environ, "folders.presets", [f"git+file://{source}@{branch}"])
    (made,) = update_presets(home, environ)
    assert made.failure is not None and "no name of a branch" in made.failure.what


def test_no_other_protocol_is_used_than_the_one_asked_for(home: Home, environ: dict[str, str], tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source")
    (tmp_path / "gitconfig").write_text(f'[url "file://{source}"]\n\tinsteadOf = https://lab.example/x\n')
    environ = {**environ, "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig")}
    save_setting(home, environ, "folders.presets", ["git+https://lab.example/x"])
    (made,) = update_presets(home, environ)
    assert made.failure is not None and "'file' not allowed" in made.failure.evidence


def test_offline_only_files_are_fetched_from(home: Home, environ: dict[str, str], tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source")
    save_setting(home, environ, "network.offline", True)
    entries = [f"git+file://{source}", "git+https://anna:secret@localhost:1/x"]
    save_setting(home, environ, "folders.presets", entries)
    good, refused = update_presets(home, environ)
    assert good.failure is None
    assert refused.failure is not None and refused.failure.code == "offline"
    assert "secret" not in " ".join(refused.failure.lines())


def test_an_address_that_does_not_answer_is_said_without_its_password(home: Home, environ: dict[str, str]) -> None:
    save_setting(home, environ, "folders.presets", ["git+https://anna:secret@localhost:1/x"])
    (made,) = update_presets(home, environ)
    assert made.failure is not None and "secret" not in " ".join(made.failure.lines())
    assert made.failure.code == "not-fetched" and made.failure.evidence.startswith("fatal:")
    assert without_password("https://anna:secret@h/x") == "https://h/x"
    assert without_password("git+https://ghp_token@h/x@main") == "git+https://h/x@main"
    assert without_password("git+ssh://git@h/x and https://h/x@main") == "git+ssh://git@h/x and https://h/x@main"


def test_what_the_environment_allows_is_not_more_than_what_was_asked(
    home: Home, environ: dict[str, str], tmp_path: Path
) -> None:
    source = make_repository(tmp_path / "source")
    save_setting(home, environ, "folders.presets", [f"git+file://{source}"])
    (made,) = update_presets(home, {**environ, "GIT_ALLOW_PROTOCOL": "https", "GIT_INDEX_FILE": "/nowhere/index"})
    assert made.failure is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_a_repository_that_is_roots_is_read_by_users_and_one_of_others_is_not(environ: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory(prefix="workbench-") as place:  # which others can look into
        top = Path(place)
        top.chmod(0o755)
        source = make_repository(top / "source")
        own = Home(top / "home")
        own.root.mkdir()
        os.chown(own.root, 65534, 65534)
        environ = {**environ, "HOME": str(own.root), "XDG_CONFIG_HOME": str(own.root)}
        os.setresgid(65534, 65534, 0)
        os.setresuid(65534, 65534, 0)
        try:
            save_setting(own, environ, "folders.presets", [f"git+file://{source}"])
            (made,) = update_presets(own, environ)
            left = [path.name for path in (own.cache / "presets").iterdir()]
        finally:
            os.setresuid(0, 0, 0)
            os.setresgid(0, 0, 0)
        assert made.failure is None and left == [made.repository.folder.name]
        os.chown(source, 1, 1)
        os.chown(source / ".git", 1, 1)
        os.setresuid(65534, 65534, 0)
        try:
            (refused,) = update_presets(own, environ)
        finally:
            os.setresuid(0, 0, 0)
        assert refused.failure is not None and "another user" in refused.failure.fix


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def test_one_that_hangs_ends_in_its_time_with_all_that_it_started(
    home: Home, environ: dict[str, str], tmp_path: Path
) -> None:
    save_setting(home, environ, "folders.presets", [f"git+file://{tmp_path}/x"])
    git_ = tmp_path / "git"
    git_.write_text(f"#!/bin/sh\nsleep 30 &\necho $! > {tmp_path}/pid\nwait\n")
    git_.chmod(0o755)
    began = time.monotonic()
    (made,) = update_presets(home, {**environ, "PATH": f"{tmp_path}:{environ['PATH']}"}, 0.3)
    assert made.failure is not None and made.failure.code == "network" and time.monotonic() - began < 10
    assert not _runs(int((tmp_path / "pid").read_text()))


def test_without_git_or_repositories_that_is_said(home: Home, environ: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no Git repository"):
        update_presets(home, environ)
    save_setting(home, environ, "folders.presets", [f"git+file://{tmp_path}/x"])
    (made,) = update_presets(home, {**environ, "PATH": str(tmp_path)})
    assert made.failure is not None and made.failure.code == "no-git"


def test_a_checkout_among_the_folders_shows_its_commit(home: Home, environ: dict[str, str], tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", "presets")
    save_setting(home, environ, "folders.presets", [str(source), str(source / "presets"), str(tmp_path)])
    found = [s for s in preset_sources(home, environ) if s.origin == "settings"]
    head = git(source, "rev-parse", "HEAD")
    assert [(s.folder, s.commit) for s in found] == [(source / "presets", head), (tmp_path, "")]

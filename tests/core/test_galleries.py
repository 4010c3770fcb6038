"""Folders of presets, models and engines that the settings name, and what is found in them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from workbench.core.galleries import (
    commit_of,
    engine_folders,
    model_folders,
    preset_folders,
    preset_repository,
    shared_model,
    shared_models,
    toolchain_folders,
)
from workbench.core.home import Home
from workbench.core.preset import find_preset, gallery_folders, list_presets
from workbench.core.settings import SITE_VARIABLE


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "site").mkdir()
    return {SITE_VARIABLE: str(tmp_path / "site")}


def say(environ: dict[str, str], text: str) -> None:
    (Path(environ[SITE_VARIABLE]) / "lab.toml").write_text(text)


def test_without_settings_there_are_ones_own_presets_and_the_shipped_ones(home: Home, environ: dict[str, str]) -> None:
    assert preset_folders(home, environ) == (home.presets, *gallery_folders())
    assert model_folders(home, environ) == engine_folders(home, environ) == shared_models(home, environ) == ()
    assert toolchain_folders(home, environ) == (Path("/opt/engine-workbench-toolchains"),)


def test_presets_of_the_settings_stand_between(home: Home, environ: dict[str, str], tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    lab.mkdir()
    (shipped,) = gallery_folders()
    text = (shipped / "cpu-int8.toml").read_text()
    (lab / "cpu-int8.toml").write_text(text.replace("title = ", "title = 'The lab' # ", 1))
    (lab / "lab-only.toml").write_text(text)
    (lab / "presets").mkdir()  # which counts in a checkout alone
    say(environ, f'[folders]\npresets = ["{lab}", "{tmp_path}/gone", "~/x"]\nengines = ["/e", "/e"]\n')
    folders = preset_folders(home, environ)
    assert folders == (home.presets, lab, tmp_path / "gone", Path("~/x").expanduser(), shipped)
    assert find_preset("cpu-int8", folders).title == "The lab"
    assert "lab-only" in {preset.id for preset in list_presets(folders).presets}
    assert engine_folders(home, environ) == (Path("/e"),)
    home.presets.mkdir()
    (home.presets / "cpu-int8.toml").write_text(text.replace("title = ", "title = 'Mine' # ", 1))
    assert find_preset("cpu-int8", folders).title == "Mine", "one's own comes first"


@pytest.mark.parametrize(
    ("entry", "address", "branch"),
    [
        ("git+https://h/team/presets.git", "https://h/team/presets.git", ""),
        ("git+https://h/team/presets@v2", "https://h/team/presets", "v2"),
        ("git+https://anna:pw@h/presets", "https://anna:pw@h/presets", ""),
        ("git+ssh://git@h/team/presets.git@lab/main", "ssh://git@h/team/presets.git", "lab/main"),
        ("git+ssh://git@h", "ssh://git@h", ""),
        ("git+file:///srv/presets@main", "file:///srv/presets", "main"),
    ],
)
def test_addresses_of_repositories(home: Home, entry: str, address: str, branch: str) -> None:
    found = preset_repository(home, entry)
    assert found is not None and (found.address, found.branch) == (address, branch)
    assert found.folder.parent == home.cache / "presets" and "pw" not in found.folder.name
    assert preset_repository(home, "/srv/presets") is None


def test_each_entry_has_a_folder_of_its_own(home: Home) -> None:
    entries = [f"git+https://{host}/presets{branch}" for host in ("a", "b") for branch in ("", "@x", "@y")]
    assert len({found.folder for entry in entries if (found := preset_repository(home, entry))}) == 6


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.email=a@example.org", "-c", "user.name=A"]
    ran = subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True)
    return ran.stdout.strip()


def test_the_commit_is_read_from_the_files(tmp_path: Path) -> None:
    repository = tmp_path / "r"
    repository.mkdir()
    assert commit_of(repository) == ""
    git(repository, "init", "-q", "-b", "main")
    assert commit_of(repository) == "", "no commit yet"
    (repository / "a").write_text("a")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "a")
    head = git(repository, "rev-parse", "HEAD")
    assert commit_of(repository) == head
    git(repository, "pack-refs", "--all")
    assert commit_of(repository) == head
    git(repository, "worktree", "add", "-q", str(tmp_path / "w"), "-b", "other")
    assert commit_of(tmp_path / "w") == head
    git(repository, "checkout", "-q", "--detach")
    assert commit_of(repository) == head
    (repository / ".git" / "HEAD").write_bytes(b"\xff")
    assert commit_of(repository) == ""
    (tmp_path / "diary").write_text("mine")
    (repository / ".git" / "HEAD").write_text("ref: ../../diary\n")
    assert commit_of(repository) == "", "a HEAD may name any file"


def make_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_models_are_found_by_name(home: Home, environ: dict[str, str], tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    plain, nested = make_model(one / "Qwen2.5-1.5B"), make_model(two / "org" / "model")
    make_model(two / "Qwen2.5-1.5B")
    cached = two / "models--org--cached"
    make_model(cached / "snapshots" / "0ld")
    snapshot = make_model(cached / "snapshots" / "abc123")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc123\n")
    (one / "notes").mkdir()
    (one / ".hidden").mkdir()
    say(environ, f'[folders]\nmodels = ["{one}", "{two}", "{tmp_path}/gone"]\n')
    found = {model.name: model.path for model in shared_models(home, environ)}
    assert found == {"Qwen2.5-1.5B": plain, "org/model": nested, "org/cached": snapshot}
    assert {name: shared_model(home, name, environ) for name in found} == found
    (cached / "refs" / "main").write_text("../../../etc")
    os.utime(cached / "snapshots" / "0ld", (1, 1))
    assert shared_model(home, "org/cached", environ) == snapshot, "the newest, where none is named"
    for name in ("gone", "..", "../one/Qwen2.5-1.5B", "/Qwen2.5-1.5B", "org/../model", "", ".hidden", "a/b/c"):
        assert shared_model(home, name, environ) is None, name


def test_what_one_may_not_look_into_hides_nothing_else(home: Home, environ: dict[str, str], tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    good = make_model(shared / "good")
    (shared / "b").mkdir()
    for closed in (shared / "a", shared / "b" / "config.json", shared / ".git"):
        closed.symlink_to(
            "x" * 300
        )  # fails when it is looked at, for root too, as another user's folder does for others
    say(environ, f'[folders]\nmodels = ["{shared}"]\npresets = ["{shared}"]\n')
    assert [model.path for model in shared_models(home, environ)] == [good]
    assert shared_model(home, "b", environ) is None
    assert preset_folders(home, environ) == (home.presets, shared, *gallery_folders())


def test_what_stands_in_the_working_folder_comes_first(
    home: Home, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model(tmp_path / "shared" / "tiny")
    say(environ, f'[folders]\nmodels = ["{tmp_path}/shared"]\n')
    assert shared_model(home, "tiny", environ) is not None
    make_model(tmp_path / "here" / "tiny")
    monkeypatch.chdir(tmp_path / "here")
    assert shared_model(home, "tiny", environ) is None

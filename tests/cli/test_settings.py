"""`workbench settings` and `presets`, and what the settings do to other commands."""

from __future__ import annotations

import os
import pwd
import warnings
from pathlib import Path

import pytest

from tests.cli.command import Ran
from tests.cli.command import workbench as in_a_process
from tests.core.test_galleries import git
from tests.fakes.models import make_tiny_folder
from workbench.core.preset import gallery_folders


def workbench(*words: str) -> Ran:
    """The command in this process: a start takes as long as all that is looked at here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Typer's, at Click's newest
        from typer.testing import CliRunner

        from workbench.cli.app import app

        ran = CliRunner().invoke(app, list(words))
    return Ran(ran.exit_code, ran.stdout, ran.stderr)


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setenv("WORKBENCH_SITE", str(folder))
    return folder


def test_settings_are_shown_with_origin_and_lock_and_changed(site: Path, tmp_path: Path) -> None:
    lab = site / "lab.toml"
    lab.write_text('locked = ["network"]\n[network]\noffline = true\n[folders]\nmodels = ["/srv/models"]\n')
    own = str(tmp_path / "home" / "settings.toml")
    changed = workbench("settings", "set", "folders.models", str(tmp_path), "/x")
    assert changed.code == 0 and "/srv/models" in changed.out, changed.err
    rows = {row["key"]: row for row in workbench("settings", "--json").json["settings"]}
    assert rows["folders.models"]["value"] == ["/srv/models", str(tmp_path), "/x"]
    assert [entry["from"] for entry in rows["folders.models"]["entries"]] == [str(lab), own, own]
    assert rows["network.offline"] == {
        "key": "network.offline",
        "value": True,
        "from": str(lab),
        "locked_by": str(lab),
    }
    refused = workbench("settings", "set", "network.offline", "false")
    assert refused.code == 3 and str(lab) in refused.err and "locked" in refused.err
    assert workbench("settings", "get", "network.offline").out == "true\n"
    assert workbench("settings", "unset", "folders.models").code == 0
    listed = workbench("settings")
    assert listed.code == 0 and own not in listed.out and "/srv/models" in listed.out
    assert workbench("settings", "path", "--json").json == {
        "own": own,
        "site": str(site),
        "site_files": [str(lab)],
    }


def test_wrong_names_and_values_are_said(site: Path) -> None:
    near = workbench("settings", "set", "folders.model", "/x")
    assert near.code == 2 and "Nearest: folders.models" in near.err
    wrong = workbench("settings", "set", "window.theme", "blue")
    assert wrong.code == 2 and '"system", "dark", "light"' in wrong.err
    (site / "bad.toml").write_text("[network\n")
    told = workbench("settings", "list")
    assert told.code == 0 and "bad.toml" in told.err and "network.offline" in told.out


def test_presets_come_from_a_repository(tmp_path: Path) -> None:
    source = tmp_path / "presets"
    source.mkdir()
    (source / "lab-int8.toml").write_text((gallery_folders()[0] / "cpu-int8.toml").read_text())
    git(source, "init", "-q", "-b", "main")
    git(source, "add", ".")
    git(source, "commit", "-qm", "presets")
    assert workbench("settings", "set", "folders.presets", f"git+file://{source}").code == 0
    folders = workbench("presets", "folders")
    assert "`workbench presets update` fetches it" in folders.out
    updated = workbench("presets", "update", "--json")
    assert updated.code == 0 and updated.json[0]["commit"] == git(source, "rev-parse", "HEAD")
    assert updated.json[0]["commit"][:12] in workbench("presets", "folders").out
    assert "lab-int8" in {preset["id"] for preset in workbench("presets", "--json").json}
    source.rename(tmp_path / "away")
    failed = workbench("presets", "update")
    assert failed.code == 2 and "could not be fetched" in failed.err


def test_a_model_of_a_shared_folder_is_given_by_name(site: Path, tmp_path: Path) -> None:
    folder = make_tiny_folder(tmp_path / "shared" / "lab" / "tiny")
    (site / "lab.toml").write_text(f'[folders]\nmodels = ["{tmp_path}/shared"]\n')
    assert (
        workbench("check", "cpu-int8", "--model", "lab/tiny").out
        == workbench("check", "cpu-int8", "--model", str(folder)).out
        != ""
    )
    assert "There is no folder lab/other" in workbench("check", "cpu-int8", "--model", "lab/other").err


@pytest.mark.slow
def test_offline_keeps_names_from_being_downloaded(site: Path, tmp_path: Path) -> None:
    (site / "lab.toml").write_text("[network]\noffline = true\n")
    made = in_a_process(
        "build", "cpu-int8", "--model", "org/tiny", env={"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": "http://x"}
    )
    assert made.code == 4 and "the setting network.offline forbids" in made.err, made.err


def test_state_goes_where_the_site_says(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (site / "lab.toml").write_text(f'[folders]\nhome = "{tmp_path}/state/{{user}}"\n')
    monkeypatch.delenv("WORKBENCH_HOME")
    found = workbench("settings", "path", "--json")
    assert found.json["own"] == f"{tmp_path}/state/{pwd.getpwuid(os.getuid()).pw_name}/settings.toml"


def test_what_is_sent_to_others_has_no_passwords_and_one_setting_asked_for_has(site: Path) -> None:
    (site / "lab.toml").write_text(
        '[network]\npackage_index = "https://tok-hidden@lab/simple"\nextra_package_indexes = ["https://a:hidden@lab/x"]\n'
        '[folders]\npresets = ["git+https://a:hidden@lab/p.git", "git+ssh://git@lab/q.git"]\n'
    )
    for words in (("settings", "--json"), ("settings",), ("presets", "folders", "--json")):
        said = workbench(*words)
        assert said.code == 0 and "hidden" not in said.out + said.err and "git@lab/q.git" in said.out, words
    assert workbench("settings", "get", "network.package_index").out == "https://tok-hidden@lab/simple\n"


def test_a_broken_file_of_the_site_is_told_by_every_command_once(site: Path) -> None:
    (site / "lab.toml").write_text("[network]\noffline = yes\n")
    for words in (("engines",), ("settings",), ("presets", "folders"), ("settings", "get", "network.offline")):
        said = workbench(*words)
        assert said.code == 0 and said.err.count(f"{site / 'lab.toml'}: not TOML") == 1, said.err

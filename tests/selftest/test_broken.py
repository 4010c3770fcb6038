"""Something is really broken in a copy of the program, and its self-test says so: no check may only look good."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.plans import ROOT
from tests.selftest.tree import copy_tree, self_test_of
from workbench import __version__
from workbench.selftest.manifest import VERSION_FILE, write_manifest

_EMPTY_PAGE = """
from workbench.ui.pages.base import Page
class DeployPage(Page):
    name, title, icon_name = "deploy", "Deploy", "deploy"
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As it is installed: with its version and its manifest beside it."""
    made = copy_tree(tmp_path_factory.mktemp("tree"))
    (made / "runtime").mkdir()
    (made / "runtime" / "part").write_text("as it was made")
    (made / VERSION_FILE).write_text(f"{__version__}\n")
    write_manifest(made)
    return made


@pytest.mark.slow
def test_all_that_is_broken_is_found_and_the_rest_is_well(tmp_path: Path) -> None:
    tree = copy_tree(tmp_path / "tree")
    resources, package = tree / "resources", tree / "workbench"
    (resources / "fonts" / "Inter-Regular.otf").unlink()
    (resources / "fonts" / "Inter-SemiBold.otf").write_bytes(b"OTTO and nothing more")
    (resources / "icons" / "play.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16"/>')
    (resources / "calibration.jsonl").write_text('{"text": "cut sho')
    with (tree / "presets" / "cpu-int8.toml").open("a") as preset:
        preset.write("\n[limits\n")
    (tree / "fpdf.py").write_text("raise RuntimeError('cut short')\n")  # before the library of that name
    (package / "workers" / "selftest.py").write_text("import os\nos._exit(3)\n")
    (package / "ui" / "pages" / "engines" / "page.py").write_text("raise RuntimeError('cut short')\n")
    (package / "ui" / "pages" / "deploy" / "__init__.py").write_text(_EMPTY_PAGE)
    migrations = package / "store" / "migrations.py"
    migrations.write_text(migrations.read_text().replace("CREATE TABLE digests", "CREATE TABEL digests"))
    said = self_test_of(tree, Path("/proc/no-such/home"), "--quick")
    assert said.code == 4
    assert said.failed == {"python", "data", "presets", "home", "store", "worker", "jobs", "window"}, said.found
    assert "fpdf: RuntimeError: cut short" in said.words("python")
    assert "Inter-Regular.otf: missing" in said.words("data") and "calibration.jsonl" in said.words("data")
    assert "cpu-int8" in said.words("presets")
    assert "/proc/no-such/home" in said.words("home") and "WORKBENCH_HOME" in said.words("home")
    assert "TABEL" in said.words("store")
    assert "did not answer" in said.words("worker")
    assert "exit code 3" in said.words("jobs")
    window = said.words("window")
    for words in (
        "Inter-Regular.otf is missing",
        "Inter-SemiBold.otf cannot be read",
        "is used for Inter",
        "icons that draw nothing: play",
        "the page Engines cannot be shown: RuntimeError",
        "the page Deploy is blank",
    ):
        assert words in window
    assert said.found["engine"]["status"] == "not run"
    assert said.found["server"]["status"] == said.found["settings"]["status"] == said.found["left"]["status"] == "ok"


@pytest.mark.slow
@pytest.mark.nightly
def test_a_sound_program_passes_with_all_its_checks(tmp_path: Path) -> None:
    said = self_test_of(ROOT, tmp_path / "home")
    assert said.code == 0 and not said.failed, said.found
    assert all(said.found[name]["status"] == "ok" for name in ("window", "jobs", "engine", "server", "left"))
    assert "OpenVINO GenAI (" in said.found["toolchains"]["words"]
    assert not (tmp_path / "home").exists(), "the person's own folder is not made for it"


@pytest.mark.slow
def test_without_openvino_no_engine_is_called_ok(tree: Path, tmp_path: Path) -> None:
    place = tree / "workbench" / "toolchains" / "openvino" / "toolchain.py"
    before = place.read_text()
    assert '"openvino-genai"' in before
    place.write_text(before.replace('"openvino-genai"', '"no-such-genai"'))
    try:
        said = self_test_of(tree, tmp_path / "home", "--only", "program,toolchains,engine,server,left")
    finally:
        place.write_text(before)
    assert "OpenVINO GenAI (" not in said.found["toolchains"]["words"]
    assert said.found["engine"]["status"] == "not run" and "no OpenVINO environment" in said.found["engine"]["words"]
    assert said.code == 0 and "as they were installed" in said.found["program"]["words"]
    assert "nothing was written into the program's folder" in said.found["left"]["words"]
    assert said.found["server"]["status"] == "ok" and "echo" in said.found["server"]["words"]


@pytest.mark.slow
def test_problems_in_files_and_in_the_persons_own_things_are_said(tree: Path, tmp_path: Path) -> None:
    (tree / "runtime" / "part").write_text("cut sho")
    (tree / "workbench" / "workers" / "openvino" / "convert.py").write_text("raise SystemExit('no convert here')\n")
    home = tmp_path / "home"
    home.mkdir()
    (home / "settings.toml").write_text("schema = 1\n[network]\nofline = true\n")
    (home / "store.sqlite").write_bytes(b"SQLite format 3\0" + b"rubbish" * 500)
    said = self_test_of(tree, home, "--only", "program,settings", "--only", "home,engine")
    assert said.failed == {"program", "settings", "home", "engine"}
    assert "not built" in said.words("engine") and "no convert here" in said.words("engine")
    assert "changed: runtime/part" in said.words("program")
    assert "ofline" in said.words("settings") and "damaged" in said.words("home")
    assert sorted(path.name for path in home.iterdir()) == ["settings.toml", "store.sqlite"], "it is only looked at"

"""Preset files and model folders that a desktop, a second start or a drop gives to the window; presets given away."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from tests.cli.command import ROOT, start, workbench
from tests.ui.conftest import OpenWindow
from workbench.cli.gui import checked_paths
from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.core.preset import apply_overrides, find_preset, load_preset, save_preset
from workbench.ui.instance import OneInstance
from workbench.ui.models.builds import export_preset, save_own_preset
from workbench.ui.pages.builder.dialogs import SavePresetDialog
from workbench.ui.pages.builder.page import BuildPage
from workbench.ui.window import Window

WAIT_MS = 10_000


def preset_file(folder: Path, name: str = "ours.preset.toml") -> Path:
    changed = apply_overrides(find_preset("cpu-int8"), ["limits.max_batch_size=7"])
    save_preset(changed, folder / name)
    return folder / name


def build_page(window: Window) -> BuildPage:
    page = window.page("build")
    assert isinstance(page, BuildPage)
    return page


def said(window: Window) -> list[str]:
    return [notice.text for notice in window.session.notices.kept]


def shows(page: BuildPage, file: Path) -> bool:
    return page.form is not None and page.form.base.source == file


def test_a_file_is_opened_before_the_page_is_made_and_is_kept_by_its_name(
    qtbot: QtBot, open_window: OpenWindow, tmp_path: Path
) -> None:
    file = preset_file(tmp_path)
    window = open_window()
    window.open_paths((str(file), str(tmp_path)))
    qtbot.waitUntil(lambda: any(page.name == "build" for page in window.made_pages), timeout=WAIT_MS)
    page = build_page(window)
    qtbot.waitUntil(lambda: shows(page, file), timeout=WAIT_MS)
    assert window.stack.currentWidget() is page and page.model.model == str(tmp_path)
    assert page.form is not None and page.form.preset is not None and page.form.preset.limits.max_batch_size == 7
    assert said(window) == ["ours.preset.toml is open. It is not among your presets."]
    window.strip._button.click()
    dialog = window.findChild(SavePresetDialog)
    assert dialog is not None and dialog.preset_id == "ours"
    qtbot.mouseClick(dialog.ok, Qt.MouseButton.LeftButton)
    kept = page.session.home.presets / "ours.toml"
    qtbot.waitUntil(lambda: shows(page, kept), timeout=WAIT_MS)
    page.build_with("ours", "")
    qtbot.waitUntil(lambda: not page.session.tasks.busy, timeout=WAIT_MS)
    assert len(said(window)) == 2, "what is kept is no longer told of"


def test_what_was_changed_before_the_start_is_put_aside_for_a_file(
    qtbot: QtBot, open_window: OpenWindow, app_home: Home, tmp_path: Path
) -> None:
    file = preset_file(tmp_path)
    before = open_window()
    page = build_page(before)
    qtbot.waitUntil(lambda: page.form is not None, timeout=WAIT_MS)
    assert page.form is not None
    page.form.apply(("limits.max_batch_size=3",))
    before.close()
    window = open_window()
    window.open_paths((str(file),))
    qtbot.waitUntil(lambda: shows(build_page(window), file), timeout=WAIT_MS)
    assert said(window)[0].startswith("1 change to ") and said(window)[0].endswith("was put aside.")


def test_a_file_that_is_no_preset_is_said_and_the_form_stays(
    qtbot: QtBot, open_window: OpenWindow, tmp_path: Path
) -> None:
    file = preset_file(tmp_path)
    file.write_text(file.read_text("utf-8").replace("max_batch_size", "max_batch_sise"), "utf-8")
    window = open_window()
    window.open_paths((str(file),))
    qtbot.waitUntil(lambda: bool(said(window)), timeout=WAIT_MS)
    assert "ours.preset.toml, line" in said(window)[0] and "max_batch_size" in said(window)[0]
    page = build_page(window)
    assert page.form is not None and page.form.base.id == "cpu-int8"


@pytest.mark.slow
def test_a_second_start_hands_its_file_to_the_window(qtbot: QtBot, open_window: OpenWindow, app_home: Home) -> None:
    window = open_window()
    first = OneInstance(app_home)
    assert first.first()
    first.listen(window.asked)
    window.showMinimized()
    preset_file(app_home.root)
    entry = "import sys; from workbench.ui.start import main; sys.exit(main())"
    for command in (
        [sys.executable, "-m", "workbench", "gui", str(app_home.root / "ours.preset.toml")],
        [sys.executable, "-c", entry, "-platform", "offscreen", f"file://{app_home.root}/theirs.preset.toml"],
    ):
        file = Path(command[-1].removeprefix("file://"))
        preset_file(file.parent, file.name)
        second = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        qtbot.waitUntil(lambda second=second: second.poll() is not None, timeout=60_000)  # type: ignore[misc]
        assert (second.returncode, second.communicate()[1]) == (0, "")
        qtbot.waitUntil(lambda file=file: shows(build_page(window), file), timeout=WAIT_MS)  # type: ignore[misc]
    assert not window.isMinimized()
    first.release()


@pytest.mark.slow
def test_an_older_window_that_cannot_be_handed_a_file_is_said(qtbot: QtBot, app_home: Home) -> None:
    """It answers whatever is said by coming up."""
    older = (
        "import os, sys\nfrom PySide6.QtCore import QCoreApplication\n"
        "from workbench.core.home_choice import home_from\n"
        "from workbench.ui.instance import OneInstance\n"
        "app = QCoreApplication(sys.argv)\none = OneInstance(home_from(os.environ))\nassert one.first()\n"
        "one.listen(lambda _: None)\none._server.newConnection.disconnect()\n"
        "def answer():\n    socket = one._server.nextPendingConnection()\n"
        "    socket.write(b'raised\\n')\n    socket.flush()\n"
        "one._server.newConnection.connect(answer)\nprint('ready', flush=True)\napp.exec()\n"
    )
    window = subprocess.Popen([sys.executable, "-c", older], stdout=subprocess.PIPE, text=True)
    try:
        assert window.stdout is not None and window.stdout.readline() == "ready\n"
        started = start("gui", str(preset_file(app_home.root)))
        _, err = started.communicate(timeout=60)
        assert started.returncode == 2 and "of an older version and cannot be handed" in err
    finally:
        window.kill()
        window.communicate()


def test_the_command_line_says_what_cannot_be_opened_before_a_window_comes(tmp_path: Path) -> None:
    (tmp_path / "no.toml").write_text("title = 3\n")
    ran = workbench("gui", str(tmp_path / "no.toml"))
    assert ran.code == 2 and "no.toml: schema is missing" in ran.err, ran.err
    with pytest.raises(BadInputError, match="There is no file or folder"):
        checked_paths([str(tmp_path / "missing.toml")])


def test_a_preset_is_exported_with_what_it_names(
    qtbot: QtBot, open_window: OpenWindow, app_home: Home, tmp_path: Path
) -> None:
    (tmp_path / "away").mkdir()
    (tmp_path / "texts.txt").write_text("Some text.\n")
    file = save_preset(find_preset("cpu-int8"), tmp_path / "own.toml").source or tmp_path
    file.write_text(file.read_text("utf-8").replace("[calibration]\n", '[calibration]\nfile = "texts.txt"\n'), "utf-8")
    own = load_preset(file)
    assert own.calibration_path == tmp_path / "texts.txt"
    path = export_preset(own, tmp_path / "away" / "given")
    assert path.name == "given.preset.toml"
    for there in (load_preset(path), load_preset(save_own_preset(app_home, own, "own").source or path)):
        assert there.calibration_path == own.calibration_path
    again = save_preset(own, tmp_path / "away" / "beside.toml")
    assert again.calibration.file == "texts.txt", "saving alone changes no value"

    window = open_window()
    window.show_page("build")
    page = build_page(window)
    qtbot.waitUntil(lambda: page.form is not None, timeout=WAIT_MS)
    page.verbs.save_preset()
    dialog = window.findChild(SavePresetDialog)
    assert dialog is not None and dialog.to_file.isEnabled() and dialog.to_file.text() == "Export to a file…"
    dialog.title.setText("For the others")
    given = dialog._named()
    dialog.reject()
    page.verbs.export_preset(given, tmp_path / "away" / "others.preset.toml")
    qtbot.waitUntil(lambda: said(window) == ["Exported others.preset.toml."], timeout=WAIT_MS)
    assert load_preset(tmp_path / "away" / "others.preset.toml").title == "For the others"
    page.verbs.export_preset(given, tmp_path / "nowhere" / "others.preset.toml")
    qtbot.waitUntil(lambda: len(said(window)) == 2, timeout=WAIT_MS)
    assert "cannot be written" in said(window)[-1]

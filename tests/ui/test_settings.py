"""The Settings page over real files: what is shown, what can be changed, and what it changes elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QLineEdit, QToolButton, QWidget
from pytestqt.qtbot import QtBot

from tests.core.test_galleries import git, make_model
from tests.fakes.models import make_weightless_folder
from tests.ui.conftest import OpenWindow
from tests.ui.sweep import cut_off, nameless, sweep, unreached
from workbench.core.home import Home
from workbench.core.preset import find_preset, gallery_folders
from workbench.core.settings import load_settings, save_setting, setting_fields
from workbench.ui.models.preflight import Preflights, Question
from workbench.ui.pages.all import PAGES
from workbench.ui.pages.builder.page import BuildPage
from workbench.ui.pages.deploy.serve_form import ServeForm
from workbench.ui.pages.settings import SettingsPage
from workbench.ui.pages.settings.editors import ChoiceEditor, ListEditor, SwitchEditor, TextEditor
from workbench.ui.session import Session
from workbench.ui.theme import theme

WAIT_MS = 20_000


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setenv("WORKBENCH_SITE", str(folder))
    return folder


@pytest.fixture
def page(site: Path, session: Session, qtbot: QtBot) -> Iterator[SettingsPage]:
    (site / "lab.toml").write_text(
        'locked = ["network.offline"]\n[network]\noffline = true\n[folders]\nmodels = ["/srv/models"]\n'
    )
    made = SettingsPage(session)
    qtbot.addWidget(made)
    made.resize(960, 600)
    made.show()
    made.opened()
    qtbot.waitUntil(lambda: bool(made.lines), timeout=WAIT_MS)
    yield made
    made.close_page()


def settled(page: SettingsPage, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: not page.busy and not page.session.tasks.busy, timeout=WAIT_MS)


def test_each_setting_has_a_line_with_where_it_comes_from(page: SettingsPage, site: Path) -> None:
    assert set(page.lines) == set(setting_fields())
    offline = page.lines["network.offline"]
    assert offline.origin.text() == f"Locked by the administrator in {site}/lab.toml" and not offline.sign.isHidden()
    assert isinstance(offline.editor, SwitchEditor) and not offline.editor.switch.isEnabled()
    assert offline.editor.switch.isChecked() and offline.back.isHidden()
    assert page.lines["window.theme"].origin.text() == "As shipped"
    assert page.view.row("folders.models").entries[0].origin == f"set in {site}/lab.toml"
    assert page.lines["folders.models"].origin.text() == f"Set for all users in {site}/lab.toml"
    for line in page.lines.values():
        for part in line.editor.findChildren(QWidget):
            if part.focusPolicy() & Qt.FocusPolicy.TabFocus and not part.isHidden():
                assert part.accessibleName(), (line.row.field.key, part)


def test_a_folder_is_added_and_taken_out_again(page: SettingsPage, qtbot: QtBot, app_home: Home) -> None:
    line = page.lines["folders.models"]
    editor = line.editor
    assert isinstance(editor, ListEditor)
    editor.edit.setText("/home/models")
    editor.add.click()
    settled(page, qtbot)
    assert load_settings(app_home).values.folders.models == ("/srv/models", "/home/models")
    assert line.origin.text() == "Set by you"
    names = [part.accessibleName() for part in editor.findChildren(QWidget) if "Take out" in part.accessibleName()]
    assert names == ["Take out /home/models"], "the administrator's stays"
    editor.edit.setText("models")
    qtbot.keyClick(editor.edit, Qt.Key.Key_Return)
    settled(page, qtbot)
    assert "not a full path" in line.problem.text() and not line.problem.isHidden()
    button = next(part for part in editor.findChildren(QWidget) if part.accessibleName() == names[0])
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    settled(page, qtbot)
    assert load_settings(app_home).values.folders.models == ("/srv/models",) and line.problem.isHidden()


def test_what_is_added_while_another_is_saved_is_kept_with_it(page: SettingsPage, qtbot: QtBot, app_home: Home) -> None:
    editor = page.lines["folders.models"].editor
    assert isinstance(editor, ListEditor)
    for folder in ("/a", "/b", "/c"):
        editor.edit.setText(folder)
        editor.add.click()
    settled(page, qtbot)
    assert load_settings(app_home).values.folders.models == ("/srv/models", "/a", "/b", "/c")
    for folder in ("/c", "/a"):
        next(part for part in editor.findChildren(QToolButton) if part.accessibleName() == f"Take out {folder}").click()
    settled(page, qtbot)
    assert load_settings(app_home).values.folders.models == ("/srv/models", "/b")


def test_what_is_being_typed_is_not_taken_away(page: SettingsPage, qtbot: QtBot, app_home: Home) -> None:
    line = page.lines["network.wheels"].editor
    assert isinstance(line, TextEditor)
    qtbot.keyClicks(line.edit, "/srv/wheels")
    page.look()
    settled(page, qtbot)
    assert line.edit.text() == "/srv/wheels"
    qtbot.keyClick(line.edit, Qt.Key.Key_Return)
    settled(page, qtbot)
    assert load_settings(app_home).values.network.wheels == "/srv/wheels"
    line.edit.selectAll()
    qtbot.keyClicks(line.edit, "not/a/full/path")
    qtbot.keyClick(line.edit, Qt.Key.Key_Return)
    settled(page, qtbot)
    assert line.edit.text() == "/srv/wheels", "what was refused gives way to what holds"


def test_passwords_are_not_shown(page: SettingsPage, qtbot: QtBot, site: Path, app_home: Home) -> None:
    (site / "lab.toml").write_text(
        'locked = ["network"]\n[network]\npackage_index = "https://anna:secret@a.example/simple"\n'
        'extra_package_indexes = ["https://anna:secret@b.example/simple"]\n'
    )
    page.change("folders.presets", ("git+https://anna:secret@c.example/presets",))
    settled(page, qtbot)
    parts = page.findChildren(QWidget)
    said = [text for part in parts for text in (part.accessibleName(), part.toolTip())]
    said += [part.text() for part in parts if isinstance(part, (QLabel, QLineEdit))]
    assert any("c.example" in text for text in said) and any("b.example" in text for text in said)
    assert not [text for text in said if "secret" in text]
    editor = page.lines["folders.presets"].editor
    assert isinstance(editor, ListEditor)
    next(part for part in editor.findChildren(QToolButton) if "c.example" in part.accessibleName()).click()
    settled(page, qtbot)
    assert load_settings(app_home).values.folders.presets == ()


def test_a_command_of_the_site_is_gone_on_with_and_may_hold_a_word_twice(
    page: SettingsPage, qtbot: QtBot, site: Path, app_home: Home
) -> None:
    (site / "more.toml").write_text('[toolchains.openvino]\nprefix = ["docker", "-v"]\n')
    page.look()
    settled(page, qtbot)
    assert [entry.origin for entry in page.view.row("toolchains.openvino.prefix").entries] == [
        f"set in {site}/more.toml", f"set in {site}/more.toml"
    ]  # fmt: skip
    editor = page.lines["toolchains.openvino.prefix"].editor
    assert isinstance(editor, ListEditor)
    for word in ("/a:/a", "-v", "python3"):
        editor.edit.setText(word)
        editor.add.click()
        settled(page, qtbot)
    assert load_settings(app_home).values.toolchains["openvino"].prefix == ("docker", "-v", "/a:/a", "-v", "python3")
    [second] = [each for each in editor.findChildren(QToolButton) if each.accessibleName() == "Take out -v"][1:]
    second.click()
    settled(page, qtbot)
    assert load_settings(app_home).values.toolchains["openvino"].prefix == ("docker", "-v", "/a:/a", "python3")


def test_a_locked_field_is_seen_to_be_locked(page: SettingsPage, site: Path, qtbot: QtBot) -> None:
    line = page.lines["network.wheels"].editor
    assert isinstance(line, TextEditor) and not line.browse.isHidden() and not line.edit.property("locked")
    (site / "lab.toml").write_text('locked = ["network"]\n[network]\nwheels = "/srv/wheels"\n')
    page.look()
    settled(page, qtbot)
    assert line.browse.isHidden() and line.edit.property("locked") and line.edit.text() == "/srv/wheels"


def test_text_is_saved_when_it_is_done_with_and_taken_back(page: SettingsPage, qtbot: QtBot, app_home: Home) -> None:
    line = page.lines["network.wheels"]
    assert isinstance(line.editor, TextEditor)
    line.editor.edit.setText("/srv/wheels")
    qtbot.keyClick(line.editor.edit, Qt.Key.Key_Return)
    settled(page, qtbot)
    assert load_settings(app_home).values.network.wheels == "/srv/wheels" and not line.back.isHidden()
    line.back.click()
    settled(page, qtbot)
    assert load_settings(app_home).values.network.wheels == "" and line.editor.edit.text() == ""
    assert line.back.isHidden()


def test_the_look_changes_at_once(page: SettingsPage, qtbot: QtBot, app_home: Home) -> None:
    before = theme().mode
    editor = page.lines["window.theme"].editor
    assert isinstance(editor, ChoiceEditor)
    try:
        editor.segments.buttons[2].click()
        settled(page, qtbot)
        assert theme().scheme == "light" and load_settings(app_home).values.window.theme == "light"
    finally:
        theme().set_mode(before)


def test_a_locked_choice_cannot_be_made_and_no_notice_tells_of_it_at_the_start(
    site: Path, open_window: OpenWindow, qtbot: QtBot, app_home: Home
) -> None:
    save_setting(app_home, None, "window.theme", "light")
    (site / "lab.toml").write_text('locked = ["window"]\n[window]\ntheme = "dark"\n')
    window = open_window(SettingsPage)
    page = window.page("settings")
    assert isinstance(page, SettingsPage)
    qtbot.waitUntil(lambda: bool(page.lines), timeout=WAIT_MS)
    settled(page, qtbot)
    editor = page.lines["window.theme"].editor
    assert isinstance(editor, ChoiceEditor) and editor.segments.value == "dark"
    assert not any(button.isEnabled() for button in editor.segments.buttons)
    assert "does not count" in page.problem_words.text() and not window.session.notices.kept


def test_what_is_wrong_in_the_files_is_shown(page: SettingsPage, qtbot: QtBot, site: Path) -> None:
    assert page.problems.isHidden()
    (site / "other.toml").write_text("[folders]\nmodel = 1\n")
    page.opened()
    settled(page, qtbot)
    assert not page.problems.isHidden() and "Nearest: folders.models" in page.problem_words.text()


def test_a_lock_that_came_meanwhile_is_said_at_the_setting(page: SettingsPage, qtbot: QtBot, site: Path) -> None:
    line = page.lines["serving.allow_network"]
    assert isinstance(line.editor, SwitchEditor) and line.editor.switch.isChecked()
    (site / "other.toml").write_text('locked = ["serving"]\n')
    line.editor.switch.click()
    settled(page, qtbot)
    assert "locked" in line.problem.text() and line.editor.switch.isChecked(), "what holds is shown again"


def test_presets_of_a_repository_are_fetched(page: SettingsPage, qtbot: QtBot, tmp_path: Path) -> None:
    source = tmp_path / "presets"
    source.mkdir()
    (source / "lab-int8.toml").write_text((gallery_folders()[0] / "cpu-int8.toml").read_text())
    git(source, "init", "-q", "-b", "main")
    git(source, "add", ".")
    git(source, "commit", "-qm", "presets")
    assert not page.fetch_button.isEnabled()
    with qtbot.waitSignal(page.session.events.settings_changed, timeout=WAIT_MS) as told:
        page.change("folders.presets", (f"git+file://{source}",))
    assert told.args == ["folders.presets"]
    settled(page, qtbot)
    assert page.view.row("folders.presets").entries[0].note == "not fetched yet" and page.fetch_button.isEnabled()
    page.fetch_presets()
    settled(page, qtbot)
    at = f"at {git(source, 'rev-parse', 'HEAD')[:12]}"
    assert page.view.row("folders.presets").entries[0].note == at
    page.change("folders.presets", (str(source), str(tmp_path)))
    settled(page, qtbot)
    assert [entry.note for entry in page.view.row("folders.presets").entries] == [at, ""], "a plain checkout, too"


@pytest.mark.slow
def test_settings_stand_below_doctor_and_reach_the_other_pages(
    site: Path, open_window: OpenWindow, qtbot: QtBot, app_home: Home, tmp_path: Path
) -> None:
    make_model(tmp_path / "shared" / "tiny")
    save_setting(app_home, None, "folders.models", [str(tmp_path / "shared")])
    save_setting(app_home, None, "window.theme", "light")
    assert [kind.name for kind in PAGES][-2:] == ["doctor", "settings"]
    before = theme().mode
    window = open_window()
    build = window.page("build")
    assert isinstance(build, BuildPage)
    qtbot.waitUntil(lambda: build.model.field.findText("tiny") >= 0, timeout=WAIT_MS)
    assert build.model.recent == []
    try:
        window.session.actions["theme.dark"].trigger()
        qtbot.waitUntil(lambda: load_settings(app_home).values.window.theme == "dark", timeout=WAIT_MS)
        (site / "lab.toml").write_text('locked = ["window"]\n[window]\ntheme = "light"\n')
        window.session.actions["theme.dark"].trigger()
        qtbot.waitUntil(lambda: theme().mode == "light", timeout=WAIT_MS)
        assert window.session.notices.kept[-1].text == "window.theme is locked by the administrator."
    finally:
        theme().set_mode(before)


def test_preflight_takes_a_model_of_a_shared_folder_by_its_name(site: Path, app_home: Home, tmp_path: Path) -> None:
    folder = make_weightless_folder(tmp_path / "shared" / "lab" / "tiny")
    (site / "lab.toml").write_text(f'[folders]\nmodels = ["{tmp_path}/shared"]\n')
    preflights = Preflights(app_home)
    preset = find_preset("cpu-int8")
    answer = preflights.answer(Question(preset, "lab/tiny"))
    assert answer.model is not None and answer.model.path == folder and not answer.repository
    assert answer.build is not None and str(folder) in answer.build.argv
    assert preflights.answer(Question(preset, "lab/other")).repository == "lab/other"


@pytest.mark.slow
def test_long_lists_locks_and_problems_fit_in_the_smallest_window(
    site: Path, open_window: OpenWindow, qtbot: QtBot, app_home: Home
) -> None:
    long = "/srv/" + "a-rather-long-name-of-a-folder/" * 6
    (site / "10-the-administrators-own-file.toml").write_text(
        f'locked = ["network", "folders.presets"]\n[folders]\nmodels = ["{long}", "/b"]\nmodel = 1\n'
        f'presets = ["{long}"]\n[network]\nwheels = "{long}"\nextra_package_indexes = ["https://a.example/{long}"]\n'
    )
    save_setting(app_home, None, "folders.models", [f"{long}mine", "/mine"])
    save_setting(app_home, None, "toolchains.openvino.prefix", ["podman", "exec", "image"])
    window = open_window(size=(960, 600))
    qtbot.waitUntil(window.isActiveWindow)
    window.show_page("settings")
    page = window.page("settings")
    assert isinstance(page, SettingsPage)
    qtbot.waitUntil(lambda: bool(page.lines), timeout=WAIT_MS)
    settled(page, qtbot)
    if window.monitor.isVisible():
        window.toggle_monitor()
    found = [*sweep(window, "settings", nameless, cut_off), *unreached(window)]
    assert not found, "\n".join(found)


def test_the_look_of_version_0_1_is_kept(site: Path, qapp: object, app_home: Home) -> None:
    from workbench.ui.app import _mode
    from workbench.ui.session import STATE_FILE, State

    (app_home.root / STATE_FILE).write_text('{"schema": 1, "theme": "light"}')
    state = State(app_home.root / STATE_FILE)
    assert _mode(app_home, state) == "light"
    save_setting(app_home, None, "window.theme", "dark")
    assert _mode(app_home, state) == "dark"
    save_setting(app_home, None, "window.theme", None)
    (site / "a.toml").write_text('locked = ["window.theme"]\n')
    assert _mode(app_home, state) == "system"


def test_a_form_for_servers_says_when_the_network_is_not_allowed(qtbot: QtBot) -> None:
    form = ServeForm()
    qtbot.addWidget(form)
    form.restore({"host": "0.0.0.0"})
    form.show_network("serving.allow_network is false in /etc/x.toml")
    assert not form.address.buttons[1].isEnabled() and "/etc/x.toml" in form.address.buttons[1].toolTip()
    with pytest.raises(ValueError, match="allow_network"):
        form.values()
    form.show_network("")
    assert form.address.buttons[1].isEnabled()


def test_a_broken_file_of_settings_is_told_when_the_window_opens(site: Path, open_window: OpenWindow) -> None:
    (site / "lab.toml").write_text("[network]\noffline = yes\n")
    window = open_window(next(kind for kind in PAGES if kind.name == "settings"))
    said = [notice.text for notice in window.session.notices.kept if str(site / "lab.toml") in notice.text]
    assert len(said) == 1 and "not TOML" in said[0]

"""A server of somebody else's is added from the list of engines, and can be chosen there at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from tests.ui.conftest import OpenWindow
from workbench.core.endpoint import KeySource, read_endpoint
from workbench.ui.pages.engines.choice import EngineChoice
from workbench.ui.pages.engines.server_dialog import ServerDialog
from workbench.ui.window import Window


@pytest.fixture
def window(open_window: OpenWindow) -> Window:
    return open_window()


@pytest.fixture
def choice(qtbot: QtBot, window: Window) -> EngineChoice:
    window.show_page("benchmark")
    page = window.page("benchmark")
    found = page.findChild(EngineChoice)
    assert found is not None
    found.ask((), 6)
    qtbot.waitUntil(found.isVisible)
    return found


def dialog_of(qtbot: QtBot, choice: EngineChoice) -> ServerDialog:
    qtbot.mouseClick(choice.add_server, Qt.MouseButton.LeftButton)
    assert choice.server is not None
    qtbot.waitUntil(choice.server.isVisible)
    return choice.server


def type_into(qtbot: QtBot, dialog: ServerDialog, **texts: str) -> None:
    for name, text in texts.items():
        qtbot.keyClicks(getattr(dialog, name).edit, text)


def press(qtbot: QtBot, widget: QWidget, words: str) -> None:
    buttons = [one for one in widget.findChildren(QWidget) if one.isVisible() and one.accessibleName() == words]
    qtbot.mouseClick(buttons[0], Qt.MouseButton.LeftButton)


def test_it_is_listed_marked_and_chosen(qtbot: QtBot, window: Window, choice: EngineChoice) -> None:
    dialog = dialog_of(qtbot, choice)
    press(qtbot, dialog, "API: Triton")
    press(qtbot, dialog, "API key: Env")
    type_into(qtbot, dialog, name="box", url="http://box:8000", model="tensorrt_llm_bls", variable="BOX_KEY")
    qtbot.mouseClick(dialog.add, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: [row.name for row in choice.rows()] == ["box"], timeout=10_000)
    assert not dialog.isVisible()
    with qtbot.waitSignal(choice.chosen) as sent:
        qtbot.mouseClick(choice.add, Qt.MouseButton.LeftButton)
    (row,) = sent.args[0]
    spec = read_endpoint(row.path)
    assert (spec.base_url, spec.model, spec.api) == ("http://box:8000/v1", "tensorrt_llm_bls", "triton")
    assert spec.key == KeySource(source="env", name="BOX_KEY")


def test_what_is_wrong_is_said_and_nothing_is_written(qtbot: QtBot, window: Window, choice: EngineChoice) -> None:
    dialog = dialog_of(qtbot, choice)
    type_into(qtbot, dialog, name="../box", url="ftp://box", model="m")
    qtbot.mouseClick(dialog.add, Qt.MouseButton.LeftButton)
    assert dialog.isVisible()
    assert "letters, digits" in dialog.name.problem.text() or "another name" in dialog.name.problem.text()
    assert dialog.url.problem.text() and not dialog.model.problem.text()
    engines: Path = window.session.home.artifacts / "engines"
    assert not engines.exists() or not any(engines.iterdir())
    dialog.reject()
    choice.reject()


@pytest.mark.parametrize(("url", "open_key"), [("http://box:8000/v1", True), ("https://box/v1", False)])
def test_a_key_that_can_be_read_on_the_way_is_said(
    qtbot: QtBot, choice: EngineChoice, url: str, open_key: bool
) -> None:
    dialog = dialog_of(qtbot, choice)
    type_into(qtbot, dialog, url=url)
    assert not dialog.open_key.isVisible(), "there is no key yet"
    press(qtbot, dialog, "API key: Env")
    assert dialog.open_key.isVisible() == open_key
    dialog.reject()
    choice.reject()


def test_a_name_that_is_taken_is_said(qtbot: QtBot, window: Window, choice: EngineChoice) -> None:
    (window.session.home.artifacts / "engines" / "box").mkdir(parents=True)
    dialog = dialog_of(qtbot, choice)
    type_into(qtbot, dialog, name="box", url="http://box:8000/v1", model="m")
    qtbot.mouseClick(dialog.add, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "called box already" in dialog.said.text())
    assert dialog.add.isEnabled()
    dialog.reject()
    choice.reject()

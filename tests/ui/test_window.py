"""The frame: pages, palette, notices, monitor, state between starts, one window a home."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPoint, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtNetwork import QLocalSocket
from PySide6.QtWidgets import QLineEdit, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from tests.ui.conftest import OpenWindow
from workbench.core.home import Home
from workbench.ui.instance import TOKEN_VARIABLE, OneInstance
from workbench.ui.pages.base import Page
from workbench.ui.session import STATE_FILE, Session, State
from workbench.ui.window import Window


class First(Page):
    name, title, icon_name = "first", "First", "build"

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(session, parent)
        self.field = QLineEdit()
        self.field.setAccessibleName("A field")
        QVBoxLayout(self).addWidget(self.field)

    def state(self) -> dict[str, object]:
        return {"text": self.field.text()}

    def restore(self, state: dict[str, object]) -> None:
        self.field.setText(str(state.get("text", "")))


class Second(Page):
    name, title, icon_name = "second", "Second", "jobs"


def open_active(open_window: OpenWindow, qtbot: QtBot) -> Window:
    window = open_window(First, Second)
    qtbot.waitUntil(window.isActiveWindow)
    return window


@pytest.fixture
def window(open_window: OpenWindow, qtbot: QtBot) -> Window:
    return open_active(open_window, qtbot)


def test_keys_and_clicks_go_to_pages(window: Window, qtbot: QtBot) -> None:
    assert window.stack.currentWidget().objectName() == "page-first"
    qtbot.keyClick(window, Qt.Key.Key_2, Qt.KeyboardModifier.ControlModifier)
    assert window.stack.currentWidget().objectName() == "page-second"
    window.rail._items["first"].click()
    assert window.stack.currentWidget().objectName() == "page-first"


def test_the_palette_finds_and_does(window: Window, qtbot: QtBot) -> None:
    qtbot.keyClick(window, Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier)
    palette = window.palette_dialog
    assert palette is not None and palette.isVisible()
    qtbot.keyClicks(palette._field, "go second")
    qtbot.keyClick(palette._field, Qt.Key.Key_Return)
    assert not palette.isVisible()
    assert window.stack.currentWidget().objectName() == "page-second"


def test_what_was_typed_and_shown_comes_back(qtbot: QtBot, open_window: OpenWindow) -> None:
    window = open_active(open_window, qtbot)
    window.page("first").field.setText("a model")  # type: ignore[attr-defined]
    window.show_page("second")
    qtbot.keyClick(window, Qt.Key.Key_M, Qt.KeyboardModifier.ControlModifier)
    assert not window.monitor.isVisible()
    window.close()
    again = open_active(open_window, qtbot)
    assert again.stack.currentWidget().objectName() == "page-second" and not again.monitor.isVisible()
    again.show_page("first")
    assert again.monitor.isVisible(), "hidden or shown is remembered for each page"
    assert again.page("first").field.text() == "a model"  # type: ignore[attr-defined]
    again.close()


def test_a_state_file_that_cannot_be_read_is_put_aside(app_home: Home) -> None:
    path = app_home.root / STATE_FILE
    path.write_text("{")
    state = State(path)
    assert state.get("page") is None and path.with_suffix(".unreadable.json").read_text() == "{"
    state.put("page", "jobs")
    assert state.save() and json.loads(path.read_text())["page"] == "jobs"


def test_notices_are_shown_and_errors_are_not_pushed_away(window: Window, qtbot: QtBot) -> None:
    done: list[str] = []
    window.session.notices.say("error", "The disk is full.", "0 B free", "Open folder", lambda: done.append("open"))
    window.session.notices.say("info", "Saved.")
    assert window.strip.isVisible() and window.strip._text.text() == "The disk is full."
    window.strip._button.click()
    assert done == ["open"] and not window.strip.isVisible()
    assert [notice.text for notice in window.session.notices.kept] == ["The disk is full.", "Saved."]


def test_the_monitor_shows_this_machine(window: Window, qtbot: QtBot) -> None:
    def described() -> str:
        board = window.monitor.board
        return board.panels[0].accessibleDescription() if board is not None and board.panels else ""

    qtbot.waitUntil(lambda: "GiB" in described() and "Free" in described(), timeout=10_000)
    qtbot.waitUntil(lambda: " / " in window.status._memory.text(), timeout=5000)
    assert window.status._toolchain.isHidden() and window.status._engine.isHidden(), "no engine is loaded"


def test_things_dropped_on_the_window_go_to_build(qtbot: QtBot, window: Window, tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    window.session.events.build_with.connect(lambda preset, model: told.append((preset, model)))
    mine, picture, other = tmp_path / "mine.preset.toml", tmp_path / "picture.png", tmp_path / "other.toml"
    for path in (mine, picture, other):
        path.touch()

    def drop(*paths: Path) -> None:
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
        button, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        window.dropEvent(QDropEvent(QPoint(5, 5), Qt.DropAction.CopyAction, data, button, keys))

    drop(tmp_path)
    qtbot.waitUntil(lambda: told == [("", str(tmp_path))], timeout=5000)
    drop(mine, other, tmp_path)
    qtbot.waitUntil(lambda: told[1:] == [(str(mine), str(tmp_path))], timeout=5000)

    def said() -> list[str]:
        return [notice.text for notice in window.session.notices.kept]

    qtbot.waitUntil(lambda: said() == ["One at a time: not opened were other.toml."], timeout=5000)
    drop(picture)
    qtbot.waitUntil(lambda: said()[-1].endswith("picture.png is neither a preset nor a model folder."), timeout=5000)
    assert len(told) == 2


def test_a_second_start_raises_the_first(qtbot: QtBot, window: Window, app_home: Home) -> None:
    first = OneInstance(app_home)
    assert first.first()
    told: list[tuple[str, ...]] = []
    first.listen(lambda paths: (told.append(paths), window.raise_up()))
    window.showMinimized()
    code = (
        "import os, sys\nfrom PySide6.QtCore import QCoreApplication\n"
        "from workbench.core.home_choice import home_from\nfrom workbench.ui.instance import OneInstance\n"
        "app = QCoreApplication(sys.argv)\none = OneInstance(home_from(os.environ))\n"
        "print(one.first(), one.knock().value, one.knock(('/a b/\\udcff.toml',)).value, end='')\n"
    )
    second = subprocess.Popen([sys.executable, "-c", code], env=os.environ, stdout=subprocess.PIPE, text=True)
    qtbot.waitUntil(lambda: second.poll() is not None, timeout=20_000)
    assert second.communicate()[0] == "False raised opened"
    assert told == [(), ("/a b/\udcff.toml",)]
    qtbot.waitUntil(lambda: not window.isMinimized(), timeout=5000)
    first.release()
    assert OneInstance(app_home).first(), "the lock is free again"


def test_what_is_no_request_opens_nothing_and_holds_nothing_up(
    qtbot: QtBot, qapp: object, app_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "")
    first = OneInstance(app_home)
    assert first.first()
    told: list[tuple[str, ...]] = []
    first.listen(told.append)
    assert not Path(first._name).stat().st_mode & 0o077, "nobody else is let in"
    said = (b"", b"open [1]\n", b'open {"paths": [1, "/x"], "token": 3}\n', b"x" * 300_000)
    strangers = [QLocalSocket() for _ in said]
    for stranger, words in zip(strangers, said, strict=True):
        stranger.connectToServer(first._name)
        assert stranger.waitForConnected(1000)
        stranger.write(words)
    qtbot.waitUntil(lambda: sorted(told) == [(), ("/x",)], timeout=5000)
    assert os.environ[TOKEN_VARIABLE] == "3", "it goes where Qt looks for it"
    state = QLocalSocket.LocalSocketState.UnconnectedState
    qtbot.waitUntil(lambda: strangers[3].state() == state, timeout=5000)
    assert strangers[0].state() != state
    strangers[0].abort()
    first.release()


def test_closing_leaves_no_thread_behind(qtbot: QtBot, open_window: OpenWindow) -> None:
    before = {thread.ident for thread in threading.enumerate() if not thread.daemon}
    window = open_active(open_window, qtbot)
    qtbot.waitUntil(lambda: window.monitor.board is not None, timeout=10_000)
    window.close()
    assert window.session.tasks.busy == 0 or window.session.tasks.close()
    assert {thread.ident for thread in threading.enumerate() if not thread.daemon} <= before

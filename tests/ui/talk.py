"""What tests of the playground do again and again: load an engine, say something, wait for the answer."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from workbench.core.conversation import Turn
from workbench.ui.pages.playground.page import PlaygroundPage
from workbench.ui.window import Window

WAIT_MS = 60_000


def playground(window: Window) -> PlaygroundPage:
    made = window.page("playground")
    assert isinstance(made, PlaygroundPage)
    return made


def load_engine(qtbot: QtBot, window: Window, folder: Path) -> PlaygroundPage:
    """Show the page and load the engine, as the Engines page does."""
    window.show_page("playground")
    page = playground(window)
    before = {engine.id for engine in page.room.engines}
    window.session.events.prompt_with.emit(str(folder))
    qtbot.waitUntil(lambda: page.room.loading is None, timeout=WAIT_MS)
    shown = page.face.failure.accessibleDescription() or page.face.currentIndex()
    assert page.room.current is not None and page.room.current.id not in before, shown
    assert page.stack.currentWidget() is page.view
    return page


def type_message(qtbot: QtBot, page: PlaygroundPage, text: str) -> None:
    """By the keyboard, as a person does."""
    page.composer.edit.setFocus()
    page.composer.edit.selectAll()
    qtbot.keyClick(page.composer.edit, Qt.Key.Key_Delete)
    qtbot.keyClicks(page.composer.edit, text)


def say(qtbot: QtBot, page: PlaygroundPage, text: str) -> Turn:
    """Type, press Enter, and wait for the end; the answer's turn."""
    type_message(qtbot, page, text)
    return enter(qtbot, page)


def enter(qtbot: QtBot, page: PlaygroundPage) -> Turn:
    """Press Enter, and wait for the end; a prompt that may be too long is counted before it is sent."""
    before = len(page.chat.conversation.turns)
    qtbot.keyClick(page.composer.edit, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: len(page.chat.conversation.turns) > before, timeout=WAIT_MS)
    return ended(qtbot, page)


def ended(qtbot: QtBot, page: PlaygroundPage) -> Turn:
    qtbot.waitUntil(lambda: not page.chat.streaming, timeout=WAIT_MS)
    return page.chat.conversation.path()[-1]

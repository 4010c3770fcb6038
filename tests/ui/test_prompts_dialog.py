"""The saved prompts' dialog, by the keyboard alone, over the real file of the home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QCoreApplication, Qt
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from tests.ui.sweep import cut_off, nameless, unreached
from workbench.store.prompts import SavedPrompt, prompts_path, read_prompts, write_prompt
from workbench.ui.pages.playground.kept.prompts import PromptsDialog
from workbench.ui.session import Session

PROMPTS = (
    ("KV cache", "What is the KV cache?", ""),
    ("paper", "Summarise this paper in five points.", "You are exact."),
    ("Test", "Write a test for this function.\n\n```python\n```", ""),
)


class Opened:
    """A dialog that is shown, and what it has sent."""

    def __init__(self, qtbot: QtBot, session: Session, text: str, system: str) -> None:
        self.qtbot, self.session = qtbot, session
        self.dialog = PromptsDialog(session, text, system)
        qtbot.addWidget(self.dialog)
        self.chosen: list[tuple[str, str]] = []
        self.dialog.chosen.connect(lambda text, system: self.chosen.append((text, system)))
        self.dialog.open()
        qtbot.waitExposed(self.dialog)
        self.wait()

    def wait(self) -> None:
        self.qtbot.waitUntil(lambda: not self.session.tasks.busy)

    def key(self, key: Qt.Key) -> None:
        """To whatever has the focus, as the keyboard does."""
        focus = self.dialog.focusWidget()
        self.qtbot.keyClick(focus if focus is not None else self.dialog, key)

    def type(self, text: str) -> None:
        focus = self.dialog.focusWidget()
        assert isinstance(focus, QWidget)
        self.qtbot.keyClicks(focus, text)

    @property
    def name(self) -> str:
        prompt = self.dialog.prompt
        return prompt.name if prompt is not None else ""

    @property
    def names(self) -> list[str]:
        model = self.dialog.table.model()
        return [model.index(row, 0).data() for row in range(model.rowCount())]


@pytest.fixture
def saved(session: Session) -> Session:
    for name, text, system in PROMPTS:
        write_prompt(session.home, SavedPrompt(name=name, text=text, system=system))
    return session


@pytest.fixture
def opened(qtbot: QtBot, saved: Session) -> Iterator[Opened]:
    yield Opened(qtbot, saved, "the current message", "be short")


def names_in(session: Session) -> list[str]:
    return [prompt.name for prompt in read_prompts(session.home)]


def test_searched_and_inserted_by_keys(opened: Opened) -> None:
    assert opened.names == ["KV cache", "paper", "Test"] and opened.name == "KV cache"
    assert opened.dialog.focusWidget() is opened.dialog.field
    opened.type("points PAPER")  # words of name and text
    assert opened.names == ["paper"] and opened.name == "paper"
    assert opened.dialog.text.toPlainText() == PROMPTS[1][1]
    assert "You are exact." in opened.dialog.system.text()
    opened.key(Qt.Key.Key_Return)
    assert opened.chosen == [(PROMPTS[1][1], "You are exact.")] and not opened.dialog.isVisible()


def test_arrows_choose_from_the_search_field(opened: Opened) -> None:
    opened.key(Qt.Key.Key_Down)
    opened.key(Qt.Key.Key_Down)
    assert opened.name == "Test" and not opened.dialog.system.isVisible()
    opened.type("zzz")
    assert opened.names == [] and opened.dialog.prompt is None
    assert opened.dialog.text.toPlainText() == "" and not opened.dialog.insert.isEnabled()
    opened.key(Qt.Key.Key_Return)
    assert opened.chosen == [] and opened.dialog.isVisible(), "there is nothing to insert"


def test_the_current_message_is_saved_under_a_name(opened: Opened) -> None:
    dialog = opened.dialog
    dialog.name.setFocus()
    assert not dialog.yes.isEnabled()
    opened.type("  my   own ")
    opened.key(Qt.Key.Key_Return)
    opened.wait()
    assert names_in(opened.session) == ["KV cache", "my own", "paper", "Test"]
    assert opened.name == "my own" and dialog.said.text() == "Saved." and dialog.name.text() == ""
    assert (dialog.prompt.text, dialog.prompt.system) == ("the current message", "be short")  # type: ignore[union-attr]
    assert dialog.isVisible(), "Return in the name's field saves, and inserts nothing"


def test_a_prompt_of_the_same_name_is_replaced_only_when_said_so(opened: Opened) -> None:
    dialog = opened.dialog
    dialog.name.setFocus()
    opened.type("paper")
    opened.key(Qt.Key.Key_Return)
    opened.wait()
    assert read_prompts(opened.session.home)[1].text == PROMPTS[1][1], "nothing is lost yet"
    assert dialog.yes.text() == "Replace" and "already" in dialog.question.text()
    opened.type("s")  # another name: no longer a replacement
    assert dialog.yes.text() == "Save"
    opened.key(Qt.Key.Key_Backspace)
    opened.key(Qt.Key.Key_Return)
    opened.key(Qt.Key.Key_Return)
    opened.wait()
    assert read_prompts(opened.session.home)[1].text == "the current message"
    assert names_in(opened.session) == ["KV cache", "paper", "Test"]


def test_renamed_by_f2(opened: Opened) -> None:
    dialog = opened.dialog
    opened.key(Qt.Key.Key_Down)
    opened.key(Qt.Key.Key_F2)
    assert dialog.focusWidget() is dialog.name and dialog.name.text() == "paper"
    opened.type("Test")
    opened.key(Qt.Key.Key_Return)
    opened.wait()
    assert "already" in dialog.said.text() and names_in(opened.session) == ["KV cache", "paper", "Test"]
    opened.key(Qt.Key.Key_Escape)
    assert dialog.isVisible() and dialog.yes.text() == "Save", "Esc leaves the question, not the dialog"
    opened.key(Qt.Key.Key_F2)
    opened.type("a paper")
    opened.key(Qt.Key.Key_Return)
    opened.wait()
    assert names_in(opened.session) == ["a paper", "KV cache", "Test"] and opened.name == "a paper"
    assert read_prompts(opened.session.home)[0].system == "You are exact."


def test_deleted_after_a_question(opened: Opened) -> None:
    dialog = opened.dialog
    dialog.table.setFocus()
    opened.key(Qt.Key.Key_Down)
    opened.key(Qt.Key.Key_Delete)
    assert "paper" in dialog.question.text() and dialog.focusWidget() is dialog.yes
    opened.key(Qt.Key.Key_Escape)
    opened.wait()
    assert len(names_in(opened.session)) == 3
    opened.key(Qt.Key.Key_Delete)
    opened.key(Qt.Key.Key_Space)
    opened.wait()
    assert names_in(opened.session) == ["KV cache", "Test"]
    assert opened.name == "Test" and dialog.focusWidget() is dialog.table, "the next one is chosen"
    for _ in range(2):
        opened.key(Qt.Key.Key_Delete)
        opened.key(Qt.Key.Key_Space)
        opened.wait()
    assert names_in(opened.session) == [] and not dialog.insert.isEnabled()
    assert "No prompt is saved yet" in dialog.text.placeholderText()


def test_deleting_text_in_the_search_field_deletes_no_prompt(opened: Opened) -> None:
    opened.type("KV")
    opened.key(Qt.Key.Key_Home)
    opened.key(Qt.Key.Key_Delete)
    assert opened.dialog.field.text() == "V" and "Save the current" in opened.dialog.question.text()


def test_without_a_message_there_is_nothing_to_save(qtbot: QtBot, saved: Session) -> None:
    dialog = Opened(qtbot, saved, "  \n", "").dialog
    assert not dialog.name.isVisible() and not dialog.yes.isVisible()
    assert "no current message" in dialog.question.text()


def test_a_damaged_file_is_said_and_left_as_it_is(qtbot: QtBot, session: Session) -> None:
    prompts_path(session.home).write_text("{")
    opened = Opened(qtbot, session, "text", "")
    assert "cannot be read" in opened.dialog.said.text() and opened.names == []
    opened.dialog.name.setFocus()
    opened.type("name")
    opened.key(Qt.Key.Key_Return)
    opened.wait()
    assert "cannot be read" in opened.dialog.said.text()
    assert prompts_path(session.home).read_text() == "{"


def test_what_another_window_took_away_is_said(opened: Opened, app_home: object, tmp_path: Path) -> None:
    prompts_path(opened.session.home).unlink()
    opened.key(Qt.Key.Key_F2)
    opened.type("new name")
    opened.key(Qt.Key.Key_Return)
    opened.wait()
    assert "any more" in opened.dialog.said.text() and opened.dialog.isVisible()


def test_nothing_is_cut_off_and_all_has_a_name(qtbot: QtBot, saved: Session) -> None:
    write_prompt(saved.home, SavedPrompt(name="a long name " * 8, text="x" * 5000, system="y " * 2000))
    opened = Opened(qtbot, saved, "text", "")
    for ask in (lambda: None, opened.dialog._ask_rename, opened.dialog._ask_delete):
        ask()
        for _ in range(3):
            QCoreApplication.processEvents()
        assert cut_off(opened.dialog) == []
        assert nameless(opened.dialog) == []
    assert unreached(opened.dialog) == []
    assert QApplication.activeModalWidget() is opened.dialog

"""The dialog of kept conversations, over real files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractButton, QAbstractItemView, QApplication, QFileDialog, QLineEdit, QMessageBox
from pytestqt.qtbot import QtBot

from workbench.core.conversation import AnswerRecord, Conversation, EngineRef
from workbench.core.conversation_text import markdown
from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.store.conversations import Conversations
from workbench.ui.pages.playground.kept.export import file_name, write_export
from workbench.ui.pages.playground.kept.history import ENGINE, MODE, TITLE, TURNS, WHEN, HistoryDialog
from workbench.ui.session import Session

WAIT_MS = 10_000


@pytest.fixture
def kept(app_home: Home) -> Conversations:
    return Conversations(app_home)


@pytest.fixture
def dialog(session: Session, kept: Conversations, qtbot: QtBot) -> Iterator[HistoryDialog]:
    made = HistoryDialog(session, kept)
    qtbot.addWidget(made)
    yield made
    made.close()


def talk(kept: Conversations, text: str, at: float, engine: str = "tiny-int8", mode: str = "chat") -> Conversation:
    begun = kept.fresh("raw" if mode == "raw" else "chat").say(text, at)
    answer = AnswerRecord(reason="stop", engine=EngineRef(name=engine))
    done = begun.answered("Because.", answer, at + 1)
    kept.save(done)
    return done


def shown(dialog: HistoryDialog, qtbot: QtBot, count: int) -> None:
    dialog.open_fresh()
    page = 2 if count else 1
    qtbot.waitUntil(lambda: dialog.stack.currentIndex() == page and len(dialog.model.rows) == count, timeout=WAIT_MS)


def titles(dialog: HistoryDialog) -> list[str]:
    return [dialog.filter.index(row, TITLE).data() for row in range(dialog.filter.rowCount())]


def choose(dialog: HistoryDialog, title: str) -> None:
    assert dialog.table.choose(lambda each: each.title == title)


def test_nothing_kept_yet(dialog: HistoryDialog, qtbot: QtBot) -> None:
    shown(dialog, qtbot, 0)
    assert dialog.empty.isVisible() and not dialog.search.isVisible()
    for made in (dialog.open_button, dialog.rename_button, dialog.export_button, dialog.delete_button):
        assert not made.isEnabled()


def test_newest_first_found_by_words_and_opened_by_enter(
    dialog: HistoryDialog, kept: Conversations, qtbot: QtBot
) -> None:
    now = time.time()
    talk(kept, "Older question", now - 100, "llama-fp8", "raw")
    newest = talk(kept, "Newest question", now)
    shown(dialog, qtbot, 2)
    assert titles(dialog) == ["Newest question", "Older question"]
    row = [dialog.filter.index(1, column).data() for column in (ENGINE, TURNS, MODE)]
    assert row == ["llama-fp8", "2", "completion"]
    assert dialog.filter.index(0, WHEN).data() == time.strftime("%m-%d %H:%M", time.localtime(now + 1))
    assert dialog.focusWidget() is dialog.search
    qtbot.keyClicks(dialog.search, "LLAMA older")
    assert titles(dialog) == ["Older question"]
    qtbot.keyClicks(dialog.search, "x")
    assert titles(dialog) == [] and not dialog.open_button.isEnabled()
    dialog.search.clear()
    choose(dialog, "Newest question")
    with qtbot.waitSignal(dialog.opened, timeout=WAIT_MS) as opened:
        qtbot.keyClick(dialog.search, Qt.Key.Key_Return)
    assert opened.args == [newest] and not dialog.isVisible()


def test_a_damaged_file_says_so_and_is_not_opened(dialog: HistoryDialog, kept: Conversations, qtbot: QtBot) -> None:
    talk(kept, "Whole", 1e9)
    bad = kept.folder / "bad.json"
    bad.write_text("{no json")
    (kept.folder / "later.json").write_text('{"schema_version": 99, "id": "later"}')
    shown(dialog, qtbot, 3)
    opened: list[object] = []
    dialog.opened.connect(opened.append)
    for name, said in (("bad.json", "damaged"), ("later.json", "newer Engine Workbench")):
        choose(dialog, name)
        assert said in dialog.said.text().replace("\u200b", "")
        index = dialog.table.currentIndex()
        assert index.siblingAtColumn(MODE).data() == "damaged"
        assert said in index.siblingAtColumn(TITLE).data(Qt.ItemDataRole.AccessibleTextRole)
        assert not dialog.open_button.isEnabled() and not dialog.export_button.isEnabled()
        assert not index.siblingAtColumn(TITLE).flags() & Qt.ItemFlag.ItemIsEditable
        qtbot.keyClick(dialog.table, Qt.Key.Key_Return)
        qtbot.mouseDClick(
            dialog.table.viewport(), Qt.MouseButton.LeftButton, pos=dialog.table.visualRect(index).center()
        )
    assert opened == [] and dialog.isVisible() and dialog.delete_button.isEnabled()


def editor(dialog: HistoryDialog) -> QLineEdit:
    (found,) = (each for each in dialog.table.viewport().findChildren(QLineEdit) if each.isVisible())
    return found


def test_a_title_is_edited_in_its_place(dialog: HistoryDialog, kept: Conversations, qtbot: QtBot) -> None:
    one = talk(kept, "What is the KV cache?", 1e9)
    shown(dialog, qtbot, 1)
    pressed: list[bool] = []
    dialog.open_button.clicked.connect(pressed.append)
    dialog.table.setFocus()
    qtbot.keyClick(dialog.table, Qt.Key.Key_F2)
    field = editor(dialog)
    field.setText("  KV\tcache \U0001f389 ")
    with qtbot.waitSignal(dialog.renamed, timeout=WAIT_MS) as renamed:
        qtbot.keyClick(field, Qt.Key.Key_Return)
    assert dialog.isVisible() and not pressed, "Return ended the editing alone"
    assert renamed.args[0].title == "KV cache \U0001f389" == kept.load(one.id).title
    qtbot.waitUntil(lambda: titles(dialog) == ["KV cache \U0001f389"], timeout=WAIT_MS)
    qtbot.mouseClick(dialog.rename_button, Qt.MouseButton.LeftButton)
    qtbot.keyClick(editor(dialog), Qt.Key.Key_Escape)
    assert dialog.isVisible() and kept.load(one.id).title == "KV cache \U0001f389"
    qtbot.mouseClick(dialog.rename_button, Qt.MouseButton.LeftButton)
    field = editor(dialog)
    field.clear()
    with qtbot.waitSignal(dialog.renamed, timeout=WAIT_MS):
        qtbot.keyClick(field, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: titles(dialog) == ["What is the KV cache?"], timeout=WAIT_MS)
    assert dialog.focusWidget() is dialog.table


def answer(dialog: HistoryDialog, qtbot: QtBot, word: str) -> None:
    qtbot.mouseClick(dialog.delete_button, Qt.MouseButton.LeftButton)
    (box,) = (each for each in dialog.findChildren(QMessageBox, "delete-question") if each.isVisible())
    (made,) = (each for each in box.buttons() if each.text().replace("&", "") == word)
    qtbot.mouseClick(made, Qt.MouseButton.LeftButton)


def test_delete_asks_first_and_the_next_one_is_chosen(dialog: HistoryDialog, kept: Conversations, qtbot: QtBot) -> None:
    made = [talk(kept, f"Question {number}", 1e9 - number) for number in range(3)]
    shown(dialog, qtbot, 3)
    choose(dialog, "Question 1")
    answer(dialog, qtbot, "Keep")
    assert kept.load(made[1].id) == made[1]
    with qtbot.waitSignal(dialog.deleted, timeout=WAIT_MS) as deleted:
        answer(dialog, qtbot, "Delete")
    assert deleted.args == [made[1].id] and not kept.path(made[1].id).exists()
    qtbot.waitUntil(lambda: titles(dialog) == ["Question 0", "Question 2"], timeout=WAIT_MS)
    found = dialog.chosen()
    assert found is not None and found.title == "Question 2"


def test_a_file_that_went_meanwhile_is_said_and_the_list_read_again(
    dialog: HistoryDialog, kept: Conversations, qtbot: QtBot
) -> None:
    one = talk(kept, "Gone", 1e9)
    talk(kept, "Still there", 1e9 - 1)
    shown(dialog, qtbot, 2)
    kept.path(one.id).unlink()
    choose(dialog, "Gone")
    qtbot.keyClick(dialog.search, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: dialog.failure.isVisible() and titles(dialog) == ["Still there"], timeout=WAIT_MS)
    assert "can be read" in dialog.failure.what.text() and one.id in dialog.failure.evidence.toPlainText()
    assert dialog.isVisible()


def export_to(dialog: HistoryDialog, qtbot: QtBot, path: Path, kind: str) -> None:
    qtbot.mouseClick(dialog.export_button, Qt.MouseButton.LeftButton)
    (chooser,) = (each for each in dialog.findChildren(QFileDialog, "export-file") if each.isVisible())
    chooser.setDirectory(str(path.parent))
    chooser.selectNameFilter(kind)
    chooser.filterSelected.emit(kind)
    (field,) = (each for each in chooser.findChildren(QLineEdit) if each.objectName() == "fileNameEdit")
    field.setText(path.name)
    chooser.accept()
    QApplication.processEvents()


def test_export_as_markdown_and_json(dialog: HistoryDialog, kept: Conversations, qtbot: QtBot, tmp_path: Path) -> None:
    one = talk(kept, "What is the KV cache?", 1e9)
    shown(dialog, qtbot, 1)
    export_to(dialog, qtbot, tmp_path / "talk", "Markdown (*.md)")
    qtbot.waitUntil((tmp_path / "talk.md").exists, timeout=WAIT_MS)
    assert (tmp_path / "talk.md").read_text("utf-8") == markdown(one)
    export_to(dialog, qtbot, tmp_path / "talk", "JSON (*.json)")
    qtbot.waitUntil((tmp_path / "talk.json").exists, timeout=WAIT_MS)
    assert Conversation.from_json((tmp_path / "talk.json").read_bytes()) == one
    qtbot.waitUntil(lambda: len(dialog._session.notices.kept) == 2, timeout=WAIT_MS)
    assert [notice.level for notice in dialog._session.notices.kept] == ["ok", "ok"]
    assert sorted(path.name for path in tmp_path.iterdir() if "talk" in path.name) == ["talk.json", "talk.md"]


def test_an_export_that_cannot_be_written_says_why(tmp_path: Path, kept: Conversations) -> None:
    with pytest.raises(BadInputError, match="could not be exported") as caught:
        write_export(talk(kept, "Hi", 1e9), tmp_path / "absent" / "talk.md")
    assert "absent" in caught.value.evidence
    assert file_name('a/b: "c"\0?') == "a-b-c" and file_name("../..") == "conversation"
    assert file_name("\u4f60\u597d \U0001f389") == "\u4f60\u597d"


def test_every_control_has_a_name(dialog: HistoryDialog, kept: Conversations, qtbot: QtBot) -> None:
    talk(kept, "x" * 5000, 1e9)
    (kept.folder / f"{'y' * 60}.json").write_text("{")
    shown(dialog, qtbot, 2)
    choose(dialog, f"{'y' * 60}.json")
    for kind in (QAbstractButton, QAbstractItemView, QLineEdit):
        for widget in dialog.findChildren(kind):
            if widget.isVisible() and widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
                assert widget.accessibleName(), widget
    assert dialog.minimumSizeHint().width() <= 820

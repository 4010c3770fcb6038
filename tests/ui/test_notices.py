"""What was said comes through one door, and can be read and copied again."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QItemSelectionModel, Qt
from PySide6.QtGui import QGuiApplication
from pytestqt.qtbot import QtBot

from tests.ui.conftest import OpenWindow
from workbench.core.errors import Failure
from workbench.ui.pages.doctor import DoctorPage
from workbench.ui.widgets.past_notices import SHOWN, PastNotices
from workbench.ui.window import Window


@pytest.fixture
def window(open_window: OpenWindow) -> Window:
    return open_window(DoctorPage)


def past_of(window: Window) -> PastNotices:
    assert window.past_dialog is not None
    return window.past_dialog


def test_past_notices_are_listed_newest_first_and_copied(window: Window, qtbot: QtBot) -> None:
    notices = window.session.notices
    window.past_button.click()
    past = past_of(window)
    assert past.empty.isVisible() and not past.table.isVisible() and not past.copy_button.isEnabled()
    notices.say("info", "Saved.")
    done: list[str] = []
    notices.say("ok", "The engine is done.", "", "Show", lambda: done.append("shown"))
    notices.fail(Failure(code="x", what="The disk is full.", evidence="0 B free", fix="Free space."))
    assert [notice.text for notice in past.model.notices] == ["The disk is full.", "The engine is done.", "Saved."]
    past.table.selectRow(0)
    assert "0 B free" in past.detail.text() and not past.do_button.isVisible()
    past.copy_button.click()
    copied = QGuiApplication.clipboard().text()
    assert "error: The disk is full." in copied and "Free space." in copied and "Saved." not in copied
    past.table.selectionModel().clearSelection()
    past.copy_button.click()
    assert QGuiApplication.clipboard().text().count("\n2") == 2, "all, each with its day and time"
    past.table.selectRow(1)
    assert past.do_button.isVisible() and past.do_button.text() == "Show"
    past.do_button.click()
    assert done == ["shown"] and not past.isVisible()


def test_the_palette_finds_them_and_escape_closes(window: Window, qtbot: QtBot) -> None:
    window.session.notices.say("warning", "Little memory is free.")
    qtbot.waitUntil(window.isActiveWindow)
    window.open_palette()
    palette = window.palette_dialog
    assert palette is not None
    qtbot.keyClicks(palette._field, "past notices")
    qtbot.keyClick(palette._field, Qt.Key.Key_Return)
    past = past_of(window)
    assert past.isVisible() and past.table.currentIndex().row() == 0
    qtbot.keyClick(past.table, Qt.Key.Key_Escape)
    assert not past.isVisible()


def test_what_is_said_again_and_again_is_one_line_with_a_count(window: Window) -> None:
    for _ in range(5):
        window.session.notices.say("warning", "The home does not answer.")
    (kept,) = window.session.notices.kept
    assert kept.times == 5
    window.open_past_notices()
    assert past_of(window).model.data(past_of(window).model.index(0, 1)) == "The home does not answer. (5 times)"


def test_only_the_last_are_shown_and_the_choice_stays(window: Window) -> None:
    for number in range(SHOWN + 20):
        window.session.notices.say("info", f"Notice {number}")
    window.open_past_notices()
    past = past_of(window)
    assert past.model.rowCount() == SHOWN and past.model.notices[0].text == f"Notice {SHOWN + 19}"
    past.table.selectRow(3)
    chosen = past.chosen()[0]
    window.session.notices.say("info", "One more")
    assert past.chosen() == [chosen]
    past.table.selectionModel().select(
        past.model.index(0, 0), QItemSelectionModel.SelectionFlag.Select | QItemSelectionModel.SelectionFlag.Rows
    )
    assert past.detail.text() == "2 notices chosen"


def test_an_error_is_not_pushed_away_by_a_warning(window: Window) -> None:
    window.session.notices.say("error", "The disk is full.")
    window.session.notices.say("warning", "Little memory is free.")
    assert window.strip._text.text() == "The disk is full."

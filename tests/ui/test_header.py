"""The line over a page: nothing in it is cut off, however little room there is."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from workbench.ui.pages.engines.page import EnginesPage
from workbench.ui.session import Session
from workbench.ui.shell.header import Header
from workbench.ui.widgets.basics import button

WORDS = ("Self-test", "Check again", "Copy report")


@pytest.fixture
def header(qtbot: QtBot) -> Header:
    made = Header(lambda: None, lambda: None, lambda: None)
    qtbot.addWidget(made)
    made.show()
    return made


def show(header: Header, qtbot: QtBot, width: int, *, tip: str = "") -> list[QPushButton]:
    buttons = [button(text, icon_name="copy", tip=tip) for text in WORDS]
    header.resize(width, header.height())
    header.show_page("Doctor", "checked at 12:00:00", list(buttons))
    settle(header, qtbot)
    return buttons


def settle(header: Header, qtbot: QtBot) -> None:
    for _ in range(3):
        qtbot.wait(1)
    assert header.width() >= header.layout().minimumSize().width(), "something in it is cut off"


def test_with_room_all_is_in_words(header: Header, qtbot: QtBot) -> None:
    buttons = show(header, qtbot, 1200)
    assert [each.text() for each in buttons] == list(WORDS)
    assert not header.help.isHidden()


@pytest.mark.parametrize("width", [400, 480, 528, 640, 760, 848])
def test_no_button_is_cut_off(header: Header, qtbot: QtBot, width: int) -> None:
    buttons = show(header, qtbot, width)
    for each in buttons:
        assert each.width() >= each.sizeHint().width()
        assert each.geometry().right() < header.width()


def test_what_has_lost_its_words_says_them(header: Header, qtbot: QtBot) -> None:
    buttons = show(header, qtbot, 528, tip="More of it")
    assert not any(each.text() for each in buttons)
    assert [each.accessibleName() for each in buttons] == list(WORDS)
    assert buttons[0].toolTip() == "Self-test\nMore of it"
    header.resize(1200, header.height())
    settle(header, qtbot)
    assert [each.text() for each in buttons] == list(WORDS) and buttons[0].toolTip() == "More of it"


def test_new_words_of_a_narrow_button_are_kept(header: Header, qtbot: QtBot) -> None:
    buttons = show(header, qtbot, 528)
    buttons[0].setText("Test again")
    settle(header, qtbot)
    assert not buttons[0].text()
    header.resize(1200, header.height())
    settle(header, qtbot)
    assert buttons[0].text() == "Test again"


def test_the_line_beside_the_title_is_read_before_the_field_is_wide(header: Header, qtbot: QtBot) -> None:
    show(header, qtbot, 848)
    assert header._subtitle.text() == "checked at 12:00:00"


@pytest.mark.parametrize("width", [528, 640, 848])
def test_the_engines_verbs_and_filters_fit_beside_the_monitor(width: int, qtbot: QtBot, session: Session) -> None:
    page = EnginesPage(session)
    qtbot.addWidget(page)
    page.resize(width, 520)
    page.stack.setCurrentIndex(2)
    page.show()
    page.pane._name.say("A model with a name of many words, INT4 weights")
    for _ in range(3):
        qtbot.wait(1)
    verbs = (page.prompt_button, page.compare_button, page.bench_button, page.deploy_button, page.rebuild_button)
    for each in (*verbs, page.reveal_button, page.bar.only_here):
        assert each.width() >= each.sizeHint().width(), each.accessibleName()
        assert each.accessibleName()
    name = page.pane._name
    assert name.fontMetrics().horizontalAdvance(name.text()) <= name.width()
    page.close_page()

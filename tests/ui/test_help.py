"""The Help window: the page's section on F1, contents, search, pictures, links, and the way there from a cause card."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QTextBlock, QTextDocument
from pytestqt.qtbot import QtBot

from tests.ui.conftest import OpenWindow
from workbench.core.errors import Failure
from workbench.core.guide import read_guide
from workbench.ui.help.window import HelpWindow
from workbench.ui.models.jobs import JobRow
from workbench.ui.pages.all import PAGES
from workbench.ui.pages.base import Page
from workbench.ui.theme import theme
from workbench.ui.widgets.cause_card import CauseCard
from workbench.ui.window import Window


class Engines(Page):
    """A page with nothing on it: what explains a page is asked of its name."""

    name, title, icon_name = "engines", "Engines", "engines"


class Jobs(Page):
    name, title, icon_name = "jobs", "Jobs", "jobs"


def opened(qtbot: QtBot, window: Window, link: str) -> HelpWindow:
    qtbot.waitUntil(lambda: window.help_dialog is not None and window.help_dialog.link == link)
    assert window.help_dialog is not None
    qtbot.waitUntil(window.help_dialog.isVisible)
    return window.help_dialog


def blocks(document: QTextDocument) -> Iterator[QTextBlock]:
    block = document.begin()
    while block.isValid():
        yield block
        block = block.next()


def test_f1_explains_the_page_that_is_shown(qtbot: QtBot, open_window: OpenWindow) -> None:
    window = open_window(Engines, Jobs)
    window.show_page("engines")
    window.session.actions["help"].trigger()
    shown = opened(qtbot, window, "page-engines.md")
    assert shown.title.text() == "Engines" and "What was built" in shown.reader.toPlainText()
    assert shown.list.currentItem().text() == "Engines"
    window.show_page("jobs")
    window.header.help.click()
    assert opened(qtbot, window, "page-jobs.md") is shown
    window.session.actions["help.guide"].trigger()
    opened(qtbot, window, "index.md")


def test_the_guide_explains_every_page_of_the_window() -> None:
    guide = read_guide()
    for kind in PAGES:
        assert guide.of_window_page(kind.name) == f"page-{kind.name}.md", kind.name
        assert guide.page(f"page-{kind.name}").title == kind.title
    assert guide.of_window_page("nothing") == "index.md"


def test_pictures_are_shown_as_wide_as_there_is_room(qtbot: QtBot, open_window: OpenWindow) -> None:
    window = open_window(Engines, Jobs)
    window.session.events.show_help.emit("page-build.md")
    shown = opened(qtbot, window, "page-build.md")

    def width() -> float:
        for block in blocks(shown.reader.document()):
            at = block.begin()
            while not at.atEnd():
                shape = at.fragment().charFormat()
                if shape.isImageFormat():
                    return shape.toImageFormat().width()
                at += 1  # type: ignore[operator]
        raise AssertionError("no picture")

    picture = shown.reader.document().resource(
        QTextDocument.ResourceType.ImageResource.value, QUrl("pictures/build.png")
    )
    assert picture.width() == 1280
    assert 200 < width() <= shown.reader.viewport().width()
    before = width()
    shown.resize(600, 420)
    qtbot.waitUntil(lambda: width() < before)
    assert not shown.reader.horizontalScrollBar().isVisible()


def test_links_lead_on_and_back(qtbot: QtBot, open_window: OpenWindow) -> None:
    window = open_window(Engines, Jobs)
    window.session.events.show_help.emit("index.md")
    shown = opened(qtbot, window, "index.md")
    assert not shown.back.isEnabled()
    shown.reader.followed.emit("page-build.md#preflight")
    opened(qtbot, window, "page-build.md#preflight")
    assert shown.reader.verticalScrollBar().value() > 0
    shown.go_back()
    opened(qtbot, window, "index.md")
    assert shown.forward.isEnabled() and shown.reader.verticalScrollBar().value() == 0
    shown.go_forward()
    opened(qtbot, window, "page-build.md#preflight")
    shown.reader.followed.emit("no-such-page.md")
    qtbot.waitUntil(lambda: "cannot be shown" in shown.title.text())
    assert "no-such-page" in shown.reader.toPlainText()
    shown.open_link("page-build.md#preflight")
    qtbot.waitUntil(lambda: "no-such-page" not in shown.reader.toPlainText())
    assert shown.title.text() == "Build" and "Preflight" in shown.reader.toPlainText()


def test_the_search_lists_sections_and_enter_opens_the_first(qtbot: QtBot, open_window: OpenWindow) -> None:
    window = open_window(Engines, Jobs)
    window.session.events.show_help.emit("index.md")
    shown = opened(qtbot, window, "index.md")
    assert shown.list.count() == len(read_guide().pages)
    shown.search.setText("gpu ran out of memory")
    assert "The GPU ran out of memory" in shown.list.item(0).text()
    qtbot.keyClick(shown.search, Qt.Key.Key_Return)
    opened(qtbot, window, read_guide().of_failure("gpu-out-of-memory"))
    shown.search.setText("zebra crossing")
    assert shown.list.count() == 1 and not shown.list.item(0).flags() & Qt.ItemFlag.ItemIsEnabled
    shown.search.clear()
    assert shown.list.count() == len(read_guide().pages)


def test_a_cause_card_leads_to_its_section(qtbot: QtBot, open_window: OpenWindow, tmp_path: Path) -> None:
    window = open_window(Engines, Jobs)
    card = CauseCard(lambda: None, lambda: None, lambda: None, explain=window.session.events.explain.emit)
    qtbot.addWidget(card)
    failure = Failure(code="kv-pool-too-large", what="The KV cache did not fit.", evidence="0 blocks")
    card.show_job(JobRow("20260101-000000-abcd", "t", "openvino", "failed", 1, 0.0, 0.0, 1.0, (), failure, tmp_path))
    card.more.click()
    shown = opened(qtbot, window, "troubleshooting.md#the-kv-cache-does-not-fit")
    assert shown.reader.verticalScrollBar().value() > 0


def test_every_page_is_drawn_in_both_schemes(qtbot: QtBot, open_window: OpenWindow) -> None:
    window = open_window(Engines, Jobs)
    for page in read_guide().pages:
        window.session.events.show_help.emit(f"{page.name}.md")
        shown = opened(qtbot, window, f"{page.name}.md")
        text = shown.reader.toPlainText()
        assert page.title in text and "![" not in text and "](" not in text and "```" not in text, page.name
    mode = theme().mode
    try:
        theme().set_mode("light")
        grounds = {block.blockFormat().background().color().name() for block in blocks(shown.reader.document())}
        assert theme().hex("raised") in grounds, "code stands on the ground of the scheme of now"
        back = shown.reader.grab().toImage().pixelColor(5, 5)
        assert back.lightness() > 200
    finally:
        theme().set_mode(mode)
    assert shown.accessibleName() or shown.windowTitle()
    assert shown.reader.accessibleName() and shown.list.accessibleName() and shown.search.accessibleName()

"""The playground's faces without an engine: nothing loaded, one being loaded, one that failed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractButton
from pytestqt.qtbot import QtBot

from tests.ui.test_engines import make_engine
from workbench.core.errors import Failure
from workbench.core.home import Home
from workbench.store.store import Store
from workbench.ui.models.loading import LoadStep
from workbench.ui.models.room import Loading
from workbench.ui.pages.playground.engine.faces import EngineFace, loading_words, seconds_words
from workbench.ui.session import Session

WAIT_MS = 10_000
FAILURE = Failure(code="killed", what="The host was killed.", evidence="signal 9", fix="Load it again.")


@pytest.fixture
def face(session: Session, qtbot: QtBot) -> Iterator[EngineFace]:
    made = EngineFace(session)
    qtbot.addWidget(made)
    made.resize(700, 460)
    made.show()
    yield made
    made.close()


def press(qtbot: QtBot, made: QAbstractButton) -> None:
    assert made.isVisible() and made.isEnabled() and made.accessibleName()
    qtbot.mouseClick(made, Qt.MouseButton.LeftButton)


def test_nothing_loaded_offers_what_can_be_done_next(face: EngineFace, app_home: Home, qtbot: QtBot) -> None:
    face.show_nothing()
    qtbot.waitUntil(face.nothing.demo.isVisible, timeout=WAIT_MS)
    assert not face.nothing.load.isVisible() and "Nothing was built yet." in face.nothing.detail.text()
    with qtbot.waitSignal(face.asked_demo):
        press(qtbot, face.nothing.demo)
    make_engine(app_home.make().artifacts / "engines", "one")
    with Store.open(app_home) as store:
        store.sync()
    face.show_nothing()
    qtbot.waitUntil(face.nothing.load.isVisible, timeout=WAIT_MS)
    assert not face.nothing.demo.isVisible() and face.nothing.sentence.text() == "Load an engine to talk to it."
    face.take_focus()
    with qtbot.waitSignal(face.asked_load):
        qtbot.keyClick(face.nothing.load, Qt.Key.Key_Space)


def test_loading_shows_how_far_and_for_how_long(face: EngineFace, qtbot: QtBot) -> None:
    begun = Loading("e1", Path("/engines/one"), "one")
    face.show_loading(begun)
    card = face.loading
    assert card.title.text() == "Loading one" and card.words.text() == "Starting"
    assert (card.bar.minimum(), card.bar.maximum()) == (0, 0), "how far is not known"
    assert card._clock.isActive()
    card._since_s -= 125.0
    face.show_loading(Loading("e1", begun.path, "one-int8", LoadStep("compile", 0.4)))
    assert card.words.text() == "Compile, 40 %" and card.bar.value() == 400 and card.bar.maximum() == 1000
    assert card.elapsed.text() == "2 min 05 s"
    with qtbot.waitSignal(face.asked_stop):
        press(qtbot, card.stop_button)
    face.show_loading(Loading("e2", begun.path, "one"))
    assert card.elapsed.text() == "0 s", "another engine's time begins anew"
    face.show_nothing(True)
    assert not card._clock.isActive()


def test_a_share_out_of_range_and_no_words_are_shown_in_range() -> None:
    for share, said in ((1.7, "Loading, 100 %"), (-1.0, "Loading, 0 %"), (None, "Loading")):
        assert loading_words(Loading("e", Path("/"), "one", LoadStep(" ", share))) == said
    assert [seconds_words(value) for value in (-3.0, 59.9, 60.0)] == ["0 s", "59 s", "1 min 00 s"]


def test_a_failure_is_read_and_answered(face: EngineFace, qtbot: QtBot) -> None:
    path = Path("/engines/one")
    face.show_failure("one", FAILURE, path, died=True)
    card = face.failure
    assert card.title.text() == "one ended" and card.text.what.text() == FAILURE.what
    assert card.text.evidence.toPlainText() == FAILURE.evidence and card.text.fix.text() == FAILURE.fix
    with qtbot.waitSignal(face.asked_again) as again:
        press(qtbot, card.again)
    assert again.args == [path]
    with qtbot.waitSignal(face.asked_log):
        press(qtbot, card.log)
    with qtbot.waitSignal(face.closed):
        press(qtbot, card.close_button)
    assert face.currentIndex() == 0
    qtbot.waitUntil(lambda: face.nothing.demo.isVisible(), timeout=WAIT_MS)
    face.show_failure("one", Failure(code="x", what="It failed."))
    assert card.title.text() == "one could not be loaded" and not card.again.isVisible()
    assert not card.text.evidence.isVisible() and not card.text.fix.isVisible()


def test_long_evidence_is_whole_and_scrolls(face: EngineFace) -> None:
    line = "/a/long/path" * 400
    face.show_failure("one", FAILURE.model_copy(update={"evidence": line}), Path("/"))
    evidence = face.failure.text.evidence
    assert evidence.toPlainText() == line
    assert evidence.height() < 160 and evidence.verticalScrollBar().maximum() > 0
    assert not evidence.horizontalScrollBar().isVisible() and evidence.horizontalScrollBar().maximum() < 6
    face.show_failure("one", FAILURE, Path("/"))
    assert evidence.verticalScrollBar().maximum() == 0

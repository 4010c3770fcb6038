"""The monitor's panel of speculative decoding: there for engines that report guesses, with what they report."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from tests.fakes.telemetry import Invented
from tests.ui.test_monitor import panel, titles, values
from workbench.ui.monitor.axis import TimeAxis
from workbench.ui.monitor.board import Board
from workbench.ui.monitor.drafts_panel import DraftsPanel

TITLE = "Speculative decoding"


@pytest.fixture
def source() -> Invented:
    return Invented()


@pytest.fixture
def board(qtbot: QtBot, source: Invented) -> Iterator[Board]:
    axis = TimeAxis()
    axis.set_minutes(1)
    made = Board(source.telemetry, axis)
    qtbot.addWidget(made)
    made.resize(360, 1100)
    made.show()
    yield made
    made.close()


def guess(source: Invented, passes: int, *, drafted: bool = True, kept: int = 2) -> None:
    """So many passes of ten steps each a second: five guesses a pass, of which `kept` hold."""
    before = source.tracks[0].newest
    start = 0 if before is None else before.draft_passes or 0
    for number in range(start + 1, start + passes + 1):
        told = {"draft_tokens": 5 * number} if drafted else {}
        source.step(0.1, accepted_tokens=kept * number, draft_passes=number, **told)


def shown(board: Board) -> DraftsPanel:
    board.refresh()
    QApplication.processEvents()
    found = panel(board, TITLE)
    assert isinstance(found, DraftsPanel)
    return found


def test_engines_without_guesses_have_no_such_panel(board: Board, source: Invented) -> None:
    source.run(2)
    board.refresh()
    assert TITLE not in titles(board)


def test_it_comes_with_the_first_report_and_says_share_and_length(board: Board, source: Invented) -> None:
    source.run(1)
    board.refresh()
    guess(source, 60)
    drafts = shown(board)
    assert titles(board).index(TITLE) == titles(board).index("Tokens per second") + 1
    assert values(drafts) == {"Accepted": "40 %", "Per pass": "3.0"}
    assert drafts.told.readings[0][0].below == "mean 40 %"
    share, length = (plot.frame for plot in drafts.plots)
    assert share is not None and share.top == 1.0 and not share.words
    assert length is not None and length.top >= 3.0 and not length.words


def test_where_the_number_of_guesses_is_not_told_the_share_is_not_reported(board: Board, source: Invented) -> None:
    guess(source, 30, drafted=False, kept=1)
    drafts = shown(board)
    assert values(drafts) == {"Accepted": "", "Per pass": "2.0"}
    assert str(drafts.told.readings[0][0]) == "Accepted not reported"
    frame = drafts.plots[0].frame
    assert frame is not None and frame.words == "not reported by OpenVINO GenAI"

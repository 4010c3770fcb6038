"""Bursts in the window: real requests over a host without an engine, their card, table and controls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QCoreApplication, Qt, QTimer
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from tests.jobs.test_engine import command
from tests.ui.sweep import cut_off, nameless, unreached
from workbench.core.answer import AnswerRecord, Piece
from workbench.core.errors import Failure
from workbench.core.messages import Sampling
from workbench.core.preset import find_preset
from workbench.jobs.burst import BurstRow, Prompt
from workbench.jobs.engine import EngineClient
from workbench.store.prompts import SavedPrompt, write_prompt
from workbench.ui.models.burst import BurstModel, BurstSnapshot
from workbench.ui.models.loading import EngineFacts, LoadedEngine
from workbench.ui.pages.playground.burst.bar import BurstBar
from workbench.ui.pages.playground.burst.card import STATES, BurstCard
from workbench.ui.pages.playground.burst.table import (
    ANSWER,
    IN,
    MOST_SHOWN,
    OUT,
    PAD,
    PROMPT,
    SPEED,
    STATE,
    STATE_ICONS,
    TTFT,
    BurstRows,
    BurstTable,
    cell,
    cell_words,
    detail_words,
)
from workbench.ui.pages.playground.talk.figures import figures_of
from workbench.ui.session import Session

Load = Callable[..., LoadedEngine]
Place = Callable[..., QWidget]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Loads a host that behaves as it is told; its end is the test's."""
    clients: list[EngineClient] = []

    def start(**settings: Any) -> LoadedEngine:
        clients.append(EngineClient.start(command(**settings), tmp_path / "log"))
        preset = find_preset("demo")
        facts = EngineFacts(
            tmp_path, "fake-engine", "openvino", "OpenVINO", "int8", key="k", built=preset, preset=preset
        )
        return LoadedEngine("e1", facts, clients[-1])

    yield start
    for client in clients:
        client.close(0.0)


@pytest.fixture
def model(session: Session) -> Iterator[BurstModel]:
    made = BurstModel(session)
    yield made
    made.close()


@pytest.fixture
def place(qtbot: QtBot) -> Iterator[Place]:
    """Shows the parts in a window, as the page does."""
    windows: list[QWidget] = []  # qtbot alone would not keep them

    def show(*parts: QWidget, width: int = 844) -> QWidget:
        window = QWidget()
        windows.append(window)
        layout = QVBoxLayout(window)
        layout.addStretch(1)
        for part in parts:
            layout.addWidget(part)
        qtbot.addWidget(window)
        window.resize(width, 500)
        window.show()
        qtbot.waitExposed(window)
        return window

    yield show


def ended(qtbot: QtBot, model: BurstModel) -> BurstSnapshot:
    qtbot.waitUntil(lambda: not model.running, timeout=20_000)
    assert model.snapshot is not None
    return model.snapshot


def kept(session: Session) -> list[dict[str, Any]]:
    folder = session.home.root / "bursts"
    return [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]


@pytest.mark.slow
def test_sixteen_requests_run_end_and_are_kept(
    qtbot: QtBot, session: Session, model: BurstModel, load: Load, place: Place
) -> None:
    card = BurstCard(model)
    place(card)
    assert not card.isVisible(), "there is no burst"
    seen: list[tuple[int, int]] = []
    model.changed.connect(lambda shown: shown and seen.append((shown.summary.active, shown.summary.done)))
    before = [event.text for event in session.telemetry.events(0, 1e12)]
    engine = load(tokens_per_s=40)
    assert model.start(engine, ["one", "two"], 16, sampling=Sampling(max_tokens=40, seed=3), chat=False, source="list")
    assert card.isVisible() and card.head.text() == "Burst \u00d716" and card.stop.isVisible()
    qtbot.waitUntil(lambda: card.counts["active"].text() == "16", timeout=10_000)
    assert card.bar.accessibleDescription() == "16 active of 16"
    snapshot = ended(qtbot, model)
    assert not any(timer.isActive() for timer in model.findChildren(QTimer)), "nothing is looked at any more"
    assert (16, 0) in seen and seen[-1] == (0, 16)
    assert snapshot.summary.output_tokens == 640
    assert not card.stop.isVisible() and card.away.isVisible() and card.export.isVisible()
    assert card.counts["done"].text() == "16"
    assert card.about.full == "list, 2 prompts repeated, mean 3 tokens in, up to 40 out"
    assert card.speed.text() == f"{round(snapshot.summary.output_tok_s or 0)} tok/s"
    qtbot.waitUntil(lambda: model.snapshot is not None and model.snapshot.kept is not None)
    (found,) = kept(session)
    assert found["engine"]["name"] == "fake-engine" and len(found["rows"]) == 16
    assert found["rows"][15]["answer"]["sampling"]["seed"] == 18
    events = [event.text for event in session.telemetry.events(0, 1e12)][len(before) :]
    assert events == ["burst \u00d716", "burst done"]
    qtbot.mouseClick(card.away, Qt.MouseButton.LeftButton)
    assert not card.isVisible() and model.snapshot is None


@pytest.mark.slow
def test_stop_burst_and_a_second_one_meanwhile(
    qtbot: QtBot, session: Session, model: BurstModel, load: Load, place: Place
) -> None:
    card = BurstCard(model)
    place(card)
    engine = load(tokens_per_s=50)
    refused: list[Failure] = []
    model.refused.connect(refused.append)
    assert not model.start(engine, ["  "], 2) and not model.running
    assert model.start(engine, ["x"], 4, sampling=Sampling(max_tokens=100_000))
    assert not model.start(engine, ["y"], 4)
    assert [failure.code for failure in refused] == ["empty-prompt", "burst-runs"]
    qtbot.waitUntil(lambda: card.counts["active"].text() == "4", timeout=10_000)
    qtbot.mouseClick(card.stop, Qt.MouseButton.LeftButton)
    snapshot = ended(qtbot, model)
    assert snapshot.summary.stopped == 4 and all(row.text for row in snapshot.rows)
    assert card.counts["stopped"].isVisible() and not card.counts["active"].isVisible()
    assert model.start(engine, ["x"], 1, sampling=Sampling(max_tokens=2)), "the next one may go"
    ended(qtbot, model)
    qtbot.waitUntil(lambda: len(kept(session)) == 2)


def test_the_hosts_death_is_in_each_row(
    qtbot: QtBot, session: Session, model: BurstModel, load: Load, place: Place
) -> None:
    card = BurstCard(model)
    card.set_open(True)
    place(card)
    engine = load(tokens_per_s=60, die_after=40)
    assert model.start(engine, ["x"], 8, sampling=Sampling(max_tokens=1000), chat=False)
    snapshot = ended(qtbot, model)
    assert engine.client.failure is not None
    assert {row.failure for row in snapshot.rows} == {engine.client.failure}
    assert card.counts["failed"].text() == "8"
    card.table.view.selectRow(3)
    assert card.table.answer.toPlainText() == snapshot.rows[3].text != ""
    assert engine.client.failure.what in card.table.about.full
    assert cell(snapshot.rows[3], ANSWER) == engine.client.failure.what
    qtbot.waitUntil(lambda: len(kept(session)) == 1)


def test_a_window_that_closes_keeps_what_came(qtbot: QtBot, session: Session, model: BurstModel, load: Load) -> None:
    assert model.start(load(tokens_per_s=50), ["x"], 4, sampling=Sampling(max_tokens=100_000))
    qtbot.waitUntil(lambda: model.snapshot is not None and model.snapshot.summary.active == 4, timeout=10_000)
    session.tasks.close()
    model.close()
    (found,) = kept(session)
    assert all(row["answer"]["pieces"] for row in found["rows"])


@pytest.mark.slow
def test_rows_are_walked_by_keys_and_the_answer_streams(
    qtbot: QtBot, session: Session, model: BurstModel, load: Load, tmp_path: Path, place: Place
) -> None:
    card = BurstCard(model)
    place(card)
    assert model.start(load(tokens_per_s=150), ["one", "bad", "three"], 6, sampling=Sampling(max_tokens=60), chat=False)
    qtbot.keyClick(card.head, Qt.Key.Key_Space)
    assert card.is_open
    table = card.table
    qtbot.waitUntil(lambda: len(table.answer.toPlainText()) > 10, timeout=10_000)
    view = table.view
    view.setFocus()
    qtbot.keyClick(view, Qt.Key.Key_Down)
    assert table.chosen is not None and table.chosen.number == 2
    qtbot.waitUntil(lambda: table.chosen is not None and table.chosen.state == "failed")
    assert table.answer.toPlainText() == "" and table.about.full == "The prompt is bad." and not table.copy.isEnabled()
    qtbot.keyClick(view, Qt.Key.Key_Down)
    ended(qtbot, model)
    chosen = table.chosen
    assert chosen is not None and chosen.number == 3, "the choice stays while rows change"
    assert table.answer.toPlainText() == chosen.text and len(chosen.text) > 200
    assert "latency" in table.about.full and "stopped at max tokens" in table.about.full
    qtbot.keyClick(view, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text() == chosen.text
    assert [table.model.index(row, STATE).data() for row in range(3)] == ["done", "failed", "done"]
    model.export(tmp_path / "out.json")
    qtbot.waitUntil(lambda: bool(session.notices.kept) and session.notices.kept[-1].level == "ok")
    assert len(json.loads((tmp_path / "out.json").read_text("utf-8"))["rows"]) == 6
    model.export(tmp_path / "no" / "such" / "out.json")
    qtbot.waitUntil(lambda: session.notices.kept[-1].level == "error")


def test_only_what_changed_is_announced(qtbot: QtBot) -> None:
    rows = tuple(BurstRow(number, "p") for number in range(1, 5))
    model = BurstRows()
    assert model.set_rows("b", rows), "another burst"
    spans: list[tuple[int, int]] = []
    model.dataChanged.connect(lambda first, last: spans.append((first.row(), last.row())))
    assert not model.set_rows("b", rows) and spans == []
    assert not model.set_rows("b", (*rows[:2], BurstRow(3, "p", "active"), rows[3])) and spans == [(2, 2)]
    assert model.set_rows("c", rows), "the same numbers of another burst"


def test_what_is_not_there_says_why() -> None:
    waiting = BurstRow(1, "line one\nline two")
    assert cell(waiting, PROMPT) == "line one line two"
    assert (cell(waiting, TTFT), cell_words(waiting, TTFT)) == ("\u2013", "not known yet")
    done = BurstRow(2, "p", "done", None, None, None, None, None, "x" * 500, "stop")
    for column in (IN, OUT, TTFT, SPEED):
        assert (cell(done, column), cell_words(done, column)) == ("\u2013", "not reported")
    assert cell(done, ANSWER) == "\u2026" + "x" * 160
    one = BurstRow(3, "p", "done", 1234, 1, 9600.04, None, 10.0, "x", "length")
    assert [cell(one, column) for column in (IN, OUT, TTFT)] == ["1\u202f234", "1", "9\u202f600"]
    assert cell_words(one, SPEED) == "one token has no speed"


def test_figures_and_ends_are_those_of_the_line_under_an_answer() -> None:
    pieces = (Piece(100.2443, 1, "a"), Piece(100.4443, 11, "b"))
    record = AnswerRecord(reason="stop", t0_s=100.0, pieces=pieces)
    line = {figure.name: figure.value for figure in figures_of(record)}
    done = BurstRow(1, "p", "done", 3, 12, record.ttft_ms, record.output_tok_s, 444.0, "ab", "stop")
    assert f"{cell(done, TTFT)} ms" == line["TTFT"] == "244 ms"
    assert f"{cell(done, SPEED)} tok/s" == line["speed"] == "55 tok/s"
    assert "TTFT 244 ms   55 tok/s" in detail_words(done)
    assert detail_words(done).endswith(f"stopped at {line['stopped at']}")


@pytest.mark.parametrize("width", [510, 639, 640, 900])
def test_every_state_is_shown_whole(place: Place, width: int) -> None:
    table = BurstTable()
    place(table, width=width)
    states = ("waiting", "active", "done", "failed", "stopped")
    table.show_rows("b", tuple(BurstRow(at, "p", state) for at, state in enumerate(states, 1)))
    QCoreApplication.processEvents()
    for at in range(len(states)):
        needed = table.view.sizeHintForIndex(table.model.index(at, STATE)).width() + 2 * PAD
        assert table.view.columnWidth(STATE) >= needed, states[at]


def test_stopped_has_one_colour_and_waiting_says_what_it_may_be() -> None:
    of_bar = {name: (colour, meaning) for name, colour, meaning in STATES}
    assert STATE_ICONS["stopped"][1] == of_bar["stopped"][0]
    assert "queued" in of_bar["waiting"][1] and "look alike" in of_bar["waiting"][1]


def test_a_very_long_answer_is_shown_in_part_and_copied_whole(qtbot: QtBot, place: Place) -> None:
    table = BurstTable()
    place(table)
    text = "word \u05e9\u05dc\u05d5\u05dd \U0001f600\n" * 20_000
    for end in (10, 50_000, len(text)):
        table.show_rows("b", (BurstRow(1, "p", "active", text=text[:end]),))
        assert table.answer.toPlainText() == text[: min(end, MOST_SHOWN)]
    assert "Copy takes all" in table.about.full
    qtbot.mouseClick(table.copy, Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text() == text
    table.show_rows("", ())
    assert table.answer.toPlainText() == "" and not table.copy.isEnabled()


@pytest.mark.parametrize("width", [510, 844])
def test_nothing_is_cut_off_nor_without_a_name(
    qtbot: QtBot, session: Session, model: BurstModel, load: Load, width: int, place: Place
) -> None:
    card, bar = BurstCard(model), BurstBar(session)
    card.set_open(True)
    window = place(card, bar, width=width)
    engine = load(tokens_per_s=0)
    prompts = ["a prompt of many words " * 9, "bad"]
    assert model.start(engine, prompts, 32, sampling=Sampling(max_tokens=50), chat=False, source="a-file.jsonl " * 9)
    ended(qtbot, model)
    QCoreApplication.processEvents()  # layouts follow what they hold
    assert window.width() == width, "it asks for no more room than there is"
    assert cut_off(window) == []
    assert nameless(window) == []
    assert unreached(window) == []


# -- the controls


def asked_of(bar: BurstBar) -> list[tuple[int, Any, str]]:
    asked: list[tuple[int, Any, str]] = []
    bar.asked.connect(lambda count, prompts, words: asked.append((count, prompts, words)))
    return asked


def test_this_message_is_sent_as_often_as_asked(qtbot: QtBot, session: Session, place: Place) -> None:
    bar = BurstBar(session)
    asked = asked_of(bar)
    place(bar)
    assert bar.count.value() == 16
    bar.count.selectAll()
    qtbot.keyClicks(bar.count.lineEdit(), "99")
    qtbot.mouseClick(bar.send, Qt.MouseButton.LeftButton)
    bar.count.selectAll()
    qtbot.keyClicks(bar.count.lineEdit(), "64")
    qtbot.mouseClick(bar.send, Qt.MouseButton.LeftButton)
    assert [prompts for _, prompts, _ in asked] == [None, None] and asked[-1][0] == 64
    assert all(1 <= count <= 64 for count, _, _ in asked)
    bar.set_ready("Load an engine first")
    assert not bar.send.isEnabled() and "Load an engine" in bar.send.toolTip()
    bar.ask()
    assert len(asked) == 2
    assert BurstBar(session).count.value() == 64, "the number is remembered"


def test_prompts_of_a_file_are_read_each_time_and_remembered(
    qtbot: QtBot, session: Session, tmp_path: Path, place: Place
) -> None:
    path = tmp_path / "mixed.txt"
    path.write_text("one\ntwo\n")
    bar = BurstBar(session)
    asked = asked_of(bar)
    place(bar)
    bar.choose_file(path)
    qtbot.waitUntil(lambda: bar.source_words == "mixed.txt")
    assert "2 prompts" in bar.source.toolTip() and str(path) in bar.source.toolTip()
    path.write_text("three\n")
    qtbot.mouseClick(bar.send, Qt.MouseButton.LeftButton)
    assert not bar.send.isEnabled(), "not twice while it reads"
    qtbot.waitUntil(lambda: bool(asked))
    assert asked == [(16, (Prompt("three"),), "mixed.txt")] and bar.send.isEnabled()
    path.write_bytes(b"good\nb\0d\n")
    bar.ask()
    qtbot.waitUntil(lambda: bool(session.notices.kept))
    assert "line 2" in session.notices.kept[-1].detail and len(asked) == 1 and bar.send.isEnabled()
    bar.choose_file(tmp_path / "absent.txt")
    qtbot.waitUntil(lambda: len(session.notices.kept) == 2)
    assert bar.source_words == "mixed.txt", "a file that cannot be read is not chosen"
    again = BurstBar(session)
    assert [again.source.itemText(place) for place in range(again.source.count())] == [
        "this message", "saved prompts", "mixed.txt", "From a file\u2026",
    ]  # fmt: skip


def test_saved_prompts_are_sent_with_their_system_prompts(qtbot: QtBot, session: Session, place: Place) -> None:
    bar = BurstBar(session)
    asked = asked_of(bar)
    place(bar)
    bar.source.setFocus()
    qtbot.keyClick(bar.source, Qt.Key.Key_Down)
    assert bar.source_words == "saved prompts"
    bar.ask()
    qtbot.waitUntil(lambda: bool(session.notices.kept))
    assert not asked and "no saved prompt" in session.notices.kept[-1].text
    for name, text, system in (("b", "two", ""), ("a", "one", "be short"), ("c", "", "a system prompt alone")):
        write_prompt(session.home, SavedPrompt(name=name, text=text, system=system))
    bar.ask()
    qtbot.waitUntil(lambda: bool(asked))
    assert asked[0][1] == (Prompt("one", system="be short"), Prompt("two"))


def test_damaged_settings_are_not_taken(qtbot: QtBot, session: Session) -> None:
    for count, files in ((0, "x"), (True, [1, None]), ("7", {"a": 1}), (65, None)):
        session.state.put("burst_count", count)
        session.state.put("burst_files", files)
        bar = BurstBar(session)
        assert bar.count.value() == 16 and bar.source.count() == 3

"""The conversation of the playground: rows, streaming, Markdown, tokens, and what a person can do with each."""

from __future__ import annotations

import itertools
import time

import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt, QUrl, Slot
from PySide6.QtGui import (
    QDesktopServices,
    QEnterEvent,
    QGuiApplication,
    QHelpEvent,
    QKeySequence,
    QMouseEvent,
    QShortcut,
)
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QLabel, QLineEdit, QToolTip, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from workbench.core import metrics
from workbench.core.answer import AnswerRecord, EngineRef, Piece
from workbench.core.conversation import Conversation, Turn
from workbench.core.errors import Failure
from workbench.core.messages import Sampling, Usage
from workbench.jobs.generation import BAD_REQUEST
from workbench.ui.pages.playground.talk.answer_cause import sentence
from workbench.ui.pages.playground.talk.code_block import CodeBlock
from workbench.ui.pages.playground.talk.conversation import ConversationView
from workbench.ui.pages.playground.talk.figures import INPUT, SPEED, TTFT, ends_of, figures_of
from workbench.ui.pages.playground.talk.text_part import TextPart
from workbench.ui.pages.playground.talk.token_view import LOWEST, TokenView, cells_of, opacity
from workbench.ui.pages.playground.talk.turn_row import TurnRow
from workbench.ui.pages.playground.talk.turn_words import NOTHING_SAID
from workbench.ui.theme import theme

ENGINE = EngineRef(name="tiny", toolchain="OpenVINO GenAI")
LOST = Failure(
    code="host-died", what="The engine host ended.", evidence="signal 9", fix="Load the engine again.", exit_code=4
)


def pieces(text: str, *, logprobs: bool = True, ids: bool = True) -> tuple[Piece, ...]:
    """A token a word, 10 ms apart, the first one 50 ms after the request at 100 s."""
    words = [word + " " for word in text.split(" ")]
    words[-1] = words[-1][:-1]
    return tuple(
        Piece(100.05 + n * 0.01, 1, word, (n,) if ids else (), (-0.5 * n,) if logprobs else None)
        for n, word in enumerate(words)
    )


def record(text: str, reason: str = "stop", **kind: bool) -> AnswerRecord:
    return AnswerRecord(
        reason=reason,  # type: ignore[arg-type]
        t0_s=100.0,
        pieces=pieces(text, **kind),
        usage=Usage(input_tokens=1234, output_tokens=len(text.split(" "))),
        engine=ENGINE,
        sampling=Sampling(logprobs=True),
    )


def chat(*texts: str) -> Conversation:
    """Messages and answers in turn."""
    made = Conversation(id="c")
    for at, text in enumerate(texts):
        made = made.answered(text, record(text), float(at)) if at % 2 else made.say(text, float(at))
    return made


@pytest.fixture
def view(qtbot: QtBot) -> ConversationView:
    made = ConversationView()
    qtbot.addWidget(made)
    made.resize(845, 600)
    made.show()
    return made


def settle() -> None:
    for _ in range(3):
        QApplication.processEvents()


def shown_text(row: TurnRow) -> str:
    assert row.body is not None
    return "\n".join(part.view.toPlainText() for part in row.body.parts if part.view is not None)


def texts_of(row: TurnRow) -> list[TextPart]:
    assert row.body is not None
    return [part.view for part in row.body.parts if part.view is not None]


def clipboard() -> str:
    return QGuiApplication.clipboard().text()


def coming(conversation: Conversation, turn_id: str = "live") -> Turn:
    return Turn(id=turn_id, parent=conversation.leaf, role="assistant", text="", created_at=9.0)


# -- rows and figures


def test_rows_show_who_said_what_and_what_it_took(view: ConversationView) -> None:
    view.show_conversation(chat("Are you ready?", "Yes I am", "Good", "Go on"))
    settle()
    assert [row.role_words for row in view.rows] == ["you", "answer 1", "you", "answer 2"]
    assert [shown_text(row) for row in view.rows] == ["Are you ready?", "Yes I am", "Good", "Go on"]
    assert view.rows[0].figures is None
    assert view.rows[1].figures is not None
    assert view.rows[1].figures.words == ("TTFT 50 ms, speed 100 tok/s, in 1\u202f234, out 3, stopped at end of turn")
    last = view.rows[-1]
    assert view.viewport().height() - (last.y() + last.height()) == 16, "a short one stands at the end of the page"


def test_what_is_missing_is_said_and_never_zero() -> None:
    bare = AnswerRecord(reason="length", pieces=(), usage=None)
    words = {figure.name: figure.value for figure in figures_of(bare)}
    assert words == {
        "TTFT": "not reported",
        "speed": "not reported",
        "in": "not reported",
        "out": "0",
        "stopped at": "max tokens",
    }
    assert {figure.value for figure in figures_of(None)} == {"not reported"}
    one = AnswerRecord(reason="abort", t0_s=1.0, pieces=(Piece(1.5, 1, "x"),))
    words = {figure.name: figure.value for figure in figures_of(one)}
    assert words["TTFT"] == "500 ms"
    assert words["speed"] == "\u2013", "one token has no speed, reported or not"
    assert words["stopped by"] == "you"


def test_figures_from_the_first_and_last_response_are_those_of_all() -> None:
    odd = (
        Piece(100.0, 0, "", ()),
        Piece(100.2, 2, "a"),
        Piece(100.3, 1, "b"),
        Piece(100.5, 0, "c"),
        Piece(100.9, 4, "d"),
        Piece(101.0, 0, ""),
    )
    for count in range(len(odd) + 1):
        whole = AnswerRecord(reason="stop", t0_s=99.9, pieces=odd[:count])
        ends = ends_of(whole.pieces)
        assert metrics.ttft_ms(99.9, ends) == whole.ttft_ms
        assert metrics.output_tok_s(ends) == whole.output_tok_s
        assert metrics.output_tokens(ends) == whole.output_tokens or not ends


def test_hovering_and_walking_figures_tell_their_definitions(view: ConversationView) -> None:
    view.show_conversation(chat("a", "b c d"))
    settle()
    line = view.rows[1].figures
    assert line is not None
    for at, definition in ((0, TTFT), (1, SPEED), (2, INPUT)):
        line.setFocus()
        for _ in range(5):
            QTest.keyClick(line, Qt.Key.Key_Left)
        for _ in range(at):
            QTest.keyClick(line, Qt.Key.Key_Right)
        assert line.accessibleDescription() == definition
    place = QPoint(4, 10)
    assert line.figure_at(place) == 0
    QApplication.sendEvent(line, QHelpEvent(QEvent.Type.ToolTip, place, line.mapToGlobal(place)))
    assert " ".join(QToolTip.text().split()) == TTFT
    QTest.keyClick(line, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert clipboard() == line.words
    QToolTip.hideText()


def test_raw_completions_are_called_so(view: ConversationView) -> None:
    raw = Conversation(id="r", mode="raw").say("Once upon", 1.0).answered("a time", record("a time"), 2.0)
    view.show_conversation(raw)
    assert [row.role_words for row in view.rows] == ["prompt", "completion 1"]


# -- what can be done


def test_every_button_is_reached_by_tab_and_named(view: ConversationView) -> None:
    talk = chat("one", "answer **one**", "two", "answer two\n\n```py\nx = 1\n```")
    view.show_conversation(talk)
    settle()
    wanted = {button for row in view.rows for button in row.findChildren(QAbstractButton)}
    view.rows[0].setFocus()
    seen: list[QWidget] = []
    for _ in range(80):
        now = QApplication.focusWidget()
        if now in seen:
            break
        assert now is not None
        assert now.accessibleName(), f"{type(now).__name__} has no name"
        seen.append(now)
        QTest.keyClick(now, Qt.Key.Key_Tab)
    assert {button for button in wanted if button.isEnabled()} <= set(seen)
    order = [view.rows.index(row) for widget in seen for row in view.rows if row is widget or row.isAncestorOf(widget)]
    assert order == sorted(order), "from the first row to the last"
    texts = [widget for widget in seen if isinstance(widget, TextPart)]
    assert len(texts) == 5, "four texts and the code"


def test_buttons_are_drawn_only_while_hovered_or_focused(view: ConversationView, qtbot: QtBot) -> None:
    view.show_conversation(chat("one", "two"))
    settle()
    row = view.rows[1]
    view.rows[0].setFocus()
    settle()
    copy = row.buttons["copy"]
    QApplication.sendEvent(row, QEvent(QEvent.Type.Leave))  # wherever the mouse happens to be

    def drawn() -> bool:
        image = row.grab(copy.geometry()).toImage()
        return len({image.pixel(x, 12) for x in range(image.width())}) > 1

    assert not drawn()
    row.setFocus()
    settle()
    assert drawn()
    view.rows[0].setFocus()
    settle()
    assert not drawn()
    place = QPointF(5, 5)
    QApplication.sendEvent(row, QEnterEvent(place, place, place))
    assert drawn()


def test_copy_regenerate_and_branches(view: ConversationView, qtbot: QtBot) -> None:
    talk = chat("one", "first **try**")
    talk = talk.regenerate(talk.leaf or "").answered("second try", record("second try"), 5.0)
    view.show_conversation(talk)
    settle()
    row = view.rows[1]
    row.buttons["copy"].click()
    assert clipboard() == "second try"
    with qtbot.waitSignal(view.regenerate) as asked:
        row.buttons["regenerate"].click()
    assert asked.args == [row.turn.id]
    assert not row.buttons["after"].isEnabled()
    with qtbot.waitSignal(view.chosen) as asked:
        row.buttons["before"].click()
    assert asked.args is not None
    view.show_conversation(talk.choose(asked.args[0]))
    settle()
    assert shown_text(view.rows[1]) == "first try"
    assert view.rows[1].buttons["after"].isEnabled()
    assert not view.rows[1].buttons["before"].isEnabled()
    with qtbot.waitSignal(view.chosen):
        view.rows[1].setFocus()
        QTest.keyClick(view.rows[1], Qt.Key.Key_Right)


def test_a_message_is_edited_in_its_place(view: ConversationView, qtbot: QtBot) -> None:
    talk = chat("one\x00two", "answer")
    view.show_conversation(talk)
    settle()
    row = view.rows[0]
    row.setFocus()
    QTest.keyClick(row, Qt.Key.Key_E)
    settle()
    assert row.editor is not None
    assert row.editor.field.hasFocus()
    assert row.editor.field.toPlainText() == "one␀two"
    with qtbot.waitSignal(view.edited) as asked:
        QTest.keyClick(row.editor.field, Qt.Key.Key_Return)
    assert asked.args == [row.turn.id, "one\x00two"], "unchanged, it is sent as it was"
    assert row.editor is None
    view.edit(row.turn.id)
    settle()
    editor = row.editor
    assert editor is not None
    QTest.keyClick(editor.field, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    QTest.keyClicks(editor.field, "more")
    settle()
    assert row.height() > 80
    with qtbot.waitSignal(view.edited) as asked:
        editor.send_button.click()
    assert asked.args == [row.turn.id, "one␀two\nmore"]
    view.edit(row.turn.id)
    settle()
    assert row.editor is not None
    row.editor.field.selectAll()
    QTest.keyClick(row.editor.field, Qt.Key.Key_Delete)
    assert not row.editor.send_button.isEnabled(), "an empty message is none"
    with qtbot.assertNotEmitted(view.edited):
        QTest.keyClick(row.editor.field, Qt.Key.Key_Return)
        QTest.keyClick(row.editor.field, Qt.Key.Key_Escape)
    assert row.editor is None
    assert row.hasFocus()


def test_esc_gives_up_an_edit_also_where_the_page_has_its_own_esc(qtbot: QtBot) -> None:
    page = QWidget()
    qtbot.addWidget(page)
    layout = QVBoxLayout(page)
    made = ConversationView()
    layout.addWidget(made)
    stopped: list[bool] = []
    shortcut = QShortcut(QKeySequence("Escape"), page)
    shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
    shortcut.activated.connect(lambda: stopped.append(True))
    page.show()
    qtbot.waitActive(page)
    made.show_conversation(chat("one", "two"))
    settle()
    made.edit("t1")
    settle()
    editor = made.rows[0].editor
    assert editor is not None
    QTest.keyClick(editor.field, Qt.Key.Key_Escape)
    assert made.rows[0].editor is None
    assert not stopped


# -- streaming


def test_an_answer_streams_and_then_has_its_figures(view: ConversationView, qtbot: QtBot) -> None:
    talk = chat("go")
    view.show_conversation(talk)
    view.begin_answer(coming(talk), t0_s=100.0, input_tokens=7)
    settle()
    row = view.rows[-1]
    assert row.figures is not None
    assert row.figures.words == "in 7, waiting for the first token"
    assert set(row.buttons) == {"stop"}
    text = "Some **bold** words here"
    for piece in pieces(text):
        view.stream("live", piece.text, (piece,))
        settle()
    assert row.figures.words == "TTFT 50 ms, speed 100 tok/s, in 7, out 4 so far, streaming"
    assert shown_text(row) == text, "until a paragraph ends it is shown as it came"
    assert not view.rows[0].buttons["edit"].isEnabled(), "one answer at a time is begun by hand"
    with qtbot.waitSignal(view.stop):
        row.buttons["stop"].click()
    row.setFocus()
    with qtbot.waitSignal(view.stop):
        QTest.keyClick(row, Qt.Key.Key_Escape)
    done = talk.answered(text, record(text, "abort"), 9.0)
    view.end_answer(done.path()[-1], begun="live")
    settle()
    assert view.rows[-1] is row
    assert shown_text(row) == "Some bold words here"
    assert row.figures is not None
    assert row.figures.words.endswith("stopped by you")
    assert set(row.buttons) == {"copy", "regenerate", "tokens"}
    assert view.rows[0].buttons["edit"].isEnabled()
    kept = list(view.rows)
    view.show_conversation(done)
    settle()
    assert list(view.rows) == kept, "nothing is made anew for a conversation that is shown already"


def test_finished_blocks_become_markdown_while_the_rest_streams(view: ConversationView) -> None:
    talk = chat("go")
    view.show_conversation(talk)
    view.begin_answer(coming(talk))
    settle()
    row = view.rows[-1]
    view.stream("live", "A **bold** start.\n\n```python\nx = ")
    settle()
    assert row.body is not None
    assert [part.kind for part in row.body.parts] == ["markdown", "code"]
    assert shown_text(row) == "A bold start.\nx = "
    block = row.body.parts[1].widget
    assert isinstance(block, CodeBlock)
    view.stream("live", "1\ny = 2\n```\nAfter")
    settle()
    assert row.body.parts[1].widget is block, "the block that streamed stays"
    assert block.text.toPlainText() == "x = 1\ny = 2"
    assert shown_text(row).endswith("After")


def test_what_streamed_stays_when_the_engine_dies(view: ConversationView, qtbot: QtBot) -> None:
    talk = chat("go")
    view.show_conversation(talk)
    view.begin_answer(coming(talk))
    view.stream("live", "Half an ans", pieces("Half an ans"))
    settle()
    view.fail_answer(coming(talk), LOST)
    settle()
    row = view.rows[-1]
    assert shown_text(row) == "Half an ans"
    assert row.text == "Half an ans"
    assert row.cause is not None
    assert row.cause.reload_button is not None
    assert row.cause.geometry().bottom() < row.height()
    for words in (LOST.what, LOST.evidence, LOST.fix):
        assert words in row.cause.accessibleDescription()
    with qtbot.waitSignal(view.reload_engine):
        row.cause.reload_button.click()
    assert not view.streaming


def test_a_kept_failure_is_shown_without_a_reload(view: ConversationView) -> None:
    failed = AnswerRecord(reason="error", failure=LOST, pieces=pieces("Half"))
    view.show_conversation(Conversation(id="c").say("go", 1.0).answered("Half", failed, 2.0))
    settle()
    cause = view.rows[1].cause
    assert cause is not None
    assert cause.reload_button is None


REFUSED = Failure(
    code=BAD_REQUEST,
    what="the prompt of 9,411 tokens is longer than the 8,192 tokens of max_seq_len in /opt/models/engine/config.json",
)


@pytest.mark.parametrize("width", [420, 560, 845, 1200])
@pytest.mark.parametrize("failure", [LOST, REFUSED])
def test_no_line_of_a_cause_is_clipped(view: ConversationView, width: int, failure: Failure) -> None:
    long = failure.model_copy(
        update={"evidence": "line of the log, 8,192 of it; " * 9, "fix": "Look at it again. " * 9}
    )
    talk = chat("go")
    view.resize(width, 700)
    view.show_conversation(talk)
    view.begin_answer(coming(talk))
    settle()
    view.fail_answer(coming(talk), long)
    settle()
    cause = view.rows[-1].cause
    assert cause is not None
    for line in cause.findChildren(QLabel):
        if line.text():
            assert line.height() >= line.heightForWidth(line.width()), line.text()
            assert cause.rect().contains(line.mapTo(cause, line.rect().bottomRight()))


def test_a_request_that_was_refused_is_called_so(view: ConversationView) -> None:
    talk = chat("go")
    view.show_conversation(talk)
    view.begin_answer(coming(talk))
    view.fail_answer(coming(talk), REFUSED)
    settle()
    cause = view.rows[-1].cause
    assert cause is not None and cause.reload_button is None
    words = [line.text() for line in cause.findChildren(QLabel)]
    assert "The request was refused" in words
    said = cause.accessibleDescription()
    assert said.startswith("The prompt of 9,411 tokens") and said.endswith("config.json.")
    shown = next(text for text in words if "9,411" in text)
    assert "8,192" in shown, "no place to break within a number"
    assert "/\u200bopt" in shown, "a path may break"


def test_an_answer_that_began_was_not_refused(view: ConversationView) -> None:
    talk = chat("go")
    view.show_conversation(talk)
    view.begin_answer(coming(talk))
    view.stream("live", "Half", pieces("Half"))
    view.fail_answer(coming(talk), REFUSED)
    settle()
    cause = view.rows[-1].cause
    assert cause is not None
    assert "The answer ended early" in [line.text() for line in cause.findChildren(QLabel)]


def test_the_page_decides_whether_loading_again_helps(view: ConversationView) -> None:
    talk = chat("go")
    view.show_conversation(talk)
    view.begin_answer(coming(talk))
    view.fail_answer(coming(talk), LOST, can_reload=False)
    settle()
    cause = view.rows[-1].cause
    assert cause is not None and cause.reload_button is None


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("the prompt is too long", "The prompt is too long."),
        ("max_tokens 5000 is too many", "max_tokens 5000 is too many."),
        ("Done.", "Done."),
        ("why?", "Why?"),
        ("", ""),
    ],
)
def test_what_an_engine_says_becomes_a_sentence(said: str, words: str) -> None:
    assert sentence(said) == words


def test_an_empty_answer_says_that_it_is_one(view: ConversationView) -> None:
    empty = AnswerRecord(reason="stop")
    talk = chat("go")
    view.show_conversation(talk)
    view.begin_answer(coming(talk))
    settle()
    view.end_answer(coming(talk).model_copy(update={"answer": empty}))
    settle()

    def said() -> list[str]:
        body = view.rows[-1].body
        assert body is not None
        return [line.text() for line in body.findChildren(QLabel) if line.isVisible()]

    assert said() == [NOTHING_SAID]
    view.rows[-1].buttons["copy"].click()
    assert clipboard() == "", "it is no part of the answer"
    view.show_conversation(talk.answered("", AnswerRecord(reason="abort"), 3.0))
    settle()
    assert said() == [], "who stopped it knows"


def test_sending_follows_the_newest_again(view: ConversationView) -> None:
    talk = chat("go", "line\n" * 60, "more")
    view.show_conversation(talk)
    settle()
    bar = view.verticalScrollBar()
    bar.setValue(0)
    settle()
    assert not view.following
    view.begin_answer(coming(talk))
    view.stream("live", "A paragraph.\n\n" * 30)
    settle()
    assert view.following and bar.value() == bar.maximum()
    assert view.newest_button.isHidden()


def test_the_focus_of_an_edit_stays_in_the_conversation(view: ConversationView, qtbot: QtBot) -> None:
    talk = chat("one", "answer", "two", "answer")
    other = QLineEdit(view.window())
    other.show()
    took: list[QWidget] = []
    QApplication.instance().focusChanged.connect(lambda _, now: took.append(now))  # type: ignore[union-attr]
    edited: list[str] = []

    def resend(turn_id: str, text: str) -> None:
        edited.append(text)
        view.show_conversation(talk.edit(turn_id, text, 9.0))

    view.edited.connect(resend)
    view.show_conversation(talk)
    view.activateWindow()
    settle()
    view.edit(talk.path()[2].id)
    settle()
    editor = view.rows[2].editor
    assert editor is not None and editor.field.hasFocus()
    took.clear()
    qtbot.keyClick(editor.field, Qt.Key.Key_Return)
    settle()
    assert edited == ["two"]
    assert view.rows[2].hasFocus(), "the row in its place"
    assert all(isinstance(now, TurnRow) for now in took), took


def test_the_end_is_followed_until_the_person_scrolls_up(view: ConversationView) -> None:
    talk = chat("go", "line\n" * 60, "more")
    view.show_conversation(talk)
    view.begin_answer(coming(talk))
    bar = view.verticalScrollBar()
    for _ in range(20):
        view.stream("live", "A paragraph that streams.\n\n")
        settle()
        assert bar.value() == bar.maximum()
    assert view.newest_button.isHidden()
    bar.setValue(bar.maximum() - 300)
    settle()
    at = bar.value()
    assert view.newest_button.isVisible()
    for _ in range(20):
        view.stream("live", "A paragraph that streams.\n\n")
        settle()
    assert bar.value() == at, "who reads is left where they are"
    view.newest_button.click()
    settle()
    assert bar.value() == bar.maximum()
    assert view.newest_button.isHidden()
    view.stream("live", "More.\n\n" * 20)
    settle()
    assert bar.value() == bar.maximum()


def test_scrolling_up_through_rows_never_seen_does_not_jump(view: ConversationView) -> None:
    answers = [f"# Answer {n}\n\n" + f"- item of {n}\n" * (n % 7) + "word " * (n * 13 % 200) for n in range(20)]
    talk = chat(*itertools.chain.from_iterable((f"question {n}", answer) for n, answer in enumerate(answers)))
    view.show_conversation(talk)
    settle()
    bar = view.verticalScrollBar()
    while bar.value() > 0:
        before = {row.turn.id: row.y() - bar.value() for row in view.rows}
        inside = [row.turn.id for row in view.rows if row.made and 0 <= before[row.turn.id] < 300]
        step = min(200, bar.value())
        bar.setValue(bar.value() - step)
        settle()
        if bar.value() == 0:
            break
        for turn_id in inside:
            row = view.row(turn_id)
            assert row is not None
            moved = row.y() - bar.value() - before[turn_id]
            assert abs(moved - step) <= 1, "what was seen moves as far as was scrolled"


@pytest.mark.slow
def test_only_what_is_in_sight_is_made_and_kept(view: ConversationView) -> None:
    talk = chat(*itertools.chain.from_iterable((f"question {n}", f"answer {n} " * 60) for n in range(40)))
    view.show_conversation(talk)
    settle()
    assert sum(row.made for row in view.rows) < 16
    bar = view.verticalScrollBar()
    for value in range(bar.maximum(), 0, -500):
        bar.setValue(value)
        settle()
    assert sum(row.made for row in view.rows) < 50


def test_two_hundred_turns_open_at_once(view: ConversationView) -> None:
    answer = "A **paragraph** with `code` in it.\n\n- one\n- two\n\n```py\nx = 1\n```\n" * 4
    talk = chat(*itertools.chain.from_iterable((f"question {n}", answer) for n in range(100)))
    view.show_conversation(chat("warm", "up"))
    settle()
    begun = time.thread_time()
    view.show_conversation(talk.model_copy(update={"id": "other"}))
    settle()
    assert time.thread_time() - begun < 0.15
    assert len(view.rows) == 200
    assert view.verticalScrollBar().value() == view.verticalScrollBar().maximum()


@pytest.mark.slow
def test_sixteen_answers_of_many_tokens_stream_at_once(view: ConversationView) -> None:
    """20,000 tokens a second in batches of 50 ms: what a batch costs, of processor time, leaves room for all else."""
    talk = chat("go")
    view.show_conversation(talk)
    for number in range(16):
        view.begin_answer(coming(talk, f"live{number}"), t0_s=0.0)
    settle()
    words = "some **words** of an answer, and `code`. " * 16 + "\n\n"
    batch = tuple(Piece(1.0, 1, words[at : at + 10], (at,), (-0.5,)) for at in range(0, 620, 10))
    costs = []
    for _ in range(100):
        begun = time.thread_time()
        for number in range(16):
            view.stream(f"live{number}", words, batch)
        settle()
        costs.append(time.thread_time() - begun)
    costs.sort()
    assert costs[50] < 0.03
    assert costs[-3] < 0.06, "the two longest may be the collector of garbage, of 99,200 tokens"


@pytest.mark.slow
def test_an_answer_of_200_000_tokens_costs_no_more_at_its_end(view: ConversationView) -> None:
    talk = chat("go")
    view.show_conversation(talk)
    view.begin_answer(coming(talk))
    words = "some words of a long answer, " * 8
    batch = tuple(Piece(1.0, 1, "word", (5,)) for _ in range(100))

    def cost(times: int) -> float:
        found = []
        for number in range(times):
            begun = time.thread_time()
            view.stream("live", words + ("\n\n" if not number % 5 else ""), batch)
            settle()
            found.append(time.thread_time() - begun)
        return sorted(found)[times // 2]

    early = cost(100)
    for _ in range(1800):
        view.stream("live", words + "\n\n", batch)
    settle()
    assert cost(100) < 3 * early + 0.005
    row = view.rows[-1]
    assert row.figures is not None
    assert "out 200\u202f000 so far" in row.figures.words


def test_another_conversation_begins_anew_though_its_turns_are_called_the_same(view: ConversationView) -> None:
    view.show_conversation(chat("one", "two"))
    settle()
    view.rows[1].set_tokens(True)
    view.begin_answer(coming(chat("one", "two", "three")))
    other = chat("three", "four").model_copy(update={"id": "d"})
    view.show_conversation(other)
    settle()
    assert [shown_text(row) for row in view.rows] == ["three", "four"]
    assert view.rows[1].tokens is None
    assert not view.streaming


def test_what_streams_while_another_page_is_shown_is_there_afterwards(view: ConversationView) -> None:
    talk = chat("go")
    view.show_conversation(talk)
    view.begin_answer(coming(talk))
    settle()
    view.hide()
    for _ in range(100):
        view.stream("live", "A **paragraph**.\n\n" * 3)
        settle()
    view.show()
    settle()
    assert "A paragraph." in shown_text(view.rows[-1])
    view.end_answer(coming(talk).model_copy(update={"text": "A **paragraph**.\n\n" * 300}))
    settle()
    assert shown_text(view.rows[-1]).endswith("A paragraph.")
    assert view.verticalScrollBar().value() == view.verticalScrollBar().maximum() > 0


def test_an_answer_that_streams_stays_when_its_conversation_is_shown_again(view: ConversationView) -> None:
    talk = chat("go")
    view.show_conversation(talk)
    view.begin_answer(coming(talk))
    view.stream("live", "so far")
    view.show_conversation(talk.renamed("A title"))
    settle()
    assert shown_text(view.rows[-1]) == "so far"
    assert view.streaming


# -- texts of all kinds


def test_a_pasted_message_of_2_mb_is_folded_and_copied_whole(view: ConversationView) -> None:
    text = "".join(f"line {number} of what was pasted\n" for number in range(68_000)) + "the end"
    begun = time.thread_time()
    view.show_conversation(chat(text))
    settle()
    row = view.rows[0]
    assert row.body is not None
    more = [part.widget for part in row.body.parts if part.kind == "button"]
    assert len(more) == 1
    assert isinstance(more[0], QAbstractButton)
    assert more[0].text() == "Show all 2.0 MB"
    assert shown_text(row).endswith(text[:20_000][-30:].strip("\n"))
    more[0].click()
    settle()
    assert time.thread_time() - begun < 1.0
    assert view.widget().height() > 68_000 * 22
    view.go_to_newest()
    settle()
    assert shown_text(row).endswith("the end")
    texts_of(row)[-1].setFocus()
    QTest.keyClick(texts_of(row)[-1], Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClick(texts_of(row)[-1], Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert clipboard() == text


@pytest.mark.parametrize("text", ["\n" * 2_000_000 + "x", "x" * 2_000_000], ids=["empty lines", "one word"])
def test_odd_pastes_open_too(view: ConversationView, text: str) -> None:
    begun = time.thread_time()
    view.show_conversation(chat(text))
    settle()
    assert view.rows[0].body is not None
    view.rows[0].body.parts[-1].widget.click()  # type: ignore[union-attr]
    settle()
    assert time.thread_time() - begun < 1.0
    assert view.widget().height() < 16_000_000, "a widget can be no higher"


def test_markdown_is_shown_and_html_is_text(view: ConversationView) -> None:
    source = (
        "# Title\n\nSee <script>alert(1)</script> <b>raw</b> and ![the cat](http://192.0.2.1/cat.png) "
        "[link](https://example.org/x).\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n7. seven\n8. eight\n\none\ntwo"
    )
    view.show_conversation(chat("show", source))
    settle()
    part = texts_of(view.rows[1])[0]
    text = part.toPlainText()
    assert "<script>alert(1)</script> <b>raw</b>" in text
    assert "[picture: the cat]" in text
    assert "\ufffc" not in text, "no picture is in it"
    assert "one\ntwo" in text
    document = part.document()
    html = document.toHtml()
    assert "<img" not in html
    assert "<table" in html
    assert document.begin().begin().fragment().charFormat().font().pixelSize() == 18
    starts = {block.textList().format().start() for block in _blocks(part) if block.textList() is not None}
    assert starts == {7}, "a list begins where it says"
    assert document.loadResource(2, QUrl("http://192.0.2.1/cat.png")) is None
    assert part.loadResource(2, QUrl("file:///etc/passwd")) is None


def _blocks(part: TextPart) -> list:  # type: ignore[type-arg]
    found, block = [], part.document().begin()
    while block.isValid():
        found.append(block)
        block = block.next()
    return found


class Opener(QWidget):
    """Takes what would be opened in a browser."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    @Slot(QUrl)
    def open(self, url: QUrl) -> None:
        self.opened.append(url.toString())


def test_links_tell_their_address_and_open_by_a_click_alone(view: ConversationView, qtbot: QtBot) -> None:
    browser = Opener()
    for scheme in ("https", "file", "javascript"):
        QDesktopServices.setUrlHandler(scheme, browser, "open")
    try:
        view.show_conversation(chat("show", "[link](https://example.org/x) [bad](file:///etc/passwd)"))
        settle()
        part = texts_of(view.rows[1])[0]
        place = part.viewport().mapToGlobal(QPoint(6, 14))
        QApplication.sendEvent(part, QHelpEvent(QEvent.Type.ToolTip, part.mapFromGlobal(place), place))
        assert QToolTip.text() == "https://example.org/x"
        assert not browser.opened
        part.setFocus()
        QTest.keyClick(part, Qt.Key.Key_Tab)
        assert part.hasFocus(), "Tab goes to the link first"
        QTest.keyClick(part, Qt.Key.Key_Return)
        assert browser.opened == ["https://example.org/x"]
        browser.opened.clear()
        QTest.mouseClick(part.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(6, 14))
        assert browser.opened == ["https://example.org/x"]
        browser.opened.clear()
        with qtbot.waitSignal(view.link_refused) as refused:
            part.anchorClicked.emit(QUrl("file:///etc/passwd"))
        assert refused.args == ["file:///etc/passwd"]
        assert not browser.opened
    finally:
        QToolTip.hideText()
        for scheme in ("https", "file", "javascript"):
            QDesktopServices.unsetUrlHandler(scheme)
        browser.deleteLater()


def test_a_code_block_has_its_language_scrolls_and_is_copied(view: ConversationView) -> None:
    code = "def f():\n\treturn 1  # " + "long " * 60 + "\n"
    view.show_conversation(chat("show", f"Before\n\n```python\n{code}```\nafter"))
    settle()
    body = view.rows[1].body
    assert body is not None
    block = next(part.widget for part in body.parts if isinstance(part.widget, CodeBlock))
    assert block.accessibleName() == "Code, python"
    assert block.copy_button is not None
    block.copy_button.click()
    assert clipboard() == code
    assert block.text.horizontalScrollBar().maximum() > 0
    assert block.text.verticalScrollBar().maximum() == 0
    assert block.text.document().defaultFont().family() == "JetBrains Mono"


def test_a_long_code_block_is_one_and_copied_whole(view: ConversationView) -> None:
    code = "".join(f"line {number}\n" for number in range(1500))
    view.show_conversation(chat("show", f"```\n{code}```"))
    settle()
    body = view.rows[1].body
    assert body is not None
    assert len(body.parts) == 4
    view.verticalScrollBar().setValue(0)
    settle()
    first = body.parts[0].widget
    assert isinstance(first, CodeBlock)
    assert first.copy_button is not None
    first.copy_button.click()
    assert clipboard() == code
    view.verticalScrollBar().setValue(400 * 20 - 200)
    settle()
    one, two = body.parts[0].widget, body.parts[1].widget
    assert isinstance(one, CodeBlock)
    assert isinstance(two, CodeBlock)
    assert two.copy_button is None, "the head is at the beginning alone"
    assert one.geometry().bottom() + 1 == two.y(), "the blocks of one fence meet"
    assert one.text.height() == 400 * 20


def test_right_to_left_nul_and_control_characters(view: ConversationView) -> None:
    view.show_conversation(chat("שלום עולם\nhello\x00\x1b", "مرحبا *hello*\n\nhello مرحبا\n\n- فقرة"))
    settle()
    said = texts_of(view.rows[0])[0]
    assert said.toPlainText() == "שלום עולם\nhello␀␛"
    rtl, ltr = Qt.LayoutDirection.RightToLeft, Qt.LayoutDirection.LeftToRight
    assert [block.textDirection() for block in _blocks(said)] == [rtl, ltr]
    assert [block.textDirection() for block in _blocks(texts_of(view.rows[1])[0])] == [rtl, ltr, rtl]
    view.rows[0].setFocus()
    QTest.keyClick(view.rows[0], Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert clipboard() == "שלום עולם\nhello\x00\x1b", "copied as it was"


def _drag(start: TextPart, end: TextPart, begin_at: QPoint, end_at: QPoint) -> None:
    target = start.viewport()
    goal = end.viewport().mapToGlobal(end_at)
    QTest.mousePress(target, Qt.MouseButton.LeftButton, pos=begin_at)
    left, no = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    local = QPointF(target.mapFromGlobal(goal))
    move = QMouseEvent(QEvent.Type.MouseMove, local, QPointF(goal), no, left, Qt.KeyboardModifier.NoModifier)
    QApplication.sendEvent(target, move)
    QTest.mouseRelease(target, Qt.MouseButton.LeftButton, pos=target.mapFromGlobal(goal))


def test_a_selection_runs_through_prose_and_code(view: ConversationView) -> None:
    view.show_conversation(chat("show", "First words\n\n```\ncode here\n```\nlast words"))
    settle()
    first, code, last = texts_of(view.rows[1])
    _drag(first, last, QPoint(0, 12), QPoint(10_000, 12))
    QTest.keyClick(first, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert clipboard() == "First words\n\ncode here\n\nlast words"
    _drag(last, code, QPoint(10_000, 12), QPoint(0, 8))
    assert not first.textCursor().hasSelection()
    QTest.keyClick(last, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert clipboard() == "code here\n\nlast words"
    QTest.keyClick(first, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClick(first, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert clipboard() == view.rows[1].text


def test_the_page_is_scrolled_by_keys_from_within_a_text(view: ConversationView) -> None:
    view.show_conversation(chat("line\n" * 100, "end"))
    settle()
    bar = view.verticalScrollBar()
    part = texts_of(view.rows[1])[0]
    part.setFocus()
    QTest.keyClick(part, Qt.Key.Key_PageUp)
    settle()
    assert bar.value() == bar.maximum() - bar.pageStep()
    view.rows[1].setFocus()
    QTest.keyClick(view.rows[1], Qt.Key.Key_Up)
    settle()
    assert view.rows[0].hasFocus()
    QTest.keyClick(view.rows[0], Qt.Key.Key_Home)
    settle()
    assert bar.value() == 0
    QTest.keyClick(view.rows[0], Qt.Key.Key_End)
    settle()
    assert bar.value() == bar.maximum()


def test_text_is_selected_with_the_keyboard(view: ConversationView) -> None:
    view.show_conversation(chat("show", "First words"))
    settle()
    part = texts_of(view.rows[1])[0]
    part.setFocus()
    for _ in range(5):
        QTest.keyClick(part, Qt.Key.Key_Right, Qt.KeyboardModifier.ShiftModifier)
    QTest.keyClick(part, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert clipboard() == "First"


# -- tokens


def test_an_answer_is_shown_as_tokens(view: ConversationView) -> None:
    view.show_conversation(chat("go", "one two\nthree four"))
    settle()
    row = view.rows[1]
    row.setFocus()
    QTest.keyClick(row, Qt.Key.Key_T)
    settle()
    tokens = row.tokens
    assert tokens is not None
    assert row.body is not None
    assert row.body.isHidden()
    assert [cell.text for cell in tokens.cells] == ["one ", "two\nthree ", "four"]
    tokens.setFocus()
    QTest.keyClick(tokens, Qt.Key.Key_Right)
    assert tokens.accessibleDescription() == ("Token 2 of 3: “two↵three ”, id 1, probability 60.7 %, log p -0.500")
    QTest.keyClick(tokens, Qt.Key.Key_Down)
    assert tokens.current == 2, "the line ends where the text has one"
    QTest.keyClick(tokens, Qt.Key.Key_Home, Qt.KeyboardModifier.ShiftModifier)
    QTest.keyClick(tokens, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert clipboard() == "one two\nthree four"
    QToolTip.hideText()
    row.buttons["tokens"].click()
    settle()
    assert row.tokens is None
    assert shown_text(row) == "one two\nthree four"


def test_the_tint_is_that_of_the_scale() -> None:
    assert [opacity(value) for value in (0.0, LOWEST / 2, LOWEST, -40.0, 0.5)] == [0.0, 0.3, 0.6, 0.6, 0.0]
    assert opacity(float("-inf")) == 0.6


def test_log_probabilities_that_are_not_reported_are_said_so(view: ConversationView) -> None:
    talk = Conversation(id="c").say("go", 1.0).answered("a b", record("a b", logprobs=False), 2.0)
    view.show_conversation(talk)
    settle()
    view.rows[1].set_tokens(True)
    settle()
    said = [
        label.accessibleName() or label.text()
        for label in view.rows[1].findChildren(QWidget)
        if hasattr(label, "text") and callable(label.text)
    ]
    assert "log-probabilities not reported by OpenVINO GenAI" in said
    off = record("a b", logprobs=False).model_copy(update={"sampling": Sampling(logprobs=False)})
    view.show_conversation(Conversation(id="d").say("go", 1.0).answered("a b", off, 2.0))
    for width in (1200, 845, 524, 420, 340):
        view.resize(width, 600)
        settle()
        row = view.rows[1]
        row.set_tokens(True)
        settle()
        scale = row.actions.scale
        assert isinstance(scale, QLabel)
        assert scale.text() == "not asked for: log-probabilities were switched off"
        assert row.rect().contains(scale.geometry()), "none of it is cut off"
        assert scale.width() >= scale.fontMetrics().horizontalAdvance(scale.text()) or scale.wordWrap()
        assert scale.height() >= scale.heightForWidth(scale.width())
        for made in row.buttons.values():
            assert not made.geometry().adjusted(-8, 0, 8, 0).intersects(scale.geometry()), (width, "they touch")
    cell = cells_of(pieces("a", logprobs=False, ids=False))[0]
    assert cell.words == "“a”\nid not reported\nprobability not reported"
    odd = cells_of((Piece(1.0, 1, "", (7,), (float("nan"),)),))[0]
    assert odd.logprob is None
    assert "part of a character" in odd.words


def test_ten_thousand_tokens_are_one_widget(view: ConversationView) -> None:
    text = "word " * 9_999 + "end"
    view.show_conversation(chat("go", text))
    settle()
    row = view.rows[1]
    begun = time.thread_time()
    row.set_tokens(True)
    settle()
    view.grab()
    assert time.thread_time() - begun < 0.5
    assert isinstance(row.tokens, TokenView)
    assert not row.tokens.children()
    row.tokens.setFocus()
    QTest.keyClick(row.tokens, Qt.Key.Key_End)
    assert row.tokens.current == 9_999
    assert row.tokens.cell_at(row.tokens.rect_of(9_999).center()) == 9_999
    QToolTip.hideText()


# -- the theme, the size


@pytest.mark.parametrize("width", [420, 524, 845, 1200])
def test_nothing_is_cut_off_at_any_width(view: ConversationView, width: int) -> None:
    talk = chat("A message of some length that wraps", "An answer of **some** length.\n\n```\ncode\n```")
    talk = talk.regenerate(talk.leaf or "").answered("Another", record("Another"), 5.0)
    view.resize(width, 600)
    view.show_conversation(talk.choose("t2"))
    settle()
    view.rows[1].set_tokens(True)
    settle()
    for row in view.rows:
        assert row.x() + row.width() <= view.viewport().width()
        shown = [child for child in row.children() if isinstance(child, QWidget) and child.isVisible()]
        for child in shown:
            assert row.rect().contains(child.geometry()), f"{child.accessibleName()} at {width}"
        buttons = [child for child in shown if isinstance(child, QAbstractButton)]
        for one, other in itertools.combinations([*buttons, *([row.figures] if row.figures else [])], 2):
            assert not one.geometry().intersects(other.geometry())


def test_the_other_theme_recolours_what_is_shown(view: ConversationView) -> None:
    view.show_conversation(chat("a", "A [link](https://example.org) and `code`"))
    settle()

    def colours() -> set[str]:
        found, block = set(), texts_of(view.rows[1])[0].document().begin()
        at = block.begin()
        while not at.atEnd():
            shape = at.fragment().charFormat()
            found.add(shape.foreground().color().name() if shape.isAnchor() else "")
            at += 1
        return found

    assert theme().hex("accent") in colours()
    other = "light" if theme().scheme == "dark" else "dark"
    before = theme().mode
    try:
        theme().set_mode(other)  # type: ignore[arg-type]
        settle()
        assert theme().hex("accent") in colours()
    finally:
        theme().set_mode(before)


def test_it_lives_in_a_page(qtbot: QtBot) -> None:
    page = QWidget()
    qtbot.addWidget(page)
    layout = QVBoxLayout(page)
    made = ConversationView()
    layout.addWidget(made)
    page.resize(845, 600)
    made.show_conversation(chat("shown", "before the window is"))
    page.show()
    settle()
    assert shown_text(made.rows[1]) == "before the window is"
    made.clear()
    settle()
    assert not made.rows

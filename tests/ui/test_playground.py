"""The playground over a host without an engine: talking, branching, limits, settings, reload, and hosts that die."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QMimeData, Qt
from PySide6.QtWidgets import QApplication, QFileDialog, QLineEdit
from pytestqt.qtbot import QtBot

from tests.fakes.interpreter import VARIABLE, make_engine_folder, make_interpreter
from tests.ui.conftest import OpenWindow
from tests.ui.talk import WAIT_MS, ended, enter, load_engine, playground, say, type_message
from workbench.core.conversation import Conversation
from workbench.store.conversations import Conversations
from workbench.ui.pages.playground.page import PlaygroundPage
from workbench.ui.window import Window

Talk = Callable[..., tuple[Window, PlaygroundPage]]
WORDS = ["one ", "two ", "three "]


@pytest.fixture
def talk(qtbot: QtBot, open_window: OpenWindow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Talk:
    """A window with an engine that is loaded; settings are the fake host's."""

    def begin(**settings: Any) -> tuple[Window, PlaygroundPage]:
        settings = {"tokens_per_s": 400, "kv_blocks": 64, "answer": WORDS, **settings}
        monkeypatch.setenv(VARIABLE, str(make_interpreter(tmp_path / "python", **settings)))
        window = open_window(size=(1280, 800))
        page = load_engine(qtbot, window, make_engine_folder(tmp_path / "engines" / "tiny", "tiny-int8"))
        page.side.sampling.rows["max_tokens"].set_value(12)
        return window, page

    return begin


def in_the_middle(qtbot: QtBot, page: PlaygroundPage) -> None:
    """A long answer streams, and some of it is in sight."""
    page.side.sampling.rows["max_tokens"].set_value(2000)
    type_message(qtbot, page, "go on")
    qtbot.keyClick(page.composer.edit, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: len(page.view.rows) == 2 and "three" in page.view.rows[-1].text, timeout=WAIT_MS)


def host_pid(page: PlaygroundPage) -> int:
    engine = page.room.current
    assert engine is not None and engine.client.hello is not None
    return engine.client.hello.pid


def texts(conversation: Conversation) -> list[str]:
    return [turn.text for turn in conversation.path()]


def kept(window: Window, conversation: Conversation) -> Conversation:
    return Conversations(window.session.home).load(conversation.id)


@pytest.mark.slow
def test_a_conversation_streams_is_kept_and_branches(qtbot: QtBot, talk: Talk) -> None:
    window, page = talk()
    answer = say(qtbot, page, "hello there")
    assert answer.text == "one two three " * 4 and answer.answer is not None
    assert answer.answer.reason == "length" and answer.answer.output_tokens == 12
    assert answer.answer.logprobs is not None and len(answer.answer.logprobs) == 12
    assert answer.answer.engine is not None and answer.answer.engine.name == "tiny-int8"
    assert answer.answer.kv_blocks_total == 10
    assert page.composer.text() == "", "what was sent is gone from the composer"

    page.side.sampling.rows["max_tokens"].set_value(2)
    page.verbs.regenerate_last()
    again = ended(qtbot, page)
    assert again.text == "one two " and len(page.chat.conversation.siblings(again.id)) == 2
    assert again.answer is not None and answer.answer.sampling.seed != again.answer.sampling.seed, "drawn anew"

    question = page.chat.conversation.path()[0]
    page.view.edited.emit(question.id, "hello again")
    ended(qtbot, page)
    assert texts(page.chat.conversation) == ["hello again", "one two "]
    page.view.chosen.emit(question.id)
    assert texts(page.chat.conversation) == ["hello there", "one two "]
    page.view.chosen.emit(answer.id)
    assert texts(page.chat.conversation) == ["hello there", answer.text]
    qtbot.waitUntil(lambda: not window.session.tasks.busy)
    assert kept(window, page.chat.conversation) == page.chat.conversation

    first = page.chat.conversation.id
    page.verbs.new()
    assert page.chat.conversation.turns == () and page.chat.conversation.id != first
    page.verbs.open_kept(first)
    qtbot.waitUntil(lambda: page.chat.conversation.id == first)
    assert len(page.view.rows) == 2


@pytest.mark.slow
def test_stop_ends_the_answer_at_once_and_keeps_what_came(qtbot: QtBot, talk: Talk) -> None:
    _, page = talk(tokens_per_s=50)
    page.side.sampling.rows["max_tokens"].set_value(2000)
    type_message(qtbot, page, "go on")
    qtbot.keyClick(page.composer.edit, Qt.Key.Key_Return)
    row = page.chat.conversation.turns[-1].id
    qtbot.waitUntil(lambda: len(page.view.rows) == 2 and "three" in page.view.rows[-1].text, timeout=WAIT_MS)
    assert page.composer.send_button.text() == "Stop" and page.view.streaming
    began = time.monotonic()
    qtbot.keyClick(page.composer.edit, Qt.Key.Key_Escape)
    turn = ended(qtbot, page)
    assert time.monotonic() - began < 0.3
    assert turn.answer is not None and turn.answer.reason == "abort" and turn.text.startswith("one two three")
    assert turn.parent == row and page.composer.send_button.text() == "Send"


@pytest.mark.slow
def test_a_prompt_that_is_too_long_is_said_before_it_is_sent(qtbot: QtBot, talk: Talk) -> None:
    _, page = talk()
    type_message(qtbot, page, "a b c")
    qtbot.waitUntil(lambda: page.composer.tokens.text() == "4 of 99 tokens", timeout=WAIT_MS)
    assert page.composer.send_button.isEnabled()
    page.composer.edit.setPlainText("word " * 120)
    qtbot.waitUntil(lambda: not page.composer.send_button.isEnabled(), timeout=WAIT_MS)
    assert page.composer.tokens.text() == "121 of 99 tokens"
    assert "121 tokens" in page.composer.problem.text() and page.composer.problem.isVisible()
    qtbot.keyClick(page.composer.edit, Qt.Key.Key_Return)
    assert not page.chat.streaming and page.chat.conversation.turns == ()
    page.composer.edit.setPlainText("a bad template")
    qtbot.waitUntil(lambda: "chat template does not accept" in page.composer.problem.text(), timeout=WAIT_MS)
    page.composer.edit.setPlainText("fine")
    qtbot.waitUntil(lambda: page.composer.send_button.isEnabled(), timeout=WAIT_MS)


@pytest.mark.slow
def test_what_people_paste(qtbot: QtBot, talk: Talk) -> None:
    _, page = talk()
    for text in ("", "   \n\t ", "\n"):
        page.composer.edit.setPlainText(text)
        qtbot.keyClick(page.composer.edit, Qt.Key.Key_Return)
        assert not page.chat.streaming, repr(text)
    page.composer.edit.setPlainText("a\0b")
    assert "NUL byte at character 2" in page.composer.problem.text()
    assert not page.composer.send_button.isEnabled()

    for text in ("👩‍👩‍👧 flags 🇩🇪", "שלום עולם, how are you?", "مرحبا", "tab\tand\rreturn"):
        page.composer.edit.setPlainText(text)
        sent = page.composer.text()
        turn = enter(qtbot, page)
        asked = page.chat.conversation.turn(turn.parent or "")
        assert asked.text == sent and page.view.row(asked.id) is not None

    large = "All work and no play. " * 95_000
    data = QMimeData()
    data.setText(large)
    began = time.monotonic()
    page.composer.edit.insertFromMimeData(data)
    assert time.monotonic() - began < 1.0
    assert page.composer.edit.toPlainText() == "" and "2 MiB" in page.composer.attached.text()
    assert page.composer.text() == large
    qtbot.waitUntil(lambda: "475\u202f" in page.composer.tokens.text(), timeout=WAIT_MS)
    assert not page.composer.send_button.isEnabled()
    qtbot.mouseClick(page.composer.attached, Qt.MouseButton.LeftButton)
    assert page.composer.text() == ""


@pytest.mark.slow
def test_a_host_that_dies_in_the_middle_leaves_what_came_and_is_loaded_again(qtbot: QtBot, talk: Talk) -> None:
    window, page = talk(tokens_per_s=100)
    in_the_middle(qtbot, page)
    os.kill(host_pid(page), signal.SIGKILL)
    turn = ended(qtbot, page)
    assert turn.text.startswith("one two three") and turn.answer is not None
    assert turn.answer.failure is not None and "killed" in turn.answer.failure.what.lower()
    assert page.stack.currentWidget() is page.view, "the conversation stays in sight"
    qtbot.waitUntil(lambda: page.room.current is None)
    assert not page.composer.send_button.isEnabled()
    qtbot.waitUntil(lambda: not window.session.tasks.busy)
    assert kept(window, page.chat.conversation).path()[-1].text == turn.text

    page.view.reload_engine.emit()
    qtbot.waitUntil(lambda: page.room.current is not None, timeout=WAIT_MS)
    page.side.sampling.rows["max_tokens"].set_value(3)
    there = page.room.engines
    page.view.reload_engine.emit()  # the card keeps its button
    qtbot.waitUntil(lambda: page.room.loading is None, timeout=WAIT_MS)
    assert page.room.engines == there, "it is loaded already"
    assert say(qtbot, page, "still there?").text == "one two three "
    assert len(page.view.rows) == 4


@pytest.mark.slow
def test_a_host_that_dies_with_nothing_to_do_is_said_with_a_way_back(qtbot: QtBot, talk: Talk) -> None:
    _, page = talk()
    os.kill(host_pid(page), signal.SIGKILL)
    qtbot.waitUntil(lambda: page.stack.currentWidget() is page.face, timeout=WAIT_MS)
    assert page.face.currentIndex() == 2
    qtbot.mouseClick(page.face.failure.again, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: page.room.current is not None, timeout=WAIT_MS)
    assert page.stack.currentWidget() is page.view


def load_second(qtbot: QtBot, page: PlaygroundPage, tmp_path: Path) -> tuple[str, str]:
    """Another engine beside the one that is loaded; the ids of both."""
    first = page.room.current
    assert first is not None
    page.room.load(make_engine_folder(tmp_path / "engines" / "other", "other-int4"))
    qtbot.waitUntil(lambda: len(page.room.engines) == 2, timeout=WAIT_MS)
    second = page.room.current
    assert second is not None and second is not first
    return first.id, second.id


@pytest.mark.slow
def test_a_reload_that_is_refused_is_said_while_the_engine_stays(qtbot: QtBot, talk: Talk) -> None:
    window, page = talk()
    there = page.room.current
    page.side.runtime.asked_reload.emit(("runtime.kv_cache_gib=16000",))
    qtbot.waitUntil(lambda: page.room.loading is None, timeout=WAIT_MS)
    assert page.room.current is there and page.stack.currentWidget() is page.view
    said = window.session.notices.kept[-1]
    assert "does not fit" in said.text and "15.6 TiB" in said.text + said.detail


@pytest.mark.slow
def test_the_death_of_one_of_two_is_said_and_prompts_do_not_go_to_the_other(
    qtbot: QtBot, talk: Talk, tmp_path: Path
) -> None:
    window, page = talk()
    _, second = load_second(qtbot, page, tmp_path)
    os.kill(host_pid(page), signal.SIGKILL)
    qtbot.waitUntil(lambda: page.room.engine(second) is None, timeout=WAIT_MS)
    assert page.room.current is None and len(page.room.engines) == 1
    assert not page.composer.send_button.isEnabled()
    assert "other-int4 is gone" in window.session.notices.kept[-1].text


@pytest.mark.slow
def test_the_reload_of_a_failed_answer_brings_its_own_engine_back_once(
    qtbot: QtBot, talk: Talk, tmp_path: Path
) -> None:
    _, page = talk(tokens_per_s=100)
    first, _ = load_second(qtbot, page, tmp_path)
    page.room.choose(first)
    in_the_middle(qtbot, page)
    os.kill(host_pid(page), signal.SIGKILL)
    ended(qtbot, page)
    for _ in range(3):
        page.view.reload_engine.emit()
        qtbot.waitUntil(lambda: page.room.loading is None and page.room.current is not None, timeout=WAIT_MS)
    assert sorted(engine.name for engine in page.room.engines) == ["other-int4", "tiny-int8"]
    assert page.room.current is not None and page.room.current.name == "tiny-int8"


@pytest.mark.slow
def test_a_second_death_is_said_as_the_first_was(qtbot: QtBot, talk: Talk) -> None:
    _, page = talk(tokens_per_s=100)
    in_the_middle(qtbot, page)
    os.kill(host_pid(page), signal.SIGKILL)
    ended(qtbot, page)
    page.view.reload_engine.emit()
    qtbot.waitUntil(lambda: page.room.current is not None, timeout=WAIT_MS)
    os.kill(host_pid(page), signal.SIGKILL)
    qtbot.waitUntil(lambda: page.stack.currentWidget() is page.face and page.face.currentIndex() == 2, timeout=WAIT_MS)


@pytest.mark.slow
def test_deleting_the_conversation_that_streams_leaves_a_page_that_works(qtbot: QtBot, talk: Talk) -> None:
    window, page = talk(tokens_per_s=100)
    in_the_middle(qtbot, page)
    gone = page.chat.conversation.id
    page.chat.store.delete(gone)
    page.chat.forget(gone)
    assert not page.chat.streaming and page.composer.send_button.text() == "Send" and page.view.rows == []
    page.side.sampling.rows["max_tokens"].set_value(3)
    assert say(qtbot, page, "hello").text == "one two three "
    qtbot.waitUntil(lambda: not window.session.tasks.busy)
    assert not page.chat.store.path(gone).exists(), "it does not come back"


@pytest.mark.slow
def test_a_system_prompt_that_is_written_while_an_answer_ends_is_not_lost(qtbot: QtBot, talk: Talk) -> None:
    _, page = talk(tokens_per_s=100)
    type_message(qtbot, page, "hello")
    qtbot.keyClick(page.composer.edit, Qt.Key.Key_Return)
    page.bar.system.setFocus()
    typed = ""
    while page.chat.streaming or len(typed) < 40:
        qtbot.keyClicks(page.bar.system, "x")
        typed += "x"
        qtbot.wait(20)
    assert page.bar.system.toPlainText() == typed
    qtbot.waitUntil(lambda: page.chat.conversation.system == typed, timeout=WAIT_MS)


@pytest.mark.slow
def test_the_count_follows_the_conversation(qtbot: QtBot, talk: Talk) -> None:
    _, page = talk()
    say(qtbot, page, "a b c")
    page.composer.edit.setPlainText("d e")
    qtbot.waitUntil(
        lambda: page.composer.tokens.text() == "20 of 99 tokens", timeout=WAIT_MS
    )  # 3 + 12 + 2, and 3 turns
    page.verbs.new()
    qtbot.waitUntil(lambda: page.composer.tokens.text() == "3 of 99 tokens", timeout=WAIT_MS)


@pytest.mark.slow
def test_a_prompt_that_is_too_long_is_not_sent_however_fast_it_is(qtbot: QtBot, talk: Talk) -> None:
    window, page = talk()
    long = "word " * 120
    said: list[str] = []
    window.session.notices.said.connect(lambda notice: said.append(notice.text))

    def refusals() -> int:
        return sum("tokens and the longest" in text for text in said)

    page.composer.edit.setPlainText(long)
    qtbot.keyClick(page.composer.edit, Qt.Key.Key_Return)  # before it was counted
    qtbot.waitUntil(lambda: refusals() == 1, timeout=WAIT_MS)
    assert not page.chat.streaming and page.chat.conversation.turns == () and page.composer.text() == long
    say(qtbot, page, "short")
    turns = page.chat.conversation.turns
    page.view.edited.emit(turns[0].id, long)
    qtbot.waitUntil(lambda: refusals() == 2, timeout=WAIT_MS)
    assert page.chat.conversation.turns == turns, "nor by editing"
    page.composer.edit.setPlainText(long)
    page.burst_bar.ask()
    qtbot.waitUntil(lambda: refusals() == 3, timeout=WAIT_MS)
    assert page.bursts.snapshot is None, "nor by a burst"


@pytest.mark.slow
def test_an_unloaded_engine_ends_its_answer_in_its_own_words(qtbot: QtBot, talk: Talk) -> None:
    _, page = talk(tokens_per_s=100)
    in_the_middle(qtbot, page)
    page.verbs.unload()
    answer = ended(qtbot, page).answer
    assert answer is not None and answer.reason == "error" and answer.failure is not None
    assert "unloaded" in answer.failure.what or "closed" in answer.failure.what


@pytest.mark.slow
def test_chat_and_raw_each_go_on_where_they_were(qtbot: QtBot, talk: Talk) -> None:
    _, page = talk()
    say(qtbot, page, "hello")
    first = page.chat.conversation
    qtbot.mouseClick(page.bar.modes["raw"], Qt.MouseButton.LeftButton)
    assert page.chat.conversation.turns == () and page.bar.raw_words.isVisible()
    qtbot.mouseClick(page.bar.modes["chat"], Qt.MouseButton.LeftButton)
    assert page.chat.conversation == first and len(page.view.rows) == 2


@pytest.mark.slow
def test_settings_out_of_range_keep_the_message_from_being_sent(qtbot: QtBot, talk: Talk) -> None:
    _, page = talk()
    type_message(qtbot, page, "hello")
    top_p = page.side.sampling.rows["top_p"]
    top_p.edit.selectAll()
    qtbot.keyClicks(top_p.edit, "1.4")
    assert "Top-p" in top_p.problem.text() and top_p.problem.isVisible()
    assert not page.composer.send_button.isEnabled() and "Top-p" in page.composer.problem.text()
    top_p.edit.selectAll()
    qtbot.keyClicks(top_p.edit, "0.5")
    assert page.composer.send_button.isEnabled()
    assert page.side.sampling.sampling().top_p == 0.5
    page.side.sampling.seed.setText("12x")
    page.side.sampling.changed.emit()
    assert not page.composer.send_button.isEnabled() and "Seed" in page.composer.problem.text()
    page.side.sampling.reset()
    page.side.sampling.draw_seed()
    page.side.sampling.changed.emit()
    assert page.composer.send_button.isEnabled()


@pytest.mark.slow
def test_runtime_settings_are_applied_by_loading_again(qtbot: QtBot, talk: Talk) -> None:
    _, page = talk()
    runtime, before = page.side.runtime, page.room.current
    assert before is not None and not runtime.state_chip.isVisible()
    assert set(before.facts.runtime_settings) == {
        "kv_cache_gib", "kv_blocks", "chunked_prefill", "prefix_caching", "max_num_batched_tokens",
    }  # fmt: skip
    assert not runtime.pool.buttons["kv_fraction"].isVisible(), "OpenVINO's host takes no share"
    qtbot.mouseClick(runtime.pool.buttons["kv_blocks"], Qt.MouseButton.LeftButton)
    edit = runtime.pool.editors["kv_blocks"].focusProxy()
    assert edit is not None
    edit.setFocus()
    edit.selectAll()  # type: ignore[attr-defined]
    qtbot.keyClicks(edit, "96")
    assert runtime.state_chip.isVisible() and runtime.state_chip.text() == "1 change, reload to apply"
    qtbot.mouseClick(runtime.reload_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: page.room.current is not None and page.room.loading is None, timeout=WAIT_MS)
    after = page.room.current
    assert after is not None and after.id != before.id
    assert after.facts.overrides == ("runtime.kv_blocks=96",) and after.facts.preset.runtime.kv_blocks == 96
    assert not runtime.state_chip.isVisible()
    assert [engine.id for engine in page.room.engines] == [after.id]


@pytest.mark.slow
def test_raw_completion_sends_the_text_as_it_is(qtbot: QtBot, talk: Talk) -> None:
    _, page = talk()
    qtbot.mouseClick(page.bar.modes["raw"], Qt.MouseButton.LeftButton)
    assert page.chat.conversation.mode == "raw" and not page.bar.system.isVisible()
    type_message(qtbot, page, "Once upon a")
    qtbot.waitUntil(lambda: page.composer.tokens.text() == "3 of 99 tokens", timeout=WAIT_MS)
    assert say(qtbot, page, "bad").answer.failure is not None, "the host refuses this raw prompt"  # type: ignore[union-attr]
    assert say(qtbot, page, "Once upon a").text.startswith("one two")


@pytest.mark.slow
def test_the_page_remembers_what_stood_there(qtbot: QtBot, talk: Talk, open_window: OpenWindow) -> None:
    window, page = talk()
    page.bar.system.setPlainText("Be short.")
    say(qtbot, page, "hello")
    page.side.sampling.rows["temperature"].set_value(0.31)
    page.side.sampling.stops.set_values(("###", "\n\nyou:"))
    page.composer.edit.setPlainText("a draft")
    first = page.chat.conversation.id
    window.close()

    other = open_window(size=(1280, 800))
    again = playground(other)
    qtbot.waitUntil(lambda: again.chat.conversation.id == first, timeout=WAIT_MS)
    assert again.chat.conversation.system == "Be short." and len(again.view.rows) == 2
    assert again.side.sampling.rows["temperature"].value() == 0.31
    assert again.side.sampling.stops.values() == ("###", "\n\nyou:")
    assert again.composer.text() == "a draft"
    assert again.room.current is None and not again.composer.send_button.isEnabled()


@pytest.mark.slow
def test_export_writes_both_forms(qtbot: QtBot, talk: Talk, tmp_path: Path) -> None:
    window, page = talk()
    say(qtbot, page, "hello")

    def export(path: Path) -> None:
        qtbot.mouseClick(page.bar.export_button, Qt.MouseButton.LeftButton)
        dialog = page.findChild(QFileDialog, "export-file")
        dialog.findChild(QLineEdit, "fileNameEdit").setText(str(path))
        qtbot.keyClick(dialog.findChild(QLineEdit, "fileNameEdit"), Qt.Key.Key_Return)
        qtbot.waitUntil(lambda: page.findChild(QFileDialog, "export-file") is None, timeout=WAIT_MS)
        qtbot.waitUntil(lambda: not window.session.tasks.busy)

    export(tmp_path / "talk.md")
    export(tmp_path / "talk.json")
    assert "hello" in (tmp_path / "talk.md").read_text() and "TTFT" in (tmp_path / "talk.md").read_text()
    assert Conversation.from_json((tmp_path / "talk.json").read_bytes()) == page.chat.conversation


@pytest.mark.slow
def test_what_has_come_is_kept_while_the_answer_streams(qtbot: QtBot, talk: Talk) -> None:
    window, page = talk(tokens_per_s=50)
    page.side.sampling.rows["max_tokens"].set_value(400)
    type_message(qtbot, page, "go on")
    qtbot.keyClick(page.composer.edit, Qt.Key.Key_Return)
    store, conversation = Conversations(window.session.home), page.chat.conversation

    def so_far() -> str:
        turns = store.load(conversation.id).path() if store.path(conversation.id).is_file() else ()
        return turns[-1].text if turns and turns[-1].role == "assistant" else ""

    qtbot.waitUntil(lambda: "three" in so_far(), timeout=WAIT_MS)
    assert page.chat.streaming, "a window that is killed now has lost little"
    cut = store.load(conversation.id).path()[-1].answer
    assert cut is not None and cut.failure is not None and cut.failure.code == "window-ended"
    page.chat.stop()
    turn = ended(qtbot, page)
    qtbot.waitUntil(lambda: not window.session.tasks.busy)
    last = store.load(conversation.id).path()[-1]
    assert last == turn and last.answer is not None and last.answer.reason == "abort"


@pytest.mark.slow
def test_the_window_closes_in_the_middle_of_an_answer_and_keeps_it(qtbot: QtBot, talk: Talk) -> None:
    window, page = talk(tokens_per_s=100)
    in_the_middle(qtbot, page)
    pid, conversation = host_pid(page), page.chat.conversation.id
    window.close()
    QApplication.processEvents()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    last = Conversations(window.session.home).load(conversation).path()[-1]
    assert last.text.startswith("one two three") and last.answer is not None and last.answer.reason == "abort"

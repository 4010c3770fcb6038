"""Conversations on their way to the store: the newest is written, a deleted one stays away, the end loses nothing."""

from __future__ import annotations

import threading

import pytest
from pytestqt.qtbot import QtBot

from workbench.core.conversation import Conversation
from workbench.store.conversations import Conversations
from workbench.ui.models.keeper import Keeper
from workbench.ui.session import Session


@pytest.fixture
def store(session: Session) -> Conversations:
    return Conversations(session.home)


def test_what_was_asked_for_last_is_written(qtbot: QtBot, session: Session, store: Conversations) -> None:
    keeper = Keeper(session, store)
    conversation, begun, go = store.fresh(), threading.Event(), threading.Event()

    def slow() -> Conversation:
        begun.set()
        go.wait(10)
        return conversation.say("first", 1.0)

    keeper.keep(conversation, slow)
    assert begun.wait(10)
    keeper.keep(conversation.say("second", 2.0))
    keeper.keep(conversation.say("third", 3.0))
    with qtbot.waitSignal(keeper.kept, timeout=10_000):
        go.set()
    assert store.load(conversation.id).path()[-1].text == "third" and keeper.idle


def test_a_conversation_that_was_deleted_does_not_come_back(
    qtbot: QtBot, session: Session, store: Conversations
) -> None:
    keeper = Keeper(session, store)
    conversation, begun, go = store.fresh().say("hello", 1.0), threading.Event(), threading.Event()

    def slow() -> Conversation:
        begun.set()
        go.wait(10)
        return conversation

    keeper.keep(conversation, slow)
    assert begun.wait(10)
    keeper.keep(conversation)
    keeper.forget(conversation.id)
    with qtbot.waitSignal(keeper.kept, timeout=10_000):
        go.set()
    assert not store.path(conversation.id).exists()


def test_what_waits_when_the_window_closes_is_written(session: Session, store: Conversations) -> None:
    keeper = Keeper(session, store)
    assert session.tasks.close(), "no task begins any more"
    conversations = [store.fresh().say(f"number {number}", 1.0) for number in range(3)]
    for conversation in conversations:
        keeper.keep(conversation)
    keeper.close()
    assert [store.load(one.id) for one in conversations] == conversations

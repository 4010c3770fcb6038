"""Conversations and prompts on disk: whole, private, listed, and damage said."""

from __future__ import annotations

import os
import re
import stat
import threading
from pathlib import Path

import pytest

from workbench.core.answer import AnswerRecord, EngineRef, Piece
from workbench.core.conversation import Conversation
from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.store.conversations import Conversations
from workbench.store.prompts import SavedPrompt, prompts_path, read_prompts, remove_prompt, write_prompt


@pytest.fixture
def kept(home: Home) -> Conversations:
    return Conversations(home)


def spoken(kept: Conversations, text: str, at: float) -> Conversation:
    record = AnswerRecord(reason="stop", pieces=(Piece(1.0, 1, "yes", (1,)),), engine=EngineRef(name="demo"))
    conversation = kept.fresh().say(text, at).answered("yes", record, at + 1)
    kept.save(conversation)
    return conversation


def test_saved_and_loaded_it_is_the_same(kept: Conversations, home: Home) -> None:
    hard = "a\0b \U0001f469\u200d\U0001f467 \u202e\u05e9\u05dc\u05d5\u05dd " + "y" * 2_000_000
    conversation = kept.fresh(system="be short\0").say(hard, 5.0)
    assert not kept.folder.exists(), "nothing is written before it is saved"
    path = kept.save(conversation)
    assert path == home.root / "conversations" / f"{conversation.id}.json"
    assert kept.load(conversation.id) == conversation == Conversations(home).find("last")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(kept.folder.stat().st_mode) == 0o700
    assert list(kept.folder.iterdir()) == [path], "no temporary file stays"


def test_fresh_ones_never_share_an_id(kept: Conversations) -> None:
    ids = {kept.fresh().id for _ in range(200)}
    assert len(ids) == 200 and all(re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{8}", one) for one in ids)


def test_the_list_is_newest_first_and_follows_the_disk(kept: Conversations, home: Home) -> None:
    assert kept.list() == ()
    old, new = spoken(kept, "the old one", 100.0), spoken(kept, "the new one", 200.0)
    listed = kept.list()
    assert [(e.title, e.turns, e.engine, e.changed_at) for e in listed] == [
        ("the new one", 2, "demo", 201.0),
        ("the old one", 2, "demo", 101.0),
    ]
    other = Conversations(home)  # another program
    other.save(other.load(old.id).say("again", 300.0))
    assert [entry.id for entry in kept.list()] == [old.id, new.id]
    kept.delete(old.id)
    kept.delete(old.id)
    assert [entry.id for entry in kept.list()] == [new.id]


def test_what_another_program_said_meanwhile_is_kept_beside(kept: Conversations, home: Home) -> None:
    mine = spoken(kept, "one", 100.0)
    other = Conversations(home)
    theirs = other.load(mine.id).say("theirs", 200.0)
    other.save(theirs)
    kept.list()
    mine = mine.say("mine", 300.0)
    kept.save(mine)
    kept.save(mine.renamed("again"))
    first, second = (kept.load(entry.id) for entry in kept.list())
    assert first == mine.renamed("again") and second.turns == theirs.turns
    assert second.id.startswith(mine.id) and second.id != mine.id


def test_a_damaged_file_is_listed_with_its_problem(kept: Conversations) -> None:
    good = spoken(kept, "good", 100.0)
    (kept.folder / "bad.json").write_text('{"schema_version": 1, "id": "bad", "tu')
    (kept.folder / "later.json").write_text('{"schema_version": 99}')
    (kept.folder / ".x.json.1.new").write_text("half of a save")
    (kept.folder / "folder.json").mkdir()
    entries = {entry.id: entry for entry in kept.list()}
    assert set(entries) == {good.id, "bad", "later", "folder"}
    assert "damaged" in entries["bad"].problem and "newer" in entries["later"].problem and entries["folder"].problem
    assert entries[good.id].problem == ""
    assert kept.find("last") == good
    with pytest.raises(BadInputError, match="damaged"):
        kept.load("bad")


def test_find_takes_a_part_that_only_one_has(kept: Conversations) -> None:
    first, second = spoken(kept, "one", 100.0), spoken(kept, "two", 200.0)
    assert kept.find(first.id[-8:]) == first and kept.find(second.id) == second
    with pytest.raises(BadInputError, match="fits 2"):
        kept.find(first.id[:4])
    with pytest.raises(BadInputError, match="no conversation 'zzz'") as caught:
        kept.find("zzz")
    assert "two" in caught.value.evidence


@pytest.mark.parametrize("wanted", ["../store", "a/b", "", ".hidden", "x" * 65, "a\0b"])
def test_an_id_never_leads_out_of_the_folder(kept: Conversations, wanted: str) -> None:
    with pytest.raises(BadInputError, match="Not the id"):
        kept.load(wanted)
    with pytest.raises(BadInputError, match="Not the id"):
        kept.save(Conversation(id=wanted))


def test_a_copied_file_is_a_conversation_of_its_own(kept: Conversations) -> None:
    first = spoken(kept, "one", 100.0)
    (kept.folder / "copy.json").write_bytes(kept.path(first.id).read_bytes())
    kept.save(kept.load("copy").say("two", 200.0))
    assert kept.load(first.id) == first and len(kept.load("copy").turns) == 3


def test_a_save_that_cannot_be_keeps_the_old_file(kept: Conversations, monkeypatch: pytest.MonkeyPatch) -> None:
    first = spoken(kept, "one", 100.0)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadInputError, match="could not be kept") as caught:
        kept.save(first.say("two", 200.0))
    assert "No space left" in caught.value.evidence
    monkeypatch.undo()
    assert kept.load(first.id) == first and len(list(kept.folder.iterdir())) == 1


def test_prompts_are_kept_by_name(home: Home) -> None:
    assert read_prompts(home) == ()
    write_prompt(home, SavedPrompt(name=" b\nb ", text="one\0"))
    write_prompt(home, SavedPrompt(name="A", text="two", system="short"))
    write_prompt(home, SavedPrompt(name="b b", text="three"))
    assert [(p.name, p.text, p.system) for p in read_prompts(home)] == [("A", "two", "short"), ("b b", "three", "")]
    assert stat.S_IMODE(prompts_path(home).stat().st_mode) == 0o600
    assert [p.name for p in remove_prompt(home, "A")] == ["b b"]
    for empty in (SavedPrompt(name=" ", text="x"), SavedPrompt(name="x", text=" ")):
        with pytest.raises(BadInputError, match="needs a name"):
            write_prompt(home, empty)


def test_damaged_prompts_are_said_and_left_alone(home: Home) -> None:
    for text, shows in (
        ("{", "EOF"),
        ('{"schema_version": 9, "prompts": []}', "schema 9"),
        ('{"prompts": []}', "schema"),
    ):
        prompts_path(home).write_text(text)
        with pytest.raises(BadInputError, match="cannot be read") as caught:
            read_prompts(home)
        assert shows in caught.value.evidence
        with pytest.raises(BadInputError):
            write_prompt(home, SavedPrompt(name="a", text="b"))
        assert prompts_path(home).read_text() == text


def test_prompts_of_many_at_once_are_all_kept(home: Home, tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=write_prompt, args=(home, SavedPrompt(name=f"p{number}", text="x")))
        for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_prompts(home)) == 12

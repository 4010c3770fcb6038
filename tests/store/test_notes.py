"""Notes and tags outlive the window, and a damaged file is never overwritten."""

from __future__ import annotations

import threading

import pytest

from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.store.notes import Note, notes_path, read_notes, write_note


def test_a_note_is_kept_by_key_and_an_empty_one_is_taken_away(home: Home) -> None:
    assert read_notes(home) == {}
    write_note(home, "k1", Note(text="good\n", tags=("chat", " chat ", "", "rag")))
    write_note(home, "k2", Note(tags=("x",)))
    assert read_notes(home) == {"k1": Note(text="good\n", tags=("chat", "rag")), "k2": Note(tags=("x",))}
    write_note(home, "k1", Note(text="  "))
    assert set(read_notes(home)) == {"k2"}


def test_writers_at_once_lose_nothing(home: Home) -> None:
    threads = [threading.Thread(target=write_note, args=(home, f"k{n}", Note(text=str(n)))) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key: note.text for key, note in read_notes(home).items()} == {f"k{n}": str(n) for n in range(12)}


@pytest.mark.parametrize("text", ["{", '{"schema_version": 9, "notes": {}}', '{"notes": {"k": 3}}'])
def test_a_file_that_cannot_be_read_is_left_as_it_is(home: Home, text: str) -> None:
    notes_path(home).write_text(text)
    with pytest.raises(BadInputError, match="notes"):
        write_note(home, "k", Note(text="new"))
    assert notes_path(home).read_text() == text

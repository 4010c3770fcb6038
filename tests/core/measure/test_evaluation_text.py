"""The text that perplexity is measured on: what ships, one's own, and that nothing was calibrated with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes import models
from workbench.core.data import resource
from workbench.core.errors import BadInputError
from workbench.core.measure.overlap import ngrams, shared
from workbench.core.measure.passages import PASSAGE_CHARACTERS, read_evaluation, shipped
from workbench.core.measure.scores import tokenizer_digest

SENTENCE = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def test_the_shipped_text_is_held_apart_from_calibration_and_prompts() -> None:
    passages = [passage.text for passage in read_evaluation(resource("evaluation.jsonl")).passages]
    assert len(passages) == 32 and sum(len(text.split()) for text in passages) > 3000
    for name in ("calibration.jsonl", "calibration_512.jsonl"):
        assert shared(passages, [one.text for one in read_evaluation(resource(name)).passages]) == []
    prompts = json.loads(resource("verify_prompts.json").read_text("utf-8"))["prompts"]
    assert shared(passages, [row["text"] for row in prompts]) == []
    assert len(set(passages)) == len(passages)


def test_thirteen_words_in_a_row_are_found_whatever_stands_between_them() -> None:
    other = "Before. " + SENTENCE.upper().replace(" ", ",  ") + " after"
    assert shared(["nothing of it here", SENTENCE], [other]) == [1]
    twelve = " ".join(SENTENCE.split()[:12])
    assert shared([SENTENCE], [twelve + " other words follow here"]) == []
    assert ngrams("a b c d") == {("a", "b", "c", "d")} and ngrams("a b") == set()


def test_a_jsonl_file_has_a_passage_a_line_and_a_text_file_is_cut_at_blank_lines(tmp_path: Path) -> None:
    rows = tmp_path / "a.jsonl"
    rows.write_text('{"text": "first", "name": "n"}\n\n{"text": "second"}\n{"text": " "}\n', "utf-8")
    found = read_evaluation(rows)
    assert [(p.name, p.text) for p in found.passages] == [("n", "first"), ("line 3", "second")]
    assert found.source.startswith("a.jsonl, SHA-256 ") and not shipped(found.source)
    assert shipped(read_evaluation(resource("evaluation.jsonl"), 2, ships=True).source)
    rows.write_bytes(b'\xef\xbb\xbf{"text": "first", "name": "n"}\n{"text": "second", "name": "n"}\n')
    assert [p.name for p in read_evaluation(rows).passages] == ["n", "n, line 2"], "each has a name of its own"
    plain = tmp_path / "a.txt"
    plain.write_text("\r\n\r\n".join("word " * 100 for _ in range(20)), "utf-8")
    pieces = read_evaluation(plain).passages
    assert len(pieces) == 5 and all(len(piece.text) >= PASSAGE_CHARACTERS for piece in pieces)
    assert sum(piece.text.count("word") for piece in pieces) == 2000
    some = read_evaluation(plain, most=2)
    assert [piece.name for piece in some.passages] == ["passage 1", "passage 3"] and "2 of 5 passages" in some.source


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"no": 1}\n', "line 2"),
        ("a.jsonl", b'{"text": 5}\n', "line 1"),
        ("a.txt", b"\n\n", "no text in it"),
        ("a.txt", b"a\x00b", "binary"),
        ("a.txt", b"\xff\xfe", "utf-8"),
    ],
)
def test_a_text_that_cannot_be_used_is_said_with_its_line(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInputError) as caught:
        read_evaluation(tmp_path / name)
    assert words in caught.value.evidence


def test_tokenizers_are_told_by_what_they_do_and_not_by_how_the_file_is_written(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        models.write_tokenizer(folder)
    first = tokenizer_digest(one)
    data = json.loads((two / "tokenizer.json").read_text("utf-8"))
    (two / "tokenizer.json").write_text(json.dumps({"truncation": None, **data}, indent=4, sort_keys=True), "utf-8")
    assert first and tokenizer_digest(two) == first
    vocabulary = data["model"]["vocab"]
    a, b = sorted(vocabulary)[:2]
    vocabulary[a], vocabulary[b] = vocabulary[b], vocabulary[a]
    (two / "tokenizer.json").write_text(json.dumps(data), "utf-8")
    assert tokenizer_digest(two) != first
    (two / "tokenizer.json").write_text("{", "utf-8")
    assert tokenizer_digest(two) == ""

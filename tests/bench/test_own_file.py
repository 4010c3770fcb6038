"""A person's own file: broken lines are named and left out, up to a share; what is no workload is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from workbench.bench.own_file import read_own
from workbench.core.errors import BadInputError

GOOD = json.dumps({"prompt": "What is a lock?"})


def _file(folder: Path, lines: list[str], name: str = "own.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "not JSON"),
        ("17", "neither a text nor an object"),
        ("null", "null is no request"),
        ('{"a": 1}', "no prompt, text or messages"),
        ('{"prompt": ""}', "the prompt is empty"),
        ('{"prompt": ["a"]}', "prompt is no text"),
        ('{"prompt": "\\ud800"}', "half of a surrogate pair"),
        ('{"messages": []}', "messages is no list"),
        ('{"messages": [{"role": "robot", "content": "x"}]}', "messages.role"),
        ('{"messages": [{"role": "assistant", "content": "x"}]}', "the last message is the assistant's"),
        ('{"prompt": "x", "output_length": 0}', "not a length in tokens"),
        ('{"prompt": "x", "max_tokens": 1.5}', "no whole number"),
        ('{"prompt": NaN}', "NaN is no JSON"),
        ("[" * 5000, "not JSON"),
    ],
)
def test_a_broken_line_is_named_with_its_reason_and_left_out(tmp_path: Path, line: str, why: str) -> None:
    found, notes = read_own(_file(tmp_path, [GOOD, GOOD, line, "", GOOD, GOOD, GOOD]))
    assert [each.line for each in found] == [1, 2, 5, 6, 7]
    assert len(notes) == 1 and why in notes[0]
    assert "own.jsonl: 1 of 6 lines is broken and left out: line 3 (line 3: " in notes[0]


def test_bytes_that_are_no_text_are_a_broken_line(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join([GOOD.encode()] * 9 + [b'{"prompt": "\xff"}']))
    found, notes = read_own(path)
    assert len(found) == 9 and "line 10: not UTF-8 text" in notes[0]


def test_too_many_broken_lines_refuse_the_file(tmp_path: Path) -> None:
    lines = [GOOD] * 30 + ["{"] * 10
    with pytest.raises(BadInputError, match="Too much") as caught:
        read_own(_file(tmp_path, lines))
    assert "10 of 40 lines are broken" in caught.value.evidence and "and 2 more" in caught.value.evidence
    assert len(read_own(_file(tmp_path, lines[:-4]))[0]) == 30


def test_nothing_left_refuses_the_file(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no request that can be used") as caught:
        read_own(_file(tmp_path, ["{", "["]))
    assert "line 1: not JSON" in caught.value.evidence
    for name in ("empty.jsonl", "empty.txt"):
        with pytest.raises(BadInputError, match="no request that can be used"):
            read_own(_file(tmp_path, ["", "  "], name))


def test_texts_are_one_a_line_or_blocks(tmp_path: Path) -> None:
    found, notes = read_own(_file(tmp_path, ["one", "", "two"], "own.txt"))
    assert [each.text for each in found] == ["one", "two"] and notes == ()
    blocks, _ = read_own(_file(tmp_path, ["one", "goes on", "---", "two"], "own.md"))
    assert [each.text for each in blocks] == ["one\ngoes on", "two"]
    for data in (b"\xff\xfe\x00", b"a\0b"):
        (tmp_path / "own.txt").write_bytes(data)
        with pytest.raises(BadInputError, match="text"):
            read_own(tmp_path / "own.txt")


def test_what_is_no_file_is_said_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    for name in ("pipe.jsonl", "none.jsonl", "none\0.txt", "."):
        with pytest.raises(BadInputError):
            read_own(tmp_path / name)

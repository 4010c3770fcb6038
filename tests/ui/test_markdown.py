"""Streamed Markdown cut into blocks: the same however it arrives, nothing lost, nothing that grows without end."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.ui.pages.playground.talk.markdown import (
    CODE_CHARS,
    CODE_LINES,
    PIECE_CHARS,
    Block,
    Splitter,
    kept_lines,
    plain_lines,
    right_to_left,
    split,
    visible,
)

MIXED = """Intro line
second line

1. First:
   ```bash
   pip install x
     two
   ```
   then **more**
2. Second
   - nested

| a | b |
|---|--:|
| 1 | 2 |

Title
---
```python
def f():
    return "`"
```
> ```
> quoted
> ```
~~~
unfinished"""


def kinds(blocks: list[Block]) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in blocks]


def test_code_is_told_from_prose_and_freed_of_its_fence() -> None:
    blocks = split(MIXED)
    code = [block for block in blocks if block.kind == "code"]
    assert [(block.text, block.language, block.fence) for block in code] == [
        ("pip install x\n  two\n", "bash", 1),
        ('def f():\n    return "`"\n', "python", 2),
        ("unfinished", "", 3),
    ]
    prose = "".join(block.text for block in blocks if block.kind == "prose")
    assert "then **more**\n2. Second" in prose, "what follows code in a list item is no indented code"
    assert "> ```\n> quoted\n> ```" in prose, "a fence in a quote belongs to the quote"


@pytest.mark.parametrize("seed", range(20))
def test_it_does_not_matter_how_the_text_arrives(seed: int) -> None:
    chance = random.Random(seed)
    splitter, found, at = Splitter(), [], 0
    while at < len(MIXED):
        step = chance.choice((1, 1, 2, 5, 40))
        found += splitter.feed(MIXED[at : at + step])
        at += step
    assert [*found, *splitter.finish()] == split(MIXED)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet="ab `~-*#|>1.\n\r\t\\\x00א🙂", max_size=30), max_size=12))
def test_no_text_is_lost_and_none_breaks_it(parts: list[str]) -> None:
    splitter, found = Splitter(), []
    for part in parts:
        found += splitter.feed(part)
        rest = splitter.open
        assert rest is None or rest.kind in ("prose", "code")
    found += splitter.finish()
    assert found == split("".join(parts))
    kept = "".join(block.text for block in found)
    words = [c for c in visible("".join(parts)) if c.isalpha() or c in "␀א🙂"]
    # The language of a fence is the only word that goes elsewhere.
    assert len([c for c in kept if c.isalpha() or c in "␀א🙂"]) <= len(words)
    if "```" not in "".join(parts).replace("\r", "") and "~~~" not in "".join(parts).replace("\r", ""):
        assert [c for c in kept if c.isalpha() or c in "␀א🙂"] == words


def test_what_is_open_is_shown_and_a_coming_fence_is_held_back() -> None:
    splitter = Splitter()
    splitter.feed("Text **bo")
    assert splitter.open == Block("prose", "Text **bo")
    splitter.feed("ld**\n\n```py\nx = 1\n``")
    assert splitter.open == Block("code", "x = 1\n", "py", 1)
    assert kinds(splitter.feed("`\nafter")) == [("code", "x = 1\n")]
    assert splitter.open == Block("prose", "after")


def test_two_halves_of_a_line_end_are_one() -> None:
    splitter = Splitter()
    blocks = [*splitter.feed("a\r"), *splitter.feed("\nb\r\n\r"), *splitter.feed("\n# c\r\n"), *splitter.finish()]
    assert kinds(blocks) == [("prose", "a\nb\n\n"), ("prose", "# c\n")]


@pytest.mark.parametrize(
    "text",
    [
        "word " * 40_000,
        "x" * 200_000,
        "one line\n" * 20_000,
        "- item\n" * 20_000,
        "|a|b|\n|-|-|\n" + "|1|2|\n" * 20_000,
    ],
    ids=["paragraph", "word", "lines", "list", "table"],
)
def test_no_block_grows_past_its_limit(text: str) -> None:
    blocks = split(text)
    assert max(len(block.text) for block in blocks) <= PIECE_CHARS + 20
    assert "".join(block.text for block in blocks) == text


def test_a_long_fence_is_several_blocks_of_one_number() -> None:
    lines = "".join(f"line {number}\n" for number in range(CODE_LINES * 2 + 5))
    blocks = split(f"```\n{lines}```\n")
    assert len(blocks) == 3
    assert {block.fence for block in blocks} == {1}
    assert "".join(block.text for block in blocks) == lines
    wide = split("```\n" + "y" * (CODE_CHARS * 2) + "\n```")
    assert "".join(block.text for block in wide) == "y" * (CODE_CHARS * 2) + "\n"
    assert max(len(block.text) for block in wide) <= CODE_CHARS + PIECE_CHARS


def test_the_rows_of_a_long_table_can_stand_alone() -> None:
    table = "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 5000
    starts = [block for block in split(table) if block.starts and block.lead]
    assert starts, "a table of 50 kB is cut somewhere"
    assert {block.lead for block in starts} == {"| a | b |\n|---|---|\n"}


def test_feeding_costs_what_is_new_and_not_what_there_is() -> None:
    def cost(splitter: Splitter, times: int) -> float:
        begun = time.thread_time()
        for _ in range(times):
            splitter.feed("some words and `code` of a paragraph, ")
            _ = splitter.open
        return time.thread_time() - begun

    splitter = Splitter()
    cost(splitter, 2000)
    first = cost(splitter, 2000)
    cost(splitter, 20_000)
    assert cost(splitter, 2000) < 5 * first + 0.05


def test_line_ends_within_a_paragraph_are_kept_and_others_left() -> None:
    assert kept_lines("one\ntwo  \nthree\n\nfour") == "one\u2028two\u2028three\n\nfour"
    for untouched in ("- a\n- b", "# a\nb", "a\n===", "|a|b|\n|-|-|\n|1|2|", "> a\n> b", "    x\n    y", "a\n***"):
        assert kept_lines(untouched) == untouched


def test_unfinished_prose_shows_paragraphs_and_lines() -> None:
    assert plain_lines("a\nb\n\n \nc\n") == "a\u2028b\nc"


def test_control_characters_are_seen() -> None:
    assert visible("a\x00b\x1b[0m\x7f\tc\r\nd\re") == "a␀b␛[0m␡\tc\nd\ne"
    assert visible("\ud800 \ufffc \ufdd0 \x85") == "\ufffd \ufffd \ufffd \ufffd"
    assert visible("plain") == "plain"


@pytest.mark.parametrize(
    ("text", "rtl"),
    [("hello", False), ("שלום", True), ("123 (שלום) hello", True), ("- مرحبا", True), ("a שלום", False), ("", False)],
)
def test_direction_is_that_of_the_first_strong_character(text: str, rtl: bool) -> None:
    assert right_to_left(text) is rtl

"""A person's own prompts as a workload: texts, or JSON lines. Broken lines are counted and named, up to a share."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from workbench.core.errors import BadInputError
from workbench.core.messages import ChatTurn

T = TypeVar("T")

MOST_BYTES = 512 * 2**20
MOST_LINES = 1_000_000
MOST_BROKEN = 0.2
"""Share of broken lines above which a file is refused: it is not of the kind that it was taken for."""
_NAMED = 8
_DIVIDER = re.compile(r"^---[ \t]*\r?$", re.MULTILINE)
_LENGTHS = ("output_length", "output_tokens", "max_tokens")
_TEXTS = ("prompt", "text", "text_input", "input")


@dataclass(frozen=True)
class OwnPrompt:
    """One request of the file."""

    line: int
    """From 1; of a text divided by lines of ---, the number of the block."""
    text: str = ""
    messages: tuple[ChatTurn, ...] = ()
    """A whole conversation; empty: `text` is all there is."""
    output_tokens: int | None = None
    """Length of the answer, where the line names one."""


@dataclass
class Broken:
    """What could not be used of a file."""

    unit: str = "line"
    first: str = ""
    """Why the first one cannot be used."""
    lines: list[int] = field(default_factory=list)

    def add(self, line: int, why: str) -> None:
        if not self.lines:
            self.first = why
        self.lines.append(line)

    def words(self, total: int) -> str:
        """`3 of 120 lines are broken and left out: lines 4, 17, 90 (line 4: not JSON)`."""
        named = ", ".join(f"{line:,}" for line in self.lines[:_NAMED])
        more = f" and {len(self.lines) - _NAMED:,} more" if len(self.lines) > _NAMED else ""
        one = len(self.lines) == 1
        return (
            f"{len(self.lines):,} of {total:,} {self.unit}s {'is' if one else 'are'} broken and left out: "
            f"{self.unit}{'' if one else 's'} {named}{more} ({self.unit} {self.lines[0]:,}: {self.first})"
        )


def read_own(path: Path) -> tuple[tuple[OwnPrompt, ...], tuple[str, ...]]:
    """The prompts of a file and what to know of them. `.jsonl`: a text or an object with prompt, text or messages a
    line; anything else: one prompt a line, or blocks divided by lines of ---.

    Raises BadInputError when the file cannot be read, when too many lines are broken, and when none is left.
    """
    if path.suffix.lower() != ".jsonl":
        return _texts(path), ()
    found, notes = good_lines(path, _prompt)
    return tuple(found), notes


def good_lines(path: Path, read: Callable[[int, Any], T]) -> tuple[list[T], tuple[str, ...]]:
    """What `read` makes of each line and its number, and what to say of those that are broken: of which it raises
    ValueError. Raises BadInputError when too many are, or when none is left.
    """
    broken = Broken()
    found: list[T] = []
    total = 0
    for line, value in json_lines(path, broken):
        total += 1
        if value is None:
            continue
        try:
            found.append(read(line, value))
        except ValueError as error:
            broken.add(line, str(error))
    return found, judge(path, broken, total, len(found))


def judge(path: Path, broken: Broken, total: int, good: int) -> tuple[str, ...]:
    """What to say of the broken lines. Raises BadInputError when they are too many, or when none is left."""
    fix = "Write one JSON object a line, with prompt, text or messages."
    if not good:
        raise BadInputError(
            "The workload's file holds no request that can be used.",
            evidence=f"{path}: {broken.words(total)}" if broken.lines else f"{path} is empty",
            fix=fix,
            code="bad-workload",
        )
    if len(broken.lines) > MOST_BROKEN * total:
        raise BadInputError(
            "Too much of the workload's file is broken.", evidence=f"{path}: {broken.words(total)}", fix=fix,
            code="bad-workload",
        )  # fmt: skip
    return (f"{path.name}: {broken.words(total)}.",) if broken.lines else ()


def json_lines(path: Path, broken: Broken) -> Iterator[tuple[int, Any]]:
    """Line numbers, from 1, and values; None where a line is no JSON, which `broken` then has. Blank lines are left
    out. Raises BadInputError when the file cannot be read or is too large.
    """
    for line, raw in enumerate(_lines(path), 1):
        if not raw.strip():
            continue
        if line > MOST_LINES:
            raise _bad("The workload's file has too many lines.", f"{path}: over {MOST_LINES:,}")
        try:
            value = json.loads(raw.decode("utf-8-sig" if line == 1 else "utf-8"), parse_constant=_no_constant)
        except UnicodeDecodeError:
            broken.add(line, "not UTF-8 text")
            yield line, None
        except (ValueError, RecursionError) as error:
            broken.add(line, f"not JSON: {str(error)[:80] or type(error).__name__}")
            yield line, None
        else:
            if value is None:
                broken.add(line, "null is no request")
            yield line, value


def content(value: dict[str, Any]) -> tuple[str, tuple[ChatTurn, ...]] | None:
    """Text or conversation of a line's object; None when it has neither. Raises ValueError for bad ones."""
    if "messages" in value:
        return "", turns(value["messages"])
    for name in _TEXTS:
        if name in value:
            return text_of(value[name], name), ()
    return None


def text_of(value: Any, name: str) -> str:
    """A prompt's text. Raises ValueError when it is none, is empty or cannot be encoded."""
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    if not value.strip():
        raise ValueError("the prompt is empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair in the text") from None
    return value


def turns(value: Any) -> tuple[ChatTurn, ...]:
    """A conversation. Raises ValueError in words."""
    if not isinstance(value, list) or not value:
        raise ValueError("messages is no list with a message")
    try:
        found = tuple(ChatTurn.model_validate(each) for each in value)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"messages.{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None
    if found[-1].role == "assistant":
        raise ValueError("the last message is the assistant's")
    for turn in found:
        text_of(turn.content, "content")
    return found


def length_of(value: dict[str, Any], names: tuple[str, ...]) -> int | None:
    """A length in tokens under the first of the names that is there. Raises ValueError for one below 1."""
    for name in names:
        if value.get(name) is not None:
            number = value[name]
            if isinstance(number, bool) or not isinstance(number, (int, float)) or number != int(number):
                raise ValueError(f"{name} is no whole number")
            if not 1 <= number <= 10_000_000:
                raise ValueError(f"{name} is {number}, not a length in tokens")
            return int(number)
    return None


def _prompt(line: int, value: Any) -> OwnPrompt:
    if isinstance(value, str):
        return OwnPrompt(line, text_of(value, "prompt"))
    if not isinstance(value, dict):
        raise ValueError("neither a text nor an object")
    found = content(value)
    if found is None:
        raise ValueError("no prompt, text or messages")
    return OwnPrompt(line, found[0], found[1], length_of(value, _LENGTHS))


def _texts(path: Path) -> tuple[OwnPrompt, ...]:
    data = b"".join(_lines(path))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _bad("The workload's file is not UTF-8 text.", f"{path}: byte {error.start:,}") from None
    if "\0" in text:
        raise _bad("The workload's file is not a text.", f"{path} holds NUL characters")
    parts = _DIVIDER.split(text) if _DIVIDER.search(text) else text.splitlines()
    found = tuple(OwnPrompt(line, part.strip()) for line, part in enumerate(parts, 1) if part.strip())
    if not found:
        raise _bad("The workload's file holds no request that can be used.", f"{path} is empty")
    return found


def _lines(path: Path) -> Iterator[bytes]:
    try:
        # Opening a pipe would wait for its other end.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise _bad("A workload is read from a file.", f"{path} is something else")
            if facts.st_size > MOST_BYTES:
                raise _bad("The workload's file is too large.", f"{path}: over {MOST_BYTES // 2**20} MiB")
            yield from file
    except OSError as error:
        raise _bad("The workload's file cannot be read.", f"{path}: {error.strerror or error}") from None
    except ValueError as error:  # a NUL in the path
        raise _bad("The workload's file cannot be read.", str(error)) from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _bad(what: str, evidence: str) -> BadInputError:
    return BadInputError(
        what, evidence=evidence, fix="Choose a file of prompts: .txt or .jsonl, in UTF-8.", code="bad-workload"
    )

"""The prompts of a burst: from a file of texts, JSON lines or a JSON list, with errors that name the line."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from workbench.core.errors import BadInputError
from workbench.core.messages import ChatTurn

MOST_BYTES = 64 * 2**20
MOST_PROMPTS = 10_000
SUFFIXES = (".txt", ".jsonl", ".json")
_FIX = "A prompt is a text, or an object with prompt, text or messages."
_DIVIDER = re.compile(r"^---[ \t]*\r?$", re.MULTILINE)
_BLANKS = re.compile(r"[ \t\n\r]*")
_BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


@dataclass(frozen=True)
class Prompt:
    """One request of a burst."""

    text: str
    """What is sent; of a conversation, its last message."""
    turns: tuple[ChatTurn, ...] = ()
    """A whole conversation, which is sent as it is with the chat template; empty: `text` is all there is."""
    system: str | None = None
    """System prompt of its own; None: that of the burst."""


def read_prompts(path: Path) -> tuple[Prompt, ...]:
    """The prompts of a file: `.txt` (one a line, or blocks divided by lines of ---), `.jsonl` or a list in `.json`.

    Raises BadInputError with the line (of a list: the item) at fault; one bad prompt refuses the file.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise _bad("Prompts are not read from files of this kind.", f"{path.name}", f"Use {', '.join(SUFFIXES)}.")
    text = _text(path, _bytes(path))
    prompts: list[Prompt] = []
    for where, prompt in _parse(path, suffix, text):
        if not prompt.text.strip():
            raise _bad("A prompt is empty.", f"{path.name}, {where}", "Take it out, or write something.")
        _check_text(path, where, prompt)
        prompts.append(prompt)
        if len(prompts) > MOST_PROMPTS:
            raise _bad("The file holds too many prompts.", f"{path.name}: over {MOST_PROMPTS:,}", "Split it.")
    if not prompts:
        raise _bad("The file holds no prompt.", str(path), _FIX)
    return tuple(prompts)


def _bytes(path: Path) -> bytes:
    try:
        # Opening a pipe would wait for its other end.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _bad("Prompts are read from a file.", f"{path} is something else", "Choose a file.")
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise _bad("The file of prompts cannot be read.", f"{path}: {error.strerror or error}", "") from error
    except ValueError as error:  # a NUL in the path
        raise _bad("The file of prompts cannot be read.", str(error), "") from error
    if len(data) > MOST_BYTES:
        raise _bad("The file of prompts is too large.", f"{path}: over {MOST_BYTES // 2**20} MiB", "Split it.")
    return data


def _text(path: Path, data: bytes) -> str:
    for mark, name in _BOMS.items():
        if data.startswith(mark):
            raise _bad("The file of prompts is not UTF-8.", f"{path.name} begins as {name}", "Save it as UTF-8.")
    if (at := data.find(b"\0")) >= 0:
        line = data.count(b"\n", 0, at) + 1
        raise _bad("A prompt holds a NUL byte.", f"{path.name}, line {line}", "Take it out.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _bad(
            "The file of prompts is not UTF-8.",
            f"{path.name}, line {line}: byte 0x{data[error.start]:02x}",
            "Save it as UTF-8.",
        ) from error


def _parse(path: Path, suffix: str, text: str) -> Iterator[tuple[str, Prompt]]:
    if suffix == ".json":
        for number, item in enumerate(_items(path, text), 1):
            yield f"item {number}", _prompt(path, f"item {number}", item)
    elif suffix == ".jsonl":
        for number, line in _lines(text):
            if line.strip():
                yield f"line {number}", _prompt(path, f"line {number}", _json(path, line, number))
    elif "---" in text and _DIVIDER.search(text):
        yield from _blocks(text)
    else:
        for number, line in _lines(text):
            if line.strip():
                yield f"line {number}", Prompt(line)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    r"""Lines with their numbers, one at a time. Only \n ends one: str.splitlines would also split at characters that a
    prompt may hold.
    """
    for number, line in enumerate(io.StringIO(text, newline="\n"), 1):
        yield number, line.removesuffix("\n").removesuffix("\r")


def _blocks(text: str) -> Iterator[tuple[str, Prompt]]:
    block: list[str] = []
    for number, line in itertools.chain(_lines(text), [(0, "---")]):
        if not _DIVIDER.fullmatch(line):
            block.append(line)
            continue
        found = "\n".join(block).strip("\n")
        if found.strip():
            yield f"the block before line {number}" if number else "the last block", Prompt(found)
        block = []


def _items(path: Path, text: str) -> Iterator[Any]:
    """The items of a JSON list one by one: read as a whole, a large one would hold up all other threads."""
    decoder, at = json.JSONDecoder(), _past_blanks(text, 0)
    if text[at : at + 1] != "[":
        data = _json(path, text, 0)
        raise _bad("The file of prompts is not a list.", f"{path.name} holds {_kind(data)}", _FIX)
    at = _past_blanks(text, at + 1)
    closed = text[at : at + 1] == "]"
    while not closed:
        try:
            item, at = decoder.raw_decode(text, at)
            at = _past_blanks(text, at)
            closed = text[at : at + 1] == "]"
            if not closed and text[at : at + 1] != ",":
                raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
        except (ValueError, RecursionError) as error:
            raise _not_json(path, error, 0) from error
        yield item
        at = at if closed else _past_blanks(text, at + 1)
    at = _past_blanks(text, at + 1)
    if at < len(text):
        raise _not_json(path, json.JSONDecodeError("Extra data", text, at), 0)


def _past_blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found is not None else at


def _json(path: Path, text: str, number: int) -> Any:
    """`number` is the line of a JSON line; 0: the whole file is one value."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _not_json(path, error, number) from error


def _not_json(path: Path, error: Exception, number: int) -> BadInputError:
    if isinstance(error, json.JSONDecodeError):
        where = f"line {number or error.lineno}, column {error.colno}: {error.msg}"
    else:
        where = f"line {number or 1}: {str(error)[:200]}"
    return _bad("The file of prompts is not valid JSON.", f"{path.name}, {where}", "")


def _prompt(path: Path, where: str, item: Any) -> Prompt:
    if isinstance(item, str):
        return Prompt(item)
    if isinstance(item, dict):
        if isinstance(messages := item.get("messages"), list):
            return _conversation(path, where, messages)
        for name in ("prompt", "text"):
            if isinstance(item.get(name), str):
                return Prompt(item[name])
        seen = f"an object with {', '.join(map(repr, list(item)[:5]))}" if item else "an empty object"
        if wrong := next((name for name in ("messages", "prompt", "text") if name in item), ""):
            seen = f"{wrong!r} is {_kind(item[wrong])}"
    else:
        seen = _kind(item)
    raise _bad("A prompt cannot be used.", f"{path.name}, {where}: {seen}", _FIX)


def _conversation(path: Path, where: str, messages: list[Any]) -> Prompt:
    try:
        turns = tuple(ChatTurn.model_validate(message) for message in messages)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"])) or "message"
        raise _bad(
            "A conversation cannot be used.",
            f"{path.name}, {where}: {name}: {first['msg']}",
            "Each message has a role (system, user or assistant) and a content, which is a text.",
        ) from error
    return Prompt(turns[-1].content if turns else "", turns)


def _check_text(path: Path, where: str, prompt: Prompt) -> None:
    """JSON can write what no pipe and no tokenizer takes."""
    for text in (prompt.text, *(turn.content for turn in prompt.turns)):
        if "\0" in text:
            raise _bad("A prompt holds a NUL character.", f"{path.name}, {where}", "Take it out.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise _bad(
                "A prompt is not valid Unicode.",
                f"{path.name}, {where}: half of a surrogate pair",
                "Write the whole character.",
            ) from error


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}.get(
        type(value), "a number"
    )


def _bad(what: str, evidence: str, fix: str) -> BadInputError:
    return BadInputError(what, evidence=evidence, fix=fix, code="bad-prompts")

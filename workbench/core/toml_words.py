"""TOML files in words: on which line a key stands, how values are shown, and what must not be shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

KeyPath = tuple[str, ...]

_SECRET = re.compile(r"token|secret|passw|api_?key|credential|\bhf_\w{8}|\bsk-\w{8}", re.IGNORECASE)
_SECRET_WORD = re.compile(
    r"^((?:--?[\w-]+=)?\w*(?:token(?!izer)|secret|passw|api_?key|credential)\w*=).+|\b(?:hf_|sk-)\w{8,}", re.IGNORECASE
)
"""In an argv: a secret variable with its value (group 1 is all but that), or a key by its beginning."""
_SHOWN = 48


@dataclass(frozen=True)
class Origin:
    """Where data came from: `name` is how it is called in messages, `text` the TOML when there is one."""

    name: str
    text: str = ""

    def at(self, path: KeyPath) -> str:
        """`presets/x.toml, line 7`, or the name alone where there is no line."""
        line = line_of(self.text, path) if self.text else None
        return self.name if line is None else f"{self.name}, line {line}"


def clean(text: str, limit: int = _SHOWN) -> str:
    """Text from outside, fit for a terminal: no control characters, not too long."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(letter if letter.isprintable() else "?" for letter in cut)


PASSWORD = re.compile(r"(?<=://)[^/@\s]*:[^/\s]*@|(?<=http://)[^/\s]+@|(?<=https://)[^/\s]+@")
"""Name and password in an address, up to the last @; for the web also a name alone, which is a token there."""


def looks_secret(text: str) -> bool:
    """Whether a line or key may hold a token or password and must not be repeated."""
    return bool(_SECRET.search(text))


def shown_argv(argv: Sequence[str]) -> tuple[str, ...]:
    """An argv fit for logs and records, without the values of variables such as `-e HF_TOKEN=...`."""
    return tuple(_SECRET_WORD.sub(r"\1(not shown)", word) for word in argv)


def dotted(path: Sequence[str]) -> str:
    """("precision", "weights") -> "precision.weights", fit for a terminal."""
    return ".".join(clean(part, 60) for part in path)


def show_value(value: Any) -> str:
    """A value as TOML writes it, cut to a few words."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "(not shown)" if looks_secret(value) else f'"{clean(PASSWORD.sub("…@", value))}"'
    if isinstance(value, int):
        return str(value) if abs(value) < 10**18 else "a number of more than 18 digits"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return clean(str(value))


# --- lines ---

_KEY_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_KEY = rf"{_KEY_PART}(?:[ \t]*\.[ \t]*{_KEY_PART})*"
_HEADER = re.compile(rf"[ \t]*\[\[?[ \t]*({_KEY})[ \t]*\]")
_ASSIGN = re.compile(rf"[ \t]*({_KEY})[ \t]*=")
_PART = re.compile(_KEY_PART)
_STRINGS = re.compile(r'"""|\'\'\'|"(?:[^"\\]|\\.)*"|\'[^\']*\'|#.*|[\[\]{}]')


def key_lines(text: str) -> dict[KeyPath, int]:
    """Line number, from 1, of every table and key in a TOML text. Keys of inline tables are not listed."""
    found: dict[KeyPath, int] = {}
    table: KeyPath = ()
    open_string, depth = "", 0
    for number, line in enumerate(text.split("\n"), start=1):
        at = 0
        if open_string:
            end = line.find(open_string)
            if end < 0:
                continue
            open_string, at = "", end + 3
        elif depth == 0:
            if header := _HEADER.match(line):
                table = _parts(header[1])
                found.setdefault(table, number)
                continue
            if assign := _ASSIGN.match(line):
                found.setdefault(table + _parts(assign[1]), number)
                at = assign.end()
        while piece := _STRINGS.search(line, at):
            mark, at = piece[0], piece.end()
            if mark in ('"""', "'''"):
                end = line.find(mark, at)
                if end < 0:
                    open_string = mark
                    break
                at = end + 3
            elif mark in "[{":
                depth += 1
            elif mark in "]}":
                depth = max(depth - 1, 0)
    return found


def _parts(key: str) -> KeyPath:
    return tuple(part.strip("\"'") for part in _PART.findall(key))


def line_of(text: str, path: KeyPath) -> int | None:
    """Line of a key, else of the nearest table above it that has one."""
    lines = key_lines(text)
    for end in range(len(path), 0, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return None

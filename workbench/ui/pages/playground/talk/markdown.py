"""Streamed Markdown cut into blocks that will not change any more: prose in small pieces, fenced code, and what is
still open. Nothing here knows of Qt; every step costs O(new text), and no block grows past a limit.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal, NamedTuple

PIECE_CHARS = 4096
"""A paragraph or a line that grows longer is cut at a space."""
CODE_CHARS, CODE_LINES = 16_384, 400
"""A code block that grows longer goes on in another block of the same fence."""
_TABLE_CHARS = 16_384

Kind = Literal["prose", "code"]


class Block(NamedTuple):
    """A part of an answer."""

    kind: Kind
    text: str
    """Markdown of prose; the lines of code as they are, without the fences."""
    language: str = ""
    fence: int = 0
    """Of code: the number of its fence, from 1; a long fence is several blocks."""
    starts: bool = True
    """Of prose: it can be read without what stands before it."""
    lead: str = ""
    """Of prose: what must stand before it when it starts a text of its own (the head of a table)."""


_FENCE = re.compile(r"^(\s*)((?:[-*+]|\d{1,9}[.)])\s+)?(`{3,}|~{3,})(.*)$")
_MAY_BE_FENCE = re.compile(r"^\s*(`{0,}|~{0,})\s*$")
_HEADING = re.compile(r"^ {0,3}#{1,6}(\s|$)")
_MARKER = re.compile(r"^(\s*)(?:[-*+]|\d{1,9}[.)])(?:\s|$)")
_RULE = re.compile(r"^ {0,3}(?:(?:\*\s*){3,}|(?:-\s*){3,}|(?:_\s*){3,})$")
_UNDERLINE = re.compile(r"^ {0,3}(?:=+|-+)\s*$")
_TABLE_RULE = re.compile(r"^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$")
_QUOTE = re.compile(r"^ {0,3}>")
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufff9-\ufffc\ufffe\uffff]")


def visible(text: str) -> str:
    """The text as it can be shown: control characters as their pictures (NUL as `␀`), line ends as `\\n`.

    Halves of characters and what a text document keeps for itself become U+FFFD.
    """
    if _UNSEEN.search(text) is None:
        return text
    return _UNSEEN.sub(_picture, text.replace("\r\n", "\n").replace("\r", "\n"))


def _picture(found: re.Match[str]) -> str:
    code = ord(found.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


def right_to_left(text: str) -> bool:
    """Whether the first strong character is one of a script written from right to left."""
    for character in text[:2000]:
        kind = unicodedata.bidirectional(character)
        if kind in ("R", "AL"):
            return True
        if kind == "L":
            return False
    return False


def plain_lines(source: str) -> str:
    """Unfinished prose as it is shown meanwhile: `\\n` between paragraphs, U+2028 between lines of one."""
    parts = re.split(r"\n(?:[ \t]*\n)+", source.strip("\n"))
    return "\n".join(part.replace("\n", "\u2028") for part in parts)


def kept_lines(source: str) -> str:
    """Markdown whose line ends within a paragraph are kept (as U+2028): models break lines where they mean it."""
    lines = source.split("\n")
    out: list[str] = []
    for place, line in enumerate(lines):
        before = lines[place - 1] if place else ""
        if out and _joins(before, line):
            out[-1] = out[-1].rstrip("\\ ") + "\u2028" + line.lstrip()
        else:
            out.append(line)
    return "\n".join(out)


def _joins(before: str, line: str) -> bool:
    if not before.strip() or not line.strip():
        return False
    plain_before = not (_HEADING.match(before) or _RULE.match(before) or _QUOTE.match(before) or "|" in before)
    code_before = before.startswith(("    ", "\t")) and not _MARKER.match(before)
    starts = (_HEADING, _MARKER, _RULE, _UNDERLINE, _TABLE_RULE, _QUOTE, _FENCE)
    return plain_before and not code_before and "|" not in line and not any(form.match(line) for form in starts)


class _Fence(NamedTuple):
    mark: str
    indent: int
    language: str
    number: int


class Splitter:
    """Takes an answer bit by bit. `feed` gives what was finished by it, `open` is the rest, shown meanwhile."""

    def __init__(self) -> None:
        self._partial = ""
        self._return = ""
        self._pending: list[str] = []
        """Lines of the paragraph, the list item or the code block that is open."""
        self._chars = 0
        self._pending_starts = True
        self._fence: _Fence | None = None
        self._fences = 0
        self._in_list = False
        self._blank = True
        self._table = ""
        self._table_chars = 0
        self._dedent = 0
        self._out: list[Block] = []

    @property
    def open(self) -> Block | None:
        """What is not finished; its text changes with the next `feed`."""
        if self._fence is not None:
            partial = "" if _MAY_BE_FENCE.match(self._partial) else self._cut_indent(self._partial)
            return Block("code", "".join(self._pending) + partial, self._fence.language, self._fence.number)
        text = "".join(self._pending) + self._partial
        return Block("prose", text, starts=self._pending_starts) if text else None

    def feed(self, text: str) -> list[Block]:
        """More of the answer; what is finished now, in order."""
        self._out = []
        text, self._return = self._return + text, ""
        if text.endswith("\r"):  # the other half of a line end may follow
            text, self._return = text[:-1], "\r"
        lines = (self._partial + visible(text)).split("\n")
        self._partial = lines.pop()
        for line in lines:
            self._take(line)
        while len(self._partial) > PIECE_CHARS:
            self._partial = self._cut(self._partial)
        return self._out

    def finish(self) -> list[Block]:
        """The end: what was open is finished."""
        self._out = []
        rest, self._partial, self._return = self._partial, "", ""
        if rest:
            self._take(rest, end="")
        if self._fence is not None:
            self._close_code()
        self._flush()
        return self._out

    def _cut(self, line: str) -> str:
        """Take the beginning of a line that is too long; returns the rest."""
        at = line.rfind(" ", PIECE_CHARS // 2, PIECE_CHARS) + 1 or PIECE_CHARS
        self._add(line[:at])
        if self._fence is None:
            self._flush()
        return line[at:]

    def _take(self, line: str, end: str = "\n") -> None:
        while len(line) > PIECE_CHARS:
            line = self._cut(line)
        if self._fence is not None:
            self._take_code(line, end)
        else:
            self._take_prose(line, end)

    # -- code

    def _cut_indent(self, line: str) -> str:
        indent = self._fence.indent if self._fence is not None else self._dedent
        spaces = len(line) - len(line.lstrip(" "))
        return line[min(indent, spaces) :]

    def _take_code(self, line: str, end: str) -> None:
        fence = self._fence
        assert fence is not None
        stripped = line.strip()
        if len(stripped) >= len(fence.mark) and set(stripped) == {fence.mark[0]}:
            self._close_code()
            return
        self._add(self._cut_indent(line) + end)

    def _close_code(self) -> None:
        fence = self._fence
        assert fence is not None
        self._emit_code()
        self._fence = None
        self._dedent = fence.indent if self._in_list else 0
        self._blank = True

    def _emit_code(self) -> None:
        assert self._fence is not None
        text = "".join(self._pending)
        self._out.append(Block("code", text, self._fence.language, self._fence.number))
        self._pending, self._chars = [], 0

    def _add(self, text: str) -> None:
        self._pending.append(text)
        self._chars += len(text)
        if self._fence is not None:
            if self._chars >= CODE_CHARS or len(self._pending) >= CODE_LINES:
                self._emit_code()
        elif self._chars > PIECE_CHARS:
            self._flush()

    # -- prose

    def _take_prose(self, line: str, end: str) -> None:
        if self._dedent:
            if line.strip() and not line.startswith(" "):
                self._dedent = 0
            line = self._cut_indent(line)
        if (found := _FENCE.match(line)) and self._opens(found):
            return
        if not line.strip():
            self._take_blank()
            return
        if self._table:
            if not (_HEADING.match(line) or _QUOTE.match(line)) and "|" in line:
                self._emit_row(line + end)
                return
            self._table = ""
        marker = _MARKER.match(line)
        if self._pending and _UNDERLINE.match(line) and not _MARKER.match(self._pending[0]):
            self._add(line + end)
            self._flush()
        elif _HEADING.match(line) or _RULE.match(line):
            self._flush()
            self._in_list = False
            self._pending_starts = True
            self._add(line + end)
            self._flush()
        elif marker is not None:
            self._flush()
            self._in_list = True
            self._pending_starts = len(marker.group(1)) < 2
            self._add(line + end)
        elif len(self._pending) == 1 and "|" in self._pending[0] and "|" in line and _TABLE_RULE.match(line):
            self._table = self._pending[0] + line + (end or "\n")
            self._table_chars = 0
            self._add(line + end)
            self._flush()
        else:
            self._take_text(line + end)
        self._blank = False

    def _take_text(self, line: str) -> None:
        inside = line.startswith((" ", "\t"))
        if self._blank and not inside:
            self._in_list = False
        if not self._pending:
            self._pending_starts = not inside
        self._add(line)

    def _take_blank(self) -> None:
        if self._pending:
            self._pending.append("\n")
            self._flush()
        elif self._table or not self._blank:
            self._out.append(Block("prose", "\n", starts=False))
        self._table = ""
        self._blank = True

    def _emit_row(self, line: str) -> None:
        self._table_chars += len(line)
        far = self._table_chars > _TABLE_CHARS
        self._out.append(Block("prose", line, starts=far, lead=self._table if far else ""))
        if far:
            self._table_chars = 0
        self._blank = False

    def _opens(self, found: re.Match[str]) -> bool:
        indent, marker, mark, info = found.groups()
        if ("`" in info and mark[0] == "`") or (len(indent) > 3 and not self._in_list and not marker):
            return False
        self._flush()
        self._table = ""
        if marker:
            self._in_list = True
            self._out.append(Block("prose", f"{indent}{marker.rstrip()}\n"))
        self._fences += 1
        words = info.strip().split()
        language = words[0].strip("{}.") if words else ""
        self._fence = _Fence(mark, len(indent) + len(marker or ""), language[:40], self._fences)
        return True

    def _flush(self) -> None:
        if self._pending:
            self._out.append(Block("prose", "".join(self._pending), starts=self._pending_starts))
            self._pending, self._chars = [], 0
            self._pending_starts = True


def split(text: str) -> list[Block]:
    """All blocks of a finished answer."""
    splitter = Splitter()
    return [*splitter.feed(text), *splitter.finish()]

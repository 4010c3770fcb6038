"""What the text of a message is cut into, so that only what is in sight needs widgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PySide6.QtWidgets import QWidget

from workbench.ui.models.jobs import grouped
from workbench.ui.pages.playground.talk.code_block import CodeBlock
from workbench.ui.pages.playground.talk.dress import CODE_LINE, LINE
from workbench.ui.pages.playground.talk.text_part import TextPart

FOLD_CHARS = 20_000
"""So much of a long message is shown until all is asked for."""
FOLD_FROM = 24_000
_PLAIN_CHARS, _PLAIN_LINES = 8192, 300
_MOST_LINES = 300_000
"""More lines than this are higher than a widget can be."""
_CHAR_PX = 6.6

Kind = Literal["markdown", "tail", "plain", "code", "button", "note"]


@dataclass(eq=False)
class Part:
    """A piece of the column."""

    kind: Kind
    text: str
    language: str = ""
    fence: int = 0
    joined: bool = False
    """It goes on where the part before ends: no gap between."""
    glue: str = "\n\n"
    """What is copied between the part before and this one."""
    number: int = 0
    height: int = 0
    """In px at `width`; an estimate while `width` is another."""
    width: int = 0
    guessed_for: int = 0
    """The width that `height` was estimated for."""
    dirty: bool = True
    widget: QWidget | None = None

    @property
    def view(self) -> TextPart | None:
        if isinstance(self.widget, CodeBlock):
            return self.widget.text
        return self.widget if isinstance(self.widget, TextPart) else None


def estimate(part: Part, width: int) -> int:
    if part.kind in ("button", "note"):
        return 24
    if part.kind == "code":
        return part.text.count("\n") * CODE_LINE + (0 if part.joined else 44)
    lines = part.text.count("\n") + part.text.count("\u2028") + 1
    wrapped = len(part.text) * _CHAR_PX / max(width, 60)
    return round(max(lines, wrapped, 0.5 * lines + wrapped)) * LINE


def rough_height(text: str, width: int, answer: bool) -> int:
    """About how high a turn will be at `width` px of text, before anything of it is made."""
    if not answer and len(text) > FOLD_FROM:
        text = text[:FOLD_CHARS]
    lines = text.count("\n") + 1 + len(text) * _CHAR_PX / width
    return round(lines * LINE) + (56 if answer else 14)


def plain_parts(text: str) -> list[Part]:
    """A text cut at line ends, or where a line is too long at spaces."""
    parts: list[Part] = []
    at, lines, glue = 0, 0, ""
    while at < len(text) or not parts:
        if lines > _MOST_LINES:
            rest = len(text) - at
            words = f"{grouped(rest)} more characters are not drawn: too many lines. Copy takes all of the text."
            parts.append(Part("note", words))
            break
        end = min(at + _PLAIN_CHARS, len(text))
        piece = text[at:end]
        if piece.count("\n") > _PLAIN_LINES:
            end = at + _nth(piece, _PLAIN_LINES)
        elif end < len(text):
            cut = piece.rfind("\n", _PLAIN_CHARS // 2)
            cut = cut if cut >= 0 else piece.rfind(" ", _PLAIN_CHARS // 2) + 1
            end = at + cut if cut > 0 else end
        parts.append(Part("plain", text[at:end], joined=bool(parts), glue=glue))
        lines += text.count("\n", at, end) + 1
        glue = "\n" if text[end : end + 1] == "\n" else ""
        at = end + len(glue)
        if glue and at == len(text):
            break
    return parts


def _nth(text: str, count: int) -> int:
    at = -1
    for _ in range(count):
        at = text.find("\n", at + 1)
    return at

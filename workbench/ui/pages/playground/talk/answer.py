"""The text of one message: a column of parts of which only those in sight have widgets, grown as an answer streams."""

from __future__ import annotations

import bisect
import time
from collections import deque
from collections.abc import Callable, Sequence

from PySide6.QtCore import QPoint, QUrl
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QPushButton, QWidget

from workbench.ui.models.jobs import grouped
from workbench.ui.pages.playground.talk.code_block import CodeBlock
from workbench.ui.pages.playground.talk.dress import LINE, PARAGRAPH_GAP
from workbench.ui.pages.playground.talk.markdown import Block, Splitter, plain_lines, split
from workbench.ui.pages.playground.talk.parts import FOLD_CHARS, FOLD_FROM, Part, estimate, plain_parts
from workbench.ui.pages.playground.talk.text_part import TextPart
from workbench.ui.widgets.basics import button, label

GROUP_CHARS = 1536
"""Finished prose is one text up to so much: while it grows it is set anew again and again."""
RENDER_EVERY_S = 0.3
"""Finished prose of a streaming answer becomes Markdown so often; until then it is shown as it came."""
_TURNS, _TURN_S = 3, 0.05
"""At most so many streaming answers become Markdown in such a time, however many there are."""
_MOST_HELD = 64
_KEPT_PX = 3000
"""Parts farther out of sight than this lose their widgets."""


class Body(QWidget):
    """Shows a text that is there (`set_markdown`, `set_plain`) or one that comes (`begin`, `feed`, `finish`).

    `changed` is called when it wants to be laid out again; `follow_link` gets the address of a link that was clicked,
    `drag_to` the place on the screen that a selection is drawn to.
    """

    def __init__(
        self,
        name: str,
        changed: Callable[[], None],
        follow_link: Callable[[str], None],
        drag_to: Callable[[QPoint], None],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._name = name
        self._changed, self._follow_link, self._drag_to = changed, follow_link, drag_to
        self._parts: list[Part] = []
        self._tail: Part | None = None
        self._tops: list[int] = []
        self._clean = self._placed_for = 0
        """So many parts, from the first, stand where `_tops` says, at that width."""
        self._shown: set[Part] = set()
        """Those with a widget."""
        self._splitter: Splitter | None = None
        self._held: list[Block] = []
        self._rendered_at = 0.0
        self._ends_open = False
        self._whole = False
        """All of the message is selected, also what has no widgets."""
        self._source: Callable[[], str] = lambda: ""
        self.fresh = False
        """Whether widgets were made since this was last set."""

    # -- what it shows

    def set_source(self, source: Callable[[], str]) -> None:
        """What "all of the message" is when it is copied."""
        self._source = source

    def set_markdown(self, text: str) -> None:
        """A finished answer."""
        self._clear()
        self._absorb(split(text))
        self._changed()

    def set_note(self, words: str) -> None:
        """Words of the workbench's own in the place of a text."""
        self._clear()
        self._parts = [Part("note", words)]
        self._changed()

    def set_plain(self, text: str, *, unfolded: bool = False) -> None:
        """A text as the person wrote it; a long one is folded."""
        self._clear()
        folded = len(text) > FOLD_FROM and not unfolded
        self._parts = plain_parts(text[:FOLD_CHARS] if folded else text)
        if folded:
            size = len(text.encode("utf-8", "replace"))
            words = f"Show all {size / 1e6:.1f} MB" if size >= 1e6 else f"Show all {grouped(round(size / 1e3))} kB"
            self._parts.append(Part("button", words))
            self._unfold = lambda: self.set_plain(text, unfolded=True)
        self._changed()

    def begin(self) -> None:
        """An answer comes."""
        self._clear()
        self._splitter = Splitter()
        self._tail = Part("tail", "")
        self._rendered_at = time.monotonic()
        self._changed()

    def feed(self, text: str) -> None:
        """More of the answer. Costs O(new text): widgets are seen to when it is laid out."""
        assert self._splitter is not None
        self._held += self._splitter.feed(text)
        now = time.monotonic()
        rest = self._splitter.open
        code = rest is not None and rest.kind == "code"
        due = len(self._held) > _MOST_HELD or (now - self._rendered_at >= RENDER_EVERY_S and _may_render(now))
        if self._held and (code or due or not self._seen() or any(block.kind == "code" for block in self._held)):
            self._rendered_at = now
            held, self._held = self._held, []
            self._absorb(held)
        self._set_tail(rest)
        self._changed()

    def finish(self) -> None:
        """The answer has ended."""
        if self._splitter is None:
            return
        held = [*self._held, *self._splitter.finish()]
        self._splitter, self._held = None, []
        self._absorb(held)
        self._drop_tail()
        self._changed()

    def _seen(self) -> bool:
        """Whether what streams is drawn."""
        return self._tail is not None and self._tail.widget is not None

    @property
    def streaming(self) -> bool:
        return self._splitter is not None

    @property
    def parts(self) -> Sequence[Part]:
        """The column, with the part that streams last."""
        return [*self._parts, self._tail] if self._tail is not None else self._parts

    def _clear(self) -> None:
        self._drop_tail()
        for part in self._parts:
            self._drop(part)
        self._parts, self._held, self._splitter, self._whole = [], [], None, False
        self._tops, self._clean = [], 0
        self._ends_open = False

    def _drop_tail(self) -> None:
        if self._tail is not None:
            self._drop(self._tail)
            self._tail = None

    def _absorb(self, blocks: Sequence[Block]) -> None:
        for block in blocks:
            if block.kind == "code":
                self._absorb_code(block)
            else:
                self._absorb_prose(block)

    def _absorb_code(self, block: Block) -> None:
        before = self._parts[-1] if self._parts else None
        goes_on = before is not None and before.kind == "code" and before.fence == block.fence
        if goes_on and not block.text:
            return
        if goes_on and before is not None:
            before.dirty = True  # its lower edge goes
        tail = self._tail
        if tail is not None and tail.kind == "code" and tail.fence == block.fence:
            part, self._tail = tail, None
            part.text, part.dirty = block.text, True
        else:
            part = Part("code", block.text, block.language, block.fence, joined=goes_on)
        part.glue = "" if goes_on else "\n\n"
        self._parts.append(part)

    def _absorb_prose(self, block: Block) -> None:
        group = self._parts[-1] if self._parts and self._parts[-1].kind == "markdown" else None
        if group is not None and (not block.starts or len(group.text) + len(block.text) <= GROUP_CHARS):
            group.text += block.text
            group.dirty = True
            group.width = group.guessed_for = 0
        elif block.text.strip():
            joined = group is not None and self._ends_open
            self._parts.append(Part("markdown", block.lead + block.text, joined=joined, glue="" if joined else "\n\n"))
        self._ends_open = not block.text.endswith("\n")

    def _set_tail(self, rest: Block | None) -> None:
        if rest is not None and rest.kind == "code":
            goes_on = bool(self._parts) and self._parts[-1].kind == "code" and self._parts[-1].fence == rest.fence
            if self._tail is None or self._tail.kind != "code" or self._tail.fence != rest.fence:
                self._drop_tail()
                self._tail = Part("code", rest.text, rest.language, rest.fence, joined=goes_on)
                if goes_on:
                    self._parts[-1].dirty = True
            if self._tail.text != rest.text:
                self._tail.text, self._tail.dirty, self._tail.width, self._tail.guessed_for = rest.text, True, 0, 0
            return
        text = "".join(block.text for block in self._held) + (rest.text if rest is not None else "")
        if self._tail is None or self._tail.kind != "tail":
            self._drop_tail()
            self._tail = Part("tail", "")
        shown = plain_lines(text)
        if shown != self._tail.text:
            self._tail.text, self._tail.dirty, self._tail.width, self._tail.guessed_for = shown, True, 0, 0
        self._tail.joined = self._ends_open and not self._held

    # -- laying out

    def estimate(self, width: int) -> int:
        """About how high it will be at `width` px, from text alone."""
        return self._place(width)

    def lay_out(self, width: int) -> int:
        """Its height at `width` px: exact for the parts that were in sight, about right for the others."""
        return self._place(width)

    def _place(self, width: int) -> int:
        """Heights of the parts from the first one that changed; returns that of all."""
        parts = self.parts
        if width != self._placed_for:
            self._placed_for, self._clean = width, 0
        first = min(self._clean, len(parts), len(self._tops))
        y = self._tops[first - 1] + parts[first - 1].height if first else 0
        del self._tops[first:]
        for number in range(first, len(parts)):
            part = parts[number]
            part.number = number
            if part.width != width and (part.widget is None or not part.height) and part.guessed_for != width:
                part.height, part.guessed_for = estimate(part, width), width
            y += 0 if not number or part.joined else PARAGRAPH_GAP
            self._tops.append(y)
            y += part.height
        # The last two may grow: the group that takes prose, and what streams.
        self._clean = max(len(parts) - 2, 0)
        return y

    def reveal(self, top: int, bottom: int, width: int) -> bool:
        """Make and lay out what lies between two heights; whether a part's height changed by that."""
        changed = False
        self._place(width)
        parts = self.parts
        for part in [*self._shown]:
            y = self._tops[part.number]
            if y + part.height < top - _KEPT_PX or y > bottom + _KEPT_PX:
                self._release(part)
        number = max(bisect.bisect_right(self._tops, top) - 1, 0)
        while number < len(parts) and self._tops[number] <= bottom:
            part = parts[number]
            if part.widget is None or part.dirty or part.width != width:
                before = part.height
                self._show(number, part, width)
                if part.height != before:
                    changed = True
                    self._clean = min(self._clean, number)
                    self._place(width)
            number += 1
        for part in self._shown:
            assert part.widget is not None
            now, y = part.widget.geometry(), self._tops[part.number]
            if now.y() != y or now.width() != width or now.height() != part.height:
                part.widget.setGeometry(0, y, width, part.height)
        return changed

    def anchor_at(self, y: int) -> tuple[int, int]:
        """The part at a height, and how far into it."""
        number = bisect.bisect_right(self._tops, y) - 1
        return (number, y - self._tops[number]) if number >= 0 else (0, y)

    def y_of(self, anchor: tuple[int, int]) -> int:
        number, into = anchor
        return (self._tops[number] if number < len(self._tops) else 0) + into

    def _drop(self, part: Part) -> None:
        if part.widget is not None:
            part.widget.hide()
            part.widget.deleteLater()
            part.widget = None
            part.dirty = True
            self._shown.discard(part)

    def _release(self, part: Part) -> None:
        view = part.view
        busy = part is self._tail or (view is not None and (view.hasFocus() or view.textCursor().hasSelection()))
        if not busy:
            self._drop(part)

    def _show(self, number: int, part: Part, width: int) -> None:
        made = part.widget is None
        if made:
            part.widget = self._make(number, part)
            self._shown.add(part)
        widget = part.widget
        assert widget is not None
        if isinstance(widget, CodeBlock):
            if part.dirty:
                widget.set_code(part.text)
            parts = self.parts
            follows = number + 1 < len(parts) and parts[number + 1].fence == part.fence
            widget.set_last(not follows)
            part.height = widget.fit(width)
        elif isinstance(widget, TextPart):
            widget.set_width(width)
            if part.dirty and part.kind == "markdown":
                widget.set_markdown(part.text)
            elif part.dirty:
                widget.set_plain(part.text)
            part.height = widget.fit(width)
        elif isinstance(widget, QPushButton):
            part.height = 24
            widget.setMaximumWidth(widget.sizeHint().width())
        else:
            part.height = widget.heightForWidth(width) if widget.hasHeightForWidth() else widget.sizeHint().height()
            if part.kind == "note" and not number:
                part.height = max(part.height, LINE + 6)  # its one line then stands beside the role
        part.width, part.dirty = width, False
        view = part.view
        if view is not None:
            view.set_caret(part is self._tail)
            if made and self._whole:
                view.select(0, -1)
        if made:
            self.fresh = True
            widget.show()

    def _make(self, number: int, part: Part) -> QWidget:
        if part.kind == "button":
            return _child(button(part.text, lambda: self._unfold(), small=True), self)
        if part.kind == "note":
            return _child(label(part.text, "hint", wrap=True), self)
        if part.kind == "code":
            goes_on = bool(number) and self.parts[number - 1].fence == part.fence
            block = CodeBlock(
                part.language, lambda: self.copy_code(part.fence), first=not goes_on, last=True, parent=self
            )
            self._wire(block.text)
            return block
        made = TextPart(name=self._name, parent=self)
        self._wire(made)
        return made

    def recolour(self) -> None:
        """The theme has changed: Markdown holds colours, it is made anew."""
        for part in self._parts:
            if part.kind == "markdown":
                part.dirty = True
            elif part.widget is not None:
                part.widget.update()
        self._changed()

    def chain(self) -> list[QWidget]:
        """What Tab visits, in order."""
        found: list[QWidget] = []
        for part in self._in_order():
            if isinstance(part.widget, CodeBlock):
                found += [w for w in (part.widget.text, part.widget.copy_button) if w is not None]
            elif isinstance(part.widget, TextPart | QPushButton):
                found.append(part.widget)
        return found

    def _in_order(self) -> list[Part]:
        """The parts that have widgets."""
        return sorted(self._shown, key=lambda part: part.number)

    # -- selecting and copying

    def copy_code(self, fence: int) -> None:
        """All of a code block, as it came."""
        copy_text("".join(part.text for part in self.parts if part.kind == "code" and part.fence == fence))

    def copy(self) -> None:
        """What is selected, through all parts."""
        if self._whole:
            copy_text(self._source())
            return
        found = ""
        for part in self._in_order():
            view = part.view
            if view is not None and view.textCursor().hasSelection():
                found += (part.glue if found else "") + view.selected()
        if found:
            copy_text(found)

    @property
    def has_selection(self) -> bool:
        views = (part.view for part in self._shown)
        return self._whole or any(view is not None and view.textCursor().hasSelection() for view in views)

    def select_all(self) -> None:
        self._whole = True
        for part in self._shown:
            if part.view is not None:
                part.view.select(0, -1)

    def clear_selection(self, but: TextPart | None = None) -> None:
        self._whole = False
        for part in self._in_order():
            view = part.view
            if view is not None and view is not but and view.textCursor().hasSelection():
                view.select(view.textCursor().position(), view.textCursor().position())

    def _wire(self, view: TextPart) -> None:
        view.dragged.connect(lambda place: self._dragged(view, place))
        view.whole_wanted.connect(self.select_all)
        view.copy_wanted.connect(self.copy)
        view.anchorClicked.connect(self._clicked)

    def _clicked(self, address: QUrl) -> None:
        self._follow_link(address.toString())

    def _dragged(self, view: TextPart, place: QPoint | None) -> None:
        if place is None:
            self.clear_selection(view)
            return
        self._drag_to(place)
        parts = [part for part in self._in_order() if part.view is not None]
        views = [part.view for part in parts]
        y = self.mapFromGlobal(place).y()
        inside = [n for n, part in enumerate(parts) if part.widget is not None and part.widget.y() <= y]
        own, at = views.index(view), inside[-1] if inside else 0
        anchor = view.textCursor().anchor()
        for number, other in enumerate(views):
            assert other is not None
            if number == own:
                if at != own:
                    other.select(anchor, -1 if at > own else 0)
            elif min(own, at) <= number <= max(own, at):
                if number != at:
                    other.select(0, -1)
                elif at > own:
                    other.select(0, other.position_at(place))
                else:
                    other.select(-1, other.position_at(place))
            elif other.textCursor().hasSelection():
                other.select(0, 0)


_rendered: deque[float] = deque(maxlen=_TURNS)


def _may_render(now: float) -> bool:
    """Whether it is this answer's turn to become Markdown."""
    if len(_rendered) == _TURNS and now - _rendered[0] < _TURN_S:
        return False
    _rendered.append(now)
    return True


def copy_text(text: str) -> None:
    """Put a text on the clipboard."""
    QGuiApplication.clipboard().setText(text)


def _child(made: QWidget, parent: QWidget) -> QWidget:
    made.setParent(parent)
    return made

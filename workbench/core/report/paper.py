"""A page of paper to write a report on: text, tables, marks and charts, from the top down, in light colours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Literal

from fpdf import FPDF
from fpdf.fonts import TTFFont

from workbench.core.data import resource
from workbench.core.report.drawing import Box, Drawing, Label, Mark, Stroke
from workbench.core.report.marks import Shape, colours, is_filled, outline, shape_of, tone_of
from workbench.core.report.model import Variant

_MARGIN = 24.0
"""Points, as all lengths here."""
_FACES = (
    ("Inter", "", "Inter-Regular.otf"),
    ("Inter", "B", "Inter-SemiBold.otf"),
    ("Figures", "", "JetBrainsMono-Regular.ttf"),
    ("Figures", "B", "JetBrainsMono-SemiBold.ttf"),
)
# The thin space between thousands is not in the face for figures.
_REPLACED = str.maketrans({"\u202f": "\u00a0", "\n": " ", "\t": " "})


class Page:
    """Writes downwards; `over` says whether it ran out of paper. Text is shortened to what it stands in."""

    def __init__(self, paper: Literal["A4", "Letter"], size: float, title: str, created: datetime) -> None:
        self._pdf = FPDF(orientation="landscape", unit="pt", format=paper)
        self._pdf.set_auto_page_break(False)
        self._pdf.set_margin(0)
        self._pdf.set_title(title)
        self._pdf.set_creator("Engine Workbench")
        self._pdf.set_creation_date(created)
        for family, style, file in _FACES:
            self._pdf.add_font(family, style, resource(f"fonts/{file}"))
        self._known = frozenset.intersection(
            *(frozenset(face.cmap) for face in self._pdf.fonts.values() if isinstance(face, TTFFont))
        )
        self._missing = "\u25a1" if 0x25A1 in self._known else "?"
        self._pdf.add_page()
        self._size = size
        self._colours = colours("light")
        self._left, self._right = _MARGIN, self._pdf.w - _MARGIN
        self._bottom = self._pdf.h - _MARGIN - size * 1.6
        self._y = self._lowest = _MARGIN
        self._edges: tuple[float, ...] = ()
        self._legend_x = self._left

    @property
    def over(self) -> float:
        """Points by which it ran out of paper; 0 or less when all is on it."""
        return max(self._y, self._lowest) - self._bottom

    @property
    def room(self) -> float:
        """Height of what can be written on."""
        return self._bottom - _MARGIN

    def finish(self) -> bytes:
        made = bytes(self._pdf.output())
        self.close()
        return made

    def close(self) -> None:
        """The faces are read from their files as they are needed."""
        for face in self._pdf.fonts.values():
            if isinstance(face, TTFFont):
                face.ttfont.close()

    def skip(self, lines: float) -> None:
        self._y += lines * self._size

    def text(
        self, text: str, *, tone: str = "text", size: float = 1.0, bold: bool = False, figures: bool = False
    ) -> None:
        """A paragraph over the width, broken between words."""
        self._face(tone, size, bold, figures)
        for line in self._broken(text, self._right - self._left):
            self._y += self._size * size * 1.32
            self._pdf.text(self._left, self._y, line)

    def heading(self, text: str) -> None:
        self.skip(0.5)
        self.text(text, size=1.1, bold=True)
        self.skip(0.15)

    def fact(self, name: str, value: str) -> None:
        """A name and what it is, beside each other."""
        self._face("text2", 0.9)
        indent = 8.5 * self._size
        top = self._y
        self._y += self._size * 1.25
        self._pdf.text(self._left, self._y, self._short(name, indent - 4))
        self._face("text", 0.9)
        self._y = top
        for line in self._broken(value, self._right - self._left - indent):
            self._y += self._size * 1.25
            self._pdf.text(self._left + indent, self._y, line)

    def footer(self, text: str) -> None:
        self._face("text3", 0.8)
        self._pdf.text(_MARGIN, self._pdf.h - _MARGIN, self._short(text, self._pdf.w - 2 * _MARGIN))

    def legend(self, shape: Shape, tone: str, filled: bool, name: str, detail: str) -> None:
        """One entry of the line of marks and names; goes on in the next line when it is full."""
        self._face("text", 1.0, True)
        wide = self._pdf.get_string_width(self._clean(name)) + self._size * 1.6
        self._face("text3", 0.9)
        detail = self._short(detail, 30 * self._size)
        more = self._pdf.get_string_width(detail) + self._size * 0.4 if detail else 0.0
        if self._legend_x + wide + more > self._right and self._legend_x > self._left:
            self.end_legend()
        base = self._y + self._size * 1.5
        self._mark(
            Mark(self._legend_x + self._size * 0.5, base - self._size * 0.35, shape, tone, filled, self._size * 0.95)
        )
        self._face("text", 1.0, True)
        self._pdf.text(self._legend_x + self._size * 1.3, base, self._clean(name))
        self._face("text3", 0.9)
        if detail:
            self._pdf.text(self._legend_x + wide, base, detail)
        self._legend_x += wide + more + self._size * 1.6

    def end_legend(self) -> None:
        self._y += self._size * 1.7
        self._legend_x = self._left

    def columns(self, first: float, count: int) -> None:
        """Columns of the next table: the first is so many times as wide as the others."""
        each = (self._right - self._left) / (first + count)
        self._edges = tuple(self._left + each * (first + place) for place in range(count + 1))

    def row_head(self, titles: Sequence[str], *, tone: str = "text", rule: bool = False) -> None:
        self._face(tone, 0.9, bold=tone == "text")
        self._y += self._size * 1.25
        self._pdf.text(self._left, self._y, self._short(titles[0], self._edges[0] - self._left))
        for place, title in enumerate(titles[1:]):
            self._right_aligned(title, place)
        if rule:
            self._y += self._size * 0.3
            self._rule("line2")

    def row(
        self,
        texts: Sequence[str],
        *,
        first: str,
        variant: Variant | None = None,
        tone: str = "text",
        bold: Sequence[bool] = (),
        dots: Sequence[bool | None] = (),
    ) -> None:
        """Figures under the heads; `dots`: filled for True, hollow for False, none for None."""
        self._y += self._size * (1.3 if tone == "text" else 1.15)
        x = self._left
        if variant is not None:
            slot, middle = variant.slot, self._y - self._size * 0.35
            shape, tone_here = shape_of(slot), tone_of(slot)
            place = Mark(x + self._size * 0.4, middle, shape, tone_here, is_filled(slot), self._size * 0.8)
            self._mark(place)
        self._face(tone, 1.0 if tone == "text" else 0.85)
        indent = self._size * 1.1 if variant is not None else 0.0
        self._pdf.text(x + indent, self._y, self._short(first, self._edges[0] - x - indent))
        for index, text in enumerate(texts):
            self._face(tone, 0.95 if tone == "text" else 0.85, bool(bold[index]) if bold else False, figures=True)
            start = self._right_aligned(text, index)
            if dots and dots[index] is not None and text:
                self._dot(start - self._size * 0.55, self._y - self._size * 0.28, filled=bool(dots[index]))

    def bars(self, shares: Sequence[float | None], tone: str) -> None:
        """A bar under each figure of the row above."""
        self._y += self._size * 0.35
        for place, share in enumerate(shares):
            if share is None:
                continue
            left, right = self._edges[place] + self._size * 0.9, self._edges[place + 1]
            self._fill("track")
            self._pdf.rect(left, self._y, right - left, 1.4, style="F")
            self._fill(tone)
            self._pdf.rect(left, self._y, (right - left) * min(1.0, share), 1.4, style="F")
        self._y += self._size * 0.3

    def drawings(self, drawings: Sequence[Drawing]) -> None:
        """Charts in a row, all of one size."""
        gap = 10.0
        columns = max(3, len(drawings))
        wide = (self._right - self._left - gap * (columns - 1)) / columns
        scale = wide / drawings[0].width
        top = self._y
        for place, drawing in enumerate(drawings):
            left = self._left + place * (wide + gap)
            self._face("text", 1.0, True)
            self._pdf.text(left, top + self._size * 1.2, self._short(drawing.title, wide))
            for item in drawing.items:
                self._item(item, left, top + self._size * 1.5, scale)
        self._y = top + self._size * 1.5 + drawings[0].height * scale
        self.skip(0.4)

    @contextmanager
    def halves(self) -> Iterator[tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
        """Two columns beside each other; goes on under the longer one."""
        top, left, right = self._y, self._left, self._right
        middle = (left + right) / 2
        ends: list[float] = []

        @contextmanager
        def column(start: float, end: float) -> Iterator[None]:
            self._y, self._left, self._right = top, start, end
            yield
            ends.append(self._y)

        yield column(left, middle - 8), column(middle + 8, right)
        self._left, self._right = left, right
        self._y = self._lowest = max(ends, default=top)

    def _item(self, item: Box | Stroke | Mark | Label, x: float, y: float, scale: float) -> None:
        if isinstance(item, Box):
            self._fill(item.tone)
            self._pdf.rect(x + item.x * scale, y + item.y * scale, item.width * scale, item.height * scale, style="F")
        elif isinstance(item, Stroke):
            self._pdf.set_draw_color(self._colours[item.tone])
            self._pdf.set_line_width(item.width * scale)
            if item.dotted:
                self._pdf.set_dash_pattern(2 * scale, 3 * scale)
            self._pdf.polyline([(x + px * scale, y + py * scale) for px, py in item.points])
            self._pdf.set_dash_pattern()
        elif isinstance(item, Mark):
            self._mark(
                Mark(x + item.x * scale, y + item.y * scale, item.shape, item.tone, item.filled, item.size * scale)
            )
        else:
            self._pdf.set_text_color(self._colours[item.tone])
            self._pdf.set_font("Figures" if item.figures else "Inter", "B" if item.bold else "", item.size * scale)
            text = self._clean(item.text)
            shift = {"start": 0.0, "middle": 0.5, "end": 1.0}[item.anchor] * self._pdf.get_string_width(text)
            self._pdf.text(x + item.x * scale - shift, y + item.y * scale, text)

    def _mark(self, mark: Mark) -> None:
        self._pdf.set_draw_color(self._colours[mark.tone])
        self._pdf.set_line_width(max(0.4, mark.size * 0.12))
        self._fill(mark.tone if mark.filled else "panel")
        corners = outline(mark.shape, mark.x, mark.y, mark.size)
        if corners:
            self._pdf.polygon(corners, style="DF")
        else:
            self._pdf.circle(mark.x, mark.y, mark.size / 2, style="DF")

    def _dot(self, x: float, y: float, *, filled: bool) -> None:
        self._pdf.set_draw_color(self._colours["text"])
        self._pdf.set_line_width(0.4)
        self._fill("text" if filled else "panel")
        self._pdf.circle(x, y, self._size * 0.2, style="DF")

    def _right_aligned(self, text: str, place: int) -> float:
        """Writes at the right edge of a column; where the text begins."""
        left, right = self._edges[place], self._edges[place + 1]
        short = self._short(text, right - left - self._size * 0.6)
        start = right - self._pdf.get_string_width(short)
        self._pdf.text(start, self._y, short)
        return start

    def _rule(self, tone: str) -> None:
        self._pdf.set_draw_color(self._colours[tone])
        self._pdf.set_line_width(0.4)
        self._pdf.line(self._left, self._y, self._right, self._y)

    def _fill(self, tone: str) -> None:
        self._pdf.set_fill_color(self._colours[tone])

    def _face(self, tone: str, size: float, bold: bool = False, figures: bool = False) -> None:
        self._pdf.set_text_color(self._colours[tone])
        self._pdf.set_font("Figures" if figures else "Inter", "B" if bold else "", self._size * size)

    def _clean(self, text: str) -> str:
        """On one line, and with a box for letters that the faces lack, such as Chinese ones."""
        return "".join(letter if ord(letter) in self._known else self._missing for letter in text.translate(_REPLACED))

    def _short(self, text: str, width: float) -> str:
        """As much of a text as fits, with an ellipsis where it was cut."""
        clean = self._clean(text)
        if self._pdf.get_string_width(clean) <= width:
            return clean
        while clean and self._pdf.get_string_width(clean + "\u2026") > width:
            clean = clean[:-1]
        return clean.rstrip() + "\u2026"

    def _broken(self, text: str, width: float) -> list[str]:
        """Lines that fit; a word that does not is cut into pieces."""
        lines: list[str] = []
        line = ""
        for word in self._clean(text).split(" "):
            joined = f"{line} {word}" if line else word
            if self._pdf.get_string_width(joined) <= width:
                line = joined
                continue
            if line:
                lines.append(line)
            line = word
            while self._pdf.get_string_width(line) > width and len(line) > 1:
                cut = max(1, int(len(line) * width / self._pdf.get_string_width(line)) - 1)
                lines.append(line[:cut])
                line = line[cut:]
        return [*lines, line] if line else lines

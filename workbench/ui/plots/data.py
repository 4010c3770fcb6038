"""What a chart shows: frozen lines of dots, and how its axes are written. Nothing here draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from workbench.core.report import words

XKind = Literal["levels", "linear", "log"]


@dataclass(frozen=True)
class Dot:
    """One measured point."""

    x: float
    y: float | None
    """None: not reported; the line has a gap there."""
    low: float | None = None
    high: float | None = None
    """Ends of its error bar."""
    shown: str = ""
    """The value in the card; empty: as the axis writes it."""
    detail: str = ""
    """Beside the value in the card, such as `±111`, or why there is no value."""
    key: float = 0.0
    """What the point is of, such as the level of the load: charts of other quantities choose the same one by it."""
    name: str = ""
    """Beside the dot where the chart names its dots, such as `32`."""


@dataclass(frozen=True)
class Line:
    """The dots of one variant."""

    name: str
    slot: int
    """Its colour and marker; 0 is the baseline's."""
    dots: tuple[Dot, ...]
    end: str = ""
    """Under its name at the line's end."""
    id: str = ""
    joined: bool = True
    """Dots are joined by a line."""
    dashed: bool = False
    """Such as of what was simulated."""


def plain(value: float) -> str:
    """About three digits that count, thin spaces between thousands."""
    return words.number(value)


@dataclass(frozen=True)
class Chart:
    """Lines over axes."""

    lines: tuple[Line, ...] = ()
    x_title: str = ""
    y_title: str = ""
    x_kind: XKind = "levels"
    """levels: each x has a tick of its own, on a logarithmic axis when they are far apart."""
    x_all: tuple[float, ...] = ()
    """Of levels: those that have their place though nothing is measured there yet."""
    y_log: bool = False
    y_from_zero: bool = True
    x_words: Callable[[float], str] = field(default=words.level, compare=False)
    y_words: Callable[[float], str] = field(default=plain, compare=False)
    card_title: Callable[[float], str] = field(default=words.level, compare=False)
    """Heading of the card for the key of a point, such as `32 users`."""
    card_note: str = ""
    """Right of the heading: what the values are, such as `tok/s, min-max of 3`."""
    front: tuple[tuple[float, float], ...] = ()
    """Corners of a dotted line, such as the Pareto front."""
    names_dots: bool = False
    empty: str = "Nothing to show yet."
    nearest: bool = False
    """The card is of the dot next to the pointer, where dots of one key do not share their x."""

    def summary(self) -> str:
        """All values in words, for those who do not see the picture."""
        parts = []
        for line in self.lines:
            told = ", ".join(f"{self.card_title(dot.key)}: {self.value_words(dot)}{self._at(dot)}" for dot in line.dots)
            parts.append(f"{line.name}: {told or 'nothing measured'}")
        return f"{self.y_title} by {self.x_title}. " + "; ".join(parts) if parts else self.empty

    def _at(self, dot: Dot) -> str:
        return f" at {self.x_words(dot.x)}" if self.nearest else ""

    def value_words(self, dot: Dot) -> str:
        """`6 819`, or that it is not reported."""
        if dot.y is None:
            return dot.detail or "not reported"
        return dot.shown or self.y_words(dot.y)

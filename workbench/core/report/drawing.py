"""A chart as plain shapes, so that the HTML and the PDF draw the very same one. Units are pixels, y downwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workbench.core.report.marks import Shape

Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Box:
    x: float
    y: float
    width: float
    height: float
    tone: str
    """Name of a colour in the theme."""


@dataclass(frozen=True)
class Stroke:
    points: tuple[tuple[float, float], ...]
    tone: str
    width: float = 1.0
    dotted: bool = False


@dataclass(frozen=True)
class Mark:
    x: float
    y: float
    shape: Shape
    tone: str
    filled: bool = True
    size: float = 9.0
    title: str = ""
    """Shown when pointed at."""


@dataclass(frozen=True)
class Label:
    x: float
    y: float
    """Baseline of the text."""
    text: str
    tone: str = "text3"
    size: float = 11.0
    anchor: Anchor = "start"
    bold: bool = False
    figures: bool = False
    """Set in the face for figures."""


Item = Box | Stroke | Mark | Label


@dataclass(frozen=True)
class Drawing:
    title: str
    """What is drawn, with units."""
    summary: str
    """The same in words, for who cannot see it."""
    width: float
    height: float
    items: tuple[Item, ...]
    empty: str = ""
    """Why nothing is drawn."""

"""Colours and markers of a report: those of the window's theme, so that a variant looks the same everywhere."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from typing import Literal

from workbench.core.data import resource

Shape = Literal["circle", "square", "triangle", "diamond", "triangle-down", "hexagon"]
Theme = Literal["dark", "light"]

SHAPES: tuple[Shape, ...] = ("circle", "square", "triangle", "diamond", "triangle-down", "hexagon")
SLOTS = len(SHAPES)


def tone_of(slot: int) -> str:
    """Token of a variant's colour: `v1` to `v6`, then again from the first."""
    return f"v{slot % SLOTS + 1}"


def shape_of(slot: int) -> Shape:
    return SHAPES[slot % SLOTS]


def is_filled(slot: int) -> bool:
    """From the seventh variant on markers are hollow, since colours and shapes come round again."""
    return slot // SLOTS % 2 == 0


@cache
def _themes() -> dict[str, dict[str, str]]:
    read: dict[str, dict[str, str]] = json.loads(resource("theme.json").read_text(encoding="utf-8"))
    return read


def colours(theme: Theme) -> Mapping[str, str]:
    """Token -> `#rrggbb`."""
    return _themes()[theme]


def outline(shape: Shape, x: float, y: float, size: float) -> tuple[tuple[float, float], ...]:
    """Corners of a marker around (x, y), y downwards; empty for a circle. All shapes look equally large."""
    half = size / 2
    if shape == "square":
        side = half * 0.9
        return ((x - side, y - side), (x + side, y - side), (x + side, y + side), (x - side, y + side))
    if shape == "diamond":
        tip = half * 1.2
        return ((x, y - tip), (x + tip, y), (x, y + tip), (x - tip, y))
    if shape in ("triangle", "triangle-down"):
        up = -1 if shape == "triangle" else 1
        wide, tall = half * 1.15, half * 1.05
        return ((x, y + up * tall), (x + wide, y - up * tall * 0.85), (x - wide, y - up * tall * 0.85))
    if shape == "hexagon":
        radius = half * 1.08
        return tuple(
            (x + radius * math.cos(math.radians(angle)), y + radius * math.sin(math.radians(angle)))
            for angle in range(0, 360, 60)
        )
    return ()

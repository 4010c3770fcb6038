"""Widths of a table's columns where a terminal is too narrow for all of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.cells import cell_len

GAP = 2
"""Letters between two cells of a table without a frame."""
_LEAST = 6


def column_widths(
    heads: Sequence[str], lines: Sequence[Sequence[str]], long: Collection[str], room: int, gap: int = GAP
) -> list[int]:
    """A width for each column: what it needs, and for the `long` ones, by their headings, an equal share of what is
    left of `room` letters where that is less. In a terminal that is narrower still they keep 6 letters."""
    needed = [max(map(cell_len, column)) for column in zip(heads, *lines, strict=True)]
    giving = sorted((at for at, head in enumerate(heads) if head in long), key=lambda at: needed[at])
    left = room - gap * (len(heads) - 1) - sum(width for at, width in enumerate(needed) if at not in giving)
    for done, at in enumerate(giving):
        needed[at] = min(needed[at], max(left // (len(giving) - done), _LEAST))
        left -= needed[at]
    return needed

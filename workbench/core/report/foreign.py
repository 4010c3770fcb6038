"""What another tool measured, as a further column: figures under our names, its own definitions beside them."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.core.report.model import ForeignInfo, Point


@dataclass(frozen=True)
class ForeignResult:
    """One subject of another tool's file, at one or more levels. Ids are given when a report takes it in."""

    name: str
    info: ForeignInfo
    points: tuple[Point, ...]
    notes: tuple[str, ...] = ()


def named(wanted: str, model: str, file: str) -> str:
    """A column's name: the one that was wished for, else the model's last part, else the file's name."""
    return wanted or model.rstrip("/").rpartition("/")[2] or file

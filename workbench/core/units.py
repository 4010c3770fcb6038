"""One way to write bytes, durations and counts, and the range that every estimate is."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_COUNT_UNITS = ("", "k", "M", "B", "T")

Unit = Literal["bytes", "seconds", "tokens", "sequences", "count"]


def format_bytes(size: float) -> str:
    """Bytes with binary units: `512 B`, `138 MiB`, `1.5 GiB`."""
    value, index = float(size), 0
    while abs(value) >= 1023.95 and index < len(_BYTE_UNITS) - 1:
        value, index = value / 1024, index + 1
    return f"{_digits(value)} {_BYTE_UNITS[index]}"


def in_thousands(count: int) -> str:
    """A whole number with U+202F between its thousands: `70 012`."""
    return f"{count:,}".replace(",", "\u202f")


def format_count(count: float) -> str:
    """Large counts with letters, as parameter counts are written: `950`, `134.5 M`, `8.03 B`."""
    value, index = float(count), 0
    while abs(value) >= 999.95 and index < len(_COUNT_UNITS) - 1:
        value, index = value / 1000, index + 1
    text = f"{value:.2f}" if abs(value) < 10 and index else f"{value:.1f}" if index else f"{value:g}"
    return f"{text} {_COUNT_UNITS[index]}".strip()


def format_duration(seconds: float) -> str:
    """Seconds for people: `12 ms`, `4.2 s`, `3 min 05 s`, `1 h 02 min`."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24:02d} h"


class Range(BaseModel):
    """An estimate: from `low` to `high` in `unit`, with its formula (numbers filled in) and its source."""

    model_config = ConfigDict(frozen=True)

    low: float
    high: float
    unit: Unit
    formula: str
    source: str
    note: str = ""
    """What the reader must know besides, such as a sliding window."""

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not 0 <= self.low <= self.high:
            raise ValueError(f"a range goes from low to high, not {self.low} to {self.high}")
        return self

    @classmethod
    def bytes(cls, low: float, high: float | None = None, *, formula: str, source: str, note: str = "") -> Range:
        """A range of bytes, rounded outward to whole bytes; without `high` an exact value."""
        top = math.ceil(low if high is None else high)
        bottom = top if high is None else math.floor(low)
        return cls(low=bottom, high=top, unit="bytes", formula=formula, source=source, note=note)

    @classmethod
    def seconds(cls, low: float, high: float, *, formula: str, source: str, note: str = "") -> Range:
        return cls(low=low, high=high, unit="seconds", formula=formula, source=source, note=note)

    @property
    def exact(self) -> bool:
        return self.low == self.high

    def covers(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __add__(self, other: Range) -> Range:
        """Sum of two ranges of one unit, with both formulas."""
        if self.unit != other.unit:
            raise ValueError(f"{self.unit} and {other.unit} do not add up")
        return Range(
            low=self.low + other.low,
            high=self.high + other.high,
            unit=self.unit,
            formula=f"{self.formula}; plus {other.formula}",
            source="; ".join(dict.fromkeys([self.source, other.source])),
            note=" ".join(note for note in dict.fromkeys([self.note, other.note]) if note),
        )

    def __str__(self) -> str:
        low, high = self._text(self.low), self._text(self.high)
        return low if low == high else f"{low} to {high}"

    def _text(self, value: float) -> str:
        if self.unit == "bytes":
            return format_bytes(value)
        if self.unit == "seconds":
            return format_duration(value)
        text = f"{value:,.0f}"
        return text if self.unit == "count" else f"{text} {self.unit}"


def _digits(value: float) -> str:
    """Whole below 1 KiB and from 100 on, else one decimal, without a trailing `.0`."""
    text = f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.1f}"
    return text.removesuffix(".0")

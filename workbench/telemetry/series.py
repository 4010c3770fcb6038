"""Readings over time: a shared column of times and a column a quantity, with a pyramid of lowest and highest values.

A plot asks for a few hundred points of an hour several times a second, so what it gets is kept ready: for buckets of
0.5 s, 1 s, 2 s ... the lowest and the highest reading, brought up to date with every reading. Bucket borders are
multiples of the bucket's width on the clock, never of the window, so a window that moves does not shimmer.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.telemetry.pyramid import Level, Table

Floats = NDArray[np.float64]

HELD_INTERVALS = 3.0
"""A reading stands for so many sampling intervals; what is longer is a gap."""
DAY_S = 24 * 3600.0
_FINEST_LEVEL_S = 0.5
_DAY_LEVEL_S = 4.0
"""Width of the buckets that are kept for a day. Powers of two: a time divided by one is exact."""
_LEVELS = 11
_FAR_S = 1e12


@dataclass(frozen=True)
class View:
    """Lowest and highest reading a bucket; NaN where nothing was reported."""

    t: Floats
    """Middle of each bucket, monotonic seconds."""
    low: Floats
    high: Floats
    width_s: float
    """Width of a bucket."""


@dataclass(frozen=True)
class Rows:
    """Readings as they came, NaN: not reported."""

    t: Floats
    values: dict[str, Floats]
    until: Floats
    """Until when each reading stands if no other comes; infinite: until it is said to be gone."""


class Series:
    """One writer, any number of readers.

    All readings of the last `span_s` seconds are kept as they came; of older ones, up to a day, the lowest, the
    highest and the last in each four seconds. Storage grows with use.
    """

    def __init__(self, span_s: float = 3600.0, rate_hz: float = 10.0) -> None:
        self.span_s = span_s
        self.rate_hz = rate_hz
        self.dropped = 0
        """Readings refused since their time did not go forward."""
        self._lock = threading.Lock()
        self._index: dict[str, int] = {}
        self._rows = Table(2)  # columns: time, until, quantities
        self._levels = [
            Level(width, max(span_s, 60.0) if width < _DAY_LEVEL_S else max(DAY_S, span_s), last=width == _DAY_LEVEL_S)
            for width in (_FINEST_LEVEL_S * 2**k for k in range(_LEVELS))
        ]
        self._newest_at: float | None = None
        self._newest = np.empty(0)
        self._until = -math.inf
        self._gone = False
        self._steps = (1.0, 1.0)

    # Writing

    def add(self, at: float, values: Mapping[str, float | None], interval_s: float | None = None) -> bool:
        """A reading of all quantities at monotonic `at`; a quantity that is missing or None is not reported.

        `interval_s`: when the next one is due; infinite when none is, and this one stands. Without it, as the last
        readings came. False (and counted) for a time that repeats or goes back.
        """
        with self._lock:
            before = self._newest_at
            if not math.isfinite(at) or (before is not None and at <= before):
                self.dropped += 1
                return False
            new = [name for name in values if name not in self._index]
            if new:
                self._widen(new)
            row = np.full(len(self._index), np.nan)
            for name, value in values.items():
                if value is not None and math.isfinite(value):
                    row[self._index[name]] = value
            if before is not None:
                self._steps = (self._steps[1], at - before)
                if at - before > DAY_S:
                    self._rows.clear()
            if interval_s is None:
                # The smaller of two: one long pause says nothing of what comes next.
                interval_s = max(1.0 / self.rate_hz, min(self._steps))
            until = at + HELD_INTERVALS * max(interval_s, 0.0)
            for level in self._levels:
                level.add(at, row, self._newest, self._until)
            self._rows.append(np.concatenate(((at, until), row)))
            self._rows.drop_before(at - self.span_s)
            self._newest_at, self._newest, self._until, self._gone = at, row, until, False
            return True

    def gap(self, at: float) -> None:
        """The newest reading does not stand after `at`: its source is gone."""
        with self._lock:
            if self._newest_at is not None:
                self._until = max(min(self._until, at), self._newest_at)
                self._rows.rows[-1, 1] = self._until
                self._gone = True

    def load(self, rows: Rows) -> None:
        """All readings of a recording at once, into an empty series; times that do not go forward are dropped."""
        with self._lock:
            if self._newest_at is not None:
                raise ValueError("a series that has readings takes no recording")
            finite = np.isfinite(rows.t)
            latest = np.maximum.accumulate(np.where(finite, rows.t, -np.inf))
            good = finite & np.concatenate(([True], rows.t[1:] > latest[:-1]))[: len(rows.t)]
            self.dropped += int(np.count_nonzero(~good))
            if not good.any():
                return
            self._widen(list(rows.values))
            t, until = rows.t[good], np.maximum(rows.until[good], rows.t[good])
            values = np.stack([column[good] for column in rows.values.values()], axis=1, dtype=np.float64)
            values[~np.isfinite(values)] = np.nan
            for level in self._levels:
                level.load(t, values, until)
            kept = t >= t[-1] - self.span_s
            self._rows.load(np.column_stack((t, until, values))[kept], bool(kept.all()))
            self._newest_at, self._newest, self._until = float(t[-1]), values[-1].copy(), float(until[-1])

    def _widen(self, new: list[str]) -> None:
        for name in new:
            self._index[name] = len(self._index)
        self._rows.widen(len(self._index) + 2)
        for level in self._levels:
            level.widen(len(self._index))
        self._newest = np.concatenate((self._newest, np.full(len(self._index) - len(self._newest), np.nan)))

    # Reading

    @property
    def names(self) -> tuple[str, ...]:
        """Quantities, in the order in which they first came."""
        with self._lock:
            return tuple(self._index)

    @property
    def newest_at(self) -> float | None:
        return self._newest_at

    @property
    def oldest_at(self) -> float | None:
        """The oldest moment that can be viewed."""
        with self._lock:
            rows, thinned = self._rows.rows, self._day.first_at
            if thinned is None:
                return None
            return float(rows[0, 0]) if self._rows.whole else min(float(rows[0, 0]), thinned)

    def newest(self, name: str) -> float | None:
        """The newest reading of a quantity; None when not reported, or gone since (`gap`)."""
        with self._lock:
            column = self._index.get(name)
            if column is None or self._gone:
                return None
            return _number(self._newest[column])

    def at(self, name: str, t: float) -> float | None:
        """The reading in force at `t`; None in a gap, before the first, and where the quantity was not reported."""
        with self._lock:
            column = self._index.get(name)
            if column is None:
                return None
            rows = self._rows.rows
            i = int(np.searchsorted(rows[:, 0], t, side="right")) - 1
            if i >= 0:
                return _number(rows[i, column + 2]) if t <= rows[i, 1] else None
            if len(rows) and not self._rows.whole:  # else nothing older was thinned: it is before the first
                return _number(self._day.last_at(t, column))
            return None

    def view(self, name: str, start: float, end: float, most: int = 400) -> View:
        """Lowest and highest readings from `start` to `end`, in at most `most` buckets (two or more).

        The width of a bucket depends on `end - start` alone (and on `start` where only the thinned part reaches so
        far back). A bucket in which no reading came shows the one in force.
        """
        span, most = max(end - start, 0.0), max(most, 2)
        width = 2.0 ** math.ceil(math.log2(max(span / (most - 1), 2.0**-10)))
        with self._lock:
            column = self._index.get(name)
            if column is None or self._newest_at is None or span <= 0:
                return _empty(start, end, width)
            level = self._level_for(start, width)
            if level is not None:
                width = max(level.width, width)
            first = math.floor(start / width)
            count = min(max(math.ceil(end / width) - first, 0), most)
            if level is None:
                low, high = self._from_rows(column, first, count, width)
            else:
                low, high = level.view(column, first, count, width, float(self._newest[column]), self._until)
        return View(_middles(first, count, width), low, high, width)

    def rows(self, start: float, end: float) -> Rows:
        """Readings from `start` to `end`; for what is older than the span, the last one of each four seconds."""
        start, end = max(start, -_FAR_S), min(end, _FAR_S)
        with self._lock:
            rows = self._rows.rows
            names = tuple(self._index)
            day = self._day.rows(start, min(end, float(rows[0, 0]) - self._day.width if len(rows) else end))
            i, j = (int(k) for k in np.searchsorted(rows[:, 0], (start, np.nextafter(end, math.inf))))
            table = np.concatenate((day, rows[i:j])) if len(day) else rows[i:j].copy()
        return Rows(table[:, 0], {name: table[:, k + 2] for k, name in enumerate(names)}, table[:, 1])

    @property
    def _day(self) -> Level:
        return next(level for level in self._levels if level.width == _DAY_LEVEL_S)

    def _level_for(self, start: float, width: float) -> Level | None:
        """The finest level that is at least so wide and reaches back to `start`; None: the readings themselves."""
        rows = self._rows
        if width < _FINEST_LEVEL_S and (rows.whole or rows.rows[0, 0] <= start):
            return None
        start = max(start, (self._newest_at or 0.0) - DAY_S)
        return next((x for x in self._levels if x.width >= width and x.reaches(start)), self._levels[-1])

    def _from_rows(self, column: int, first: int, count: int, width: float) -> tuple[Floats, Floats]:
        rows = self._rows.rows
        borders = np.arange(first, first + count + 1) * width
        at = np.searchsorted(rows[:, 0], borders)
        i, j = int(at[0]), int(at[-1])
        low = np.full(count, np.nan)
        full = at[1:] > at[:-1]
        if j > i:
            values = rows[i:j, column + 2]
            starts = at[:-1][full] - i
            low[full] = np.fmin.reduceat(values, starts)
            high = low.copy()
            high[full] = np.fmax.reduceat(values, starts)
        else:
            high = low.copy()
        # Empty buckets: the reading before them, as long as it stands.
        before = at[:-1] - 1
        held = ~full & (before >= 0)
        if len(rows):
            held &= rows[before, 1] > borders[:-1]
            low[held] = high[held] = rows[before[held], column + 2]
        return low, high


def _empty(start: float, end: float, width: float) -> View:
    first = math.floor(start / width)
    count = max(math.ceil(end / width) - first, 0) if end > start else 0
    blank = np.full(count, np.nan)
    return View(_middles(first, count, width), blank, blank.copy(), width)


def _middles(first: int, count: int, width: float) -> Floats:
    return (np.arange(first, first + count, dtype=np.float64) + 0.5) * width


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)

"""The storage below a series: a table that grows at its end, and buckets of fixed width with lowest and highest."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SMALLEST = 64


class Table:
    """Rows of numbers: appended at the end, let go from the front. Not locked."""

    def __init__(self, columns: int) -> None:
        self._data = np.empty((0, columns))
        self._first = 0
        self._end = 0
        self.whole = True
        """Nothing was let go yet."""

    @property
    def rows(self) -> Floats:
        """What is there, no copy."""
        return self._data[self._first : self._end]

    def append(self, row: Floats) -> None:
        if self._end == len(self._data):
            self._make_room()
        self._data[self._end] = row
        self._end += 1

    def load(self, rows: Floats, whole: bool) -> None:
        """These rows, in place of all."""
        self._data, self._first, self._end, self.whole = rows.copy(), 0, len(rows), whole

    def drop_before(self, t: float) -> None:
        """Let go of rows from before `t`, but never the last."""
        if self._end - self._first < 2 or self._data[self._first, 0] >= t:
            return
        self._first = min(self._first + int(np.searchsorted(self.rows[:, 0], t)), self._end - 1)
        self.whole = False

    def clear(self) -> None:
        self.whole = self.whole and self._end == self._first
        self._first = self._end = 0

    def widen(self, columns: int) -> None:
        data = np.full((len(self._data), columns), np.nan)
        data[:, : self._data.shape[1]] = self._data
        self._data = data

    def _make_room(self) -> None:
        used = self._end - self._first
        data = self._data
        if self._first <= used:  # less than half is free at the front: grow
            data = np.empty((max(2 * used, _SMALLEST), data.shape[1]))
        data[:used] = self.rows.copy()
        self._data, self._first, self._end = data, 0, used


class Level:
    """Lowest and highest reading in each bucket of `width` seconds (a power of two), for the last `keep_s`."""

    def __init__(self, width: float, keep_s: float, last: bool = False) -> None:
        self.width = width
        self._keep = math.ceil(keep_s / width) + 1
        self._low = np.empty((0, 0))
        self._high = np.empty((0, 0))
        self._last = np.empty((0, 0)) if last else None
        self._first = 0  # number of the bucket in row 0
        self._count = 0
        self._whole = True  # nothing was let go yet

    @property
    def first_at(self) -> float | None:
        return self._first * self.width if self._count else None

    def reaches(self, t: float) -> bool:
        return self._whole or self._first * self.width <= t

    def widen(self, columns: int) -> None:
        self._low = _widened(self._low, columns)
        self._high = _widened(self._high, columns)
        if self._last is not None:
            self._last = _widened(self._last, columns)

    def add(self, at: float, row: Floats, before: Floats, until: float) -> None:
        """A reading; buckets since the one before it show that one (`before`) as long as it stood (`until`)."""
        bucket = math.floor(at / self.width)
        newest = self._first + self._count - 1
        if not self._count:
            self._first = bucket
        if not self._count or bucket > newest:
            begin = self._advance(bucket)
            held = math.ceil(min(until, at) / self.width) if self._count > 1 else -math.inf
            stop = int(min(max(held - self._first, begin), self._count - 1))
            for data in self._arrays():
                data[begin : self._count] = np.nan
                data[begin:stop] = before
        i = bucket - self._first
        np.fmin(self._low[i], row, out=self._low[i])
        np.fmax(self._high[i], row, out=self._high[i])
        if self._last is not None:
            self._last[i] = np.where(np.isnan(row), self._last[i], row)

    def load(self, t: Floats, values: Floats, until: Floats) -> None:
        """All readings at once, in place of what was there."""
        buckets = np.floor_divide(t, self.width).astype(np.int64)
        last = int(buckets[-1])
        self._first = max(int(buckets[0]), last - self._keep + 1)
        self._count = last - self._first + 1
        self._whole = self._first == buckets[0]
        begin = int(np.searchsorted(buckets, self._first))
        starts = np.flatnonzero(np.diff(buckets[begin:], prepend=self._first - 1)) + begin
        rows = buckets[starts] - self._first
        before = np.searchsorted(t, np.arange(self._first, last + 1) * self.width) - 1
        held = (before >= 0) & (until[before] > np.arange(self._first, last + 1) * self.width)
        held[rows] = False
        shape = (self._count, values.shape[1])
        self._low, self._high = np.full(shape, np.nan), np.full(shape, np.nan)
        self._low[held] = self._high[held] = values[before[held]]
        self._low[rows] = np.fmin.reduceat(values, starts, axis=0)
        self._high[rows] = np.fmax.reduceat(values, starts, axis=0)
        if self._last is not None:
            self._last = self._low.copy()
            ends = np.append(starts[1:], len(t))
            for row, start, end in zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True):
                for at in range(start, end):
                    self._last[row] = np.where(np.isnan(values[at]), self._last[row], values[at])

    def _advance(self, bucket: int) -> int:
        """Let `bucket` be the last one; the row of the first new one. The oldest go where too many are kept."""
        new = bucket - (self._first + self._count - 1)
        if new >= self._keep:
            self._whole = False
            self._first, self._count, new = bucket - self._keep + 1, 0, self._keep
        if self._count + new > 2 * self._keep:
            left = self._keep - new
            surplus = self._count - left
            for data in self._arrays():
                data[:left] = data[surplus : self._count].copy()
            self._first, self._count, self._whole = self._first + surplus, left, False
        begin = self._count
        self._count += new
        if self._count > len(self._low):
            size = max(min(2 * self._count, 2 * self._keep), _SMALLEST)
            self._low, self._high = _grown(self._low, size), _grown(self._high, size)
            if self._last is not None:
                self._last = _grown(self._last, size)
        return begin

    def _arrays(self) -> list[Floats]:
        return [self._low, self._high] + ([self._last] if self._last is not None else [])

    def view(
        self, column: int, first: int, count: int, width: float, newest: float, until: float
    ) -> tuple[Floats, Floats]:
        """Lowest and highest of `count` buckets from number `first`; after the last one the newest, while it stands.

        `width`: of the buckets asked for, this level's or a multiple of it.
        """
        low, high = np.full(count, np.nan), np.full(count, np.nan)
        times = round(width / self.width)
        own_first, own_end = self._first // times, (self._first + self._count - 1) // times + 1
        begin, end = max(first, own_first), min(first + count, own_end)
        if times == 1 and end > begin:
            low[begin - first : end - first] = self._low[begin - self._first : end - self._first, column]
            high[begin - first : end - first] = self._high[begin - self._first : end - self._first, column]
        elif end > begin:
            numbers = np.arange(self._first, self._first + self._count) // times - first
            here = (numbers >= 0) & (numbers < count)
            np.fmin.at(low, numbers[here], self._low[: self._count, column][here])
            np.fmax.at(high, numbers[here], self._high[: self._count, column][here])
        begin = max(first, own_end)
        end = first + count if math.isinf(until) else min(first + count, math.ceil(until / width))
        if end > begin:
            low[begin - first : end - first] = newest
            high[begin - first : end - first] = newest
        return low, high

    def last_at(self, t: float, column: int) -> float:
        """The last reading of the bucket that holds `t`; NaN where there is none."""
        i = math.floor(t / self.width) - self._first
        if self._last is None or not 0 <= i < self._count:
            return math.nan
        return float(self._last[i, column])

    def rows(self, start: float, end: float) -> Floats:
        """Rows of middle, end and the last reading of each bucket that lies within `start` and `end` and has one."""
        begin = max(math.ceil(start / self.width) - self._first, 0)
        stop = min(math.floor(end / self.width) - self._first, self._count)
        columns = self._low.shape[1] + 2
        if self._last is None or stop <= begin:
            return np.empty((0, columns))
        table = np.empty((stop - begin, columns))
        numbers = np.arange(begin, stop) + self._first
        table[:, 0] = (numbers + 0.5) * self.width
        table[:, 1] = (numbers + 1.5) * self.width
        table[:, 2:] = self._last[begin:stop]
        kept: Floats = table[~np.isnan(table[:, 2:]).all(axis=1)]
        return kept


def _widened(data: Floats, columns: int) -> Floats:
    wide = np.full((len(data), columns), np.nan)
    wide[:, : data.shape[1]] = data
    return wide


def _grown(data: Floats, size: int) -> Floats:
    grown = np.empty((size, data.shape[1]))
    grown[: len(data)] = data
    return grown

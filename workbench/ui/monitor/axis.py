"""The time that all panels share: its span, whether it follows or was dragged back, and the crosshair."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PySide6.QtCore import QObject, Signal

SPANS = (1, 5, 15, 60)
"""Minutes that can be shown."""
FIRST_SPAN = 5
THIN = "\u202f"
_KEEP_IN_VIEW = 0.1
"""Dragged to its oldest end a plot still shows this share of its span."""


@dataclass(frozen=True)
class Window:
    """The stretch of time that is drawn: `columns` of equal length, whose borders never move in time.

    `now` is the newest moment shown, within the last column.
    """

    start: float
    end: float
    columns: int
    now: float

    @property
    def step(self) -> float:
        """Seconds of a column."""
        return (self.end - self.start) / self.columns


class TimeAxis(QObject):
    """Seconds of the monotonic clock. It follows the newest moment until it is paused or dragged back."""

    changed = Signal()
    """Other values are to be drawn: the span, or its end."""
    crossed = Signal()
    """The crosshair moved, came or went."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._minutes = FIRST_SPAN
        self._span_s = FIRST_SPAN * 60.0
        self._end: float | None = None
        self._cross: float | None = None
        self._share: float | None = None
        self._now = 0.0
        self.oldest = -math.inf
        """Before this moment there is nothing."""

    @property
    def minutes(self) -> int:
        return self._minutes

    @property
    def span_s(self) -> float:
        return self._span_s

    def set_minutes(self, minutes: int) -> None:
        """One of SPANS; anything else changes nothing."""
        if minutes in SPANS and minutes * 60.0 != self._span_s:
            self._minutes, self._span_s = minutes, minutes * 60.0
            self.changed.emit()

    def fit(self, span_s: float) -> None:
        """Show so many seconds: all of a recording."""
        self._span_s = max(span_s, 1.0)
        self.changed.emit()

    @property
    def follows(self) -> bool:
        return self._end is None

    @property
    def now(self) -> float:
        """The newest moment, as it was told last."""
        return self._now

    @property
    def end(self) -> float:
        """The newest moment shown."""
        return self._now if self._end is None else self._end

    def tell_now(self, now: float) -> None:
        """The newest moment there is; a crosshair held by the pointer stays under it."""
        self._now = now
        if self._share is not None:
            self._cross = self._at_share(self._share)

    def pause(self) -> None:
        """Stay at the moment that is shown, whatever comes."""
        self.look_at(self._now if self._end is None else self._end)

    def follow(self) -> None:
        """Show the newest again."""
        if self._end is not None:
            self._end = None
            self.changed.emit()

    def look_at(self, end: float) -> None:
        """Let the newest moment shown be `end`, as far as there is something to see."""
        end = min(max(end, self.oldest + _KEEP_IN_VIEW * self.span_s), self._now)
        if end != self._end:
            self._end = end
            self.changed.emit()

    def drag(self, seconds: float, begin: float) -> None:
        """Move the picture by `seconds` to the right from where it ended at `begin`; at the newest it follows again."""
        if begin - seconds >= self._now:
            self.follow()
        else:
            self.look_at(begin - seconds)

    def window(self, columns: int) -> Window:
        """What is drawn in `columns`: the end is the column border at or after the newest moment shown."""
        columns = max(columns, 1)
        step = self.span_s / columns
        end = math.ceil(self.end / step - 1e-9) * step
        return Window(end - columns * step, end, columns, self.end)

    # -- the crosshair

    @property
    def cross(self) -> float | None:
        """The moment whose values are read; None: the newest."""
        return self._cross

    def point_at(self, share: float | None) -> None:
        """The pointer is over a plot, at this share of its width; None: it left."""
        self._share = share
        self._set_cross(None if share is None else self._at_share(share))

    def set_cross(self, at: float | None) -> None:
        """Read this moment; it stays when the picture moves on."""
        self._share = None
        self._set_cross(at)

    def step_cross(self, seconds: float) -> None:
        """By the keyboard: from where it is, or from the newest moment, within what is shown."""
        start = self.end if self._cross is None else self._cross
        self.set_cross(min(max(start + seconds, self.end - self.span_s), self.end))

    def _at_share(self, share: float) -> float:
        return self.end - self.span_s * (1.0 - min(max(share, 0.0), 1.0))

    def _set_cross(self, at: float | None) -> None:
        if at != self._cross:
            self._cross = at
            self.crossed.emit()


# -- words and round numbers


def round_up(value: float) -> float:
    """The next of 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten: the top of a scale."""
    if not value > 0 or math.isinf(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    for step in (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0):
        if value <= step * power * (1 + 1e-9):
            return step * power
    return 10.0 * power


def tick_step(top: float, most: int = 3) -> float:
    """A round distance (1, 2, 5) of at most `most` lines up to `top`."""
    least = top / most
    if not least > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next((step * power for step in (1.0, 2.0, 5.0) if step * power >= least * (1 - 1e-9)), 10.0 * power)


def short(value: float) -> str:
    """For an axis: `150`, `6 k`, `1.5 M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{THIN}{letter}"
    return f"{value:.4g}"


def whole(value: float) -> str:
    """A figure with no decimals and thin spaces between thousands."""
    return f"{value:,.0f}".replace(",", THIN)


def ago(seconds: float) -> str:
    """How long before the newest moment: `-12 s`, `-4 min`, `-4:05`."""
    whole_s = round(seconds)
    if whole_s <= 0:
        return "now"
    if whole_s < 120:
        return f"-{whole_s} s"
    minutes, rest = divmod(whole_s, 60)
    return f"-{minutes} min" if not rest else f"-{minutes}:{rest:02d}"

"""Figures of a report in words: one way to write a number, a ratio, an interval, a time and a command."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from datetime import datetime, timezone

from workbench.core.measure.estimate import Estimate

NOT_REPORTED = "\u2013"
_THIN = "\u202f"


def number(value: float | None, digits: int | None = None) -> str:
    """`59 581`, `12.4`, `3.65`; a dash for what is not reported. Without `digits` about three digits that count."""
    if value is None or not math.isfinite(value):
        return NOT_REPORTED
    if digits is None:
        size = abs(value)
        digits = 0 if size >= 100 or value == int(value) else 1 if size >= 10 else 2 if size >= 0.1 else 4
    return f"{value:,.{digits}f}".replace(",", _THIN)


def level(value: float) -> str:
    """A level of a load: `8`, `0.5`, `1 024`."""
    return number(value, 0) if value == int(value) else f"{value:g}"


def share(value: float | None, digits: int = 1) -> str:
    """A share of 0 to 1 in percent."""
    return NOT_REPORTED if value is None or not math.isfinite(value) else f"{value * 100:.{digits}f}{_THIN}%"


def ratio(value: float | None) -> str:
    """A factor with its sign of multiplication; three decimals where two would hide the difference."""
    if value is None or not math.isfinite(value):
        return ""
    digits = 3 if 0 < abs(value - 1) < 0.05 else 2
    return f"{value:.{digits}f}\u00d7"


def interval(estimate: Estimate | None, digits: int = 2) -> str:
    """`1.49 to 1.57`, or nothing."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    return f"{number(estimate.low, digits)} to {number(estimate.high, digits)}"


def estimated(estimate: Estimate | None, digits: int | None = None) -> str:
    """A value with its standard error where there is one: `7.213 ± 0.012`."""
    if estimate is None:
        return NOT_REPORTED
    value = number(estimate.value, digits)
    if estimate.stderr is None or not math.isfinite(estimate.stderr):
        return value
    return f"{value} \u00b1 {number(estimate.stderr, digits)}"


def moment(seconds: float | None) -> str:
    """Seconds since the epoch as `2026-05-14 16:05 UTC`."""
    if seconds is None:
        return NOT_REPORTED
    return datetime.fromtimestamp(seconds, tz=timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def command_line(argv: Sequence[str]) -> str:
    """A command as it can be pasted into a shell."""
    return shlex.join(argv)

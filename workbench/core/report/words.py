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


def load(value: float, unit: str) -> str:
    """A level with what it counts, short: `1 user`, `61.5 users`, `2 req/s`, `2x trace`."""
    kind = load_kind(unit)
    if kind == "concurrent requests":
        return f"{level(value)} user{'' if value == 1 else 's'}"
    short = {"requests a second": " req/s", "times the trace's speed": "x trace"}.get(kind, f" {kind}")
    return level(value) + short


def load_kind(unit: str) -> str:
    """Levels of the same kind can stand on one axis; a mean concurrency is a concurrency too."""
    return unit.removesuffix(" on average")


def share(value: float | None, digits: int = 1) -> str:
    """A share of 0 to 1 in percent."""
    return NOT_REPORTED if value is None or not math.isfinite(value) else f"{value * 100:.{digits}f}{_THIN}%"


def ratio_interval(estimate: Estimate | None) -> str:
    """The interval of a factor, with as many decimals as the factor itself."""
    return interval(estimate, _ratio_digits(estimate.value) if estimate is not None else 2)


def _ratio_digits(value: float) -> int:
    return 3 if 0 < abs(value - 1) < 0.05 else 2


def ratio(value: float | None) -> str:
    """A factor with its sign of multiplication; three decimals where two would hide the difference."""
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:.{_ratio_digits(value)}f}\u00d7"


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

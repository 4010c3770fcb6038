"""What may be said of a variant against its baseline: a claim only where the interval carries it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workbench.core.measure.estimate import Estimate

Better = Literal["lower", "higher"]
VerdictKind = Literal["within", "worse", "better", "unsure"]

WITHIN = 0.01
"""The closeness that a verdict tells of: 1 %."""


@dataclass(frozen=True)
class Verdict:
    kind: VerdictKind
    words: str


def verdict(ratio: Estimate | None, better: Better, *, within: float = WITHIN) -> Verdict:
    """A sentence on variant / baseline of a metric.

    `within 1 % of the baseline`, `between 2 % and 5 % worse`, `cannot tell: the interval is -3 % to +4 %`. In the
    last one the signs are those of the metric's value.
    """
    if ratio is None:
        return Verdict("unsure", "cannot tell: not reported")
    if ratio.low is None or ratio.high is None:
        return Verdict("unsure", f"cannot tell: {signed(ratio.value - 1)} measured, too little for an interval")
    low, high = ratio.low - 1, ratio.high - 1
    if -within <= low and high <= within:
        return Verdict("within", f"within {percent(within)} of the baseline")
    if low > 0 or high < 0:
        worse = (low > 0) == (better == "lower")
        near, far = sorted((abs(low), abs(high)))
        return Verdict(
            "worse" if worse else "better", f"{_between(near, far)} {'worse' if worse else 'better'}"
        )  # fmt: skip
    return Verdict("unsure", f"cannot tell: the interval is {signed(low)} to {signed(high)}")


def percent(share: float) -> str:
    """A share as `0.4 %`, `2 %`, `13 %`, `250 %`: two digits that count, no sign."""
    value = abs(share) * 100
    if value < 0.005:
        return "0 %"
    if value < 0.095:
        return f"{value:.2f} %"
    text = f"{value:.1f}" if value < 9.95 else f"{value:,.0f}"
    return f"{text.removesuffix('.0')} %"


def signed(change: float) -> str:
    """A change as `-3 %`, `+0.4 %`, `0 %`."""
    text = percent(change)
    return text if text == "0 %" else f"{'+' if change > 0 else '-'}{text}"


def _between(near: float, far: float) -> str:
    low, high = percent(near), percent(far)
    return low if low == high else f"between {low} and {high}"

"""What tokens cost at a price an hour and a measured throughput."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.core.measure.estimate import Estimate
from workbench.core.measure.figures import PointFigures


@dataclass(frozen=True)
class Cost:
    """Of one level, in the currency of the price; None where the throughput is not reported."""

    level: float
    per_million_output: float | None
    """All of the hour's price on the output tokens."""
    per_million_total: float | None
    """The same price over input and output tokens together."""


def per_million(price_per_hour: float, tok_s: float | None) -> float | None:
    """price / (tokens an hour) * 10^6. None without a throughput above 0."""
    return price_per_hour / (tok_s * 3600) * 1e6 if tok_s else None


def cost_of(figures: PointFigures, price_per_hour: float) -> Cost:
    """What a million tokens cost while an engine is kept at this level all the time."""
    return Cost(
        figures.level,
        per_million(price_per_hour, figures.output_tok_s),
        per_million(price_per_hour, figures.total_tok_s),
    )


def cost_estimate(price_per_hour: float, tok_s: Estimate) -> Estimate | None:
    """The same with its interval: the fastest end of the throughput is the cheapest. None for no throughput."""
    value = per_million(price_per_hour, tok_s.value)
    if value is None:
        return None
    if tok_s.low is None or tok_s.high is None or tok_s.low <= 0:
        return Estimate(value=value, n=tok_s.n)
    return Estimate(
        value=value,
        low=per_million(price_per_hour, tok_s.high),
        high=per_million(price_per_hour, tok_s.low),
        stderr=None if tok_s.stderr is None else value * tok_s.stderr / tok_s.value,
        n=tok_s.n,
    )

"""Figures of one request, from its raw timings."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.core.measure.record import RequestRecord

Floats = NDArray[np.float64]
NONE: Floats = np.empty(0)


class RequestFigures(NamedTuple):
    """One request; None is "not defined" or "not reported"."""

    prompt: int
    tokens: int
    ttft_ms: float | None
    itl_ms: float | None
    latency_ms: float | None
    second_token_ms: float | None


def request_figures(request: RequestRecord) -> RequestFigures:
    """The metrics' formulas for one request. n is what usage reports where counts are the server's, else the sum of
    the responses' counts; responses without any count are taken as tokens for their times.
    """
    return figures_of(request, timed(request))


def output_tokens(request: RequestRecord) -> int:
    """n of one request."""
    return timed(request).tokens


class Timed(NamedTuple):
    """Responses of a request that stand for tokens."""

    times: Floats
    counts: Floats
    """Tokens that each stands for; they add up to n."""
    tokens: int
    """n."""


def timed(request: RequestRecord) -> Timed:
    """Its responses as columns."""
    if not request.chunks:
        return Timed(NONE, NONE, request.reported_tokens or 0)
    # Half a million responses are nothing unusual: by columns, not one by one.
    columns = tuple(zip(*request.chunks, strict=True))
    times, counts = np.array(columns[0], dtype=np.float64), np.array(columns[1], dtype=np.float64)
    counted, reported = int(counts.sum()), request.reported_tokens
    tokens = reported if reported is not None and (request.count_source == "server usage" or not counted) else counted
    if counted:
        if counts.min() <= 0:
            times, counts = times[counts > 0], counts[counts > 0]
        return Timed(times, counts if tokens == counted else counts * (tokens / counted), tokens)
    if tokens:
        return Timed(times, np.full(len(times), tokens / len(times)), tokens)
    return Timed(NONE, NONE, 0)


def figures_of(request: RequestRecord, found: Timed) -> RequestFigures:
    """`request_figures` where the columns are there already."""
    times, _, tokens = found
    if not len(times) or not tokens:
        return RequestFigures(request.prompt, tokens, None, None, None, None)
    t0, first, last = request.t0_s, float(times[0]), float(times[-1])
    several = len(times) > 1
    return RequestFigures(
        prompt=request.prompt,
        tokens=tokens,
        ttft_ms=(first - t0) * 1000,
        itl_ms=(last - first) * 1000 / (tokens - 1) if several and tokens > 1 else None,
        latency_ms=(last - t0) * 1000,
        second_token_ms=(float(times[1]) - first) * 1000 if several else None,
    )

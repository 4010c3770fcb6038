"""Serving metrics: one formula each, computed from raw timings and from nothing else.

Names: t0 is the moment a request was handed to the transport, t1 the first response that carries at least one
token, tN the last response with a token, n the number of output tokens, D the measured time of a run (warm-up
left out).
All times in are seconds on one monotonic clock. A value that is not defined is None, never 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Chunk(NamedTuple):
    """One response of a streaming answer."""

    t_s: float
    """When it arrived, on the client's monotonic clock."""
    tokens: int
    """Output tokens it carried; 0 for a response with text or bookkeeping only."""


def _with_tokens(chunks: Iterable[Chunk]) -> list[Chunk]:
    return [chunk for chunk in chunks if chunk.tokens > 0]


def output_tokens(chunks: Iterable[Chunk]) -> int:
    """n: all output tokens of a request."""
    return sum(chunk.tokens for chunk in chunks)


def ttft_ms(t0_s: float, chunks: Sequence[Chunk]) -> float | None:
    """Time to first token: t1 - t0. An empty first response does not count; None when no token came."""
    counted = _with_tokens(chunks)
    return (counted[0].t_s - t0_s) * 1000 if counted else None


def latency_ms(t0_s: float, chunks: Sequence[Chunk]) -> float | None:
    """End-to-end latency: tN - t0. None when no token came."""
    counted = _with_tokens(chunks)
    return (counted[-1].t_s - t0_s) * 1000 if counted else None


def itl_ms(chunks: Sequence[Chunk]) -> float | None:
    """Inter-token latency of one request: (tN - t1) / (n - 1). None below two tokens.

    This is AIPerf's ITL and what vLLM and trtllm-bench call TPOT. An answer whose tokens all came in one
    response has no time between tokens to speak of: None.
    """
    counted = _with_tokens(chunks)
    n = output_tokens(counted)
    if n < 2 or len(counted) < 2:
        return None
    return (counted[-1].t_s - counted[0].t_s) * 1000 / (n - 1)


def chunk_gaps_ms(chunks: Sequence[Chunk]) -> list[float]:
    """t(i+1) - t(i) between responses with tokens; pooled over requests this is what vLLM calls ITL."""
    counted = _with_tokens(chunks)
    return [(after.t_s - before.t_s) * 1000 for before, after in itertools.pairwise(counted)]


def second_token_ms(chunks: Sequence[Chunk]) -> float | None:
    """Time to second token: t2 - t1, the second response with a token after the first."""
    counted = _with_tokens(chunks)
    return (counted[1].t_s - counted[0].t_s) * 1000 if len(counted) > 1 else None


def output_tok_s(chunks: Sequence[Chunk]) -> float | None:
    """Output speed per user: 1000 / ITL, in tokens a second; TTFT left out."""
    itl = itl_ms(chunks)
    return 1000 / itl if itl else None


def throughput_tok_s(tokens: int, duration_s: float) -> float | None:
    """sum(n) / D for output throughput, sum(input + n) / D for total throughput. None when D is not
    positive.
    """
    return tokens / duration_s if duration_s > 0 else None


def request_throughput(completed: int, duration_s: float) -> float | None:
    """Completed requests a second; failures are counted apart by the caller."""
    return completed / duration_s if duration_s > 0 else None


def meets_limits(
    t0_s: float,
    chunks: Sequence[Chunk],
    *,
    ttft_limit_ms: float | None = None,
    itl_limit_ms: float | None = None,
    latency_limit_ms: float | None = None,
) -> bool:
    """Whether a request counts for goodput: each limit that is set holds; a missing metric fails its
    limit.
    """
    pairs = (
        (ttft_limit_ms, ttft_ms(t0_s, chunks)),
        (itl_limit_ms, itl_ms(chunks)),
        (latency_limit_ms, latency_ms(t0_s, chunks)),
    )
    return all(limit is None or (value is not None and value <= limit) for limit, value in pairs)


def percentile(values: Iterable[float], percent: float) -> float | None:
    """The percentile by linear interpolation between the closest ranks (numpy's default). None without
    values.

    Raises ValueError when `percent` is outside 0 to 100.
    """
    if not 0 <= percent <= 100:
        raise ValueError(f"a percentile is between 0 and 100, not {percent}")
    ordered = sorted(values)
    if not ordered:
        return None
    rank = (len(ordered) - 1) * percent / 100
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def median(values: Iterable[float]) -> float | None:
    """p50. None without values."""
    return percentile(values, 50)


def mean(values: Iterable[float]) -> float | None:
    """Arithmetic mean. None without values."""
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else None

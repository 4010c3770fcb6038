"""Speculative decoding over time, from counters that only grow: of the last seconds, how many guesses were kept."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from workbench.core.messages import Stats
from workbench.core.speculative import acceptance_rate, tokens_a_pass

WINDOW_S = 5.0
"""One pass takes or refuses a handful of guesses, so a second says little."""


@dataclass(frozen=True)
class _Count:
    at: float
    drafted: int | None
    accepted: int
    passes: int | None


class DraftRates:
    """Takes each `stats` of an engine; one writer."""

    def __init__(self) -> None:
        self._counts: deque[_Count] = deque()

    def take(self, stats: Stats, at: float) -> dict[str, float | None]:
        """`acceptance` (share, 0 to 1) and `tokens_a_pass` of the last WINDOW_S; {} while nothing is reported.

        A value is None while no guess was checked.
        """
        if stats.accepted_tokens is None or stats.accepted_tokens < 0:
            return {}
        new = _Count(at, stats.draft_tokens, stats.accepted_tokens, stats.draft_passes)
        counts = self._counts
        if counts and new.accepted < counts[-1].accepted:
            counts.clear()  # counted anew
        counts.append(new)
        while len(counts) > 2 and counts[1].at <= at - WINDOW_S:
            counts.popleft()
        # The first report is of all since the engine was loaded.
        first = counts[0] if len(counts) > 1 else _Count(at, 0, 0, 0)
        accepted = new.accepted - first.accepted
        drafted, passes = _step(new.drafted, first.drafted), _step(new.passes, first.passes)
        rate = acceptance_rate(drafted, accepted)
        row: dict[str, float | None] = {}
        if new.drafted is not None:
            row["acceptance"] = None if rate is None else min(rate, 1.0)
        if new.passes is not None:
            row["tokens_a_pass"] = tokens_a_pass(accepted, passes)
        return row


def _step(new: int | None, old: int | None) -> int | None:
    return None if new is None or old is None else max(new - old, 0)

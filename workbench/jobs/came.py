"""What came of an answer, kept in columns: a flood of answers holds hundreds of thousands of tokens at once, and as
objects of their own the collector of cycles would walk over all of them again and again.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from workbench.core.messages import Tokens
from workbench.core.metrics import Chunk


class News(NamedTuple):
    """What several responses together brought."""

    responses: int
    """How many there are up to here: where to go on."""
    text: str
    tokens: int
    first: Chunk | None
    """The first of them that carried a token."""
    last_s: float | None
    """When the last of them that carried a token arrived."""


class Came:
    """The responses of one request in the order they came; numbers are from 0."""

    def __init__(self, request: str) -> None:
        self._request = request
        self._texts: list[str] = []
        self._arrived_s, self._told_s = array("d"), array("d")
        self._ends = array("q")
        """For each response, how many token ids there are up to its end."""
        self._counted = array("q")
        """The same for tokens, which a server may count without telling their ids."""
        self._ids = array("q")
        self._logprobs = array("d")
        self._logprob_ends = array("q")
        """The same for log-probabilities; -1 - end: this response reported none."""

    def __len__(self) -> int:
        return len(self._texts)

    @property
    def tokens(self) -> int:
        return self._counted[-1] if self._counted else 0

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(self._ids)

    @property
    def logprobs(self) -> tuple[float, ...] | None:
        """Of all tokens that had one; None: none was reported."""
        return tuple(self._logprobs) or None

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def add(self, event: Tokens, now_s: float) -> None:
        """Take a response that arrived at `now_s`. Raises OverflowError, and takes nothing, for ids over 63 bits."""
        # All that can fail comes first, so that the columns stay even.
        ids, logprobs = array("q", event.ids), array("d", event.logprobs or ())
        counted = self.tokens + event.tokens
        self._ids.extend(ids)
        self._counted.append(counted)
        self._ends.append(len(self._ids))
        self._logprobs.extend(logprobs)
        held = len(self._logprobs)
        self._logprob_ends.append(-1 - held if event.logprobs is None else held)
        self._arrived_s.append(now_s)
        self._told_s.append(event.t)
        self._texts.append(event.text)

    def recount(self, counts: Sequence[int]) -> None:
        """Set the token counts right, one for each response; any other number of counts changes nothing."""
        if len(counts) == len(self):
            self._counted = array("q", itertools.accumulate(counts))

    def event(self, number: int) -> Tokens:
        """A response as the message that it was."""
        first = self._ends[number - 1] if number else 0
        end = self._logprob_ends[number]
        logprobs: list[float] | None = None
        if end >= 0:
            before = self._logprob_ends[number - 1] if number else 0
            logprobs = self._logprobs[before if before >= 0 else -1 - before : end].tolist()
        return Tokens.model_construct(
            t=self._told_s[number],
            request=self._request,
            text=self._texts[number],
            ids=self._ids[first : self._ends[number]].tolist(),
            logprobs=logprobs,
            count=None if self._ends[number] > first else self.chunk(number).tokens or None,
        )

    def chunk(self, number: int) -> Chunk:
        """When a response arrived and how many tokens it carried."""
        return Chunk(self._arrived_s[number], self._counted[number] - (self._counted[number - 1] if number else 0))

    def chunks(self, first: int = 0, end: int | None = None) -> tuple[Chunk, ...]:
        return tuple(self.chunk(number) for number in range(first, min(len(self), len(self) if end is None else end)))

    def since(self, first: int) -> News:
        """What the responses from number `first` on brought together."""
        end = len(self)
        with_tokens = (number for number in range(first, end) if self.chunk(number).tokens)
        began = next(with_tokens, None)
        if began is None:
            return News(end, "".join(self._texts[first:]), 0, None, None)
        last = next(number for number in range(end - 1, began - 1, -1) if self.chunk(number).tokens)
        tokens = self._counted[-1] - (self._counted[first - 1] if first else 0)
        return News(end, "".join(self._texts[first:]), tokens, self.chunk(began), self._arrived_s[last])

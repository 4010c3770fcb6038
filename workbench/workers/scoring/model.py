"""A model that can be scored: tokens in, logits out. Toolchains fill in how."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

LOGIT_BYTES = 64 << 20
"""Of float32 logits held at a time; working on them takes a few times as much."""
_FEWEST, _MOST = 16, 512


def chunk_positions(vocabulary: int | None) -> int:
    """Positions fed at a time, so that their logits stay within `LOGIT_BYTES`: 341 of a vocabulary of 49,152."""
    return max(_FEWEST, min(_MOST, LOGIT_BYTES // (4 * (vocabulary or 262_144))))


class ScoredModel(Protocol):
    """What scoring needs of a loaded model."""

    vocabulary: int | None
    end_ids: frozenset[int]
    max_seq_len: int | None
    settings: dict[str, str]
    """What it runs with, in words."""
    no_logits: str
    """Why `rows` gives nothing, in words; empty where it does."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, with the special tokens that the tokenizer puts in front."""
        ...

    def chat(self, text: str) -> list[int]:
        """Token ids of a user's question, in the chat template where there is one."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of tokens; special ones are written out."""
        ...

    def rows(self, ids: Sequence[int], start: int) -> Iterator[Any]:
        """Logits after each of ids[start:], in order, as arrays (some positions, vocabulary) of float32."""
        ...

    def greedy(self, ids: Sequence[int], most: int, enough: Callable[[list[int]], bool] | None = None) -> list[int]:
        """Greedy answer of up to `most` tokens, its end token included; `enough` is asked after each token."""
        ...

    def answers(self, prompts: Sequence[Sequence[int]], most: int, done: Callable[[int], None]) -> list[list[int]]:
        """Greedy answers to several prompts; `done` gets the number that is answered."""
        ...

    def next_tokens(self, ids: Sequence[int], start: int) -> list[int]:
        """The greedy token after each of ids[start:]: agreement for models whose logits are not to be had."""
        ...


class SteppedModel:
    """`rows` and `greedy` for a model with a KV cache: `_begin()` empties it and `_feed(ids)` gives float32 logits
    (len(ids), vocabulary) after each of `ids`.
    """

    vocabulary: int | None = None
    end_ids: frozenset[int] = frozenset()
    max_seq_len: int | None = None
    no_logits = ""

    def _begin(self) -> None:
        raise NotImplementedError

    def _feed(self, ids: Sequence[int]) -> Any:
        raise NotImplementedError

    def rows(self, ids: Sequence[int], start: int) -> Iterator[Any]:
        self._begin()
        size = chunk_positions(self.vocabulary)
        for at in range(0, len(ids), size):
            piece = ids[at : at + size]
            logits = self._feed(piece)
            skip = max(start - at, 0)
            if skip < len(piece):
                yield logits[skip:]

    def greedy(self, ids: Sequence[int], most: int, enough: Callable[[list[int]], bool] | None = None) -> list[int]:
        last = None
        for rows in self.rows(ids, len(ids) - 1):
            last = rows[-1]
        answer: list[int] = []
        while last is not None:
            token = int(last.argmax())
            answer.append(token)
            if token in self.end_ids or len(answer) == most or (enough is not None and enough(answer)):
                break
            last = self._feed([token])[-1]
        return answer

    def answers(self, prompts: Sequence[Sequence[int]], most: int, done: Callable[[int], None]) -> list[list[int]]:
        found: list[list[int]] = []
        for prompt in prompts:
            found.append(self.greedy(prompt, most))
            done(len(found))
        return found

    def next_tokens(self, ids: Sequence[int], start: int) -> list[int]:
        return [int(row.argmax()) for rows in self.rows(ids, start) for row in rows]

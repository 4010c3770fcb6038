"""Whether text that a model is judged on is also text that it was calibrated with: 13 words in a row, as is usual for
contamination checks since GPT-3 (Brown et al. 2020, appendix C).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

NGRAM_WORDS = 13
_WORDS = re.compile(r"[^\W_]+")


def ngrams(text: str, size: int = NGRAM_WORDS) -> set[tuple[str, ...]]:
    """All runs of `size` words, lower case, punctuation and spacing aside. A shorter text of 4 words or more counts
    as one run, so that short ones are compared too."""
    words = _WORDS.findall(text.lower())
    if len(words) < size:
        return {tuple(words)} if len(words) >= 4 else set()
    return {tuple(words[at : at + size]) for at in range(len(words) - size + 1)}


def shared(judged: Sequence[str], seen: Iterable[str], size: int = NGRAM_WORDS) -> list[int]:
    """Indices of the judged texts that share a run of words with any of `seen`."""
    mine = [ngrams(text, size) for text in judged]
    wanted = set().union(*mine) if mine else set()
    found: set[tuple[str, ...]] = set()
    for text in seen:
        found |= wanted & ngrams(text, size)
    return [index for index, grams in enumerate(mine) if not grams.isdisjoint(found)]

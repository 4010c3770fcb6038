"""Two answers to one prompt held against each other: where they first part, and which tokens only one of them has.

Tokens are compared by id where both come from the same tokenizer and both engines report ids, else by word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from workbench.core.answer import AnswerRecord

MOST_UNITS = 20_000
"""Beyond it the answers are compared up to there: matching takes quadratic time."""
_WORDS = re.compile(r"\s*\S+|\s+$")


@dataclass(frozen=True)
class Choice:
    """What an engine said at one place."""

    text: str
    probability: float | None = None
    """0 to 1; None: not reported."""


@dataclass(frozen=True)
class Span:
    """A stretch of an answer's text that looks the same all along."""

    text: str
    differs: bool = False
    """It is not in the baseline's answer at this place."""
    first: bool = False
    """It is the first that differs."""
    left_out: bool = False
    """Something of the baseline's answer is missing before it."""


@dataclass(frozen=True)
class AnswerDiff:
    """One answer against the baseline's."""

    unit: Literal["token", "word"]
    first: int | None
    """Place of the first difference, from 0: so many are the same before it; None: the answers are the same."""
    total: int
    """Units of this answer."""
    baseline_total: int
    shared: float
    """Units in common by those of the longer answer, 0 to 1; 1 for two empty answers."""
    marks: tuple[bool, ...]
    """Of each unit, whether it differs: the strip."""
    spans: tuple[Span, ...]
    baseline_choice: Choice | None = None
    """At the first difference; None where the answers are the same, or this one had ended."""
    choice: Choice | None = None

    @property
    def identical(self) -> bool:
        return self.first is None


@dataclass(frozen=True)
class _Unit:
    key: object
    piece: int
    """Number of the piece of text that it is in: several tokens may come in one."""
    probability: float | None


@dataclass(frozen=True)
class _Side:
    units: tuple[_Unit, ...]
    pieces: tuple[str, ...]


def answer_diff(baseline: AnswerRecord, answer: AnswerRecord, *, same_tokenizer: bool) -> AnswerDiff:
    """Hold an answer against the baseline's; `same_tokenizer`: ids of the two mean the same."""
    by_id = same_tokenizer and _has_ids(baseline) and _has_ids(answer)
    ours, theirs = (_by_id(answer), _by_id(baseline)) if by_id else (_by_word(answer), _by_word(baseline))
    mine = [unit.key for unit in ours.units[:MOST_UNITS]]
    base = [unit.key for unit in theirs.units[:MOST_UNITS]]
    first = next((at for at, (a, b) in enumerate(zip(base, mine, strict=False)) if a != b), None)
    if first is None and len(base) != len(mine):
        first = min(len(base), len(mine))
    differs, gaps, common = _matched(base, mine, first)
    longer = max(len(base), len(mine))
    return AnswerDiff(
        unit="token" if by_id else "word",
        first=first,
        total=len(mine),
        baseline_total=len(base),
        shared=common / longer if longer else 1.0,
        marks=tuple(differs),
        spans=_spans(ours, differs, gaps, first),
        baseline_choice=_choice(theirs, first),
        choice=_choice(ours, first),
    )


def _has_ids(record: AnswerRecord) -> bool:
    """Whether every token came with its id; an answer without any token has none to lack."""
    return all(len(piece.ids) == piece.tokens for piece in record.pieces)


def _by_id(record: AnswerRecord) -> _Side:
    units: list[_Unit] = []
    pieces: list[str] = []
    for piece in record.pieces:
        # Text that comes after its token (a letter of several bytes) belongs to the token that is on the way.
        if not piece.ids and pieces:
            pieces[-1] += piece.text
            continue
        for place, token in enumerate(piece.ids):
            known = piece.logprobs is not None and place < len(piece.logprobs)
            chance = math.exp(min(0.0, piece.logprobs[place])) if known and piece.logprobs is not None else None
            units.append(_Unit(token, len(pieces), chance))
        pieces.append(piece.text)
    return _Side(tuple(units), tuple(pieces))


def _by_word(record: AnswerRecord) -> _Side:
    words = _WORDS.findall(record.text)
    return _Side(tuple(_Unit(word.strip() or word, at, None) for at, word in enumerate(words)), tuple(words))


def _matched(base: Sequence[object], mine: Sequence[object], first: int | None) -> tuple[list[bool], set[int], int]:
    """For each unit whether it differs, before which units something is missing, and how many are in common."""
    if first is None:
        return [False] * len(mine), set(), len(mine)
    # What both begin with is in common in any case, so that the first difference is where it was found.
    matcher = SequenceMatcher(None, base[first:], mine[first:], autojunk=False)
    differs, gaps, common = [True] * len(mine), set(), first
    differs[:first] = [False] * first
    for tag, begin, end, own_begin, own_end in matcher.get_opcodes():
        if tag == "equal":
            differs[first + own_begin : first + own_end] = [False] * (own_end - own_begin)
            common += end - begin
        elif tag == "delete":
            gaps.add(first + own_begin)
    return differs, gaps, common


def _spans(side: _Side, differs: Sequence[bool], gaps: set[int], first: int | None) -> tuple[Span, ...]:
    """The text in stretches; the first difference stands alone."""
    tinted = {unit.piece for unit, differ in zip(side.units, differs, strict=False) if differ}
    missing = {side.units[at].piece for at in gaps if at < len(side.units)}
    framed = side.units[first].piece if first is not None and first < len(differs) and differs[first] else None
    found: list[Span] = []
    for number, text in enumerate(side.pieces):
        span = Span(text, number in tinted, number == framed, number in missing)
        before = found[-1] if found else None
        joins = before is not None and not span.first and not before.first and not span.left_out
        if joins and before is not None and before.differs == span.differs:
            found[-1] = Span(before.text + text, before.differs, before.first, before.left_out)
        else:
            found.append(span)
    if any(at >= len(side.units) for at in gaps):
        found.append(Span("", left_out=True))
    return tuple(found)


def _choice(side: _Side, place: int | None) -> Choice | None:
    if place is None or place >= len(side.units):
        return None
    unit = side.units[place]
    return Choice(side.pieces[unit.piece], unit.probability)

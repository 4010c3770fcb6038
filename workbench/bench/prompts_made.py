"""Prompts made to length from text that ships: chats, questions to documents, summaries and code, the same for every
engine with the same tokenizer.
"""

from __future__ import annotations

import functools
import json
import math
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from workbench.core.data import resource
from workbench.core.errors import BadInputError
from workbench.core.measure.workload import Lengths, Workload

CountTokens = Callable[[str], "int | None"]
"""Tokens of a whole prompt with this text as its message, the chat template's own included; None: not countable."""

_WORD = re.compile(r"\s*\S+")
_CHARACTERS_A_TOKEN = 4.2
"""Where tokens cannot be counted."""
_MOST_COUNTS = 12
_GOOD_COUNTS = 2
"""From this many on, a length within tolerance is taken as it is: counting is a call to the engine's host."""


@dataclass(frozen=True)
class Texts:
    """What ships, by kind."""

    parts: dict[str, tuple[str, ...]]
    titles: tuple[str, ...]
    """Of the passages."""


@functools.cache
def shipped_texts() -> Texts:
    """Raises BadInputError when the installation lacks them."""
    path = resource("workload_text.jsonl")
    parts: dict[str, list[str]] = {}
    titles = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            parts.setdefault(row["kind"], []).append(row["text"])
            if row["kind"] == "passage":
                titles.append(row["title"])
    except (OSError, ValueError, KeyError) as error:
        raise BadInputError(
            "The program's own workload text cannot be read.",
            evidence=f"{path}: {error}",
            fix="Install it again.",
            code="broken-install",
        ) from None
    return Texts({kind: tuple(texts) for kind, texts in parts.items()}, tuple(titles))


def tolerance(tokens: int) -> int:
    """How far a length may be off: 1 %, but 2 tokens at least."""
    return max(2, tokens // 100)


class Drawn:
    """Lengths drawn from a distribution, seeded."""

    def __init__(self, lengths: Lengths, seed: str) -> None:
        self._lengths = lengths
        self._chance = random.Random(seed)  # noqa: S311 - it has to repeat
        self._sigma = self._mu = 0.0
        if lengths.kind == "lognormal" and lengths.mean:
            # Mean m and deviation s of the lengths themselves: sigma^2 = ln(1 + s^2/m^2), mu = ln m - sigma^2 / 2
            variance = math.log1p((lengths.stdev / lengths.mean) ** 2)
            self._sigma, self._mu = math.sqrt(variance), math.log(lengths.mean) - variance / 2

    def __call__(self) -> int:
        lengths, chance = self._lengths, self._chance
        if lengths.kind == "fixed":
            drawn = lengths.mean or 1
        elif lengths.kind == "uniform":
            drawn = chance.randint(lengths.low, lengths.high or lengths.low)
        elif lengths.kind == "normal":
            drawn = chance.gauss(lengths.mean or 1, lengths.stdev)
        elif lengths.kind == "lognormal":
            drawn = chance.lognormvariate(self._mu, self._sigma)
        else:
            drawn = chance.choice(lengths.values)
        if lengths.kind in ("fixed", "values"):
            return max(1, round(drawn))
        return max(lengths.low, min(round(drawn), lengths.high or 10_000_000))


@functools.lru_cache(1024)
def _split(text: str) -> tuple[str, ...]:
    """Words with the blanks before them; the same few texts are asked for over and over."""
    return tuple(_WORD.findall(text))


class Maker:
    """Makes a workload's prompts one by one."""

    def __init__(self, workload: Workload, count: CountTokens | None) -> None:
        self._workload = workload
        self._texts = shipped_texts()
        self._count = count
        self.counted = count is not None
        """Whether tokens could be counted so far; else lengths are by characters."""
        self._characters_a_token = _CHARACTERS_A_TOKEN
        self._tokens_a_word = 1.35
        self._overhead: int | None = None
        self._prefixes: dict[int, str] = {}
        chance = self._chance("numbers")
        self._numbers = chance.sample(range(100_000, 1_000_000), workload.prompts)

    def prompt(self, number: int, tokens: int) -> tuple[str, int]:
        """Text of a prompt and how long it is; near `tokens` unless that is too short for it to be one."""
        chance = self._chance(f"prompt {number}")
        prefix = self.prefix(number % self._workload.prefix_groups)
        heads, body, tail = self._frame(number, chance)
        frames = [(head, tail) for head in heads] + [(heads[-1], ""), ("", "")]
        # A short prompt cannot have everything: the introduction goes first, then the question.
        for head, end in frames:
            bare = self.count(prefix + head + end) if prefix + head + end else self.overhead
            if bare <= tokens - 1:
                break
        else:
            text = prefix or self._words(body, 1)[0]
            return text, self.count(text)
        words = self._words(body, tokens - bare + 8)
        return self._fit(lambda k: prefix + head + "".join(words[:k]) + end, len(words), tokens, bare)

    def prefix(self, group: int) -> str:
        """What all prompts of a group begin with: as many tokens as the workload says, or up to three more."""
        shared = self._workload.shared_prefix_tokens
        if not shared:
            return ""
        if group not in self._prefixes:
            chance = self._chance(f"prefix {group}")
            head = f"Handbook {group + 1}. Answer from the documents alone, and name the one that you used.\n\n"
            words = self._words(self._passages(chance), shared + 8)
            whole = [*_WORD.findall(head), *words]
            wanted = shared + self.overhead
            text, found = self._fit(lambda k: "".join(whole[:k]), len(whole), wanted, self.overhead)
            size = len(_WORD.findall(text))
            while found < wanted and size < len(whole):
                size += 1
                text = "".join(whole[:size])
                found = self.count(text)
            self._prefixes[group] = text + "\n\n"
        return self._prefixes[group]

    @property
    def overhead(self) -> int:
        """Tokens of the chat template itself."""
        if self._overhead is None:
            self._overhead = max(0, self.count("a") - 1)
        return self._overhead

    def count(self, text: str) -> int:
        """Tokens of a prompt; by its characters where nobody can count."""
        if self._count is not None:
            found = self._count(text)
            if found is not None:
                return found
            self._count, self.counted = None, False
            self._overhead = None
        return max(1, round(len(text) / self._characters_a_token))

    def filler(self, seed: str, words: int) -> list[str]:
        """So many words of plain text, each with the blank before it."""
        return self._words(self._passages(self._chance(seed)), words)

    def _chance(self, what: str) -> random.Random:
        return random.Random(f"{self._workload.seed}/{self._workload.kind}/{what}")  # noqa: S311 - it has to repeat

    def _frame(self, number: int, chance: random.Random) -> tuple[list[str], Iterator[str], str]:
        """Beginnings from long to short, endless middle, end. Beginnings differ from the first words on, so that no
        engine finds one prompt in its cache of another.
        """
        name = self._numbers[number % len(self._numbers)]
        parts = self._texts.parts
        kind = self._workload.kind
        if kind == "code":
            return (
                [f"Module number {name} of our tools:\n\n", f"Module {name}:\n"],
                self._shuffled(parts["code"], chance, "\n\n\n"),
                f"\n\n{chance.choice(parts['change'])}",
            )
        if kind == "summarise":
            return (
                [f"Collection number {name}.\n\n", f"{name}: "],
                self._passages(chance),
                f"\n\n{chance.choice(parts['summary'])}",
            )
        if kind == "rag":
            return (
                [f"Request {name}. These documents were found:\n\n", f"{name}: "],
                self._documents(chance),
                f"\n\nQuestion: {chance.choice(parts['lookup'])}",
            )
        return (
            [f"Case {name}. {chance.choice(parts['opener'])}\n\n", f"Case {name}. "],
            self._passages(chance),
            f"\n\n{chance.choice(parts['question'])}",
        )

    def _passages(self, chance: random.Random) -> Iterator[str]:
        return self._shuffled(self._texts.parts["passage"], chance, "\n\n")

    def _documents(self, chance: random.Random) -> Iterator[str]:
        passages, titles = self._texts.parts["passage"], self._texts.titles
        order = list(range(len(passages)))
        place = 0
        while True:
            chance.shuffle(order)
            for index in order:
                place += 1
                yield ("\n\n" if place > 1 else "") + f"[{place}] {titles[index]}\n{passages[index]}"

    @staticmethod
    def _shuffled(parts: tuple[str, ...], chance: random.Random, between: str) -> Iterator[str]:
        order, first = list(parts), True
        while True:
            chance.shuffle(order)
            for part in order:
                yield part if first else between + part
                first = False

    @staticmethod
    def _words(parts: Iterator[str], most: int) -> list[str]:
        words: list[str] = []
        for part in parts:
            words += _split(part)
            if len(words) >= most:
                return words[: max(1, most)]
        return words

    def _fit(self, make: Callable[[int], str], most: int, tokens: int, bare: int) -> tuple[str, int]:
        """The number of words that brings a text nearest to its length, found by secants within brackets."""
        low, low_tokens, high = 0, bare, most
        high_tokens: int | None = None
        best: tuple[int, str, int] | None = None
        guess = max(1, min(most, round((tokens - bare) / self._tokens_a_word)))
        for calls in range(1, _MOST_COUNTS + 1):
            text = make(guess)
            found = self.count(text)
            off = abs(found - tokens)
            if guess >= 20 and found > bare:
                # What was learned of one prompt is the first guess at the next.
                self._tokens_a_word = (found - bare) / guess
            if best is None or off < best[0]:
                best = off, text, found
            if off == 0 or (calls >= _GOOD_COUNTS and best[0] <= tolerance(tokens)):
                break
            if found < tokens:
                low, low_tokens = guess, found
            else:
                high, high_tokens = guess, found
            if high - low <= 1 and (high_tokens is not None or low >= most):
                break
            step = (found - bare) / guess
            aim = guess + round((tokens - found) / max(step, 0.2)) if high_tokens is None else low + round(
                (tokens - low_tokens) * (high - low) / max(1, high_tokens - low_tokens)
            )  # fmt: skip
            guess = max(low + 1, min(aim, high - 1 if high_tokens is not None else high))
        assert best is not None
        return best[1], best[2]

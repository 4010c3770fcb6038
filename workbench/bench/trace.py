"""Traces: requests with the times at which they came, from JSON lines, the layout of Mooncake's traces included.

A line has `timestamp` (milliseconds) or `timestamp_s`, and either a prompt (`prompt`, `text` or `messages`) or
`input_length`, for which text is made; `output_length`; and, in Mooncake's layout, `hash_ids`: one number a block of
the prompt, the same number for the same text, so that shared prefixes are shared again.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from workbench.bench.asks import Prompts, ask_of, digest
from workbench.bench.own_file import content, good_lines, length_of
from workbench.bench.prompts_made import CountTokens, Drawn, Maker
from workbench.bench.target import Ask
from workbench.core.measure.workload import Workload
from workbench.core.messages import ChatTurn

BLOCKS = (512, 16, 32, 64, 128, 256, 1024)
"""Tokens a block of `hash_ids`, likeliest first; Mooncake's have 512."""
FITTED = 1_000
"""Up to so many requests, made prompts are fitted by counting; above, by the ratio found on a sample."""
KEPT_BLOCKS = 20_000
"""Texts of blocks that are kept, some 50 MB; the others are made again when they are asked for."""
_INPUTS = ("input_length", "input_tokens")
_OUTPUTS = ("output_length", "output_tokens", "max_tokens")


@dataclass(frozen=True)
class TraceRow:
    """One request of a trace."""

    at_s: float
    output_tokens: int
    text: str = ""
    messages: tuple[ChatTurn, ...] = ()
    input_tokens: int | None = None
    hash_ids: tuple[int, ...] = ()


def read_trace(path: Path, outputs: Drawn) -> tuple[tuple[TraceRow, ...], tuple[str, ...]]:
    """The requests of a trace in the order of their times, and what to know of them; `outputs` gives the length of an
    answer where a line has none. Raises BadInputError when it cannot be read or too much of it is broken.
    """
    rows, notes = good_lines(path, lambda _, value: _row(value, outputs))
    if any(after.at_s < before.at_s for before, after in itertools.pairwise(rows)):
        rows.sort(key=lambda row: row.at_s)
        notes = (*notes, f"{path.name}: the lines are not in the order of their times; they were sorted.")
    return tuple(rows), notes


def trace_prompts(workload: Workload, count_tokens: CountTokens | None = None) -> Prompts:
    """The requests of a trace. Texts are put together when they are asked for: a trace's prompts may be gigabytes."""
    path = Path(workload.file).expanduser()
    rows, notes = read_trace(path, Drawn(workload.output, f"{workload.seed}/output"))
    maker = Maker(workload.model_copy(update={"prompts": 1, "shared_prefix_tokens": 0}), count_tokens)
    asks = TraceAsks(workload, rows, maker)
    if any(row.hash_ids for row in rows) and asks.block is None:
        notes = (*notes, f"{path.name}: hash_ids do not fit input_length; shared prefixes are not made again.")
    if not maker.counted and any(row.input_tokens for row in rows):
        notes = (*notes, "Tokens could not be counted here: prompts are made to length by their characters.")
    elif asks.made and len(rows) > FITTED:
        notes = (*notes, "Made prompts have about the trace's lengths, within some percent.")
    return Prompts(asks, digest(asks), (None,) * len(rows), notes, endless=False)


class TraceAsks(Sequence[Ask]):
    """Requests of a trace, each made when it is asked for and always the same."""

    def __init__(self, workload: Workload, rows: Sequence[TraceRow], maker: Maker) -> None:
        self._workload, self._rows, self._maker = workload, rows, maker
        made = [row for row in rows if row.input_tokens is not None]
        self.made = len(made)
        self.block = _block_of(made)
        self._fits = len(made) <= FITTED
        self._per_token = 1.0
        self._texts: dict[int, str] = {}
        self._sizes: dict[int, int] = {}
        if made:
            sample = "".join(maker.filler("sample", 800))
            tokens = maker.count(sample) - maker.overhead
            self._per_token = 800 / max(1, tokens)
            if self._fits:
                for number, row in enumerate(rows):
                    if row.input_tokens is not None:
                        self._sizes[number] = self._fitted(number, row)

    @overload
    def __getitem__(self, index: int) -> Ask: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Ask]: ...
    def __getitem__(self, index: int | slice) -> Ask | Sequence[Ask]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if index < 0:
            raise IndexError(index)
        row = self._rows[index]
        text = row.text if row.input_tokens is None else self._text(index, row, self._sizes.get(index))
        return ask_of(self._workload, index, text, row.output_tokens, row.messages, at_s=row.at_s)

    def __len__(self) -> int:
        return len(self._rows)

    def _text(self, number: int, row: TraceRow, last_words: int | None = None) -> str:
        """Whole blocks of what is shared, and a last one cut to length."""
        length = row.input_tokens or 1
        ids = row.hash_ids if self.block else ()
        shared = ids[:-1]
        block = self.block or 0
        rest = max(1, length - len(shared) * block - (0 if shared else self._maker.overhead))
        words = last_words if last_words is not None else max(1, round(rest * self._per_token))
        name = f"block {ids[-1]}" if ids else f"request {number}"
        # A block that is whole is the same for all that name it, also at a prompt's end.
        end = "".join(self._maker.filler(name, words))
        return "".join([*(self._block_text(one) for one in shared), end]).lstrip()

    def _block_text(self, block_id: int) -> str:
        if block_id not in self._texts:
            words = max(1, round((self.block or 1) * self._per_token))
            if len(self._texts) >= KEPT_BLOCKS:
                self._texts.pop(next(iter(self._texts)))
            self._texts[block_id] = " " + "".join(self._maker.filler(f"block {block_id}", words))
        return self._texts[block_id]

    def _fitted(self, number: int, row: TraceRow) -> int:
        """How many words its last block needs, found by counting."""
        wanted = row.input_tokens or 1
        shared = max(0, len(row.hash_ids) - 1) * (self.block or 0) if self.block else 0
        most = max(1, round((wanted - shared) * self._per_token * 1.3) + 64)

        def tokens(words: int) -> int:
            return self._maker.count(self._text(number, row, words))

        return _nearest(tokens, most, wanted)


def _nearest(tokens: Callable[[int], int], most: int, wanted: int) -> int:
    """The number of words whose text comes nearest to its length; `tokens` grows with it."""
    low, high = 1, most
    best = (math.inf, 1)
    while low <= high:
        middle = (low + high) // 2
        found = tokens(middle)
        best = min(best, (abs(found - wanted), middle))
        if found == wanted:
            break
        if found < wanted:
            low = middle + 1
        else:
            high = middle - 1
    return int(best[1])


def _block_of(rows: Sequence[TraceRow]) -> int | None:
    """Tokens a block, such that every row has as many ids as blocks."""
    named = [row for row in rows if row.hash_ids]
    for block in BLOCKS:
        if named and all(-(-(row.input_tokens or 0) // block) == len(row.hash_ids) for row in named):
            return block
    return None


def _row(value: Any, outputs: Drawn) -> TraceRow:
    if not isinstance(value, dict):
        raise ValueError("no object")
    at_s = _time(value)
    found = content(value)
    length = length_of(value, _INPUTS)
    if found is None and length is None:
        raise ValueError("neither a prompt nor input_length")
    drawn = outputs()
    ids = value.get("hash_ids") or ()
    if not isinstance(ids, (list, tuple)) or not all(isinstance(one, int) for one in ids):
        raise ValueError("hash_ids is no list of numbers")
    text, messages = found or ("", ())
    return TraceRow(
        at_s=at_s,
        output_tokens=length_of(value, _OUTPUTS) or drawn,
        text=text,
        messages=messages,
        input_tokens=length if found is None else None,
        hash_ids=tuple(ids) if found is None else (),
    )


def _time(value: dict[str, Any]) -> float:
    for name, scale in (("timestamp", 0.001), ("timestamp_ms", 0.001), ("timestamp_s", 1.0)):
        if value.get(name) is not None:
            number = value[name]
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
                raise ValueError(f"{name} is no number")
            if number < 0:
                raise ValueError(f"{name} is below 0")
            return float(number) * scale
    raise ValueError("no timestamp")

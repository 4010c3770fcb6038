"""A workload becomes requests: the same ones, in the same order, for every engine with the same tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from workbench.bench.asks import Prompts, ask_of, digest
from workbench.bench.own_file import OwnPrompt, read_own
from workbench.bench.prompts_made import CountTokens, Drawn, Maker, tolerance
from workbench.bench.trace import trace_prompts
from workbench.core.measure.workload import Workload

__all__ = ["CountTokens", "Prompts", "make_prompts"]


def make_prompts(workload: Workload, count_tokens: CountTokens | None = None) -> Prompts:
    """The requests of a workload; `count_tokens` gives the length of a whole prompt with this text as its message, the
    chat template included.

    Raises BadInputError for a file that cannot be used.
    """
    if workload.kind == "trace":
        return trace_prompts(workload, count_tokens)
    if workload.kind == "file":
        own, notes = read_own(Path(workload.file).expanduser())
        return _own_prompts(workload, own, notes)
    maker = Maker(workload, count_tokens)
    inputs = Drawn(workload.input, f"{workload.seed}/input")
    outputs = Drawn(workload.output, f"{workload.seed}/output")
    asks, lengths, off = [], [], []
    for number in range(workload.prompts):
        wanted = inputs()
        text, found = maker.prompt(number, wanted)
        asks.append(ask_of(workload, number, text, outputs()))
        lengths.append(found)
        if abs(found - wanted) > tolerance(wanted):
            off.append((wanted, found))
    notes = ()
    if not maker.counted:
        notes = ("Tokens could not be counted here: prompts are made to length by their characters.",)
    elif off:
        wanted, found = max(off, key=lambda pair: abs(pair[1] - pair[0]))
        notes = (
            f"{len(off):,} of {len(asks):,} prompts do not have the length that was asked for, such as {found:,} "
            f"tokens of {wanted:,}"
            + (": the chat template and the shared prefix need more." if found > wanted else "."),
        )
    return Prompts(tuple(asks), digest(asks), tuple(lengths) if maker.counted else (None,) * len(asks), notes)


def _own_prompts(workload: Workload, own: Sequence[OwnPrompt], notes: tuple[str, ...]) -> Prompts:
    outputs = Drawn(workload.output, f"{workload.seed}/output")
    asks = []
    for number, prompt in enumerate(own):
        drawn = outputs()
        asks.append(ask_of(workload, number, prompt.text, prompt.output_tokens or drawn, prompt.messages))
    return Prompts(tuple(asks), digest(asks), (None,) * len(asks), notes)

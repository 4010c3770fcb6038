"""Prompts as requests: what every kind of workload comes to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from workbench.bench.target import Ask
from workbench.core.measure.workload import Workload
from workbench.core.messages import ChatTurn


@dataclass(frozen=True)
class Prompts:
    """The requests of a workload. Calling it with a request's number gives what is asked."""

    asks: Sequence[Ask]
    sha256: str
    """Of all prompts and the lengths of their answers, in order."""
    input_tokens: tuple[int | None, ...] = ()
    """Of each prompt, as it was counted; None: estimated or not counted."""
    notes: tuple[str, ...] = ()
    """What to know of them, in words."""
    endless: bool = True
    """After the last one they are asked again from the first on; a trace ends."""

    def __call__(self, number: int) -> Ask:
        """Raises IndexError after the end of a trace."""
        return self.asks[number % len(self.asks) if self.endless else number]

    def __len__(self) -> int:
        return len(self.asks)

    def note_for(self, requests: int) -> str:
        """What to say of a point with so many requests; empty: nothing."""
        if not self.endless or requests <= len(self.asks):
            return ""
        return (
            f"{requests:,} requests of {len(self.asks):,} different prompts: those asked again may be found in the "
            "engine's prefix cache."
        )


def ask_of(
    workload: Workload,
    number: int,
    text: str,
    output_tokens: int,
    messages: tuple[ChatTurn, ...] = (),
    at_s: float | None = None,
) -> Ask:
    """A request as the workload sends it: a conversation, a message or plain text."""
    turns = messages or ((ChatTurn(role="user", content=text),) if workload.chat else None)
    return Ask(
        prompt=number,
        max_tokens=output_tokens,
        messages=turns,
        text=text if turns is None else None,
        ignore_eos=workload.fixed_output,
        temperature=workload.temperature,
        seed=(workload.seed + number) % 2**31 if workload.temperature > 0 else None,
        at_s=at_s,
    )


def digest(asks: Iterable[Ask]) -> str:
    """SHA-256 of prompts and answers' lengths, in order."""
    found = hashlib.sha256()
    for ask in asks:
        pieces = [(turn.role, turn.content) for turn in ask.messages] if ask.messages else [("", ask.text or "")]
        for role, text in pieces:
            data = text.encode()
            found.update(f"{role} {len(data)}\n".encode())
            found.update(data)
        found.update(f"\n{ask.max_tokens}\n".encode())
    return found.hexdigest()

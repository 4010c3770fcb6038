"""One answer of onnxruntime-genai, a run of the model a call: pieces of the prompt, then tokens."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

_PIECE_SECONDS = 0.25
_LEAST_PIECE = 64


class Pace:
    """How many tokens of a prompt are computed at a time: at most `most`, fewer where that takes too long.

    Small pieces cost little speed (64 against 256 tokens: a tenth, on a CPU) and bound what an abort and other
    requests wait for; of a large model on a CPU 256 tokens take half a minute.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._next = most

    def piece(self, left: int) -> int:
        """Tokens to compute next of a prompt with `left` to go; all of them where `most` is 0."""
        return min(left, self._next) if self._most else left

    def note(self, tokens: int, seconds: float) -> None:
        """A piece took so long."""
        if tokens >= min(_LEAST_PIECE, self._most) and seconds > 0:
            fitting = int(tokens / seconds * _PIECE_SECONDS) // _LEAST_PIECE * _LEAST_PIECE
            self._next = min(self._most, max(_LEAST_PIECE, fitting))


class Answering:
    """One request in the library's hands."""

    def __init__(self, generator: Any, prompt: Sequence[int], pace: Pace, logprobs: bool) -> None:
        self._generator, self._logprobs = generator, logprobs
        self._prompt, self._pace = list(prompt), pace
        self._fed = 0
        self._again: int | None = None
        self.cached_tokens = 0
        """Tokens whose keys and values are held."""
        self.prefill_s = 0.0
        self.decode_s = 0.0
        self.logprob: float | None = None
        """Of the last token, in nats, by the model's own distribution: before temperature, penalties and cuts."""

    def step(self) -> int | None:
        """One run of the model; the new token, None within the prompt. Raises RuntimeError in the library's words."""
        started = time.monotonic()
        prefill = self._fed < len(self._prompt)
        try:
            return self._step()
        finally:
            seconds = time.monotonic() - started
            if prefill:
                self.prefill_s += seconds
            else:
                self.decode_s += seconds

    def output(self, name: str) -> Any:
        """What the model's last run wrote under this name, as a numpy array."""
        return self._generator.get_output(name)

    def _step(self) -> int | None:
        import numpy as np

        if self._fed < len(self._prompt):
            started = time.monotonic()
            piece = self._prompt[self._fed : self._fed + self._pace.piece(len(self._prompt) - self._fed)]
            self._generator.append_tokens(np.array(piece, dtype=np.int32))
            self._pace.note(len(piece), time.monotonic() - started)
            self._fed += len(piece)
            self.cached_tokens = self._fed
            if self._fed < len(self._prompt):
                return None
        else:
            if self._again is not None:
                self._generator.append_tokens(np.array([self._again], dtype=np.int32))
                self._again = None
            self.cached_tokens += 1
        logits = np.array(self._generator.get_logits(), dtype=np.float32).reshape(-1) if self._logprobs else None
        self._generator.generate_next_token()
        token = int(self._generator.get_next_tokens()[0])
        if logits is not None:
            highest = logits.max()
            self.logprob = float(logits[token] - highest - np.log(np.exp(logits - highest).sum()))
        if self._generator.is_done():
            # The library ends with an end token and leaves it out of the sequence; whoever goes on after it says so
            # by appending it.
            self._again = token
        return token

"""An answer while it streams: its text, its responses, and the figures so far, each kept up in O(new)."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.core import metrics
from workbench.core.answer import Piece
from workbench.core.metrics import Chunk
from workbench.ui.pages.playground.talk.figures import Figure, live_figures


class LiveAnswer:
    """`t0_s` is when the request was handed over, on the clock of the pieces; None: TTFT is told at the end."""

    def __init__(self, t0_s: float | None = None, input_tokens: int | None = None, note: str = "") -> None:
        self.note = note
        self.pieces: list[Piece] = []
        self._t0_s, self._input_tokens = t0_s, input_tokens
        self._texts: list[str] = []
        self._first: Chunk | None = None
        self._last: Chunk | None = None
        self._tokens = 0

    @property
    def text(self) -> str:
        if len(self._texts) > 1:
            self._texts = ["".join(self._texts)]
        return self._texts[0] if self._texts else ""

    @property
    def tokens(self) -> int:
        """n so far."""
        return self._tokens

    def add(self, text: str, pieces: Sequence[Piece]) -> None:
        if text:
            self._texts.append(text)
        self.pieces.extend(pieces)
        for piece in pieces:
            if piece.tokens > 0:
                self._tokens += piece.tokens
                if self._first is None:
                    self._first = Chunk(piece.t_s, piece.tokens)
                else:
                    self._last = Chunk(piece.t_s, self._tokens - self._first.tokens)

    def figures(self) -> tuple[Figure, ...]:
        """Of what has come: the speed by the first and the last response alone, which is all that it needs."""
        first, last = self._first, self._last
        ttft = metrics.ttft_ms(self._t0_s, (first,)) if self._t0_s is not None and first is not None else None
        tok_s = metrics.output_tok_s((first, last)) if first is not None and last is not None else None
        begun = bool(self._texts or self._tokens)
        return live_figures(ttft, tok_s, self._input_tokens, self._tokens, begun=begun, note=self.note)

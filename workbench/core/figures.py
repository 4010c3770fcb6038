"""Figures of one answer, for whatever holds its raw timings: computed when asked for, never stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from workbench.core import metrics
from workbench.core.metrics import Chunk


class Timed(Protocol):
    """Raw timings of an answer, on one monotonic clock."""

    @property
    def t0_s(self) -> float:
        """When the request was handed to the transport."""

    @property
    def chunks(self) -> Sequence[Chunk]:
        """Every response's time and token count."""


class Figures:
    """Mixed into what has `t0_s` and `chunks`; the formulas are those of `metrics`."""

    @property
    def ttft_ms(self: Timed) -> float | None:
        return metrics.ttft_ms(self.t0_s, self.chunks)

    @property
    def itl_ms(self: Timed) -> float | None:
        return metrics.itl_ms(self.chunks)

    @property
    def latency_ms(self: Timed) -> float | None:
        return metrics.latency_ms(self.t0_s, self.chunks)

    @property
    def second_token_ms(self: Timed) -> float | None:
        return metrics.second_token_ms(self.chunks)

    @property
    def output_tok_s(self: Timed) -> float | None:
        return metrics.output_tok_s(self.chunks)

    @property
    def chunk_gaps_ms(self: Timed) -> list[float]:
        return metrics.chunk_gaps_ms(self.chunks)

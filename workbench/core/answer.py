"""One answer of an engine as it is kept: pieces, raw timings and circumstances; figures are computed, never stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from workbench.core import metrics
from workbench.core.errors import Failure
from workbench.core.figures import Figures
from workbench.core.messages import Drafted, Finished, FinishReason, Sampling, Tokens, Usage
from workbench.core.metrics import Chunk

CountSource = Literal["engine ids", "server usage", "re-tokenised"]


class Piece(NamedTuple):
    """One response of a streaming answer, as it came."""

    t_s: float
    """When it arrived, on the clock of `AnswerRecord.t0_s`."""
    tokens: int
    text: str
    ids: tuple[int, ...] = ()
    """Empty where the engine does not report them."""
    logprobs: tuple[float, ...] | None = None
    """Natural logarithm of each token's probability; None when not asked for or not reported."""


class EngineRef(BaseModel):
    """Which engine answered, in words that outlive the engine."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    toolchain: str = ""
    precision: str = ""
    key: str = ""
    """The artefact's key; empty for an endpoint."""

    @property
    def words(self) -> str:
        inner = ", ".join(part for part in (self.toolchain, self.precision) if part)
        return f"{self.name} ({inner})" if inner else self.name


class AnswerRecord(Figures, BaseModel):
    """How an answer came to be. What arrived stays, also when it was aborted or failed."""

    model_config = ConfigDict(extra="ignore", frozen=True, ser_json_inf_nan="strings")

    reason: FinishReason
    failure: Failure | None = None
    """With reason `error`: what went wrong."""
    t0_s: float = 0.0
    """When the request was handed to the transport, on the client's monotonic clock of that run."""
    pieces: tuple[Piece, ...] = ()
    count_source: CountSource = "engine ids"
    usage: Usage | None = None
    """As the engine reports it."""
    engine_timings_ms: dict[str, float] = Field(default_factory=dict)
    sampling: Sampling = Sampling()
    engine: EngineRef | None = None
    kv_blocks_used: int | None = None
    """The most KV blocks in use that the engine reported while it answered, other requests' included."""
    kv_blocks_total: int | None = None
    drafted: Drafted | None = None
    """What speculative decoding did for it; None: not reported."""

    @field_validator("sampling", mode="before")
    @classmethod
    def _known_sampling(cls, value: Any) -> Any:
        """A later version's settings do not make an answer unreadable."""
        return {k: v for k, v in value.items() if k in Sampling.model_fields} if isinstance(value, dict) else value

    @classmethod
    def from_events(
        cls,
        events: Iterable[Tokens | Finished],
        *,
        t0_s: float,
        chunks: Sequence[Chunk],
        sampling: Sampling,
        engine: EngineRef | None = None,
        failure: Failure | None = None,
        kv_blocks_used: int | None = None,
        kv_blocks_total: int | None = None,
        count_source: CountSource = "engine ids",
    ) -> AnswerRecord:
        """The record of a finished request; `chunks` are the timings of its token events, in the same order."""
        tokens, end = [], None
        for event in events:
            if isinstance(event, Tokens):
                tokens.append(event)
            else:
                end = event
        # Not validated: all is of our own making, and a long answer would hold up every other thread meanwhile.
        return cls.model_construct(
            reason=end.reason if end is not None else "error",
            failure=failure,
            t0_s=round(t0_s, 6),
            pieces=tuple(
                Piece(
                    round(chunk.t_s, 6),
                    chunk.tokens,
                    event.text,
                    tuple(event.ids),
                    None if event.logprobs is None else tuple(event.logprobs),
                )
                for event, chunk in zip(tokens, chunks, strict=False)
            ),
            count_source=(end.count_source if end is not None else None) or count_source,
            usage=end.usage if end is not None else None,
            engine_timings_ms=dict(end.timings) if end is not None else {},
            sampling=sampling,
            engine=engine,
            kv_blocks_used=kv_blocks_used,
            kv_blocks_total=kv_blocks_total,
            drafted=end.drafted if end is not None else None,
        )

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """Every response's time and token count."""
        return tuple(Chunk(piece.t_s, piece.tokens) for piece in self.pieces)

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(token for piece in self.pieces for token in piece.ids)

    @property
    def logprobs(self) -> tuple[float, ...] | None:
        found = tuple(value for piece in self.pieces for value in piece.logprobs or ())
        return found or None

    @property
    def input_tokens(self) -> int | None:
        return self.usage.input_tokens if self.usage is not None else None

    @property
    def output_tokens(self) -> int | None:
        """n: tokens that came; where none could be counted, what the engine says it made, else None."""
        counted = metrics.output_tokens(self.chunks)
        if counted or not any(piece.text for piece in self.pieces):
            return counted
        return self.usage.output_tokens if self.usage is not None else None

    @property
    def cut(self) -> bool:
        """Whether a limit ended it, and not the model."""
        return self.reason == "length"

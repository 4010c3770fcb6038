"""What a row says of an answer beside its text: that there is none, that it was refused, why no probabilities."""

from __future__ import annotations

from workbench.core.conversation import Turn
from workbench.core.errors import Failure
from workbench.jobs.generation import BAD_REQUEST

NOTHING_SAID = "The model ended at once."


def nothing_said(turn: Turn) -> bool:
    """Whether the model ended its turn, of its own accord, without a word."""
    answer = turn.answer
    ended = answer is not None and answer.reason == "stop" and answer.failure is None
    return turn.role == "assistant" and ended and not turn.text.strip()


def was_refused(turn: Turn, text: str, failure: Failure | None) -> bool:
    """Whether the engine took nothing of the request: loading it again would not help. `text`: what came."""
    answer = turn.answer
    began = bool(text) or (answer is not None and any(piece.tokens for piece in answer.pieces))
    ended = answer is None or answer.reason == "error"
    return failure is not None and failure.code == BAD_REQUEST and ended and not began


def why_no_scale(turn: Turn, streaming: bool, has_tokens: bool, engine_words: str) -> str:
    """Why an answer's tokens have no log-probabilities; `engine_words`: who made it, where it does not say."""
    answer = turn.answer
    if streaming:
        return "no log-probabilities so far"
    if answer is not None and has_tokens and not answer.sampling.logprobs:
        return "not asked for: log-probabilities were switched off"
    engine = answer.engine if answer is not None else None
    by = (engine.toolchain or engine.name if engine is not None else "") or engine_words or "the engine"
    return f"{'log-probabilities' if has_tokens else 'tokens'} not reported by {by}"

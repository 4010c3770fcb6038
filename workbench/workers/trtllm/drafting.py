"""Speculative decoding of a TensorRT-LLM engine: its mode is built in, what it searches with is chosen at load.

Draft-target engines run here without guesses: the engine API takes no second model. Triton's BLS model drives both.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from workbench.core.messages import Drafted
from workbench.core.speculative import lookahead_draft_len
from workbench.workers.common import first_line
from workbench.workers.hosts.drafting import DraftCount
from workbench.workers.protocol import WorkerError
from workbench.workers.trtllm.common import EngineConfig

_BUILT = {1: "", 2: "draft_tokens_external", 4: "medusa", 8: "lookahead_decoding", 16: "explicit_draft_tokens",
          32: "eagle"}  # fmt: skip
"""build_config.speculative_decoding_mode -> trtllm-build's name of it."""
_WANTS = {"lookahead": "lookahead_decoding", "medusa": "medusa", "eagle": "eagle"}


class DraftSettings(BaseModel):
    """How an engine that was built for guesses makes them."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    mode: Literal["lookahead", "medusa", "eagle"]
    draft_tokens: int | None = Field(default=None, gt=0)
    """Nodes of the tree; None: as many as the engine was built for."""
    window_size: int = Field(default=4, gt=0)
    ngram_size: int = Field(default=3, gt=0)
    verification_set: int = Field(default=4, gt=0)
    heads: int | None = Field(default=None, gt=0)
    choices: list[list[int]] | None = None
    """The tree as a list of paths; None: the engine's own."""


def built_mode(config: EngineConfig) -> str:
    """trtllm-build's name of what the engine was built for; empty: nothing."""
    mode = config.build.get("speculative_decoding_mode")
    return _BUILT.get(mode, str(mode)) if isinstance(mode, int) else str(mode or "").lower()


def speculative_config(config: EngineConfig, settings: DraftSettings | None, folder: str) -> Any:
    """The library's `speculative_config`; None without guesses.

    Raises WorkerError `bad-settings` where the engine was built for another mode, or for fewer guesses.
    """
    if settings is None:
        return None
    built, room = built_mode(config), config.build.get("max_draft_len")
    if built != _WANTS[settings.mode]:
        raise WorkerError(
            f"the engine was not built for speculative decoding by {settings.mode}",
            code="bad-settings",
            cause=f"built for {built or 'none'}",
            hint="Build it with speculative.mode set, or load it with the mode that it has.",
        )
    room = room if isinstance(room, int) else 0
    wanted = settings.draft_tokens or room
    if settings.mode == "lookahead":
        wanted = lookahead_draft_len(settings.window_size, settings.ngram_size, settings.verification_set)
    if wanted > room:
        raise WorkerError(
            f"the engine was built for {room} draft tokens a pass, {wanted} are asked for",
            code="bad-settings",
            cause=f"max_draft_len {room}, speculative.mode {settings.mode}",
            hint="Ask for fewer (smaller window, n-gram or verification set), or build the engine for more.",
        )
    try:
        return _made(settings, wanted, folder)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise WorkerError(
            "TensorRT-LLM does not take the settings of speculative decoding",
            code="bad-settings",
            cause=first_line(error),
            hint="Leave speculative.choices and the sizes out, so that the engine's own are taken.",
        ) from error


def _made(settings: DraftSettings, draft_len: int, folder: str) -> Any:
    if settings.mode == "lookahead":
        from tensorrt_llm.llmapi import LookaheadDecodingConfig

        return LookaheadDecodingConfig(
            max_window_size=settings.window_size,
            max_ngram_size=settings.ngram_size,
            max_verification_set_size=settings.verification_set,
        )
    if settings.mode == "medusa":
        from tensorrt_llm.llmapi import MedusaDecodingConfig

        heads = {} if settings.heads is None else {"num_medusa_heads": settings.heads}
        return MedusaDecodingConfig(max_draft_len=draft_len, medusa_choices=settings.choices, **heads)
    from tensorrt_llm.llmapi import EagleDecodingConfig

    # 1.2's name is speculative_model_dir, later ones dropped its end. It is asked for with an engine too, and not read.
    fields = EagleDecodingConfig.model_fields
    name = "speculative_model_dir" if "speculative_model_dir" in fields else "speculative_model"
    return EagleDecodingConfig(max_draft_len=draft_len, eagle_choices=settings.choices, **{name: folder})


def count_record(count: DraftCount, record: dict[str, Any]) -> None:
    """Add what an iteration record says of guesses; nothing where it says nothing."""
    stats = record.get("specDecodingStats")
    if not isinstance(stats, dict):
        return
    drafted, accepted, requests = (
        stats.get(name) for name in ("numDraftTokens", "numAcceptedTokens", "numRequestsWithDraftTokens")
    )
    if isinstance(drafted, int) and isinstance(accepted, int) and accepted >= 0 and drafted >= 0:
        count.add_all(accepted, drafted, requests if isinstance(requests, int) else None)


def drafted_of(output: Any) -> Drafted | None:
    """What the library measured of one answer's guesses; None: not reported."""
    found = getattr(getattr(output, "request_perf_metrics", None), "speculative_decoding", None)
    accepted, drafted = (getattr(found, name, None) for name in ("total_accepted_draft_tokens", "total_draft_tokens"))
    if not isinstance(accepted, int) or not isinstance(drafted, int) or not (accepted or drafted):
        return None
    return Drafted(accepted_tokens=accepted, draft_tokens=drafted or None)

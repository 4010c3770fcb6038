"""Speculative decoding in OpenVINO GenAI: a second engine that guesses, or n-grams of the prompt.

The library counts guesses too, but tells them of `generate` alone, which serves one batch to its end; a host steps.
So they are counted here, by the library's own rules: a pass takes min(N, room - 1) guesses, where room is what the
answer may still get, brings those that were accepted and one token more, and the pass that ends an answer is left out,
since its guesses past the end could not be kept. One thing cannot be seen: a draft stops at an end token of its own,
so that a pass in which the engine refused that token counts a few guesses too many.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from workbench.workers.common import first_line, read_json
from workbench.workers.hosts.common import Request
from workbench.workers.hosts.drafting import DraftCount
from workbench.workers.protocol import WorkerError

_NO_TOKEN = 2**31 - 1
"""An id that no vocabulary has."""


class DraftSettings(BaseModel):
    """How guesses are made."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    mode: Literal["draft_target", "prompt_lookup"]
    draft_tokens: int = Field(default=5, gt=0)
    """Most guesses for one pass."""
    ngram_size: int = Field(default=3, gt=0)
    """prompt_lookup: longest run of tokens that is looked up."""

    @property
    def counts_drafts(self) -> bool:
        """Whether it is known how many guesses a pass took: a lookup may find none, and does not say."""
        return self.mode == "draft_target"


def configure(config: Any, settings: DraftSettings | None) -> None:
    """Ask for guesses in a request's GenerationConfig; with a draft the library takes no request without."""
    if settings is None:
        return
    config.num_assistant_tokens = settings.draft_tokens
    if settings.mode == "prompt_lookup":
        config.max_ngram_size = settings.ngram_size
    elif config.ignore_eos:
        # The library lets the engine run on past an end token, but ends the draft's guesses there all the same.
        config.eos_token_id = _NO_TOKEN
        config.stop_token_ids = {_NO_TOKEN}


def pipeline_properties(
    settings: DraftSettings | None, draft: Path | None, scheduler: Any, device: str
) -> dict[str, Any]:
    """What the pipeline is opened with beside the engine's own properties.

    The draft gets a KV pool of as many blocks as the engine has, so that both hold the same requests.
    Raises WorkerError `bad-settings`, `bad-draft`.
    """
    if settings is None:
        return {}
    if settings.mode == "prompt_lookup":
        return {"prompt_lookup": True}
    if draft is None:
        raise WorkerError(
            "speculative decoding by draft_target has no draft",
            code="bad-settings",
            cause="no draft engine was named",
            hint="Name one in speculative.draft, or set speculative.mode to none.",
        )
    if not (draft / "openvino_model.xml").is_file():
        raise WorkerError(
            "the draft's folder holds no OpenVINO engine",
            code="bad-draft",
            cause=f"no openvino_model.xml in {draft}",
            hint="Build it, or set speculative.mode to none.",
        )
    import openvino_genai

    facts = draft_facts(draft)
    built = facts.get("properties")
    own = dict(built) if isinstance(built, dict) else {}
    try:
        return {"draft_model": openvino_genai.draft_model(str(draft), device, scheduler_config=scheduler, **own)}
    except (RuntimeError, ValueError, TypeError) as error:
        raise WorkerError(
            "OpenVINO GenAI cannot load the draft",
            code="bad-draft",
            cause=f"{draft}: {first_line(error)}",
            hint="Build it again (a full disk or a broken copy leaves such files), or set speculative.mode to none.",
        ) from error


def draft_facts(draft: Path) -> dict[str, Any]:
    """engine.json of a draft; {} where it has none."""
    return read_json(draft / "engine.json") if (draft / "engine.json").is_file() else {}


def count_pass(settings: DraftSettings, request: Request, new: int, counts: tuple[DraftCount, ...]) -> None:
    """Count a pass that brought `new` tokens and did not end the answer; to be called before they are noted.

    The first tokens of an answer come of its prompt alone.
    """
    if not request.output_tokens or new < 1:
        return
    room = int(request.config.max_new_tokens) - request.output_tokens
    drafted = max(min(settings.draft_tokens, room - 1), 0)
    if not drafted:
        return
    for count in counts:
        count.add(new - 1, drafted if settings.counts_drafts else None)

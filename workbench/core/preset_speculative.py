"""[speculative] of a preset: tokens that are guessed, and then checked by the engine in one pass."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

from pydantic import field_validator, model_validator

from workbench.core.preset_base import PresetTable, conflict, preset_field

SpeculativeMode = Literal["none", "draft_target", "prompt_lookup", "lookahead", "medusa", "eagle"]


class SpeculativeTable(PresetTable):
    """[speculative]"""

    mode: SpeculativeMode = preset_field(
        "none",
        "Speculative decoding",
        "Guess several tokens and have the engine check them in one pass; answers stay those of the engine, but where "
        "two tokens are all but equally likely and rounding decides. "
        "draft_target: a smaller engine guesses. prompt_lookup: the next words of an earlier place with the same "
        "words. lookahead: the engine's own n-grams. medusa, eagle: heads trained for the model.",
    )
    draft: str | None = preset_field(
        None,
        "Draft",
        "draft_target: the draft's engine folder, or a precision (int4) for the same model at that precision, which is "
        "then built too. medusa, eagle: the folder of the trained heads; relative to the preset's own folder. "
        "None: no draft.",
        min_length=1,
        max_length=4096,
        kind="path",
    )
    draft_tokens: int | None = preset_field(
        None,
        "Draft tokens",
        "Most tokens that are guessed for one pass. None: the mode's own, 5 for draft_target and prompt_lookup.",
        unit="tokens",
        ge=1,
        le=256,
    )
    ngram_size: int | None = preset_field(
        None,
        "N-gram size",
        "prompt_lookup: longest run of tokens that is looked up. lookahead: tokens of an n-gram. None: 3.",
        unit="tokens",
        ge=1,
        le=64,
        rare=True,
    )
    window_size: int | None = preset_field(
        None,
        "Lookahead window",
        "lookahead: n-grams that are made in one pass. None: 4.",
        unit="n-grams",
        ge=1,
        le=64,
        rare=True,
    )
    verification_set: int | None = preset_field(
        None,
        "Verification set",
        "lookahead: n-grams that are checked in one pass. None: 4.",
        unit="n-grams",
        ge=1,
        le=64,
        rare=True,
    )
    heads: int | None = preset_field(
        None,
        "Heads",
        "medusa: how many heads the folder holds. eagle: how deep its tree is. None: 4.",
        unit="heads",
        ge=1,
        le=64,
        rare=True,
    )
    choices: str | None = preset_field(
        None,
        "Tree",
        "medusa, eagle: the tree of guesses as a JSON list of paths, [[0], [0, 0], [1]]. None: the engine's own.",
        min_length=2,
        max_length=20_000,
        rare=True,
    )

    @field_validator("choices")
    @classmethod
    def _paths(cls, value: str | None) -> str | None:
        if value is not None:
            tree_paths(value)
        return value

    @model_validator(mode="after")
    def _what_the_mode_takes(self) -> SpeculativeTable:
        for name, modes in _TAKEN_BY.items():
            if self.mode != "none" and getattr(self, name) is not None and self.mode not in modes:
                raise conflict(
                    name, f"speculative.{name} means nothing to {self.mode}; it is for {' and '.join(modes)}"
                )
        return self


_TAKEN_BY: Mapping[str, tuple[SpeculativeMode, ...]] = {
    "draft": ("draft_target", "medusa", "eagle"),
    "draft_tokens": ("draft_target", "prompt_lookup", "medusa", "eagle"),
    "ngram_size": ("prompt_lookup", "lookahead"),
    "window_size": ("lookahead",),
    "verification_set": ("lookahead",),
    "heads": ("medusa", "eagle"),
    "choices": ("medusa", "eagle"),
}
"""Which modes a key of [speculative] means something to."""


def tree_paths(text: str) -> list[list[int]]:
    """The paths of `speculative.choices`. Raises PydanticCustomError in words."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    paths = isinstance(found, list) and all(
        isinstance(path, list) and path and all(type(place) is int and 0 <= place < 1000 for place in path)
        for path in found
    )
    if not paths or not found:
        raise conflict("", "speculative.choices is not a JSON list of paths, such as [[0], [0, 0], [1]]")
    return [list(path) for path in found]

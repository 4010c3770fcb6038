"""The [build.flags] of the TensorRT-RTX toolchain: targets, optimisation profiles, and what the builder may do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.core.errors import BadInputError

PROFILES = ("prefill+decode", "one")
DEFAULT_OPT_PROMPT = 512


@dataclass(frozen=True)
class Flag:
    """One flag: its default, what it takes in words, and what it is for."""

    default: Any
    wanted: str
    help: str


FLAGS: Mapping[str, Flag] = {
    "targets": Flag(
        None,
        "a list of compute capabilities such as 8.9, GPUs by name, or this",
        "GPUs that the engine is built for; several cost no room. Default: the preset's GPU, else this machine's.",
    ),
    "profiles": Flag(
        PROFILES[0],
        f"one of {', '.join(PROFILES)}",
        "prefill+decode: one optimisation profile for prompts and one for single tokens, each with its own kernels "
        "and weights laid out for them; one: a profile for both, in about six tenths of the room.",
    ),
    "opt_prompt": Flag(
        DEFAULT_OPT_PROMPT, "a whole number from 1 to 131072", "Prompt length that kernels are chosen for, in tokens."
    ),
    "weight_streaming": Flag(False, "true or false", "Weights may stay in host memory and be read as they are needed."),
    "strip_weights": Flag(False, "true or false", "Leave weights out of the engine; it is refitted when it is loaded."),
    "optimization_level": Flag(None, "a whole number from 0 to 5", "Higher builds longer; None: the builder's own."),
    "workspace_gib": Flag(None, "a number above 0 to 1024", "Most scratch memory of a layer, in GiB; None: no limit."),
}

_NO_CACHE = (
    "TensorRT-RTX has no timing cache: since 1.2 it does nothing there, as nothing is timed when an engine is built. "
    "Equal engines are reused by the workbench."
)


def read_flags(given: Mapping[str, Any]) -> dict[str, Any]:
    """All flags with their values, targets left out. Raises BadInputError for one that is not known, or whose value
    it does not take."""
    for name, value in given.items():
        if "timing_cache" in name.lower().replace("-", "_"):
            raise BadInputError(
                f"build.flags.{name[:60]} is not offered.", evidence=_NO_CACHE, fix="Leave it out.", code="no-such-flag"
            )
        if name not in FLAGS:
            near = difflib.get_close_matches(name, FLAGS, n=1)
            raise BadInputError(
                f"The TensorRT-RTX toolchain has no flag {name[:60]!r}.",
                evidence=f"it has: {', '.join(FLAGS)}",
                fix=f"Did you mean build.flags.{near[0]}?" if near else "Leave it out.",
                code="no-such-flag",
            )
        if not _takes(name, value):
            raise BadInputError(
                f"build.flags.{name} cannot be {str(value)[:60]!r}.",
                evidence=f"it must be {FLAGS[name].wanted}",
                code="bad-flag",
            )
    return {name: given.get(name, flag.default) for name, flag in FLAGS.items() if name != "targets"}


def target_words(given: Mapping[str, Any]) -> tuple[str, ...]:
    """The words of `targets`, each once; a text may name several with commas between."""
    value = given.get("targets")
    items = value if isinstance(value, list) else [] if value is None else [value]
    words = [_spelt(part.strip()) for item in items for part in str(item).split(",")]
    return tuple(dict.fromkeys(word for word in words if word))


def _spelt(word: str) -> str:
    """A compute capability as CUDA's tools write it, sm_89 or 89, with a dot."""
    match = re.fullmatch(r"(?:sm_?|compute_)?(\d{1,2})(\d)", word.lower())
    return f"{match[1]}.{match[2]}" if match else word


def _takes(name: str, value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if name == "targets":
        items = value if isinstance(value, list) else [value]
        plain = all(isinstance(item, str | float | int) and not isinstance(item, bool) for item in items)
        return plain and bool(target_words({"targets": value}))
    if name == "profiles":
        return value in PROFILES
    if name == "opt_prompt":
        return whole and 1 <= value <= 131072
    if name == "optimization_level":
        return whole and 0 <= value <= 5
    if name == "workspace_gib":
        return number and 0 < value <= 1024
    return isinstance(value, bool)

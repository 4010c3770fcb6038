"""Sampling settings as a person sets them: titles, help, limits, and which value means "leave it out"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from workbench.core.messages import Sampling


@dataclass(frozen=True)
class SamplingField:
    """One setting. `low` to `high` is what a slider covers; what may be typed is the schema's to say."""

    name: str
    title: str
    help: str
    low: float
    high: float
    decimals: int
    start: float
    """What stands there at first."""
    neutral: float | None = None
    """The value that changes nothing and is not sent; None: it is always sent."""


FIELDS: tuple[SamplingField, ...] = (
    SamplingField(
        "temperature",
        "Temperature",
        "How evenly tokens are drawn; 0 always takes the likeliest (greedy).",
        0.0,
        2.0,
        2,
        0.7,
    ),
    SamplingField(
        "top_p",
        "Top-p",
        "Draw from the likeliest tokens that hold this share of the probability; 1 is off.",
        0.01,
        1.0,
        2,
        0.95,
        1.0,
    ),
    SamplingField("top_k", "Top-k", "Draw from this many of the likeliest tokens; 0 is off.", 0, 200, 0, 0, 0),
    SamplingField(
        "min_p",
        "Min-p",
        "Leave out tokens below this share of the likeliest one's probability; 0 is off.",
        0.0,
        0.5,
        2,
        0.0,
        0.0,
    ),
    SamplingField(
        "repetition_penalty",
        "Repetition penalty",
        "Above 1 makes tokens that came already less likely; 1 is off.",
        0.8,
        1.5,
        2,
        1.0,
        1.0,
    ),
    SamplingField(
        "max_tokens", "Max tokens", "Longest answer; the engine's own limits may end it earlier.", 16, 2048, 0, 512
    ),
)
BY_NAME: Mapping[str, SamplingField] = {field.name: field for field in FIELDS}


class SamplingError(ValueError):
    """A value that cannot be sent; the text is for people, `name` is the field's."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(words)
        self.name = name


def to_sampling(values: Mapping[str, Any], supported: frozenset[str] | None = None) -> Sampling:
    """Values by field name as a request's settings. Neutral ones, and those that the engine does not take
    (`supported` None: not known), are left out. Raises SamplingError that names the first wrong one.
    """
    sent = {}
    for name, value in values.items():
        field = BY_NAME.get(name)
        off = field is not None and field.neutral is not None and value == field.neutral
        if not off and (supported is None or name in supported):
            sent[name] = value
    try:
        return Sampling(**sent)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        title = BY_NAME[name].title if name in BY_NAME else name.replace("_", " ").capitalize()
        value, most = sent.get(name), limits_words(name)
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        words = f"{title} is {most}; {shown} is not." if most else f"{title} cannot be {shown}."
        raise SamplingError(name, words) from error


def limits_words(name: str) -> str:
    """What the schema lets a setting be: `from 0 to 10`, `above 0`; empty where it sets no limits."""
    found: dict[str, float] = {}
    info = Sampling.model_fields.get(name)
    for limit in info.metadata if info is not None else ():
        for kind in ("ge", "gt", "le"):
            if (value := getattr(limit, kind, None)) is not None:
                found[kind] = value
    field = BY_NAME.get(name)
    off = field.neutral if field is not None else None
    low, high = found.get("ge"), found.get("le")
    if low is not None and high is not None:
        words = f"from {low:g} to {high:g}"
    elif low is not None:
        words = f"{low:g} or more"
    elif "gt" in found:
        words = f"above {found['gt']:g}" + (f" and at most {high:g}" if high is not None else "")
    else:
        return ""
    beyond = off is not None and low is not None and off < low
    return f"{words}, or {off:g} for off" if beyond else words

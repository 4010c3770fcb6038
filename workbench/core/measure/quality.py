"""Quality of a variant against its baseline, as it is written down. Definitions are those of the metrics."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from workbench.core.errors import Failure
from workbench.core.measure.estimate import Estimate

QUALITY_SCHEMA = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="null")


class TokenChoice(_Frozen):
    """What a model would say at one position."""

    text: str
    probability: float
    runner_up: str = ""
    runner_up_probability: float | None = None


class PromptScore(_Frozen):
    """One prompt or passage, compared with the baseline position by position."""

    name: str
    text: str = ""
    """Its beginning, for people."""
    positions: int
    agreement: Estimate
    kl_nats: Estimate | None = None
    first_difference: int | None = None
    """Position, from 0, of the first greedy token that differs; None: all agree."""
    baseline_choice: TokenChoice | None = None
    """At that position."""
    variant_choice: TokenChoice | None = None


class TaskScore(_Frozen):
    """A multiple-choice or generation task."""

    name: str
    metric: Literal["acc", "acc_norm", "exact_match"]
    score: Estimate
    """0 to 1, with its standard error."""
    difference: Estimate | None = None
    """Score minus the baseline's, paired by question."""
    shots: int = 0
    source: str = ""
    """File and its SHA-256."""


class QualityRecord(_Frozen):
    """All that was found of one subject."""

    schema_version: int = QUALITY_SCHEMA
    subject: str
    baseline: str
    """Id of the subject that agreement and KL are against."""
    kind: Literal["engine", "simulated", "endpoint"] = "engine"
    perplexity: Estimate | None = None
    """exp of the mean negative log-likelihood a token; n: tokens."""
    perplexity_ratio: Estimate | None = None
    """Its perplexity over the baseline's, paired by passage on the very same tokens; 1 for the baseline itself. Its
    interval is much narrower than that of either perplexity, so it is what a verdict goes by."""
    bits_per_byte: Estimate | None = None
    """For variants whose tokenizers differ."""
    agreement: Estimate | None = None
    """Share, 0 to 1; n: positions."""
    kl_nats: Estimate | None = None
    text: str = ""
    """What the perplexity is on: name and SHA-256."""
    tasks: tuple[TaskScore, ...] = ()
    prompts: tuple[PromptScore, ...] = ()
    """Worst first."""
    not_reported: dict[str, str] = Field(default_factory=dict)
    """Metric -> why it is not there, in words: "different tokenizer", "no log-probs"."""
    warnings: tuple[str, ...] = ()
    seconds: float | None = None
    failure: Failure | None = None

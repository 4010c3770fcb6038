"""A comparison of variants: what was measured of each, and the matrix that shows it against the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from workbench.core.answer import AnswerRecord
from workbench.core.errors import Failure
from workbench.core.measure.load import Load
from workbench.core.measure.quality import QualityRecord
from workbench.core.measure.record import Environment, RunRecord, Subject
from workbench.core.measure.workload import Workload
from workbench.core.messages import Sampling

COMPARISON_SCHEMA = 1
MOST_VARIANTS = 6

Status = Literal["running", "complete", "stopped", "failed"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="null")


class Price(_Frozen):
    """What an hour of the machine costs, all its GPUs together."""

    per_hour: float = Field(gt=0, allow_inf_nan=False)
    currency: str = Field(default="USD", min_length=1, max_length=8)


class AnswerOf(_Frozen):
    """One subject's answer to one prompt."""

    subject: str
    prompt: int
    """Number of the prompt, from 0."""
    record: AnswerRecord | None = None
    failure: Failure | None = None
    """Why there is no answer."""


class ComparisonHead(_Frozen):
    """A comparison without what was measured: `comparison.json` of its folder."""

    schema_version: int = COMPARISON_SCHEMA
    kind: Literal["comparison"] = "comparison"
    id: str
    title: str = ""
    created_at: float
    """Seconds since the epoch."""
    finished_at: float | None = None
    status: Status = "running"
    baseline: str
    """Id of the subject that the others are held against."""
    subjects: tuple[Subject, ...]
    workload: Workload
    load: Load
    prompts: tuple[str, ...] = ()
    """Of the answers side by side."""
    sampling: Sampling = Sampling()
    price: Price | None = None
    command: tuple[str, ...] = ()
    environment: Environment = Environment()
    notes: tuple[str, ...] = ()
    failure: Failure | None = None

    def with_subject(self, subject: Subject) -> ComparisonHead:
        """The same with what is known of a subject now."""
        subjects = tuple(subject if one.id == subject.id else one for one in self.subjects)
        return self.model_copy(update={"subjects": subjects})


@dataclass(frozen=True)
class Comparison:
    """All of it, as far as it was measured."""

    head: ComparisonHead
    run: RunRecord | None = None
    quality: tuple[QualityRecord, ...] = ()
    answers: tuple[AnswerOf, ...] = ()

    @property
    def baseline(self) -> Subject:
        """Raises KeyError."""
        return self.subject(self.head.baseline)

    def subject(self, subject_id: str) -> Subject:
        """Raises KeyError."""
        for subject in self.head.subjects:
            if subject.id == subject_id:
                return subject
        raise KeyError(subject_id)

    def quality_of(self, subject_id: str) -> QualityRecord | None:
        return next((one for one in self.quality if one.subject == subject_id), None)

    def answers_to(self, prompt: int) -> tuple[AnswerOf, ...]:
        return tuple(answer for answer in self.answers if answer.prompt == prompt)


@dataclass(frozen=True)
class SettingsRow:
    """A setting that differs between the variants."""

    name: str
    values: tuple[str | None, ...]
    """One a subject, in their order; None: not reported."""
    missed: tuple[str, ...]
    """For each: how it is not what was asked for; empty: it is, or nothing was asked."""


def settings_rows(subjects: Sequence[Subject], *, everything: bool = False) -> tuple[SettingsRow, ...]:
    """What the engines report of themselves, by name: what differs between them and only that, or all of it.

    A setting that one variant was not given as asked is always shown.
    """
    facts = [_facts(subject) for subject in subjects]
    names = sorted({name for one in (*facts, *(subject.not_applied for subject in subjects)) for name in one})
    names.sort(key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))
    rows = []
    for name in names:
        values = tuple(one.get(name) for one in facts)
        missed = tuple(subject.not_applied.get(name, "") for subject in subjects)
        if everything or len(set(values)) > 1 or any(missed):
            rows.append(SettingsRow(name, values, missed))
    return tuple(rows)


_FIRST = ("toolchain", "precision", "model", "device", "compute_precision", "kv_cache_precision")


def _facts(subject: Subject) -> dict[str, str]:
    told = {"toolchain": subject.toolchain_title, "precision": subject.precision, "model": subject.model}
    versions = {f"version of {name}": value for name, value in subject.environment.versions.items()}
    return {name: value for name, value in {**told, **subject.settings, **versions}.items() if value}

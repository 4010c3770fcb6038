"""What a measurement says while it goes on; frozen, and told from the thread that measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workbench.bench.progress import Progress
from workbench.core.errors import Failure
from workbench.core.measure.comparison import AnswerOf, ComparisonHead
from workbench.core.measure.quality import QualityRecord
from workbench.core.measure.record import PointRecord, RunHead, Subject


@dataclass(frozen=True)
class RunBegan:
    """A benchmark run has its folder; `points` are to come at most."""

    folder: Path
    head: RunHead
    points: int


@dataclass(frozen=True)
class ComparisonBegan:
    folder: Path
    head: ComparisonHead


@dataclass(frozen=True)
class Stage:
    """What is being done: `loading`, `making prompts`, `measuring`, `scoring` ..."""

    words: str
    subject: str = ""
    """Id of the subject; empty: all."""
    share: float | None = None
    """Of this stage, 0 to 1; None: not known."""


@dataclass(frozen=True)
class SubjectKnown:
    """A subject was loaded and says what it is."""

    subject: Subject


@dataclass(frozen=True)
class SubjectFailed:
    """It could not be loaded or died; the others go on."""

    subject: str
    failure: Failure


@dataclass(frozen=True)
class PointBegan:
    subject: str
    level: float
    repeat: int
    number: int
    """From 1, of the run."""
    of: int


@dataclass(frozen=True)
class PointProgress:
    subject: str
    level: float
    repeat: int
    progress: Progress


@dataclass(frozen=True)
class PointDone:
    point: PointRecord


@dataclass(frozen=True)
class QualityDone:
    record: QualityRecord


@dataclass(frozen=True)
class AnswerText:
    """An answer so far."""

    subject: str
    prompt: int
    text: str


@dataclass(frozen=True)
class AnswerDone:
    answer: AnswerOf


@dataclass(frozen=True)
class Noted:
    """Something that has to be known to judge the figures."""

    words: str


Event = (
    RunBegan
    | ComparisonBegan
    | Stage
    | SubjectKnown
    | SubjectFailed
    | PointBegan
    | PointProgress
    | PointDone
    | QualityDone
    | AnswerText
    | AnswerDone
    | Noted
)
Listener = Callable[[Event], None]

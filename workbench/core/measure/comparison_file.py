"""A comparison in a folder: `comparison.json`, `speed/` (a benchmark run), `quality.json` and `answers.json`. Each is
written the moment there is something new in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from workbench.core.artifact import write_json
from workbench.core.errors import BadInputError, WorkbenchError
from workbench.core.measure.comparison import COMPARISON_SCHEMA, AnswerOf, Comparison, ComparisonHead
from workbench.core.measure.quality import QualityRecord
from workbench.core.measure.run_file import RUN_FILE, load_run

COMPARISON_FILE = "comparison.json"
SPEED_FOLDER = "speed"
QUALITY_FILE = "quality.json"
ANSWERS_FILE = "answers.json"


class _Quality(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = COMPARISON_SCHEMA
    records: tuple[QualityRecord, ...] = ()


class _Answers(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = COMPARISON_SCHEMA
    answers: tuple[AnswerOf, ...] = ()


class _Schema(BaseModel):
    schema_version: int
    kind: str = "comparison"


_M = TypeVar("_M", bound=BaseModel)


def write_comparison_head(folder: Path, head: ComparisonHead) -> None:
    """Readers see the old one or the new one. Makes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / COMPARISON_FILE, head, durable=True)


def write_quality(folder: Path, records: tuple[QualityRecord, ...]) -> None:
    write_json(folder / QUALITY_FILE, _Quality(records=records), durable=True)


def write_answers(folder: Path, answers: tuple[AnswerOf, ...]) -> None:
    write_json(folder / ANSWERS_FILE, _Answers(answers=answers), durable=True)


def load_comparison_head(folder: Path) -> ComparisonHead:
    """The head alone, for lists. Raises BadInputError for another kind of file, a damaged and a newer one."""
    path = folder / COMPARISON_FILE
    if not path.is_file():
        raise BadInputError(
            "This folder holds no comparison.",
            evidence=f"there is no {path}",
            fix=f"Name a folder with a {COMPARISON_FILE}.",
            code="no-comparison",
        )
    return _read(path, ComparisonHead)


def load_comparison(folder: Path) -> Comparison:
    """A comparison as far as it was measured. What of it is damaged is left out and said in the head's notes.

    Raises BadInputError when its head cannot be read.
    """
    head = load_comparison_head(folder)
    lost: list[str] = []
    run, quality, answers = None, _Quality(), _Answers()
    try:
        if (folder / SPEED_FOLDER / RUN_FILE).is_file():
            run = load_run(folder / SPEED_FOLDER)
    except WorkbenchError as error:
        lost.append(f"Speed: {error.failure.what}")
    try:
        if (folder / QUALITY_FILE).is_file():
            quality = _read(folder / QUALITY_FILE, _Quality)
    except WorkbenchError as error:
        lost.append(f"Quality: {error.failure.what}")
    try:
        if (folder / ANSWERS_FILE).is_file():
            answers = _read(folder / ANSWERS_FILE, _Answers)
    except WorkbenchError as error:
        lost.append(f"Answers: {error.failure.what}")
    if lost:
        head = head.model_copy(update={"notes": (*head.notes, *lost)})
    return Comparison(head, run, quality.records, answers.answers)


def _read(path: Path, kind: type[_M]) -> _M:
    try:
        data = path.read_bytes()
        found = _Schema.model_validate_json(data)
        if found.schema_version > COMPARISON_SCHEMA:
            raise BadInputError(
                f"{path.name} was written by a newer Engine Workbench.",
                evidence=f"schema {found.schema_version}, this version knows {COMPARISON_SCHEMA}",
                fix="Update this program.",
                code="newer-schema",
            )
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise BadInputError(
            f"{path.name} is damaged.", evidence=f"{path}: {where}: {first['msg']}", code="bad-comparison"
        ) from None
    except OSError as error:
        raise BadInputError(f"{path.name} cannot be read.", evidence=str(error), code="bad-comparison") from error

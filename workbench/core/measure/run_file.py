"""A benchmark run on disk: `run.json` and one compressed file of raw timings a point, written as the points come, so
that a crash keeps what was measured.
"""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from workbench.core.answer import CountSource
from workbench.core.artifact import write_json
from workbench.core.errors import BadInputError, Failure
from workbench.core.measure.record import (
    RUN_SCHEMA,
    ClientHealth,
    PointEnd,
    PointRecord,
    RequestEnd,
    RequestRecord,
    RunHead,
    RunRecord,
    Sample,
)
from workbench.core.metrics import Chunk

RUN_FILE = "run.json"
POINTS_FOLDER = "points"
MOST_POINT_BYTES = 1 << 30
"""Of one point, unpacked. A file above it is not one of ours."""


class _Schema(BaseModel):
    schema_version: int
    kind: str


class _RequestRow(BaseModel):
    """One request; times in whole microseconds, since they repeat a thousandfold and compress well so."""

    model_config = ConfigDict(extra="ignore")

    number: int
    due_us: int
    sent_us: int
    gaps_us: list[int] = []
    """From `sent` to the first chunk, then from chunk to chunk."""
    tokens: list[int] | int = 1
    """Of each chunk; one number when all carry the same."""
    end: RequestEnd
    ended_us: int
    prompt: int = 0
    input_tokens: int | None = None
    wanted_tokens: int = 0
    reported_tokens: int | None = None
    count_source: CountSource | None = None
    warmup: bool = False
    error: str = ""
    malformed: int = 0
    draft_tokens: int | None = None
    accepted_tokens: int | None = None
    draft_passes: int | None = None


class _PointFile(BaseModel):
    model_config = ConfigDict(extra="ignore", ser_json_inf_nan="null", allow_inf_nan=False)

    schema_version: int = RUN_SCHEMA
    subject: str
    level: float
    repeat: int
    began_at: float
    duration_s: float
    end: PointEnd
    order: int = 0
    saturated: str = ""
    failure: Failure | None = None
    client: ClientHealth = ClientHealth()
    samples: list[Sample] = []
    extra: dict[str, float | None] = {}
    """Further plain fields of a point."""
    requests: list[_RequestRow] = []


_PLAIN = tuple(
    each.name
    for each in dataclasses.fields(PointRecord)
    if each.name not in _PointFile.model_fields and each.name != "requests"
)
_POINT = TypeAdapter(_PointFile)


def start_run(folder: Path, head: RunHead) -> None:
    """Make a run's folder and write its head. Raises BadInputError when a run is there already."""
    if (folder / RUN_FILE).exists():
        raise BadInputError(
            "A run is there already, and runs are never overwritten.",
            evidence=str(folder),
            fix="Name another folder.",
            code="run-exists",
        )
    (folder / POINTS_FOLDER).mkdir(parents=True, exist_ok=True)
    write_json(folder / RUN_FILE, head, durable=True)


def write_head(folder: Path, head: RunHead) -> None:
    """Write the head again, such as with its end; readers see the old one or the new one."""
    write_json(folder / RUN_FILE, head, durable=True)


def append_point(folder: Path, point: PointRecord) -> Path:
    """Add a point to a run that was started; its file. What cannot be written leaves no half file."""
    points = folder / POINTS_FOLDER
    points.mkdir(exist_ok=True)
    taken = [int(path.name.split(".")[0]) for path in points.glob("*.json.gz") if path.name.split(".")[0].isdigit()]
    target = points / f"{max(taken, default=-1) + 1:03d}.json.gz"
    temporary = points / f".{target.name}.{os.getpid()}.new"
    data = _POINT.dump_json(_to_file(point), exclude_defaults=False, exclude_none=True)
    try:
        with temporary.open("wb") as out:
            out.write(gzip.compress(data, compresslevel=5, mtime=0))
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return target


def write_run(folder: Path, run: RunRecord) -> None:
    """A whole run at once."""
    start_run(folder, run.head)
    for point in run.points:
        append_point(folder, point)


def load_head(folder: Path) -> RunHead:
    """The head alone, for lists. Raises BadInputError for another kind of file, a damaged and a newer one."""
    path = folder / RUN_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInputError(
            "This folder holds no benchmark run.",
            evidence=f"{path}: {error.strerror or error}",
            fix=f"Name a folder with a {RUN_FILE}.",
            code="no-run",
        ) from None
    try:
        found = _Schema.model_validate_json(data)
        if found.kind == "bench" and found.schema_version > RUN_SCHEMA:
            raise _newer(found.schema_version)
        return RunHead.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInputError(
            f"{path.name} is not a benchmark run, or it is damaged.",
            evidence=f"{path}: {'.'.join(str(part) for part in first['loc']) or 'file'}: {first['msg']}",
            fix="Measure again, or take the file from a backup.",
            code="bad-run",
        ) from None


def load_point(path: Path) -> PointRecord:
    """One point's file. Raises BadInputError for a damaged and a newer one."""
    try:
        with gzip.open(path, "rb") as packed:
            data = packed.read(MOST_POINT_BYTES + 1)
        if len(data) > MOST_POINT_BYTES:
            raise ValueError(f"more than {MOST_POINT_BYTES:,} bytes")
        return _from_file(_POINT.validate_json(data))
    except (OSError, EOFError, zlib.error, ValueError, OverflowError) as error:
        version = _version(error, path)
        if version is not None and version > RUN_SCHEMA:
            raise _newer(version) from None
        raise BadInputError(
            "The raw timings of a point cannot be read.",
            evidence=f"{path}: {_first_line(error)}",
            fix="Measure again, or take the file from a backup.",
            code="bad-point",
        ) from None


def load_run(folder: Path) -> RunRecord:
    """A run with all its points, in the order in which they were measured.

    A damaged point is left out and said in the head's notes. Raises BadInputError where the run cannot be read.
    """
    head = load_head(folder)
    points: list[PointRecord] = []
    lost: list[str] = []
    for path in point_files(folder):
        try:
            points.append(load_point(path))
        except BadInputError as error:
            if error.failure.code == "newer-schema":
                raise
            lost.append(f"{POINTS_FOLDER}/{path.name} could not be read and is left out: {error.evidence}")
    if lost:
        head = head.model_copy(update={"notes": (*head.notes, *lost)})
    return RunRecord(head, tuple(points))


def point_files(folder: Path) -> Sequence[Path]:
    """Files of the points, in order."""
    named = [path for path in (folder / POINTS_FOLDER).glob("*.json.gz") if path.name.split(".")[0].isdigit()]
    return sorted(named, key=lambda path: int(path.name.split(".")[0]))


def _to_file(point: PointRecord) -> _PointFile:
    return _PointFile.model_construct(
        schema_version=RUN_SCHEMA,
        subject=point.subject,
        level=point.level,
        repeat=point.repeat,
        began_at=point.began_at,
        duration_s=point.duration_s,
        end=point.end,
        order=point.order,
        saturated=point.saturated,
        failure=point.failure,
        client=point.client,
        samples=list(point.samples),
        extra={name: getattr(point, name) for name in _PLAIN},
        requests=[_to_row(request) for request in point.requests],
    )


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _to_row(request: RequestRecord) -> _RequestRow:
    times = [_us(request.sent_s), *(_us(chunk.t_s) for chunk in request.chunks)]
    counts = [chunk.tokens for chunk in request.chunks]
    same = counts[0] if counts and counts.count(counts[0]) == len(counts) else None
    return _RequestRow.model_construct(
        number=request.number,
        due_us=_us(request.due_s),
        sent_us=times[0],
        gaps_us=[after - before for before, after in itertools.pairwise(times)],
        tokens=counts if same is None else same,
        end=request.end,
        ended_us=_us(request.ended_s),
        prompt=request.prompt,
        input_tokens=request.input_tokens,
        wanted_tokens=request.wanted_tokens,
        reported_tokens=request.reported_tokens,
        count_source=request.count_source,
        warmup=request.warmup,
        error=request.error,
        malformed=request.malformed,
        draft_tokens=request.draft_tokens,
        accepted_tokens=request.accepted_tokens,
        draft_passes=request.draft_passes,
    )


def _from_row(row: _RequestRow) -> RequestRecord:
    times = list(itertools.accumulate(row.gaps_us, initial=row.sent_us))[1:]
    counts = row.tokens if isinstance(row.tokens, list) else [row.tokens] * len(times)
    if len(counts) != len(times):
        raise ValueError(f"request {row.number} has {len(times)} responses and {len(counts)} token counts")
    return RequestRecord(
        number=row.number,
        due_s=row.due_us / 1e6,
        sent_s=row.sent_us / 1e6,
        chunks=tuple(Chunk(t / 1e6, n) for t, n in zip(times, counts, strict=True)),
        end=row.end,
        ended_s=row.ended_us / 1e6,
        prompt=row.prompt,
        input_tokens=row.input_tokens,
        wanted_tokens=row.wanted_tokens,
        reported_tokens=row.reported_tokens,
        count_source=row.count_source,
        warmup=row.warmup,
        error=row.error,
        malformed=row.malformed,
        draft_tokens=row.draft_tokens,
        accepted_tokens=row.accepted_tokens,
        draft_passes=row.draft_passes,
    )


def _from_file(file: _PointFile) -> PointRecord:
    if file.schema_version > RUN_SCHEMA:
        raise _newer(file.schema_version)
    return PointRecord(
        subject=file.subject,
        level=file.level,
        repeat=file.repeat,
        began_at=file.began_at,
        duration_s=file.duration_s,
        end=file.end,
        requests=tuple(_from_row(row) for row in file.requests),
        samples=tuple(file.samples),
        client=file.client,
        failure=file.failure,
        saturated=file.saturated,
        order=file.order,
        **{name: value for name, value in file.extra.items() if name in _PLAIN},
    )


def _version(error: Exception, path: Path) -> int | None:
    """Of a point that does not fit our fields: which schema it says it has."""
    if not isinstance(error, ValidationError):
        return None
    try:
        with gzip.open(path, "rb") as packed:
            version = json.loads(packed.read(MOST_POINT_BYTES))["schema_version"]
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error):
        return None
    return version if isinstance(version, int) else None


def _newer(version: int) -> BadInputError:
    return BadInputError(
        "This run was written by a newer Engine Workbench.",
        evidence=f"run schema {version}, this version knows {RUN_SCHEMA}",
        fix="Open it with the newer version.",
        code="newer-schema",
    )


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc']) or 'file'}: {first['msg']}"
    return (str(error) or type(error).__name__).splitlines()[0]

"""What was measured and kept: runs and comparisons of the home, and reports of them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workbench.core.errors import BadInputError, WorkbenchError
from workbench.core.home import Home, expanded
from workbench.core.measure.comparison import Comparison, Price
from workbench.core.measure.comparison_file import COMPARISON_FILE, load_comparison, load_comparison_head
from workbench.core.measure.record import RunRecord
from workbench.core.measure.run_file import RUN_FILE, load_head, load_run
from workbench.core.report.build import report_of_comparison, report_of_runs
from workbench.core.report.importers import import_file
from workbench.core.report.model import Report

SUFFIXES = (".html", ".pdf", ".json", ".csv")


@dataclass(frozen=True)
class Kept:
    """A kept result, for lists."""

    kind: Literal["bench", "comparison"]
    id: str
    folder: Path
    title: str
    created_at: float
    status: str
    subjects: tuple[str, ...]
    workload: str = ""
    problem: str = ""
    """Why it cannot be read; all else is then its folder's."""


def kept_results(home: Home, kind: str = "") -> list[Kept]:
    """Runs and comparisons of the home, newest first. Reads a small file of each."""
    found: list[Kept] = []
    if kind in ("", "bench"):
        found += [_run(folder) for folder in _folders(home.runs, RUN_FILE)]
    if kind in ("", "comparison"):
        found += [_comparison(folder) for folder in _folders(home.comparisons, COMPARISON_FILE)]
    return sorted(found, key=lambda one: one.created_at, reverse=True)


def find_result(home: Home, wanted: str, kind: str = "") -> Kept:
    """By folder, id, the beginning or end of an id, or `last`. Raises BadInputError when none or several fit."""
    path = expanded(wanted)
    if path.is_dir():
        if (path / COMPARISON_FILE).is_file():
            return _comparison(path)
        if (path / RUN_FILE).is_file():
            return _run(path)
    kept = kept_results(home, kind)
    if wanted == "last" and kept:
        return kept[0]
    exact = [one for one in kept if one.id == wanted]
    hits = exact or [one for one in kept if len(wanted) >= 4 and (one.id.startswith(wanted) or one.id.endswith(wanted))]
    if len(hits) != 1:
        what = f"{wanted!r} fits {len(hits)} results." if hits else f"No result is called {wanted!r}."
        raise BadInputError(
            what if wanted != "last" else "Nothing was measured yet.",
            evidence=", ".join(one.id for one in (hits or kept)[:5]),
            fix="`workbench results` lists them; a folder works too.",
            code="no-such-result",
        )
    return hits[0]


def load_kept(kept: Kept) -> RunRecord | Comparison:
    """All of it. Raises BadInputError when it cannot be read."""
    return load_comparison(kept.folder) if kept.kind == "comparison" else load_run(kept.folder)


def report_of(result: RunRecord | Comparison, *, foreign: Sequence[Path] = (), price: Price | None = None) -> Report:
    """The report of one result; `foreign`: files of other tools. Raises BadInputError."""
    taken = [one for path in foreign for one in import_file(path)]
    if isinstance(result, Comparison):
        if price is not None:
            result = Comparison(
                result.head.model_copy(update={"price": price}), result.run, result.quality, result.answers
            )
        return report_of_comparison(result, created_at=time.time(), foreign=taken, intervals=True)
    return report_of_runs([result], created_at=time.time(), foreign=taken, price=price, intervals=True)


def check_report_paths(paths: Sequence[Path]) -> None:
    """Raises BadInputError, before anything is measured, for a file that cannot be a report."""
    for path in paths:
        if path.suffix.lower() not in SUFFIXES:
            raise BadInputError(
                f"A report's format is told by its ending, and {path.name} has none that is known.",
                evidence=f"known: {', '.join(SUFFIXES)}",
                code="bad-report-name",
            )
        if not path.absolute().parent.is_dir():
            raise BadInputError(
                "The report's folder is not there.", evidence=str(path.absolute().parent), code="no-folder"
            )


def write_report(report: Report, path: Path) -> None:
    """By the path's ending; readers see the old file or the new one. Raises BadInputError when it cannot be written."""
    check_report_paths([path])
    data = _bytes(report, path.suffix.lower())
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise BadInputError("The report cannot be written.", evidence=str(error), code="not-written") from error


def _bytes(report: Report, suffix: str) -> bytes:
    # The writers' libraries take a while to import, and a run needs none of them.
    if suffix == ".pdf":
        from workbench.core.report.pdf import write_pdf

        return write_pdf(report)
    if suffix == ".html":
        from workbench.core.report.html import write_html

        return write_html(report).encode("utf-8")
    if suffix == ".json":
        from workbench.core.report.json_report import write_json

        return write_json(report).encode("utf-8")
    from workbench.core.report.csv_report import write_csv

    return write_csv(report).encode("utf-8")


def _folders(parent: Path, file: str) -> list[Path]:
    try:
        return [folder for folder in parent.iterdir() if (folder / file).is_file()]
    except OSError:
        return []


def _run(folder: Path) -> Kept:
    try:
        head = load_head(folder)
    except WorkbenchError as error:
        return _damaged("bench", folder, error)
    names = tuple(subject.name for subject in head.subjects)
    return Kept("bench", folder.name, folder, head.title, head.created_at, head.status, names, head.workload.words)


def _comparison(folder: Path) -> Kept:
    try:
        head = load_comparison_head(folder)
    except WorkbenchError as error:
        return _damaged("comparison", folder, error)
    names = tuple(subject.name for subject in head.subjects)
    return Kept("comparison", folder.name, folder, head.title, head.created_at, head.status, names, head.workload.words)


def _damaged(kind: Literal["bench", "comparison"], folder: Path, error: WorkbenchError) -> Kept:
    try:
        at = folder.stat().st_mtime
    except OSError:
        at = 0.0
    return Kept(kind, folder.name, folder, folder.name, at, "damaged", (), problem=error.failure.what)

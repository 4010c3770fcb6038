"""Files of AIPerf, vLLM's bench serve, trtllm-bench and GuideLLM as further columns of a report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.core.errors import BadInputError
from workbench.core.report.fields import at
from workbench.core.report.foreign import ForeignResult
from workbench.core.report.import_aiperf import from_aiperf, from_aiperf_records
from workbench.core.report.import_guidellm import from_guidellm
from workbench.core.report.import_trtllm import from_trtllm_bench
from workbench.core.report.import_vllm import from_vllm

MOST_BYTES = 512 << 20
READS = (
    "AIPerf's profile_export_aiperf.json and profile_export.jsonl, the JSON of `vllm bench serve --save-result`, "
    "the report of `trtllm-bench --report_json`, GuideLLM's benchmarks.json"
)


def import_file(path: Path, name: str = "") -> list[ForeignResult]:
    """What another tool measured; `name` is the column's, else the file's model or own name.

    Raises BadInputError for a file that cannot be read, is none of those, is of a newer layout, or has no figures.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadInputError(
                "This file is too large to be a result.",
                evidence=f"{path}: {path.stat().st_size:,} bytes",
                fix="Choose the summary that the tool wrote, not its raw data.",
                code="foreign-too-large",
            )
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInputError(
            "The file cannot be read.", evidence=f"{path}: {error.strerror or error}", code="foreign-unreadable"
        ) from error
    except UnicodeDecodeError as error:
        raise _unknown(path, "it is not text") from error
    return import_text(content, path, name)


def read_foreign(path: Path, name: str = "") -> ForeignResult:
    """The one column of a file. Raises BadInputError as `import_file`, and for a file that holds several."""
    found = import_file(path, name)
    if len(found) > 1:
        raise BadInputError(
            "This file holds results of several models or servers.",
            evidence=f"{path}: {', '.join(one.name for one in found)}",
            fix="Write each into a file of its own.",
            code="foreign-several",
        )
    return found[0]


def import_text(content: str, path: Path, name: str = "") -> list[ForeignResult]:
    """The same of a file's content; `path` is for its name."""
    rows, broken = _rows(content, path)
    if not rows:
        raise _unknown(path, broken[0] if broken else "it is empty")
    reader = _reader(rows[0])
    if reader is None:
        raise _unknown(path, _holds(rows[0]))
    found = reader(rows, path.name, name)
    if not any(result.points for result in found):
        raise BadInputError("There are no figures in this file.", evidence=str(path), code="foreign-empty")
    if broken:
        note = f"{len(broken):,} of {len(rows) + len(broken):,} lines could not be read: {broken[0]}"
        found = [ForeignResult(one.name, one.info, one.points, (*one.notes, note)) for one in found]
    return found


_Reader = Callable[[list[dict[str, Any]], str, str], list[ForeignResult]]


def _reader(first: dict[str, Any]) -> _Reader | None:
    """Which tool wrote it, by what only that tool writes."""
    if isinstance(at(first, "metadata", "request_start_ns"), int) and "metrics" in first:
        return from_aiperf_records
    if "input_config" in first and (isinstance(at(first, "request_throughput"), dict) or "aiperf_version" in first):
        return from_aiperf
    if isinstance(first.get("benchmarks"), list) and isinstance(at(first, "benchmarks", 0, "metrics"), dict):
        return from_guidellm
    if isinstance(first.get("performance"), dict) and isinstance(first.get("engine"), dict):
        return from_trtllm_bench
    if "output_throughput" in first and ("duration" in first or "mean_ttft_ms" in first):
        return from_vllm
    return None


def _rows(content: str, path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """One object, or one a line; with what was wrong with the lines that could not be read."""
    try:
        whole = json.loads(content)
    except ValueError as error:
        whole, problem = None, str(error)
    except RecursionError as error:
        raise _unknown(path, "its brackets are nested too deeply") from error
    else:
        if isinstance(whole, dict):
            return [whole], []
        if isinstance(whole, list) and whole and all(isinstance(one, dict) for one in whole):
            return whole, []
        raise _unknown(path, f"it holds a {type(whole).__name__}, not an object")
    rows, broken = [], []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            broken.append(f"line {number}: {error}")
            continue
        if isinstance(row, dict):
            rows.append(row)
        else:
            broken.append(f"line {number}: no object")
    if len(broken) > len(rows):
        raise _unknown(path, problem)
    return rows, broken


def _holds(row: dict[str, Any]) -> str:
    keys = ", ".join(str(key)[:40] for key in list(row)[:8])
    return f"its keys are {keys} ..." if len(row) > 8 else f"its keys are {keys}"


def _unknown(path: Path, seen: str) -> BadInputError:
    return BadInputError(
        "This is not a result that can be read in.",
        evidence=f"{path.name}: {seen}",
        fix=f"Choose one of these: {READS}.",
        code="foreign-unknown",
    )

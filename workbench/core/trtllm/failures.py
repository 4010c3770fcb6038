"""Why a convert, build or load of TensorRT-LLM failed: from log lines to cause, evidence and fix."""

from __future__ import annotations

import re
from collections.abc import Iterable

from workbench.core.errors import Failure
from workbench.core.trtllm.failure_rows import ROWS, FailureRow, Tier
from workbench.core.trtllm.log_lines import split_lines

__all__ = ["ROWS", "FailureRow", "Tier", "explain_failure"]

_MAX_OUTCOME = 4000
_MAX_EVIDENCE = 400
_LAST_LINES = 5
_GIB = 2**30


def explain_failure(lines: Iterable[str], outcome_text: str = "") -> Failure:
    """The failure of a process of TensorRT-LLM in words. Never raises, whatever the text.

    `lines` is its log (the end of it is enough), `outcome_text` how it ended, such as `exit code 137`. The cause
    that explains most wins; among equals the earliest line. Evidence is the line itself.
    """
    log = [line for text in lines for line in split_lines(text)]
    outcome = outcome_text[:_MAX_OUTCOME]
    best: tuple[tuple[int, int], FailureRow, str, dict[str, str]] | None = None
    for row in ROWS:
        if row.outcome is not None and not row.outcome.search(outcome):
            continue
        if best is not None and row.tier > best[1].tier:
            continue
        place, line, groups = _find(row, log)
        if place is None:
            continue
        rank = (int(row.tier), place)
        if best is None or rank < best[0]:
            best = (rank, row, line, groups)
    if best is None:
        return _unknown(log, outcome)
    _, row, line, groups = best
    if row.tier is Tier.NOTE and _first_error(log, but=line):
        return _unknown(log, outcome)
    if row.tier is Tier.CONSEQUENCE:
        line = _first_error(log, but=line) or line
    what = _fill(row.what, groups)
    if asked := groups.get("bytes"):
        what = f"{what.rstrip('.')}: {int(asked) / _GIB:.1f} GiB more were asked for."
    return Failure(code=row.code, what=what, evidence=_short(line or outcome), fix=row.fix, exit_code=row.exit_code)


def _find(row: FailureRow, log: list[str]) -> tuple[int | None, str, dict[str, str]]:
    """(place of the first line that shows it, the line, named groups); place is None when it is not there."""
    if row.line is None:
        return len(log), "", {}
    start = max(len(log) - _LAST_LINES, 0) if row.at_end else 0
    for place, line in enumerate(log[start:], start):
        if match := row.line.search(line):
            return place, line, {name: value for name, value in match.groupdict().items() if value}
    return None, "", {}


def _fill(what: str, groups: dict[str, str]) -> str:
    """Groups by name into the sentence; a group that was not in the line leaves no brace behind."""
    text = re.sub(r"\{(\w+)\}", lambda found: groups.get(found[1], ""), what)
    return re.sub(r"\s+([.,:])", r"\1", text)


_ERROR = re.compile(r"\[(?:E|F|ERROR)\] |^\[TensorRT-LLM\]\[ERROR\]|^\w*(?:Error|Exception)\b: ")


def _first_error(log: list[str], but: str = "") -> str:
    """The first line of error level that is not `but`; "" without one."""
    return next((line for line in log if line != but and _ERROR.search(line)), "")


def _unknown(log: list[str], outcome: str) -> Failure:
    line = _first_error(log) or (log[-1] if log else "")
    shown = "; ".join(part for part in (outcome.strip(), _short(line)) if part)
    return Failure(
        code="failed",
        what="TensorRT-LLM failed without a known cause.",
        evidence=_short(shown),
        fix="The job's log has the full output.",
    )


def _short(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _MAX_EVIDENCE else text[: _MAX_EVIDENCE - 1] + "…"

"""What bench and compare share: progress as it goes, Ctrl+C that keeps what was measured, and tables."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.status import Status
from rich.table import Table

from workbench.cli.context import Context
from workbench.core.errors import Failure
from workbench.core.home import expanded
from workbench.core.measure.figures import PointFigures, Spread, point_figures
from workbench.core.measure.load import Limits
from workbench.core.measure.matrix import Matrix, level_words
from workbench.core.measure.record import PointRecord, Subject
from workbench.core.measure.scaling import ScalingGroup
from workbench.measure.events import (
    ComparisonBegan,
    Event,
    Noted,
    PointBegan,
    PointDone,
    PointProgress,
    QualityDone,
    RunBegan,
    Stage,
    SubjectFailed,
    SubjectKnown,
)


class Teller:
    """Tells of a measurement on stderr: a status line while something goes on, a line for each thing that is done."""

    def __init__(self, context: Context, status: Status, limits: Limits, arrival: str) -> None:
        self._context, self._status, self._limits, self._arrival = context, status, limits, arrival
        self._names: dict[str, str] = {}
        self._of = ""

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunBegan | ComparisonBegan):
            self._names |= {subject.id: subject.name for subject in event.head.subjects}
            if isinstance(event, ComparisonBegan):
                self._say(f"kept in {event.folder}")
        elif isinstance(event, SubjectKnown):
            self._known(event.subject)
        elif isinstance(event, SubjectFailed):
            self._context.note(f"{self._name(event.subject)}: {failure_words(event.failure)}")
        elif isinstance(event, Stage):
            share = f" {event.share:.0%}" if event.share is not None else ""
            self._status.update(f"{self._name(event.subject)} {event.words}{share} …".lstrip())
        elif isinstance(event, PointBegan):
            self._of = f"{event.number} of {event.of}"
        elif isinstance(event, PointProgress):
            self._status.update(self._progress_words(event))
        elif isinstance(event, PointDone):
            self._say(self._point_words(event.point))
        elif isinstance(event, QualityDone):
            self._say(self._quality_words(event))
        elif isinstance(event, Noted):
            self._context.note(event.words)

    def _name(self, subject: str) -> str:
        return self._names.get(subject, subject)

    def _known(self, subject: Subject) -> None:
        self._names[subject.id] = subject.name
        for name, words in subject.not_applied.items():
            self._context.note(f"{subject.name}: {name.replace('_', ' ')}: {words}")

    def _progress_words(self, event: PointProgress) -> str:
        now = event.progress
        share = f" {now.share:.0%}" if now.share is not None else ""
        speed = f", {now.tok_s:.0f} tok/s" if now.tok_s is not None else ""
        errors = f", {now.errors} failed" if now.errors else ""
        level = level_words(self._arrival, event.level)
        return f"{self._of}: {self._name(event.subject)}, {level}, {now.phase}{share}: {now.done} done{speed}{errors}"

    def _point_words(self, point: PointRecord) -> str:
        figures = point_figures(point, self._limits)
        level = level_words(self._arrival, point.level)
        words = f"{self._name(point.subject)}, {level}: {figures_words(figures)}"
        if point.failure is not None:
            words += f"; {point.failure.what}"
        return words + (f"; the sweep ends here: {point.saturated}" if point.saturated else "")

    def _quality_words(self, event: QualityDone) -> str:
        record, name = event.record, self._name(event.record.subject)
        if record.failure is not None:
            return f"{name}: {record.failure.what} {record.failure.evidence}".rstrip()
        against = record.subject != record.baseline
        parts = [
            f"perplexity {record.perplexity.value:.2f}" if record.perplexity is not None else "",
            f"agreement {record.agreement.value * 100:.1f} %" if record.agreement is not None and against else "",
            f"KL {record.kl_nats.value:.4f} nats" if record.kl_nats is not None and against else "",
            *(f"{task.name} {task.metric} {task.score.value * 100:.1f} %" for task in record.tasks),
        ]
        return f"{name}: {', '.join(part for part in parts if part) or 'no quality figures'}"

    def _say(self, words: str) -> None:
        self._context.err.print(words, markup=False, soft_wrap=True)


@contextlib.contextmanager
def measuring(context: Context, limits: Limits, arrival: str) -> Iterator[tuple[Teller, threading.Event]]:
    """The listener and the stop of a measurement; the first Ctrl+C stops it softly, the second at once."""
    stop = threading.Event()

    def interrupt(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        context.note("stopping: what was measured is kept (Ctrl+C again ends at once)")

    before = signal.signal(signal.SIGINT, interrupt)
    terminate = signal.signal(signal.SIGTERM, interrupt)
    try:
        with context.err.status("Beginning …") as status:
            yield Teller(context, status, limits, arrival), stop
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, terminate)


def failure_words(failure: Failure) -> str:
    """A failure in one line: what, what was seen, what to do."""
    said = f"{failure.what.rstrip('.')}: {failure.evidence}" if failure.evidence else failure.what
    return f"{said.rstrip('.')}. {failure.fix}" if failure.fix else said


def figures_words(figures: PointFigures) -> str:
    """One line: throughput, TTFT, inter-token latency, failures."""
    parts = [
        f"{figures.output_tok_s:.1f} tok/s" if figures.output_tok_s is not None else "speed not reported",
        f"TTFT {_ms(figures.ttft_ms)}",
        f"inter-token {_ms(figures.itl_ms)}",
        f"{figures.completed} of {figures.requests} requests",
    ]
    if figures.failed:
        reason = max(figures.errors.items(), key=lambda one: one[1])[0] if figures.errors else ""
        parts.append(f"{figures.failed} failed" + (f": {reason}" if reason else ""))
    return ", ".join(parts)


def nothing_completed(figures: Sequence[PointFigures]) -> bool:
    """Whether at some point requests were sent and none came back whole: that point has no figures."""
    return any(one.requests > 0 and one.completed == 0 for one in figures)


def _ms(spread: Spread | None) -> str:
    if spread is None:
        return "not reported"
    digits = 0 if spread.p50 >= 100 else 1
    return f"{spread.p50:.{digits}f} ms (p99 {spread.p99:.{digits}f}, n {spread.n})"


def run_table(figures: tuple[PointFigures, ...], names: dict[str, str], arrival: str) -> Table:
    """The numbers of a run, a row a point."""
    table = Table(box=None, pad_edge=False)
    heads = ("engine", "load", "requests", "failed", "req/s", "tok/s", "tok/s a user", "TTFT p50", "p99")
    guessed = any(one.accepted_tokens is not None for one in figures)
    more = ("accepted", "tok/pass") if guessed else ()
    for head in (*heads, "ITL p50", "p99", "latency p50", "KV peak", *more):
        table.add_column(head, justify="left" if head in ("engine", "load") else "right", no_wrap=True)
    for one in figures:
        table.add_row(
            names.get(one.subject, one.subject),
            level_words(arrival, one.level),
            f"{one.completed}/{one.requests}",
            str(one.failed) if one.failed else "0",
            _number(one.req_s, 2),
            _number(one.output_tok_s, 1),
            _number(one.per_user_tok_s.p50 if one.per_user_tok_s else None, 1),
            _number(one.ttft_ms.p50 if one.ttft_ms else None, 1),
            _number(one.ttft_ms.p99 if one.ttft_ms else None, 1),
            _number(one.itl_ms.p50 if one.itl_ms else None, 2),
            _number(one.itl_ms.p99 if one.itl_ms else None, 2),
            _number(one.latency_ms.p50 if one.latency_ms else None, 0),
            f"{one.kv_share_peak:.0%}" if one.kv_share_peak is not None else "-",
            *([_percent(one.acceptance_rate), _number(one.tokens_a_pass, 2)] if guessed else []),
        )
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def matrix_table(matrix: Matrix) -> Table:
    """Variants by figures, each with its ratio to the baseline; `*` is the best of a column."""
    table = Table(box=None, pad_edge=False)
    table.add_column("variant", no_wrap=True)
    for column in matrix.columns:
        table.add_column(f"{column.title}\n{column.unit}", justify="right")
    for row in matrix.rows:
        cells = []
        for column, cell in zip(matrix.columns, row.cells, strict=True):
            if cell.value is None:
                cells.append(f"-\n{cell.reason}")
                continue
            shown = column.shown(cell.value) + ("*" if cell.best else "")
            under = "baseline" if row.is_baseline else f"{cell.ratio:.2f}x" if cell.ratio is not None else cell.reason
            cells.append(f"{shown}\n{under}")
        table.add_row(row.subject.name + ("\nbaseline" if row.is_baseline else ""), *cells)
    return table


def scaling_view(group: ScalingGroup) -> Table:
    """Engines that differ in their GPUs only, held against the one on a single GPU."""
    from workbench.core.report.scaling_table import HEADS, cells

    table = Table(box=None, pad_edge=False, title=f"Scaling: {group.title}", title_justify="left")
    for number, (title, unit, _) in enumerate(HEADS):
        table.add_column(f"{title}\n{unit}", justify="right" if number else "left", no_wrap=not number)
    for row in group.rows:
        table.add_row(*("\n".join(part for part in (text, under) if part) for text, under in cells(row)))
    return table


def report_paths(given: list[str]) -> list[Path]:
    """Report files as given; refused before anything is measured when they cannot be written."""
    from workbench.measure.kept import check_report_paths

    paths = [expanded(text) for text in given]
    check_report_paths(paths)
    return paths

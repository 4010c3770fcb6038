"""A run's figures held against those of another: engines of one run against its first, or a run against a kept one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workbench.core.measure.estimate import Estimate
from workbench.core.measure.intervals import METRICS, estimate, ratio_of
from workbench.core.measure.record import PointRecord, RunRecord
from workbench.core.measure.regression import THRESHOLD_PERCENT, ChangeKind, compare_runs, judge
from workbench.core.measure.run_file import load_run

_AB = ("output_tok_s", "ttft_p50", "ttft_p99", "itl_p50", "latency_p50")


@dataclass(frozen=True)
class Held:
    """One figure of one subject at one level, against the other's."""

    subject: str
    """Name."""
    slot: int
    level: float
    metric: str
    unit: str
    before: Estimate | None
    after: Estimate | None
    ratio: Estimate | None
    """after / before."""
    kind: ChangeKind
    words: str


@dataclass(frozen=True)
class Against:
    """All of them, and what they say in one line."""

    title: str
    rows: tuple[Held, ...]
    words: str
    warnings: tuple[str, ...] = ()
    before_title: str = "Before"
    after_title: str = "Now"
    level_of: str = "closed"
    """The load's arrival: how levels are called."""

    def count(self, kind: ChangeKind) -> int:
        return sum(row.kind == kind for row in self.rows)


def among_subjects(folder: Path) -> Against:
    """Every other subject of a run against its first, with intervals. Reads the raw timings. Raises BadInputError."""
    run = load_run(folder)
    first, *others = run.head.subjects
    before = _by_level(run, first.id)
    rows = []
    for slot, other in enumerate(others, 1):
        after = _by_level(run, other.id)
        for level in sorted(before.keys() & after.keys()):
            for name in _AB:
                metric = METRICS[name]
                old, new = estimate(before[level], metric), estimate(after[level], metric)
                if old is None and new is None:
                    continue
                ratio = ratio_of(after[level], before[level], metric)
                kind, words = judge(ratio, metric, 0.01)
                rows.append(Held(other.name, slot, level, metric.title, metric.unit, old, new, ratio, kind, words))
    told = [
        f"{sum(row.kind == kind for row in rows)} {words}"
        for kind, words in (
            ("improved", "better"),
            ("regressed", "worse"),
            ("same", "within 1 %"),
            ("cannot tell", "cannot be told"),
        )
        if any(row.kind == kind for row in rows)
    ]
    order = "taking turns" if run.head.order == "alternated" else "one after the other"
    again = f"{run.head.load.repeats} repeats" if run.head.load.repeats > 1 else "one repeat"
    warnings = ()
    if run.head.order != "alternated":
        warnings = ("Measured one after the other: a drift of the machine is not told from a difference.",)
    return Against(
        f"against {first.name}",
        tuple(rows),
        f"Against {first.name}: {', '.join(told) or 'nothing in common'} ({order}, {again}).",
        warnings,
        first.name,
        "Measured",
        run.head.load.arrival,
    )


def against_baseline(folder: Path, baseline: Path, threshold_percent: float = THRESHOLD_PERCENT) -> Against:
    """A run against a kept one. Reads the raw timings of both. Raises BadInputError where they do not fit."""
    run, other = load_run(folder), load_run(baseline)
    found = compare_runs(other, run, threshold_percent=threshold_percent)
    slots = {subject.name: slot for slot, subject in enumerate(run.head.subjects)}
    rows = tuple(
        Held(
            one.subject,
            slots.get(one.subject, 0),
            one.level,
            one.metric,
            one.unit,
            one.before,
            one.after,
            one.ratio,
            one.kind,
            one.words,
        )
        for one in found.changes
    )
    words = f"{found.words}."
    return Against(
        f"against {other.head.title or other.head.id}",
        rows,
        words[:1].upper() + words[1:],
        found.warnings,
        "Before",
        "Now",
        run.head.load.arrival,
    )


def _by_level(run: RunRecord, subject: str) -> dict[float, list[PointRecord]]:
    found: dict[float, list[PointRecord]] = {}
    for point in run.points_of(subject):
        found.setdefault(point.level, []).append(point)
    return found

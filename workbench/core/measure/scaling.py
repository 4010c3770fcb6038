"""What more GPUs bring: engines of one model and precision on different numbers of GPUs, held against the one on a
single GPU.

    tokens/s a GPU = output throughput / GPUs
    speed-up       = output throughput / that of the single-GPU engine
    efficiency     = speed-up / GPUs, in percent

All at the same load, and once more with each engine at the load at which it is fastest. Without a single-GPU engine
there is nothing to hold against: speed-up and efficiency are not reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from workbench.core.measure.comparison import Comparison
from workbench.core.measure.estimate import Estimate
from workbench.core.measure.intervals import METRICS, estimate, ratio_of
from workbench.core.measure.record import PointRecord, RunRecord, Subject

NO_SINGLE = "no single-GPU engine: not reported"
_THROUGHPUT = METRICS["output_tok_s"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="null")


class ScalingRow(_Frozen):
    """One engine at one level."""

    subject: str
    """Its id."""
    name: str
    gpus: int
    shape: str
    """`tp 2 x pp 1`."""
    level: float | None
    """None: each engine at its fastest level."""
    throughput_tok_s: Estimate
    per_gpu_tok_s: Estimate
    speedup: Estimate | None = None
    efficiency_percent: Estimate | None = None
    why: str = ""
    """Why there is no speed-up."""
    at: float | None = None
    """With level None: the level at which it is fastest."""


class ScalingGroup(_Frozen):
    """Engines that differ in their GPUs only."""

    title: str
    """`Llama-3.1-8B, fp8, TensorRT-LLM`."""
    single: str | None
    """Id of the engine on one GPU."""
    levels: tuple[float, ...]
    rows: tuple[ScalingRow, ...]
    """Each engine at its fastest level, then by level; always by rising GPUs."""

    def at(self, level: float | None) -> tuple[ScalingRow, ...]:
        return tuple(row for row in self.rows if row.level == level)


@dataclass(frozen=True)
class Scaling:
    """All groups in which GPU counts differ; `why` says why there is none."""

    groups: tuple[ScalingGroup, ...] = ()
    why: str = ""

    def __bool__(self) -> bool:
        return bool(self.groups)


def scaling_of(comparison: Comparison) -> Scaling:
    """Of a comparison, as far as it was measured."""
    return make_scaling(comparison.head.subjects, comparison.run.points if comparison.run is not None else ())


def scaling_of_run(run: RunRecord) -> Scaling:
    """Of a benchmark run of several engines."""
    return make_scaling(run.head.subjects, run.points)


def make_scaling(subjects: Sequence[Subject], points: Sequence[PointRecord]) -> Scaling:
    """The groups among these subjects."""
    on_gpus = [subject for subject in subjects if subject.gpus]
    kinds: dict[tuple[str, str, str], list[Subject]] = {}
    for subject in on_gpus:
        kinds.setdefault((subject.model_digest or subject.model, subject.precision, subject.toolchain), []).append(
            subject
        )
    several = [group for group in kinds.values() if len({subject.gpus for subject in group}) > 1]
    if not several:
        return Scaling(why=_why(subjects, on_gpus))
    made = tuple(group for group in (_group(each, points) for each in several) if group.rows)
    return Scaling(made, "" if made else "Nothing was measured yet of the engines whose GPU counts differ.")


def _why(subjects: Sequence[Subject], on_gpus: Sequence[Subject]) -> str:
    if not on_gpus:
        if any(subject.gpus is None and not subject.url for subject in subjects):
            return "How many GPUs these engines run on is not reported."
        return "None of these engines runs on GPUs of its own."
    counts = sorted({subject.gpus or 0 for subject in on_gpus})
    if len(counts) == 1:
        return f"All engines run on {counts[0]} GPU{'s' if counts[0] > 1 else ''}: add one of another number."
    return "GPU counts differ between models, precisions or toolchains only: add an engine that differs in GPUs alone."


def _group(subjects: Sequence[Subject], points: Sequence[PointRecord]) -> ScalingGroup:
    ordered = sorted(subjects, key=lambda subject: subject.gpus or 0)
    single = next((subject for subject in ordered if subject.gpus == 1), None)
    measured = {subject.id: _by_level(points, subject.id) for subject in ordered}
    levels = tuple(sorted({level for found in measured.values() for level in found}))
    rows = []
    best = {subject_id: _fastest(found) for subject_id, found in measured.items()}
    base_at = best[single.id] if single is not None else None
    for subject in ordered:
        at = best[subject.id]
        if at is not None:
            base = measured[single.id][base_at] if single is not None and base_at is not None else None
            rows += _row(subject, None, measured[subject.id][at], single, base, at)
    for level in levels:
        base = measured[single.id].get(level) if single is not None else None
        for subject in ordered:
            if level in measured[subject.id]:
                rows += _row(subject, level, measured[subject.id][level], single, base)
    first = ordered[0]
    title = ", ".join(part for part in (first.model, first.precision, first.toolchain_title or first.toolchain) if part)
    single_id = single.id if single is not None else None
    return ScalingGroup(title=title, single=single_id, levels=levels, rows=tuple(rows))


def _row(
    subject: Subject,
    level: float | None,
    points: Sequence[PointRecord],
    single: Subject | None,
    base: Sequence[PointRecord] | None,
    at: float | None = None,
) -> list[ScalingRow]:
    throughput = estimate(points, _THROUGHPUT)
    gpus = subject.gpus or 1
    if throughput is None or throughput.value <= 0:
        return []
    speedup, why = None, ""
    if single is None:
        why = NO_SINGLE
    elif subject.id == single.id:
        speedup = Estimate(value=1.0, n=throughput.n)
    else:
        speedup = ratio_of(points, base, _THROUGHPUT) if base else None
        why = "" if speedup is not None else "the single-GPU engine was not measured at this load"
    return [
        ScalingRow(
            subject=subject.id,
            name=subject.name,
            gpus=gpus,
            shape=subject.shape,
            level=level,
            throughput_tok_s=throughput,
            per_gpu_tok_s=_scaled(throughput, 1 / gpus),
            speedup=speedup,
            efficiency_percent=_scaled(speedup, 100 / gpus) if speedup is not None else None,
            why=why,
            at=at,
        )
    ]


def _by_level(points: Sequence[PointRecord], subject_id: str) -> dict[float, list[PointRecord]]:
    found: dict[float, list[PointRecord]] = {}
    for point in points:
        if point.subject == subject_id and any(request.completed for request in point.requests):
            found.setdefault(point.level, []).append(point)
    return found


def _fastest(levels: dict[float, list[PointRecord]]) -> float | None:
    speeds = {level: found.value for level, points in levels.items() if (found := estimate(points, _THROUGHPUT))}
    return max(speeds, key=lambda level: speeds[level]) if speeds else None


def _scaled(one: Estimate, by: float) -> Estimate:
    return Estimate(
        value=one.value * by,
        low=None if one.low is None else one.low * by,
        high=None if one.high is None else one.high * by,
        stderr=None if one.stderr is None else one.stderr * by,
        n=one.n,
    )

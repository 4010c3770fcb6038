"""What more GPUs bring: engines of one model and precision on different numbers of GPUs, held against the one on a
single GPU.

    tokens/s a GPU = output throughput / GPUs
    speed-up       = output throughput / that of the single-GPU engine
    efficiency     = speed-up / GPUs, in percent

All at the same load, and once more with each engine at the load at which it is fastest. Without a single-GPU engine
there is nothing to hold against: speed-up and efficiency are not reported. Neither are they where the load sets the
rate (open loop) and an engine kept up with it: then the throughput is the load's. Of several single-GPU engines the
fastest is held against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from workbench.core.measure.comparison import Comparison
from workbench.core.measure.estimate import Estimate
from workbench.core.measure.intervals import METRICS, estimate, ratio_of
from workbench.core.measure.load import Arrival
from workbench.core.measure.open_loop import fell_behind
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
    remark: str = ""
    """What else sets it apart from the single-GPU engine, said once, where it is fastest: `also differs: kv cache
    precision fp8, not float16`."""
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
    run = comparison.run
    return make_scaling(
        comparison.head.subjects, run.points if run is not None else (), run.head.load.arrival if run else "closed"
    )


def scaling_of_run(run: RunRecord) -> Scaling:
    """Of a benchmark run of several engines."""
    return make_scaling(run.head.subjects, run.points, run.head.load.arrival)


def make_scaling(subjects: Sequence[Subject], points: Sequence[PointRecord], arrival: Arrival = "closed") -> Scaling:
    """The groups among these subjects; `arrival`: of the load that they were measured under."""
    on_gpus = [subject for subject in subjects if subject.gpus]
    kinds: dict[tuple[str, str, str], list[Subject]] = {}
    for subject in on_gpus:
        kinds.setdefault((subject.model_digest or subject.model, subject.precision, subject.toolchain), []).append(
            subject
        )
    several = [group for group in kinds.values() if len({subject.gpus for subject in group}) > 1]
    if not several:
        return Scaling(why=_why(subjects, on_gpus))
    made = tuple(group for group in (_group(each, points, arrival) for each in several) if group.rows)
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


@dataclass(frozen=True)
class _Base:
    """The single-GPU engine at the load that a row is held against."""

    arrival: Arrival
    subject: Subject | None
    points: Sequence[PointRecord] = ()


def _group(subjects: Sequence[Subject], points: Sequence[PointRecord], arrival: Arrival) -> ScalingGroup:
    ordered = sorted(subjects, key=lambda subject: subject.gpus or 0)
    measured = {subject.id: _by_level(points, subject.id) for subject in ordered}
    levels = tuple(sorted({level for found in measured.values() for level in found}))
    rows = []
    best = {subject_id: _fastest(found) for subject_id, found in measured.items()}
    singles = [subject for subject in ordered if subject.gpus == 1]
    single = max(singles, key=lambda subject: best[subject.id][1], default=None)
    base_at = best[single.id][0] if single is not None else None
    for subject in ordered:
        at = best[subject.id][0]
        if at is not None:
            base = measured[single.id][base_at] if single is not None and base_at is not None else ()
            rows += _row(subject, None, measured[subject.id][at], _Base(arrival, single, base), at)
    for level in levels:
        base = measured[single.id].get(level, []) if single is not None else ()
        for subject in ordered:
            if level in measured[subject.id]:
                rows += _row(subject, level, measured[subject.id][level], _Base(arrival, single, base))
    first = ordered[0]
    title = ", ".join(part for part in (first.model, first.precision, first.toolchain_title or first.toolchain) if part)
    single_id = single.id if single is not None else None
    return ScalingGroup(title=title, single=single_id, levels=levels, rows=tuple(rows))


def _row(
    subject: Subject, level: float | None, points: Sequence[PointRecord], base: _Base, at: float | None = None
) -> list[ScalingRow]:
    throughput = estimate(points, _THROUGHPUT)
    gpus = subject.gpus or 1
    if throughput is None or throughput.value <= 0:
        return []
    speedup, why = None, _why_not(subject, points, base)
    if not why and base.subject is not None and subject.id == base.subject.id:
        speedup = Estimate(value=1.0, n=throughput.n)
    elif not why:
        speedup = ratio_of(points, base.points, _THROUGHPUT)
        why = "" if speedup is not None else "the single-GPU engine gave no tokens at this load"
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
            remark=_differences(subject, base.subject) if base.subject is not None and level is None else "",
            at=at,
        )
    ]


def _why_not(subject: Subject, points: Sequence[PointRecord], base: _Base) -> str:
    """Why no speed-up can be told; empty when it can."""
    if base.subject is None:
        return NO_SINGLE
    if subject.id == base.subject.id:
        return ""
    if not base.points:
        return "the single-GPU engine was not measured at this load"
    if base.arrival == "trace":
        return "the trace sets the rate"
    if base.arrival != "closed":
        if not fell_behind(points):
            return "the load sets the rate, and it kept up"
        if not fell_behind(base.points):
            return "the load sets the rate, and the single-GPU engine kept up"
    return ""


def _differences(subject: Subject, single: Subject) -> str:
    """What else than its GPUs sets an engine apart from the single-GPU one, as far as both report it."""
    found = []
    for name in sorted((subject.settings.keys() & single.settings.keys()) - {"device"}):
        if subject.settings[name] != single.settings[name]:
            found.append(f"{name.replace('_', ' ')} {subject.settings[name]}, not {single.settings[name]}")
    if subject.overrides != single.overrides:
        found.append(f"run with {' '.join(subject.overrides) or 'no settings of its own'}")
    here, there = sorted(set(subject.environment.gpus)), sorted(set(single.environment.gpus))
    if here and there and here != there:
        found.append(f"on {', '.join(here)}, not {', '.join(there)}")
    return f"also differs: {'; '.join(found)}" if found else ""


def _by_level(points: Sequence[PointRecord], subject_id: str) -> dict[float, list[PointRecord]]:
    found: dict[float, list[PointRecord]] = {}
    for point in points:
        if point.subject == subject_id and point.end != "failed" and any(one.completed for one in point.requests):
            found.setdefault(point.level, []).append(point)
    return found


def _fastest(levels: dict[float, list[PointRecord]]) -> tuple[float | None, float]:
    """The level at which an engine is fastest, and its throughput there; None and 0 when nothing was measured."""
    speeds = {level: found.value for level, points in levels.items() if (found := estimate(points, _THROUGHPUT))}
    return max(speeds.items(), key=lambda each: each[1], default=(None, 0.0))


def _scaled(one: Estimate, by: float) -> Estimate:
    return Estimate(
        value=one.value * by,
        low=None if one.low is None else one.low * by,
        high=None if one.high is None else one.high * by,
        stderr=None if one.stderr is None else one.stderr * by,
        n=one.n,
    )

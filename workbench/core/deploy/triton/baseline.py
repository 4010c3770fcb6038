"""The figures of a benchmark that alerts compare with."""

from __future__ import annotations

from workbench.core.deploy.facts import EngineFacts
from workbench.core.deploy.triton.options import Baseline
from workbench.core.errors import BadInputError
from workbench.core.measure.figures import PointFigures, run_figures
from workbench.core.measure.record import RunHead, RunRecord, Subject


def baseline_of(run: RunRecord, facts: EngineFacts) -> Baseline:
    """The point of the run with the highest output throughput. Raises BadInputError for a run of another engine, or one
    that measured no throughput.
    """
    subjects = subjects_of(run.head, facts)
    if not subjects:
        raise BadInputError(
            f"Run {run.head.id} did not measure {facts.name}.",
            evidence="it measured " + (", ".join(subject.name for subject in run.head.subjects)[:200] or "nothing"),
            fix="Give a run of this engine, or leave --baseline out.",
            code="other-engine",
        )
    wanted = {subject.id for subject in subjects}
    points = [point for point in run_figures(run) if point.subject in wanted and point.output_tok_s]
    if not points:
        raise BadInputError(
            f"Run {run.head.id} has no throughput of {facts.name}.",
            evidence=f"status {run.head.status}",
            fix="Measure it again: workbench bench.",
            code="no-figures",
        )
    best = max(points, key=_throughput)
    return Baseline(
        run=run.head.id,
        output_tok_s=_throughput(best),
        latency_p99_ms=best.latency_ms.p99 if best.latency_ms else None,
        ttft_p99_ms=best.ttft_ms.p99 if best.ttft_ms else None,
    )


def subjects_of(head: RunHead, facts: EngineFacts) -> list[Subject]:
    """Those of a run that are this engine."""
    return [subject for subject in head.subjects if _same(subject, facts)]


def _throughput(point: PointFigures) -> float:
    return point.output_tok_s or 0.0


def _same(subject: Subject, facts: EngineFacts) -> bool:
    """By the artefact's key; an engine without one by its folder."""
    key = facts.provenance.key if facts.provenance is not None else ""
    return (bool(key) and subject.key == key) or (bool(subject.path) and subject.path == str(facts.path))

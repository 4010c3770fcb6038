"""A run against a saved one: what got worse by more than a threshold, said only where the interval carries it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from workbench.core.errors import BadInputError
from workbench.core.measure.estimate import Estimate
from workbench.core.measure.intervals import METRICS, Metric, estimate, ratio_of
from workbench.core.measure.load import Load
from workbench.core.measure.record import PointRecord, RunRecord, Subject
from workbench.core.measure.verdict import percent, signed
from workbench.core.measure.workload import Workload

ChangeKind = Literal["regressed", "improved", "same", "cannot tell"]

THRESHOLD_PERCENT = 10.0
EXIT_REGRESSED = 6
"""What the command line ends with, for a CI's sake; 2 to 5 are failures of the run itself."""
_HELD = ("output_tok_s", "ttft_p50", "ttft_p99", "itl_p50", "latency_p50")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="null")


class Change(_Frozen):
    """One metric of one subject at one level."""

    subject: str
    """Name."""
    level: float
    metric: str
    """Title."""
    unit: str
    before: Estimate | None
    after: Estimate | None
    """None: not reported."""
    ratio: Estimate | None
    """after / before."""
    kind: ChangeKind
    words: str


class Regression(_Frozen):
    threshold: float
    """As a share: 0.1 is 10 %."""
    changes: tuple[Change, ...]
    warnings: tuple[str, ...] = ()
    """Why the two runs may not be held against each other, in words."""

    @property
    def worse(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.kind == "regressed")

    @property
    def regressed(self) -> bool:
        return bool(self.worse)

    @property
    def exit_code(self) -> int:
        return EXIT_REGRESSED if self.regressed else 0

    @property
    def words(self) -> str:
        """`2 of 12 figures regressed by 10 % or more, 1 improved, 7 the same, 2 cannot be told`."""
        kinds = [change.kind for change in self.changes]
        told = [
            f"{kinds.count('regressed')} of {len(kinds)} figures regressed by {percent(self.threshold)} or more",
            f"{kinds.count('improved')} improved" if "improved" in kinds else "",
            f"{kinds.count('same')} the same" if "same" in kinds else "",
            f"{kinds.count('cannot tell')} cannot be told" if "cannot tell" in kinds else "",
        ]
        return ", ".join(part for part in told if part)

    @property
    def lines(self) -> tuple[str, ...]:
        """For a terminal: the sentence, then what is not the same, the worst kind first, then the warnings."""
        order: tuple[ChangeKind, ...] = ("regressed", "cannot tell", "improved")
        told = sorted(
            (change for change in self.changes if change.kind in order), key=lambda change: order.index(change.kind)
        )
        return (
            self.words,
            *(f"{each.kind}: {each.subject} at {each.level:g}: {each.metric} {each.words}" for each in told),
            *self.warnings,
        )


def compare_runs(
    baseline: RunRecord,
    run: RunRecord,
    *,
    threshold_percent: float = THRESHOLD_PERCENT,
    metrics: Sequence[str] = _HELD,
) -> Regression:
    """Every metric of every subject and level that both runs have; ratios are `run` / `baseline`.

    Raises BadInputError when the two asked for different things, or have no subject or no level in common.
    """
    if not 0 < threshold_percent <= 1000:
        raise BadInputError(
            "The threshold of a regression lies between 0 and 1,000 %.",
            evidence=f"{threshold_percent:g} %",
            fix=f"Leave it out for {THRESHOLD_PERCENT:g} %.",
        )
    threshold = threshold_percent / 100
    refuse_other_question(baseline, run.head.workload, run.head.load)
    pairs = _pairs(run, baseline)
    changes: list[Change] = []
    for subject, other in pairs:
        after, before = _by_level(run, subject.id), _by_level(baseline, other.id)
        for level in sorted(before):
            if level in after:
                changes += _changes(subject, level, after[level], before[level], threshold, metrics)
            else:
                changes += _missing(subject, level, before[level], run)
    if not changes:
        raise BadInputError(
            "The run and its baseline have no point in common.",
            evidence=f"{_points(run)} against {_points(baseline)}",
            fix="Measure the same engines at the same levels, or choose another baseline.",
            code="no-common-points",
        )
    return Regression(threshold=threshold, changes=tuple(changes), warnings=_warnings(run, baseline, pairs))


def judge(ratio: Estimate | None, metric: Metric, threshold: float = THRESHOLD_PERCENT / 100) -> tuple[ChangeKind, str]:
    """What may be said of after / before. It regressed when the best guess is the threshold or more worse and the
    interval leaves no doubt that it is worse at all; it is the same when the whole interval lies within the threshold.
    """
    if ratio is None:
        return "cannot tell", "not reported in both"
    change = ratio.value - 1
    if ratio.low is None or ratio.high is None:
        return "cannot tell", f"{signed(change)}, measured too little for an interval"
    low, high = ratio.low - 1, ratio.high - 1
    words = f"{signed(change)} ({signed(low)} to {signed(high)})"
    # Throughput falls by 10 % to 0.9, a latency rises by 10 % to 1.1.
    if abs(change) >= threshold and (low > 0 or high < 0):
        worse = (change > 0) == (metric.better == "lower")
        return ("regressed" if worse else "improved"), words
    if -threshold < low and high < threshold:
        return "same", words
    return "cannot tell", words


def _changes(
    subject: Subject,
    level: float,
    after: Sequence[PointRecord],
    before: Sequence[PointRecord],
    threshold: float,
    metrics: Sequence[str],
) -> list[Change]:
    found = []
    done_after = any(request.completed for point in after for request in point.measured)
    done_before = any(request.completed for point in before for request in point.measured)
    for metric in (METRICS[name] for name in metrics):
        old, new = estimate(before, metric), estimate(after, metric)
        if old is None and new is None:
            continue
        ratio = ratio_of(after, before, metric)
        if metric.statistic != "median" and ratio is not None and not ratio.has_interval:
            continue  # too few requests for a p99 to speak of
        kind, words = judge(ratio, metric, threshold)
        if done_before and not done_after:
            kind, words = "regressed", "no request completes any more"
        found.append(
            Change(
                subject=subject.name,
                level=level,
                metric=metric.title,
                unit=metric.unit,
                before=old,
                after=new,
                ratio=ratio,
                kind=kind,
                words=words,
            )
        )
    share_before, share_after = _failed_share(before), _failed_share(after)
    if share_after > share_before and done_after:
        found.append(
            Change(
                subject=subject.name,
                level=level,
                metric="Failed requests",
                unit="share",
                before=Estimate(value=share_before),
                after=Estimate(value=share_after),
                ratio=None,
                kind="regressed" if share_after - share_before >= threshold else "cannot tell",
                words=f"{percent(share_before)} failed before, {percent(share_after)} now",
            )
        )
    return found


def _missing(subject: Subject, level: float, before: Sequence[PointRecord], run: RunRecord) -> list[Change]:
    """A level that the baseline has and the run asked for and did not reach: that it is not there is no good sign."""
    old = estimate(before, METRICS["output_tok_s"])
    if level not in run.head.load.levels or old is None or run.head.status in ("running", "stopped"):
        return []
    mine = run.points_of(subject.id)
    kind: ChangeKind
    failure = subject.failure or next((point.failure for point in mine if point.failure is not None), None)
    ended = next((point for point in mine if point.saturated), None)
    if failure is not None:
        kind, words = "regressed", f"not measured any more: {failure.what}"
    elif ended is not None:
        kind, words = "cannot tell", f"not measured: the sweep ended at {ended.level:g}, {ended.saturated}"
    else:
        return []
    metric = METRICS["output_tok_s"]
    return [
        Change(
            subject=subject.name,
            level=level,
            metric=metric.title,
            unit=metric.unit,
            before=old,
            after=None,
            ratio=None,
            kind=kind,
            words=words,
        )
    ]


def _failed_share(points: Sequence[PointRecord]) -> float:
    """Of the measured requests: errors, time-outs, and what was still not over when the time to drain was."""
    failed = total = 0
    for point in points:
        bad = ("error", "timeout", "abort") if point.end == "complete" else ("error", "timeout")
        total += len(point.measured)
        failed += sum(request.end in bad for request in point.measured)
    return failed / total if total else 0.0


def refuse_other_question(baseline: RunRecord, workload: Workload, load: Load) -> None:
    """Raises BadInputError when a run of this workload and load cannot be held against the baseline."""
    old = baseline.head
    same = workload.model_copy(update={"name": old.workload.name}) == old.workload
    if not same or load.arrival != old.load.arrival:
        raise BadInputError(
            "The run and its baseline did not ask for the same.",
            evidence=f"{workload.words}, {load.words}; baseline: {old.workload.words}, {old.load.words}",
            fix="Run the baseline's own command again, or choose another baseline.",
            code="other-workload",
        )


def _pairs(run: RunRecord, baseline: RunRecord) -> list[tuple[Subject, Subject]]:
    """Subjects that are the same thing: by name, else by what they are; one alone is held against one alone."""
    left = list(baseline.head.subjects)
    pairs: list[tuple[Subject, Subject]] = []
    for same in (lambda a, b: a.name == b.name, _same_kind):
        for subject in run.head.subjects:
            if any(subject is one for one, _ in pairs):
                continue
            found = next((other for other in left if same(subject, other)), None)
            if found is not None:
                left.remove(found)
                pairs.append((subject, found))
    if not pairs and len(run.head.subjects) == len(left) == 1:
        pairs = [(run.head.subjects[0], left[0])]
    return pairs


def _same_kind(one: Subject, other: Subject) -> bool:
    return (one.toolchain, one.precision, one.model, one.overrides) == (
        other.toolchain, other.precision, other.model, other.overrides
    )  # fmt: skip


def _by_level(run: RunRecord, subject_id: str) -> dict[float, list[PointRecord]]:
    found: dict[float, list[PointRecord]] = {}
    for point in run.points_of(subject_id):
        found.setdefault(point.level, []).append(point)
    return found


def _points(run: RunRecord) -> str:
    names = ", ".join(subject.name for subject in run.head.subjects) or "nothing"
    levels = ", ".join(f"{level:g}" for level in sorted({point.level for point in run.points})) or "no level"
    return f"{names} at {levels}"


def _warnings(run: RunRecord, baseline: RunRecord, pairs: Sequence[tuple[Subject, Subject]]) -> tuple[str, ...]:
    found = []
    new, old = run.head.environment, baseline.head.environment
    for title, now, then in (
        ("GPU", ", ".join(new.gpus), ", ".join(old.gpus)),
        ("Driver", new.driver, old.driver),
        ("CPU", new.cpu, old.cpu),
    ):
        if now != then:
            found.append(f"{title}: {now or 'none'} now, {then or 'none'} in the baseline.")
    if run.head.prompts_sha256 != baseline.head.prompts_sha256:
        found.append("The prompts are not the same, such as after a change of the tokenizer.")
    paired = {id(one) for pair in pairs for one in pair}
    for words, one in (("this run has not", baseline), ("the baseline has not", run)):
        for lone in one.head.subjects:
            if id(lone) not in paired:
                found.append(f"{lone.name} is held against nothing: {words} measured it.")
    for subject, other in pairs:
        if subject.name != other.name:
            found.append(f"{subject.name} is held against {other.name} of the baseline.")
        if subject.model_digest != other.model_digest:
            found.append(f"{subject.name}: the model's files are not those of the baseline.")
    for words, one in (("This run", run), ("The baseline", baseline)):
        if one.head.status not in ("complete", "running"):
            found.append(f"{words} did not come to its end: {one.head.status}.")
    if max((point.repeat for point in (*run.points, *baseline.points)), default=0) == 0:
        found.append(
            "One repeat each: what changes from run to run is not in the intervals. Three or more repeats tell."
        )
    return tuple(found)

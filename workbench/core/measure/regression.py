"""A run against a saved one: what got worse by more than a threshold, said only where the interval carries it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from workbench.core.errors import BadInputError
from workbench.core.measure.estimate import Estimate
from workbench.core.measure.intervals import METRICS, Metric, estimate, ratio_of
from workbench.core.measure.record import PointRecord, RunRecord, Subject
from workbench.core.measure.verdict import percent, signed

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
    _same_question(run, baseline)
    pairs = _pairs(run, baseline)
    changes: list[Change] = []
    for subject, other in pairs:
        after, before = _by_level(run, subject.id), _by_level(baseline, other.id)
        for level in sorted(before.keys() & after.keys()):
            changes += _changes(subject, level, after[level], before[level], threshold, metrics)
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


def _failed_share(points: Sequence[PointRecord]) -> float:
    ends = [request.end for point in points for request in point.measured]
    return sum(end in ("error", "timeout") for end in ends) / len(ends) if ends else 0.0


def _same_question(run: RunRecord, baseline: RunRecord) -> None:
    new, old = run.head, baseline.head
    same = new.workload.model_copy(update={"name": old.workload.name}) == old.workload
    if not same or new.load.arrival != old.load.arrival:
        raise BadInputError(
            "The run and its baseline did not ask for the same.",
            evidence=f"{new.workload.words}, {new.load.words}; baseline: {old.workload.words}, {old.load.words}",
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
    for subject, other in pairs:
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

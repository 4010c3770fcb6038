"""A run against its baseline: real losses are found, noise is not called one, unlike things are refused."""

from __future__ import annotations

import dataclasses

import pytest

from tests.core.measure.made import one_after_the_other, point, request, run
from workbench.core.errors import BadInputError, Failure
from workbench.core.measure.intervals import METRICS, estimate, ratio_of, slice_rates
from workbench.core.measure.load import Load
from workbench.core.measure.record import Environment, PointRecord, Subject
from workbench.core.measure.regression import EXIT_REGRESSED, compare_runs
from workbench.core.measure.workload import Workload, fixed


def _repeats(speed: float, seed: int, count: int = 40) -> list[PointRecord]:
    return [one_after_the_other(count, speed, seed=seed + repeat, repeat=repeat) for repeat in range(3)]


def test_a_real_loss_is_found_and_ends_with_its_own_code() -> None:
    found = compare_runs(run(_repeats(1.0, 10)), run(_repeats(0.8, 20)))
    assert {change.metric for change in found.worse} == {
        "Output throughput", "TTFT p50", "Inter-token latency p50", "Latency p50"
    }  # fmt: skip
    assert found.regressed and found.exit_code == EXIT_REGRESSED
    assert found.words == "4 of 4 figures regressed by 10 % or more"
    throughput = next(change for change in found.changes if change.metric == "Output throughput")
    assert throughput.ratio is not None and throughput.ratio.value == pytest.approx(0.8, rel=0.02)
    assert throughput.words.startswith("-20 % (-")
    assert found.lines[1].startswith("regressed: INT8 at 1: ")


def test_a_gain_and_the_same() -> None:
    gain = compare_runs(run(_repeats(1.0, 10)), run(_repeats(1.3, 20)))
    assert {change.kind for change in gain.changes} == {"improved"} and gain.exit_code == 0
    same = compare_runs(run(_repeats(1.0, 10)), run(_repeats(0.98, 20)))
    assert {change.kind for change in same.changes} == {"same"} and not same.regressed


def test_noise_is_not_called_a_loss() -> None:
    """Two repeats that scatter by a third each way: the best guess is off, and it cannot be told."""
    before = [one_after_the_other(6, speed, repeat=i) for i, speed in enumerate((1.0, 1.4))]
    after = [one_after_the_other(6, speed, repeat=i) for i, speed in enumerate((0.8, 1.2))]
    found = compare_runs(run(before), run(after), metrics=["output_tok_s"])
    assert [change.kind for change in found.changes] == ["cannot tell"] and found.exit_code == 0


def test_one_repeat_has_slices_and_a_warning() -> None:
    long = one_after_the_other(80)
    rates = slice_rates(long)
    assert len(rates) == 20
    assert sum(rates) / 20 == pytest.approx(80 * 16 / long.duration_s, rel=1e-6)
    assert slice_rates(one_after_the_other(6)) == []
    found = compare_runs(run([long]), run([one_after_the_other(80, 0.8, seed=2)]))
    assert found.regressed and any("One repeat each" in words for words in found.warnings)
    few = compare_runs(run([one_after_the_other(3)]), run([one_after_the_other(3, 0.5)]), metrics=["output_tok_s"])
    assert [change.kind for change in few.changes] == ["cannot tell"]
    assert "too little" in few.changes[0].words


def test_a_point_that_no_longer_answers_regressed() -> None:
    dead = point([dataclasses.replace(request(0, 0, 0.1, 0.01, 4), chunks=(), end="error", error="gone")], 1.0)
    found = compare_runs(run([one_after_the_other(20)]), run([dead]))
    assert found.regressed and "no request completes any more" in found.lines[1]


def test_failures_that_came_up_are_told() -> None:
    good = one_after_the_other(20)
    broken = [
        dataclasses.replace(one, end="error", error="HTTP 500") if one.number % 5 == 0 else one for one in good.requests
    ]
    found = compare_runs(run([good]), run([dataclasses.replace(good, requests=tuple(broken))]))
    failed = next(change for change in found.changes if change.metric == "Failed requests")
    assert failed.kind == "regressed" and failed.words == "0 % failed before, 20 % now"


def test_answers_that_never_ended_are_failures_too() -> None:
    good = one_after_the_other(20)
    cut = [dataclasses.replace(one, end="abort") if one.number % 5 == 0 else one for one in good.requests]
    found = compare_runs(run([good]), run([dataclasses.replace(good, requests=tuple(cut))]))
    assert [change.kind for change in found.changes if change.metric == "Failed requests"] == ["regressed"]
    stopped = dataclasses.replace(good, requests=tuple(cut), end="stopped")
    assert not [change for change in compare_runs(run([good]), run([stopped])).changes if change.metric[0] == "F"]


def test_what_the_run_did_not_reach_any_more_is_told() -> None:
    """An engine that no longer loads, or dies at a level, must not pass for want of figures."""
    gone = Failure(code="killed", what="The engine host was killed.")
    load = Load(requests=8, levels=(1.0, 8.0))
    before = run([one_after_the_other(20), dataclasses.replace(one_after_the_other(20), level=8.0)], load=load)
    dead = before.head.subjects[0].model_copy(update={"failure": gone})
    found = compare_runs(before, run([], load=load, subjects=(dead,), status="failed"))
    assert found.exit_code == EXIT_REGRESSED and [change.level for change in found.worse] == [1.0, 8.0]
    assert found.worse[0].words == "not measured any more: The engine host was killed."
    half = compare_runs(before, run([dataclasses.replace(one_after_the_other(20), failure=gone)], load=load))
    assert [change.level for change in half.worse] == [8.0]
    full = compare_runs(before, run([dataclasses.replace(one_after_the_other(20), saturated="no more")], load=load))
    assert not full.regressed and "the sweep ended at 1, no more" in full.changes[-1].words
    fewer = compare_runs(before, run([one_after_the_other(20)], load=Load(requests=8)))
    assert {change.level for change in fewer.changes} == {1.0}, "a level that was not asked for is not missing"
    stopped = compare_runs(before, run([one_after_the_other(20)], load=load, status="stopped"))
    assert {change.level for change in stopped.changes} == {1.0} and stopped.warnings


def test_a_subject_that_is_held_against_nothing_or_another_one_is_told() -> None:
    one = Subject(id="s1", name="INT8", toolchain="openvino", precision="int8")
    other = Subject(id="s2", name="INT4", toolchain="openvino", precision="int4")
    points = [one_after_the_other(20)]
    lost = compare_runs(run(points, subjects=(one, other)), run(points, subjects=(one,)))
    assert "INT4 is held against nothing: this run has not measured it." in lost.warnings
    new = compare_runs(run(points, subjects=(one,)), run(points, subjects=(one, other)))
    assert "INT4 is held against nothing: the baseline has not measured it." in new.warnings
    lone = compare_runs(run(points, subjects=(one,)), run(points, subjects=(other.model_copy(update={"id": "s1"}),)))
    assert "INT4 is held against INT8 of the baseline." in lone.warnings


def test_unlike_runs_are_refused_and_other_machines_said() -> None:
    points = [one_after_the_other(20)]
    with pytest.raises(BadInputError, match="did not ask for the same"):
        compare_runs(run(points), run(points, workload=Workload(input=fixed(99), output=fixed(16))))
    with pytest.raises(BadInputError, match="no point in common"):
        compare_runs(run(points), run([dataclasses.replace(points[0], level=8.0)]))
    with pytest.raises(BadInputError, match="between 0 and 1,000"):
        compare_runs(run(points), run(points), threshold_percent=0)
    found = compare_runs(
        run(points, environment=Environment(gpus=("NVIDIA A",))),
        run(points, environment=Environment(gpus=("NVIDIA B",)), prompts_sha256="cd", status="stopped"),
    )
    assert "GPU: NVIDIA B now, NVIDIA A in the baseline." in found.warnings
    assert any("prompts are not the same" in words for words in found.warnings)
    assert "This run did not come to its end: stopped." in found.warnings


def test_subjects_are_paired_by_name_then_by_kind() -> None:
    points = [one_after_the_other(20), dataclasses.replace(one_after_the_other(20, 0.5), subject="s2")]
    subjects = (
        Subject(id="s1", name="INT8", toolchain="openvino", precision="int8"),
        Subject(id="s2", name="new name", toolchain="openvino", precision="int4"),
    )
    renamed = (subjects[0].model_copy(update={"id": "s2"}), subjects[1].model_copy(update={"id": "s1", "name": "old"}))
    swapped = [dataclasses.replace(one, subject={"s1": "s2", "s2": "s1"}[one.subject]) for one in points]
    found = compare_runs(run(swapped, subjects=renamed), run(points, subjects=subjects))
    assert {change.subject for change in found.changes} == {"INT8", "new name"} and not found.regressed
    assert all(change.ratio is not None and change.ratio.value == pytest.approx(1) for change in found.changes)


def test_one_at_a_time_is_paired_by_prompt() -> None:
    """Prompts of very different lengths: paired, a tenth is told; drawn apart, it is not."""

    def made(speed: float, overlap: bool) -> PointRecord:
        now, requests = 0.0, []
        for number in range(30):
            requests.append(request(number, now, 0.1 * (1 + number % 10) / speed, 0.01, 4))
            now = requests[-1].ended_s - (0.05 if overlap else 0)
        return point(requests, now)

    metric = METRICS["ttft_p50"]
    paired = ratio_of([made(0.9, False)], [made(1.0, False)], metric)
    apart = ratio_of([made(0.9, True)], [made(1.0, True)], metric)
    assert paired is not None and apart is not None and paired.low is not None and apart.low is not None
    assert paired.low > 1.05 and apart.low < 1.0
    assert ratio_of([made(1.0, False)], [point([], 1.0)], metric) is None
    pooled = estimate([made(1.0, False)], metric)
    assert pooled is not None and pooled.has_interval and pooled.n == 30

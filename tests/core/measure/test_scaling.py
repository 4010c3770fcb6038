"""What more GPUs bring, on runs whose speed-up is known: the second engine is 1.35, the third 1.7 times the first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fakes import comparisons as made
from workbench.core.measure.comparison import Comparison
from workbench.core.measure.load import Arrival
from workbench.core.measure.record import Subject
from workbench.core.measure.scaling import NO_SINGLE, Scaling, make_scaling, scaling_of
from workbench.core.report.build import report_of_comparison
from workbench.core.report.html import write_html
from workbench.core.report.scaling_table import cells, sentences
from workbench.core.report.words import NOT_REPORTED


def engine(number: int, gpus: int | None, **changes: object) -> Subject:
    shape = f"tp {gpus} x pp 1" if gpus and gpus > 1 else ""
    names = {"toolchain": "tensorrt_llm", "toolchain_title": "TensorRT-LLM", "name": f"FP8 on {gpus}"}
    return made.subject(number, "fp8").model_copy(update={"gpus": gpus, "shape": shape, **names, **changes})


def comparison(*gpus: int | None) -> Comparison:
    return made.comparison([engine(number, count) for number, count in enumerate(gpus, 1)])


def test_speed_up_and_efficiency_against_the_single_gpu_engine() -> None:
    found = scaling_of(comparison(1, 2, 4))
    (group,) = found.groups
    assert group.title == "SmolLM2-135M-Instruct, fp8, TensorRT-LLM" and group.single == "s1"
    assert group.levels == made.LEVELS
    assert [row.level for row in group.rows][:4] == [None, None, None, 1.0], "what it comes to stands first"
    for level in (*made.LEVELS, None):
        one, two, four = group.at(level)
        assert (one.gpus, two.gpus, four.gpus) == (1, 2, 4) and two.shape == "tp 2 x pp 1"
        assert one.speedup is not None and one.speedup.value == 1 and not one.speedup.has_interval
        for row, times in ((two, 1.35), (four, 1.70)):
            assert row.speedup is not None and row.efficiency_percent is not None
            assert row.speedup.value == pytest.approx(times, rel=0.01)
            assert row.efficiency_percent.value == pytest.approx(100 * times / row.gpus, rel=0.01)
            low, high = row.efficiency_percent.low, row.efficiency_percent.high
            assert low is not None and high is not None and low < row.efficiency_percent.value < high
            assert row.per_gpu_tok_s.value == pytest.approx(row.throughput_tok_s.value / row.gpus)
    assert [row.at for row in group.at(None)] == [8.0, 8.0, 8.0], "where all are fastest"
    assert all(row.at is None for row in group.at(1.0))


def test_without_a_single_gpu_engine_it_is_not_reported() -> None:
    (group,) = scaling_of(comparison(2, 4)).groups
    assert group.single is None
    for row in group.rows:
        assert row.speedup is None and row.efficiency_percent is None and row.why == NO_SINGLE
        assert row.per_gpu_tok_s.value > 0, "which needs no other engine"
    assert "no single-GPU engine" in sentences((group,))[0].text
    assert cells(group.rows[0])[5] == (NOT_REPORTED, NO_SINGLE)


@pytest.mark.parametrize(
    ("subjects", "why"),
    [
        ((engine(1, 2), engine(2, 2)), "All engines run on 2 GPUs"),
        ((engine(1, 1), engine(2, 2, precision="nvfp4")), "differ between models, precisions or toolchains only"),
        ((engine(1, 1), engine(2, 2, model_digest="other")), "differ between models, precisions or toolchains only"),
        ((engine(1, 0), engine(2, 0)), "None of these engines runs on GPUs"),
        ((engine(1, None), engine(2, None)), "not reported"),
        ((engine(1, None, url="http://box/v1"),), "None of these engines runs on GPUs of its own"),
    ],
)
def test_why_there_is_nothing_to_show(subjects: tuple[Subject, ...], why: str) -> None:
    found = make_scaling(subjects, made.points(subjects))
    assert not found and why in found.why


def test_before_anything_was_measured() -> None:
    found = make_scaling((engine(1, 1), engine(2, 2)), ())
    assert not found and "Nothing was measured" in found.why
    assert Scaling().groups == ()


def test_a_load_that_the_single_gpu_engine_did_not_run() -> None:
    whole = comparison(1, 2)
    assert whole.run is not None
    points = tuple(point for point in whole.run.points if not (point.subject == "s1" and point.level == 8.0))
    (group,) = scaling_of(replace(whole, run=replace(whole.run, points=points))).groups
    (alone,) = group.at(8.0)
    assert alone.speedup is None and "not measured at this load" in alone.why
    best = {row.gpus: row.at for row in group.at(None)}
    assert best == {1: 4.0, 2: 8.0}
    assert all(row.speedup is not None for row in group.at(None)), "each at its own fastest load"


@pytest.mark.parametrize("arrival", ["constant", "poisson", "trace"])
def test_where_the_load_sets_the_rate_it_is_no_speed_up(arrival: Arrival) -> None:
    subjects = engine(1, 1), engine(2, 2)
    points = made.points(subjects)
    (group,) = make_scaling(subjects, points, arrival).groups
    for one, two in (group.at(level) for level in (None, *made.LEVELS)):
        assert one.speedup is not None and two.speedup is None and two.efficiency_percent is None
        assert "sets the rate" in two.why and two.per_gpu_tok_s.value > 0
    assert "sets the rate" in sentences((group,))[0].text
    behind = tuple(replace(point, duration_s=point.duration_s / 4) for point in points)
    (group,) = make_scaling(subjects, behind, arrival).groups
    row = group.at(8.0)[1]
    assert (row.speedup is None) is (arrival == "trace"), "both gave what they can"
    alone = tuple(old if old.subject == "s1" else new for old, new in zip(points, behind, strict=True))
    (group,) = make_scaling(subjects, alone, arrival).groups
    assert group.at(8.0)[1].speedup is None, "of the single one nobody knows what it could give"


def test_of_several_single_gpu_engines_the_fastest_is_held_against() -> None:
    subjects = engine(1, 1), engine(2, 2), engine(3, 1)
    (group,) = make_scaling(subjects, made.points(subjects)).groups
    assert group.single == "s3"
    rows = {row.subject: row for row in group.at(None)}
    assert rows["s1"].speedup is not None and rows["s1"].speedup.value == pytest.approx(1 / 1.7, rel=0.01)
    assert rows["s2"].speedup is not None and rows["s2"].speedup.value == pytest.approx(1.35 / 1.7, rel=0.01)


def test_what_else_differs_is_said() -> None:
    fp8 = {"device": "2 GPUs", "kv_cache_precision": "fp8"}
    one = engine(1, 1, settings={"device": "1 GPU", "kv_cache_precision": "float16"})
    two = engine(2, 2, settings=fp8, overrides=("runtime.kv_fraction=0.5",))
    (group,) = make_scaling((one, two), made.points((one, two))).groups
    first, second = group.at(None)
    told = "also differs: kv cache precision fp8, not float16; run with runtime.kv_fraction=0.5"
    assert (first.remark, second.remark) == ("", told)
    assert cells(second)[1] == ("2", f"tp 2 x pp 1; {told}") and f"it {told}." in sentences((group,))[0].text


def test_a_point_in_which_the_engine_died_counts_for_nothing() -> None:
    subjects = engine(1, 1), engine(2, 2)
    died = tuple(replace(p, end="failed") if p.level == 8.0 else p for p in made.points(subjects))
    (group,) = make_scaling(subjects, died).groups
    assert group.levels == (1.0, 4.0)


def test_reports_tell_it_where_gpus_differ() -> None:
    report = report_of_comparison(comparison(1, 2), created_at=1.79e9)
    assert [group.single for group in report.scaling] == ["s1"]
    said = [statement.text for statement in report.statements if "GPUs gives" in statement.text]
    assert len(said) == 1 and said[0].startswith("FP8 on 2 on 2 GPUs gives 1.35\u00d7 of one GPU")
    page = write_html(report)
    assert "Scaling" in page and "67.5" in page
    plain = report_of_comparison(made.comparison(), created_at=1.79e9)
    assert plain.scaling == () and "Scaling" not in write_html(plain)

"""What more GPUs bring, on runs whose speed-up is known: the second engine is 1.35, the third 1.7 times the first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fakes import comparisons as made
from workbench.core.measure.comparison import Comparison
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


def test_reports_tell_it_where_gpus_differ() -> None:
    report = report_of_comparison(comparison(1, 2), created_at=1.79e9)
    assert [group.single for group in report.scaling] == ["s1"]
    said = [statement.text for statement in report.statements if "GPUs gives" in statement.text]
    assert len(said) == 1 and said[0].startswith("FP8 on 2 on 2 GPUs gives 1.35\u00d7 of one GPU")
    page = write_html(report)
    assert "Scaling" in page and "67.5" in page
    plain = report_of_comparison(made.comparison(), created_at=1.79e9)
    assert plain.scaling == () and "Scaling" not in write_html(plain)

"""Charts: values stand where they belong, gaps stay gaps, names do not cover each other."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.core.report.made import WHEN, a_report, a_run, subject
from workbench.core.measure.record import RunRecord
from workbench.core.report.axes import axis_for, spread_labels
from workbench.core.report.build import report_of_runs
from workbench.core.report.charts import (
    HEIGHT,
    WIDTH,
    charts,
    speed_by_quality,
    throughput_by_level,
    throughput_by_speed,
    ttft_by_level,
)
from workbench.core.report.drawing import Drawing, Label, Mark, Stroke
from workbench.core.report.importers import read_foreign
from workbench.core.report.marks import colours, is_filled, outline, shape_of, tone_of
from workbench.core.report.svg import to_svg
from workbench.core.report.tables import point_table

FOREIGN = Path(__file__).parents[2] / "data" / "foreign"


def _marks(drawing: Drawing, tone: str) -> list[Mark]:
    return [item for item in drawing.items if isinstance(item, Mark) and item.tone == tone and item.size == 9.0]


def _lines(drawing: Drawing, tone: str) -> list[Stroke]:
    return [item for item in drawing.items if isinstance(item, Stroke) and item.tone == tone and item.width == 1.5]


def test_values_stand_where_the_axis_says() -> None:
    report = a_report()
    drawing = throughput_by_level(report)
    marks = _marks(drawing, "v1")
    values = [point.output_throughput_tok_s for point in report.points_of("s1")]
    assert len(marks) == 3
    (one, four, eight), (a, b, c) = marks, values
    assert a is not None
    assert b is not None
    assert c is not None
    assert (one.y - eight.y) / (one.y - four.y) == pytest.approx((c - a) / (b - a)), "linear upwards"
    assert (eight.x - one.x) / (four.x - one.x) == pytest.approx(1.5), "1, 4, 8 stand as their logarithms"


def test_what_is_not_reported_is_a_gap() -> None:
    report = a_report()
    points = tuple(
        point.model_copy(update={"ttft_p50_ms": None}) if (point.variant, point.level) == ("s1", 4.0) else point
        for point in report.points
    )
    whole = ttft_by_level(report)
    gapped = ttft_by_level(report.model_copy(update={"points": points}))
    assert len(_marks(gapped, "v1")) == 2
    assert len(_lines(whole, "v1")) == 1
    assert _lines(gapped, "v1") == [], "two lone points are not joined across the gap"


def test_a_variant_keeps_its_colour_and_marker() -> None:
    for drawing in charts(a_report()):
        for slot in range(3):
            for mark in _marks(drawing, tone_of(slot)):
                assert mark.shape == shape_of(slot)


def test_repeats_are_bars_with_ends() -> None:
    report = a_report()
    thin = [i for i in throughput_by_level(report).items if isinstance(i, Stroke) and i.tone == "v2" and i.width == 1.0]
    assert len(thin) == 9, "a bar and two ends at each of three levels"
    once = report_of_runs([a_run(repeats=1)], created_at=WHEN)
    assert not [
        i for i in throughput_by_level(once).items if isinstance(i, Stroke) and i.tone == "v2" and i.width == 1.0
    ]


def test_units_are_on_the_axes() -> None:
    texts = {item.text for item in throughput_by_speed(a_report()).items if isinstance(item, Label)}
    assert "tok/s" in texts
    assert "tok/s per user, median" in texts


def test_quality_needs_two_to_be_held_against_each_other() -> None:
    report = a_report()
    assert not speed_by_quality(report).empty
    assert speed_by_quality(report.model_copy(update={"quality": report.quality[:1]})).empty
    assert len(charts(report.model_copy(update={"quality": ()}))) == 3


def test_no_figures_no_chart() -> None:
    assert charts(a_report().model_copy(update={"points": ()})) == ()


@pytest.mark.parametrize("count", [1, 3, 6, 12])
def test_names_do_not_cover_each_other_and_stay_inside(count: int) -> None:
    run = a_run(levels=(1, 8), repeats=1)
    subjects = tuple(subject(number, f"A rather long name {number}") for number in range(1, count + 1))
    points = tuple(
        type(one)(**{**{name: getattr(one, name) for name in one.__dataclass_fields__}, "subject": each.id})
        for each in subjects
        for one in run.points
        if one.subject == "s1"
    )
    report = report_of_runs([RunRecord(run.head.model_copy(update={"subjects": subjects}), points)], created_at=WHEN)
    for drawing in charts(report):
        named = [item for item in drawing.items if isinstance(item, Label) and item.tone == "text"]
        assert len(named) == count
        for label in named:
            assert 0 <= label.x <= WIDTH
            assert 0 <= label.y <= HEIGHT
    beside = [i for i in throughput_by_level(report).items if isinstance(i, Label) and i.tone == "text"]
    tops = sorted(label.y for label in beside)
    assert all(after - before >= 14.9 for before, after in itertools.pairwise(tops))


def test_svg_is_drawn_in_the_pages_colours() -> None:
    svg = to_svg(throughput_by_level(a_report()))
    assert "var(--v1)" in svg
    assert "#" not in svg


def test_labels_are_moved_apart_no_further_than_needed() -> None:
    assert spread_labels([10, 100], 15, 0, 200) == [10, 100]
    assert spread_labels([50, 50, 52], 15, 0, 200) == [50, 65, 80]
    assert spread_labels([198, 199], 15, 0, 200) == [185, 200]
    crowded = spread_labels([5.0] * 10, 15, 0, 90)
    assert min(crowded) >= 0
    assert max(crowded) <= 90


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.0, 100.0], ["0", "25", "50", "75", "100"]),
        ([3.0, 9_400.0], ["0", "2\u202f500", "5\u202f000", "7\u202f500", "10\u202f000"]),
        ([0.2, 0.9], ["0.00", "0.25", "0.50", "0.75", "1.00"]),
    ],
)
def test_ticks_are_round(values: list[float], texts: list[str]) -> None:
    axis = axis_for(values, 0, 100)
    assert [axis.text(tick) for tick in axis.ticks] == texts
    assert axis.place(axis.low) == 0
    assert axis.place(axis.high) == 100


def test_one_value_has_an_axis_too() -> None:
    for from_zero in (True, False):
        axis = axis_for([7.0], 0, 100, from_zero=from_zero)
        assert 0 <= axis.place(7.0) <= 100
    level = axis_for([1.0], 0, 100, ticks_at=[1.0])
    assert 0 < level.place(1.0) <= 100


def test_a_wide_range_is_logarithmic_where_allowed() -> None:
    axis = axis_for([12.0, 9_000.0], 0, 100, may_log=True)
    assert axis.log
    assert axis.ticks == (10.0, 100.0, 1000.0, 10000.0)
    assert not axis_for([12.0, 90.0], 0, 100, may_log=True).log


def test_markers_are_the_themes_and_hollow_from_the_seventh_on() -> None:
    assert {tone_of(slot) for slot in range(12)} <= set(colours("light"))
    assert (tone_of(6), shape_of(6), is_filled(6)) == (tone_of(0), shape_of(0), False)
    assert is_filled(5)
    assert outline("circle", 0, 0, 9) == ()
    assert len(outline("hexagon", 0, 0, 9)) == 6


def test_levels_that_count_something_else_are_not_on_the_axis() -> None:
    theirs = [read_foreign(FOREIGN / name) for name in ("guidellm_benchmarks.json", "trtllm_bench.json")]
    rates = [point.level for point in theirs[0].points if point.level_unit == "requests a second"]
    assert rates
    report = a_report(foreign=theirs)
    for drawing in (throughput_by_level(report), ttft_by_level(report)):
        (unit,) = [item.text for item in drawing.items if isinstance(item, Label) and "requests" in item.text]
        assert unit == "concurrent requests"
        assert len(_marks(drawing, tone_of(3))) == len(theirs[0].points) - len(rates)
        assert len(_marks(drawing, tone_of(4))) == 1, "a mean concurrency is a concurrency"
    assert any("not in the charts by load" in statement.text for statement in report.statements)
    cells = [row.cells[0].text for row in point_table(report)[1]]
    assert f"{rates[0]:g} req/s" in cells
    assert "1 user" in cells

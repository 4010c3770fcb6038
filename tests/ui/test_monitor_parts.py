"""What the monitor's panels are made of: columns, scales, the picture, the KV strip, the time axis."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PySide6.QtGui import QColor

from workbench.telemetry.series import Rows, Series
from workbench.ui.monitor.axis import SPANS, TimeAxis, Window, ago, round_up, short, tick_step
from workbench.ui.monitor.kv_panel import sequences_that_fit, split
from workbench.ui.monitor.kv_strip import MOST_CELLS, KvStrip, bundle_of
from workbench.ui.monitor.raster import Raster, columns
from workbench.ui.monitor.strokes import Strokes, scale_ticks, top_of

RED, GROUND = QColor("#ff0000"), QColor("#000000")


def filled(values: list[float | None], start: float = 1000.0, step: float = 0.1) -> Series:
    series = Series()
    for place, value in enumerate(values):
        series.add(start + place * step, {"x": value}, step)
    return series


def window_at(end: float, span: float = 60.0, count: int = 120) -> Window:
    axis = TimeAxis()
    axis.set_minutes(round(span / 60))
    axis.tell_now(end)
    return axis.window(count)


def test_a_peak_narrower_than_a_column_is_drawn() -> None:
    values = np.ones(3_600)
    values[1_777] = 99.0
    t = 1000 + np.arange(3_600.0)
    series = Series()
    series.load(Rows(t, {"x": values}, t + 3.0))
    window = window_at(1000 + 3600, 3600, 186)
    low, high = columns(series.view("x", window.start, window.end, 2 * 186 + 2), window)
    assert len(low) == len(high) == 186
    assert np.nanmax(high) == 99.0 and np.nanmax(low) == 1.0 and np.nanmin(low) == 1.0
    at = window.start + (int(np.nanargmax(high)) + 0.5) * window.step
    assert abs(at - 2777.0) < 2 * window.step


def test_columns_do_not_change_while_the_window_moves() -> None:
    series = filled([math.sin(n / 7) * (n % 13) for n in range(1200)])
    first, later = window_at(1000 + 100), window_at(1000 + 112)
    moved = round((later.start - first.start) / first.step)
    assert moved == 24
    for a, b in zip(
        columns(series.view("x", first.start, first.end, 242), first),
        columns(series.view("x", later.start, later.end, 242), later),
        strict=True,
    ):
        # The newest column of the first was not full yet.
        assert np.array_equal(a[moved:-1], b[: len(a) - moved - 1], equal_nan=True)


def test_what_was_not_reported_is_a_gap_and_what_was_before_the_first_reading_is_not() -> None:
    series = filled([5.0] * 200 + [None] * 100 + [5.0] * 100)
    window = window_at(1040.0)
    strokes = Strokes(series, window)
    low, high = strokes.columns("x")
    middles = window.start + (np.arange(window.columns) + 0.5) * window.step
    absent = (middles > 1020.6) & (middles < 1029.4)
    assert np.isnan(high[absent]).all() and (high[(middles > 1000.6) & (middles < 1019.4)] == 5.0).all()
    gap = strokes.gap(high)
    assert gap[absent].all() and not gap[middles < 999.4].any(), "nothing was sampled before"
    assert not Strokes(series, window).gap(low, np.zeros(window.columns)).any()


def test_a_reading_that_came_once_a_second_fills_all_columns() -> None:
    series = filled([float(n) for n in range(60)], step=1.0)
    window = window_at(1059.0, 60, 372)
    _, high = columns(series.view("x", window.start, window.end, 746), window)
    assert not np.isnan(high[8:-8]).any()


@pytest.mark.parametrize("scale", [1.0, 1.5, 2.0])
def test_a_curve_is_joined_and_an_area_reaches_the_bottom(scale: float) -> None:
    wide, high = round(40 * scale), round(20 * scale)
    raster = Raster(wide, high, scale)
    raster.clear(GROUND)
    values = np.where(np.arange(wide) < wide // 2, 0.0, 100.0)
    raster.line(raster.y(values, 100.0), raster.y(values, 100.0), RED)
    image = raster.image()
    red = [[image.pixelColor(x, y) == RED for y in range(high)] for x in range(wide)]
    assert all(any(column) for column in red), "each column has its part of the curve"
    assert all(red[wide // 2]), "the step is an upright from top to bottom"
    assert red[0] == [False] * (high - round(scale)) + [True] * round(scale), "as thick as a px, at the bottom"
    raster.under(raster.y(np.full(wide, 50.0), 100.0), RED)
    image = raster.image()
    assert image.pixelColor(3, high - 1) == RED and image.pixelColor(3, round(0.4 * high)) == GROUND


def test_a_gap_in_a_curve_is_not_bridged() -> None:
    raster = Raster(30, 20)
    raster.clear(GROUND)
    values = np.full(30, 50.0)
    values[10:20] = np.nan
    y = raster.y(values, 100.0)
    raster.line(y, y, RED)
    image = raster.image()
    drawn = [any(image.pixelColor(x, row) == RED for row in range(20)) for x in range(30)]
    assert drawn == [True] * 10 + [False] * 10 + [True] * 10


def test_scales_are_round_and_calm() -> None:
    assert [round_up(v) for v in (0.0, 0.9, 5.2, 128, 5210, 47_000)] == [1.0, 1.0, 6.0, 150.0, 6000.0, 50_000.0]
    assert [short(v) for v in (0.0, 150.0, 6000.0, 1.5e6)] == ["0", "150", "6\u202fk", "1.5\u202fM"]
    assert [tick_step(v) for v in (140.4, 23.5, 8.0, 1.0)] == [50.0, 10.0, 5.0, 0.5]
    assert scale_ticks(6000.0) == ((0.0, "0"), (6000.0, "6\u202fk"))
    assert top_of([np.array([3.0, np.nan])], 10.0) == 10.0
    assert top_of([np.array([90.0])], 10.0, before=150.0) == 150.0, "it does not jump back at once"
    assert top_of([np.array([20.0])], 10.0, before=150.0) == 20.0
    assert top_of([np.full(3, np.nan)], 10.0) == 10.0
    assert [ago(v) for v in (60, 30, 0, 900, 150)] == ["-60 s", "-30 s", "now", "-15 min", "-2:30"]


# -- the strip


@pytest.mark.parametrize("total", [1, 64, 100, 300, 301, 1000, 59_581, 200_000])
def test_cells_are_bundles_of_blocks_sorted_by_state(total: int) -> None:
    bundle = bundle_of(total)
    assert bundle & (bundle - 1) == 0, "a power of two"
    for used in {0, 1, total // 3, total // 2, total - 1, total}:
        for reused in {0, 1 if used < total else 0, min(used // 2, total - used)}:
            strip = KvStrip()
            strip.take(used, reused, total)
            cells = strip.cells
            assert sum(cells) == -(-total // bundle) <= MOST_CELLS
            assert (np.diff(strip.states) >= 0).all()
            free = total - used - reused
            for blocks, drawn in zip((used, reused, free), cells, strict=True):
                assert (drawn == 0) if blocks <= 0 else abs(drawn - blocks / bundle) <= 2.5, (used, reused, cells)
            present = sum(1 for blocks in (used, reused, free) if blocks > 0)
            if sum(cells) >= present:
                for blocks, drawn in zip((used, reused, free), cells, strict=True):
                    assert blocks <= 0 or drawn >= 1, (used, reused, cells)


def test_a_strip_has_100_to_300_cells_where_there_are_as_many_blocks() -> None:
    for total in range(100, 200_001, 997):
        assert 100 <= -(-total // bundle_of(total)) <= 300, total
    strip = KvStrip()
    assert strip.take(0, 0, 59_581) and strip.bundle == 256 and strip.a_row(328) == 41
    assert strip.height_for(328) == 6 * 8 - 1
    assert not strip.take(100, 0, 59_581), "no other number of cells"


def test_counts_add_up_however_an_engine_counts_reused_blocks() -> None:
    assert split(22_528, 3_840, 33_213, 59_581) == (22_528, 3_840, 33_213)
    assert split(500, 100, 500, 1000) == (400, 100, 500), "counted among the used ones"
    assert split(500, None, 500, 1000) == (500, 0, 500)
    assert split(500, 9_000, 500, 1000) == (0, 500, 500), "a counter since the start is no state"
    assert split(2000, None, None, 1000) == (1000, 0, 0)


def test_room_is_in_whole_sequences() -> None:
    assert sequences_that_fit(33_213, 32, 8_192) == 129
    assert sequences_that_fit(255, 32, 8_192) == 0
    assert sequences_that_fit(10, 32, 33) == 5, "a begun block is a block"
    assert sequences_that_fit(100, None, 8_192) is None and sequences_that_fit(100, 32, None) is None


# -- the axis


def test_the_window_ends_at_a_border_that_does_not_move() -> None:
    axis = TimeAxis()
    for minutes in SPANS:
        axis.set_minutes(minutes)
        axis.tell_now(1234.567)
        window = axis.window(186)
        assert window.end >= 1234.567 > window.end - window.step - 1e-9
        assert window.end - window.start == pytest.approx(60 * minutes)
        assert window.end / window.step == pytest.approx(round(window.end / window.step))
        axis.tell_now(window.end - window.step / 1000)
        assert axis.window(186).start == window.start


def test_dragging_goes_as_far_as_there_is_something_and_back_to_following() -> None:
    axis = TimeAxis()
    axis.set_minutes(1)
    axis.oldest = 700.0
    axis.tell_now(1000.0)
    axis.drag(30.0, axis.end)
    assert not axis.follows and axis.end == 970.0
    axis.tell_now(1010.0)
    assert axis.end == 970.0, "held while time goes on"
    axis.drag(1e6, axis.end)
    assert axis.end == 706.0
    axis.drag(-1e6, axis.end)
    assert axis.follows and axis.end == 1010.0


def test_a_crosshair_under_the_pointer_stays_under_it_and_one_that_was_set_stays_in_time() -> None:
    axis = TimeAxis()
    axis.set_minutes(1)
    axis.tell_now(1000.0)
    axis.point_at(0.5)
    assert axis.cross == 970.0
    axis.tell_now(1010.0)
    assert axis.cross == 980.0
    axis.set_cross(975.0)
    axis.tell_now(1020.0)
    assert axis.cross == 975.0
    axis.step_cross(-1e6)
    assert axis.cross == 960.0
    axis.point_at(None)
    assert axis.cross is None

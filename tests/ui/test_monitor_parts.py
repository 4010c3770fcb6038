"""What the monitor's panels are made of: columns, scales, the picture, the KV strip, the time axis."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import QRect, Qt
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from tests.fakes.nvml import GIB, FakeGpu, FakeNvml
from workbench.telemetry.nvml import GpuProcess, NvmlSource
from workbench.telemetry.series import Rows, Series
from workbench.ui.monitor.axis import SPANS, TimeAxis, Window, ago, round_up, short, tick_step
from workbench.ui.monitor.columns import columns
from workbench.ui.monitor.frame import Band, Curve, Frame
from workbench.ui.monitor.kv_panel import sequences_that_fit, split
from workbench.ui.monitor.kv_strip import MOST_CELLS, KvStrip, bundle_of
from workbench.ui.monitor.memory_panel import MemoryPanel
from workbench.ui.monitor.plot import Plot
from workbench.ui.monitor.strokes import SHARES, Strokes, scale_ticks, share_top, top_of
from workbench.ui.theme import theme


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


# -- the view of a plot


class Drawn:
    """A plot of 40 x 20 px in a widget of its own, and what it looks like at a scale."""

    def __init__(self, qtbot: QtBot) -> None:
        self.widget = QWidget()
        qtbot.addWidget(self.widget)
        self.widget.resize(40, 20)
        self.plot = Plot(20, self.widget)
        self.plot.place(QRect(0, 0, 40, 20))

    def __call__(self, frame: Frame, scale: float = 1.0, cross: tuple[float, ...] = ()) -> QImage:
        self.plot.take(frame)
        self.plot.draw(scale, (), cross)
        image = QImage(round(40 * scale), round(20 * scale), QImage.Format.Format_RGB32)
        image.setDevicePixelRatio(scale)
        self.widget.render(image)
        return image


@pytest.fixture
def draw(qtbot: QtBot) -> Drawn:
    return Drawn(qtbot)


def where(image: QImage, token: str) -> np.ndarray:
    """[row, column]: whether it has this colour there."""
    wanted = theme().colour(token).rgb()
    return np.array([[image.pixel(x, y) == wanted for x in range(image.width())] for y in range(image.height())])


@pytest.mark.parametrize("scale", [1.0, 1.5, 2.0])
def test_a_curve_is_joined_and_an_area_reaches_the_bottom(draw: Drawn, scale: float) -> None:
    wide, high = round(40 * scale), round(20 * scale)
    values = np.where(np.arange(wide) < wide // 2, 0.0, 100.0)
    line = where(draw(Frame(100.0, (Curve(values, values, "s_gen"),)), scale), "s_gen")
    assert line.any(axis=0).all(), "each column has its part of the curve"
    assert line[:, wide // 2 - 1 : wide // 2 + 1].any(axis=1).all(), "the step is an upright from top to bottom"
    thick = round(scale)
    assert line[:, 4].tolist() == [False] * (high - thick) + [True] * thick, "as thick as a px, at the bottom"
    assert line[:, -4].tolist() == [True] * thick + [False] * (high - thick), "and at the top"
    half = np.full(wide, 50.0)
    area = where(draw(Frame(100.0, bands=(Band(half, "s_kv"),)), scale), "s_kv")
    assert area[-1].all() and area[math.ceil(0.5 * high) :].all() and not area[: math.floor(0.5 * high) - 1].any()
    nothing = where(draw(Frame(100.0, bands=(Band(0 * half, "s_kv"),)), scale), "s_kv")
    assert not nothing.any(), "nothing of a part is no line of it"


def test_a_curve_fills_what_lies_between_lowest_and_highest(draw: Drawn) -> None:
    low, high = np.full(40, 20.0), np.full(40, 20.0)
    high[13] = 100.0
    line = where(draw(Frame(100.0, (Curve(low, high, "s_gen"),))), "s_gen")
    assert line[:16, 13].all() and not line[:15, 15:].any() and not line[:15, :12].any(), "a peak of one column"


def test_a_gap_in_a_curve_is_not_bridged_and_is_hatched(draw: Drawn) -> None:
    values = np.full(40, 50.0)
    values[10:30] = np.nan
    for curve in (Curve(values, values, "s_gen", fill=True), Curve(values, values, "s_gen", dotted=True)):
        image = draw(Frame(100.0, (curve,), gap=np.isnan(values)))
        drawn = where(image, "s_gen").any(axis=0)
        assert not drawn[10:30].any() and drawn[:10].sum() >= 5 <= drawn[30:].sum()
        hatch, ground = where(image, "line"), where(image, "sunken")
        assert (hatch | ground)[:, 10:30].all(), "no area either"
        assert not hatch[:, :10].any() and not hatch[:, 30:].any()
        for shift in range(5):  # 2 px line, 4 px gap, along every row, each row one further
            assert np.array_equal(hatch[shift, 12:25], hatch[0, 12 + shift : 25 + shift]), "45 degrees"
        assert sorted(hatch[0, 11:17].tolist()) == [False] * 4 + [True] * 2


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_parts_lie_on_each_other_and_hatches_keep_their_width(draw: Drawn, scale: float) -> None:
    wide = round(40 * scale)
    edges = [np.full(wide, value) for value in (25.0, 50.0, 75.0)]
    bands = (Band(edges[0], "s_weights"), Band(edges[1], "s_unsplit", 1), Band(edges[2], "s_other"))
    for top in (100.0, 100.0 * 2**30):  # bytes: the plane of values is stretched much
        sized = tuple(Band(band.upper * top / 100, band.token, band.hatch) for band in bands)
        image = draw(Frame(top, bands=sized, ceiling=0.9 * top, ticks=((0.85 * top, ""),)), scale)
        x = round(6 * scale)
        for row, token in ((17, "s_weights"), (8, "s_other"), (3, "line"), (0, "sunken")):
            assert where(image, token)[round(row * scale), x], token
        period = 4 * round(scale)
        lines = where(image, "s_unsplit")[round(12 * scale), x : x + 2 * period]
        assert lines.sum() == period and (lines[:period] == lines[period:]).all(), "as much line as gap"
        assert (lines | where(image, "track")[round(12 * scale), x : x + 2 * period]).all()
        assert where(image, "text3")[round(2 * scale)].any(), "dots of the ceiling"


def test_the_crosshair_lies_over_the_curves_in_its_px(draw: Drawn) -> None:
    frame = Frame(100.0, (Curve(np.full(40, 50.0), np.full(40, 50.0), "s_gen"),), (Band(np.full(40, 99.0), "s_kv"),))
    for scale in (1.0, 2.0):
        line = where(draw(frame, scale, cross=(7.5 / 40,)), "accent")
        places = np.flatnonzero(line.any(axis=0)).tolist()
        assert places == [x for x in range(line.shape[1]) if int(x / scale) == 7] and line[:, places].all()
    assert not where(draw(frame), "accent").any()


def test_only_what_differs_is_touched(draw: Drawn) -> None:
    rng = np.random.default_rng(4)
    one, two, part = (Curve(values, values, "s_gen") for values in 90 * rng.random((3, 40)))
    band = Band(part.high, "s_kv")
    draw(Frame(100.0, (one, two), (band,)))
    view = draw.plot.view
    before = [shape.given for shape in (*view.curves, *view.bands, view.ticks, view.gap, view.cross)]
    path = view.curves[0].getPath()
    draw(Frame(100.0, (one, Curve(two.low / 2, two.high, "s_gen")), (band,)), cross=(0.5,))
    after = [shape.given for shape in (*view.curves, *view.bands, view.ticks, view.gap, view.cross)]
    assert [b - a for a, b in zip(before, after, strict=True)] == [0, 1, 0, 0, 0, 1]
    assert view.curves[0].getPath() is path, "its path is kept"
    assert not draw.plot.take(Frame(100.0, (one, Curve(two.low / 2, two.high, "s_gen")), (band,)))
    draw(Frame(100.0, (one,)))
    assert len(view.curves) == 1 and not view.bands and not where(draw(Frame(100.0, (one,))), "s_kv").any()


def test_a_view_of_a_plot_leaves_pointer_and_keys_to_its_panel(draw: Drawn) -> None:
    view = draw.plot.view
    assert draw.widget.childAt(20, 10) is None, "the pointer is the panel's"
    assert view.focusPolicy() == view.viewport().focusPolicy() == Qt.FocusPolicy.NoFocus
    assert view.box.menu is None and not view.acceptDrops()
    assert type(view.viewport()) is QWidget, "no OpenGL"
    draw(Frame(80.0, (Curve(np.ones(30), np.ones(30), "s_gen"),)))
    (left, right), (below, above) = view.box.viewRange()
    assert (left, right) == (0, 30) and below == pytest.approx(80.0 - above)
    assert above == pytest.approx(80 * 19.5 / 19, rel=0.01), "half a px more, so that a line at the top is whole"


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


def test_the_scale_of_shares_follows_what_is_in_view_and_stays_calm() -> None:
    assert [share_top(most) for most in (0.0, 0.3, 1.0, 1.1, 7.0, 34.0, 50.1, 100.0, 140.0)] == [
        100.0, 1.0, 1.0, 2.0, 10.0, 50.0, 100.0, 100.0, 100.0,
    ]  # fmt: skip
    assert share_top(7.0, before=5.0) == 10.0, "it rises at once"
    assert share_top(4.9, before=10.0) == 10.0 and share_top(3.9, before=10.0) == 5.0, "and falls when there is room"
    assert share_top(0.0, before=10.0) == 10.0, "not for an empty pool"
    tops, top = [], 0.0
    for most in 5.0 + 0.4 * np.sin(np.arange(200)):
        top = share_top(most, top)
        tops.append(top)
    assert set(tops[2:]) == {10.0}, "it does not jump back and forth"
    assert set(SHARES) == {share_top(share) for share in SHARES}


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


def test_the_tip_of_a_gpus_memory_names_the_other_users(qtbot: QtBot) -> None:
    source = NvmlSource(FakeNvml(FakeGpu()))
    now = source.read()
    source.close()
    panel = MemoryPanel(TimeAxis(), "GPU 0", Series(), reading=lambda: now[0] if now else None)
    qtbot.addWidget(panel)
    assert "Other users" not in panel._tip()
    processes = (
        GpuProcess(1, 10 * GIB, "python", "anna"),
        GpuProcess(2, GIB, "python"),
        GpuProcess(3, None, "x", "ben"),
    )
    now = (replace(now[0], processes=processes),)
    assert panel._tip().endswith("Other users now: anna 10.0 GiB, ben not reported")
    now = ()
    assert "Other users" not in panel._tip(), "the GPU is gone"

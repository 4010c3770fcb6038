"""The monitor: panels over one time axis, fed by the real telemetry with invented readings."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QImage, QMouseEvent
from PySide6.QtWidgets import QApplication, QFileDialog
from pytestqt.qtbot import QtBot

from tests.fakes.telemetry import BLOCKS, GIB, LONGEST, TOTAL, WEIGHTS, Invented
from tests.ui.conftest import OpenWindow
from workbench.core.home import Home
from workbench.telemetry.recording import read, write
from workbench.ui.monitor.axis import TimeAxis
from workbench.ui.monitor.board import Board
from workbench.ui.monitor.dock import Monitor
from workbench.ui.monitor.kv_panel import KvPanel
from workbench.ui.monitor.memory_panel import MemoryPanel
from workbench.ui.monitor.panel import Panel
from workbench.ui.monitor.picture import draw
from workbench.ui.session import STATE_FILE, Session, State
from workbench.ui.theme import theme
from workbench.ui.window import Window

Show = Callable[..., Board]
RECORDING = Path(__file__).parents[1] / "data" / "recordings" / "h100.jsonl.gz"
"""An H100 under 1 to 128 requests at once."""


@pytest.fixture
def show(qtbot: QtBot) -> Iterator[Show]:
    """Shows the panels of a source for a minute's span."""
    made: list[Board] = []

    def show_one(source: Invented, minutes: int = 1, height: int = 1100) -> Board:
        axis = TimeAxis()
        axis.set_minutes(minutes)
        board = Board(source.telemetry, axis)
        made.append(board)
        qtbot.addWidget(board)
        board.resize(360, height)
        board.show()
        board.refresh()
        QApplication.processEvents()
        return board

    yield show_one
    for board in made:
        board.close()


def titles(board: Board) -> list[str]:
    return [panel.title for panel in board.panels]


def panel(board: Board, title: str) -> Panel:
    return next(each for each in board.panels if each.title == title)


def values(shown: Panel) -> dict[str, str]:
    """Name -> value beside the plots of a panel."""
    return {r.name: r.value.replace("\u202f", "") for group in shown.told.readings for r in group}


# -- which panels there are


def test_panels_of_a_gpu_and_an_engine(show: Show) -> None:
    source = Invented()
    source.run(5)
    board = show(source)
    assert titles(board) == ["GPU memory", "Tokens per second", "KV-cache blocks", "GPU", "Requests"]
    assert values(panel(board, "GPU"))["Load"] and board._note.isHidden()


def test_without_a_gpu_the_host_is_shown_and_it_is_said(show: Show) -> None:
    source = Invented(gpus=0, engines=())
    source.run(1)
    board = show(source)
    assert titles(board) == ["Host memory", "CPU"]
    assert "No NVIDIA GPU" in board._note.text() and "no driver here" in board._note.text()
    assert {"Free", "Other apps", "Workbench"} <= set(values(panel(board, "Host memory")))


def test_several_gpus_and_engines_are_told_apart(show: Show) -> None:
    source = Invented(gpus=2, engines=("one", "two"))
    source.run(1)
    board = show(source)
    assert titles(board) == [
        "GPU 0 memory", "GPU 1 memory", "Tokens per second · one", "KV-cache blocks · one", "Tokens per second · two",
        "KV-cache blocks · two", "GPU 0", "GPU 1", "Requests · one", "Requests · two",
    ]  # fmt: skip


def test_an_engine_that_is_gone_stays_as_long_as_it_is_in_the_window(show: Show) -> None:
    source = Invented()
    source.run(20)
    board = show(source)
    source.telemetry.detach_engine(source.tracks.pop().id)
    source.run(30)
    board.refresh()
    assert "Requests" in titles(board)
    requests = panel(board, "Requests")
    assert set(values(requests).values()) == {""} and requests.told.note == "unloaded"
    kv = panel(board, "KV-cache blocks").plots[0].frame
    assert kv is not None and not kv.gap.any(), "an engine that is not there has no gap"
    source.run(40)
    board.refresh()
    assert titles(board) == ["GPU memory", "GPU"]
    board.axis.set_minutes(5)
    assert "Requests" in titles(board)


def test_a_reloaded_engine_goes_on_in_its_panels(show: Show) -> None:
    source = Invented()
    source.run(20)
    board = show(source)
    before = panel(board, "Requests")
    source.telemetry.detach_engine(source.tracks.pop().id)
    source.run(5)
    source.tracks.append(source.load("an-engine"))
    source.run(5)
    board.refresh()
    assert titles(board).count("Requests") == 1 and panel(board, "Requests") is before
    frame = before.plots[0].frame
    assert frame is not None
    high = np.isfinite(frame.curves[0].high)
    assert high[-30:-120:-1].any() and high[-10:].any(), "both loads are drawn"
    window = board.shown()
    between = int((source.times.now - 7.5 - window.start) / window.step)
    assert not high[between] and not frame.gap[between]
    board.axis.set_cross(source.times.now - 20)
    assert values(before)["Active"] == "16"


# -- values


def test_the_newest_values_are_told_and_spoken(show: Show) -> None:
    source = Invented()
    source.run(10)
    board = show(source)
    track = source.tracks[0]
    memory = panel(board, "GPU memory")
    assert memory.told.note == "31.0 of 40.0 GiB"
    assert list(values(memory)) == ["Free", "Other apps", "KV free", "KV used", "Activations", "Weights"]
    assert values(memory)["Weights"] == "8.0" and "Weights 8.0" in memory.accessibleDescription()
    tokens = panel(board, "Tokens per second")
    rate = track.series.newest("generation_tok_s")
    assert rate is not None and values(tokens)["Generation"] == f"{rate:.0f}"
    assert "mean" in tokens.accessibleDescription() and "while requests were open" in tokens.toolTip()
    kv = panel(board, "KV-cache blocks")
    counts = [int(values(kv)[name]) for name in ("Used", "Reused", "Free")]
    assert sum(counts) == BLOCKS and counts[0] + counts[1] == track.series.newest("kv_blocks_used")
    assert kv.told.more.replace("\u202f", "").startswith(f"Room for {counts[2] // (LONGEST // 32)} more sequences")
    assert values(panel(board, "Requests")) == {"Active": "16", "Queued": "4", "Last batch": "16"}
    for each in board.panels:
        assert each.accessibleName() == each.title and each.accessibleDescription()


def test_the_memory_stack_adds_up_and_has_its_colours(show: Show) -> None:
    source = Invented()
    source.run(60)
    board = show(source)
    shown = panel(board, "GPU memory")
    frame = shown.plots[0].frame
    assert isinstance(shown, MemoryPanel) and frame is not None
    assert [band.token for band in frame.bands] == ["s_weights", "s_act", "s_kv", "s_kvfree", "s_other"]
    series = source.telemetry.gpus[0].series
    now = source.times.now
    free = series.at("part.free", now)
    assert free is not None and frame.bands[-1].upper[-2] + free == pytest.approx(TOTAL)
    assert frame.bands[0].upper[-2] == WEIGHTS and frame.ceiling == TOTAL
    image, plot = shown.grab().toImage(), shown.plots[0].rect
    x = plot.center().x()
    colours = [
        image.pixelColor(x, plot.bottom() - round(plot.height() * share / frame.top)).name()
        for share in (WEIGHTS / 2, WEIGHTS + GIB, 29.5 * GIB, 30.5 * GIB, 36 * GIB)
    ]
    assert colours == [theme().hex(name) for name in ("s_weights", "s_act", "s_kvfree", "s_other", "sunken")]


def test_what_nobody_splits_is_hatched_and_named(show: Show) -> None:
    source = Invented(engines=())
    track = source.load("quiet")
    for _ in range(300):
        source.step()
        track.take(source.stats(memory_bytes={}), source.times.now)
    board = show(source)
    shown = panel(board, "GPU memory")
    assert "Not split" in values(shown) and "Weights" not in values(shown)
    frame = shown.plots[0].frame
    assert frame is not None and [(b.token, b.hatch) for b in frame.bands] == [("s_unsplit", 1), ("s_other", 0)]
    image, plot = shown.grab().toImage(), shown.plots[0].rect
    seen = {image.pixelColor(plot.right() - 20 + dx, plot.bottom() - 20).name() for dx in range(12)}
    assert seen == {theme().hex("s_unsplit"), theme().hex("track")}


def test_what_is_not_reported_is_a_gap_in_words_and_never_zero(show: Show) -> None:
    source = Invented()
    absent = dict.fromkeys(("kv_blocks_used", "kv_blocks_free", "kv_blocks_reused", "generated_tokens", "batch"), None)
    source.nvml.power = None
    for _ in range(100):
        source.step(**absent)
    board = show(source)
    kv, tokens = panel(board, "KV-cache blocks"), panel(board, "Tokens per second")
    assert kv.told.note == "not reported"
    for frame in (kv.plots[0].frame, tokens.plots[0].frame):
        assert frame is not None and frame.words == "not reported by OpenVINO GenAI" and frame.gap.sum() > 20
    assert values(tokens)["Generation"] == "" and values(tokens)["Prefill"] != ""
    assert "Generation not reported" in tokens.accessibleDescription()
    assert values(panel(board, "Requests"))["Last batch"] == ""
    gpu = panel(board, "GPU")
    assert values(gpu)["Power"] == "" and values(gpu)["Load"] != "", "one quantity fails alone"
    power = gpu.plots[1].frame
    assert power is not None and power.words == "not reported" and not np.isfinite(power.curves[0].high).any()


def test_a_count_of_reused_blocks_is_told_and_not_drawn_as_a_part_of_the_pool(show: Show) -> None:
    source = Invented()
    for _ in range(30):
        source.step(kv_blocks_used=BLOCKS // 2, kv_blocks_reused=None, kv_blocks_reused_since_load=9 * BLOCKS)
    kv = panel(show(source), "KV-cache blocks")
    assert values(kv)["Reused, sum"].replace("\u202f", "") == str(9 * BLOCKS) and "Reused" not in values(kv)
    used, reused, free = kv.strip.cells
    assert reused == 0 and abs(used - free) <= 1
    assert "since the engine was loaded" in kv.toolTip()


def test_a_lost_gpu_is_a_gap_and_says_so(show: Show) -> None:
    source = Invented()
    source.run(20)
    source.nvml.lost.add(0)
    source.run(20)
    board = show(source)
    memory = panel(board, "GPU memory")
    assert memory.told.note == "not reported"
    frame = memory.plots[0].frame
    assert frame is not None and frame.gap[-20:-2].all() and frame.words == "", "its past is still there"
    assert [mark.text for mark in board.lane.marks] == ["GPU 0 does not answer"]
    board.axis.set_cross(source.times.now - 30)
    assert memory.told.note == "31.0 of 40.0 GiB"


def test_reasons_for_a_lower_clock_are_said(show: Show) -> None:
    source = Invented()
    source.nvml.throttle = ("power cap",)
    source.run(5)
    source.nvml.throttle = ()
    source.run(5)
    board = show(source)
    gpu = panel(board, "GPU")
    assert gpu.told.note == ""
    board.axis.set_cross(source.times.now - 7)
    assert gpu.told.note == "clock held down" and gpu.told.trouble
    source.nvml.throttle = ("power cap", "heat")
    board.axis.set_cross(None)
    source.run(1)
    board.refresh()
    assert gpu.told.note == "power cap, heat" and gpu.told.trouble


# -- one time axis


def pointer(kind: QEvent.Type, place: QPoint, button: Qt.MouseButton = Qt.MouseButton.NoButton) -> QMouseEvent:
    at = QPointF(place)
    return QMouseEvent(kind, at, at, at, button, button, Qt.KeyboardModifier.NoModifier)


def test_the_crosshair_reads_all_panels_at_once(show: Show) -> None:
    source = Invented()
    source.run(35)
    board = show(source)
    memory = panel(board, "GPU memory")
    plot = memory.plots[0].rect
    memory.mouseMoveEvent(pointer(QEvent.Type.MouseMove, QPoint(plot.left() + plot.width() // 2, plot.center().y())))
    at = board.axis.cross
    assert at == pytest.approx(source.times.now - 30, abs=60 / plot.width())
    series, gpu = source.tracks[0].series, source.telemetry.gpus[0].series
    for title, name, value in (
        ("Requests", "Active", series.at("requests_active", at)),
        ("GPU", "Power", gpu.at("power_w", at)),
        ("Tokens per second", "Prefill", series.at("prefill_tok_s", at)),
    ):
        assert value is not None and values(panel(board, title))[name] == f"{value:.0f}", title
    assert series.at("kv_blocks_used", at) != series.newest("kv_blocks_used")
    image = panel(board, "Requests").grab().toImage()
    below = panel(board, "Requests").plots[0].rect
    assert image.pixelColor(plot.left() + plot.width() // 2, below.center().y()).name() == theme().hex("accent")
    assert board.lane.tag, "its time stands in the lane"
    memory.leaveEvent(QEvent(QEvent.Type.Leave))
    assert board.axis.cross is None and values(panel(board, "Requests"))["Active"] == "0"


def test_words_are_painted_without_the_plots(show: Show, qtbot: QtBot) -> None:
    source = Invented()
    source.run(30)
    board = show(source)
    shown = panel(board, "GPU")
    drawn = [plot.drawn for plot in shown.plots]
    shown.update_words()
    QApplication.processEvents()
    assert [plot.drawn for plot in shown.plots] == drawn
    plot = shown.plots[2]
    qtbot.mouseMove(board.window(), shown.mapTo(board, plot.rect.center()))  # as it comes: over the view of the plot
    qtbot.waitUntil(lambda: board.axis.cross is not None)
    QApplication.processEvents()
    assert all(plot.drawn > count for plot, count in zip(shown.plots, drawn, strict=True)), "the crosshair is theirs"


def test_keys_move_the_crosshair_hold_and_let_go(show: Show, qtbot: QtBot) -> None:
    source = Invented()
    source.run(30)
    board = show(source)
    shown = panel(board, "GPU")
    shown.setFocus()
    step = 60 / shown.plot_width
    qtbot.keyClick(shown, Qt.Key.Key_Left)
    assert board.axis.cross == pytest.approx(source.times.now - step)
    qtbot.keyClick(shown, Qt.Key.Key_Left, Qt.KeyboardModifier.ShiftModifier)
    assert board.axis.cross == pytest.approx(source.times.now - 11 * step)
    qtbot.keyClick(shown, Qt.Key.Key_Home)
    assert board.axis.cross == pytest.approx(source.times.now - 60)
    assert values(shown)["Load"] == "", "before the first reading"
    qtbot.keyClick(shown, Qt.Key.Key_Escape)
    assert board.axis.cross is None
    qtbot.keyClick(shown, Qt.Key.Key_Space)
    assert not board.axis.follows
    qtbot.keyClick(shown, Qt.Key.Key_Space)
    assert board.axis.follows


def test_dragging_any_plot_drags_all(show: Show) -> None:
    source = Invented()
    source.run(100, 0.5)
    board = show(source)
    shown = panel(board, "Requests")
    others = {each.title: each.plots[0]._key for each in board.panels if each is not shown}
    plot = shown.plots[0].rect
    begin = plot.center()
    shown.mousePressEvent(pointer(QEvent.Type.MouseButtonPress, begin, Qt.MouseButton.LeftButton))
    to = begin + QPoint(plot.width() // 3, 0)
    shown.mouseMoveEvent(pointer(QEvent.Type.MouseMove, to, Qt.MouseButton.LeftButton))
    shown.mouseReleaseEvent(pointer(QEvent.Type.MouseButtonRelease, to, Qt.MouseButton.LeftButton))
    assert board.axis.end == pytest.approx(source.times.now - 20, abs=0.5)
    for each in board.panels:
        if each is not shown:
            assert each.plots[0]._key != others[each.title], each.title
    assert board.labels.words[2].count(":") == 2, "the time of day"
    board.axis.follow()
    assert board.labels.words == ("-60 s", "-30 s", "now")


def test_a_held_picture_stays_while_readings_come(show: Show) -> None:
    source = Invented()
    source.run(30)
    board = show(source)
    board.axis.pause()
    kept = {each.title: (each.plots[0]._key, each.told) for each in board.panels}
    refreshes = board.refreshes
    source.run(20)
    board.tick()
    assert board.refreshes == refreshes
    board.refresh()
    assert {each.title: (each.plots[0]._key, each.told) for each in board.panels} == kept
    board.axis.follow()
    assert {each.title: (each.plots[0]._key, each.told) for each in board.panels} != kept


def test_events_are_ticks_with_words_above_the_first_panel(show: Show) -> None:
    source = Invented()
    source.run(10)
    source.telemetry.mark("engine loaded")
    source.run(20)
    source.telemetry.mark("burst ×16")  # noqa: RUF001
    source.run(10)
    board = show(source)
    assert [mark.text for mark in board.lane.marks] == ["engine loaded", "burst ×16"]  # noqa: RUF001
    assert board.lane.accessibleDescription() == "engine loaded; burst ×16"  # noqa: RUF001
    shown = panel(board, "GPU")
    window = board.shown()
    x = shown.x_of(source.times.now - 30, window)
    assert x is not None and abs(x - (shown.plot_left() + shown.plot_width / 2)) <= 2
    image = shown.grab().toImage()
    column = [image.pixelColor(x, y).name() for y in range(shown.plots[3].rect.top(), shown.height())]
    assert theme().hex("text3") in column
    source.run(31)
    board.refresh()
    assert [mark.text for mark in board.lane.marks] == ["burst ×16"]  # noqa: RUF001


def test_a_small_use_of_the_pool_is_to_be_seen_rising_and_falling(show: Show) -> None:
    source = Invented()
    for used in (*range(0, 70, 2), *range(70, 0, -2)):
        source.step(kv_blocks_used=used * BLOCKS // 1000, kv_blocks_reused=0)
    board = show(source)
    shown = panel(board, "KV-cache blocks")
    frame = shown.plots[0].frame
    assert frame is not None and frame.top == 10.0 and [words for _, words in frame.ticks] == ["0", "10%"]
    assert np.nanmax(frame.bands[-1].upper) == pytest.approx(6.9, abs=0.2), "percent of the blocks"
    image, rect = shown.grab().toImage(), shown.plots[0].rect
    pink = {theme().colour(token).rgb() for token in ("s_kv", "s_kvre")}
    heights = [
        sum(image.pixel(x, y) in pink for y in range(rect.top(), rect.bottom() + 1))
        for x in range(rect.right() - 30, rect.right())
    ]
    peak = heights.index(max(heights))
    assert max(heights) > rect.height() / 2 and min(heights[:peak]) < max(heights) / 2 > min(heights[peak:])
    source.step(kv_blocks_used=BLOCKS * 6 // 10)
    board.refresh()
    frame = shown.plots[0].frame
    assert frame is not None and frame.top == 100.0 and frame.ticks[-1] == (100.0, "100%")


# -- what it costs


def test_nothing_is_drawn_when_nothing_changed(show: Show) -> None:
    source = Invented()
    source.run(10)
    board = show(source)
    drawn = [plot.drawn for each in board.panels for plot in each.plots]
    before = board.refreshes
    board._refreshed_at = 0.0  # as if a second had passed
    board.tick()
    assert board.refreshes == before, "no reading came"
    board.refresh()
    QApplication.processEvents()
    assert [plot.drawn for each in board.panels for plot in each.plots] == drawn
    source.run(1)
    board.tick()
    QApplication.processEvents()
    assert board.refreshes == before + 2
    assert [plot.drawn for each in board.panels for plot in each.plots] != drawn


def test_once_a_second_while_no_engine_works(show: Show) -> None:
    source = Invented(engines=())
    source.run(5)
    board = show(source)
    before, began = board.refreshes, board._refreshed_at
    while time.monotonic() - began < 0.5:
        source.step(0.1)
        board.tick()
    assert board.refreshes == before
    board._refreshed_at -= 1.0
    board.tick()
    assert board.refreshes == before + 1


def test_hidden_panels_are_not_drawn_and_are_up_to_date_when_shown(show: Show, qtbot: QtBot) -> None:
    source = Invented()
    source.run(10)
    board = show(source)
    board.hide()
    before = board.refreshes
    assert not board._timer.isActive()
    source.run(20)
    board.refresh()
    assert board.refreshes == before
    board.show()
    assert board._timer.isActive()
    qtbot.waitUntil(lambda: board.refreshes > before)
    assert values(panel(board, "KV-cache blocks"))["Free"]
    used = source.tracks[0].series.newest("kv_blocks_used")
    kv = panel(board, "KV-cache blocks")
    assert used is not None and int(values(kv)["Used"]) + int(values(kv)["Reused"]) == used


def test_panels_that_are_scrolled_away_wait_until_they_are_in_view(show: Show) -> None:
    source = Invented()
    source.run(10)
    board = show(source, height=300)
    last = panel(board, "Requests")
    drawn = last.plots[0]._key
    source.run(25)
    board.refresh()
    assert last.plots[0]._key == drawn
    board._scroll.ensureWidgetVisible(last)
    QApplication.processEvents()
    assert last.plots[0]._key != drawn


def test_the_panels_follow_the_colours(show: Show) -> None:
    source = Invented()
    source.run(10)
    board = show(source)
    mode = theme().mode
    try:
        for name in ("light", "dark"):
            theme().set_mode("light" if name == "light" else "dark")
            QApplication.processEvents()
            shown = panel(board, "GPU")
            place = shown.plots[0].rect.topLeft() + QPoint(4, 14)
            image = shown.grab().toImage()
            assert image.pixelColor(2, 2).name() == theme().hex("panel")
            assert image.pixelColor(place).name() == theme().hex("sunken")
            memory = panel(board, "GPU memory")
            image, plot = memory.grab().toImage(), memory.plots[0].rect
            assert image.pixelColor(plot.right() - 8, plot.bottom() - 3).name() == theme().hex("s_weights")
    finally:
        theme().set_mode(mode)


def test_the_strip_in_the_picture_has_a_cell_of_each_state(show: Show) -> None:
    source = Invented()
    source.run(20)
    board = show(source)
    kv = panel(board, "KV-cache blocks")
    assert isinstance(kv, KvPanel)
    image = kv.grab().toImage()
    rect = kv.plots[0].rect
    strip = range(rect.bottom() + 2, kv.height() - 20)
    seen = {image.pixelColor(x, y).name() for y in strip for x in range(16, 344)}
    assert {theme().hex(name) for name in ("s_kv", "s_kvre", "s_kvfree")} <= seen
    used, reused, free = kv.strip.cells
    assert used + reused + free == -(-BLOCKS // kv.strip.bundle)


# -- the dock, files, and what is remembered


@pytest.fixture
def dock(session: Session, qtbot: QtBot) -> Iterator[Monitor]:
    source = Invented()
    source.run(20)
    made = Monitor(session)
    qtbot.addWidget(made)
    made.resize(360, 900)
    made.show()
    assert made.board is None, "panels are made when there is something to show"
    made.show_source(source.telemetry)
    qtbot.waitUntil(lambda: made.board is not None and bool(made.board.panels), timeout=10_000)
    yield made
    made.close()


def accept(qtbot: QtBot, dock: Monitor, path: Path) -> None:
    dialog = dock.findChild(QFileDialog)
    assert dialog is not None and dialog.isVisible()
    dialog.setDirectory(str(path.parent))
    dialog.selectFile(path.name)
    dialog.accept()
    qtbot.waitUntil(path.exists, timeout=5000)
    qtbot.waitUntil(lambda: not dock._session.tasks.busy, timeout=5000)


def test_values_in_view_are_exported_as_csv(dock: Monitor, qtbot: QtBot, tmp_path: Path) -> None:
    dock.export_csv()
    accept(qtbot, dock, tmp_path / "values.csv")
    with (tmp_path / "values.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 190
    assert float(rows[-1]["gpu0 memory_weights_bytes"]) == WEIGHTS
    assert {"an-engine generation_tok_s", "gpu0 power_w", "host cpu_percent"} <= set(rows[0])
    assert dock._session.notices.kept[-1].text == "Written: values.csv"


def test_a_picture_of_all_panels_is_exported(dock: Monitor, qtbot: QtBot, tmp_path: Path) -> None:
    dock.resize(360, 400)
    dock.export_png()
    accept(qtbot, dock, tmp_path / "panels.png")
    image = QImage(str(tmp_path / "panels.png"))
    assert dock.board is not None
    assert image.height() >= 2 * sum(each.height() for each in dock.board.panels), "also those scrolled away"
    seen = {image.pixelColor(444, y).name() for y in range(0, image.height(), 3)}
    assert theme().hex("s_weights") in seen and theme().hex("s_kvfree") in seen


def test_a_place_that_cannot_be_written_is_told(dock: Monitor, qtbot: QtBot, tmp_path: Path) -> None:
    for ask in (dock.export_csv, dock.export_png):
        ask()
        dialog = dock.findChild(QFileDialog)
        assert dialog is not None
        dialog.fileSelected.emit(str(tmp_path / "no-folder" / "x"))
        dialog.close()
        dialog.deleteLater()
        qtbot.waitUntil(lambda: dock._session.notices.kept[-1:] != () and not dock._session.tasks.busy)
        assert dock._session.notices.kept[-1].level == "error"
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


def test_span_and_pause_buttons(dock: Monitor) -> None:
    assert dock.minutes == 5 and dock.board is not None
    dock._spans.button(0).click()
    assert dock.minutes == 1 and dock.board.labels.words[0] == "-60 s"
    dock.set_minutes(7)
    assert dock.minutes == 1, "no such span"
    dock.pause_button.click()
    assert not dock.axis.follows and dock.pause_button.isChecked()
    assert dock.pause_button.accessibleName() == "Follow the newest values again"
    dock.pause_button.click()
    assert dock.axis.follows and not dock.pause_button.isChecked()


def test_a_moment_can_be_shown_from_anywhere(dock: Monitor) -> None:
    dock.set_minutes(1)
    now = dock.axis.now
    dock._session.events.show_moment.emit(now - 5)
    assert dock.axis.follows and dock.axis.cross == now - 5
    dock.axis.oldest = now - 3600
    dock.hide()
    dock._session.events.show_moment.emit(now - 600)
    assert dock.isVisible() and dock.axis.cross == now - 600
    assert not dock.axis.follows and dock.axis.end == now - 570, "in the middle of what is shown"


def on_top(window: Window) -> bool:
    return bool(window.monitor.windowFlags() & Qt.WindowType.WindowStaysOnTopHint)


@pytest.mark.slow
def test_out_of_the_window_and_on_top_only_there(open_window: OpenWindow, app_home: Home, qtbot: QtBot) -> None:
    window = open_window()
    qtbot.waitUntil(lambda: window.monitor.board is not None, timeout=10_000)
    assert not on_top(window)
    window.monitor.pin_button.click()
    assert window.monitor.isFloating() and window.monitor.isVisible() and on_top(window)
    window.monitor.float_button.click()
    assert not window.monitor.isFloating() and not on_top(window) and window.monitor.pinned
    window.monitor.float_button.click()
    assert on_top(window) and window.monitor.isVisible()
    window.close()
    assert State(app_home.root / STATE_FILE).table("monitor.dock")["pinned"] is True
    again = open_window()
    qtbot.waitUntil(lambda: again.monitor.isFloating() and again.monitor.isVisible(), timeout=10_000)
    assert on_top(again)
    again.monitor.pin_button.click()
    assert again.monitor.isFloating() and not on_top(again) and again.monitor.isVisible()
    again.close()


def test_the_status_line_tells_of_gpu_toolchain_and_engine(open_window: OpenWindow, qtbot: QtBot) -> None:
    window = open_window()
    qtbot.waitUntil(lambda: window.session.has_telemetry and window._looking.isActive(), timeout=10_000)
    source = Invented()
    source.run(5)
    window._looking.stop()
    status = window.status
    status.show_snapshot(source.telemetry.snapshot())
    assert status._gpu.text() == "An invented GPU   driver 1.0" and status._memory.text() == "31.0 / 40.0 GiB"
    assert status._toolchain.name.text() == "OpenVINO GenAI" and status._engine.name.text() == "an-engine"
    assert not status._engine.isHidden()
    shares = dict((token, share) for share, token in status._bar.shares)
    assert shares["s_weights"] == pytest.approx(WEIGHTS / TOTAL, abs=0.001)
    assert sum(shares.values()) == pytest.approx(31 / 40, abs=0.005)
    source.telemetry.detach_engine(source.tracks[0].id)
    status.show_snapshot(source.telemetry.snapshot())
    assert status._engine.isHidden() and status._toolchain.isHidden()


def test_panels_are_drawn_from_a_recording(tmp_path: Path) -> None:
    source = Invented()
    source.run(45)
    write(source.telemetry, tmp_path / "a.jsonl.gz")
    mode = theme().mode
    draw(tmp_path / "a.jsonl.gz", tmp_path / "a.png", "light", scale=1.0)
    image = QImage(str(tmp_path / "a.png"))
    assert theme().mode == mode and image.width() >= 340
    x = 200
    seen = {image.pixelColor(x, y).name() for y in range(image.height())}
    mode_tokens = ("#2a7ae4", "#ffffff", "#f8f9fa")  # of the light theme: weights, panel, sunken
    assert set(mode_tokens) <= seen


def test_a_recorded_gpu_is_shown_as_it_was(show: Show, qtbot: QtBot) -> None:
    source = read(RECORDING)
    axis = TimeAxis()
    axis.fit(source.ended_at - source.started_at)
    board = Board(source, axis, live=False)
    qtbot.addWidget(board)
    board.resize(360, 1100)
    board.show()
    board.refresh()
    assert titles(board) == ["GPU memory", "Tokens per second", "KV-cache blocks", "GPU", "Requests"]
    assert panel(board, "KV-cache blocks").told.note == "unloaded", "the recording ends after the engine"
    busy = [event.at for event in source.events() if event.text.startswith("128")]
    axis.set_cross((busy[0] + busy[1]) / 2)
    memory = panel(board, "GPU memory")
    parts = [float(value) for value in values(memory).values()]
    assert sum(parts) == pytest.approx(source.gpus[0].newest.total_bytes / GIB, rel=0.01)  # type: ignore[union-attr, operator]
    assert int(values(panel(board, "Requests"))["Active"]) > 64
    assert int(values(panel(board, "GPU"))["Power"]) > 200
    assert board.labels.words[2] != "now", "that is long past"
    board.close()

"""The Compare page: chips, matrix, prompts, curves, quality and settings of known figures, and measuring by click."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QColor, QGuiApplication, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QFileDialog, QLineEdit
from pytestqt.qtbot import QtBot

from tests.fakes import comparisons as made
from tests.fakes.interpreter import VARIABLE, make_engine_folder, make_interpreter
from tests.ui.conftest import OpenWindow
from tests.ui.sweep import cut_off, nameless, settle, unreached
from workbench.core.errors import Failure
from workbench.core.home import Home
from workbench.core.measure.comparison import Price
from workbench.core.measure.comparison_file import load_comparison
from workbench.core.measure.scaling import make_scaling
from workbench.core.report.json_report import read_json
from workbench.measure import events as ev
from workbench.ui.models.comparing import Comparing
from workbench.ui.models.comparison_view import Known, fold, make_shown, missed_words, view_of
from workbench.ui.pages.all import PAGES
from workbench.ui.pages.compare.curves import throughput_chart, user_speed_chart
from workbench.ui.pages.compare.matrix.table import MatrixModel, MatrixTable
from workbench.ui.pages.compare.matrix.tradeoff import tradeoff_of
from workbench.ui.pages.compare.page import CURVES, MATRIX, PROMPTS, QUALITY, SCALING, SETTINGS, ComparePage
from workbench.ui.pages.compare.scaling import scaling_chart
from workbench.ui.pages.engines import EnginesPage
from workbench.ui.session import Session
from workbench.ui.theme import theme
from workbench.ui.widgets.marker import variant_colour
from workbench.ui.window import Window

COMPARE = tuple(kind for kind in PAGES if kind.name in ("engines", "compare"))
Show = Callable[..., ComparePage]


def page_of(window: Window) -> ComparePage:
    page = window.page("compare")
    assert isinstance(page, ComparePage)
    return page


@pytest.fixture
def show(open_window: OpenWindow) -> Show:
    """The page with a comparison on it."""

    def one(comparison: Any = None, size: tuple[int, int] = (1600, 1000), folder: Path | None = None) -> ComparePage:
        window = open_window(*COMPARE, size=size)
        window.show_page("compare")
        page = page_of(window)
        came: list[Any] = []
        page.model.changed.connect(came.append)
        page.model.show(comparison if comparison is not None else made.comparison(), folder)
        for _ in range(50):  # on a busy machine the view takes longer than what counts as calm
            settle(window)
            if came and not page.model.deriving:
                break
        page.model.changed.disconnect(came.append)
        return page

    return one


def columns(page: ComparePage) -> list[str]:
    return [column.title for column in page.matrix.model.matrix.columns]


# -- what is shown, without a window


def test_a_view_of_some_variants_has_another_baseline() -> None:
    whole = made.comparison()
    first, second, third = whole.head.subjects
    view = view_of(whole, (third, first))
    assert [subject.id for subject in view.head.subjects] == ["s3", "s1"]
    assert view.baseline is third
    assert [record.subject for record in view.quality] == ["s1", "s3"]
    assert all(record.agreement is None for record in view.quality), "they were against another baseline"
    assert view.quality[0].not_reported["agreement"] == "measured against another baseline"
    assert view.quality[0].perplexity is not None, "which stands by itself"
    assert view_of(whole, (first, second)).quality[1].agreement is not None


def test_events_build_the_comparison_up() -> None:
    whole = made.comparison()
    assert whole.run is not None
    built = fold(None, ev.ComparisonBegan(Path("x"), whole.head))
    built = fold(built, ev.RunBegan(Path("x/speed"), whole.run.head, len(whole.run.points)))
    for point in whole.run.points:
        built = fold(built, ev.PointDone(point))
    for record in whole.quality:
        built = fold(built, ev.QualityDone(record))
    for answer in (*whole.answers, *whole.answers):
        built = fold(built, ev.AnswerDone(answer))
    assert built is not None
    assert built.run == whole.run
    assert built.quality == whole.quality
    assert sorted(built.answers, key=str) == sorted(whole.answers, key=str), "an answer takes the older one's place"
    failure = Failure(code="x", what="It did not fit.")
    built = fold(built, ev.SubjectFailed("s2", failure))
    assert built is not None
    assert built.subject("s2").failure == failure
    assert fold(None, ev.Stage("loading")) is None


def test_curves_have_the_figures_and_the_front() -> None:
    shown = make_shown(made.comparison(), made.three(), None)
    assert shown is not None
    chart = throughput_chart(shown)
    assert [line.name for line in chart.lines] == ["FP16 OpenVINO", "INT8 OpenVINO", "INT4 OpenVINO"]
    assert [dot.x for dot in chart.lines[0].dots] == [1.0, 4.0, 8.0]
    dot = chart.lines[0].dots[0]
    assert dot.low is not None
    assert dot.high is not None
    assert dot.y is not None
    assert dot.low < dot.y < dot.high
    by_speed = user_speed_chart(shown)
    fastest = {(round(dot.x, 6), round(dot.y or 0, 6)) for dot in by_speed.lines[2].dots}
    assert {(round(x, 6), round(y, 6)) for x, y in by_speed.front} == fastest, "INT4 beats the others at every level"
    assert user_speed_chart(shown).lines[0].dots[0].x == pytest.approx(100, rel=0.01), "1000 ms by 10 ms"


def test_curves_and_the_matrix_say_the_same_speed() -> None:
    """The median of the repeats, of which one was slow."""
    whole = made.comparison()
    assert whole.run is not None
    slow = tuple(
        replace(one, duration_s=one.duration_s * 3) if (one.subject, one.repeat) == ("s2", 2) else one
        for one in whole.run.points
    )
    shown = make_shown(replace(whole, run=replace(whole.run, points=slow)), made.three(), None)
    assert shown is not None
    by_load = {(line.id, dot.key): dot.y for line in throughput_chart(shown).lines for dot in line.dots}
    by_speed = {(line.id, dot.key): dot.y for line in user_speed_chart(shown).lines for dot in line.dots}
    for subject, level in (("s2", 1.0), ("s2", 8.0), ("s1", 8.0)):
        cell = shown.matrix.cell(subject, f"speed@{level:g}")
        assert cell is not None and cell.value is not None
        assert by_load[subject, level] == by_speed[subject, level] == cell.value
    pooled = next(one.output_tok_s for one in shown.figures if (one.subject, one.level) == ("s2", 8.0))
    assert pooled is not None and pooled < by_load["s2", 8.0] * 0.9, "the pooled figure is another one"  # type: ignore[operator]


def test_an_endpoint_that_reports_no_settings_differs_in_none() -> None:
    box = made.subject(4, "bf16", toolchain="endpoint", url="http://box:8000", settings={"server": "vLLM"})
    shown = make_shown(None, (*made.three()[:2], box), None)
    assert shown is not None
    differing = {row.name for row in shown.differing}
    assert "precision" in differing
    assert not differing & {"device", "compute_precision", "kv_cache_precision"}


def test_what_was_computed_before_is_not_computed_again_and_is_the_same() -> None:
    whole, known = made.comparison(), Known()
    assert whole.run is not None
    fewer = replace(whole, run=replace(whole.run, points=whole.run.points[:-2]))
    first = make_shown(fewer, made.three(), None, known, running=True)
    second = make_shown(whole, made.three(), None, known)
    fresh = make_shown(whole, made.three(), None)
    assert first is not None
    assert second is not None
    assert fresh is not None
    assert second.matrix == fresh.matrix
    assert second.diffs == fresh.diffs
    assert first.matrix != second.matrix
    assert first.figures[0] is second.figures[0]
    assert first.figures[-1] is not second.figures[-1], "there are more points of it"
    assert first.statements == ()
    assert second.statements == fresh.statements != ()


def test_nothing_measured_is_no_curve_and_no_trade_off() -> None:
    shown = make_shown(None, made.three(), None)
    assert shown is not None
    assert not shown.measured
    assert throughput_chart(shown).lines == ()
    assert tradeoff_of(shown) is None
    assert [column.id for column in shown.matrix.columns][:2] == ["size", "weights"]
    assert make_shown(None, (), None) is None


# -- matrix


def test_the_matrix_shows_figures_ratios_and_reasons(show: Show) -> None:
    page = show(made.comparison(price=Price(per_hour=2.5)))
    table = page.matrix.table
    assert columns(page)[:3] == ["Size on disk", "Weight memory", "KV capacity"]
    assert {"1 user", "4 users", "8 users", "TTFT", "Inter-token", "Perplexity", "Cost"} <= set(columns(page))
    at = page.matrix.model.matrix.column("itl")
    assert at is not None
    said = [str(table.model().index(row, at).data(Qt.ItemDataRole.AccessibleTextRole)) for row in range(3)]
    assert said[0].startswith("FP16 OpenVINO, Inter-token: 10.00 ms, 1 user, baseline")
    assert "0.74\u00d7 the baseline, better" in said[1]
    assert "best of all" in said[2]
    assert page.subtitle.startswith("SmolLM2-135M-Instruct")
    assert table.verticalScrollBar().maximum() == 0, "as high as its rows"


def test_what_is_not_reported_says_why_and_is_never_zero(show: Show) -> None:
    endpoint = made.subject(
        4, "bf16", name="gpu-box-2", toolchain="endpoint", url="http://gpu-box-2:8000/v1", size_bytes=None,
        weights_bytes=None, kv_tokens=None, build_s=None, settings={},
    )  # fmt: skip
    lost = made.subject(5, "int4", failure=Failure(code="no-room", what="It did not fit."), weights_bytes=None)
    whole = made.comparison((*made.three()[:2], endpoint, lost))
    assert whole.run is not None
    kept = tuple(point for point in whole.run.points if point.subject != "s5")
    page = show(type(whole)(whole.head, type(whole.run)(whole.run.head, kept), whole.quality[:3], whole.answers))
    model = page.matrix.model
    for subject, column, words in (
        ("s4", "size", "not reported"),
        ("s4", "build", "not built here"),
        ("s5", "speed@8", "not loaded"),
        ("s5", "perplexity", "not measured"),
    ):
        cell = model.matrix.cell(subject, column)
        assert cell is not None
        assert (cell.value, cell.reason) == (None, words)
        row = [each.subject.id for each in model.matrix.rows].index(subject)
        at = model.matrix.column(column)
        assert at is not None
        assert model.index(row, at).data() == "\u2013"
    assert "It did not fit." in str(model.headerData(3, Qt.Orientation.Vertical, Qt.ItemDataRole.ToolTipRole))


def test_a_setting_that_was_not_applied_stands_at_the_name(show: Show) -> None:
    words = "asked for fp8, runs with f16"
    odd = made.subject(2, "int8", not_applied={"kv_cache_precision": words})
    page = show(made.comparison((made.subject(1, "fp16"), odd)))
    assert missed_words(odd) == f"kv cache precision: {words}"
    tip = page.matrix.model.headerData(1, Qt.Orientation.Vertical, Qt.ItemDataRole.ToolTipRole)
    assert words in str(tip)
    shot = page.matrix.table.verticalHeader().grab().toImage()
    assert has_colour(shot, theme().colour("warn")), "and is drawn as a warning"
    page.tabs.choose(SETTINGS)
    model = page.settings.model
    rows = [row.name for row in model.rows]
    assert rows == ["precision", "kv_cache_precision"], "what differs, and what was not applied"
    assert words in str(model.index(1, 2).data())
    page.settings.everything.setChecked(True)
    assert len(model.rows) > 4


def has_colour(image: QImage, colour: QColor) -> bool:
    return any(
        image.pixelColor(x, y).rgb() == colour.rgb() for x in range(image.width()) for y in range(image.height())
    )


def test_cells_are_drawn_in_the_variants_colours_with_the_baselines_tick(qtbot: QtBot) -> None:
    model = MatrixModel()
    table = MatrixTable(model)
    qtbot.addWidget(table)
    table.resize(1600, 400)
    model.take(make_shown(made.comparison(), made.three(), None))
    table.show()
    qtbot.waitExposed(table)
    place = model.matrix.column("size")
    assert place is not None
    image = table.viewport().grab().toImage()
    for row in range(3):
        rect = table.visualRect(model.index(row, place))
        bar = [image.pixelColor(x, rect.bottom() - 9) for x in range(rect.left(), rect.right())]
        found = sum(colour.rgb() == variant_colour(row).rgb() for colour in bar)
        share = model.matrix.rows[row].cells[place].share
        assert share is not None
        assert found == pytest.approx(share * (rect.width() - 24), abs=3)
    ticks = {
        next(x for x in range(rect.right(), rect.left(), -1) if image.pixelColor(x, rect.bottom() - 5) == look)
        for row in (1, 2)
        for rect in [table.visualRect(model.index(row, place))]
        for look in [theme().colour("text")]
    }
    assert len(ticks) == 1, "the baseline's tick stands at one place in all rows"


def test_a_chosen_cell_shows_the_spread_of_its_repeats(show: Show) -> None:
    page = show()
    spread = page.matrix.spread
    assert spread.title.full == "Tokens per second, 8 users: spread of 3 runs", "chosen by itself"
    page.matrix.table.choose("s3", "ttft")
    assert spread.title.full == "TTFT: spread of 3 runs"
    assert "\u00b12.0 %" in spread.plot.accessibleDescription()
    page.matrix.table.setFocus()
    QTest.keyClick(page.matrix.table, Qt.Key.Key_Right)
    assert spread.title.full == "Inter-token: spread of 3 runs"
    page.matrix.table.choose("s2", "size")
    assert "spread" not in spread.plot.accessibleDescription(), "no run gives it"
    page.matrix.table.choose("s2", "perplexity")
    assert "95 %:" in spread.plot.accessibleDescription()
    assert "tok/s" in page.matrix.tradeoff.plot.accessibleDescription()
    page.model.show(made.comparison())
    settle(page.window())  # type: ignore[arg-type]
    assert spread.title.full == "Perplexity", "what is chosen stays chosen"


def test_the_command_that_repeats_it_is_shown_and_copied(show: Show) -> None:
    page = show()
    page.matrix.how.button.click()
    assert page.reproduce.isVisible()
    text = page.reproduce.text.toPlainText()
    assert text.startswith("workbench compare a b --concurrency 1,4,8")
    assert "openvino 2026.1" in text
    page.reproduce._copy()
    assert QGuiApplication.clipboard().text() == text
    page.reproduce.reject()


# -- chips


def test_chips_take_variants_out_and_change_the_baseline(show: Show) -> None:
    page = show()
    assert [chip.variant.subject.name for chip in page.chips.chips] == [one.name for one in made.three()]
    assert page.chips.chips[0].remove is None, "the baseline stays"
    second = page.chips.chips[1].remove
    assert second is not None
    second.click()
    settle(page.window())  # type: ignore[arg-type]
    assert [row.subject.id for row in page.matrix.model.matrix.rows] == ["s1", "s3"]
    assert page.model.comparison is not None
    assert len(page.model.comparison.head.subjects) == 3, "what was measured of it stays"
    page.model.set_baseline("s3")
    settle(page.window())  # type: ignore[arg-type]
    rows = page.matrix.model.matrix.rows
    assert [(row.subject.id, row.is_baseline) for row in rows] == [("s3", True), ("s1", False)]
    assert page.chips.chips[0].variant.slot == 0


def test_engines_are_added_by_the_engines_page(
    open_window: OpenWindow, app_home: Home, tmp_path: Path, qtbot: QtBot
) -> None:
    window = open_window(*COMPARE, size=(1280, 800))
    page = page_of(window)
    paths = [make_engine_folder(tmp_path / name, name) for name in ("one", "two")]
    window.show_page("compare")
    window.session.events.compare_with.emit(paths)
    qtbot.waitUntil(lambda: page.model.shown is not None and len(page.model.shown.variants) == 2)
    names = [chip.variant.subject.name for chip in page.chips.chips]
    assert len(set(names)) == 2, "two engines of one precision are told apart"
    assert columns(page) == ["Size on disk", "Build time"], "what is known before anything is measured"
    assert page.measure_button.text() == "Measure"
    assert not page.export_button.isEnabled()
    page.model.add([tmp_path / "nowhere"])
    qtbot.waitUntil(lambda: window.strip.isVisible())
    page.model.add(paths)
    settle(window)
    assert len(page.model.chips) == 2, "none is taken twice"
    page.model.start_with([])
    settle(window)
    assert page.stack.currentIndex() == 0


def test_the_engines_page_opens_compare_with_the_chosen(open_window: OpenWindow, app_home: Home, qtbot: QtBot) -> None:
    for name in ("tiny-int8", "tiny-fp16"):
        make_engine_folder(app_home.make().artifacts / "engines" / name, name)
    window = open_window(*COMPARE, size=(1280, 800))
    engines = window.page("engines")
    assert isinstance(engines, EnginesPage)
    window.show_page("engines")
    qtbot.waitUntil(lambda: engines.filter.rowCount() == 2 and engines.rows.complete)
    engines.table.selectAll()
    assert engines.compare_button.isEnabled()
    engines.compare_button.click()
    page = page_of(window)
    assert window.stack.currentWidget() is page
    qtbot.waitUntil(lambda: len(page.model.chips) == 2)
    chosen = [str(row.path) for row in engines.table.current_rows()]
    assert [subject.path for subject in page.model.chips] == chosen
    settle(window)


# -- prompts


def test_answers_stand_side_by_side_with_what_differs(show: Show) -> None:
    page = show()
    page.tabs.choose(PROMPTS)
    settle(page.window())  # type: ignore[arg-type]
    tab = page.prompts
    assert [column.variant.id for column in tab.columns] == ["s1", "s2", "s3"]
    assert tab.columns[0].same.full == "Baseline"
    assert tab.columns[1].same.full == "Same up to token 12 of 24"
    assert tab.columns[1].choices.isVisible()
    text = tab.columns[1].text
    tinted = text.document().find("small")
    assert tinted.charFormat().background().style() != Qt.BrushStyle.NoBrush
    assert text.document().find("scatters").charFormat().background().style() == Qt.BrushStyle.NoBrush
    assert text._frame is not None
    begin, end = text._frame
    assert text.toPlainText()[begin:end] == "small"
    assert text.textCursor().position() == 0, "an answer is read from its top"
    tab.plain.setChecked(True)
    assert text.document().find("small").charFormat().background().style() == Qt.BrushStyle.NoBrush
    assert tab.table.model().rowCount() == 2
    told = tab.model.index(0, 2).data(Qt.ItemDataRole.AccessibleTextRole)
    assert told == "INT8 OpenVINO: Same up to token 12 of 24, 96\u202f% shared"
    tab.next.click()
    assert tab.edit.text() == made.PROMPTS[1]
    assert tab.columns[2].same.full == "The same, all 4 tokens"
    assert not tab.next.isEnabled()
    tab.table.choose(0)
    assert tab.which.text() == "Prompt 1 of 2"
    tab._toggles.itemAt(2).widget().click()  # type: ignore[union-attr]
    assert [column.isVisible() for column in tab.columns] == [True, True, False]


def test_prompts_are_read_from_a_file_and_a_bad_one_is_said(show: Show, tmp_path: Path, qtbot: QtBot) -> None:
    page = show()
    page.tabs.choose(PROMPTS)
    good, bad = tmp_path / "p.txt", tmp_path / "b.txt"
    good.write_text("How far is the moon?\nWhat is a bit?\n", "utf-8")
    bad.write_bytes(b"\xff\xfe\x00")
    page.prompts.read_file(good)
    qtbot.waitUntil(lambda: len(page.model.prompts) == 4)
    assert page.prompts.edit.text() == "How far is the moon?"
    assert page.prompts.columns[0].same.full == "Not asked yet"
    page.prompts.read_file(bad)
    qtbot.waitUntil(page.window().strip.isVisible)  # type: ignore[attr-defined]


# -- quality


def test_quality_says_what_its_intervals_allow(show: Show) -> None:
    page = show()
    page.tabs.choose(QUALITY)
    settle(page.window())  # type: ignore[arg-type]
    model = page.quality.model
    titles = [column.title for column in model.columns]
    assert titles == [
        "Variant", "Against the baseline", "Perplexity", "Agreement", "KL, nats", "arc-easy, acc_norm",
    ]  # fmt: skip
    assert model.index(1, 1).data() == "within 1 % of the baseline"
    assert "worse" in model.index(2, 1).data()
    assert "13.774 to 14.626" in model.index(0, 2).data(Qt.ItemDataRole.AccessibleTextRole)
    assert page.quality.of.currentText() == "INT8 OpenVINO"
    worst = page.quality.worst_model
    assert worst.index(0, 3).data() == "token 6 of 31"
    assert worst.index(0, 4).data() == "blue 0.52 (clear 0.41)"
    page.quality.of.setCurrentIndex(1)
    assert worst.index(0, 1).data().startswith("84")


def test_without_quality_the_tab_says_what_to_do(show: Show) -> None:
    whole = made.comparison()
    page = show(type(whole)(whole.head, whole.run))
    page.tabs.choose(QUALITY)
    assert page.quality.empty.isVisible()
    assert "Perplexity" not in columns(page)


def test_simulated_variants_are_marked_everywhere(show: Show) -> None:
    simulated = made.subject(
        3, "nvfp4", name="NVFP4 simulated", simulated=True, size_bytes=None, weights_bytes=None, kv_tokens=None,
        build_s=None, settings={},
    )  # fmt: skip
    simulated = simulated.model_copy(update={"id": "sim-nvfp4"})
    page = show(made.comparison((*made.three()[:2], simulated)))
    assert "simulated" in page.chips.chips[2].name.accessibleName()
    cell = page.matrix.model.matrix.cell("sim-nvfp4", "speed@8")
    assert cell is not None
    assert cell.reason == "simulated"
    page.tabs.choose(QUALITY)
    assert "simulated: no engine of it exists" in page.quality.model.index(2, 1).data(
        Qt.ItemDataRole.AccessibleTextRole
    )
    page.tabs.choose(PROMPTS)
    assert [column.variant.id for column in page.prompts.columns] == ["s1", "s2"]


# -- kept


def test_kept_comparisons_are_listed_opened_and_remembered(
    open_window: OpenWindow, app_home: Home, qtbot: QtBot
) -> None:
    folder = app_home.comparisons / "20261121-193012-3fa9c1"
    made.kept(folder)
    damaged = app_home.comparisons / "20261121-193013-damaged"
    damaged.mkdir()
    (damaged / "comparison.json").write_text("{", "utf-8")
    window = open_window(*COMPARE, size=(1280, 800))
    window.show_page("compare")
    page = page_of(window)
    page.ask_kept()
    qtbot.waitUntil(lambda: len(page.kept.model.rows) == 2)
    states = {row.folder.name: row for row in page.kept.model.rows}
    assert states[damaged.name].problem
    assert page.kept.table.choose(lambda row: row.folder == damaged)
    assert not page.kept.show_button.isEnabled()
    assert page.kept.said.text()
    assert page.kept.table.choose(lambda row: row.folder == folder)
    page.kept.show_button.click()
    qtbot.waitUntil(lambda: page.model.shown is not None)
    assert page.model.folder == folder
    assert page.model.shown is not None
    assert len(page.model.shown.figures) == 9
    state = page.state()
    assert state["folder"] == str(folder)
    page.tabs.choose(CURVES)
    page.close_page()
    window.close()
    again = open_window(*COMPARE)
    again.show_page("compare")
    second = page_of(again)
    qtbot.waitUntil(lambda: second.model.shown is not None)
    assert second.tabs.current == CURVES


def test_a_stopped_comparison_says_so(show: Show) -> None:
    page = show(made.stopped(made.comparison()))
    assert "stopped: not all was measured" in page.subtitle
    whole = made.comparison()
    page.model.show(replace(whole, head=whole.head.model_copy(update={"status": "running"})))
    settle(page.window())  # type: ignore[arg-type]
    assert "not finished: not all was measured" in page.subtitle, "it was broken off with the program"
    page.model.show(made.stopped(made.comparison()))
    settle(page.window())  # type: ignore[arg-type]
    cell = page.matrix.model.matrix.cell("s2", "speed@8")
    assert cell is not None
    assert cell.reason == "not measured"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["html", "json", "csv", "pdf"])
def test_what_is_shown_is_exported(show: Show, tmp_path: Path, qtbot: QtBot, kind: str) -> None:
    page = show()
    path = tmp_path / f"report.{kind}"
    page.exporter.write(path)
    qtbot.waitUntil(path.is_file)
    data = path.read_bytes()
    if kind == "json":
        assert len(read_json(data.decode()).points) == 9
    elif kind == "csv":
        assert len(data.splitlines()) >= 10
    else:
        assert data.startswith({"html": b"<!", "pdf": b"%PDF"}[kind])
    settle(page.window())  # type: ignore[arg-type]
    page.exporter.write(tmp_path / "nowhere" / f"report.{kind}")
    settle(page.window())  # type: ignore[arg-type]
    assert page.session.notices.kept[-1].level == "error"


# -- the form


def test_the_form_asks_only_what_makes_sense(show: Show) -> None:
    page = show()
    page.ask_measure()
    form = page.form
    assert form.levels.text() == "1, 4, 8"
    assert form.unit.currentData() == "requests"
    assert form.repeats.value() == 3
    assert "3 variants, 27 points" in form.said.text()
    for text in ("", "0", "1, x", "1.5"):
        form.levels.setText(text)
        assert not form.go.isEnabled(), text
        assert form.problem.isVisible()
    form.levels.setText("1, 2")
    assert form.go.isEnabled()
    form.price.setText("free")
    assert not form.go.isEnabled()
    form.price.setText("2.5")
    form.speed.setChecked(False)
    form.quality.setChecked(False)
    assert "Neither speed nor quality" in form.problem.text()
    form.quality.setChecked(True)
    form.simulated["fp8"].setChecked(True)
    form.tasks.setText("/data/arc.jsonl; /data/mmlu.csv")
    found = form.settings()
    assert found.quality is not None
    assert found.quality.simulate == ("fp8",)
    assert [task.path for task in found.quality.tasks] == ["/data/arc.jsonl", "/data/mmlu.csv"]
    assert found.price is not None
    assert math.isclose(found.price.per_hour, 2.5)
    form.tasks.setText("arc.jsonl")
    assert "whole path" in form.problem.text()
    assert nameless(form) == []
    assert cut_off(form) == []
    form.reject()


# -- measuring, over the real way to an engine; only the host itself is a fake one


@pytest.fixture
def fake_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = make_interpreter(tmp_path / "python", tokens_per_s=300, kv_blocks=10, answer=["one", " two", " three"])
    monkeypatch.setenv(VARIABLE, str(python))


@pytest.fixture
def engines(tmp_path: Path, fake_engines: None) -> list[Path]:
    return [make_engine_folder(tmp_path / name, name) for name in ("one", "two")]


@pytest.fixture
def measured(open_window: OpenWindow, engines: list[Path], qtbot: QtBot) -> ComparePage:
    """The page with two engines that can be loaded."""
    window = open_window(*COMPARE, size=(1600, 1000))
    window.show_page("compare")
    page = page_of(window)
    window.session.events.compare_with.emit(engines)
    qtbot.waitUntil(lambda: page.model.shown is not None and len(page.model.shown.variants) == 2)
    return page


def ask(page: ComparePage, levels: str = "1, 2", requests: int = 3) -> None:
    """Fill the form as a person does, and click."""
    page.measure_button.click()
    form = page.form
    assert form.isVisible()
    form.levels.setText(levels)
    form.unit.setCurrentIndex(1)
    form.amount.setValue(requests)
    form.warmup.setValue(0)
    form.repeats.setValue(2)
    form.quality.setChecked(False)
    form.go.click()


def save_as(page: ComparePage, path: Path, kind: str) -> None:
    """Click Export and its entry; in the dialog that opens, write the file's name and press Enter."""
    next(one for one in page.export_button.menu().actions() if one.text().startswith(kind)).trigger()
    dialog = page.findChild(QFileDialog, "export-file")
    name = dialog.findChild(QLineEdit, "fileNameEdit")
    name.setText(str(path))
    QTest.keyClick(name, Qt.Key.Key_Return)


@pytest.mark.slow
def test_three_engines_are_compared_and_exported_by_clicks(
    open_window: OpenWindow, app_home: Home, fake_engines: None, tmp_path: Path, qtbot: QtBot
) -> None:
    """From an empty page to a report's file, as a newcomer clicks."""
    for name in ("one", "two", "three"):
        make_engine_folder(app_home.make().artifacts / "engines" / name, name)
    window = open_window(*COMPARE, size=(1280, 800))
    window.show_page("compare")
    page = page_of(window)
    said: list[str] = []
    page.model.progressed.connect(lambda doing: said.append(doing.words))
    assert page.empty.button is not None
    page.empty.button.click()
    qtbot.waitUntil(lambda: page.choice.isVisible() and len(page.choice.model.rows) == 3)
    page.choice.table.selectAll()
    qtbot.waitUntil(page.choice.add.isEnabled)
    page.choice.add.click()
    qtbot.waitUntil(lambda: page.model.shown is not None and len(page.model.shown.variants) == 3)
    ask(page)
    assert page.strip.isVisible()
    assert not page.measure_button.isVisible()
    assert not page.chips.add.isEnabled()
    assert window.session.measuring == "A comparison", "so that no benchmark begins meanwhile"
    qtbot.waitUntil(lambda: not page.model.running, timeout=60_000)
    settle(window)
    assert page.model.failure is None
    assert window.session.measuring == ""
    assert not page.strip.isVisible()
    assert page.measure_button.text() == "Measure again"
    assert {"1 user", "2 users", "TTFT", "KV capacity"} <= set(columns(page))
    assert any("2 users, repeat 2 of 2 (point 12 of 12)" in words for words in said)
    folders = list(app_home.comparisons.iterdir())
    assert folders == [page.model.folder]
    kept = load_comparison(folders[0])
    assert kept.head.status == "complete"
    assert kept.run is not None
    assert len(kept.run.points) == 12
    assert kept.head.command[:2] == ("workbench", "compare")
    assert page.matrix.how.button.isEnabled()
    for subject in kept.head.subjects:
        kv, speed = (page.matrix.model.matrix.cell(subject.id, column) for column in ("kv", "speed@2"))
        assert kv is not None and kv.value == 320
        assert speed is not None and speed.value is not None
        assert 100 < speed.value <= 630, "two streams of 300 tokens a second each"
    report = tmp_path / "report.json"
    save_as(page, report, "JSON")
    qtbot.waitUntil(report.is_file)
    settle(window)
    found = read_json(report.read_text("utf-8"))
    assert {point.variant for point in found.points} == {subject.id for subject in kept.head.subjects}
    assert len(found.points) == 6, "three variants at two levels"


@pytest.mark.slow
def test_a_stop_keeps_what_was_measured(measured: ComparePage, qtbot: QtBot) -> None:
    page = measured
    ask(page, "1, 2", 100)
    qtbot.waitUntil(lambda: "tok/s" in page.strip.figures.text(), timeout=30_000)
    page.strip.stop.click()
    assert not page.strip.stop.isEnabled()
    qtbot.waitUntil(lambda: not page.model.running, timeout=30_000)
    settle(page.window())  # type: ignore[arg-type]
    assert page.model.folder is not None
    kept = load_comparison(page.model.folder)
    assert kept.head.status == "stopped"
    assert kept.run is not None
    assert [point.end for point in kept.run.points] == ["stopped"]
    assert "stopped" in page.subtitle


@pytest.mark.slow
def test_a_variant_that_cannot_be_loaded_is_shown_as_such(measured: ComparePage, tmp_path: Path, qtbot: QtBot) -> None:
    page = measured
    first, second = page.model.chips
    page.model.chips = (first, second.model_copy(update={"overrides": ("runtime.kv_cache_gib=8000",)}))
    ask(page, "1")
    qtbot.waitUntil(lambda: not page.model.running, timeout=60_000)
    settle(page.window())  # type: ignore[arg-type]
    rows = page.matrix.model.matrix.rows
    assert rows[1].subject.failure is not None
    cell = page.matrix.model.matrix.cell(rows[1].subject.id, "speed@1")
    assert cell is not None
    assert cell.reason == "not loaded"
    good = page.matrix.model.matrix.cell(rows[0].subject.id, "speed@1")
    assert good is not None
    assert good.value


@pytest.mark.slow
def test_a_measurement_that_cannot_begin_says_why(measured: ComparePage, engines: list[Path], qtbot: QtBot) -> None:
    page = measured
    (engines[1] / "provenance.json").unlink()
    ask(page, "1")
    qtbot.waitUntil(lambda: not page.model.running, timeout=30_000)
    settle(page.window())  # type: ignore[arg-type]
    assert page.failure_box.isVisible()
    assert str(engines[1]) in page.failure.accessibleDescription()
    assert cut_off(page.window()) == []
    page.close_failure.click()
    assert not page.failure_box.isVisible()
    assert page.measure_button.isVisible()


@pytest.mark.slow
@pytest.mark.parametrize("together", [True, False])
def test_a_prompt_is_put_to_all(measured: ComparePage, qtbot: QtBot, together: bool) -> None:
    page = measured
    page.tabs.choose(PROMPTS)
    tab = page.prompts
    qtbot.waitUntil(lambda: bool(tab.room_words.full))
    assert tab.together.isEnabled()
    (tab.together if together else tab.one_by_one).setChecked(True)
    streamed: list[str] = []
    page.model.text.connect(lambda subject, prompt, text: streamed.append(subject))
    tab.edit.setText("Count to three.")
    QTest.keyClick(tab.edit, Qt.Key.Key_Return)
    assert not tab.run_button.isEnabled()
    qtbot.waitUntil(lambda: page.model.shown is not None and page.model.shown.head.prompts == ("Count to three.",))
    assert {column.same.full for column in tab.columns} <= {"Waiting", "Answering"}, "both are asked"
    qtbot.waitUntil(lambda: not page.model.running, timeout=60_000)
    settle(page.window())  # type: ignore[arg-type]
    assert len(set(streamed)) == 2
    assert [column.text.toPlainText().startswith("one two") for column in tab.columns] == [True, True]
    assert tab.columns[1].same.full.startswith("The same, all")
    assert page.model.folder is not None
    kept = load_comparison(page.model.folder)
    assert kept.head.prompts == ("Count to three.",)
    assert len(kept.answers) == 2


@pytest.mark.slow
def test_closing_the_window_ends_the_measuring(measured: ComparePage, app_home: Home, qtbot: QtBot) -> None:
    page = measured
    ask(page, "1", 1000)
    qtbot.waitUntil(lambda: "tok/s" in page.strip.figures.text(), timeout=30_000)
    folder = page.model.folder
    assert folder is not None
    page.window().close()
    qtbot.waitUntil(lambda: load_comparison(folder).head.status == "stopped", timeout=10_000)


# -- scaling


def test_scaling_shows_what_more_gpus_bring(show: Show) -> None:
    several = [made.subject(number, "fp8", gpus=gpus, name=f"FP8 on {gpus}") for number, gpus in ((1, 1), (2, 2))]
    page = show(made.comparison(several))
    page.tabs.choose(SCALING)
    table = page.scaling.table
    assert table.isVisible() and not page.scaling.why.isVisible()
    assert [table.model().index(1, column).data() for column in (0, 1, 2, 5, 6)] == [
        "FP8 on 2", "2", "fastest", "1.35\u00d7", "67.5",
    ]  # fmt: skip
    (line,) = page.scaling.chart.chart.lines
    assert [dot.x for dot in line.dots] == [1.0, 2.0]
    assert [dot.y for dot in line.dots] == [100.0, pytest.approx(67.5, abs=0.1)]


def test_of_several_engines_on_as_many_gpus_the_chart_takes_the_fastest() -> None:
    several = [made.subject(number, "fp8", gpus=gpus) for number, gpus in ((1, 1), (2, 2), (3, 1))]
    (line,) = scaling_chart(make_scaling(several, made.points(several))).lines
    assert [(dot.x, dot.y) for dot in line.dots] == [(1.0, 100.0), (2.0, pytest.approx(100 * 1.35 / 1.7 / 2, abs=0.1))]


def test_scaling_says_why_it_is_empty(show: Show) -> None:
    page = show()
    page.tabs.choose(SCALING)
    assert not page.scaling.table.isVisible()
    assert page.scaling.why.isVisible() and page.scaling.why.text() == (
        "How many GPUs these engines run on is not reported."
    )


# -- what every page must stand up to


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1280, 800), (1600, 1000)])
def test_names_tab_and_nothing_cut_off(show: Show, size: tuple[int, int], qtbot: QtBot) -> None:
    page = show(size=size)
    window = page.window()
    qtbot.waitUntil(window.isActiveWindow)
    for tab in (MATRIX, PROMPTS, CURVES, QUALITY, SETTINGS, SCALING):
        page.tabs.choose(tab)
        settle(window)  # type: ignore[arg-type]
        assert cut_off(window) == []
        assert nameless(window) == []
        assert unreached(window) == []


@pytest.mark.slow
def test_other_colours_redraw_the_chips(show: Show) -> None:
    page = show()
    icon = page.chips.chips[1].name.icon()
    try:
        theme().set_mode("light")
        assert page.chips.chips[1].name.icon().cacheKey() != icon.cacheKey()
        settle(page.window())  # type: ignore[arg-type]
        shot = page.matrix.table.viewport().grab().toImage()
        assert shot.pixelColor(QPoint(2, 2)) in (theme().colour("panel"), theme().colour("raised"))
    finally:
        theme().set_mode("dark")


def test_nothing_is_measured_while_another_page_measures(show: Show) -> None:
    page = show()
    session, events = page.session, page.session.events
    session.measuring = "A benchmark"
    events.doing.emit("Benchmark: point 1 of 9")
    assert page.measure_button.text() == "A benchmark is being measured"
    assert not page.measure_button.isEnabled()
    assert not page.prompts.run_button.isEnabled()
    assert "falsify" in page.prompts.run_button.toolTip()
    page.ask_measure()
    assert not page.form.isVisible()
    assert "A benchmark is being measured" in page.failure.accessibleDescription()
    page.model.measure(page.model.settings)
    page.model.ask([0], ["s1"], page.model.settings.sampling, together=False)
    assert not page.model.running
    assert session.measuring == "A benchmark", "which still goes on"
    session.measuring = ""
    events.doing.emit("")
    assert page.measure_button.text() == "Measure again"
    assert page.measure_button.isEnabled()
    assert page.prompts.run_button.isEnabled()


def test_a_new_variant_is_none_of_those_of_before(show: Show, tmp_path: Path, qtbot: QtBot) -> None:
    """Ids of variants that were asked prompts before anything was measured are kept with the comparison."""
    kept = made.subject(1, "fp16").model_copy(update={"id": "new-1"})
    page = show(made.comparison((kept, *made.three()[1:])))
    path = make_engine_folder(tmp_path / "one", "one")
    page.model.add([path])
    page.model.add([path])
    qtbot.waitUntil(lambda: len(page.model.chips) == 4)
    settle(page.window())  # type: ignore[arg-type]
    assert len({subject.id for subject in page.model.chips}) == 4, "one of each, and taken once"
    assert page.model.shown is not None
    assert not page.model.shown.variants[3].measured
    page.model.add([make_engine_folder(tmp_path / "two", "two")])
    page.model.start_with([])
    settle(page.window())  # type: ignore[arg-type]
    assert page.model.chips == (), "what was asked for the one before does not come into the next"


def test_the_model_ends_quietly_without_a_page(session: Session, qtbot: QtBot) -> None:
    model = Comparing(session)
    model.stop()
    model.remove("s1")
    model.ask([0], ["s1"], made.comparison().head.sampling, together=False)
    assert not model.running
    model.close()
    model.show(made.comparison())
    assert session.tasks.busy == 0, "nothing is computed any more"

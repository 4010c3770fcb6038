"""The Benchmark page's figures as they are shown: digits, units and counts; large runs; what is told of failures."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QItemSelectionModel
from pytestqt.qtbot import QtBot

from tests.fakes.interpreter import VARIABLE, make_engine_folder, make_interpreter
from tests.ui.benchmark_faces import keep, point, run_of, subject
from tests.ui.conftest import OpenWindow
from workbench.core.errors import BadInputError, Failure
from workbench.core.home import Home
from workbench.core.measure.figures import point_figures
from workbench.core.measure.load import Limits
from workbench.core.measure.record import RunRecord
from workbench.core.measure.workload import WORKLOADS
from workbench.ui.models import bench_against, bench_apart, bench_view
from workbench.ui.models.bench_view import view_of
from workbench.ui.models.engines import read_rows
from workbench.ui.monitor.readings import words_width
from workbench.ui.pages.all import PAGES
from workbench.ui.pages.benchmark.chosen import Chosen
from workbench.ui.pages.benchmark.columns import columns_of
from workbench.ui.pages.benchmark.page import BenchmarkPage, _failures
from workbench.ui.pages.benchmark.summary import state_words
from workbench.ui.widgets.list_table import ROW_ROLE

WAIT_MS = 60_000


@pytest.fixture
def page(open_window: OpenWindow) -> BenchmarkPage:
    return page_of(open_window)


def page_of(open_window: OpenWindow, size: tuple[int, int] | None = None) -> BenchmarkPage:
    made = open_window(*(kind for kind in PAGES if kind.name == "benchmark"), size=size).page("benchmark")
    assert isinstance(made, BenchmarkPage)
    return made


def idle(qtbot: QtBot, page: BenchmarkPage) -> None:
    qtbot.waitUntil(lambda: not page.session.tasks.busy, timeout=WAIT_MS)


def three() -> list[Any]:
    return [subject(number, name) for number, name in enumerate(("fp16", "int8", "int4"), 1)]


def opened(qtbot: QtBot, page: BenchmarkPage, home: Home, **changes: Any) -> Path:
    folder = keep(home, run_of(changes.pop("subjects", three()), **changes))
    page.open_run(folder)
    qtbot.waitUntil(lambda: page.stack.currentWidget() is page.result and page.model.view is not None, timeout=WAIT_MS)
    return folder


@pytest.mark.parametrize(
    ("rounds", "itl_ms", "wanted"),
    [(4, 10.0, ("2.5", "80")), (4, 900.0, ("0.034", "1.1")), (400, 0.05, ("14.0", "447"))],
)
def test_what_is_small_does_not_read_as_zero(rounds: int, itl_ms: float, wanted: tuple[str, str]) -> None:
    run = run_of(three()[:1], levels=(1.0,), repeats=1)
    made = point("s1", 1.0, 0, itl_ms=itl_ms, ttft_ms=2 * itl_ms + 70, rounds=rounds)
    view = view_of(RunRecord(run.head, (made,)), Path())
    columns = {column.csv: column for column in columns_of(view)}
    (one,) = view.figures
    for name, told in zip(("request_throughput_req_s", "output_throughput_tok_s"), wanted, strict=True):
        assert columns[name].text(one).replace("\u202f", "") == told
    assert columns["completed"].text(one) == str(rounds)


def test_percentiles_are_those_of_the_metrics_and_every_figure_has_its_unit() -> None:
    view = view_of(run_of(three()[:1], limits=Limits(ttft_ms=90)), Path())
    columns = columns_of(view)
    assert [c.title for c in columns if c.group == "Time to first token"] == ["p50", "p90", "p99"]
    spread = view.figures[0].ttft_ms
    assert spread is not None
    p90 = next(c for c in columns if c.csv == "ttft_p90_ms")
    assert p90.value(view.figures[0]) == spread.p90 < spread.p95
    bare = [f"{c.group} {c.title}" for c in columns if not c.unit and c.csv.endswith(("_s", "percent", "_w"))]
    assert bare == [" Req/s", "Goodput req/s", "Engine KV peak %"]


def test_the_unit_of_a_group_is_written_where_the_page_is_narrow(
    open_window: OpenWindow, qtbot: QtBot, app_home: Home
) -> None:
    page = page_of(open_window, (960, 600))
    opened(qtbot, page, app_home)
    table = page.result.numbers
    for group in ("Generated tokens", "Time to first token", "Inter-token latency", "Whole answer"):
        members = [place for place, c in enumerate(table.numbers.columns) if c.group == group]
        unit = table.numbers.columns[members[-1]].unit
        room = sum(table.columnWidth(place) for place in members) - 9
        assert unit and words_width(group, True) + 4 + words_width(unit) <= room, group


def test_a_p99_of_few_values_has_their_number_in_the_chart_and_against_others_too(
    page: BenchmarkPage, qtbot: QtBot, app_home: Home
) -> None:
    opened(qtbot, page, app_home, subjects=three()[:2], levels=(1.0,), repeats=1)
    page.result.show_tab("ttft")
    assert page.result.chart.chart.lines[0].dots[0].detail.endswith(" n4")
    page.result.show_pane("ab")
    idle(qtbot, page)
    model = page.result.ab.model
    row = next(row for row in model.rows if row.metric == "TTFT p99")
    assert model.text(row, 3).endswith(" n4") and not model.text(row, 3).startswith("\N{EN DASH}")
    assert " n" not in model.text(next(row for row in model.rows if row.metric == "TTFT p50"), 3)


def test_nothing_of_an_older_run_stays_in_sight_when_another_begins(
    page: BenchmarkPage, qtbot: QtBot, app_home: Home
) -> None:
    opened(qtbot, page, app_home, subjects=three()[:2])
    result = page.result
    assert result.summary.isVisibleTo(page) and result.numbers.numbers.rows
    page._show_running(True)
    assert result.view is None and not result.summary.isVisibleTo(page)
    assert not result.chart.chart.lines and not result.numbers.numbers.rows and not result.csv_button.isEnabled()
    assert not any(made.isVisibleTo(page) for made in result._subjects.buttons())
    page._show_running(False)
    result.show_view(page.model.view, fresh=True)  # type: ignore[arg-type]
    assert result.summary.isVisibleTo(page) and len(result.chart.chart.lines) == 2 and result.csv_button.isEnabled()
    assert len(result._subjects.buttons()) == 2


def test_all_that_could_not_be_measured_are_told_and_not_only_the_first(page: BenchmarkPage, app_home: Home) -> None:
    failures = [Failure(code="x", what=f"No room for {n}.", evidence=f"seen {n}", fix=f"Make room {n}.") for n in "abc"]
    failed = [each.model_copy(update={"failure": failure}) for each, failure in zip(three(), failures, strict=True)]
    title, told = _failures(failed)
    assert title == "FP16 OpenVINO, INT8 OpenVINO and INT4 OpenVINO were not measured"
    for n, each in zip("abc", failed, strict=True):
        assert f"{each.name}: No room for {n}. Make room {n}." in told.what and f"seen {n}" in told.evidence
    assert _failures(failed[:1]) == ("FP16 OpenVINO was not measured", failures[0])
    assert _failures(failed[:1], {"s1"})[0] == "FP16 OpenVINO was not measured to its end"


@pytest.mark.parametrize(("size", "below"), [((960, 600), True), ((1280, 800), False)])
def test_the_form_is_not_cut_off_on_a_narrow_page(
    open_window: OpenWindow, qtbot: QtBot, size: tuple[int, int], below: bool
) -> None:
    page = page_of(open_window, size)
    page.setup.engines.take([Chosen(Path("/e/a"), "A")])
    setup, plan = page.setup, page.setup.plan
    qtbot.waitUntil(lambda: (plan.y() > 0) == below)
    for made in (setup.engines.add_button, *setup.form.kind.buttons):
        assert made.mapTo(setup, made.rect().topRight()).x() <= (setup.width() if below else plan.x())
    assert plan.start.isVisibleTo(page) and plan.command.isVisibleTo(page) != below
    assert "workbench bench" in plan.command.text()


@pytest.mark.slow
def test_a_file_of_which_nothing_can_be_used_brings_the_form_back(
    page: BenchmarkPage, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(make_interpreter(tmp_path / "python", kv_blocks=10, tokens_per_s=400)))
    (tmp_path / "own.jsonl").write_text("nothing\nof use\n")
    form = page.setup.form
    form.kind.choose("file")
    form.kind.changed.emit("file")
    form.file.set_text(str(tmp_path / "own.jsonl"))
    page.setup.engines.take([Chosen(make_engine_folder(tmp_path / "a", "a"), "a")])
    page.setup.start()
    qtbot.waitUntil(lambda: not page.model.running, timeout=WAIT_MS)
    assert page.stack.currentWidget() is page.setup and page.failure_box.isVisibleTo(page)
    assert "line 1" in page._failure.accessibleDescription()
    assert page.model.view is not None and state_words(page.model.view)[0] == "failed"


def test_a_point_too_short_for_one_answer_says_why_it_has_no_requests_a_second() -> None:
    made = dataclasses.replace(point("s1", 1.0, 0, itl_ms=100, ttft_ms=400, rounds=1), duration_s=2.0)
    figures = point_figures(made)
    assert figures.completed == 1 and figures.req_s == 0
    assert "No answer ended within the 2 s that count: requests a second is 0. Measure longer." in figures.notes
    assert not any("Measure longer" in note for note in point_figures(point("s1", 1.0, 0, itl_ms=9, ttft_ms=9)).notes)


def test_a_drawer_that_came_unasked_goes_when_the_window_becomes_narrow(
    open_window: OpenWindow, qtbot: QtBot, app_home: Home
) -> None:
    page = page_of(open_window, (1600, 900))
    opened(qtbot, page, app_home, subjects=three()[:1])
    drawer = page.result.drawer
    assert drawer.isVisibleTo(page)
    page.window().resize(960, 600)
    qtbot.waitUntil(lambda: not drawer.isVisibleTo(page))
    assert page.result.numbers.isVisibleTo(page)
    page.toggle_drawer()
    page.window().resize(980, 600)
    assert drawer.isVisibleTo(page)


# -- large runs


@pytest.mark.slow
def test_a_large_run_is_read_in_another_process_and_says_the_same(
    page: BenchmarkPage, qtbot: QtBot, app_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = keep(app_home, run_of(three()[:2], levels=(1.0,), limits=Limits(ttft_ms=90)))
    here = bench_view.open_view(folder), bench_against.among_subjects(folder)
    monkeypatch.setattr(bench_apart, "LARGE_BYTES", 10)
    for name in ("open_view", "among_subjects"):  # not in this process
        monkeypatch.setattr(bench_view if name == "open_view" else bench_against, name, None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "workbench.py").write_text("raise SystemExit(9)")
    assert bench_apart.among_subjects(folder) == here[1]
    page.open_run(folder)
    qtbot.waitUntil(lambda: page.model.view == here[0], timeout=WAIT_MS)
    path = tmp_path / "result.json"
    page.keeping.export(path)
    idle(qtbot, page)
    assert len(json.loads(path.read_text())["points"]) == 2


@pytest.mark.slow
def test_what_is_wrong_with_a_large_run_is_told_in_the_same_words(
    app_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = keep(app_home, run_of(three()[:1], levels=(1.0,), repeats=1))
    other = keep(
        app_home, run_of(three()[:1], levels=(1.0,), repeats=1, run_id="20261101-000000-o", workload=WORKLOADS["code"])
    )
    with pytest.raises(BadInputError) as here:
        bench_apart.against_baseline(folder, other)
    monkeypatch.setattr(bench_apart, "LARGE_BYTES", 10)
    with pytest.raises(BadInputError) as apart:
        bench_apart.against_baseline(folder, other)
    assert apart.value.failure == here.value.failure


@pytest.mark.slow
def test_the_process_of_a_large_run_ends_with_whoever_started_it(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "import sys; from workbench.ui.models import bench_apart as b; import time;"
            "b.bench_view.open_view = lambda _: time.sleep(60); sys.exit(b.main(['view', '.']))"]  # fmt: skip
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as child:
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(30) == 1


# -- the list of engines


def test_several_that_were_marked_stay_marked_when_the_list_is_read_again(
    page: BenchmarkPage, qtbot: QtBot, app_home: Home
) -> None:
    for name in ("abc", "def", "ghi"):
        make_engine_folder(app_home.artifacts / "engines" / name, name)
    page.ask_engines()
    choice = page.choice
    qtbot.waitUntil(lambda: choice.filter.rowCount() == 3, timeout=WAIT_MS)
    idle(qtbot, page)
    choice.table.clearSelection()
    how = QItemSelectionModel.SelectionFlag
    for number in (0, 2):
        choice.table.selectionModel().select(choice.filter.index(number, 0), how.Select | how.Rows)
    marked = [choice.filter.index(number, 0).data(ROW_ROLE).path for number in (0, 2)]
    session = page.session
    session.tasks.run(lambda: read_rows(session.home, session.host.cpu_identity), choice._take)
    idle(qtbot, page)
    assert [one.path for one in choice.rows()] == marked and choice.add.text() == "Add 2"
    choice.reject()

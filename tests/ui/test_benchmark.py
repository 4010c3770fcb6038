"""The Benchmark page: its form, a real run over the fake host, the result, and runs that were kept."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from pytestqt.qtbot import QtBot

from tests.fakes.interpreter import VARIABLE, make_engine_folder, make_interpreter
from tests.ui.benchmark_faces import keep, run_of, subject
from tests.ui.conftest import OpenWindow
from workbench.core.home import Home
from workbench.core.measure.command import Typed, load_from, workload_from
from workbench.core.measure.load import Limits, Load
from workbench.core.measure.record import ClientHealth
from workbench.core.measure.run_file import load_run
from workbench.core.measure.workload import WORKLOADS
from workbench.ui.models.bench_view import open_view, view_of
from workbench.ui.pages.all import PAGES
from workbench.ui.pages.benchmark.chosen import Chosen, of_subject
from workbench.ui.pages.benchmark.columns import columns_of, table_csv
from workbench.ui.pages.benchmark.form import BenchForm
from workbench.ui.pages.benchmark.page import BenchmarkPage
from workbench.ui.pages.benchmark.repeat_words import all_text, command_text, point_command
from workbench.ui.pages.benchmark.summary import each_words, state_words, sweep_words
from workbench.ui.window import Window

WAIT_MS = 60_000


@pytest.fixture
def window(open_window: OpenWindow) -> Window:
    return open_window(*(kind for kind in PAGES if kind.name == "benchmark"))


@pytest.fixture
def page(window: Window) -> BenchmarkPage:
    made = window.page("benchmark")
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


# -- the form


@pytest.fixture
def form(qtbot: QtBot) -> BenchForm:
    made = BenchForm()
    qtbot.addWidget(made)
    return made


def test_the_form_says_what_the_command_line_says_with_the_same_words(form: BenchForm) -> None:
    form.kind.choose("rag")
    form.kind.changed.emit("rag")
    for name, text in (
        ("input", "128..1024"), ("output", "64~8"), ("levels", "1..8"), ("duration", "20"), ("requests", "100"),
        ("warmup", "2"), ("repeats", "3"), ("cancel", "10"), ("ttft_limit", "500"), ("timeout", "90"), ("seed", "7"),
    ):  # fmt: skip
        form.texts[name].set_text(text)
    values = form.values()
    typed = Typed(
        workload="rag", input="128..1024", output="64~8", concurrency="1..8", duration_s=20, requests=100, warmup_s=2,
        repeats=3, cancel_share=0.1, ttft_limit_ms=500, timeout_s=90, seed=7,
    )  # fmt: skip
    assert values.workload == workload_from(typed)
    assert values.load == load_from(typed)
    assert values.load.levels == (1, 2, 4, 8)


def test_a_rate_is_asked_for_in_requests_a_second_and_kept_beside_the_users(form: BenchForm) -> None:
    form.levels.set_text("3,6")
    form.levels.changed.emit()
    form.arrival.choose("poisson")
    form.arrival.changed.emit("poisson")
    form.levels.set_text("0.5,2")
    form.levels.changed.emit()
    load = form.values().load
    assert (load.arrival, load.levels) == ("poisson", (0.5, 2.0))
    form.arrival.choose("closed")
    form.arrival.changed.emit("closed")
    assert form.values().load.levels == (3, 6)


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("levels", "a few", "Levels"),
        ("input", "long", "Input length"),
        ("duration", "-3", "Each point"),
        ("repeats", "0", "Repeats"),
        ("cancel", "250", "100"),
        ("seed", "1.5", "Seed"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(form: BenchForm, field: str, text: str, said: str) -> None:
    form.texts[field].set_text(text)
    with pytest.raises(ValueError):
        form.values()
    assert form.texts[field].edit.property("wrong") is True
    words = form.texts[field].problem.text()
    assert words and (said in words or said in form.texts[field].name)
    form.texts[field].set_text({"levels": "1", "input": "8"}.get(field, "1"))
    form.values()
    assert form.texts[field].edit.property("wrong") is False


def test_a_fraction_of_a_user_and_no_length_of_a_point_are_refused(form: BenchForm) -> None:
    form.levels.set_text("1.5")
    with pytest.raises(ValueError, match="whole number"):
        form.values()
    form.levels.set_text("1")
    form.duration.set_text("")
    with pytest.raises(ValueError, match="how long"):
        form.values()
    form.requests.set_text("20")
    assert form.values().load.duration_s is None


def test_the_form_takes_back_what_a_run_did(form: BenchForm) -> None:
    workload = WORKLOADS["code"].model_copy(update={"shared_prefix_tokens": 99, "seed": 5, "fixed_output": False})
    load = Load(
        arrival="constant", levels=(0.5, 3.0), duration_s=12.5, requests=40, warmup_s=1.5, repeats=4, timeout_s=33,
        cancel_share=0.25, limits=Limits(itl_ms=20), stop_saturated=False, drain_s=7, seed=5,
    )  # fmt: skip
    form.show_values(workload, load, alternated=True)
    values = form.values()
    assert (values.workload, values.load, values.alternated) == (workload, load, True)
    again = BenchForm()
    again.restore(json.loads(json.dumps(form.state())))
    assert again.values() == values
    again.deleteLater()


def test_nothing_starts_before_an_engine_is_chosen(page: BenchmarkPage, qtbot: QtBot) -> None:
    plan = page.setup.plan
    assert not plan.start.isEnabled() and "Choose an engine" in plan.problem.text()
    page.setup.engines.take([Chosen(Path("/e/a"), "A"), Chosen(Path("/e/b"), "B")])
    assert plan.start.isEnabled() and "workbench bench" in plan.command.text()
    assert "2 engines, one after the other" in plan.lines.text()
    assert "8 points" in plan.lines.text()
    page.setup.engines.remove(page.setup.engines.chosen[0])
    assert [one.name for one in page.setup.engines.chosen] == ["B"]


def test_at_most_six_are_chosen_and_none_twice(page: BenchmarkPage) -> None:
    many = [Chosen(Path(f"/e/{number}"), f"E{number}") for number in range(9)]
    page.setup.engines.add(many)
    page.setup.engines.add(many[:2])
    assert [one.name for one in page.setup.engines.chosen] == [f"E{number}" for number in range(6)]
    assert not page.setup.engines.add_button.isEnabled()


# -- a real run


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def make(*names: str, **settings: Any) -> list[Chosen]:
        interpreter = make_interpreter(tmp_path / "python", **{"kv_blocks": 10, "tokens_per_s": 400, **settings})
        monkeypatch.setenv(VARIABLE, str(interpreter))
        return [Chosen(make_engine_folder(tmp_path / name, name), name) for name in names]

    yield make


def fill(page: BenchmarkPage, chosen: list[Chosen], **texts: str) -> None:
    form = page.setup.form
    wanted = {"input": "20", "output": "6", "levels": "1,2", "duration": "", "requests": "4", "warmup": "", **texts}
    for name, text in wanted.items():
        form.texts[name].set_text(text)
        form.texts[name].changed.emit()
    form.chat.switch.setChecked(False)
    page.setup.engines.take(chosen)


@pytest.mark.slow
def test_start_measures_shows_and_keeps(page: BenchmarkPage, qtbot: QtBot, engines: Any, app_home: Home) -> None:
    fill(page, engines("a", "b"), requests="40")
    lives: list[Any] = []
    page.model.progressed.connect(lives.append)
    qtbot.mouseClick(page.setup.plan.start, Qt.MouseButton.LeftButton)
    assert page.model.running and page.result.live.isVisibleTo(page)
    qtbot.waitUntil(lambda: not page.model.running, timeout=WAIT_MS)
    view = page.model.view
    assert view is not None and view.head.status == "complete" and view.points == 4
    assert [(one.subject, one.level, one.completed) for one in view.figures] == [
        ("s1", 1, 40), ("s1", 2, 40), ("s2", 1, 40), ("s2", 2, 40)
    ]  # fmt: skip
    assert any(live.progress is not None for live in lives)
    assert not page.result.live.isVisibleTo(page)
    assert len(page.result.chart.chart.lines) == 2
    kept = list(app_home.runs.iterdir())
    assert kept == [view.folder]
    again = open_view(view.folder)
    assert [one.completed for one in again.figures] == [40] * 4
    assert again.figures[0].output_tok_s == pytest.approx(view.figures[0].output_tok_s, rel=1e-3)
    assert view.head.command[:2] == ("workbench", "bench")
    events = [event.text for event in page.session.telemetry.events()]
    assert events[-3:] == [*(f"benchmark: {one.name} loaded" for one in view.head.subjects), "benchmark done"]


@pytest.mark.slow
def test_stop_keeps_what_was_measured_and_says_so(page: BenchmarkPage, qtbot: QtBot, engines: Any) -> None:
    fill(page, engines("a", tokens_per_s=40), requests="400", levels="1")
    page.setup.start()
    qtbot.waitUntil(lambda: page.model.live.progress is not None and page.model.live.progress.done > 1, timeout=WAIT_MS)
    qtbot.mouseClick(page.result.live.stop, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not page.model.running, timeout=WAIT_MS)
    view = page.model.view
    assert view is not None and view.head.status == "stopped" and view.figures[0].completed >= 1
    assert state_words(view)[:2] == ("stopped after 1 run", "warn")
    assert any("stopped" in note for note in view.figures[0].notes)


@pytest.mark.slow
def test_an_engine_that_cannot_be_loaded_is_told(page: BenchmarkPage, qtbot: QtBot, engines: Any) -> None:
    (bad,) = engines("a", kv_blocks=7, fail_with_blocks=7)
    fill(page, [Chosen(bad.path, "a", overrides=("runtime.kv_blocks=7",))])
    page.setup.start()
    qtbot.waitUntil(lambda: not page.model.running, timeout=WAIT_MS)
    assert page.failure_box.isVisibleTo(page)
    assert "the pool is no good" in page._failure.accessibleDescription()
    assert page.model.view is not None and state_words(page.model.view)[0] == "failed"


@pytest.mark.slow
def test_a_folder_that_is_no_engine_brings_the_form_back(page: BenchmarkPage, qtbot: QtBot, tmp_path: Path) -> None:
    fill(page, [Chosen(tmp_path / "nothing", "nothing")])
    page.setup.start()
    qtbot.waitUntil(lambda: not page.model.running, timeout=WAIT_MS)
    assert page.stack.currentWidget() is page.setup and page.failure_box.isVisibleTo(page)
    assert page.model.failure is not None


def test_nothing_is_measured_beside_another_measurement(page: BenchmarkPage) -> None:
    fill(page, [Chosen(Path("/e/a"), "A")])
    page.session.measuring = "A comparison"
    page.setup.start()
    assert not page.model.running and page.failure_box.isVisibleTo(page)
    assert "A comparison is being measured" in page._failure.accessibleDescription()


@pytest.mark.slow
def test_closing_the_window_ends_the_run_and_keeps_it(
    window: Window, page: BenchmarkPage, qtbot: QtBot, engines: Any, app_home: Home
) -> None:
    fill(page, engines("a", tokens_per_s=40), requests="4000", levels="1")
    page.setup.start()
    qtbot.waitUntil(lambda: page.model.live.progress is not None and page.model.live.progress.done > 0, timeout=WAIT_MS)
    window.close()
    (folder,) = app_home.runs.iterdir()
    run = load_run(folder)
    assert run.head.status == "stopped" and len(run.points) == 1 and run.points[0].requests


# -- the result


def test_a_kept_run_is_shown_as_chart_numbers_and_drawer(page: BenchmarkPage, qtbot: QtBot, app_home: Home) -> None:
    opened(qtbot, page, app_home)
    result = page.result
    assert [line.name for line in result.chart.chart.lines] == ["FP16 OpenVINO", "INT8 OpenVINO", "INT4 OpenVINO"]
    first = result.chart.chart.lines[0].dots[0]
    # One lane of answers of 32 tokens, 40 ms and 31 times 10 ms each.
    assert first.y == pytest.approx(32 / 0.350, rel=0.03)
    assert first.low is not None and first.high is not None and first.low < first.y < first.high
    model = result.numbers.numbers
    assert [one.level for one in model.rows] == [1, 2, 4, 8]
    titles = [(column.group, column.title) for column in model.columns]
    assert titles[:5] == [("", "Users"), ("", "Requests"), ("", "Req/s"), ("Generated tokens", "all"),
                          ("Generated tokens", "per user")]  # fmt: skip
    assert model.data(model.index(0, 1)) == "12"
    assert sweep_words(page.model.view) == "1 to 8 users, 4 points"  # type: ignore[arg-type]
    assert each_words(page.model.view) == "3 \N{MULTIPLICATION SIGN} 10 s, warm-up 2 s"  # type: ignore[arg-type]
    assert state_words(page.model.view)[:2] == ("36 runs, no errors", "ok")  # type: ignore[arg-type]


def test_chart_table_and_drawer_choose_the_same_point(page: BenchmarkPage, qtbot: QtBot, app_home: Home) -> None:
    opened(qtbot, page, app_home)
    result = page.result
    result.show_drawer(True)
    result.numbers.selectRow(1)
    assert result.level == 2 and "--concurrency 2" in result.drawer.command.text()
    result.chart.chosen.emit(4.0, "s3")
    assert result.subject is not None and result.subject.id == "s3"
    assert [index.row() for index in result.numbers.selectionModel().selectedRows()] == [2]
    assert result.drawer.about.full == "INT4 OpenVINO, 4 users, 3 repeats"
    assert "smollm2-int4" in result.drawer.command.text()


def test_a_p99_of_few_values_has_their_number_beside_it(app_home: Home) -> None:
    few, many = view_of(run_of(three()[:1], repeats=1), Path()), view_of(run_of(three()[:1], rounds=40), Path())
    for view, counts in ((few, [4, 8, 16, 32]), (many, [None] * 4)):
        column = next(c for c in columns_of(view) if c.title == "p99" and c.group == "Time to first token")
        assert [column.count(one) for one in view.figures] == counts


def test_a_p99_9_is_told_of_a_thousand_requests_and_not_of_fewer() -> None:
    view = view_of(run_of(three()[:1], levels=(1.0, 8.0), rounds=50, repeats=3), Path())
    column = next(c for c in columns_of(view) if c.title == "p99" and c.group == "Time to first token")
    few, many = view.figures
    assert (few.completed, many.completed) == (150, 1200)
    assert column.note(few) == "" and column.note(many).startswith("p99.9: ")


def test_what_is_not_reported_is_a_dash_and_no_zero(page: BenchmarkPage, qtbot: QtBot, app_home: Home) -> None:
    run = run_of(three()[:1], levels=(1.0,), repeats=1)
    for request in run.points[0].requests:
        request.chunks, request.end, request.error = (), "error", "The server answered 503"
    folder = keep(app_home, run)
    page.open_run(folder)
    qtbot.waitUntil(lambda: page.stack.currentWidget() is page.result, timeout=WAIT_MS)
    model = page.result.numbers.numbers
    texts = {(c.group, c.title): model.data(model.index(0, place)) for place, c in enumerate(model.columns)}
    assert texts["Generated tokens", "all"] == "\N{EN DASH}" and texts["Time to first token", "p50"] == "\N{EN DASH}"
    assert texts["", "Errors"] == "4"
    errors = next(place for place, c in enumerate(model.columns) if c.title == "Errors")
    tip = model.data(model.index(0, errors), Qt.ItemDataRole.ToolTipRole)
    assert tip == "4 \N{MULTIPLICATION SIGN} The server answered 503"
    assert page.result.chart.chart.lines[0].dots[0].y is None
    assert "no request completed" in page.result.chart.accessibleDescription()


def test_a_client_that_was_too_slow_is_said(app_home: Home) -> None:
    run = run_of(three()[:1], levels=(1.0,), repeats=1)
    slow = ClientHealth(cpu_share=1.0, bottleneck=True, words="its event loop was late")
    object.__setattr__(run.points[0], "client", slow)
    assert state_words(view_of(run, Path()))[:2] == ("1 run, client too slow", "warn")


def test_the_numbers_are_copied_as_csv(page: BenchmarkPage, qtbot: QtBot, app_home: Home) -> None:
    opened(qtbot, page, app_home)
    page.result.csv_button.click()
    text = QGuiApplication.clipboard().text()
    assert text == table_csv(page.model.view)  # type: ignore[arg-type]
    head, *rows = text.splitlines()
    assert head.split(",")[:4] == ["subject", "level", "completed", "request_throughput_req_s"]
    assert len(rows) == 12 and rows[4].startswith('"INT8 OpenVINO",1,12,')


@pytest.mark.parametrize("tab", ["throughput", "per_user", "ttft", "itl"])
def test_every_chart_holds_what_was_measured(page: BenchmarkPage, qtbot: QtBot, app_home: Home, tab: str) -> None:
    opened(qtbot, page, app_home)
    page.result.show_tab(tab)
    view, chart = page.model.view, page.result.chart.chart
    assert view is not None
    for one in view.of("s2"):
        dot = next(dot for dot in chart.lines[1].dots if dot.key == one.level)
        wanted = {
            "throughput": one.output_tok_s,
            "per_user": one.output_tok_s,
            "ttft": one.ttft_ms.p50 if one.ttft_ms else None,
            "itl": one.itl_ms.p50 if one.itl_ms else None,
        }[tab]
        assert dot.y == wanted
        if tab == "per_user":
            assert one.per_user_tok_s is not None and dot.x == one.per_user_tok_s.p50


@pytest.mark.slow
def test_ab_gives_ratios_with_intervals_against_the_first(page: BenchmarkPage, qtbot: QtBot, app_home: Home) -> None:
    opened(qtbot, page, app_home)
    page.result.show_pane("ab")
    idle(qtbot, page)
    rows = page.result.ab.model.rows
    speed = next(row for row in rows if row.subject == "INT8 OpenVINO" and row.level == 4 and row.unit == "tok/s")
    assert speed.ratio is not None and speed.ratio.has_interval
    assert speed.ratio.value == pytest.approx(1.5, rel=0.02)
    assert speed.ratio.low < 1.5 < speed.ratio.high  # type: ignore[operator]
    assert speed.kind == "improved" and page.result.ab.table.isVisibleTo(page)


def test_a_run_that_became_slower_is_told_against_its_baseline(
    page: BenchmarkPage, qtbot: QtBot, app_home: Home
) -> None:
    before = keep(app_home, run_of(three()[:1], run_id="20261101-000000-before"))
    opened(qtbot, page, app_home, subjects=three()[:1], slower=1.3)
    page.keeping._choosing = "baseline"
    page.keeping.take(before)
    idle(qtbot, page)
    rows = page.result.baseline.model.rows
    speed = next(row for row in rows if row.level == 2 and row.unit == "tok/s")
    assert speed.kind == "regressed" and speed.ratio is not None
    assert speed.ratio.value == pytest.approx(1 / 1.3, rel=0.02)
    assert "regressed" in page.result.baseline.said.text()
    assert page.result.baseline.other.text() == "Another baseline\N{HORIZONTAL ELLIPSIS}"
    page.result.baseline.other.click()
    assert page.keeping.results.isVisible() and page.keeping._choosing == "baseline"


def test_a_baseline_that_asked_for_something_else_is_refused_in_words(
    page: BenchmarkPage, qtbot: QtBot, app_home: Home
) -> None:
    before = keep(app_home, run_of(three()[:1], run_id="20261101-000000-before", workload=WORKLOADS["code"]))
    opened(qtbot, page, app_home, subjects=three()[:1])
    page.keeping.baseline = before
    page.result.show_pane("baseline")
    idle(qtbot, page)
    assert not page.result.baseline.table.isVisibleTo(page)
    assert len(page.result.baseline.said.text()) > 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["html", "json", "csv", "pdf"])
def test_a_result_is_exported(page: BenchmarkPage, qtbot: QtBot, app_home: Home, tmp_path: Path, kind: str) -> None:
    opened(qtbot, page, app_home)
    path = tmp_path / f"result.{kind}"
    page.keeping.export(path)
    idle(qtbot, page)
    data = path.read_bytes()
    assert data.startswith(b"%PDF") if kind == "pdf" else b"INT4 OpenVINO" in data


def test_the_command_of_a_point_is_one_that_can_be_pasted() -> None:
    run = run_of([subject(1, "fp16", Path("/tmp/with space"))])
    argv = point_command(run.head, run.head.subjects[0], 4.0)
    told = command_text(argv)
    assert told.startswith("workbench bench \\\n") and "'/tmp/with space/smollm2-fp16'" in told
    assert "--concurrency 4" in told and "--repeats 3" in told
    view = view_of(run, Path())
    text = all_text(view, run.head.subjects[0], 4.0)
    assert told in text and "kv_cache_precision: u8" in text and "ab" * 32 in text


def test_run_again_and_run_this_point_again_ask_for_the_same(
    page: BenchmarkPage, qtbot: QtBot, app_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(qtbot, page, app_home)
    asked: list[Any] = []
    monkeypatch.setattr(page.model, "start", lambda request: asked.append(request) and False)
    page.run_again()
    page.result.show_drawer(True)
    page.result.numbers.selectRow(2)
    page.result.drawer.again_button.click()
    whole, one = asked
    head = page.model.view.head  # type: ignore[union-attr]
    assert whole.load == head.load and whole.workload == head.workload and len(whole.engines) == 3
    assert one.load.levels == (4,) and [asked.path for asked in one.engines] == [Path(head.subjects[0].path)]


# -- runs that were kept


def test_all_results_are_listed_newest_first_and_opened(page: BenchmarkPage, qtbot: QtBot, app_home: Home) -> None:
    keep(app_home, run_of(three()[:1], run_id="20261101-000000-first", status="stopped"))
    damaged = keep(app_home, run_of(three()[:1], run_id="20261102-000000-second"))
    (damaged / "run.json").write_text("{}")
    page.keeping.ask_results()
    dialog = page.keeping.results
    qtbot.waitUntil(lambda: len(dialog.model.rows) == 2, timeout=WAIT_MS)
    by_id = {kept.id: kept for kept in dialog.model.rows}
    assert by_id["20261102-000000-second"].problem
    assert dialog.table.choose(lambda kept: kept.id == "20261102-000000-second")
    assert not dialog.open_button.isEnabled() and dialog.said.text()
    assert dialog.table.choose(lambda kept: kept.id == "20261101-000000-first")
    dialog.open_button.click()
    qtbot.waitUntil(lambda: page.stack.currentWidget() is page.result, timeout=WAIT_MS)
    assert page.model.view is not None and page.model.view.head.status == "stopped"


def test_a_damaged_point_is_left_out_and_said(page: BenchmarkPage, qtbot: QtBot, app_home: Home) -> None:
    folder = keep(app_home, run_of(three()[:1], repeats=1))
    (folder / "points" / "001.json.gz").write_bytes(gzip.compress(b"{"))
    page.open_run(folder)
    qtbot.waitUntil(lambda: page.stack.currentWidget() is page.result, timeout=WAIT_MS)
    assert page.model.view is not None and page.model.view.levels == (1, 4, 8)
    assert "could not be read" in page.result.notes.full


def test_a_run_that_is_gone_is_said(page: BenchmarkPage, qtbot: QtBot, tmp_path: Path) -> None:
    page.open_run(tmp_path / "gone")
    qtbot.waitUntil(lambda: page.failure_box.isVisibleTo(page), timeout=WAIT_MS)
    assert page.stack.currentWidget() is page.setup


@pytest.mark.slow
def test_the_page_remembers_its_form_and_its_run(
    page: BenchmarkPage, window: Window, qtbot: QtBot, app_home: Home, open_window: OpenWindow
) -> None:
    page.setup.engines.take(of_subject(one) for one in three()[:2])
    page.setup.form.levels.set_text("5,10")
    page.setup.form.levels.changed.emit()
    folder = opened(qtbot, page, app_home)
    window.close()
    again = open_window(*(kind for kind in PAGES if kind.name == "benchmark")).page("benchmark")
    assert isinstance(again, BenchmarkPage)
    assert [one.name for one in again.setup.engines.chosen] == ["FP16 OpenVINO", "INT8 OpenVINO"]
    assert again.setup.form.values().load.levels == (5, 10)
    qtbot.waitUntil(lambda: again.model.view is not None, timeout=WAIT_MS)
    assert again.model.view is not None and again.model.view.folder == folder


def test_engines_of_another_page_are_taken(page: BenchmarkPage, qtbot: QtBot, app_home: Home, tmp_path: Path) -> None:
    folder = make_engine_folder(app_home.artifacts / "engines" / "abc", "tiny")
    page.session.events.bench_with.emit((folder,))
    qtbot.waitUntil(lambda: bool(page.setup.engines.chosen), timeout=WAIT_MS)
    assert [one.path for one in page.setup.engines.chosen] == [folder]


def test_the_monitor_is_hidden_beside_it_until_it_is_asked_for(window: Window) -> None:
    assert not window.monitor.isVisible()

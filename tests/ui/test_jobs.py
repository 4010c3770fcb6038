"""The Jobs page over real job folders made by real scripted jobs: rows, verbs, cause, log, and a flood."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PySide6.QtCore import QObject, QPoint, Qt, QTimer, QUrl, Slot
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QAbstractButton, QApplication, QWidget
from pytestqt.qtbot import QtBot

from tests.fakes.plans import ROOT, scripted_plan, scripted_step
from tests.ui.conftest import OpenWindow
from workbench.core.home import Home
from workbench.core.plan import Plan, Step, StepEstimate
from workbench.core.units import Range
from workbench.jobs import client
from workbench.jobs.folder import JobFolder
from workbench.ui.models.jobs import JobRow, JobsReader, span_text, waits_for
from workbench.ui.models.log import LogReader
from workbench.ui.models.log_lines import clean, parse
from workbench.ui.pages.base import Page
from workbench.ui.pages.jobs import JobsPage
from workbench.ui.pages.jobs.table import VERBS
from workbench.ui.session import Session
from workbench.ui.widgets.step_strip import state_of, summary, words_of
from workbench.ui.window import Window

TRT = "[11/21/2026-14:26:12] [TRT] [{}] {}"


class Other(Page):
    name, title, icon_name = "build", "Build", "build"


@pytest.fixture
def window(open_window: OpenWindow) -> Window:
    return open_window(Other, JobsPage)


def open_page(window: Window) -> JobsPage:
    window.show_page("jobs")
    page = window.page("jobs")
    assert isinstance(page, JobsPage)
    return page


def model_plan(home: Home, *, fail: str = "", hold: Path | None = None, lines: tuple[str, ...] = ()) -> Plan:
    """Check, quantize and build; the build fails while the file `fail` is absent, and waits for the file `hold`."""
    build: list[list[object]] = [["phase", "Compile the engine", 1, 2], ["progress", 1, 4]]
    build += [["append", "log.txt", line] for line in lines]
    if hold is not None:
        build.append(["wait_for", str(hold)])
    if fail:
        build.append(["error", fail])
    build.append(["write", "engine.bin", "x"])
    quantize = scripted_step(home, "quantize", [["write", "a.bin", "x"]], kind="quantize")
    steps = [
        Step(id="check", kind="check", title="Check"),
        Step(id="convert", kind="convert", title="Convert", none_reason="the model is quantized as it is"),
        quantize.model_copy(update={"variant": "int8"}),
        scripted_step(home, "build", build, after="quantize", kind="build", salt=str(hold)).model_copy(
            update={"variant": "int8"}
        ),
    ]
    seconds = StepEstimate(seconds=Range.seconds(40, 80, formula="a test", source="a test"))
    timed = [s.model_copy(update={"estimate": seconds}) if s.kind in ("quantize", "build") else s for s in steps]
    return Plan(title="Tiny int8", toolchain="openvino", steps=tuple(timed))


def wait_for(qtbot: QtBot, page: JobsPage, job_id: str, status: str) -> JobRow:
    def there() -> bool:
        row = page.jobs.row(job_id)
        return row is not None and row.status == status

    qtbot.waitUntil(there, timeout=20_000)
    row = page.jobs.row(job_id)
    assert row is not None
    return row


def test_before_the_first_build_the_page_says_what_to_do(window: Window, qtbot: QtBot) -> None:
    page = open_page(window)
    qtbot.waitUntil(page.empty.isVisible)
    assert page.empty.accessibleName() == "No build has run yet."
    assert page.empty.button is not None
    page.empty.button.click()
    assert window.stack.currentWidget().objectName() == "page-build"


@pytest.mark.slow
def test_a_job_started_elsewhere_appears_runs_and_ends(window: Window, qtbot: QtBot, tmp_path: Path) -> None:
    page = open_page(window)
    told: list[str] = []
    window.session.events.jobs_changed.connect(lambda jobs: told.append(jobs.running_text(time.time())))
    hold = tmp_path / "go"
    home = window.session.home
    plan = tmp_path / "plan.json"
    plan.write_text(model_plan(home, hold=hold).model_dump_json())
    code = (
        "import sys; from pathlib import Path\nfrom workbench.core.home import Home"
        "\nfrom workbench.core.plan import Plan"
        "\nfrom workbench.jobs import client"
        "\nprint(client.start(Home(Path(sys.argv[1])), Plan.model_validate_json(Path(sys.argv[2]).read_bytes())).id)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(home.root), str(plan)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    job_id = done.stdout.strip()
    qtbot.waitUntil(lambda: bool(page.jobs.running) and page.jobs.running[0].current.amount != "", timeout=20_000)
    row = page.jobs.running[0]
    assert row.id == job_id and page.table.chosen_id() == job_id
    assert row.name == "Tiny" and row.variants == ("int8",)
    assert row.words(time.time()) == ("Compile the engine", "1 of 2, 1 of 4 files")
    assert window.rail._items["jobs"].badge == 1
    assert page.subtitle == "1 running, 0 queued"
    # The quantize step is done, of the build an eighth: 40 to 80 s less that.
    assert row.remaining_s(time.time()) == pytest.approx((35, 70))
    assert told[-1] == f"{row.tag} Build int8, 12\u202f%, 35\u201370 s left"
    assert summary(row) == "Check done, Convert: none, Quantize done, Build 12\u202f%, Verify: none"
    hold.touch()
    wait_for(qtbot, page, job_id, "done")
    qtbot.waitUntil(lambda: window.rail._items["jobs"].badge == 0)
    assert told[-1] == ""


@pytest.mark.slow
def test_a_failure_is_explained_found_in_the_log_and_retried(window: Window, qtbot: QtBot) -> None:
    page = open_page(window)
    home = window.session.home
    lines = [TRT.format("W", "Unused Input: position_ids")] * 9 + [TRT.format("E", "Error Code 2: OutOfMemory, line 7")]
    job = client.start(home, model_plan(home, fail="The GPU ran out of memory.", lines=tuple(lines)))
    row = wait_for(qtbot, page, job.id, "failed")
    qtbot.waitUntil(page.card.in_log.isEnabled, timeout=5000)
    card = page.card
    assert card.isVisible() and card._what.text() == "The GPU ran out of memory."
    assert card._line.accessibleName() == "line 7" and card._fix.text() == "try again"
    assert card.retry.text() == "Retry from Build"
    assert state_of(row.cells("build")) == "failed" and state_of(row.cells("verify")) == "none"
    card.in_log.click()
    qtbot.waitUntil(lambda: page.log.view.line_at(page.log.view.current) is not None)
    shown = page.log.view.line_at(page.log.view.current)
    assert shown is not None and "line 7" in shown.text
    folds = [line for line in page.log.view.window_shown.lines if line.folded]
    # The job's own lines may come between them.
    assert sum(line.folded for line in folds) == 9 and len(folds) < 4
    assert {(line.harmless, line.source) for line in folds} == {("Unused Input: position_ids", "TRT")}
    for line in folds:
        page.log.view.unfold.emit(line.number)
    qtbot.waitUntil(lambda: not any(line.folded for line in page.log.view.window_shown.lines))
    assert not page.log.follow.isChecked(), "going to a line leaves the end"
    card.retry.click()
    assert not page.bar.retry.isEnabled() or not page.bar.retry.isVisible()
    qtbot.waitUntil(lambda: (r := page.jobs.row(job.id)) is not None and r.attempt == 2, timeout=10_000)
    row = wait_for(qtbot, page, job.id, "failed")
    assert words_of("Quantize", row.cells("quantize"))[0] == "Quantize reused", "what was done is not done again"


@pytest.mark.slow
def test_cancel_by_key_and_what_cannot_be_done_is_off(window: Window, qtbot: QtBot, tmp_path: Path) -> None:
    page = open_page(window)
    home, actions = window.session.home, window.session.actions
    job = client.start(home, model_plan(home, hold=tmp_path / "never"))
    wait_for(qtbot, page, job.id, "running")
    qtbot.waitUntil(actions["jobs.cancel"].isEnabled)
    assert not actions["jobs.retry"].isEnabled()
    qtbot.keyClick(page.table, Qt.Key.Key_Delete)
    row = wait_for(qtbot, page, job.id, "cancelled")
    qtbot.waitUntil(actions["jobs.retry"].isEnabled)
    assert not actions["jobs.cancel"].isEnabled() and not page.card.isVisible()
    assert row.words(time.time())[0] == "Cancelled"
    window.show_page("build")
    assert not actions["jobs.retry"].isEnabled(), "the verbs are for the page that is shown"


@pytest.mark.slow
def test_a_painted_cancel_is_clicked(window: Window, qtbot: QtBot, tmp_path: Path) -> None:
    page = open_page(window)
    home = window.session.home
    job = client.start(home, model_plan(home, hold=tmp_path / "never"))
    row = wait_for(qtbot, page, job.id, "running")
    index = page._model.index(0, VERBS)
    places = {verb: rect for verb, _, rect in page.table._delegate.places(page.table.visualRect(index), row)}
    assert set(places) == {"cancel", "folder"}
    assert index.data(Qt.ItemDataRole.AccessibleTextRole) == "Cancel, Open folder"
    qtbot.mouseClick(page.table.viewport(), Qt.MouseButton.LeftButton, pos=places["cancel"].center())
    wait_for(qtbot, page, job.id, "cancelled")


@pytest.mark.slow
def test_a_verb_that_comes_too_late_says_so(window: Window, qtbot: QtBot, tmp_path: Path) -> None:
    page = open_page(window)
    home, hold = window.session.home, tmp_path / "go"
    job = client.start(home, model_plan(home, hold=hold))
    wait_for(qtbot, page, job.id, "running")
    page._poll.stop()
    hold.touch()
    client.wait(job, 20)
    page.bar.cancel.click()
    qtbot.waitUntil(lambda: bool(window.session.notices.kept), timeout=10_000)
    notice = window.session.notices.kept[-1]
    assert notice.text == "The job is not running." and "done" in notice.detail


@pytest.mark.slow
def test_finished_jobs_are_cleared_from_the_view_and_come_back(window: Window, qtbot: QtBot) -> None:
    page = open_page(window)
    home = window.session.home
    job = client.start(home, model_plan(home))
    wait_for(qtbot, page, job.id, "done")
    page._clear_button.click()
    qtbot.waitUntil(page.cleared.isVisible)
    assert job.state_path.exists() and page.state()["cleared_at"] > 0
    window.session.actions["jobs.show_cleared"].trigger()
    assert [row.id for row in page._model.rows] == [job.id]
    page.clear_finished()
    window.session.events.show_job.emit(job.id)
    assert page.table.chosen_id() == job.id, "a job that is asked for is shown"


@pytest.mark.slow
def test_the_folder_of_what_was_made_is_opened(window: Window, qtbot: QtBot) -> None:
    class Opener(QObject):
        def __init__(self) -> None:
            super().__init__()
            self.urls: list[QUrl] = []

        @Slot(QUrl)
        def take(self, url: QUrl) -> None:
            self.urls.append(url)

    page, opener = open_page(window), Opener()
    home = window.session.home
    job = client.start(home, model_plan(home))
    row = wait_for(qtbot, page, job.id, "done")
    QDesktopServices.setUrlHandler("file", opener, "take")
    try:
        page.bar.folder.click()
        qtbot.waitUntil(lambda: bool(opener.urls))
        assert opener.urls[0].toLocalFile() == row.artifacts[-1]
        shutil.rmtree(row.artifacts[-1])
        page.bar.folder.click()
        qtbot.waitUntil(lambda: bool(window.session.notices.kept))
        assert window.session.notices.kept[-1].text == "The folder is gone." and len(opener.urls) == 1
    finally:
        QDesktopServices.unsetUrlHandler("file")


@pytest.mark.slow
def test_an_end_is_said_when_another_page_is_shown(window: Window, qtbot: QtBot, tmp_path: Path) -> None:
    page = open_page(window)
    home, hold = window.session.home, tmp_path / "go"
    job = client.start(home, model_plan(home, hold=hold))
    wait_for(qtbot, page, job.id, "running")
    window.show_page("build")
    hold.touch()
    wait_for(qtbot, page, job.id, "done")
    notice = window.session.notices.kept[-1]
    assert notice.text == "Tiny int8 is done." and notice.do is not None
    notice.do()
    assert window.stack.currentWidget() is page and page.table.chosen_id() == job.id


@pytest.mark.slow
def test_several_precisions_split_the_bar_and_have_a_strip_each(window: Window, qtbot: QtBot, tmp_path: Path) -> None:
    page = open_page(window)
    home = window.session.home
    convert = scripted_step(home, "convert", [["write", "a", "x"]])
    parts = []
    for variant in ("int8", "int4"):
        actions = [["wait_for", str(tmp_path / variant)], ["write", "a", variant]]
        step = scripted_step(home, f"q{variant}", actions, after="convert", kind="quantize")
        parts.append(step.model_copy(update={"variant": variant, "title": "Quantize"}))
    (tmp_path / "int8").touch()
    job = client.start(home, Plan(title="Tiny int8, int4", toolchain="openvino", steps=(convert, *parts)))
    wait_for(qtbot, page, job.id, "running")
    qtbot.waitUntil(
        lambda: "running" in {s.status for s in page.jobs.rows[0].cells("quantize", "int4")}, timeout=20_000
    )
    row = page.jobs.rows[0]
    assert [cell.status for cell in row.cells("quantize")] == ["done", "running"]
    assert "Quantize 1 of 2" in words_of("Quantize", row.cells("quantize"))
    qtbot.waitUntil(lambda: len([p for p in page.bar._parts if p[1].isVisible()]) == 2)
    assert row.words(time.time())[0] == "Quantize int4"
    assert row.remaining_s(time.time()) is None, "a step without an estimate: remaining is not known"
    assert not page.grab().isNull()


@pytest.mark.slow
def test_old_jobs_are_read_once_and_changes_are_seen(app_home: Home) -> None:
    app_home.make()
    job = client.start(app_home, scripted_plan(scripted_step(app_home, "convert", [["write", "a", "x"]])))
    client.wait(job, 20)
    state = json.loads(job.state_path.read_text())
    for number in range(1500):
        job_id = f"20200101-{number:09d}-{number:04x}"
        (app_home.jobs / job_id).mkdir()
        (app_home.jobs / job_id / "state.json").write_text(json.dumps({**state, "id": job_id}))
    (app_home.jobs / "20200102-000000000-dead").mkdir()
    (app_home.jobs / "20200102-000000000-dead" / "state.json").write_text("{")
    reader = JobsReader(app_home.jobs)
    first = reader.read()
    assert not first.complete and first.rows[0].id == job.id and len(first.rows) < 300
    while not (jobs := reader.read()).complete:
        pass
    assert len(jobs.rows) == 1501 and jobs.unreadable == 1
    assert reader.reads == 1501
    again = reader.read()
    assert reader.reads == 1501 and all(a is b for a, b in zip(again.rows, jobs.rows, strict=True))
    oldest = JobFolder(app_home.jobs / "20200101-000000000-0000")
    oldest.write_state(oldest.raw_state().model_copy(update={"title": "renamed"}))
    for _ in range(4):
        jobs = reader.read()
    assert jobs.rows[-1].title == "renamed" and reader.reads == 1502
    shutil.rmtree(oldest.path)
    assert len(reader.read().rows) == 1500


@pytest.mark.slow
def test_a_killed_supervisor_is_seen_as_interrupted(app_home: Home, tmp_path: Path) -> None:
    app_home.make()
    job = client.start(app_home, model_plan(app_home, hold=tmp_path / "never"))
    reader = JobsReader(app_home.jobs)
    end = time.monotonic() + 20
    while (row := reader.read().rows[0]).status != "running" or row.current is None or row.current.kind != "build":
        assert time.monotonic() < end
    pid = job.raw_state().supervisor_pid
    assert pid is not None
    subprocess.run(["kill", "-9", str(pid)], check=True)
    while (row := reader.read().rows[0]).status != "interrupted":
        assert time.monotonic() < end
        time.sleep(0.02)
    assert row.can_retry and row.failure is not None and row.failure.code == "interrupted"


def test_times_and_lanes_in_words() -> None:
    assert (
        span_text((5, 12)) == "5\u201312 s" and span_text((300, 700)) == "5\u201312 min" and span_text(None) == "\u2013"
    )
    assert span_text((0, 0.4)) == "0\u20131 s"
    assert waits_for("waits for gpu:0") == "waits for GPU 0"
    assert waits_for("waits for artifact:abc") == "waits for another job that makes the same"


# -- the log


def write_log(path: Path, lines: list[str]) -> LogReader:
    path.write_text("".join(line + "\n" for line in lines))
    reader = LogReader(path)
    while not reader.advance().complete:
        pass
    return reader


def test_lines_are_told_apart() -> None:
    def of(text: str) -> tuple[str, str, str]:
        line = parse(1, text.encode())
        return line.level, line.source, line.text

    assert of("[convert] warning: small batch") == ("warning", "convert", "small batch")
    assert of(TRT.format("E", "Error Code 2")) == ("error", "TRT", "Error Code 2")
    assert parse(1, TRT.format("E", "x").encode()).time == "14:26:12"
    assert of("WARNING:nncf:old format")[:2] == ("warning", "nncf")
    assert of("RuntimeError: no room") == ("error", "Python", "RuntimeError: no room")
    assert parse(1, b"/x/site-packages/transformers/a.py:9: TracerWarning: trace").harmless == "TracerWarning"
    assert of("no error was found")[0] == "info"
    assert clean(b"Loading:  0%|  |\rLoading: 99%|##|") == "Loading: 99%|##|"
    assert clean(b"\x1b[31mred\x1b[0m\tx\xff") == "red x\ufffd"


def test_rows_map_to_lines_under_every_filter(tmp_path: Path) -> None:
    harmless, warning, error = TRT.format("W", "Unused Input: position_ids"), "[a] warning: w", "ValueError: x"
    lines = []
    for number in range(3000):
        lines += (
            [f"line {number}"] * 5
            + ([harmless] * 3 if number % 7 == 0 else [])
            + ([warning] if number % 11 == 0 else [])
        )
        lines += [error] if number % 100 == 0 else []
    reader = write_log(tmp_path / "log.txt", lines)
    counts = reader.advance()
    assert (counts.lines, counts.errors, counts.warnings) == (len(lines), 30, 273)
    assert counts.harmless == lines.count(harmless)
    for kind, wanted in (
        ("error", [n for n, text in enumerate(lines) if text == error]),
        ("warning", [n for n, text in enumerate(lines) if text == warning]),
        ("info", [n for n, text in enumerate(lines) if text.startswith("line")]),
        ("all", [n for n, text in enumerate(lines) if not (text == harmless and lines[n - 1] == harmless)]),
    ):
        assert reader.rows(kind) == len(wanted)  # type: ignore[arg-type]
        assert [reader.line_of(kind, row) for row in range(len(wanted))] == wanted  # type: ignore[arg-type]
        assert all(reader.row_of(kind, line) == row for row, line in enumerate(wanted))  # type: ignore[arg-type]
    middle = reader.window("all", reader.rows("all") // 2, 50).lines
    assert [line.number for line in middle] == sorted(line.number for line in middle) and len(middle) == 50


def test_search_counts_goes_round_and_gives_up_on_what_never_ends(tmp_path: Path) -> None:
    lines = [f"line {n} \u00e9 \U0001f600 of it" if n % 2 else f"plain {n}" for n in range(9000)] + ["a" * 60 + "!"]
    reader = write_log(tmp_path / "log.txt", lines)
    assert reader.set_search(r"line \d+77 ") == ""
    while not reader.advance().complete:
        pass
    wanted = [n for n, text in enumerate(lines) if n % 2 and str(n).endswith("77") and n > 99]
    assert list(reader._found) == wanted
    assert reader.find_next(-1, 1) == (0, wanted[0], len(wanted))
    assert reader.find_next(wanted[0], -1) == (len(wanted) - 1, wanted[-1], len(wanted))
    window = reader.window("all", wanted[3], 1)
    assert [window.lines[0].text[a:b] for a, b in window.lines[0].spans] == [f"line {wanted[3]} "]
    assert "missing" in reader.set_search("(open")
    reader.set_search(r"(a+)+$")
    began = time.monotonic()
    while not reader.advance().complete:
        pass
    assert time.monotonic() - began < 5
    assert "too long" in reader.window("all", 0, 1).problem


def test_a_log_that_grows_shrinks_and_never_ends_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    reader = write_log(path, ["one", "two"])
    with path.open("ab") as log:
        log.write(b"half")
        log.flush()
        assert reader.advance().lines == 2, "a line that is being written is not shown"
        log.write(b" a line\n")
        log.flush()
        assert reader.advance().lines == 3
        log.write(b"x" * (9 * 2**20) + b"\nafter\n")
        log.flush()
    while not reader.advance().complete:
        pass
    last = reader.window("all", 0, 1, end=True).lines[0]
    assert last.text == "after" and len(reader.window("all", 3, 1).lines[0].text) == 4000
    path.write_text("anew\n")
    assert reader.advance().lines == 1 and reader.window("all", 0, 9).lines[0].text == "anew"
    path.unlink()
    assert reader.advance().lines == 1


@pytest.mark.slow
def test_the_log_is_searched_filtered_and_copied(window: Window, qtbot: QtBot) -> None:
    page = open_page(window)
    home = window.session.home
    lines = (*(f"number {n}" for n in range(400)), TRT.format("E", "bad thing"))
    job = client.start(home, model_plan(home, lines=lines))
    wait_for(qtbot, page, job.id, "done")
    log, view = page.log, page.log.view
    qtbot.waitUntil(lambda: view.window_shown.rows > 400)
    assert view.verticalScrollBar().value() == view.verticalScrollBar().maximum(), "the end is followed"
    window.session.actions["jobs.find"].trigger()
    qtbot.waitUntil(log.field.hasFocus)
    qtbot.keyClicks(log.field, r"number 3\d$")
    qtbot.waitUntil(lambda: log.count.text() == "10 found")
    qtbot.keyClick(log.field, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: log.count.text() == "1 of 10")
    assert view.line_at(view.current).text == "number 30"  # type: ignore[union-attr]
    qtbot.keyClick(log.field, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    qtbot.waitUntil(lambda: log.count.text() == "10 of 10")
    view.setFocus()
    qtbot.keyClick(view, Qt.Key.Key_Up, Qt.KeyboardModifier.ShiftModifier)
    assert view.accessibleDescription().endswith("info: number 38")
    qtbot.keyClick(view, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: QGuiApplication.clipboard().text() == "number 38\nnumber 39")
    log._level_buttons["error"].click()
    qtbot.waitUntil(lambda: [line.text for line in view.window_shown.lines] == ["bad thing"])
    assert log._level_buttons["error"].text() == "Errors 1"
    log._level_buttons["all"].click()
    log.wrap.click()
    log.follow.click()
    qtbot.waitUntil(lambda: view.following and view.window_shown.rows > 400)
    last = view.row_at(QPoint(5, view.viewport().height() - 5))
    assert last == view.window_shown.rows - 1, "wrapped, the end is at the bottom"


@pytest.mark.slow
def test_a_flood_does_not_hold_up_the_window(window: Window, qtbot: QtBot, tmp_path: Path) -> None:
    page = open_page(window)
    home = window.session.home
    qtbot.wait(300)
    beats: list[float] = []
    beat = QTimer()
    beat.setTimerType(Qt.TimerType.PreciseTimer)
    beat.setInterval(10)
    beat.timeout.connect(lambda: beats.append(time.perf_counter()))
    go = tmp_path / "go"
    actions: list[list[object]] = [["wait_for", str(go)], *([["flood", 10_000], ["sleep", 0.05]] * 20)]
    job = client.start(home, scripted_plan(scripted_step(home, "convert", [*actions, ["write", "a", "x"]])))
    wait_for(qtbot, page, job.id, "running")
    qtbot.waitUntil(lambda: page.table.chosen_id() == job.id)
    beat.start()
    go.touch()
    wait_for(qtbot, page, job.id, "done")
    qtbot.waitUntil(lambda: page.log.view.window_shown.counts.lines > 200_000, timeout=10_000)
    beat.stop()
    gaps = [b - a for a, b in itertools.pairwise(beats)]
    print(f"longest gap {max(gaps) * 1000:.0f} ms, {len(beats)} beats")
    assert max(gaps) < 0.5, "the window stood still"
    shown = page.log.view.window_shown
    assert shown.lines[-1].number == shown.counts.lines and len(shown.lines) < 400


@pytest.mark.slow
def test_every_control_has_a_name_and_is_reached_by_tab(window: Window, qtbot: QtBot) -> None:
    page = open_page(window)
    home = window.session.home
    window.resize(1280, 800)
    job = client.start(home, model_plan(home, fail="It broke."))
    wait_for(qtbot, page, job.id, "failed")
    qtbot.waitUntil(page.card.isVisible)
    buttons = [part for part in page.findChildren(QWidget) if isinstance(part, QAbstractButton) and part.isVisible()]
    assert len(buttons) > 12 and all(part.accessibleName() for part in buttons)
    qtbot.waitUntil(lambda: not [p.accessibleName() for p in buttons if p.width() < p.sizeHint().width() - 1])
    page.table.setFocus()
    seen = set()
    for _ in range(60):
        now = QApplication.focusWidget()
        seen.add(now)
        qtbot.keyClick(now, Qt.Key.Key_Tab)
    for part in (page.table, page.bar.folder, page.card.retry, page.log.field, page.log.wrap, page.log.view):
        assert part in seen, part


def test_an_own_session_needs_no_window(session: Session, qtbot: QtBot) -> None:
    page = JobsPage(session)
    qtbot.addWidget(page)
    page.show()
    qtbot.waitUntil(page.empty.isVisible)
    page.close_page()

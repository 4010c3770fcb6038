"""What goes wrong around the window: files of its own that are broken, disks, displays, signals, shares that hang."""

from __future__ import annotations

import importlib
import json
import os
import resource as limits
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tomlkit
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from tests.fakes.plans import ROOT, scripted_plan, scripted_step
from tests.ui.conftest import OpenWindow
from workbench.core.data import resource
from workbench.core.home import HOME_VARIABLE, Home
from workbench.core.intake.json import read_json
from workbench.jobs import client
from workbench.jobs.folder import find, job_ids
from workbench.ui.app import home_problem
from workbench.ui.bridge import Tasks
from workbench.ui.instance import socket_place
from workbench.ui.pages.all import PAGES
from workbench.ui.pages.doctor import DoctorPage
from workbench.ui.pages.jobs import JobsPage
from workbench.ui.session import STATE_FILE, State
from workbench.ui.start import display_problem
from workbench.ui.start import main as start_main

WAIT_S = 40.0


def until(true: Callable[[], object], seconds: float = WAIT_S) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not come"
        time.sleep(0.02)


class Started:
    """A window in a process of its own: `python -m workbench.ui`."""

    def __init__(self, home: Home, runtime: Path, before: str = "") -> None:
        self.runtime = runtime
        runtime.mkdir(mode=0o700, exist_ok=True)
        self.environ = {
            **os.environ,
            HOME_VARIABLE: str(home.root),
            "XDG_RUNTIME_DIR": str(runtime),
            "QT_QPA_PLATFORM": "offscreen",
            "PYTHONPATH": str(ROOT),
            "PYTHONFAULTHANDLER": "1",
        }
        argv = ["-c", before + _MAIN] if before else ["-m", "workbench.ui"]
        self.process = subprocess.Popen(
            [sys.executable, *argv],
            cwd=ROOT,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def is_open(self) -> bool:
        assert self.process.poll() is None, self.process.communicate()
        return any(self.runtime.glob("*.sock"))

    def end(self, number: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, said


_MAIN = "\nimport sys\nfrom workbench.ui.start import main\nsys.exit(main(['engine-workbench']))\n"


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A folder with a short name, as that of a session is: sockets stand in it."""
    with tempfile.TemporaryDirectory(prefix="ew-") as folder:
        yield Path(folder)


@pytest.fixture
def start(app_home: Home, runtime: Path) -> Iterator[Callable[..., Started]]:
    made: list[Started] = []

    def start_one(before: str = "", home: Home = app_home) -> Started:
        made.append(Started(home, runtime, before))
        return made[-1]

    yield start_one
    for each in made:
        if each.process.poll() is None:
            each.process.send_signal(signal.SIGABRT)  # it says where it stood, which a failed test prints
        print(each.process.communicate()[1])


# -- the window's own files


def test_a_state_file_of_a_newer_version_is_kept_and_said(open_window: OpenWindow, app_home: Home) -> None:
    newer = json.dumps({"schema": 99, "page": {"name": "doctor"}})
    (app_home.root / STATE_FILE).write_text(newer)
    window = open_window(JobsPage, DoctorPage)
    (said,) = [n for n in window.session.notices.kept if n.level == "error"]
    assert "another version" in said.text and "schema 99" in said.detail and "window.newer.json" in said.detail
    assert window.strip.isVisible()
    window.close()
    assert (app_home.root / "window.newer.json").read_text() == newer
    assert json.loads((app_home.root / STATE_FILE).read_text())["page"] == "jobs"


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\x00", b"[]", b'{"schema": "1"}', b"[" * 100_000])
def test_a_broken_state_file_is_put_aside_and_said(app_home: Home, content: bytes) -> None:
    path = app_home.root / STATE_FILE
    path.write_bytes(content)
    state = State(path)
    assert state.problem is not None and "starts as new" in state.problem.what
    assert path.with_suffix(".unreadable.json").read_bytes() == content and not path.exists()
    assert state.save() and State(path).problem is None


def test_values_of_the_wrong_kind_in_the_state_do_not_stop_the_window(open_window: OpenWindow, app_home: Home) -> None:
    wrong = {
        "schema": 1, "geometry": ["x"], "page": {"a": 1}, "monitor.minutes": "soon", "theme": [1], "page.jobs": 7,
        "page.doctor": {"split": [{}, None]},
    }  # fmt: skip
    (app_home.root / STATE_FILE).write_text(json.dumps(wrong))
    window = open_window(JobsPage, DoctorPage)
    window.show_page("doctor")
    assert window.monitor.minutes == 5 and window.stack.currentWidget() is window.page("doctor")


def test_a_full_disk_leaves_the_old_state_whole_and_is_said_once(
    open_window: OpenWindow, app_home: Home, qtbot: QtBot
) -> None:
    path = app_home.root / STATE_FILE
    window = open_window(JobsPage, DoctorPage)
    window.session.state.put("filler", "x" * 5000)
    assert window.session.state.save()
    before = path.read_bytes()
    window.session.state.put("filler", "y" * 9000)
    soft, hard = limits.getrlimit(limits.RLIMIT_FSIZE)
    limits.setrlimit(limits.RLIMIT_FSIZE, (4096, hard))  # writes past 4 KiB fail, as on a full disk
    try:
        for _ in range(2):
            window._save_now_and_then()
            qtbot.waitUntil(lambda: window.session.tasks.busy == 0 or window._unsaved, timeout=5000)
        window.close()
    finally:
        limits.setrlimit(limits.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [n.text for n in window.session.notices.kept].count(
        "What the window remembers between starts could not be saved."
    ) == 1
    assert sorted(p.name for p in app_home.root.glob("window*")) == [STATE_FILE], "no half file is left"


def test_a_home_that_cannot_be_written_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    problem = home_problem(Home(tmp_path / "file" / "home"))
    assert problem is not None and str(tmp_path / "file" / "home") in problem.what and HOME_VARIABLE in problem.fix
    assert home_problem(Home(tmp_path / "fine")) is None and not [p for p in (tmp_path / "fine").glob("tmp*")]


@pytest.mark.slow
def test_a_window_over_a_home_that_cannot_be_made_opens_says_so_and_ends(
    start: Callable[..., Started], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    started = start(home=Home(tmp_path / "file" / "home"))
    until(started.is_open)
    code, said = started.end(signal.SIGTERM)
    assert code == 128 + signal.SIGTERM and "Traceback" not in said


@pytest.mark.slow
def test_a_theme_file_with_an_error_leaves_the_shipped_colours_and_is_said(
    start: Callable[..., Started], app_home: Home, tmp_path: Path
) -> None:
    data = json.loads(resource("theme.json").read_text())
    shipped = data["dark"]["accent"]
    data["dark"]["accent"] = "bluish"
    (app_home.root / "theme.json").write_text(json.dumps(data))
    seen = tmp_path / "seen"
    started = start(
        "from pathlib import Path\nimport os\nfrom PySide6.QtCore import QTimer\n"
        "from workbench.ui import app as ui\nfrom workbench.ui.theme import theme\n"
        "app = ui.make_application(['engine-workbench'])\n"
        "def look():\n"
        "    windows = [w for w in app.topLevelWidgets() if w.objectName() == 'window']\n"
        "    said = [n.text + ' ' + n.detail for w in windows for n in w.session.notices.kept]\n"
        # The start may serve timers before there is a window: what is not there yet is looked for again.
        "    if not any('theme.json' in words for words in said):\n"
        "        return QTimer.singleShot(100, look)\n"
        "    theme().set_mode('dark')\n"
        f"    Path({str(seen)!r} + '.new').write_text(theme().colour('accent').name() + '\\n' + '\\n'.join(said))\n"
        f"    os.replace({str(seen)!r} + '.new', {str(seen)!r})\n"
        "QTimer.singleShot(100, look)\n"
    )
    until(lambda: started.is_open() and seen.exists())
    assert started.end(signal.SIGTERM)[0] == 128 + signal.SIGTERM
    accent, said = seen.read_text().split("\n", 1)
    assert accent == shipped.lower()
    assert str(app_home.root / "theme.json") in said and "dark.accent = 'bluish'" in said and "Mend the file" in said


# -- signals, kills, and two windows


def test_a_runtime_folder_with_a_long_name_has_its_sockets_elsewhere(tmp_path: Path) -> None:
    assert socket_place(Path("/run/user/1000")) == Path("/run/user/1000")
    short = socket_place(tmp_path / ("long" * 20))
    assert short.stat().st_mode & 0o077 == 0 and short.stat().st_uid == os.getuid()
    assert socket_place(tmp_path / ("long" * 20)) == short


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_closes_the_window_with_its_state_saved(
    start: Callable[..., Started], app_home: Home, number: signal.Signals
) -> None:
    started = start()
    until(started.is_open)
    code, said = started.end(number)
    assert code == 128 + number and said == ""
    assert json.loads((app_home.root / STATE_FILE).read_text())["page"] in {page.name for page in PAGES}
    log = app_home.logs / "window.log"
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
def test_a_second_start_raises_the_first_and_ends_at_once(start: Callable[..., Started]) -> None:
    first = start()
    until(first.is_open)
    second = start()
    out, said = second.process.communicate(timeout=WAIT_S)
    assert (second.process.returncode, out, said) == (0, "", "") and first.process.poll() is None
    first.process.send_signal(signal.SIGSTOP)  # a window that does not answer
    third = start()
    try:
        _, said = third.process.communicate(timeout=WAIT_S)
    finally:
        first.process.send_signal(signal.SIGCONT)
    assert third.process.returncode == 2 and "does not answer" in said and HOME_VARIABLE in said
    assert first.end(signal.SIGTERM)[0] == 128 + signal.SIGTERM


@pytest.mark.slow
def test_a_build_outlives_its_killed_window_and_the_next_start_shows_it(
    start: Callable[..., Started], open_window: OpenWindow, app_home: Home, tmp_path: Path, qtbot: QtBot
) -> None:
    go = tmp_path / "go"
    plan = scripted_plan(
        scripted_step(app_home, "convert", [["log", "begun"], ["wait_for", str(go)], ["write", "weights", "x"]])
    )
    (tmp_path / "plan.json").write_text(plan.model_dump_json())
    # The job is started inside the window's process, as its Build button does.
    started = start(
        "from pathlib import Path\nimport os, sys\nfrom PySide6.QtCore import QTimer\n"
        "from workbench.core.home_choice import home_from\nfrom workbench.core.plan import Plan\n"
        "from workbench.jobs import client\nfrom workbench.ui.app import make_application\n"
        "app = make_application(['engine-workbench'])\n"
        f"plan = Plan.model_validate_json(Path({str(tmp_path / 'plan.json')!r}).read_text())\n"
        "home = home_from(os.environ)\n"
        "QTimer.singleShot(0, lambda: client.start(home.make(), plan))\n"
    )
    until(started.is_open)
    until(lambda: job_ids(app_home.jobs) and find(app_home.jobs, "last").state().status == "running")
    started.process.kill()
    assert started.process.wait(WAIT_S) == -signal.SIGKILL
    go.touch()
    state = client.wait(find(app_home.jobs, "last"), WAIT_S)
    assert state.status == "done" and (Path(state.artifacts[0]) / "weights").read_text() == "x"
    for left in started.runtime.glob("*.sock"):
        left.unlink()  # so that the next one is seen to listen; the dead one's lock stays
    again = start()
    until(again.is_open)
    assert again.end(signal.SIGTERM)[0] == 128 + signal.SIGTERM
    page = open_window(JobsPage, DoctorPage).page("jobs")
    assert isinstance(page, JobsPage)
    qtbot.waitUntil(lambda: [row.status for row in page.jobs.rows] == ["done"], timeout=10_000)


# -- displays and libraries


def test_without_a_display_it_says_so_instead_of_aborting(tmp_path: Path) -> None:
    environ = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")}
    for extra in (
        {"QT_QPA_PLATFORM": "xcb"}, {}, {"DISPLAY": ":93"}, {"DISPLAY": "nonsense"}, {"WAYLAND_DISPLAY": "wayland-7"},
        {"QT_QPA_PLATFORM": "wayland;xcb"},
    ):  # fmt: skip
        problem = display_problem({**environ, **extra})
        assert problem is not None and problem.code == "no-display" and problem.exit_code == 2, extra
    assert display_problem({"QT_QPA_PLATFORM": "offscreen"}) is None
    assert display_problem(environ, ["x", "-platform", "offscreen"]) is None
    ran = subprocess.run(
        [sys.executable, "-m", "workbench", "gui"],
        cwd=ROOT,
        env={**environ, "QT_QPA_PLATFORM": "xcb", HOME_VARIABLE: str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert ran.returncode == 2 and "There is no display" in ran.stderr and "Traceback" not in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 3


def test_the_menu_entry_of_the_package_is_the_same_start() -> None:
    scripts = tomlkit.parse((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["gui-scripts"]
    module, _, name = scripts["engine-workbench"].partition(":")
    assert getattr(importlib.import_module(module), name) is start_main


def test_without_pyside_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "PySide6").mkdir()
    (tmp_path / "PySide6" / "__init__.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'PySide6'\", name='PySide6')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "workbench.ui"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert ran.returncode == 2 and "PySide6 is not installed" in ran.stderr and "pip install" in ran.stderr
    assert "Traceback" not in ran.stderr


# -- shares that hang, and floods


@pytest.fixture
def stalled(tmp_path: Path) -> Iterator[Path]:
    """A file that answers no reader, as on a share that hangs; at the end its readers are let go."""
    path = tmp_path / "stalled.json"
    os.mkfifo(path)
    yield path
    ends = time.monotonic() + 1.0
    while time.monotonic() < ends:
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            break  # nobody reads any more
        time.sleep(0.01)


@pytest.mark.slow
def test_tasks_that_hang_do_not_hold_up_the_others(qapp: QApplication, qtbot: QtBot, stalled: Path) -> None:
    tasks = Tasks()
    for _ in range(6):
        tasks.run(stalled.read_text)
    answers: list[int] = []
    tasks.run(lambda: 7, answers.append)
    assert answers == []
    qtbot.waitUntil(lambda: answers == [7], timeout=10_000)
    begun = time.monotonic()
    assert not tasks.close(0.2), "they hang still"
    assert time.monotonic() - begun < 2.0


def test_questions_that_are_out_of_date_are_not_asked(qapp: QApplication, qtbot: QtBot) -> None:
    tasks = Tasks(threads=1)
    gate, ran, answers = threading.Event(), [], []
    tasks.run(gate.wait)
    for number in range(20):
        tasks.run(lambda number=number: ran.append(number) or number, answers.append, key="typing")
    gate.set()
    qtbot.waitUntil(lambda: answers == [19], timeout=5000)
    assert ran == [19]
    assert tasks.close()


def test_a_model_file_that_hangs_is_refused_in_words(stalled: Path) -> None:
    with pytest.raises(Exception, match="not an ordinary file"):
        read_json(stalled)


@pytest.mark.slow
def test_a_share_that_hangs_does_not_hold_up_the_end_of_the_window(
    start: Callable[..., Started], stalled: Path, app_home: Home
) -> None:
    started = start(
        "from pathlib import Path\nfrom PySide6.QtCore import QTimer\nfrom workbench.ui import app as ui\n"
        "made = ui.make_window\n"
        "def make_window(*args, **named):\n"
        "    window = made(*args, **named)\n"
        f"    path = Path({str(stalled)!r})\n"
        "    window.session.tasks.run(path.read_text)\n"
        "    return window\n"
        "ui.make_window = make_window\n"
    )
    until(started.is_open)
    time.sleep(0.3)
    begun = time.monotonic()
    code, said = started.end(signal.SIGTERM)
    assert code == 128 + signal.SIGTERM and said == "" and time.monotonic() - begun < 10.0
    assert json.loads((app_home.root / STATE_FILE).read_text())["page"] in {page.name for page in PAGES}


@pytest.mark.slow
def test_a_worker_that_floods_its_log_leaves_the_window_quick_and_loses_no_line(
    open_window: OpenWindow, app_home: Home, qtbot: QtBot
) -> None:
    lines = 400_000
    window = open_window(JobsPage, DoctorPage)
    page = window.page("jobs")
    assert isinstance(page, JobsPage)
    folder = client.start(app_home, scripted_plan(scripted_step(app_home, "convert", [["flood", lines]], folder=False)))
    qtbot.waitUntil(lambda: page.chosen is not None, timeout=10_000)
    longest, last = 0.0, time.monotonic()
    ends = last + WAIT_S
    while not (folder.state().finished and page.log.reader and page.log.reader.advance().complete):
        qtbot.wait(5)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        assert now < ends
    with folder.log_path.open(encoding="utf-8") as log:
        raw = [line.rsplit("line ", 1)[1].split()[0] for line in log if "of raw output" in line]
    assert raw == [str(number) for number in range(lines)], "the file has every line once, in its order"
    assert longest < 1.0, f"the window stood still for {longest:.2f} s"

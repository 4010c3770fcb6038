"""The parts of benchmarks/gui.py that need a window: run as a process of their own, which prints one line of JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from PySide6.QtCore import QEvent, QObject, Qt, QTimer
from PySide6.QtWidgets import QApplication, QDockWidget, QTableView

from workbench.core.home import Home
from workbench.core.home_choice import home_from
from workbench.jobs import client
from workbench.jobs.folder import JobFolder
from workbench.ui.app import make_application, make_window, prepare_pages
from workbench.ui.pages.all import PAGES
from workbench.ui.session import STATE_FILE, STATE_SCHEMA
from workbench.ui.window import Window

TICK_MS = 10
PLOT_MS = 100
_POINTS = 3_600
_PATIENCE_S = 60.0
HERE = Path(__file__).resolve().parent


def until(holds: Callable[[], bool], patience_s: float = _PATIENCE_S) -> None:
    """Run the event loop until something holds; ends the program when it does not."""
    app = QApplication.instance()
    assert app is not None
    ends = time.monotonic() + patience_s
    while not holds():
        app.processEvents()
        time.sleep(0.001)
        if time.monotonic() > ends:
            sys.exit(f"waited {patience_s:.0f} s in vain")


def open_window(first: str) -> tuple[Window, Home]:
    home = home_from(os.environ)
    home.make()
    # As a start does that goes on where the last one ended: no other page is made before.
    (home.root / STATE_FILE).write_text(json.dumps({"schema": STATE_SCHEMA, "page": first}))
    app = make_application(["benchmark"])
    window = make_window(app, home, PAGES)
    window.show()
    return window, home


# -- a log that floods


class Ticks(QObject):
    """A 10 ms timer that keeps the longest time between two of its ticks."""

    def __init__(self) -> None:
        super().__init__()
        self.gaps: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._tick)

    def start(self) -> None:
        self._last = time.perf_counter()
        self._timer.start()

    def stop(self) -> None:
        self._timer.stop()

    def _tick(self) -> None:
        now = time.perf_counter()
        self.gaps.append(now - self._last)
        self._last = now


class LivePlot(QDockWidget):
    """A pyqtgraph plot at the right of the window that moves on ten times a second."""

    def __init__(self) -> None:
        super().__init__("Plot")
        import numpy as np
        import pyqtgraph

        self._values = np.random.default_rng(1).normal(size=2 * _POINTS)
        plot = pyqtgraph.PlotWidget()
        plot.setMinimumHeight(200)
        self._curve = plot.plot(pen=pyqtgraph.mkPen("#3d8bfd", width=1), autoDownsample=True, downsampleMethod="peak")
        self.setWidget(plot)
        self.drawn = 0
        plot.viewport().installEventFilter(self)
        self._at = 0
        self._timer = QTimer(self)
        self._timer.setInterval(PLOT_MS)
        self._timer.timeout.connect(self._move)
        self._timer.start()

    def _move(self) -> None:
        self._at = (self._at + 1) % _POINTS
        self._curve.setData(self._values[self._at : self._at + _POINTS])

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Paint:
            self.drawn += 1
        return False


def measure_log(lines_per_s: int, seconds: float) -> dict[str, Any]:
    """A job whose worker prints; the Jobs page follows its log."""
    from benchmarks._gui_home import numbers_in_log
    from workbench.core.plan import Plan, Step, cache_key

    window, home = open_window("jobs")
    window.resize(1600, 1000)
    window.start()
    page: Any = window.page("jobs")
    plot = LivePlot()
    window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, plot)
    until(lambda: plot.drawn > 10)
    settings = {"lines_per_s": lines_per_s, "seconds": seconds}
    step = Step(
        id="print", kind="convert", title="Print", worker="log-writer",
        argv=(sys.executable, str(HERE / "_log_writer.py")), env={"PYTHONPATH": str(HERE.parent)}, settings=settings,
        key=cache_key(settings),
    )  # fmt: skip
    plan = Plan(title="A worker that prints", toolchain="openvino", steps=(step,))
    me = psutil.Process()
    ticks, memory = Ticks(), [me.memory_info().rss]
    sampler = QTimer()
    sampler.setInterval(100)
    sampler.timeout.connect(lambda: memory.append(me.memory_info().rss))
    jobs: list[JobFolder] = []
    window.session.tasks.run(lambda: client.start(home, plan), jobs.append)
    until(lambda: bool(jobs))
    page.show_job(jobs[0].id)
    until(lambda: page.log.path == jobs[0].log_path and page.log.view.window_shown.counts.lines > 0)
    sampler.start()
    ticks.start()
    drawn, cpu, begin = plot.drawn, me.cpu_times(), time.perf_counter()
    app = QApplication.instance()
    assert app is not None
    # The real loop, not processEvents in one of ours: it is what a person's window runs.
    done = QTimer()
    done.setInterval(50)
    done.timeout.connect(lambda: app.exit() if (row := page.jobs.row(jobs[0].id)) and row.finished else None)
    done.start()
    app.exec()
    took = time.perf_counter() - begin
    ticks.stop()
    used = me.cpu_times()
    drawn = plot.drawn - drawn
    state = jobs[0].state()
    if state.status != "done":
        sys.exit(f"the job is {state.status}: {state.failure}")
    held = numbers_in_log(jobs[0].log_path)
    everything = held["lines"] + held["other_lines"]
    shown = lambda: page.log.view.window_shown.counts.lines  # noqa: E731
    until(lambda: shown() >= everything, 10.0)
    result = state.steps[0].result
    gaps = sorted(ticks.gaps)
    window.close()
    return {
        "written": result["lines"],
        "writer_seconds": result["seconds"],
        "writer_most_behind_lines": result["most_behind_lines"],
        "in_file": held["lines"],
        "in_file_all": everything,
        "shown": shown(),
        "longest_gap_ms": 1000 * gaps[-1],
        "gap_p99_ms": 1000 * gaps[int(0.99 * (len(gaps) - 1))],
        "ticks": len(gaps),
        "plot_per_s": drawn / took,
        "growth_mib": (max(memory) - memory[0]) / 2**20,
        "rss_mib": max(memory) / 2**20,
        "cpu_percent": 100 * (used.user + used.system - cpu.user - cpu.system) / took,
    }


# -- pages over a full home


class RowsPainted(QObject):
    """Hears of the first paint of a table that has rows, and of the first with `enough` of them."""

    def __init__(self, table: QTableView) -> None:
        super().__init__()
        self.painted_at = 0.0
        self._table = table
        table.viewport().installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Paint and not self.painted_at and self._table.model().rowCount() > 0:
            QTimer.singleShot(0, self._painted)
        return False

    def _painted(self) -> None:
        self.painted_at = self.painted_at or time.perf_counter()


def open_page(window: Window, name: str, rows: int) -> tuple[float, float]:
    """Milliseconds until rows of a page are painted, and until it has all of them."""
    begin = time.perf_counter()
    window.show_page(name)
    page: Any = window.page(name)
    table: QTableView = page.table
    seen = RowsPainted(table)
    table.viewport().update()
    until(lambda: bool(seen.painted_at))
    until(lambda: table.model().rowCount() >= rows)
    full = time.perf_counter()
    table.viewport().removeEventFilter(seen)
    return 1000 * (seen.painted_at - begin), 1000 * (full - begin)


def settle(window: Window, seconds: float = 1.0) -> None:
    """Until what was begun is done, as a person lets it be."""
    ends = time.monotonic() + seconds
    until(lambda: time.monotonic() > ends)
    until(lambda: window.session.tasks.busy <= 1)


def measure_pages(engines: int, jobs: int) -> dict[str, float]:
    """Each page opened for the first time, and again. The window stood on the Doctor page before."""
    window, _ = open_window("doctor")
    window.start()
    prepare_pages(window)
    all_jobs: Any = window.page("jobs")  # made at the start of every window, since its badge shows on each page
    begin = time.perf_counter()
    until(lambda: len(all_jobs.jobs.rows) >= jobs)
    found = {"start to all jobs known": 1000 * (time.perf_counter() - begin)}
    settle(window, 2.0)
    for name, rows in (("engines", engines), ("jobs", jobs)):
        found[f"{name}, first time"], found[f"{name}, first time, all rows"] = open_page(window, name, rows)
        settle(window)
    for name, rows in (("engines", engines), ("jobs", jobs)):
        found[f"{name}, again"], _ = open_page(window, name, rows)
        settle(window)
    window.close()
    return found


def main() -> None:
    # The window of a plot or page that hangs must not hang the benchmark: gui.py ends it.
    part: Callable[..., dict[str, Any]] = {"log": measure_log, "pages": measure_pages}[sys.argv[1]]
    found = part(**json.loads(sys.argv[2]))
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()

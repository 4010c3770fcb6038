"""What the monitor costs: the processor it takes while an hour at 10 Hz is shown and readings go on coming.

`python -m benchmarks.monitor`. The window competes with an engine for the processor, so this is what counts. All
panels of one GPU and one engine are in view (nine plots; the bar asks for four), over a series that was filled with an
hour at 10 Hz before; then readings come at 10 Hz for some seconds, by a thread as in the program. Measured is the
process's CPU time, reading included, at the longest and the shortest span; that of one refresh, which gives the
pyqtgraph views what is new and paints those that look different; and that of a move of the crosshair, which paints all.
The ratio printed is the worst of bar / measured: 1 or more is met.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import threading
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtWidgets import QApplication

from benchmarks._common import finish, table
from tests.fakes.telemetry import Invented, Times
from workbench.ui.app import make_application
from workbench.ui.monitor.axis import TimeAxis
from workbench.ui.monitor.board import Board
from workbench.ui.theme import Theme

CPU_BAR_PERCENT = 15.0
REFRESH_BAR_MS = 12.0
PLOTS_OF_THE_BAR = 4
SIZE = (360, 1000)


def filled(hours: float) -> Invented:
    """Readings of so many hours at 10 Hz; from its end on its clock is the real one."""
    made = Invented(times=Times(time.monotonic() - hours * 3600, time.time() - time.monotonic()))
    made.run(hours * 3600)
    return made


def follow(source: Invented, seconds: float) -> float:
    """Let readings come at 10 Hz for so long, and Qt work; seconds of CPU that the whole process took."""
    ended = threading.Event()

    def readings() -> None:
        due = time.monotonic()
        while not ended.is_set():
            due += 0.1
            ended.wait(max(due - time.monotonic(), 0.0))
            source.step(time.monotonic() - source.times.now)

    thread = threading.Thread(target=readings, name="readings")
    began, cpu = time.monotonic(), time.process_time()
    thread.start()
    app = QApplication.instance()
    assert app is not None
    while time.monotonic() - began < seconds:
        app.processEvents()
        time.sleep(0.005)
    taken = time.process_time() - cpu
    ended.set()
    thread.join()
    return taken / (time.monotonic() - began)


def refresh_ms(source: Invented, board: Board, times: int = 40) -> list[float]:
    """CPU time of a refresh of all panels and the painting of their views, each after a new reading."""
    app = QApplication.instance()
    assert app is not None
    found = []
    for _ in range(times):
        source.step(max(time.monotonic() - source.times.now, 0.02))
        app.processEvents()
        began = time.process_time()
        board.refresh()
        app.processEvents()  # paints what looks different
        found.append(1000 * (time.process_time() - began))
    return found


def cross_ms(board: Board, times: int = 40) -> list[float]:
    """CPU time of a move of the crosshair over all plots and its painting."""
    app = QApplication.instance()
    assert app is not None
    found = []
    for place in range(times):
        app.processEvents()
        began = time.process_time()
        board.axis.point_at(0.2 + 0.6 * place / times)
        app.processEvents()
        found.append(1000 * (time.process_time() - began))
    board.axis.point_at(None)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long readings come, at each span")
    parser.add_argument("--hours", type=float, default=1.0, help="what is there before")
    parser.add_argument("--json", metavar="FILE", help="write the results there too")
    given = parser.parse_args()
    app = make_application(["benchmark"])
    Theme(app, "dark")
    source = filled(given.hours)
    rows: list[list[str]] = []
    detail: dict[str, Any] = {"cpus": os.cpu_count(), "load_before": round(os.getloadavg()[0], 2)}
    alone = follow(source, given.seconds / 2)
    rows.append(["nothing shown: readings at 10 Hz alone", f"{100 * alone:.1f} %", ""])
    detail["alone_percent"] = round(100 * alone, 2)
    ratios = []
    for minutes in (60, 1):
        axis = TimeAxis()
        axis.set_minutes(minutes)
        board = Board(source.telemetry, axis)
        board.resize(*SIZE)
        board.show()
        app.processEvents()
        plots = sum(len(panel.plots) for panel in board.panels)
        each, crossed = refresh_ms(source, board), cross_ms(board)
        before = board.refreshes
        share = follow(source, given.seconds)
        per_s = (board.refreshes - before) / given.seconds
        drawn = sum(plot.drawn for panel in board.panels for plot in panel.plots)
        board.close()
        board.deleteLater()
        middle = statistics.median(each)
        rows += [
            [f"{minutes} min: CPU with {plots} plots", f"{100 * share:.1f} %", f"< {CPU_BAR_PERCENT:.0f} % of a core"],
            [f"{minutes} min: refreshes", f"{per_s:.1f} a second", "at most 4"],
            [f"{minutes} min: one refresh of all, median", f"{middle:.1f} ms", f"< {REFRESH_BAR_MS:.0f} ms"],
            [f"{minutes} min: the slowest of {len(each)}", f"{max(each):.1f} ms", ""],
            [f"{minutes} min: one move of the crosshair, median", f"{statistics.median(crossed):.1f} ms", ""],
        ]
        detail[f"{minutes} min"] = {
            "plots": plots, "cpu_percent": round(100 * share, 2), "refreshes_per_s": round(per_s, 2),
            "refresh_ms": [round(ms, 2) for ms in sorted(each)], "views_painted": drawn,
            "cross_ms": [round(ms, 2) for ms in sorted(crossed)],
        }  # fmt: skip
        ratios += [CPU_BAR_PERCENT / (100 * share), REFRESH_BAR_MS / middle]
        if plots < PLOTS_OF_THE_BAR:
            ratios.append(0.0)
    source.telemetry.close()
    print(table(["the monitor", "measured", "bar"], rows))
    ratio = min(ratios)
    if given.json:
        result = {"name": "monitor", "ratio": round(ratio, 4), "bar": 1.0, "ok": ratio >= 1.0, "detail": detail}
        Path(given.json).write_text(
            json.dumps({"date": time.strftime("%Y-%m-%d"), "results": [result]}, indent=1) + "\n"
        )
    finish("monitor", ratio, 1.0, detail)


if __name__ == "__main__":
    main()

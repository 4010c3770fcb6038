"""The window under load: a log that floods while a plot is live, its start, and pages over a full home.

`python -m benchmarks.gui`. Offscreen unless QT_QPA_PLATFORM says otherwise; each part in processes of its own. The
ratio printed is the worst of the parts, bar / measured: 1 or more is met. Parts:
log       lines that a worker writes to its job's log for 10 s at 100,000 a second while the Jobs page follows it and a
          pyqtgraph plot moves ten times a second: longest gap between ticks of a 10 ms timer, lines that are missing
          in the job's file, growth of memory
start     from the start of the process to the first painted window, against a bare window with a pyqtgraph plot in it
pages     from asking for a page to its rows painted, over 1,000 engines and 10,000 jobs
preflight from the last key on the Build page to the answer, for 70B
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks._common import finish, table
from benchmarks._gui_home import make_home

HERE = Path(__file__).resolve().parent
GAP_BAR_MS = 100.0
GROWTH_BAR_MIB = 64.0
START_BAR = 1.2
PAGE_BAR_MS = 200.0
PREFLIGHT_BAR_MS = 150.0
ENGINES, JOBS = 1_000, 10_000
_LONGEST_S = 300
MODULES = {"log": "_gui_parts", "pages": "_gui_parts", "preflight": "_gui_preflight"}
Result = tuple[float, list[list[str]], dict[str, Any]]
"""Bar / measured, rows of the table, details."""


def environment(home: Path) -> dict[str, str]:
    paths = [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH", "")])]
    return {
        "QT_QPA_PLATFORM": "offscreen",
        **os.environ,
        "WORKBENCH_HOME": str(home),
        "PYTHONPATH": os.pathsep.join(paths),
    }


def run_part(name: str, home: Path, **given: Any) -> dict[str, Any]:
    """A part in a process of its own: the JSON that it prints last."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{MODULES[name]}", name, json.dumps(given)],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=_LONGEST_S,
    )
    if done.returncode:
        sys.exit(f"{name} failed with {done.returncode}:\n{done.stderr[-3000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def measure_log(place: Path, given: argparse.Namespace) -> Result:
    found = run_part("log", place / "log-home", lines_per_s=given.lines, seconds=given.seconds)
    missing = found["written"] - found["in_file"]
    rows = [
        ["log: lines written", f"{found['written']:,} in {found['writer_seconds']:.1f} s", f"{given.lines:,}/s asked"],
        ["log: missing in the job's file", f"{missing}", "0"],
        ["log: shown by the window", f"{found['shown']:,}", f"{found['in_file_all']:,} in the file"],
        ["log: longest gap of a 10 ms timer", f"{found['longest_gap_ms']:.0f} ms", f"< {GAP_BAR_MS:.0f} ms"],
        ["log: plot drawn", f"{found['plot_per_s']:.1f} times a second", "10"],
        ["log: memory grew by", f"{found['growth_mib']:.1f} MiB", f"< {GROWTH_BAR_MIB:.0f} MiB"],
        ["log: the window's CPU", f"{found['cpu_percent']:.0f} %", ""],
    ]
    ratio = min(GAP_BAR_MS / found["longest_gap_ms"], GROWTH_BAR_MIB / max(found["growth_mib"], 1.0))
    if missing or found["shown"] != found["in_file_all"]:
        ratio = 0.0
    return ratio, rows, found


def start_once(which: str, home: Path) -> float:
    """Seconds from the start of the process to the first painted window."""
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(HERE / "_gui_start.py"), which],
        env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=60, check=True,
    )  # fmt: skip
    return float(done.stdout.split()[0]) - begin


def measure_start(place: Path, given: argparse.Namespace) -> Result:
    times: dict[str, list[float]] = {"bare": [], "ours": [], "page": [], "full": []}
    homes = {
        "bare": place / "home",
        "ours": place / "home",
        "page": place / "home",
        "full": full_home(place, given).root,
    }
    for number in range(given.runs + 1):
        # Whoever goes first meets another state of the machine, so they take turns at that too.
        for which in list(times) if number % 2 else list(times)[::-1]:
            seconds = start_once({"full": "ours"}.get(which, which), homes[which])
            if number:  # the first round fills the page cache
                times[which].append(seconds)
    middle = {which: statistics.median(each) for which, each in times.items()}
    ratio = statistics.median(our / bare for our, bare in zip(times["ours"], times["bare"], strict=True))
    beside = {which: middle[which] / middle["bare"] for which in ("page", "full")}
    rows = [
        ["start: bare PySide6 and pyqtgraph window", f"{1000 * middle['bare']:.0f} ms", f"median of {given.runs}"],
        ["start: first painted window", f"{1000 * middle['ours']:.0f} ms", f"ratio {ratio:.2f}, at most {START_BAR}"],
        ["start: its first page painted", f"{1000 * middle['page']:.0f} ms", f"ratio {beside['page']:.2f}"],
        ["start: first painted, full home", f"{1000 * middle['full']:.0f} ms", f"ratio {beside['full']:.2f}"],
    ]  # fmt: skip
    detail = {"ratio": round(ratio, 3), **{which: [round(t, 4) for t in each] for which, each in times.items()}}
    return START_BAR / ratio, rows, detail


def full_home(place: Path, given: argparse.Namespace) -> Any:
    from workbench.core.home import Home

    root = place / "full"
    if root.exists():
        return Home(root)
    begin = time.monotonic()
    home = make_home(root, given.engines, given.jobs)
    print(f"made {given.engines:,} engines and {given.jobs:,} jobs in {time.monotonic() - begin:.0f} s", flush=True)
    return home


def measure_pages(place: Path, given: argparse.Namespace) -> Result:
    home = full_home(place, given).root
    found: dict[str, list[float]] = {}
    for _ in range(given.runs):
        for name, milliseconds in run_part("pages", home, engines=given.engines, jobs=given.jobs).items():
            found.setdefault(name, []).append(milliseconds)
    middle = {name: statistics.median(times) for name, times in found.items()}
    bound = [name for name in middle if not name.endswith(("all rows", "known"))]
    rows = [
        [f"pages: {name}", f"{ms:.0f} ms", f"< {PAGE_BAR_MS:.0f} ms" if name in bound else ""]
        for name, ms in middle.items()
    ]
    return (
        PAGE_BAR_MS / max(middle[name] for name in bound),
        rows,
        {k: [round(t, 1) for t in v] for k, v in found.items()},
    )


def measure_preflight(place: Path, given: argparse.Namespace) -> Result:
    """From a key in the form of the Build page to the answer on its preflight card, for 70B."""
    found = run_part("preflight", place / "preflight-home", keys=4 * given.runs)
    times = sorted(found["milliseconds"][1:])  # the first reads what is kept from then on
    worst = times[-1]
    rows = [
        ["preflight: key to answer, median", f"{statistics.median(times):.0f} ms", f"< {PREFLIGHT_BAR_MS:.0f} ms"],
        ["preflight: the slowest of them", f"{worst:.0f} ms", f"{len(times)} keys, 70B for 8 x H200"],
        ["preflight: longest gap of a 10 ms timer", f"{found['longest_gap_ms']:.0f} ms", ""],
    ]
    return PREFLIGHT_BAR_MS / statistics.median(times), rows, found


PARTS: dict[str, Callable[[Path, argparse.Namespace], Result]] = {
    "log": measure_log, "start": measure_start, "pages": measure_pages, "preflight": measure_preflight,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(PARTS), action="append", help="measure this part (default: all)")
    parser.add_argument("--lines", type=int, default=100_000, help="log lines a second")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long they are written")
    parser.add_argument("--runs", type=int, default=5, help="starts, and openings of each page")
    parser.add_argument("--engines", type=int, default=ENGINES)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--json", metavar="FILE", help="write the results there too")
    given = parser.parse_args()
    rows: list[list[str]] = []
    detail: dict[str, Any] = {"cpus": os.cpu_count(), "load_before": round(os.getloadavg()[0], 2)}
    ratios = {}
    with tempfile.TemporaryDirectory(prefix="gui-bench-") as temporary:
        for name, measure in PARTS.items():
            if given.only and name not in given.only:
                continue
            ratios[name], more, detail[name] = measure(Path(temporary), given)
            rows += more
    print(table(["the window", "measured", "bar"], rows))
    ratio = min(ratios.values(), default=0.0)
    detail["ratios"] = {name: round(value, 3) for name, value in ratios.items()}
    if given.json:
        result = {"name": "gui", "ratio": round(ratio, 4), "bar": 1.0, "ok": ratio >= 1.0, "detail": detail}
        Path(given.json).write_text(
            json.dumps({"date": time.strftime("%Y-%m-%d"), "results": [result]}, indent=1) + "\n"
        )
    finish("gui", ratio, 1.0, detail)


if __name__ == "__main__":
    main()

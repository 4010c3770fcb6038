"""How long a person waits before anything runs: `check` of an 8B-shaped folder after import, and `workbench --help`.

The 8B folder has true headers over sparse files, as intake reads headers alone. Bars: check (intake, plan, estimates,
advice) under 100 ms, `--help` within twice `python -c "import typer"`; the ratio printed is the worse of the two,
bar / measured, so 1 or more is met.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._common import finish, table
from tests.fakes.models import make_weightless_folder
from workbench.core.home import Home
from workbench.core.host import read_host
from workbench.core.model import read_model
from workbench.core.preset import find_preset
from workbench.toolchains import get
from workbench.toolchains.environments import choose_environment
from workbench.toolchains.planner import check, make_request

CHECK_BAR_MS = 100.0
HELP_BAR = 2.0
RUNS = 15


def median_ms(times_s: list[float]) -> float:
    return 1000.0 * statistics.median(times_s)


def time_check(folder: Path, home: Home) -> dict[str, float]:
    """Milliseconds of each part and of all, medians; the first run is apart, since it is what a person meets."""
    parts: dict[str, list[float]] = {name: [] for name in ("preset", "environment", "intake", "plan and advice", "all")}
    first = 0.0
    for _ in range(RUNS):
        marks = [time.perf_counter()]
        preset = find_preset("cpu-int8")
        marks.append(time.perf_counter())
        toolchain = get(preset.toolchain)
        environment = choose_environment(toolchain, home, os.environ)
        marks.append(time.perf_counter())
        model = read_model(folder)
        marks.append(time.perf_counter())
        request = make_request(
            preset, model, precisions=("fp16", "int8", "int4"), home=home, environment=environment, host=read_host()
        )
        report = check(toolchain, request)
        marks.append(time.perf_counter())
        assert report.numbers.engines and report.model.parameters > 8e9
        for name, begin, end in zip(parts, marks, marks[1:], strict=False):
            parts[name].append(end - begin)
        parts["all"].append(marks[-1] - marks[0])
        first = first or 1000.0 * (marks[-1] - marks[0])
    return {**{name: median_ms(times) for name, times in parts.items()}, "all, first time": first}


def time_commands() -> tuple[float, float]:
    """Medians in milliseconds of `workbench --help` and of importing typer, in turn."""
    command = shutil.which("workbench", path=str(Path(sys.executable).parent)) or shutil.which("workbench")
    argv = [command, "--help"] if command else [sys.executable, "-m", "workbench", "--help"]
    helps, imports = [], []
    for number in range(RUNS + 2):
        for times, command_line in ((imports, [sys.executable, "-c", "import typer"]), (helps, argv)):
            begin = time.perf_counter()
            subprocess.run(command_line, stdout=subprocess.DEVNULL, check=True)
            if number >= 2:
                times.append(time.perf_counter() - begin)
    return median_ms(helps), median_ms(imports)


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        home = Home(Path(place) / "home").make()
        check_ms = time_check(make_weightless_folder(Path(place) / "Llama-8B"), home)
    help_ms, import_ms = time_commands()
    rows = [[name, f"{value:.1f} ms"] for name, value in check_ms.items()]
    rows += [["workbench --help", f"{help_ms:.1f} ms"], ["python -c 'import typer'", f"{import_ms:.1f} ms"]]
    print(table(["check of an 8B folder", f"median of {RUNS}"], rows))
    ratio = min(CHECK_BAR_MS / max(check_ms["all"], check_ms["all, first time"]), HELP_BAR * import_ms / help_ms)
    detail = {
        **{k: round(v, 2) for k, v in check_ms.items()},
        "help_ms": round(help_ms, 1),
        "import_ms": round(import_ms, 1),
    }
    finish("plan", ratio, 1.0, detail)


if __name__ == "__main__":
    main()

"""How long a person waits before anything runs: `check` of an 8B-shaped folder after import, and `workbench --help`.

The 8B folder has true headers over sparse files, as intake reads headers alone; a 70B folder of a config alone is
planned for 8 x H200 from the catalogue. Bars: each check (intake, plan, estimates, advice) under 100 ms, `--help`
within twice `python -c "import typer"`; the ratio printed is the worst of them, bar / measured: 1 or more is met.
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
from tests.toolchains.gallery_models import gallery_folder
from workbench.core.home import Home
from workbench.core.host import read_host
from workbench.core.model import read_model
from workbench.core.preset import find_preset
from workbench.toolchains import get
from workbench.toolchains.environments import best_environment, choose_environment
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


def time_check_70b(folder: Path, home: Home) -> dict[str, float]:
    """Milliseconds of `check` of 70B for 8 x H200, planned from the catalogue: median, and the first run."""
    times: list[float] = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        preset = find_preset("llama-3.3-70b-fp8-8xh200")
        toolchain = get(preset.toolchain)
        environment = best_environment(toolchain, home, os.environ)
        model = read_model(folder, require_weights=False)
        request = make_request(
            preset, model, precisions=("fp8",), home=home, environment=environment, host=read_host(), detected=()
        )
        report = check(toolchain, request)
        times.append(time.perf_counter() - begin)
        engine = report.numbers.engines[0]
        assert engine.gpus == 8 and engine.capacity.sequences.low > 1 and not report.blocks
    return {"70B for 8 x H200": median_ms(times), "70B for 8 x H200, first time": 1000.0 * times[0]}


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
        wide_ms = time_check_70b(gallery_folder(Path(place), "llama-3.3-70b-fp8-8xh200"), home)
    help_ms, import_ms = time_commands()
    rows = [[name, f"{value:.1f} ms"] for name, value in {**check_ms, **wide_ms}.items()]
    rows += [["workbench --help", f"{help_ms:.1f} ms"], ["python -c 'import typer'", f"{import_ms:.1f} ms"]]
    print(table(["check of an 8B folder", f"median of {RUNS}"], rows))
    slowest = max(check_ms["all"], check_ms["all, first time"], *wide_ms.values())
    ratio = min(CHECK_BAR_MS / slowest, HELP_BAR * import_ms / help_ms)
    detail = {
        **{k: round(v, 2) for k, v in {**check_ms, **wide_ms}.items()},
        "help_ms": round(help_ms, 1),
        "import_ms": round(import_ms, 1),
    }
    finish("plan", ratio, 1.0, detail)


if __name__ == "__main__":
    main()

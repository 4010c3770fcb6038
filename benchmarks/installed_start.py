"""How long the installed program takes to its first painted window, over the source tree's, with nothing in memory.

`python -m benchmarks.installed_start --installed DIR` (an unpacked tarball, or /opt/engine-workbench). The source tree
is this checkout, run by the interpreter of the benchmark. Both in turns in one run, offscreen, in one home; before
each start the files of both are put out of the page cache, and as root the whole cache is dropped. What other
processes have mapped stays in memory: a virtual environment that others use is not cold.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from benchmarks._common import finish, table

HERE = Path(__file__).resolve().parent
BAR = 1.5
_DROP = Path("/proc/sys/vm/drop_caches")
_LONGEST_S = 120


def commands(installed: Path, scratch: Path) -> dict[str, list[str]]:
    """How each is started: the installed one by the lines of its own launcher, with the program that watches in it."""
    launcher = installed / "bin" / "engine-workbench"
    text = launcher.read_text(encoding="utf-8")
    head, start, _ = text.partition(" -c '")
    if not start:
        sys.exit(f"{launcher} does not start Python as it was built to")
    own = scratch / "engine-workbench"
    shown = head.replace('"$(readlink -f -- "$0")"', f'"$(readlink -f -- "{launcher}")"')
    own.write_text(f'{shown} "{HERE / "_gui_start.py"}" "$@"\n', encoding="utf-8")
    return {
        "source": [sys.executable, "-P", str(HERE / "_gui_start.py"), "ours"]
        if sys.version_info >= (3, 11)
        else [sys.executable, str(HERE / "_gui_start.py"), "ours"],
        "installed": ["/bin/sh", str(own), "ours"],
    }


def put_out(folders: list[Path]) -> str:
    """Puts files out of the page cache; says how far that went."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                file = os.open(path, os.O_RDONLY)
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(file)
    try:
        _DROP.write_text("3\n", encoding="ascii")
    except OSError:
        return "files of both put out of the page cache"
    return "page cache dropped"


def start_once(argv: list[str], home: Path, source: bool) -> float:
    """Seconds from the start of the process to the first painted window."""
    environ = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "WORKBENCH_HOME": str(home)}
    environ.pop("PYTHONPATH", None)
    if source:
        environ["PYTHONPATH"] = str(HERE.parent)
    begin = time.monotonic()
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=_LONGEST_S)
    if done.returncode or not done.stdout:
        sys.exit(f"{' '.join(argv)} failed with {done.returncode}:\n{done.stderr[-3000:]}")
    return float(done.stdout.split()[0]) - begin


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--installed", type=Path, required=True, help="the installed tree")
    words.add_argument("--runs", type=int, default=5)
    given = words.parse_args()
    installed = given.installed.resolve()
    own = [Path(sysconfig.get_path(name)) for name in ("purelib", "stdlib")] + [HERE.parent / "workbench"]
    with tempfile.TemporaryDirectory(prefix="installed-start-") as scratch:
        home = Path(scratch) / "home"
        started = commands(installed, Path(scratch))
        cold: dict[str, list[float]] = {name: [] for name in started}
        warm: dict[str, list[float]] = {name: [] for name in started}
        how = ""
        for number in range(given.runs + 1):
            for name in list(started) if number % 2 else list(started)[::-1]:
                how = put_out([installed, *own])
                first = start_once(started[name], home, name == "source")
                second = start_once(started[name], home, name == "source")
                if number:  # the first round makes the home, and the source tree's bytecode
                    cold[name].append(first)
                    warm[name].append(second)
    ratio = statistics.median(a / b for a, b in zip(cold["installed"], cold["source"], strict=True))
    warm_ratio = statistics.median(a / b for a, b in zip(warm["installed"], warm["source"], strict=True))
    rows = [
        [f"{name}, {kind}", f"{1000 * statistics.median(each[name]):.0f} ms"]
        for kind, each in (("cold", cold), ("warm", warm))
        for name in started
    ]
    print(table(["start to the first painted window", f"median of {given.runs}"], rows))
    print(f"cold: {how}; ratio {ratio:.2f}, at most {BAR}; warm ratio {warm_ratio:.2f}")
    finish(
        "installed_start", ratio, BAR,
        {"how": how, "warm_ratio": round(warm_ratio, 3), "cold": cold, "warm": warm, "python": sys.version.split()[0]},
        at_most=True,
    )  # fmt: skip


if __name__ == "__main__":
    main()

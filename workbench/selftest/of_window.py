"""The window: painted offscreen by a process of its own, and whether a screen could be used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from workbench.jobs.outcome import outcome_of_status
from workbench.selftest.checks import BrokenError, NotRunError, last_lines
from workbench.selftest.of_files import AGAIN
from workbench.selftest.room import Room
from workbench.toolchains.code import package_root

_WINDOW = "workbench.ui.self_test"
_TITLES = {"xcb": "X11", "wayland": "Wayland"}
_LOAD = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"


def window(room: Room) -> str:
    """All pages are painted, with our fonts and icons, and none is blank."""
    out = room.root / "pictures"
    with (room.root / "window.log").open("w+b") as log:
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-m", _WINDOW, "--out", str(out)],
            cwd="/",  # `-m` looks in the working folder first
            env={**os.environ, "PYTHONPATH": str(package_root()), "QT_QPA_PLATFORM": "offscreen"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            check=False,
        )
        log.seek(0)
        errors = log.read().decode("utf-8", "replace")
    try:
        seen = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
    except (ValueError, IndexError):
        seen = None
    if seen is None:
        how = f"{_WINDOW}: {_how(done.returncode)}"
        raise BrokenError("The window cannot be opened.", evidence=f"{how}\n{last_lines(errors)}", fix=AGAIN)
    if seen["problems"]:
        raise BrokenError("The window is not as it should be.", evidence="\n".join(seen["problems"]), fix=AGAIN)
    return f"Qt {seen['qt']}; {len(seen['pages'])} pages painted with the program's own fonts"


def _how(status: int) -> str:
    return str(outcome_of_status(status))


def screen(room: Room) -> str:
    """The libraries of the system that Qt needs for X11 or Wayland can be loaded."""
    spec = find_spec("PySide6")
    if spec is None or not spec.submodule_search_locations:
        raise BrokenError("Qt is not there.", evidence="no package PySide6", fix=AGAIN)
    folder = Path(next(iter(spec.submodule_search_locations))) / "Qt" / "plugins" / "platforms"
    good, bad = [], []
    for name, title in _TITLES.items():
        plugins = [path for path in sorted(folder.glob(f"libq{name}*.so")) if "egl" not in path.name]
        errors = [error for path in plugins if (error := _load_error(path))]
        if not plugins:
            bad.append(f"{title}: Qt's part for it is missing")
        elif len(errors) == len(plugins):
            bad.append(f"{title}: {errors[0]}")
        else:
            good.append(title)
    wanted = {"X11": "DISPLAY", "Wayland": "WAYLAND_DISPLAY"}
    lacking = "; ".join(bad)
    if good:
        return f"{' and '.join(good)} can be used" + (f". Not {lacking}" if bad else "")
    if not any(os.environ.get(variable) for variable in wanted.values()):
        raise NotRunError(f"there is no screen here, and its libraries are not all there ({lacking})")
    raise BrokenError(
        "The window cannot be opened on this screen: libraries of the system are missing.",
        evidence="\n".join(bad),
        fix="Install them: the package does so when it is installed with `apt install ./FILE.deb`.",
    )


def _load_error(plugin: Path) -> str:
    """Why a library cannot be loaded, tried in a process of its own; empty: it can."""
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, str(plugin)],
        cwd="/",  # `-c` looks in the working folder first
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    if done.returncode == 0:
        return ""
    line = (done.stderr.strip().splitlines() or [_how(done.returncode)])[-1]
    return line.removeprefix("OSError: ")

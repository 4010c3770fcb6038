"""Pictures of every page with real objects, in dark and light, at scale 1 and 2, without a screen.

    python -m workbench.ui.screens --out DIR [--home DIR] [--size 1600x1000]

Shows what the home holds (WORKBENCH_HOME, or --home); where no engine was built there, recorded ones (ui.recorded).
Qt reads its scale once, so each scale is a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCALES = (1, 2)
_SETTLE_S, _MOST_S = 0.4, 20.0


def take(out: Path, size: tuple[int, int], home_folder: Path, scale: int) -> list[Path]:
    """Render all pages at the process's own scale; the files written."""
    from PySide6.QtWidgets import QApplication

    from workbench.core.home import home_from
    from workbench.ui.app import make_application, make_window
    from workbench.ui.pages.all import PAGES
    from workbench.ui.theme import SCHEMES, theme

    app = make_application(["engine-workbench"])
    home = home_from({**os.environ, "WORKBENCH_HOME": str(home_folder)})
    window = make_window(app, home, PAGES)
    window.resize(*size)
    window.show()
    window.start()

    def settle() -> None:
        """Until the background work is done and nothing was asked anew for a moment."""
        ends = time.monotonic() + _MOST_S
        calm_since = time.monotonic()
        while time.monotonic() < ends and time.monotonic() - calm_since < _SETTLE_S:
            QApplication.processEvents()
            if window.session.tasks.busy or any(page.busy for page in window.made_pages):
                calm_since = time.monotonic()
            time.sleep(0.01)

    settle()
    if models := sorted((home.artifacts / "models").glob("*/config.json")):
        window.show_page("build")
        settle()
        window.session.events.build_with.emit("cpu-int4-awq", str(models[0].parent))
        settle()
    written = []
    for scheme in SCHEMES:
        theme().set_mode("dark" if scheme == "dark" else "light")
        for kind in PAGES:
            window.show_page(kind.name)
            settle()
            if focused := app.focusWidget():
                focused.clearFocus()
            path = out / f"{kind.name}-{scheme}-{scale}x.png"
            window.grab().save(str(path))
            written.append(path)
    window.close()
    return written


def _with_engines(named: Path | None, spare: Path) -> Path:
    """The home to show: the one that is named, else the person's own, else recorded objects written to `spare`."""
    from workbench.core.home import Home, home_from
    from workbench.ui.recorded import has_engines, recorded_home

    home = Home(named) if named is not None else home_from(os.environ)
    if has_engines(home):
        return home.root
    sys.stderr.write(f"No engine was built in {home.root}: recorded objects are shown.\n")
    return recorded_home(spare).root


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--size", default="1600x1000")
    parser.add_argument("--scale", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    width, height = (int(part) for part in given.size.split("x"))
    given.out.mkdir(parents=True, exist_ok=True)
    if given.scale is not None:
        for path in take(given.out, (width, height), given.home, given.scale):
            sys.stdout.write(f"{path}\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="workbench-screens-") as place:
        home = _with_engines(given.home, Path(place) / "recorded")
        for scale in SCALES:
            argv = [sys.executable, "-m", "workbench.ui.screens", "--out", str(given.out), "--home", str(home)]
            done = subprocess.run(
                [*argv, "--size", given.size, "--scale", str(scale)],
                env={**os.environ, "QT_SCALE_FACTOR": str(scale), "QT_QPA_PLATFORM": "offscreen"},
                check=False,
            )
            if done.returncode:
                return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())

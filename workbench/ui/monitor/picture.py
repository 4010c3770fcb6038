"""The monitor's panels over a recording, as a picture, without a screen.

    python -m workbench.ui.monitor.picture RECORDING OUT.png [--light] [--minutes 1|5|15|60] [--at S] [--scale 2]

RECORDING is what `telemetry.recording` wrote. Without --minutes all of it is shown, up to its last hour. With --at the
crosshair reads the values S seconds after its beginning, else those at its end are told.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from workbench.ui.monitor.axis import SPANS

SIZE = (360, 960)


def draw(
    recording: Path,
    out: Path,
    scheme: str = "dark",
    *,
    minutes: int | None = None,
    at: float | None = None,
    scale: float = 2.0,
) -> None:
    """Draw all panels of a recording; `at` is seconds after its beginning. Raises BadInputError for one that cannot be
    read, or a place that cannot be written to."""
    from PySide6.QtCore import Qt

    from workbench.telemetry.recording import read
    from workbench.ui.app import make_application
    from workbench.ui.monitor.axis import TimeAxis
    from workbench.ui.monitor.board import Board
    from workbench.ui.monitor.export import write_png
    from workbench.ui.theme import Theme

    source = read(recording)
    app = make_application(["engine-workbench"])
    theme = app.findChild(Theme) or Theme(app, "dark")
    before = theme.mode
    theme.set_mode("light" if scheme == "light" else "dark")
    axis = TimeAxis()
    if minutes is not None:
        axis.set_minutes(minutes)
    else:
        axis.fit(min(source.ended_at - source.started_at, 60.0 * SPANS[-1]))
    board = Board(source, axis, live=False)
    board.setAttribute(Qt.WidgetAttribute.WA_DontShowOnScreen)
    board.resize(*SIZE)
    board.show()
    if at is not None:
        axis.set_cross(source.started_at + at)
    board.refresh()
    app.processEvents()
    image = board.picture(scale)
    board.close()
    board.deleteLater()
    theme.set_mode(before)
    write_png(image, out)


def main() -> int:
    """0: written; 2: with a sentence of why not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--light", action="store_true")
    parser.add_argument("--minutes", type=int, choices=SPANS)
    parser.add_argument("--at", type=float, help="seconds after the beginning that the crosshair reads")
    parser.add_argument("--scale", type=float, default=2.0)
    given = parser.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from workbench.core.errors import WorkbenchError

    try:
        draw(
            given.recording,
            given.out,
            "light" if given.light else "dark",
            minutes=given.minutes,
            at=given.at,
            scale=given.scale,
        )
    except WorkbenchError as error:
        sys.stderr.write("\n".join(error.failure.lines()) + "\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`workbench gui`: this process becomes the window's, so that nothing of Qt is loaded by the command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import workbench

_CODE = "import sys; sys.path[:1] = []; from workbench.ui.start import main; sys.exit(main(['engine-workbench']))"
"""`-m` would look for modules in the person's working folder first."""


def run_gui() -> None:
    """Does not return."""
    package = str(Path(workbench.__file__).parent.parent)
    paths = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.execv(sys.executable, [sys.executable, "-c", _CODE])  # noqa: S606 - the same interpreter, no shell

"""`workbench gui`: this process becomes the window's, so that nothing of Qt is loaded by the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import workbench

_CODE = (
    "import sys; sys.path[:1] = []; from workbench.ui.start import main; "
    "sys.exit(main(['engine-workbench', '--', *sys.argv[1:]]))"
)
"""`-m` would look for modules in the person's working folder first."""


def checked_paths(words: Sequence[str]) -> tuple[str, ...]:
    """Preset files and model folders as absolute paths. Raises BadInputError when one of them is neither: on a
    terminal that is said before a window opens."""
    from workbench.core.errors import BadInputError
    from workbench.core.opening import absolute_paths, sort_out
    from workbench.core.preset import load_preset

    paths = absolute_paths(["--", *words])
    given = sort_out(paths)
    if given.refused:
        raise BadInputError.of(given.refused[0])
    if given.preset:
        load_preset(Path(given.preset))
    return paths


def run_gui(paths: Sequence[str] = ()) -> None:
    """Does not return."""
    package = str(Path(workbench.__file__).parent.parent)
    before = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(before)
    os.execv(sys.executable, [sys.executable, "-c", _CODE, *paths])  # noqa: S606 - the same interpreter, no shell

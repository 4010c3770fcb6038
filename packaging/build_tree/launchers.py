"""bin/workbench and bin/engine-workbench: they find the runtime beside them, wherever the tree stands."""

from __future__ import annotations

from pathlib import Path

_LAUNCHER = """#!/bin/sh
# Starts {what} with the Python that ships beside it, from wherever this tree stands.
here=$(dirname -- "$(readlink -f -- "$0")")
# Another Python's folders in the surroundings are not this one's.
unset PYTHONHOME PYTHONPATH PYTHONSTARTUP PYTHONPLATLIBDIR
exec "$here/../runtime/bin/python3.12" -P -c '{code}' "$@"
"""

PROGRAMS = {
    "workbench": ("the command line", "import sys; sys.argv[0] = \"workbench\"; from workbench.cli.app import main; "
                  "sys.exit(main())"),
    "engine-workbench": ("the window", "import sys; sys.argv[0] = \"engine-workbench\"; from workbench.ui.start import "
                         "main; sys.exit(main())"),
}  # fmt: skip


def write(tree: Path) -> None:
    folder = tree / "bin"
    folder.mkdir()
    for name, (what, code) in PROGRAMS.items():
        path = folder / name
        path.write_text(_LAUNCHER.format(what=what, code=code), encoding="utf-8")
        path.chmod(0o755)

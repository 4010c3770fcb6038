"""Bytecode beside every module, never looked at again: nothing is written below the installed tree, whoever runs it."""

from __future__ import annotations

from pathlib import Path

from build_tree.words import Refused, called

_COMPILE = """
import compileall, sys
from pathlib import Path
root = Path(sys.argv[1])
from py_compile import PycInvalidationMode
bad = []
for path in sorted(root.rglob("*.py")):
    inside = path.relative_to(root.parent.parent).as_posix()
    ok = compileall.compile_file(path, ddir=None, stripdir=str(root.parent.parent), prependdir="", force=True, quiet=2,
                                 invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    if not ok:
        bad.append(inside)
print("\\n".join(bad))
"""

TEMPLATES = ("site-packages/pyqtgraph/",)
"""Where files named .py may be something else."""


def compile_all(runtime: Path) -> None:
    """Raises Refused when a module does not compile."""
    library = runtime / "lib" / "python3.12"
    for old in sorted(library.rglob("*.pyc")):
        old.unlink()
    said = called(
        [runtime / "bin" / "python3.12", "-I", "-B", "-c", _COMPILE, library],
        environ={"PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )
    bad = [line for line in said.splitlines() if line and not any(word in line for word in TEMPLATES)]
    if bad:
        raise Refused("These modules do not compile:\n  " + "\n  ".join(bad[:20]))

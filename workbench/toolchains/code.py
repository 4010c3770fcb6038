"""Workers' own files for other interpreters: `workbench.core` and `workbench.workers`, and nothing beside them.

Another interpreter must not get this one's site-packages on its path, so it is given a copy of the two packages,
named by their content, under the home's cache. The same folder can be sent to another machine.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

import workbench
from workbench.core.home import Home

_PACKAGES = ("core", "workers")


def package_root() -> Path:
    """The folder that holds the `workbench` package of this interpreter."""
    return Path(workbench.__file__).resolve().parent.parent


def staged_root(home: Home) -> Path:
    """A folder with the workers' files alone, made when its content is new."""
    source = package_root() / "workbench"
    files = sorted([source / "__init__.py", *(p for name in _PACKAGES for p in (source / name).rglob("*.py"))])
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(source).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    target = home.cache / "worker-code" / digest.hexdigest()[:16]
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    # A folder of its own for each caller: threads of one process come here at once, too.
    building = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    building.chmod(0o755)
    for path in files:
        place = building / "workbench" / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    try:
        building.rename(target)
    except OSError:  # another one was first
        shutil.rmtree(building, ignore_errors=True)
    return target

"""What stands in a folder, file by file, so that two moments can be compared."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

NAMES = re.compile(r"workbench", re.IGNORECASE)
"""Whatever the package brings has this in its name or stands below something that has."""
APART = ("proc", "dev", "sys", "home", "tmp", "root", "wheels", "package", "run")
"""Folders of a chroot that are not the package's: mounts, people's, and the test's own."""
BOOKS = ("var/lib/dpkg", "var/lib/apt", "var/cache/apt", "var/log")
"""Where dpkg and apt keep books about packages, also removed ones."""


def sha256(path: Path) -> str:
    """Of a file's content, which is read in parts: packages and wheels are large."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def listing(folder: Path, *, times: bool = False) -> dict[str, str]:
    """Every path below a folder with its kind, mode, owner and content (hash, or a link's target)."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            seen = path.lstat()
            if path.is_symlink():
                what = f"link {path.readlink()}"
            elif path.is_dir():
                what = "folder"
            elif path.is_file():
                what = sha256(path)
            else:
                what = "special"
            moment = f" {seen.st_mtime_ns}" if times else ""
            found[str(path.relative_to(folder))] = f"{what} {seen.st_mode:o} {seen.st_uid}:{seen.st_gid}{moment}"
    return found


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """`+`, `-` and `~` with the path: came, went, is another one."""
    lines = [f"+ {path}" for path in sorted(after.keys() - before.keys())]
    lines += [f"- {path}" for path in sorted(before.keys() - after.keys())]
    return lines + [f"~ {path}" for path in sorted(before.keys() & after.keys()) if before[path] != after[path]]


def traces(root: Path) -> list[str]:
    """Paths of a system that the package left, apart from people's folders and dpkg's books."""
    found = []
    for parent, folders, files in os.walk(root):
        here = Path(parent).relative_to(root)
        if here == Path():
            folders[:] = [name for name in folders if name not in APART]
        folders[:] = [name for name in folders if str(here / name) not in BOOKS]
        hits = [name for name in (*folders, *files) if NAMES.search(name)]
        found += [str(here / name) for name in hits]
        folders[:] = [name for name in folders if name not in hits]
    return sorted(found)


def shortened(lines: Iterable[str], most: int = 8) -> str:
    """The first lines, and how many more there are."""
    every = list(lines)
    return "; ".join(every[:most]) + (f"; and {len(every) - most} more" if len(every) > most else "")

"""The list of files that an installation was made with: SHA-256 and path, as `sha256sum -c` reads it.

    python -m workbench.selftest.manifest TOP

writes it into TOP; packages do so as their last step.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import workbench

MANIFEST_FILE = "files.sha256"
FOLDERS = ("bin", "runtime")
"""What the manifest covers: the program. A package puts the rest (share/) elsewhere."""
VERSION_FILE = "VERSION"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Comparison:
    """What differs from the manifest; paths below the top folder."""

    files: int
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    """There, and not in the manifest."""


def installed_top() -> Path | None:
    """The folder of the installed program, where this is one: it holds VERSION and the manifest; None in a checkout
    or a virtual environment."""
    for place in (Path(sys.executable), Path(workbench.__file__)):
        for folder in place.resolve().parents:
            if (folder / MANIFEST_FILE).is_file() and (folder / VERSION_FILE).is_file():
                return folder
    return None


def files_below(top: Path) -> Iterator[str]:
    """Paths of the program's regular files, relative to `top`, in order. Links are left out: what they lead to is in
    the list."""
    for part in FOLDERS:
        for folder, folders, names in os.walk(top / part):
            folders.sort()
            for name in sorted(names):
                path = Path(folder) / name
                if stat.S_ISREG(path.lstat().st_mode):
                    yield path.relative_to(top).as_posix()


def digest_of(path: Path) -> str:
    """SHA-256 in hex. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def write_manifest(top: Path) -> Path:
    """Write the manifest of the installed program in `top`."""
    names = list(files_below(top))
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(lambda name: digest_of(top / name), names))
    manifest = top / MANIFEST_FILE
    manifest.write_text("".join(f"{digest}  {name}\n" for digest, name in zip(digests, names, strict=True)), "utf-8")
    return manifest


def compare(top: Path) -> Comparison:
    """Hold what is there against the manifest. Raises OSError, ValueError for a manifest that is none."""
    listed: dict[str, str] = {}
    for line in (top / MANIFEST_FILE).read_text("utf-8").splitlines():
        digest, gap, name = line.partition("  ")
        if len(digest) != 64 or not gap:
            raise ValueError(f"{MANIFEST_FILE}: {line[:80]!r} is no line of a list of digests")
        listed[name] = digest

    def look(item: tuple[str, str]) -> str:
        try:
            return "same" if digest_of(top / item[0]) == item[1] else "changed"
        except FileNotFoundError:
            return "missing"

    with ThreadPoolExecutor(max_workers=4) as pool:  # hashing lets go of the interpreter
        looks = dict(zip(listed, pool.map(look, listed.items()), strict=True))
    there = set(files_below(top))
    return Comparison(
        files=len(listed),
        changed=tuple(name for name, seen in looks.items() if seen == "changed"),
        missing=tuple(name for name, seen in looks.items() if seen == "missing"),
        unknown=tuple(sorted(there - set(listed))),
    )


def main() -> int:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.stderr.write("usage: python -m workbench.selftest.manifest TOP\n")
        return 2
    sys.stdout.write(f"{write_manifest(Path(sys.argv[1]))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

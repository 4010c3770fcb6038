"""What every shared library and program in the tree needs: sonames, symbol versions, search paths."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from build_tree.words import Refused

NEWEST = {"GLIBC": (2, 35), "GLIBCXX": (3, 4, 30), "CXXABI": (1, 3, 13), "GCC": (12, 0, 0)}
"""What Ubuntu 22.04 has: glibc 2.35, libstdc++ and libgcc of GCC 12. Debian 12 and Ubuntu 24.04 have newer ones."""

OPTIONAL = ("*/plugins/platformthemes/libqgtk3.so",)
"""Plugins that Qt leaves aside without a word where their libraries are missing."""


@dataclass(frozen=True)
class Binary:
    path: Path
    soname: str
    needed: tuple[str, ...]
    search: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]
    """(library, symbol version), such as ("libc.so.6", "GLIBC_2.34")."""


def read(path: Path) -> Binary | None:
    """None when the file is no ELF file, or a static object."""
    with path.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            return None
        try:
            elf = ELFFile(file)
            dynamic = next((part for part in elf.iter_sections() if isinstance(part, DynamicSection)), None)
            if dynamic is None:
                return None
            tags = list(dynamic.iter_tags())
            versions = [
                (needed.name, one.name)
                for part in elf.iter_sections()
                if isinstance(part, GNUVerNeedSection)
                for needed, ones in part.iter_versions()
                for one in ones
            ]
        except ELFError as error:
            raise Refused(f"{path} is a damaged ELF file: {error}.") from error
    search = [word for tag in tags if tag.entry.d_tag == "DT_RPATH" for word in tag.rpath.split(":")]
    search += [word for tag in tags if tag.entry.d_tag == "DT_RUNPATH" for word in tag.runpath.split(":")]
    return Binary(
        path=path,
        soname=next((tag.soname for tag in tags if tag.entry.d_tag == "DT_SONAME"), path.name),
        needed=tuple(tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED"),
        search=tuple(search),
        versions=tuple(sorted(set(versions))),
    )


def all_in(tree: Path) -> list[Binary]:
    """Every ELF file with a dynamic section, in the order of paths."""
    files = (path for path in sorted(tree.rglob("*")) if path.is_file() and not path.is_symlink())
    return [found for found in map(read, files) if found is not None]


def too_new(binaries: Iterable[Binary]) -> Iterator[tuple[Path, str]]:
    """(file, symbol version) beyond what the oldest system has."""
    for binary in binaries:
        for _, version in binary.versions:
            family, _, number = version.rpartition("_")
            numbers = tuple(int(word) for word in number.split(".") if word.isdigit())
            if family in NEWEST and numbers > NEWEST[family]:
                yield binary.path, version


def external(tree: Path) -> dict[str, dict[str, object]]:
    """Sonames that are not in the tree, each with the files that need it; optional: Qt does without it in silence.

    {"libEGL.so.1": {"optional": false, "files": ["runtime/lib/…/libqxcb.so"], "versions": ["GLIBC_2.34"]}}
    """
    binaries = all_in(tree)
    own = {binary.soname for binary in binaries} | {binary.path.name for binary in binaries}
    found: dict[str, dict[str, object]] = {}
    for binary in binaries:
        place = binary.path.relative_to(tree).as_posix()
        optional = any(fnmatch.fnmatch("/" + place, pattern) for pattern in OPTIONAL)
        for name in binary.needed:
            if name in own or name.startswith("ld-linux"):
                continue
            entry = found.setdefault(name, {"optional": True, "files": [], "versions": []})
            entry["optional"] = bool(entry["optional"]) and optional
            entry["files"].append(place)  # type: ignore[attr-defined]
            wanted = {version for library, version in binary.versions if library == name}
            entry["versions"] = sorted({*entry["versions"], *wanted})  # type: ignore[misc]
    return dict(sorted(found.items()))


def check(tree: Path) -> None:
    """Raises Refused when something could not be loaded on the oldest system, or carries a path of the build."""
    binaries = all_in(tree)
    wrong = [f"{path.relative_to(tree)} needs {version}" for path, version in too_new(binaries)]
    for binary in binaries:
        for word in binary.search:
            if not word.startswith("$ORIGIN"):
                wrong.append(f"{binary.path.relative_to(tree)} looks for libraries in {word or 'the working folder'}")
    if wrong:
        limits = ", ".join(f"{name}_{'.'.join(map(str, number))}" for name, number in NEWEST.items())
        raise Refused(
            "These files cannot be loaded on Ubuntu 22.04, or look outside the tree (limits: "
            + limits
            + "):\n  "
            + "\n  ".join(wrong[:40])
            + "\nBuild on an older system, or leave the file out (prune.py)."
        )


def as_json(tree: Path) -> str:
    return json.dumps(external(tree), indent=1) + "\n"

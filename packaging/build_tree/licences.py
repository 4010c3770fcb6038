"""LICENSES/ (every text of everything inside, by component) and a Debian copyright file, both from one table."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from build_tree.components import COMMON, Component
from build_tree.words import Refused

PROGRAM = "engine-workbench"
_IN_COMMON = {
    "Apache-2.0": "Apache-2.0", "GPL-2.0-only": "GPL-2", "GPL-3.0-only": "GPL-3", "GPL-3.0-or-later": "GPL-3",
    "LGPL-3.0-only": "LGPL-3", "MPL-2.0": "MPL-2.0", "CC0-1.0": "CC0-1.0",
}  # fmt: skip
_FORMAT = "https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"
_NOTICE = re.compile(r"^\W{0,6}(?:[\w ]{2,30}: )?(?:copyright\b|\(c\)|©).*\d{4}.*$", re.IGNORECASE)
_NOTICES = 12
"""Copyright lines that are quoted of one component; all of them are in its texts."""


def write_texts(tree: Path, components: Iterable[Component]) -> dict[str, list[str]]:
    """LICENSES/NAME/…: the texts as they came. Gives the names of the files by component."""
    folder = tree / "LICENSES"
    shutil.rmtree(folder, ignore_errors=True)
    written: dict[str, list[str]] = {}
    for component in components:
        own = folder / component.name
        own.mkdir(parents=True)
        for text in component.texts:
            if not text.is_file():
                raise Refused(f"The licence text of {component.name} is not at {text}.")
            name = text.name if text.suffix or text.parent == COMMON else f"{text.name}.txt"
            if text.parent == COMMON:
                name = f"{text.name}.txt"
            if (own / name).exists():
                name = f"{text.parent.name}-{name}"
            shutil.copyfile(text, own / name)
            written.setdefault(component.name, []).append(name)
    return written


def copyright_file(components: Iterable[Component], place: str, notice: str) -> str:
    """A machine-readable Debian copyright file; `place` is the tree's folder in the package, without the first slash.

    Texts that base-files keeps are pointed to; the words of the others are quoted in full.
    """
    ordered = sorted(components, key=lambda one: (one.name != PROGRAM, one.name))
    parts = [
        f"Format: {_FORMAT}\nUpstream-Name: {PROGRAM}\nComment:\n The program ships the interpreter and the libraries"
        f" that it runs with, below /{place}.\n The texts as they came are in /{place}/LICENSES, one folder each;\n"
        f" /{place}/sbom.cdx.json lists what is compiled into them."
    ]
    used: dict[str, Component] = {}
    # The last paragraph that matches a file counts: wide patterns come first, and the program's own again after them.
    wide = [one for one in ordered if one.name in (PROGRAM, "cpython")]
    for number, component in enumerate([*wide, *(one for one in ordered if one.name != "cpython")]):
        files = ["*"] if number == 0 else [f"{place}/{where}" for where in component.places]
        notices = [notice] if component.name == PROGRAM else _notices(component)
        licence = _word(component)
        used.setdefault(licence, component)
        parts.append(
            "Files: " + "\n ".join(_escaped(files)) + "\nCopyright: " + "\n ".join(notices) + f"\nLicense: {licence}"
            + (f"\nComment: {component.name} {component.version}, {component.homepage}" if component.homepage else "")
        )  # fmt: skip
    for licence, component in sorted(used.items()):
        parts.append(f"License: {licence}\n" + _body(component, place))
    return "\n\n".join(parts) + "\n"


def _word(component: Component) -> str:
    """The licence's short name there: an SPDX expression in Debian's words, or the component's own text."""
    expression = component.licence
    if _commons(expression):
        return expression.replace(" OR ", " or ").replace(" AND ", " and ")
    return f"{re.sub(r'[^A-Za-z0-9.+-]+', '-', expression)}~{component.name}"


def _commons(expression: str) -> list[str]:
    """Names below common-licenses of all parts of an expression; empty when one is not there."""
    words = re.split(r"\s+(?:OR|AND)\s+|[()]", expression)
    names = [_IN_COMMON.get(word.strip(), "") for word in words if word.strip()]
    return names if all(names) else []


def _body(component: Component, place: str) -> str:
    names = _commons(component.licence)
    if names:
        return "\n".join(f" The text is in /usr/share/common-licenses/{name}." for name in names)
    text = component.texts[0]
    if text.stat().st_size > 20_000:
        return f" The text is in /{place}/LICENSES/{component.name}/{text.name}."
    lines = text.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(f" {line.rstrip()}" if line.strip() else " ." for line in lines).rstrip(" .\n")


def _notices(component: Component) -> list[str]:
    found: list[str] = []
    for text in component.texts:
        if text.parent == COMMON:
            continue
        for line in text.read_text(encoding="utf-8", errors="replace").splitlines():
            words = " ".join(line.strip(" \t#*/-.").split())
            words = re.sub(r"^copyright:?\s+", "", words, flags=re.IGNORECASE)
            if _NOTICE.match(line) and words and words not in found:
                found.append(words)
    return found[:_NOTICES] or [f"the authors of {component.name}, see its texts"]


def _escaped(files: list[str]) -> list[str]:
    return [name.replace(" ", "?") for name in files]

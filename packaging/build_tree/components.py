"""What the tree is made of, one row each: the table from which the SBOM, LICENSES/ and the copyright file come."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from build_tree.interpreter import Base, Bundled
from build_tree.words import Refused, called

COMMON = Path("/usr/share/common-licenses")
"""Texts of common licences on Debian and its kin."""

KEPT = Path(__file__).resolve().parents[1] / "licences"
"""Texts that no wheel and no package of the build machine brings."""


@dataclass(frozen=True)
class Component:
    name: str
    version: str
    licence: str
    """An SPDX expression."""
    purl: str
    texts: tuple[Path, ...]
    """Files with the licence's words and the copyright notices."""
    places: tuple[str, ...]
    """Below the tree, with `*`; in the words of a Debian copyright file."""
    sha256: str = ""
    homepage: str = ""
    needs: tuple[str, ...] = ()
    """Names of other components."""
    inside: tuple[Path, ...] = ()
    """SBOMs that the component brings of what is compiled into it."""


_SYSTEM = {
    # soname's stem -> (name, SPDX, homepage)
    "libssl": ("openssl", "Apache-2.0", "https://www.openssl.org"),
    "libcrypto": ("openssl", "Apache-2.0", "https://www.openssl.org"),
    "libsqlite3": ("sqlite", "blessing", "https://www.sqlite.org"),
    "libbz2": ("bzip2", "bzip2-1.0.6", "https://sourceware.org/bzip2/"),
    "libffi": ("libffi", "MIT", "https://sourceware.org/libffi/"),
    "liblzma": ("xz-utils", "LicenseRef-public-domain", "https://tukaani.org/xz/"),
    "libncursesw": ("ncurses", "X11-distribute-modifications-variant", "https://invisible-island.net/ncurses/"),
    "libpanelw": ("ncurses", "X11-distribute-modifications-variant", "https://invisible-island.net/ncurses/"),
    "libtinfo": ("ncurses", "X11-distribute-modifications-variant", "https://invisible-island.net/ncurses/"),
    "libreadline": ("readline", "GPL-3.0-or-later", "https://tiswww.case.edu/php/chet/readline/rltop.html"),
    "libuuid": ("util-linux", "BSD-3-Clause", "https://www.kernel.org/pub/linux/utils/util-linux/"),
    "libz": ("zlib", "Zlib", "http://zlib.net"),
}

_SAID = {
    "MPL-2.0": "MPL-2.0", "PSFL": "PSF-2.0", "MIT": "MIT", "MIT License": "MIT", "BSD-3-Clause": "BSD-3-Clause",
    "Apache-2.0": "Apache-2.0", "3-Clause BSD License": "BSD-3-Clause", "ISC License": "ISC",
    "MPL-2.0 AND MIT": "MPL-2.0 AND MIT",
    "LGPL-3.0-only OR GPL-2.0-only OR GPL-3.0-only": "LGPL-3.0-only OR GPL-2.0-only OR GPL-3.0-only",
}  # fmt: skip
"""License fields of wheels' metadata that name exactly one licence."""

_KNOWN = {
    "colorama": "BSD-3-Clause", "jaraco-classes": "MIT", "jinja2": "BSD-3-Clause", "markdown-it-py": "MIT",
    "mdurl": "MIT", "nvidia-ml-py": "BSD-3-Clause", "safetensors": "Apache-2.0",
}  # fmt: skip
"""Wheels whose metadata leaves it open; read in their licence texts and sources."""

_TEXT_OF = {
    "pyside6-essentials": (COMMON / "LGPL-3", COMMON / "GPL-3", COMMON / "GPL-2"),
    "shiboken6": (COMMON / "LGPL-3", COMMON / "GPL-3", COMMON / "GPL-2"),
    "fpdf2": (COMMON / "LGPL-3", COMMON / "GPL-3"),
    "engine-workbench": (COMMON / "Apache-2.0",),
    "nvidia-ml-py": (KEPT / "nvidia-ml-py.txt",),
}

_LICENCE_FILE = re.compile(r"(licen[cs]e|copying|notice|authors)", re.IGNORECASE)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def wheels(site: Path, hashes: dict[str, str]) -> list[Component]:
    """One per distribution in site-packages; `hashes` are those of the wheels, by canonical name."""
    found = []
    for info in sorted(site.glob("*.dist-info")):
        told = HeaderParser().parsestr((info / "METADATA").read_text(encoding="utf-8"))
        name = canonical(told["Name"])
        licence = told["License-Expression"] or _SAID.get((told["License"] or "").strip()) or _KNOWN.get(name)
        if not licence:
            raise Refused(f"The licence of {name} {told['Version']} is not known: add it to components.py.")
        texts = tuple(
            path for path in sorted(info.rglob("*")) if path.is_file() and _LICENCE_FILE.search(path.name)
        ) + _TEXT_OF.get(name, ())
        if name == "pip":
            texts += tuple(
                path for path in sorted((site / "pip" / "_vendor").rglob("*"))
                if path.is_file() and _LICENCE_FILE.match(path.name) and path.suffix not in (".py", ".pyc")
            )  # fmt: skip
        if not texts:
            raise Refused(f"{name} {told['Version']} brings no text of its licence: add one to components.py.")
        found.append(
            Component(
                name=name,
                version=told["Version"],
                licence=licence,
                purl=f"pkg:pypi/{name}@{told['Version']}",
                texts=texts,
                places=_places(site, info),
                sha256=hashes.get(name, ""),
                homepage=_homepage(told.get_all("Project-URL") or [], told["Home-page"]),
                needs=_needs(told.get_all("Requires-Dist") or []),
                inside=tuple(sorted((info / "sboms").glob("*.json"))),
            )
        )
    return found


def _places(site: Path, info: Path) -> tuple[str, ...]:
    """Top folders and files of one distribution, by its RECORD."""
    lines = (info / "RECORD").read_text(encoding="utf-8").splitlines()
    tops = {line.split(",")[0].strip('"').split("/")[0] for line in lines} - {"", ".."}
    base = "runtime/lib/python3.12/site-packages"
    return tuple(sorted(f"{base}/{top}/*" if (site / top).is_dir() else f"{base}/{top}" for top in tops))


def _homepage(urls: list[str], old: str | None) -> str:
    named = {key.strip().lower(): value.strip() for key, _, value in (url.partition(",") for url in urls)}
    for key in ("homepage", "home", "source", "source code", "repository", "documentation"):
        if key in named:
            return named[key]
    return old or next(iter(named.values()), "")


def _needs(requires: list[str]) -> tuple[str, ...]:
    from packaging.requirements import Requirement

    environment = {"python_version": "3.12", "python_full_version": "3.12.0", "sys_platform": "linux", "extra": "",
                   "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix",
                   "implementation_name": "cpython", "platform_python_implementation": "CPython"}  # fmt: skip
    parsed = map(Requirement, requires)
    return tuple(sorted({canonical(one.name) for one in parsed if not one.marker or one.marker.evaluate(environment)}))


def interpreter(base: Base) -> Component:
    text = base.prefix / "lib" / "python3.12" / "LICENSE.txt"
    return Component(
        name="cpython",
        version=base.version,
        licence="Python-2.0.1",
        purl=f"pkg:generic/python@{base.version}",
        texts=(text,),
        places=("runtime/bin/*", "runtime/include/*", "runtime/lib/libpython3*", "runtime/lib/python3.12/*"),
        homepage="https://www.python.org",
    )


def bundled(libraries: list[Bundled]) -> list[Component]:
    """System libraries that were copied, as the packages of this machine that they come from."""
    by_source: dict[str, list[Bundled]] = {}
    for library in libraries:
        stem = library.soname.split(".so")[0]
        if stem not in _SYSTEM:
            raise Refused(f"{library.soname} is copied into the tree and its licence is not known (components.py).")
        by_source.setdefault(_SYSTEM[stem][0], []).append(library)
    found = []
    for name, ones in sorted(by_source.items()):
        licence, homepage = _SYSTEM[ones[0].soname.split(".so")[0]][1:]
        package = _package_of(ones[0].file)
        version = called(["dpkg-query", "-W", "-f", "${Version}", package]).strip()
        distribution = _distribution()
        texts = [Path("/usr/share/doc") / package.split(":")[0] / "copyright"]
        if licence.startswith("GPL-3"):
            texts.append(COMMON / "GPL-3")
        if licence == "Apache-2.0":
            texts.append(COMMON / "Apache-2.0")
        digest = hashlib.sha256(b"".join(one.file.read_bytes() for one in ones)).hexdigest() if len(ones) == 1 else ""
        found.append(
            Component(
                name=name,
                version=version,
                licence=licence,
                purl=f"pkg:deb/{distribution}/{package.split(':')[0]}@{version}?arch=amd64",
                texts=tuple(texts),
                places=tuple(f"runtime/lib/{one.shipped_as}" for one in ones),
                sha256=digest,
                homepage=homepage,
            )
        )
    return found


def _package_of(file: Path) -> str:
    """The Debian package that a file belongs to; its path may be known with or without /usr."""
    for path in (file, Path("/") / file.relative_to("/usr") if file.is_relative_to("/usr") else file):
        try:
            return called(["dpkg-query", "-S", path]).split(": ")[0].split(",")[0].strip()
        except (Refused, OSError):
            continue
    raise Refused(
        f"{file} is copied into the tree and belongs to no package of this machine, so its version and licence are "
        "unknown. Build on Debian or Ubuntu, with the libraries of the distribution."
    )


def _distribution() -> str:
    text = Path("/etc/os-release").read_text(encoding="utf-8")
    match = re.search(r"^ID=\"?([a-z]+)", text, re.MULTILINE)
    return match[1] if match else "debian"


def data(site: Path) -> list[Component]:
    """The fonts among the program's own data, where they ship."""
    fonts = site / "workbench" / "_data" / "resources" / "fonts"
    if not (fonts / "OFL.txt").is_file():
        return []
    base = "runtime/lib/python3.12/site-packages/workbench/_data/resources/fonts"
    named = (
        ("inter", "Inter*", "https://rsms.me/inter/"),
        ("jetbrains-mono", "JetBrainsMono*", "https://jetbrains.com/mono"),
    )
    return [
        Component(name, _font_version(fonts, files), "OFL-1.1", f"pkg:generic/{name}", (fonts / "OFL.txt",),
                  (f"{base}/{files}",), homepage=homepage)
        for name, files, homepage in named
    ]  # fmt: skip


def _font_version(fonts: Path, files: str) -> str:
    """What the font's own table of names says."""
    from fontTools.ttLib import TTFont

    with TTFont(sorted(fonts.glob(files))[0]) as font:
        said = str(font["name"].getDebugName(5))
    match = re.search(r"\d+\.\d+", said)
    return match[0] if match else said


def qt(site: Path) -> list[Component]:
    """Qt and ICU inside the wheel of PySide6: no distributions of their own, and most of the bytes."""
    version = next(site.glob("pyside6_essentials-*.dist-info")).name.removesuffix(".dist-info").split("-")[1]
    base = "runtime/lib/python3.12/site-packages/PySide6/Qt"
    icu = sorted((site / "PySide6" / "Qt" / "lib").glob("libicudata.so.*"))
    found = [
        Component(
            name="qt",
            version=version,
            licence="LGPL-3.0-only OR GPL-2.0-only OR GPL-3.0-only",
            purl=f"pkg:generic/qt@{version}",
            texts=(COMMON / "LGPL-3", COMMON / "GPL-3", COMMON / "GPL-2", KEPT / "qtbase.txt", KEPT / "qtsvg.txt",
                   KEPT / "qtwayland.txt"),
            places=(f"{base}/lib/libQt6*", f"{base}/plugins/*"),
            homepage="https://www.qt.io",
        )
    ]  # fmt: skip
    if icu:
        number = icu[0].name.rsplit(".", 1)[1]
        found.append(
            Component(
                name="icu",
                version=number,
                licence="Unicode-3.0",
                purl=f"pkg:generic/icu@{number}",
                texts=(KEPT / "icu.txt",),
                places=(f"{base}/lib/libicu*",),
                homepage="https://icu.unicode.org",
            )
        )
    return found

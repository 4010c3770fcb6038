"""What the installation is made of: its files, Python's libraries, the data files, presets and settings."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sqlite3
import ssl
import sys
from pathlib import Path

from workbench import __version__
from workbench.core.data import data_folder
from workbench.core.preset import PresetList, list_presets
from workbench.core.settings import load_settings
from workbench.core.units import in_thousands
from workbench.selftest.checks import BrokenError, NotRunError
from workbench.selftest.manifest import VERSION_FILE, Comparison, compare, installed_top
from workbench.selftest.room import Room
from workbench.toolchains import names as toolchain_names

DISTRIBUTION = "engine-workbench"
AGAIN = "Install the program again."
_SHOWN = 6
_STANDARD = ("bz2", "ctypes", "curses", "hashlib", "lzma", "readline", "sqlite3", "ssl", "uuid", "venv", "zlib")
"""Modules of Python that need a library of the system, and that one may have been built without."""
_OPTIONAL = frozenset({"curses", "readline"})
_FONTS = ("Inter-Regular.otf", "Inter-SemiBold.otf", "JetBrainsMono-Regular.ttf", "JetBrainsMono-SemiBold.ttf")
_RESOURCES = (
    "theme.json",
    "verify_prompts.json",
    "calibration.jsonl",
    "calibration_512.jsonl",
    "evaluation.jsonl",
    "workload_text.jsonl",
    "report/report.html.j2",
    "report/report.schema.json",
    *(f"fonts/{name}" for name in _FONTS),
)
_FOLDERS = ("icons", "controls", "deploy/launch", "deploy/triton", "recorded")
_FONT_STARTS = (b"OTTO", b"\x00\x01\x00\x00", b"true")
_FEWEST_ICONS, _FEWEST_PRESETS = 20, 5


def program_files(room: Room) -> str:
    """The version, and every file against the list that the package was made with."""
    top = installed_top()
    if top is None:
        raise NotRunError(
            f"{__version__} runs from a checkout or a virtual environment, which has no list of files to compare with"
        )
    version = (top / VERSION_FILE).read_text("utf-8").split()
    if not version or version[0] != __version__:
        raise BrokenError(
            "The program is not of the version that was installed.",
            evidence=f"{VERSION_FILE} says {' '.join(version) or 'nothing'}, the program {__version__}",
            fix=AGAIN,
        )
    found = compare(top)
    if found.changed or found.missing or found.unknown:
        raise BrokenError("The installed files are not what was installed.", evidence=_differing(found), fix=AGAIN)
    return f"{__version__}; all {in_thousands(found.files)} files are as they were installed"


def _differing(found: Comparison) -> str:
    lines = []
    for word, names in (("changed", found.changed), ("missing", found.missing), ("not ours", found.unknown)):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            lines.append(f"{word}: {', '.join(names[:_SHOWN])}{more}")
    return "\n".join(lines)


def python_libraries(room: Room) -> str:
    """Modules that need a library of the system, and what the program depends on."""
    broken = []
    for name in _STANDARD:
        try:
            importlib.import_module(name)
        except ImportError as error:
            if name not in _OPTIONAL:
                broken.append(f"{name}: {error}")
    broken += _wrong_distributions()
    context = ssl.create_default_context()
    with sqlite3.connect(":memory:") as db:
        (sqlite,) = db.execute("SELECT sqlite_version()").fetchone()
        try:
            db.execute("SELECT json_extract('{\"a\": 1}', '$.a')")
        except sqlite3.Error as error:
            broken.append(f"SQLite {sqlite}: {error}")
    if broken:
        raise BrokenError("Libraries that the program needs are not there.", evidence="\n".join(broken), fix=AGAIN)
    certificates = context.cert_store_stats()["x509_ca"]
    trusted = f"{certificates} certificates of the system" if certificates else "the system has no list of certificates"
    return f"Python {sys.version.split()[0]}, {ssl.OPENSSL_VERSION.rsplit(' ', 3)[0]}, SQLite {sqlite}; {trusted}"


def _wrong_distributions() -> list[str]:
    """What the program depends on and is not there; nothing where it is not installed as a distribution."""
    from packaging.requirements import Requirement  # not above: it is one of them

    try:
        wanted = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    broken = []
    for requirement in map(Requirement, wanted):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            broken.append(f"{requirement.name}: not there")
    for module in ("pydantic", "httpx", "httptools", "uvicorn", "starlette", "numpy", "psutil", "tomlkit", "keyring",
                   "prometheus_client", "jinja2", "fpdf", "safetensors", "huggingface_hub", "pynvml",
                   "tritonclient.grpc"):  # fmt: skip
        try:
            importlib.import_module(module)
        except Exception as error:  # a library that is cut short raises what it likes
            broken.append(f"{module}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    return broken


def data_files(room: Room) -> str:
    """Fonts, icons, theme, texts and templates: there, and of their kind."""
    place = data_folder("resources")
    wrong = [_wrong_file(place, name) for name in _RESOURCES]
    wrong += [f"{name}/: nothing is in it" for name in _FOLDERS if not _filled(place / name)]
    icons = list((place / "icons").glob("*.svg"))
    wrong += [f"icons/{path.name}: no picture" for path in icons if b"<svg" not in path.read_bytes()]
    if len(icons) < _FEWEST_ICONS:
        wrong.append(f"icons/: only {len(icons)}")
    wrong = [each for each in wrong if each]
    if wrong:
        raise BrokenError("Files that ship with the program are missing or damaged.", evidence="\n".join(wrong[:12]),
                          fix=AGAIN)  # fmt: skip
    return f"{len(_FONTS)} fonts, {len(icons)} icons, the theme, and the texts for calibration and evaluation"


def _filled(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _wrong_file(place: Path, name: str) -> str:
    """What is wrong with a file; empty: nothing."""
    path = place / name
    try:
        data = path.read_bytes()
        if not data.strip():
            return f"{name}: empty"
        if path.suffix in (".otf", ".ttf"):
            return "" if data.startswith(_FONT_STARTS) else f"{name}: no font"
        if path.suffix == ".json":
            json.loads(data)
        elif path.suffix == ".jsonl":
            for line in data.splitlines():
                json.loads(line)
    except FileNotFoundError:
        return f"{name}: missing"
    except (OSError, ValueError) as error:
        return f"{name}: {error}"
    return ""


def presets(room: Room) -> str:
    """The shipped presets all load, and each names a toolchain that there is."""
    folder = data_folder("presets")
    found: PresetList = list_presets([folder])
    wrong = [" ".join(each.failure.lines()) for each in found.broken]
    wrong += [f"{p.id}: no toolchain {p.toolchain}" for p in found.presets if p.toolchain not in toolchain_names()]
    if len(found.presets) + len(found.broken) < _FEWEST_PRESETS or not any(p.id == "demo" for p in found.presets):
        wrong.append(f"{folder} holds {len(found.presets)} presets, and there should be many, one of them the demo's")
    if wrong:
        raise BrokenError("Presets that ship with the program cannot be used.", evidence="\n".join(wrong[:12]),
                          fix=AGAIN)  # fmt: skip
    return f"all {len(found.presets)} load"


def settings(room: Room) -> str:
    """The site's files and the person's own are read without a problem."""
    loaded = load_settings(room.real)
    if loaded.problems:
        lines = [f"{each.what} {each.evidence} {each.fix}" for each in loaded.problems]
        raise BrokenError(
            "The settings have problems.", evidence="\n".join(lines), fix="`workbench settings` lists them."
        )
    set_here = sum(origin != "default" for origin in loaded.origins.values())
    return f"{set_here} set, {len(loaded.locked)} locked by the site"

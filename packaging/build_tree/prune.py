"""What the libraries bring and the program never loads: most of Qt, type stubs, tests, debug symbols.

Qt's libraries are not listed: those that the kept bindings and plugins need are found by soname, and the rest go.
"""

from __future__ import annotations

import fnmatch
import shutil
from collections.abc import Iterable
from pathlib import Path

from elftools.elf.elffile import ELFFile

from build_tree import elf
from build_tree.words import Refused, called

QT_MODULES = (
    "QtCore", "QtGui", "QtWidgets", "QtSvg", "QtSvgWidgets", "QtNetwork", "QtOpenGLWidgets", "QtDBus", "QtTest",
)  # fmt: skip
"""The window uses the first six; pyqtgraph asks for OpenGLWidgets and Test; DBus is Qt's own way to the desktop."""

_NO_OPENGL = '''"""Stands for nine megabytes of bindings that nothing calls: pyqtgraph's plots only import the name."""
'''

QT_PLUGINS = (
    "platforms/libqxcb.so", "platforms/libqwayland.so", "platforms/libqoffscreen.so", "platforms/libqminimal.so",
    "wayland-shell-integration/libxdg-shell.so", "wayland-decoration-client/*",
    "wayland-graphics-integration-client/libqt-plugin-wayland-egl.so", "xcbglintegrations/*", "iconengines/*",
    "imageformats/libqsvg.so", "imageformats/libqjpeg.so", "imageformats/libqico.so", "imageformats/libqgif.so",
    "imageformats/libqwebp.so", "platformthemes/*", "platforminputcontexts/libcompose*",
    "platforminputcontexts/libibus*", "tls/*",
)  # fmt: skip

PYSIDE_KEPT = ("__init__.py", "_config.py", "_git_pyside_version.py", "PySide6_Essentials.json", "Qt", "support")

DROPPED = (
    "*.pyi", "*.pxd", "*.pyx", "*.a", "*.c", "*.cpp", "*.h", "*.hpp", "*.exe", "*.lib", "py.typed",
    "numpy/**/tests", "numpy/f2py", "numpy/_core/include", "numpy/_core/lib", "numpy/random/lib",
    "numpy/random/_examples", "numpy/_core/_simd*.so", "numpy/_core/_*_tests*.so", "numpy/doc", "numpy/_pyinstaller",
    "pyqtgraph/examples", "pyqtgraph/opengl", "fontTools/**/tests", "fontTools/voltLib", "fontTools/mtiLib",
    "ml_dtypes/tests", "ml_dtypes/include", "psutil/tests", "pydantic/v1", "huggingface_hub/cli", "PIL/_avif*.so",
    "PIL/_imagingtk*.so", "tritonclient/**/tests", "tritonclient/include",
)  # fmt: skip
"""Below site-packages: paths, or names anywhere."""

LEXERS = ("__init__", "_mapping", "_css_builtins", "configs", "css", "data", "javascript", "python", "shell", "special")
"""Of pygments, which rich colours tracebacks and documents with: the others are eight megabytes."""


def prune(site: Path) -> None:
    """Takes from site-packages what is not needed. Raises Refused when a listed plugin is not there any more."""
    _qt(site / "PySide6")
    for pattern in DROPPED:
        found = site.glob(pattern) if "/" in pattern else site.rglob(pattern)
        for path in sorted(found, reverse=True):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    for path in sorted((site / "pygments" / "lexers").glob("*.py")):
        if path.stem not in LEXERS:
            path.unlink()
    _pillow(site)
    _stripped(path for path in sorted(site.rglob("*")) if path.is_file() and not path.is_symlink())
    _empty_folders(site)


def _qt(pyside: Path) -> None:
    kept = {f"{name}.abi3.so" for name in QT_MODULES} | set(PYSIDE_KEPT)
    for path in sorted(pyside.iterdir()):
        if path.name not in kept and not fnmatch.fnmatch(path.name, "libpyside6.abi3.so*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (pyside / "QtOpenGL.py").write_text(_NO_OPENGL, encoding="utf-8")
    qt = pyside / "Qt"
    for path in sorted(qt.iterdir()):
        if path.name not in ("lib", "plugins"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    plugins = qt / "plugins"
    missing = [pattern for pattern in QT_PLUGINS if not list(plugins.glob(pattern))]
    if missing:
        raise Refused(f"This Qt has no plugin {', '.join(missing)}: prune.py lists what is kept.")
    for path in sorted(plugins.rglob("*.so")):
        place = path.relative_to(plugins).as_posix()
        if not any(fnmatch.fnmatch(place, pattern) for pattern in QT_PLUGINS):
            path.unlink()
    there = {path.name: path for path in (qt / "lib").iterdir()}
    for path in _unwanted([*pyside.glob("*.so*"), *plugins.rglob("*.so")], there):
        path.unlink() if path.is_file() else shutil.rmtree(path)


def _pillow(site: Path) -> None:
    """The libraries beside Pillow that its kept modules need: AVIF's goes with its module."""
    beside = {path.name: path for path in (site / "pillow.libs").glob("*.so*")}
    for path in _unwanted(sorted((site / "PIL").glob("*.so")), beside):
        path.unlink()


def _unwanted(users: list[Path], there: dict[str, Path]) -> list[Path]:
    """Of the libraries that are there, by file name, those that no user needs, directly or through others."""
    todo, wanted = list(users), set()
    while todo:
        found = elf.read(todo.pop())
        for name in found.needed if found else ():
            if name in there and name not in wanted:
                wanted.add(name)
                todo.append(there[name])
    return [path for name, path in sorted(there.items()) if name not in wanted]


def _stripped(files: Iterable[Path]) -> None:
    """Without symbol tables, where the file is still loadable after it.

    `strip` breaks files whose segments patchelf has moved (OpenBLAS in numpy's wheel): those are left as they came.
    """
    for path in files:
        with path.open("rb") as file:
            if file.read(4) != b"\x7fELF" or ELFFile(file).get_section_by_name(".symtab") is None:
                continue
        before, mode = path.read_bytes(), path.stat().st_mode
        shape = _segments(path)
        called(["strip", "--strip-unneeded", path])
        if _segments(path) != shape or not _aligned(path):
            path.write_bytes(before)
            path.chmod(mode)


def _segments(path: Path) -> list[tuple[str, int, int, int]]:
    with path.open("rb") as file:
        return [
            (str(part["p_type"]), part["p_vaddr"], part["p_memsz"], part["p_flags"])
            for part in ELFFile(file).iter_segments()
        ]


def _aligned(path: Path) -> bool:
    with path.open("rb") as file:
        loads = [part for part in ELFFile(file).iter_segments() if part["p_type"] == "PT_LOAD"]
    return all(part["p_offset"] % part["p_align"] == part["p_vaddr"] % part["p_align"] for part in loads)


def _empty_folders(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
            path.rmdir()

"""The interpreter that ships: CPython 3.12 copied from this machine, pruned, with the libraries it needs beside it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from build_tree import elf
from build_tree.words import Refused, called

VERSION = "3.12"

DROPPED = (
    "test", "idlelib", "tkinter", "turtledemo", "turtle.py", "lib2to3", "ensurepip/_bundled", "site-packages",
    "pydoc_data", "nis.py", "__phello__",
)  # fmt: skip
"""Of the standard library: tests, Tk's programs, the converter of Python 2, and the wheels of ensurepip (pip itself
ships, and makes environments with `pip --python`)."""

DROPPED_MODULES = (
    "_tkinter", "_test*", "_ctypes_test*", "_xxtestfuzz*", "xxlimited*", "xxsubtype*", "nis", "ossaudiodev", "_crypt",
    "_xxinterp*", "spwd",
)  # fmt: skip
"""Extension modules: tests, what is deprecated with a library behind it (nis, crypt, ossaudiodev, spwd), and Tk."""

SYSTEM = re.compile(r"lib(c|m|dl|rt|pthread|util|resolv|stdc\+\+|gcc_s)\.so\.\d+|ld-linux.*")
"""What every system has, and what must be the system's own: libc and what comes with it."""

PREFIX_WORD = "@PREFIX@"
_NOWHERE = b"/nonexistent"


@dataclass(frozen=True)
class Base:
    """The interpreter of this machine that is copied."""

    python: Path
    prefix: Path
    version: str
    library: Path
    """libpython3.12.so.1.0"""


@dataclass(frozen=True)
class Bundled:
    """A system library that ships: from which file, under which name, of which package (when dpkg knows)."""

    soname: str
    file: Path
    shipped_as: str


_ASK = """
import json, sys, sysconfig
get = sysconfig.get_config_var
print(json.dumps({"version": "%d.%d.%d" % sys.version_info[:3], "prefix": sys.base_prefix, "machine": get("MULTIARCH"),
  "shared": get("Py_ENABLE_SHARED"), "library": "%s/%s" % (get("LIBDIR"), get("INSTSONAME")), "debug": get("Py_DEBUG"),
  "stdlib": sysconfig.get_path("stdlib")}))
"""


def find() -> Base:
    """WORKBENCH_PACKAGE_PYTHON, else the newest 3.12 of pyenv, else python3.12. Raises Refused when none will do."""
    seen: list[str] = []
    for candidate in _candidates():
        try:
            told = json.loads(called([candidate, "-I", "-c", _ASK]))
        except (Refused, OSError, ValueError) as error:
            seen.append(f"{candidate}: {str(error).splitlines()[0]}")
            continue
        library, prefix = Path(told["library"]), Path(told["prefix"])
        if not told["version"].startswith(VERSION + "."):
            seen.append(f"{candidate} is Python {told['version']}")
        elif not told["shared"] or not library.is_file():
            seen.append(f"{candidate} was built without --enable-shared")
        elif told["debug"]:
            seen.append(f"{candidate} is a debug build")
        elif told["machine"] != "x86_64-linux-gnu":
            seen.append(f"{candidate} is for {told['machine']}")
        elif Path(told["stdlib"]) != prefix / "lib" / f"python{VERSION}":
            seen.append(f"{candidate} keeps its library in {told['stdlib']}")
        else:
            return Base(Path(candidate), prefix, told["version"], library)
    raise Refused(
        f"No CPython {VERSION} for x86-64 that was built with --enable-shared was found"
        + (":\n  " + "\n  ".join(seen) if seen else ".")
        + "\nTo do: name one: WORKBENCH_PACKAGE_PYTHON=/path/to/bin/python3.12 (such as pyenv makes with"
        " PYTHON_CONFIGURE_OPTS=--enable-shared)."
    )


def _candidates() -> Iterator[str]:
    named = os.environ.get("WORKBENCH_PACKAGE_PYTHON")
    if named:
        yield named
        return
    versions = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    found = [(int(path.name.split(".")[2]), path) for path in versions.glob(VERSION + ".*") if re.fullmatch(
        r"\d+\.\d+\.\d+", path.name)]  # fmt: skip
    yield from (str(path / "bin" / f"python{VERSION}") for _, path in sorted(found, reverse=True))
    on_path = shutil.which(f"python{VERSION}")
    if on_path:
        yield on_path


def copy(base: Base, runtime: Path) -> None:
    """The interpreter, its library and headers into runtime/, without what is never used."""
    library = runtime / "lib" / f"python{VERSION}"
    (runtime / "bin").mkdir(parents=True)
    shutil.copy2(base.prefix / "bin" / f"python{VERSION}", runtime / "bin" / f"python{VERSION}")
    for name in ("python3", "python"):
        (runtime / "bin" / name).symlink_to(f"python{VERSION}")
    source = base.prefix / "lib" / f"python{VERSION}"
    dropped = {source / name for name in DROPPED}

    def left_out(folder: str, names: list[str]) -> set[str]:
        here = Path(folder)
        return {
            name
            for name in names
            if name == "__pycache__"
            or here / name in dropped
            or (here == source and name.startswith("config-"))
            or (here.name in ("tests", "test") and here.parent.parent == source)
            or name.endswith((".pyc", ".a", ".o"))
        }

    shutil.copytree(source, library, ignore=left_out, symlinks=True)
    for pattern in DROPPED_MODULES:
        for path in (library / "lib-dynload").glob(f"{pattern}.cpython-*.so"):
            path.unlink()
    for tests in sorted(library.rglob("test")) + sorted(library.rglob("tests")):
        if tests.is_dir():
            shutil.rmtree(tests)
    (library / "site-packages").mkdir()
    shutil.copytree(base.prefix / "include" / f"python{VERSION}", runtime / "include" / f"python{VERSION}")
    shutil.copy2(base.library, runtime / "lib" / base.library.name)
    (runtime / "lib" / f"libpython{VERSION}.so").symlink_to(base.library.name)
    _without_paths(base, library)
    _nowhere(base, runtime / "lib" / base.library.name)
    _own_rules(library)


def _nowhere(base: Base, library: Path) -> None:
    """The place where the interpreter was installed is a last resort of its search: it must lead nowhere, not into
    the home folder of whoever built this. The words that take its place are as long.

    The last part stays: linkers keep "3.12.1" and ".../3.12.1" as one string, so it is the version's name as well.
    """
    old = str(base.prefix.parent).encode() + b"/"
    if base.prefix.is_relative_to("/usr") or len(old) < len(_NOWHERE):
        return
    library.write_bytes(library.read_bytes().replace(old, _NOWHERE.ljust(len(old), b"/")))


_FOLLOWING = f"""
import sys as _sys
build_time_vars = {{
    name: value.replace("{PREFIX_WORD}", _sys.base_prefix) if isinstance(value, str) else value
    for name, value in build_time_vars.items()
}}
"""


def _without_paths(base: Base, library: Path) -> None:
    """sysconfig's variables say where the interpreter was built: here they follow the place where it stands."""
    for path in library.glob("_sysconfigdata_*.py"):
        text = path.read_text(encoding="utf-8")
        text = text.replace(str(base.prefix), PREFIX_WORD)
        text = re.sub(r"/(?:tmp|home|root|build|var)/[^\s'\"]*", "/build", text)
        text += _FOLLOWING
        path.write_text(text, encoding="utf-8")


def _own_rules(library: Path) -> None:
    """No packages of a person's home folder, and none installed into the program by mistake."""
    # Without a `home` this makes no virtual environment of it; all it does is what it says. (The module `site` is
    # frozen into the interpreter, so it cannot be told there.) What people installed for themselves would come before
    # the program's own libraries.
    (library.parents[1] / "pyvenv.cfg").write_text("include-system-site-packages = false\n", encoding="utf-8")
    (library / "EXTERNALLY-MANAGED").write_text(
        "[externally-managed]\nError=This Python belongs to Engine Workbench and is not changed.\n"
        " Toolchains get environments of their own: workbench toolchain install NAME\n",
        encoding="utf-8",
    )


def bundle(runtime: Path) -> list[Bundled]:
    """The system libraries that the interpreter's modules need, copied under names of their own.

    A name of its own (libssl-workbench.so.3) keeps a program's other libraries, and those of toolchains, free to load
    the system's newer one in the same process. Gives what was copied.
    """
    lib = runtime / "lib"
    cache = _ldconfig()
    todo = [found for found in elf.all_in(runtime) if "site-packages" not in found.path.parts]
    copied: dict[str, Bundled] = {}
    while todo:
        binary = todo.pop()
        for name in binary.needed:
            if SYSTEM.fullmatch(name) or name.startswith("libpython") or name in copied:
                continue
            source = cache.get(name)
            if source is None:
                raise Refused(f"{binary.path.name} needs {name}, which this machine does not have.")
            stem, _, rest = name.partition(".so")
            target = lib / f"{stem}-workbench.so{rest}"
            shutil.copyfile(source, target)
            copied[name] = Bundled(name, source, target.name)
            found = elf.read(target)
            if found is not None:
                todo.append(found)
    renames = {name: one.shipped_as for name, one in copied.items()}
    for binary in elf.all_in(runtime):
        if "site-packages" in binary.path.parts:
            continue
        called(["strip", "--strip-unneeded", binary.path])
        where = os.path.relpath(lib, binary.path.parent)
        # RPATH, not RUNPATH: a LD_LIBRARY_PATH that names another Python's libraries must not win.
        words: list[str | Path] = ["patchelf", "--force-rpath", "--set-rpath"]
        words.append("$ORIGIN" if where == "." else f"$ORIGIN/{where}")
        for old in binary.needed:
            if old in renames:
                words += ["--replace-needed", old, renames[old]]
        if binary.path.name in renames.values():
            words += ["--set-soname", binary.path.name]
        called([*words, binary.path])
    return [copied[name] for name in sorted(copied)]


def _ldconfig() -> dict[str, Path]:
    """soname -> real file, as the loader of this machine finds it."""
    found: dict[str, Path] = {}
    program = shutil.which("ldconfig") or "/sbin/ldconfig"
    for line in called([program, "-p"]).splitlines():
        match = re.fullmatch(r"\s*(\S+) \(libc6,x86-64[^)]*\) => (\S+)", line)
        if match:
            found.setdefault(match[1], Path(match[2]).resolve())
    return found

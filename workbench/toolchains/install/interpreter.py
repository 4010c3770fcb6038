"""Which Python an environment is made with: the one given, this program's own, or one found on PATH."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workbench.core.errors import BadInputError, BlockedError
from workbench.core.wheels import Interpreter
from workbench.toolchains.install.recipes import Recipe

_ANSWER_SECONDS = 20.0
_PROGRAM = (
    "import os, sys; print(sys.implementation.name, *sys.version_info[:3], "
    "(os.confstr('CS_GNU_LIBC_VERSION') or 'none').split()[-1])"
)


@dataclass(frozen=True)
class Python:
    """An interpreter of this machine."""

    path: str
    origin: str
    version: str
    """`3.12.1`."""
    glibc: tuple[int, int] = (0, 0)
    """0.0: it stands on another C library."""

    @property
    def short(self) -> str:
        return ".".join(self.version.split(".")[:2])

    @property
    def interpreter(self) -> Interpreter:
        return Interpreter(self.short, self.glibc)


def choose_python(recipe: Recipe, given: str = "", environ: Mapping[str, str] = os.environ) -> Python:
    """The one given, else this program's own if its version fits, else the first that fits on PATH.

    Raises BadInputError when the one given cannot be used, BlockedError when there is none.
    """
    if given:
        found = ask_python(shutil.which(given, path=environ.get("PATH")) or given, "given")
        if found.short not in recipe.pythons:
            raise BadInputError(
                f"{recipe.title} cannot be installed with this Python.",
                evidence=f"{found.path} is Python {found.version}; wanted: {' or '.join(recipe.pythons)}",
                fix="Give another interpreter by --python, or leave it out.",
                code="wrong-python",
            )
        return found
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if own in recipe.pythons and sys.implementation.name == "cpython":
        return Python(sys.executable, "the workbench's own", platform.python_version(), _own_glibc())
    for version in recipe.pythons:
        if path := shutil.which(f"python{version}", path=environ.get("PATH")):
            try:
                return ask_python(path, f"python{version} on PATH")
            except BadInputError:
                continue
    raise BlockedError(
        f"There is no Python that {recipe.title} can be installed with.",
        evidence=f"the workbench's own is {platform.python_version()}, and no "
        f"{' or '.join('python' + version for version in recipe.pythons)} is on PATH",
        fix=f"Install Python {recipe.pythons[0]}, so that python{recipe.pythons[0]} is on PATH; or name one with "
        f"`workbench toolchain install {recipe.name} --python FILE`.",
        code="no-python",
    )


def ask_python(path: str, origin: str) -> Python:
    """What an interpreter says of itself. Raises BadInputError."""
    try:
        done = subprocess.run(
            [path, "-I", "-c", _PROGRAM],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ANSWER_SECONDS,
            check=False,
        )
        said = done.stdout.split()
        problem = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    except (OSError, subprocess.SubprocessError) as error:
        said, problem = [], [str(error)]
    if len(said) != 5 or said[0] != "cpython":
        raise BadInputError(
            "That is no Python that environments can be made with.",
            evidence=f"{path}: {(problem or [' '.join(said) or 'no answer'])[0]}",
            fix="Give the path of a CPython interpreter.",
            code="wrong-python",
        )
    glibc = re.fullmatch(r"(\d+)\.(\d+)", said[4])
    numbers = (int(glibc[1]), int(glibc[2])) if glibc else (0, 0)
    return Python(str(Path(path).absolute()), origin, ".".join(said[1:4]), numbers)


def _own_glibc() -> tuple[int, int]:
    try:
        found = re.search(r"(\d+)\.(\d+)$", os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (ValueError, OSError):
        found = None
    return (int(found[1]), int(found[2])) if found else (0, 0)

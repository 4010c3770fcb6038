"""Wheels as files: their names and metadata, and which ones an interpreter needs to fulfil a list of requirements.

So that a folder of wheels can be told to be complete before anything is installed from it, and filled for another
interpreter than this one: pip takes markers from the interpreter that it runs in.
"""

from __future__ import annotations

import re
import sys
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from functools import lru_cache
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from workbench.core.errors import BadInputError

OLDEST_GLIBC = (2, 35)
"""Of the systems that the program is made for: wheels for an unknown one of them may want no newer."""
_NEWEST_GLIBC = 60


@dataclass(frozen=True)
class Interpreter:
    """What wheels must fit: CPython on Linux x86-64."""

    version: str
    """`3.12`."""
    glibc: tuple[int, int] = OLDEST_GLIBC

    @property
    def numbers(self) -> tuple[int, int]:
        """Major and minor version. Raises BadInputError."""
        if not re.fullmatch(r"3\.\d{1,2}", self.version):
            raise BadInputError(
                "That is no version of Python.", evidence=self.version, fix="Write it as 3.12.", code="bad-version"
            )
        major, minor = self.version.split(".")
        return int(major), int(minor)

    @property
    def platforms(self) -> tuple[str, ...]:
        """Platform tags that it takes, the newest first."""
        newest = min(self.glibc[1], _NEWEST_GLIBC) if self.glibc[0] == 2 else _NEWEST_GLIBC
        old = {17: "manylinux2014_x86_64", 12: "manylinux2010_x86_64", 5: "manylinux1_x86_64"}
        found = []
        for minor in range(newest, 4, -1):
            found += [f"manylinux_2_{minor}_x86_64", *([old[minor]] if minor in old else [])]
        return (*found, "linux_x86_64")

    def tags(self) -> frozenset[Tag]:
        """All tags that it takes."""
        return _tags(self)

    def environment(self) -> dict[str, str]:
        """Values of markers. The third number of its version is not known and counts as 0, as far as it is another."""
        major, minor = self.numbers
        own = sys.version_info[:2] == (major, minor)
        full = ".".join(map(str, sys.version_info[:3])) if own else f"{self.version}.0"
        return {
            **{name: str(value) for name, value in default_environment().items()},
            "python_version": self.version,
            "python_full_version": full,
            "implementation_name": "cpython",
            "implementation_version": full,
            "platform_python_implementation": "CPython",
            "os_name": "posix",
            "sys_platform": "linux",
            "platform_system": "Linux",
            "platform_machine": "x86_64",
        }


@lru_cache(maxsize=8)
def _tags(interpreter: Interpreter) -> frozenset[Tag]:
    version, platforms = interpreter.numbers, interpreter.platforms
    name = f"cp{version[0]}{version[1]}"
    return frozenset(
        (*cpython_tags(version, [name], platforms), *compatible_tags(version, name, platforms)),
    )


@dataclass(frozen=True)
class Wheel:
    """A wheel by its file name."""

    path: Path
    name: str
    """Normalised: `openvino-genai`."""
    version: Version
    tags: frozenset[Tag]

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}"


def wheel_of(path: Path) -> Wheel | None:
    """A file as a wheel; None when its name is not a wheel's."""
    try:
        name, version, _, tags = parse_wheel_filename(path.name)
    except InvalidWheelFilename:
        return None
    return Wheel(path, str(name), version, tags)


def wheels_in(folder: Path) -> tuple[Wheel, ...]:
    """The wheels in a folder, none of those below it. Raises BadInputError."""
    try:
        found = [wheel_of(path) for path in sorted(folder.iterdir()) if path.suffix == ".whl"]
    except OSError as error:
        raise BadInputError(
            "The folder of wheels cannot be read.",
            evidence=str(error),
            fix="Name a folder that `workbench toolchain bundle` has filled.",
            code="no-wheels",
        ) from None
    return tuple(wheel for wheel in found if wheel is not None)


def wants_of(wheel: Wheel) -> tuple[Requirement, ...]:
    """What the wheel's metadata says that it needs. Raises BadInputError for a file that is damaged."""
    try:
        with zipfile.ZipFile(wheel.path) as archive:
            inside = next(n for n in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n))
            text = archive.read(inside).decode("utf-8", "replace")
        return tuple(Requirement(line) for line in HeaderParser().parsestr(text).get_all("Requires-Dist") or ())
    except (OSError, ValueError, RuntimeError, EOFError, StopIteration, zipfile.BadZipFile, zlib.error) as error:
        raise BadInputError(
            f"A wheel is damaged: {wheel.path.name}.",
            evidence=f"{wheel.path}: {str(error) or type(error).__name__}",
            fix="Copy or fetch it again: `workbench toolchain bundle` replaces what is damaged.",
            code="bad-wheel",
        ) from None


def requirement_lines(path: Path) -> tuple[str, ...]:
    """Requirements of a file and of those that it takes in with `-r`, without comments. Raises BadInputError."""
    try:
        lines = [re.split(r"(?:^|\s)#", line)[0].strip() for line in path.read_text("utf-8").splitlines()]
    except OSError as error:
        raise BadInputError("A list of requirements cannot be read.", evidence=str(error), code="no-file") from None
    found: list[str] = []
    for line in lines:
        if line.startswith("-r "):
            found += requirement_lines(path.parent / line[3:].strip())
        elif line and not line.startswith("-"):
            found.append(line)
    return tuple(found)


def read_pins(path: Path, interpreter: Interpreter) -> dict[str, str]:
    """Name -> version of the pins in a file that hold for an interpreter. Raises BadInputError."""
    environment = interpreter.environment()
    pins: dict[str, str] = {}
    for line in requirement_lines(path):
        pin = Requirement(line)
        (one,) = pin.specifier
        if pin.marker is None or pin.marker.evaluate(environment):
            pins[canonicalize_name(pin.name)] = one.version
    return pins


@dataclass(frozen=True)
class Needed:
    """The wheels that are needed, and the requirements that no wheel meets."""

    wheels: tuple[Wheel, ...]
    missing: tuple[str, ...]
    """`name==version` where a pin says which, else as it is wanted: what pip is asked for."""

    @property
    def bytes(self) -> int:
        return sum(wheel.path.stat().st_size for wheel in self.wheels)


def needed_wheels(
    wanted: Iterable[str],
    pins: Mapping[str, str],
    there: Iterable[Wheel],
    interpreter: Interpreter,
    wants: Callable[[Wheel], Iterable[Requirement]] = wants_of,
) -> Needed:
    """Follow the requirements through the wheels' own metadata. Raises BadInputError for a damaged wheel.

    A name that two ask for in different ways is taken once, by the first: pins are what makes that agree.
    """
    fitting: dict[str, list[Wheel]] = {}
    for wheel in there:
        if wheel.tags & interpreter.tags():
            fitting.setdefault(wheel.name, []).append(wheel)
    environment = interpreter.environment()
    chosen: dict[str, Wheel | None] = {}
    asked: set[tuple[str, str]] = set()
    missing: dict[str, None] = {}
    queue = deque((Requirement(text), "") for text in wanted)
    while queue:
        requirement, extra = queue.popleft()
        if requirement.marker is not None and not requirement.marker.evaluate({**environment, "extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        pin = pins.get(name, "")
        if name not in chosen:
            pinned = Requirement(f"{name}=={pin}") if pin else requirement
            takes = [w for w in fitting.get(name, ()) if pinned.specifier.contains(w.version, prereleases=True)]
            chosen[name] = max(takes, key=lambda wheel: wheel.version, default=None)
            if chosen[name] is None:
                missing[f"{name}=={pin}" if pin else f"{name}{requirement.specifier}"] = None
        taken = chosen[name]
        if taken is None:
            continue
        for one in ("", *sorted(requirement.extras)):
            if (name, one) not in asked:
                asked.add((name, one))
                # Without the extra all that is unconditional; with it what its marker adds.
                queue.extend((each, one) for each in wants(taken))
    return Needed(tuple(wheel for wheel in chosen.values() if wheel is not None), tuple(missing))

"""Finding a toolchain's interpreters: named in the environment, made by the workbench, or this one."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import psutil

from workbench.core.environment_record import RECORD_FILE, EnvironmentRecord, read_record
from workbench.core.errors import BadInputError, BlockedError
from workbench.core.galleries import toolchain_folders
from workbench.core.home import Home, expanded
from workbench.core.reach import answering
from workbench.core.settings import load_settings
from workbench.core.settings_schema import ToolchainSettings
from workbench.core.trust import distrust
from workbench.toolchains.asking import cached, installed_versions, probe_worker, probed_versions, remember
from workbench.toolchains.base import Environment, Package, Toolchain
from workbench.toolchains.code import package_root, staged_root

_REMOTE_SECONDS = 600.0
"""How long an answer from a container or another machine is kept: nothing here shows when packages change there."""


class Wanted(Protocol):
    """What is looked for: a toolchain, or a part of one that has an interpreter of its own."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def packages(self) -> tuple[Package, ...]: ...
    @property
    def install_hint(self) -> str: ...


def variable_of(toolchain: str) -> str:
    """The environment variable that names an interpreter for a toolchain."""
    return f"WORKBENCH_{toolchain.upper()}_PYTHON"


def prefix_variable_of(toolchain: str) -> str:
    """The one that names an argv prefix whose last word is an interpreter in a container or on another machine."""
    return f"WORKBENCH_{toolchain.upper()}_PREFIX"


def find_environments(toolchain: Wanted, home: Home, environ: Mapping[str, str]) -> list[Environment]:
    """All interpreters that could hold the toolchain, the preferred one first, each looked at.

    Named by a variable, named in the settings, made by the workbench (the newest first), put there by the
    administrator, and the workbench's own.
    """
    settings = load_settings(home, environ)
    chosen = settings.values.toolchains.get(toolchain.name) or ToolchainSettings()
    found: list[Environment] = []
    seen: set[str] = set()

    def look(candidate: _Candidate) -> None:
        if candidate.python not in seen:
            seen.add(candidate.python)
            found.append(_look(toolchain, candidate, home))

    if prefix := _named_prefix(toolchain.name, environ):
        found.append(look_at_prefix(toolchain, prefix, home, f"named by {prefix_variable_of(toolchain.name)}"))
    if named := environ.get(variable_of(toolchain.name)):
        look(_Candidate(_absolute(named), f"named by {variable_of(toolchain.name)}", named=True))
    if chosen.prefix:
        origin = f"named in the settings: {settings.origins.get(f'toolchains.{toolchain.name}.prefix', '')}"
        found.append(look_at_prefix(toolchain, chosen.prefix, home, origin))
    if chosen.python:
        origin = f"named in the settings: {settings.origins.get(f'toolchains.{toolchain.name}.python', '')}"
        look(_Candidate(_absolute(str(expanded(chosen.python))), origin, named=True))
    for folder in environment_folders(home.environments / toolchain.name):
        look(_Candidate(str(folder / "bin" / "python"), f"made by the workbench: {folder.name}", made=True))
    for place in answering(toolchain_folders(home, environ)):
        for folder in environment_folders(place / toolchain.name):
            origin = f"put there by the administrator: {folder}"
            made = (folder / RECORD_FILE).exists()
            look(_Candidate(str(folder / "bin" / "python"), origin, made=made, below=place))
    look(_Candidate(sys.executable, "the workbench's own interpreter"))
    return found


@dataclass(frozen=True)
class _Candidate:
    """An interpreter that is to be looked at."""

    python: str
    origin: str
    named: bool = False
    made: bool = False
    below: Path | None = None
    """The folder for all users that it was found in: nobody vouches for it but its owner."""


def _absolute(python: str) -> str:
    """Absolute, since workers start in other folders than this one."""
    return str(Path(shutil.which(python) or python).absolute())


def environment_folders(place: Path) -> list[Path]:
    """Environments below a folder, the newest first; also those whose interpreter is gone."""
    found = []
    with contextlib.suppress(OSError):
        for folder in place.iterdir():
            # A link to nothing counts: an environment whose interpreter is gone is told of.
            if not folder.name.startswith(".") and os.path.lexists(folder / "bin" / "python"):
                record = read_record(folder)
                made_at = record.made_at if record is not None and record.made_at else folder.stat().st_mtime
                found.append((-made_at, folder.name, folder))
    return [folder for _, _, folder in sorted(found)]


def made_name(home: Home, toolchain: str, environment: Environment) -> str:
    """The name of an environment that is in this home; empty: it is in another place."""
    folder = Path(environment.prefix[-1]).parent.parent
    ours = len(environment.prefix) == 1 and folder.parent == home.environments / toolchain
    return folder.name if ours else ""


def best_environment(toolchain: Toolchain, home: Home, environ: Mapping[str, str]) -> Environment:
    """The first usable environment, else the preferred one: plans can be made, if not run, without any.

    With those of the toolchain's further parts, found in the same way.
    """
    others = {part.name: _best(part, home, environ) for part in toolchain.parts}
    return replace(_best(toolchain, home, environ), others=others)


def _best(wanted: Wanted, home: Home, environ: Mapping[str, str]) -> Environment:
    found = find_environments(wanted, home, environ)
    return next((environment for environment in found if environment.usable), found[0])


def engine_environment(toolchain: Wanted, home: Home, environ: Mapping[str, str]) -> Environment:
    """The first that is usable, else the first that lacks only what builds need: it runs engines all the same.

    Raises BlockedError.
    """
    found = find_environments(toolchain, home, environ)
    for_builds = {package.name for package in toolchain.packages if package.for_builds}
    runs = (environment for environment in found if not environment.problem and for_builds >= {*environment.missing})
    usable = next((environment for environment in found if environment.usable), None) or next(runs, None)
    return usable or choose_environment(toolchain, home, environ)


def choose_environment(toolchain: Wanted, home: Home, environ: Mapping[str, str]) -> Environment:
    """The first usable environment. Raises BlockedError that says what the preferred one lacks."""
    found = _best(toolchain, home, environ)
    if not found.usable:
        raise BlockedError(
            f"No interpreter here holds {toolchain.title}.",
            evidence=found.lacks,
            fix=found.fix or toolchain.install_hint,
            code="no-environment",
        )
    return found


def _named_prefix(name: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The prefix that the environment names. Raises BadInputError when it is no command line."""
    text = environ.get(prefix_variable_of(name), "")
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise BadInputError(
            f"{prefix_variable_of(name)} is not a command line.",
            evidence=f"{text}: {error}",
            fix="Write it as in: docker run -i --rm --gpus all IMAGE python3",
            code="bad-prefix",
        ) from None
    return tuple(words)


def look_at_prefix(toolchain: Wanted, prefix: tuple[str, ...], home: Home, origin: str) -> Environment:
    """Ask an interpreter in a container or on another machine; its answer is kept for a while."""
    environment = Environment(toolchain.name, prefix, origin, named=True)
    try:
        environment = replace(environment, worker_path=str(staged_root(home)))
        wanted = [package.name for package in toolchain.packages]
        known = cached(home, shlex.join(prefix))
        if known and known.get("packages") == wanted and abs(time.time() - float(known["at"])) < _REMOTE_SECONDS:
            versions = dict(known["versions"])
        else:
            settings: dict[str, object] = {"packages": wanted, "import": False, "paths": [str(home.root)]}
            found: dict[str, Any] = dict(probe_worker(environment, settings, paths=(home.root,)))
            if found.get("unseen"):
                raise ValueError(_not_seen(home.root))
            versions = dict(found["versions"])
            remember(home, shlex.join(prefix), {"at": time.time(), "packages": wanted, "versions": versions})
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        text = _first_line(error)
        if re.search(r"No module named '?workbench", text):
            text = _not_seen(Path(environment.worker_path))
        if "python" not in Path(prefix[-1]).name:
            text += f"; a prefix ends with the interpreter, such as python3, and this one with {prefix[-1]}"
        return replace(environment, problem=f"could not be asked: {text}")
    return judged(toolchain, environment, versions)


def _not_seen(folder: Path) -> str:
    return (
        f"{folder} is not there under that name, and workers read and write under it; share it with that machine, or "
        "set WORKBENCH_HOME to a folder that both see"
    )


def look_at_python(toolchain: Wanted, python: str, origin: str, home: Home) -> Environment:
    """Ask an interpreter of this machine, whose name or path is given."""
    return _look(toolchain, _Candidate(_absolute(python), origin, named=True), home)


def _look(toolchain: Wanted, candidate: _Candidate, home: Home) -> Environment:
    python = candidate.python
    environment = Environment(
        toolchain.name,
        (python,),
        candidate.origin,
        worker_path=str(package_root()),
        named=candidate.named,
        made=candidate.made,
    )
    if python == sys.executable:
        return judged(toolchain, environment, installed_versions(toolchain.packages))
    if candidate.below is not None and (why := _not_trusted(Path(python), candidate.below)):
        fix = "Its administrator mends owner and mode: root's, and writable by nobody else."
        return replace(environment, problem=f"is not run: {why}", fix=fix)
    if broken := _broken(toolchain.name, Path(python).parent.parent):
        return replace(environment, problem=broken[0], fix=broken[1])
    try:
        environment = replace(environment, worker_path=str(staged_root(home)))
        versions = probed_versions(python, environment, toolchain.packages, home)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return replace(environment, problem=f"could not be asked: {_first_line(error)}")
    if changed := _other_python(toolchain.name, Path(python).parent.parent, versions.get("python", "")):
        return replace(environment, versions=versions, problem=changed[0], fix=changed[1])
    return judged(toolchain, environment, versions)


def _not_trusted(python: Path, below: Path) -> str:
    """Why an interpreter in a folder for all users is not even asked: somebody else could have put it there."""
    packages = python.parent.parent.glob("lib/python3*/site-packages")
    above = [folder for folder in python.parents if folder.is_relative_to(below)]
    return next((why for each in (*reversed(above), python, *packages) if (why := distrust(each))), "")


def _broken(toolchain: str, folder: Path) -> tuple[str, str] | None:
    """Why an environment cannot be asked at all, and what to do: it is not finished, or its interpreter is gone."""
    record = read_record(folder)
    if record is not None and not record.complete:
        if maker_of(record):
            return "is being made", "Wait for its job: `workbench jobs`."
        return (
            f"was not finished (done: {', '.join(record.done) or 'nothing'})",
            f"`workbench toolchain install {toolchain} --as {folder.name}` goes on with it.",
        )
    link = folder / "bin" / "python"
    if os.path.lexists(link) and not link.exists():
        return f"was made with {_end_of(link)}, which is gone", _anew(toolchain, folder)
    return None


def maker_of(record: EnvironmentRecord | None) -> int:
    """The process that makes an environment now; 0: none does. After a restart its number may be another program's."""
    if record is not None and not record.complete and record.pid:
        with contextlib.suppress(psutil.Error, OSError):
            if "workbench.workers.environment" in psutil.Process(record.pid).cmdline():
                return record.pid
    return 0


def _end_of(link: Path) -> Path:
    """The last name in a chain of links, the one that is not there."""
    for _ in range(16):
        if not link.is_symlink():
            return link
        link = link.parent / link.readlink()
    return link


def _other_python(toolchain: str, folder: Path, version: str) -> tuple[str, str] | None:
    """Why packages of an environment are not seen: its interpreter is another version than the one it was made with."""
    with contextlib.suppress(OSError):
        made = re.search(r"^version(?:_info)? *= *(\d+\.\d+)", (folder / "pyvenv.cfg").read_text("utf-8"), re.MULTILINE)
        if made and version and not f"{version}.".startswith(f"{made[1]}."):
            return f"was made with Python {made[1]}, and its interpreter is {version} now", _anew(toolchain, folder)
    return None


def _anew(toolchain: str, folder: Path) -> str:
    return (
        f"Make it anew: `workbench toolchain uninstall {toolchain} {folder.name}`, then "
        f"`workbench toolchain install {toolchain}`."
    )


def judged(toolchain: Wanted, environment: Environment, versions: Mapping[str, str]) -> Environment:
    """The environment with these versions, and what is missing or wrong among them."""
    missing = tuple(
        p.name for p in toolchain.packages if p.required and not any(name in versions for name in (p.name, *p.instead))
    )
    problems = [_version_problem(p, versions[p.name]) for p in toolchain.packages if p.name in versions]
    problem = "; ".join(text for text in problems if text)
    return replace(environment, versions=versions, missing=missing, problem=problem)


def _version_problem(package: Package, version: str) -> str:
    """Why this version cannot be used; empty when it can."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])
    if package.newest and numbers[: len(package.newest)] > package.newest:
        return f"has {package.name} {version}: {package.too_new}"
    if package.oldest and numbers[: len(package.oldest)] < package.oldest:
        return f"has {package.name} {version}, older than {'.'.join(map(str, package.oldest))}"
    return ""


def _first_line(error: Exception) -> str:
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"there is no {error.filename}"
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__

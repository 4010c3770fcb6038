"""Environments that are there: which ones, which of them is used, and taking one away."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from workbench.core.environment_record import read_record
from workbench.core.errors import BadInputError, BlockedError
from workbench.core.home import Home
from workbench.toolchains import get, names
from workbench.toolchains.base import Environment
from workbench.toolchains.environments import Wanted, find_environments, made_name, maker_of
from workbench.toolchains.install.recipes import RECIPES, recipe_of


@dataclass(frozen=True)
class Found:
    """An environment of a toolchain or part."""

    toolchain: str
    title: str
    environment: Environment
    used: bool
    """Builds and engines of the toolchain run in it."""
    name: str = ""
    """Of one that the workbench made in this home, by which it is uninstalled; empty: it is not the workbench's."""


def wanted_of(name: str) -> Wanted:
    """The toolchain or part of that name. Raises BadInputError."""
    recipe_of(name)
    for toolchain in (get(each) for each in names()):
        if toolchain.name == name:
            return toolchain
        for part in toolchain.parts:
            if part.name == name:
                return part
    raise BadInputError(f"This version has no {name!r} toolchain.", code="no-toolchain")


def inventory(home: Home, environ: Mapping[str, str] = os.environ) -> tuple[Found, ...]:
    """All environments of all that can be installed; seconds when they were not looked at before."""
    found = []
    for name in RECIPES:
        wanted = wanted_of(name)
        environments = find_environments(wanted, home, environ)
        used = next((each for each in environments if each.usable), None)
        found += [Found(name, wanted.title, each, each is used, made_name(home, name, each)) for each in environments]
    return tuple(found)


def users_of(folder: Path) -> tuple[tuple[int, str], ...]:
    """Processes that run in an environment, or make it: their ids and what they run."""
    inside = f"{folder}{os.sep}"
    maker = maker_of(read_record(folder))
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            words = process.cmdline()
            runs = process.pid == maker or any(word.startswith(inside) for word in words)
            if runs and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                module = words[words.index("-m") + 1] if "-m" in words[:-1] else " ".join(words)[:80]
                found.append((process.pid, module))
    return tuple(found)


def environment_folder(home: Home, toolchain: str, name: str, environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of an environment that may be taken away. Raises BadInputError, BlockedError."""
    wanted = wanted_of(toolchain)
    folder = home.environments / toolchain / name
    clean = name not in ("", ".", "..") and "/" not in name
    if clean and os.path.lexists(folder):
        if folder.is_symlink():
            raise BlockedError(
                "That is a link to an environment in another place.",
                evidence=f"{folder} -> {folder.readlink()}",
                fix="Remove the link by hand.",
                code="not-ours",
            )
        return folder
    others = [each for each in find_environments(wanted, home, environ) if not made_name(home, toolchain, each)]
    for each in others:
        place = Path(each.prefix[-1]).parent.parent
        if place.name == name and place.parent.name == toolchain:
            if read_record(place) is not None and os.access(place.parent, os.W_OK):
                return place  # made by `install --system`, and this is the administrator
            raise BlockedError(
                f"The environment {name} was put there by the administrator.",
                evidence=str(place),
                fix="Only the administrator takes it away: by this command, or by hand what it did not make.",
                code="not-ours",
            )
    there = sorted(path.name for path in (home.environments / toolchain).glob("*") if not path.name.startswith("."))
    raise BadInputError(
        f"There is no environment {name} of {wanted.title}.",
        evidence=f"there are: {', '.join(there)}" if there else f"none is in {home.environments / toolchain}",
        fix="`workbench toolchain list` shows them.",
        code="no-environment",
    )


def uninstall(home: Home, toolchain: str, name: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Take an environment away; the folder that it was. Takes seconds.

    Raises BadInputError, and BlockedError while something runs in it.
    """
    folder = environment_folder(home, toolchain, name, environ)
    if used := users_of(folder):
        raise BlockedError(
            f"The environment {name} is in use.",
            evidence=", ".join(f"process {pid} ({words})" for pid, words in used[:5]),
            fix="End it first: unload the engine, or wait for the job or cancel it.",
            code="in-use",
        )
    going = folder.with_name(f".removing-{folder.name}-{os.getpid()}")
    try:
        folder.rename(going)  # at once no more an environment, however long taking it away lasts
    except OSError as error:
        raise BlockedError(
            "The environment cannot be taken away.", evidence=str(error), fix="Check the folder's owner and mode.",
            code="not-writable",
        ) from None  # fmt: skip
    shutil.rmtree(going, ignore_errors=True)
    sweep(folder.parent)
    if going.exists():
        raise BlockedError(
            "The environment is not used any more, and parts of it could not be removed.",
            evidence=str(going),
            fix="Remove that folder by hand.",
            code="not-writable",
        )
    return folder


def sweep(folder: Path) -> None:
    """Take away what an uninstall that was killed has left."""
    for path in folder.glob(".removing-*"):
        pid = path.name.rsplit("-", 1)[-1]
        if not pid.isdigit() or int(pid) == os.getpid() or not psutil.pid_exists(int(pid)):
            shutil.rmtree(path, ignore_errors=True)

"""From a name to a job: what is to be installed where and from what, its checks, and its plan."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from workbench.core.environment_record import read_record
from workbench.core.errors import BadInputError, BlockedError, Failure
from workbench.core.galleries import toolchain_folders
from workbench.core.gpu import GpuSpec
from workbench.core.home import Home, expanded
from workbench.core.plan import Plan, Step, StepEstimate
from workbench.core.settings import DEFAULT, expand_folder, load_settings, lock_of
from workbench.core.wheels import Interpreter
from workbench.toolchains.code import package_root, staged_root
from workbench.toolchains.gpus import detected_gpus
from workbench.toolchains.install.checks import Check, Surroundings, Where, checks_of, read_surroundings, refuse
from workbench.toolchains.install.interpreter import Python, choose_python
from workbench.toolchains.install.recipes import Recipe, RequirementList, recipe_of

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}")


@dataclass(frozen=True)
class Install:
    """An environment that is to be made."""

    recipe: Recipe
    lists: tuple[RequirementList, ...]
    name: str
    folder: Path
    python: Python
    where: Where
    goes_on: bool = False
    """It was begun before: what is done stays."""


def free_name(home: Home, toolchain: str) -> str:
    """The name of a making that was begun and is not at its end, else one that nothing has: `default`, `default-2` …"""
    return _free_name(home.environments / toolchain)


def _free_name(folder: Path) -> str:
    number, name = 1, "default"
    while (folder / name).exists():
        record = read_record(folder / name)
        if record is not None and not record.complete:
            return name
        number += 1
        name = f"default-{number}"
    return name


def where_from(
    home: Home,
    environ: Mapping[str, str],
    wheels: Path | None = None,
    index: str = "",
    extra_indexes: Sequence[str] = (),
) -> Where:
    """What was given, else what the settings say. Raises BlockedError for an index where that is locked."""
    loaded = load_settings(home, environ)
    network = loaded.values.network
    for key, given, set_ in (
        ("network.package_index", {index} - {""}, {network.package_index}),
        ("network.extra_package_indexes", {*extra_indexes}, {*network.extra_package_indexes}),
    ):
        if given - set_ and (lock := lock_of(loaded, key)):
            raise BlockedError(
                "Another package index is not asked: the administrator has locked which ones are.",
                evidence=f"{key} is locked by {lock}",
                fix="Leave --index and --extra-index out, or ask the administrator.",
                code="locked",
            )
    if wheels is None and not index and network.wheels:
        wheels = expand_folder(network.wheels)
    if wheels is not None:
        return Where(wheels=expanded(wheels))
    offline = "The settings say that nothing is fetched from a network (network.offline)." if network.offline else ""
    return Where(
        index=index or network.package_index,
        extra_indexes=(*extra_indexes, *network.extra_package_indexes),
        offline=offline,
    )


def plan_install(
    home: Home,
    toolchain: str,
    *,
    name: str = "",
    wheels: Path | None = None,
    python: str = "",
    index: str = "",
    extra_indexes: Sequence[str] = (),
    system: bool = False,
    environ: Mapping[str, str] = os.environ,
    gpus: Callable[[], Sequence[GpuSpec]] = detected_gpus,
) -> Install:
    """What is to be made. Raises BadInputError, and BlockedError when there is no interpreter for it."""
    recipe = recipe_of(toolchain)
    parent = _parent(home, recipe, environ) if system else home.environments / toolchain
    name = name or _free_name(parent)
    if not _NAME.fullmatch(name):
        raise BadInputError(
            "That is no name for an environment.",
            evidence=name,
            fix="Use letters, digits, dots and dashes.",
            code="bad-name",
        )
    folder = parent / name
    record = read_record(folder)
    # One without a record was made by hand or by the workbench's first version: it is not made anew over.
    if record.complete if record is not None else os.path.lexists(folder / "bin" / "python"):
        raise BadInputError(
            f"There is an environment {name} of {recipe.title}.",
            evidence=str(folder),
            fix=f"Choose another name by --as, or take it away: `workbench toolchain uninstall {toolchain} {name}`.",
            code="output-exists",
        )
    return Install(
        recipe=recipe,
        lists=recipe.lists_for(gpus()),
        name=name,
        folder=folder,
        python=choose_python(recipe, python, environ),
        where=where_from(home, environ, wheels, index, extra_indexes),
        goes_on=record is not None,
    )


def _parent(home: Home, recipe: Recipe, environ: Mapping[str, str]) -> Path:
    """For all users: the first folder that a settings file names, else the shipped one. Raises BlockedError."""
    entries = load_settings(home, environ).entries.get("folders.toolchains", ())
    named = [text for text, origin in entries if origin != DEFAULT]
    folders = [expand_folder(named[0])] if named else list(toolchain_folders(home, environ))
    if not folders:
        raise BlockedError(
            "No folder for all users' environments is set.", fix="Set folders.toolchains.", code="no-folder"
        )
    place = next((each for each in (folders[0], *folders[0].parents) if each.exists()), Path("/"))
    if not os.access(place, os.W_OK):
        raise BlockedError(
            "An environment for all users can be made by the administrator alone.",
            evidence=f"{place} is not writable",
            fix="Run the command with sudo, or leave --system out.",
            code="not-writable",
        )
    return folders[0] / recipe.name


def install_checks(install: Install, environ: Mapping[str, str] = os.environ) -> tuple[Check, ...]:
    """Look at the machine for it; seconds."""
    around: Surroundings = read_surroundings(install.folder, environ)
    return checks_of(install.recipe, install.lists, install.python, install.where, around)


def checks_without_python(
    home: Home,
    toolchain: str,
    failure: Failure,
    *,
    wheels: Path | None = None,
    index: str = "",
    extra_indexes: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> tuple[Check, ...]:
    """What can be looked at where there is no interpreter (`failure`), so that all that lacks is told at once; seconds.

    Raises BlockedError.
    """
    where = where_from(home, environ, wheels, index, extra_indexes)
    around = read_surroundings(home.environments / toolchain, environ)
    return checks_of(recipe_of(toolchain), (), failure, where, around)


def install_plan(install: Install, home: Home, checks: Sequence[Check] = ()) -> Plan:
    """The job. Raises BlockedError when a check says that it cannot work."""
    refuse(tuple(checks), install.recipe.title)
    recipe, where = install.recipe, install.where
    gpu = recipe.needs_gpu and any(check.name == "GPU" and check.state != "ok" for check in checks)
    step = Step(
        id="environment",
        kind="fetch",
        title="Make environment",
        note=f"from the wheels in {where.wheels}" if where.wheels else "from the package index",
        worker="environment",
        argv=(sys.executable, "-m", "workbench.workers.environment"),
        env={"PYTHONPATH": str(package_root())},
        settings={
            "toolchain": recipe.name,
            "folder": str(install.folder),
            "lists": [each.settings() for each in install.lists],
            "wheels": str(where.wheels) if where.wheels else "",
            "downloads": str(downloads_folder(home, recipe.name, install.python.short)),
            "index": where.index,
            "extra_indexes": list(where.extra_indexes),
            "python": install.python.path,
            "packages": list(recipe.packages_for(install.lists)),
            "imports": not gpu,
            "code": str(staged_root(home)),
        },
        lanes=(f"environment:{install.folder}", f"downloads:{recipe.name}"),
        estimate=StepEstimate(disk_bytes=recipe.installed),
    )
    return Plan(title=f"{recipe.title} environment {install.name!r}", toolchain="", steps=(step,))


def downloads_folder(home: Home, toolchain: str, version: str) -> Path:
    """Where wheels are kept until an environment is made of them."""
    return home.cache / "wheels" / f"{toolchain}-python{version}"


def bundle_plan(
    home: Home,
    toolchain: str,
    out: Path,
    *,
    python_version: str = "",
    index: str = "",
    extra_indexes: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
    gpus: Callable[[], Sequence[GpuSpec]] = detected_gpus,
    for_gpu: bool | None = None,
) -> Plan:
    """Collect the wheels of a toolchain in `out`, for this program's version of Python unless another is named.

    `for_gpu` says whether the machine that they are for has a GPU; None: as this one. Raises BadInputError,
    BlockedError.
    """
    recipe = recipe_of(toolchain)
    version = python_version or _fitting(recipe)
    Interpreter(version).numbers  # noqa: B018 - raises where it is no version
    if version not in recipe.pythons:
        raise BadInputError(
            f"{recipe.title} cannot be installed with Python {version}.",
            evidence=f"it can with: {', '.join(recipe.pythons)}",
            fix=f"--python-version {recipe.pythons[0]}",
            code="wrong-python",
        )
    network = load_settings(home, environ).values.network
    where = where_from(home, environ, None, index or network.package_index, extra_indexes)
    if network.offline:
        raise BlockedError(
            "The settings say that nothing is fetched from a network.",
            evidence="network.offline",
            fix="Collect the wheels on another machine.",
            code="offline",
        )
    lists = recipe.lists_gpu if for_gpu and recipe.lists_gpu else recipe.lists
    if for_gpu is None:
        lists = recipe.lists_for(gpus())
    python = ""
    if any(each.lock is None for each in lists):
        python = choose_python(replace(recipe, pythons=(version,)), "", environ).path
    step = Step(
        id="bundle",
        kind="fetch",
        title="Collect wheels",
        note=f"for Python {version}",
        worker="bundle",
        argv=(sys.executable, "-m", "workbench.workers.bundle"),
        env={"PYTHONPATH": str(package_root())},
        settings={
            "toolchain": recipe.name,
            "out": str(expanded(out)),
            "lists": [each.settings() for each in lists],
            "more": list(recipe.bundled),
            "python_version": version,
            "python": python,
            "index": where.index,
            "extra_indexes": [*extra_indexes, *network.extra_package_indexes],
        },
        lanes=(f"downloads:{expanded(out)}",),
        estimate=StepEstimate(disk_bytes=recipe.wheels),
    )
    return Plan(title=f"{recipe.title} wheels for Python {version}", toolchain="", steps=(step,))


def _fitting(recipe: Recipe) -> str:
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return own if own in recipe.pythons else recipe.pythons[0]

"""What is looked at before an environment is made: interpreter, C library, disk, packages, and GPU, driver and MPI."""

from __future__ import annotations

import ctypes.util
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from workbench.core.errors import BadInputError, BlockedError, Failure, WorkbenchError
from workbench.core.units import format_bytes
from workbench.core.wheels import Needed, needed_wheels, read_pins, requirement_lines, wheels_in
from workbench.toolchains.doctor import MPI_FIX, gpu_report
from workbench.toolchains.install.interpreter import Python
from workbench.toolchains.install.recipes import Recipe, RequirementList
from workbench.toolchains.surroundings import cuda_toolkit, network_report, offline_words, without_password

CheckState = Literal["ok", "warn", "blocked"]
OLDEST_GLIBC = (2, 28)
"""The pinned wheels are manylinux_2_28 and older ones."""
NEEDED_DRIVER = 580
"""First driver branch of CUDA 13."""
MPI_LIBRARY = "libmpi.so.40"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: CheckState
    text: str
    fix: str = ""
    detail: str = ""
    """Where the figures are from."""

    def words(self) -> str:
        sign = {"ok": "ok", "warn": "warning", "blocked": "BLOCKED"}[self.state]
        return (
            f"{sign:<8} {self.name}: {self.text}"
            + (f" {self.fix}" if self.fix else "")
            + (f" ({self.detail})" if self.detail else "")
        )


@dataclass(frozen=True)
class Where:
    """Where packages come from, as settings and options say."""

    wheels: Path | None = None
    index: str = ""
    extra_indexes: tuple[str, ...] = ()
    offline: str = ""
    """Why no package index may be asked, in a sentence; empty: it may."""


@dataclass(frozen=True)
class Surroundings:
    """What the machine has; read once, so that checks are plain functions."""

    free_bytes: int
    network: Mapping[str, Any]
    gpus: Mapping[str, Any]
    """As the doctor reports them."""
    mpi_library: bool
    cuda: Mapping[str, str] | None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)


def read_surroundings(folder: Path, environ: Mapping[str, str]) -> Surroundings:
    """Look at this machine. `folder` need not be there yet."""
    return Surroundings(
        free_bytes=free_bytes(folder),
        network=network_report(environ),
        gpus=gpu_report(),
        mpi_library=has_mpi_library(environ),
        cuda=cuda_toolkit(environ),
        environ=environ,
    )


def free_bytes(folder: Path) -> int:
    """Free bytes of the disk that a folder is, or would be, on."""
    for place in (folder, *folder.parents):
        if place.exists():
            return shutil.disk_usage(place).free
    return 0


def has_mpi_library(environ: Mapping[str, str]) -> bool:
    """Whether the loader finds the MPI library that TensorRT-LLM is linked with."""
    folders = environ.get("LD_LIBRARY_PATH", "").split(":")
    return any((Path(each) / MPI_LIBRARY).exists() for each in folders if each) or (
        ctypes.util.find_library("mpi") or ""
    ).startswith(MPI_LIBRARY)


def checks_of(
    recipe: Recipe, lists: tuple[RequirementList, ...], python: Python | Failure, where: Where, around: Surroundings
) -> tuple[Check, ...]:
    """All that is looked at, in the order in which it is told; without a Python what does not depend on it."""
    if isinstance(python, Failure):
        found = [Check("Python", "blocked", f"{python.what} Seen: {python.evidence}.", python.fix)]
    else:
        found = [Check("Python", "ok", f"{python.version}, {python.origin}: {python.path}"), _glibc(python)]
    found.append(_disk(recipe, where, around))
    if not where.wheels:
        found.append(_network(where, around))
    elif not isinstance(python, Failure):
        found.append(_wheels(recipe.name, lists, python, where.wheels))
    if recipe.own_index and where.wheels is None:
        found.append(_own_index(recipe, where, around))
    if recipe.needs_gpu:
        found += [_gpu(around), _driver(around), _mpi(around), _cuda(around)]
    return tuple(found)


def refuse(checks: tuple[Check, ...], title: str) -> None:
    """Raises BlockedError when one of the checks says that it cannot work."""
    blocked = [check for check in checks if check.state == "blocked"]
    if blocked:
        raise BlockedError(
            f"{title} cannot be installed here.",
            evidence="; ".join(f"{check.name}: {check.text}" for check in blocked),
            fix=" ".join(dict.fromkeys(check.fix for check in blocked if check.fix)),
            code="install-blocked",
        )


def _glibc(python: Python) -> Check:
    if python.glibc >= OLDEST_GLIBC:
        return Check("C library", "ok", f"glibc {python.glibc[0]}.{python.glibc[1]}")
    found = f"glibc {python.glibc[0]}.{python.glibc[1]}" if python.glibc[0] else "not glibc"
    wanted = f"glibc {OLDEST_GLIBC[0]}.{OLDEST_GLIBC[1]} or newer"
    return Check("C library", "blocked", f"{found}; the packages want {wanted}.", "Use a newer system, or a container.")


def _disk(recipe: Recipe, where: Where, around: Surroundings) -> Check:
    """The wheels are on the disk beside the environment while it is made, unless they are in a folder already."""
    downloads = recipe.wheels if where.wheels is None else None
    low = recipe.installed.low + (downloads.low if downloads else 0)
    high = recipe.installed.high + (downloads.high if downloads else 0)
    text = (
        f"{format_bytes(around.free_bytes)} free; {format_bytes(low)} to {format_bytes(high)} are taken while it is "
        f"made, {format_bytes(recipe.installed.low)} to {format_bytes(recipe.installed.high)} after it."
    )
    detail = f"{recipe.installed.formula}; {recipe.installed.source}"
    if around.free_bytes < low:
        return Check("disk", "blocked", text, "Free space, or set WORKBENCH_HOME to a larger disk.", detail)
    if around.free_bytes < high:
        return Check("disk", "warn", text, "It may not be enough.", detail)
    return Check("disk", "ok", text, detail=detail)


def _network(where: Where, around: Surroundings) -> Check:
    fix = "Give a folder of wheels: `workbench toolchain bundle` fills one on a machine with a network."
    if where.offline:
        return Check("packages", "blocked", where.offline, fix)
    offline = offline_words(around.network)
    if offline and not where.index:
        return Check("packages", "blocked", offline, fix)
    index = where.index or ", ".join(around.network["indexes"]) or "pip's own"
    return Check("packages", "ok", f"from the package index ({without_password(index)})")


def _own_index(recipe: Recipe, where: Where, around: Surroundings) -> Check:
    given = (*where.extra_indexes, *([where.index] if where.index else []), *around.network["indexes"])
    if given:
        text = (
            f"{recipe.own_index} is looked for at the package indexes given, which were not asked whether they have it."
        )
        return Check("CUDA 13 packages", "warn", text)
    return Check(
        "CUDA 13 packages",
        "blocked",
        f"{recipe.own_index} is not on the usual package index.",
        "Give the index of PyTorch's CUDA 13.0 builds by --extra-index, or as network.extra_package_indexes in the "
        "settings.",
    )


def _wheels(toolchain: str, lists: tuple[RequirementList, ...], python: Python, folder: Path) -> Check:
    name = "wheels"
    fix = (
        "Fill it on a machine with a network: `workbench toolchain bundle "
        f"{toolchain} --out FOLDER --python-version {python.short}`."
    )
    try:
        needed = needed_from(lists, python, folder)
        broken = _of_other_size(folder, needed)
    except WorkbenchError as error:
        return Check(name, "blocked", f"{error.what} {error.evidence}.", error.fix)
    if not wheels_in(folder):
        return Check(name, "blocked", f"There are no wheels in {folder}.", fix)
    if needed.missing:
        some = ", ".join(needed.missing[:8]) + (" …" if len(needed.missing) > 8 else "")
        text = f"{folder} lacks {len(needed.missing)} for Python {python.short}: {some}."
        return Check(name, "blocked", text, fix)
    if broken:
        return Check(name, "blocked", f"Damaged, by their size: {', '.join(broken)}.", "Copy them again.")
    text = f"{len(needed.wheels)} of {format_bytes(needed.bytes)} in {folder}, all that Python {python.short} needs"
    return Check(name, "ok", text)


def needed_from(lists: tuple[RequirementList, ...], python: Python, folder: Path) -> Needed:
    """Which wheels of a folder are needed, and what is missing. Raises BadInputError."""
    wheels: dict[str, Any] = {}
    missing: dict[str, None] = {}
    for each in lists:
        pins = read_pins(each.lock, python.interpreter) if each.lock is not None else {}
        needed = needed_wheels(requirement_lines(each.file), pins, wheels_in(folder), python.interpreter)
        wheels.update({wheel.path.name: wheel for wheel in needed.wheels})
        missing.update(dict.fromkeys(needed.missing))
    return Needed(tuple(wheels.values()), tuple(missing))


def _of_other_size(folder: Path, needed: Needed) -> list[str]:
    """Names of wheels that are not as large as the folder's manifest says; hashes are compared by the job."""
    try:
        rows = json.loads((folder / "manifest.json").read_text("utf-8"))["wheels"]
        return [
            wheel.path.name
            for wheel in needed.wheels
            if wheel.path.name in rows and rows[wheel.path.name]["bytes"] != wheel.path.stat().st_size
        ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(
            "The manifest of the wheels cannot be read.",
            evidence=f"{folder / 'manifest.json'}: {error}",
            fix="Copy the whole folder again.",
            code="bad-manifest",
        ) from None


def _gpu(around: Surroundings) -> Check:
    gpus = around.gpus["found"]
    if gpus:
        return Check("GPU", "ok", ", ".join(gpu["name"] for gpu in gpus))
    text = "No NVIDIA GPU: it can be installed, but engines can be neither built nor run here."
    return Check("GPU", "warn", text)


def _driver(around: Surroundings) -> Check:
    driver = str(around.gpus["driver"] or "")
    if not driver:
        return Check("driver", "warn", "No NVIDIA driver answers.", f"CUDA 13 wants driver {NEEDED_DRIVER} or newer.")
    first = driver.split(".")[0]
    if first.isdigit() and int(first) < NEEDED_DRIVER:
        text = f"Driver {driver} is older than {NEEDED_DRIVER}, which CUDA 13 wants."
        return Check("driver", "warn", text, "Update it; on data-centre GPUs the package cuda-compat-13 serves, too.")
    return Check("driver", "ok", driver)


def _mpi(around: Surroundings) -> Check:
    if around.mpi_library:
        return Check("MPI", "ok", MPI_LIBRARY)
    return Check("MPI", "blocked", f"{MPI_LIBRARY} is not found; TensorRT-LLM loads it even for one GPU.", MPI_FIX)


def _cuda(around: Surroundings) -> Check:
    if around.cuda and around.environ.get("CUDA_HOME"):
        return Check("CUDA toolkit", "ok", f"{around.cuda['version'] or 'version not reported'}, {around.cuda['path']}")
    there = f"A toolkit is at {around.cuda['path']}, and CUDA_HOME does not name it" if around.cuda else "None is found"
    return Check("CUDA toolkit", "warn", f"{there}; some kernels are compiled when they are first used.",
                 "Set CUDA_HOME to a CUDA 13 toolkit.")  # fmt: skip

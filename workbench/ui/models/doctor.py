"""The doctor's report as rows for the window: what is there, its state, and its fix."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from workbench.core.home import Home
from workbench.core.host import read_host
from workbench.core.units import format_bytes
from workbench.jobs.client import all_jobs
from workbench.store.report import store_problems, store_report
from workbench.store.store import Store
from workbench.toolchains import get
from workbench.toolchains.base import Package
from workbench.toolchains.doctor import (
    GPU_FREE,
    MPI_FIX,
    MPI_LACKS,
    OFFLINE_FIX,
    is_meant,
    lacks,
    machine_problems,
    machine_report,
    network_words,
    remark,
    report_words,
)
from workbench.toolchains.looks import look_at
from workbench.toolchains.surroundings import offline_words
from workbench.toolchains.targets import find_target

State = Literal["ok", "warn", "err", "none"]
"""`none`: it is not here, and nothing needs it."""
GROUPS = ("GPU and driver", "Toolchains", "Other machines", "Around them", "Memory and disk", "Store")
_TIGHT_MEMORY = 0.1


@dataclass(frozen=True)
class PackageRow:
    """One distribution: the version found (empty: absent) and what is wanted, in words."""

    name: str
    found: str
    wanted: str
    state: State
    problem: str = ""


@dataclass(frozen=True)
class DoctorRow:
    group: str
    name: str
    state: State
    text: str
    place: str = ""
    """Folder or interpreter."""
    what: str = ""
    """The problem in a sentence; empty: there is none."""
    fix: str = ""
    packages: tuple[PackageRow, ...] = ()
    details: tuple[str, ...] = ()
    toolchain: str = ""
    """Name of the toolchain or part that the row is about; empty for other rows."""
    environment: str = ""
    """Name of the environment that the workbench made, by which it is uninstalled; empty: it is another one."""
    target: str = ""
    """Name of the target that the row is about; empty for other rows."""


@dataclass(frozen=True)
class DoctorRows:
    rows: tuple[DoctorRow, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()
    report: str = ""
    """As text, to be copied."""
    checked_at: float = 0.0
    """Seconds since the epoch; 0: not yet."""
    imported: bool = False
    offline: str = ""
    """Why packages cannot be had from an index, in a sentence; empty: they can, as far as is known."""

    def count(self, *states: State) -> int:
        return sum(row.state in states for row in self.rows)

    @property
    def usable(self) -> tuple[str, ...]:
        """Toolchains that can be used here to build engines."""
        ready = [row for row in self.rows if row.group == "Toolchains" and row.state == "ok"]
        return tuple(dict.fromkeys(row.name for row in ready if row.toolchain != "endpoint"))


def read_doctor(home: Home, *, imports: bool = False) -> DoctorRows:
    """Look at everything. Takes seconds, with `imports` minutes: never call it on the GUI thread."""
    home.make()
    report = machine_report(home, read_host(), os.environ, imports=imports)
    with Store.open(home) as store:
        report["store"] = store_report(store, all_jobs(home))
    problems = machine_problems(report) + store_problems(report["store"])
    rows = (
        *_gpus(report["gpus"]),
        *_toolchains(report["toolchains"], report["gpus"]),
        *_targets(report["targets"]),
        *_surroundings(report),
        *_settings(report),
        *_machine(report, problems),
        *_store(report),
    )
    return DoctorRows(
        rows,
        tuple((each["what"], each["fix"]) for each in problems),
        "\n".join(report_words(report, problems)),
        time.time(),
        imports,
        offline_words(report["network"]),
    )


def _gpus(gpus: Mapping[str, Any]) -> Iterator[DoctorRow]:
    group = GROUPS[0]
    if not gpus["found"]:
        yield DoctorRow(
            group,
            "NVIDIA GPU",
            "none",
            f"none here; {GPU_FREE}",
            details=(str(gpus["problem"] or "the driver reports no device"),),
            fix="For TensorRT-LLM engines: a GPU of compute capability 8.0 or newer and NVIDIA's driver.",
        )
        return
    for gpu in gpus["found"]:
        text = f"{format_bytes(gpu['memory_bytes'])}, compute capability {gpu['compute_capability']}"
        yield DoctorRow(group, f"{gpu['name']} ({gpu['index']})", "ok", text)
    cuda = f"CUDA up to {gpus['cuda']}" if gpus["cuda"] else "CUDA version not reported"
    yield DoctorRow(group, "Driver", "ok", f"{gpus['driver'] or 'not reported'}, {cuda}")


def _toolchains(found: list[dict[str, Any]], gpus: Mapping[str, Any]) -> Iterator[DoctorRow]:
    for toolchain in found:
        packages = _packages_of(toolchain)
        for row in toolchain["environments"]:
            meant = is_meant(toolchain, row)
            if not meant and not row["usable"] and len(toolchain["environments"]) > 1:
                continue  # the workbench's own interpreter, of which nobody thought
            state: State = "ok" if row["usable"] else "err" if meant else "none"
            yield _environment(toolchain, row, packages, state, gpus)


def _targets(found: list[dict[str, Any]]) -> Iterator[DoctorRow]:
    for row in found:
        problem = row["problems"][0] if row["problems"] else None
        never = row["looked_at"] is None
        when = "" if never else f"looked at {time.strftime('%d %b %H:%M', time.localtime(row['looked_at']))}"
        yield DoctorRow(
            "Other machines",
            row["name"],
            "warn" if problem else "none" if never else "ok",
            problem["what"] if problem else "never looked at" if never else row["summary"],
            place=row["what"],
            what=problem["evidence"] if problem else "",
            fix=problem["fix"] if problem else "",
            details=tuple(text for text in (when, *row["details"]) if text),
            target=row["name"] if row["what"] else "",
        )


def look_at_target(home: Home, name: str) -> None:
    """Ask a target now; what it found is kept and is in the next report. Raises BadInputError."""
    look_at(home, find_target(home, name))


def _packages_of(toolchain: Mapping[str, Any]) -> tuple[Package, ...]:
    whole = get(toolchain["part_of"] or toolchain["name"])
    if not toolchain["part_of"]:
        return whole.packages
    return next((part.packages for part in whole.parts if part.name == toolchain["name"]), ())


def _environment(
    toolchain: Mapping[str, Any],
    row: Mapping[str, Any],
    packages: tuple[Package, ...],
    state: State,
    gpus: Mapping[str, Any],
) -> DoctorRow:
    python = row["versions"].get("python", "")
    imports = row["imports"]
    words = [f"Python {python}" if python else "Python not reported"]
    if state == "ok":
        main = next((p.name for p in packages if p.required and p.name in row["versions"]), "")
        if main:
            words.insert(0, f"{main} {row['versions'][main]}")
        words.append("imports" if imports is not None else "import not checked")
    text = ", ".join(words) if state == "ok" else "not installed" if state == "none" else lacks(row)
    details = [row["origin"]] + ([toolchain["note"]] if toolchain["note"] else [])
    if row["mpi"]:
        details.append("MPI: " + (", ".join(f"{k} {v}" for k, v in row["mpi"].items() if v) or "none"))
    details += [known] if (known := remark(toolchain, row, gpus)) else []
    return DoctorRow(
        GROUPS[1],
        toolchain["title"],
        state,
        text,
        place=row["interpreter"],
        what=lacks(row) if state == "err" else "",
        fix="" if state == "ok" else row["fix"] or toolchain["install"],
        packages=tuple(_package(package, row, meant=state != "none") for package in packages)
        if row["versions"]
        else (),
        details=tuple(details),
        toolchain=toolchain["name"],
        environment=row["name"],
    )


def _package(package: Package, row: Mapping[str, Any], *, meant: bool) -> PackageRow:
    found = row["versions"].get(package.name, "")
    wanted = "required" if package.required else "optional"
    if package.oldest:
        wanted = ".".join(map(str, package.oldest)) + " or newer"
    if package.newest:
        newest = ".".join(map(str, package.newest)) + ".x"
        oldest = package.oldest[: len(package.newest)]
        wanted = newest if oldest == package.newest else f"{newest} or older"
        if oldest and oldest != package.newest:
            wanted = f"{'.'.join(map(str, package.oldest))} to {newest}"
    broken = (row["imports"] or {}).get(package.name, "")
    if broken or (found and f"has {package.name} {found}" in row["problem"]):
        return PackageRow(package.name, found, wanted, "err", broken or row["problem"])
    state: State = "ok" if found else "err" if package.required and meant else "none"
    return PackageRow(package.name, found, wanted, state)


def _surroundings(report: Mapping[str, Any]) -> Iterator[DoctorRow]:
    group, gpu = GROUPS[3], bool(report["gpus"]["found"])
    toolkit, mpi, network = report["cuda_toolkit"], report["mpi"], report["network"]
    yield DoctorRow(
        group,
        "CUDA toolkit",
        "ok" if toolkit else "none",
        (toolkit["version"] or "version not reported") if toolkit else "not installed; the toolchains bring their own",
        place=toolkit["path"] if toolkit else "",
    )
    lacks_mpi = gpu and not mpi["mpirun"]
    yield DoctorRow(
        group,
        "MPI",
        "ok" if mpi["mpirun"] else "warn" if gpu else "none",
        (mpi["version"] or "version not reported") if mpi["mpirun"] else "no mpirun",
        place=mpi["mpirun"],
        what=f"There is no mpirun. {MPI_LACKS}" if lacks_mpi else "",
        fix="" if mpi["mpirun"] else MPI_FIX,
    )
    offline = offline_words(network)
    unknown = "not asked whether the package index answers"
    if network["route"]:
        unknown = "there is a way out; the package index was not asked"
    answers = {True: "the package index answers", False: "the package index does not answer"}
    yield DoctorRow(
        group,
        "Network",
        "warn" if offline else "ok" if network["reached"] or network["route"] else "none",
        offline or answers.get(network["reached"], unknown),
        what=offline,
        fix=OFFLINE_FIX if offline else "",
        details=tuple(network_words(network).rstrip(".").split("; ")),
    )


def _settings(report: Mapping[str, Any]) -> Iterator[DoctorRow]:
    """A row where something is wrong in a file of settings."""
    if wrong := report.get("settings"):
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        yield DoctorRow(
            GROUPS[3], "Settings", "warn", f"{wrong[0]['what']}{more}", what=wrong[0]["what"], fix=wrong[0]["fix"],
            details=tuple(problem["what"] for problem in wrong[1:]),
        )  # fmt: skip


def _machine(report: Mapping[str, Any], problems: list[dict[str, str]]) -> Iterator[DoctorRow]:
    host, disk = report["host"], report["disk"]
    free, total = host["memory_available_bytes"], host["memory_total_bytes"]
    tight = free is not None and free < _TIGHT_MEMORY * total
    yield DoctorRow(
        GROUPS[4],
        "Host memory",
        "warn" if tight else "ok",
        f"{format_bytes(free) if free is not None else 'not reported'} free of {format_bytes(total)}",
        what="Little memory is free; a build may be stopped by the system." if tight else "",
        fix="Close other programs before a build." if tight else "",
    )
    low = next((p for p in problems if p["what"].startswith("Only ") and disk["path"] in p["what"]), None)
    yield DoctorRow(
        GROUPS[4],
        "Disk",
        "err" if low else "ok",
        f"{format_bytes(disk['free_bytes'])} free of {format_bytes(disk['total_bytes'])}",
        place=disk["path"],
        what=low["what"] if low else "",
        fix=low["fix"] if low else "",
    )
    isa = ", ".join(host["isa"]) or "not reported"
    yield DoctorRow(
        GROUPS[4],
        "CPU",
        "ok",
        f"{host['cpu_name']}, {host['usable_cores']} cores",
        details=(f"Instruction sets: {isa}",),
    )


def _store(report: Mapping[str, Any]) -> Iterator[DoctorRow]:
    store = report["store"]
    newer = store["newer"]
    yield DoctorRow(
        GROUPS[5],
        "Store",
        "err" if newer else "warn" if store["notice"] else "ok",
        f"{store['artifacts']} artefacts, {store['jobs']} jobs" + (", read only" if newer else ""),
        place=report["home"],
        what=newer["what"] if newer else store["notice"],
        fix=newer["fix"] if newer else "",
    )
    for problem in store_problems({**store, "newer": None}):
        lost = problem["what"].endswith("lost files.")
        yield DoctorRow(
            GROUPS[5],
            "Artefact" if lost else "Job",
            "err" if lost else "warn",
            problem["what"],
            what=problem["what"],
            fix=problem["fix"],
        )


__all__ = ["GROUPS", "DoctorRow", "DoctorRows", "PackageRow", "read_doctor"]

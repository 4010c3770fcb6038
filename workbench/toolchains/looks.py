"""What targets are: another machine's CPU, memory, GPUs, disk and interpreters, as it said when it was last looked at.

Asked by a program of its own (workbench.remote.look), since only that knows SSH and Slurm; the answer is kept in the
cache, so that plans can be made without asking at each keystroke.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench.core.errors import BadInputError, BlockedError, Failure
from workbench.core.gpu import GpuSpec, find_gpu
from workbench.core.home import Home
from workbench.core.host import HostSpec, host_of
from workbench.core.target import Target
from workbench.toolchains import all_names, get
from workbench.toolchains.code import package_root

FRESH_SECONDS = 600.0
"""How long a look is taken as it was: packages change seldom, GPUs never while a build is planned."""
OLDEST_PYTHON = (3, 10)
_SECONDS = 200.0
_ALLOCATION_SECONDS = 960.0


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class PythonThere(_Frozen):
    """An interpreter of a target."""

    executable: str
    versions: dict[str, str] = Field(default_factory=dict)
    problem: str = ""
    """Why it cannot be used; empty: it can."""


class Partition(_Frozen):
    """What sinfo says of a partition."""

    name: str
    state: str = ""
    time_limit: str = ""
    nodes: int | None = None
    cpus: int | None = None
    memory_bytes: int | None = None
    gres: str = ""


class TargetLook(_Frozen):
    """A target as it was when it was looked at. None is "not reported"."""

    at: float
    """Seconds since the epoch."""
    of: str
    """Which description of the target it belongs to."""
    seconds: float = 0.0
    failure: Failure | None = None
    """Why it could not be looked at."""
    python: str = ""
    host: HostSpec | None = None
    gpus: tuple[GpuSpec, ...] = ()
    gpu_problem: str = ""
    driver: str = ""
    rsync: str = ""
    folder_free_bytes: int | None = None
    folder_problem: str = ""
    home_seen: bool | None = None
    pythons: dict[str, PythonThere] = Field(default_factory=dict)
    """Toolchain or part -> its interpreter there."""
    slurm: str = ""
    """Version; empty: none, or not asked for."""
    partition: Partition | None = None
    slurm_problem: str = ""
    allocated: bool = False
    """Of a Slurm target: host and GPUs are those of a node that was allocated; else of the login host, and by sinfo."""

    def problems(self, target: Target) -> list[Failure]:
        """What keeps steps from running there, each with its fix; packages apart."""
        if self.failure is not None:
            return [self.failure]
        found = []
        if self.folder_problem:
            found.append(
                Failure(
                    code="folder-there",
                    what=f"The folder on {target.name} cannot be used.",
                    evidence=self.folder_problem,
                    fix=f"Choose another: workbench target change {target.name} --folder /path",
                )
            )
        if target.shared and self.home_seen is False:
            found.append(
                Failure(
                    code="not-shared",
                    what=f"The home is not seen on {target.name} under the same name.",
                    evidence="the target says that it is shared",
                    fix="Mount it there, or set WORKBENCH_HOME to a folder that both see; or give the target a folder "
                    f"of its own: workbench target change {target.name} --no-shared --folder /path",
                )
            )
        if target.kind == "ssh" and not target.shared and not self.rsync:
            found.append(
                Failure(
                    code="no-rsync-there",
                    what=f"There is no rsync on {target.name}.",
                    evidence="rsync --version",
                    fix="Install it there.",
                )
            )
        if self.slurm_problem:
            found.append(
                Failure(
                    code="no-slurm",
                    what=f"Slurm cannot be used on {target.name}.",
                    evidence=self.slurm_problem,
                    fix="See whether sbatch and sinfo work there, and how the partition is called.",
                )
            )
        return found


def digest_of_target(target: Target) -> str:
    """Stands for all that a target's file says."""
    return hashlib.sha256(target.model_dump_json().encode()).hexdigest()[:16]


def told_target(home: Home, target: Target) -> Target:
    """The target as other programs are told of it: one that shares the home works in a folder of it."""
    if target.shared and not target.folder:
        return target.model_copy(update={"folder": str(home.root / "far")})
    return target


def last_look(home: Home, target: Target) -> TargetLook | None:
    """The newest look at the target as it is described now; None: there was none."""
    try:
        look = TargetLook.model_validate_json((home.cache / "targets" / f"{target.name}.json").read_bytes())
    except (OSError, ValidationError):
        return None
    return look if look.of == digest_of_target(target) else None


def fresh_look(home: Home, target: Target, *, seconds: float = FRESH_SECONDS) -> TargetLook:
    """The last look if it is young and found no trouble, else a new one.

    Raises BlockedError when the target cannot be used.
    """
    look = last_look(home, target)
    if look is None or look.failure is not None or not 0 <= time.time() - look.at < seconds:
        look = look_at(home, target)
    problems = look.problems(target)
    if problems:
        first = problems[0]
        raise BlockedError(first.what, evidence=first.evidence, fix=first.fix, code=first.code)
    return look


def look_at(home: Home, target: Target, *, allocate: bool = False) -> TargetLook:
    """Ask it now; takes from a second to minutes. A target that does not answer is an answer, with the reason.

    `allocate`: of a Slurm target, ask a node that it gives, which may have to be waited for.
    """
    began = time.monotonic()
    question = {
        "folder": told_target(home, target).folder,
        "pythons": {name: target.python_of(name) for name in (*parts(), "default")},
        "packages": sorted({package for names in parts().values() for package in names}),
        "home": str(home.root) if target.shared else "",
        "slurm": target.kind == "slurm",
        "partition": target.partition,
        "allocate": allocate and target.kind == "slurm",
    }
    seconds = _ALLOCATION_SECONDS if question["allocate"] else _SECONDS
    base = TargetLook(at=time.time(), of=digest_of_target(target))
    try:
        answer = ask_target(home, target, "machine", question, seconds=seconds)
        look = _read(base, answer, target, allocated=bool(question["allocate"]))
    except BadInputError as error:
        look = base.model_copy(update={"failure": error.failure})
    except (ValueError, TypeError, KeyError) as error:
        failure = Failure(
            code="rubbish", what=f"{target.name} gave an answer that cannot be read.", evidence=str(error)
        )
        look = base.model_copy(update={"failure": failure})
    look = look.model_copy(update={"seconds": round(time.monotonic() - began, 2)})
    _keep(home, target, look)
    return look


def ask_target(home: Home, target: Target, what: str, question: Mapping[str, Any], *, seconds: float = _SECONDS) -> Any:
    """An answer of `workbench.remote.look`. Raises BadInputError with the failure in words."""
    argv = [sys.executable, "-m", "workbench.remote.look", what]
    argv += ["--target", told_target(home, target).model_dump_json(exclude_defaults=True)]
    try:
        done = subprocess.run(
            argv,
            input=json.dumps(dict(question)),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            cwd="/",
            env={**os.environ, "PYTHONPATH": str(package_root())},
            check=False,
        )
        said = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise BadInputError(
            f"{target.name} does not answer.",
            evidence=f"no answer within {seconds:g} s",
            fix="Try again; `ssh` by hand may show more.",
            code="timed-out",
        ) from None
    except (OSError, ValueError) as error:
        raise BadInputError(
            f"{target.name} could not be asked.", evidence=str(error)[:300], code="not-asked"
        ) from error
    if "failure" in said:
        failure = Failure.model_validate(said["failure"])
        raise BadInputError(failure.what, evidence=failure.evidence, fix=failure.fix, code=failure.code)
    return said["answer"]


def parts() -> dict[str, tuple[str, ...]]:
    """Toolchain or part that runs there -> the packages that it is looked at for."""
    found = {}
    for name in all_names():
        if name != "endpoint":
            toolchain = get(name)
            found[toolchain.name] = tuple(package.name for package in toolchain.packages)
            for wanted in toolchain.parts:
                found[wanted.name] = tuple(package.name for package in wanted.packages)
    return found


def _read(base: TargetLook, answer: Mapping[str, Any], target: Target, *, allocated: bool) -> TargetLook:
    folder = answer.get("folder") or {}
    slurm = answer.get("slurm") or {}
    partition = _partition(slurm.get("partitions") or ())
    host = host_of(answer["host"])
    gpus, driver = _gpus(answer["gpus"]["rows"])
    problem = str(answer["gpus"]["problem"])
    if target.kind == "slurm" and not allocated:
        if partition is not None:
            host = _node(host, partition)
            gpus, problem = gpus_of_gres(partition.gres)
        driver = ""
    return base.model_copy(
        update={
            "python": str(answer["python"]),
            "host": host,
            "gpus": gpus,
            "gpu_problem": "" if gpus else problem,
            "driver": driver,
            "rsync": str(answer.get("rsync") or ""),
            "folder_free_bytes": folder.get("free_bytes"),
            "folder_problem": str(folder.get("problem") or ""),
            "home_seen": answer.get("home_seen"),
            "pythons": {name: _python(name, found) for name, found in dict(answer["pythons"]).items()},
            "slurm": str(slurm.get("version") or ""),
            "partition": partition,
            "slurm_problem": _slurm_problem(slurm, partition, target) if target.kind == "slurm" else "",
            "allocated": allocated,
        }
    )


def _python(part: str, found: Mapping[str, Any]) -> PythonThere:
    wanted = ("python", *parts().get(part, ()))
    versions = {name: str(version) for name, version in dict(found["versions"]).items() if name in wanted}
    problem = str(found.get("problem") or "")
    numbers = tuple(int(part) for part in re.findall(r"\d+", versions.get("python", ""))[:2])
    if not problem and numbers < OLDEST_PYTHON:
        problem = f"is Python {versions.get('python') or 'unknown'}; workers need 3.10 or newer"
    return PythonThere(executable=str(found["executable"]), versions=versions, problem=problem)


def _gpus(rows: Iterable[Mapping[str, str]]) -> tuple[tuple[GpuSpec, ...], str]:
    """GPUs by nvidia-smi's rows, and the driver's version. Rows without what every board has are left out."""
    found, driver = [], ""
    for row in rows:
        try:
            major, minor = row["compute_cap"].split(".")
            known = _known(row["name"])
            found.append(
                GpuSpec(
                    name=known.name if known else row["name"],
                    compute_capability=(int(major), int(minor)),
                    memory_bytes=int(row["memory.total"]) * 2**20,
                    memory_bandwidth_gb_s=known.memory_bandwidth_gb_s if known else None,
                    nvlink=known.nvlink if known else None,
                    index=int(row["index"]),
                    uuid=row["uuid"] or None,
                    drives_display={"Enabled": True, "Disabled": False}.get(row["display_active"]),
                    memory_used_bytes=int(row["memory.used"]) * 2**20 if row["memory.used"].isdigit() else None,
                )
            )
            driver = row["driver_version"]
        except (KeyError, ValueError):
            continue
    return tuple(found), driver


def _known(name: str) -> GpuSpec | None:
    try:
        return find_gpu(name)
    except BadInputError:
        return None


def gpus_of_gres(gres: str) -> tuple[tuple[GpuSpec, ...], str]:
    """GPUs of a node by sinfo's `gpu:h100:8(S:0-1)`, as the catalogue has them; and why there are none."""
    found = re.search(r"gpu:(?:([A-Za-z][\w.-]*):)?(\d+)", gres)
    if found is None:
        return (), "the partition has no GPUs"
    kind, count = found[1] or "", int(found[2])
    known = _known(kind.replace("_", " ").replace("-", " ")) if kind else None
    if known is None:
        named = f"of a kind that is not known, {kind}" if kind else "whose kind Slurm does not tell"
        return (), f"the partition has {count} GPUs {named}: look at a node by `workbench target test --allocate`"
    return tuple(known.model_copy(update={"index": index}) for index in range(count)), ""


def _partition(rows: Iterable[Mapping[str, str]]) -> Partition | None:
    """The first that is up, the default one (`name*`) before others."""
    ordered = sorted(rows, key=lambda row: (not row["name"].endswith("*"), row["state"] != "up"))
    if not ordered:
        return None
    row = ordered[0]
    number = re.compile(r"\d+")

    def first(name: str) -> int | None:
        match = number.search(row[name])
        return int(match[0]) if match else None

    memory = first("memory_mb")
    return Partition(
        name=row["name"].rstrip("*"),
        state=row["state"],
        time_limit=row["time_limit"],
        nodes=first("nodes"),
        cpus=first("cpus"),
        memory_bytes=memory * 2**20 if memory and memory > 1 else None,
        gres="" if row["gres"] == "(null)" else row["gres"],
    )


def _slurm_problem(slurm: Mapping[str, Any], partition: Partition | None, target: Target) -> str:
    if slurm.get("problem"):
        return str(slurm["problem"])
    if partition is None:
        return f"sinfo knows no partition {target.partition}" if target.partition else "sinfo lists no partition"
    return "" if partition.state in ("up", "") else f"partition {partition.name} is {partition.state}"


def _node(host: HostSpec, partition: Partition) -> HostSpec:
    """The login host with a node's cores and memory, as far as sinfo tells."""
    update: dict[str, Any] = {"memory_available_bytes": None}
    if partition.memory_bytes:
        update["memory_total_bytes"] = partition.memory_bytes
    if partition.cpus:
        update |= {"logical_cores": partition.cpus, "usable_cores": partition.cpus, "physical_cores": None}
    return host.model_copy(update=update)


def _keep(home: Home, target: Target, look: TargetLook) -> None:
    path: Path = home.cache / "targets" / f"{target.name}.json"
    temporary = path.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary.write_text(look.model_dump_json(), "utf-8")
        temporary.replace(path)
    except OSError:
        return  # it is asked again next time

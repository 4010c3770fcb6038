"""Argv of a worker in another place: what a container must be given to see, and what SSH passes on.

No shell string is made here, but SSH makes one: it joins the words it is given with spaces for the other machine's
shell, so each is quoted for it.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from workbench.core.target import Target

Place = Literal["here", "container", "remote"]

CONTAINER_PROGRAMS = ("docker", "podman", "nerdctl")
REMOTE_PROGRAMS = ("ssh", "srun")
PARENT_VARIABLE = "WORKBENCH_PARENT_PID"
"""By this a worker knows who started it (workers/protocol.py); behind other programs it would be the wrong one."""


def place_of(prefix: Sequence[str]) -> Place:
    """Where the interpreter at the end of `prefix` runs, told by the prefix's program."""
    program = Path(prefix[0]).name if prefix else ""
    if len(prefix) > 1 and program in CONTAINER_PROGRAMS:
        return "container"
    return "remote" if len(prefix) > 1 and program in REMOTE_PROGRAMS else "here"


def worker_argv(
    prefix: Sequence[str],
    module: str,
    *,
    variables: Mapping[str, str],
    paths: Iterable[Path] = (),
    user: tuple[int, int] | None = None,
) -> tuple[str, ...]:
    """`prefix` with what starts `python -m module` in it.

    `variables` reach the worker wherever it runs, `paths` are mounted in a container under their own names, and
    `user` (uid, gid; None: this process's) owns what it writes there.
    """
    place = place_of(prefix)
    start = ("-m", module)
    if place == "container":
        return _in_container(prefix, start, variables, paths, user or (os.getuid(), os.getgid()))
    if place == "here" and len(prefix) == 1:
        return (*prefix, *start)  # the starter gives it its variables
    own = ("env", "-u", PARENT_VARIABLE, *(f"{name}={value}" for name, value in variables.items()), prefix[-1], *start)
    if Path(prefix[0]).name != "ssh":
        return (*prefix[:-1], *own)
    # Without a terminal a question for a password would hang for ever.
    asks = () if any("BatchMode" in word for word in prefix) else ("-o", "BatchMode=yes")
    return (prefix[0], *asks, *prefix[1:-1], *(shlex.quote(word) for word in own))


RELAY = "workbench.remote.relay"


def relay_argv(target: Target, python: str, module: str, *, variables: Mapping[str, str], code: str) -> tuple[str, ...]:
    """What runs a worker on another machine: the relay, here, which speaks for it as if it were the worker.

    `python`: the interpreter there; `variables` reach the worker; `code`: the folder of the workers' files here.
    """
    given = {name: value for name, value in variables.items() if name != "PYTHONPATH"}
    options: list[str] = []
    if target.kind == "slurm" and "CUDA_VISIBLE_DEVICES" in given:
        # The scheduler says which GPUs they are; it is told how many, and a worker of the CPU sees none.
        count = len([word for word in given["CUDA_VISIBLE_DEVICES"].split(",") if word])
        options += ["--gpus", str(count)]
        if count:
            del given["CUDA_VISIBLE_DEVICES"]
    options += [word for name, value in sorted(given.items()) for word in ("--env", f"{name}={value}")]
    if module.rpartition(".")[2] == "host":
        options.append("--host")
    told = target.model_dump_json(exclude_defaults=True)
    own = (sys.executable, "-m", RELAY, "--target", told)
    return (*own, "--module", module, "--python", python, *options, "--code", code)


def _in_container(
    prefix: Sequence[str],
    start: Sequence[str],
    variables: Mapping[str, str],
    paths: Iterable[Path],
    user: tuple[int, int],
) -> tuple[str, ...]:
    at = prefix.index("run") + 1 if "run" in prefix else 1
    options: list[str] = []
    if Path(prefix[0]).name == "docker":
        if "--init" not in prefix:
            # The first process of a container ignores SIGTERM unless it handles it: so another is the first.
            options.append("--init")
        if user[0] != 0 and not any(word in ("-u", "--user") or word.startswith("--user=") for word in prefix):
            # Else all files it makes are root's. Such a user has no home and no name there.
            options += ["--user", f"{user[0]}:{user[1]}", "-e", "HOME=/tmp", "-e", "USER=workbench"]
    for name, value in variables.items():
        options += ["-e", f"{name}={value}"]
    options += _mounts(prefix, paths)
    return (*prefix[:at], *options, *prefix[at:], *start)


def _mounts(prefix: Sequence[str], paths: Iterable[Path]) -> list[str]:
    """`-v` for each folder that the prefix does not name itself, parents in place of what lies below them."""
    wanted = sorted({str(seen) for path in paths for seen in _seen_through(path) if str(seen) != "/"})
    outer = [p for p in wanted if not any(p != other and Path(p).is_relative_to(other) for other in wanted)]
    named = [word.split(":")[1] if word.count(":") else "" for word in prefix]
    return [word for p in outer if p not in named for word in ("-v", f"{p}:{p}")]


def _seen_through(path: Path) -> set[Path]:
    """The path, and the folders that links directly in it lead to: a hub's cache keeps weights beside its snapshots."""
    found = {path}
    try:
        with os.scandir(path) as entries:
            found |= {Path(entry.path).resolve().parent for entry in entries if entry.is_symlink()}
    except OSError:
        return found  # a file, or nothing there yet
    return found

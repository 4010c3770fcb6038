"""A target as the place of a build: its interpreters as environments, its host and GPUs in place of this machine's."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.core.advice import Advice
from workbench.core.home import Home
from workbench.core.host import read_host
from workbench.core.plan import Step
from workbench.core.target import Target
from workbench.core.units import format_bytes, format_duration
from workbench.toolchains import get, names
from workbench.toolchains.base import Environment, Toolchain
from workbench.toolchains.build_place import BuildPlace
from workbench.toolchains.code import staged_root
from workbench.toolchains.environments import Wanted, judged, look_at_prefix, look_at_python
from workbench.toolchains.gpus import detected_gpus
from workbench.toolchains.looks import TargetLook, fresh_look, last_look, told_target
from workbench.toolchains.places import RELAY
from workbench.toolchains.targets import find_target


def open_place(home: Home, name: str, *, ask: bool = True) -> BuildPlace:
    """The target of that name, looked at. `ask`: it is asked anew where the last look is old or told of trouble;
    else the last one is taken, whatever its age. Raises BadInputError, BlockedError in words.
    """
    target = find_target(home, name)
    if not target.is_remote:
        return BuildPlace(target, None, read_host(), detected_gpus())
    look = None if ask else last_look(home, target)
    if look is None or look.host is None:
        look = fresh_look(home, target)
    assert look.host is not None
    return BuildPlace(target, look, look.host, look.gpus)


def environments_at(toolchain: Toolchain, home: Home, place: BuildPlace) -> Environment:
    """The toolchain's interpreter there, with those of its further parts."""
    others = {part.name: _environment(part, home, place) for part in toolchain.parts}
    return replace(_environment(toolchain, home, place), others=others)


def _environment(wanted: Wanted, home: Home, place: BuildPlace) -> Environment:
    target, python = place.target, place.target.python_of(wanted.name)
    origin = f"of target {target.name}"
    if target.kind == "container":
        return look_at_prefix(wanted, (*target.command, python), home, origin)
    if target.kind == "here":
        return look_at_python(wanted, python, origin, home)
    assert place.look is not None
    found = place.look.pythons.get(wanted.name)
    environment = Environment(
        wanted.name,
        (found.executable if found is not None else python,),
        origin,
        worker_path=str(staged_root(home)),
        named=True,
        target=told_target(home, target),
    )
    if found is None or found.problem:
        return replace(environment, problem=found.problem if found is not None else "was not looked at")
    return judged(wanted, environment, found.versions)


def steps_at(steps: Sequence[Step], target: Target | None, *, anyway: bool = False) -> list[Step]:
    """The steps with the lanes of that machine (Slurm has a queue of its own, which does it better), and with what they
    write, for the look at its disk; not so with `anyway`."""
    if target is None or not target.is_remote:
        return list(steps)
    slurm = target.kind == "slurm"
    return [
        step.model_copy(
            update={
                "lanes": () if slurm else tuple(target.lane(lane) for lane in step.lanes),
                "argv": step.argv if anyway else with_room(step),
            }
        )
        for step in steps
    ]


def with_room(step: Step) -> tuple[str, ...]:
    """The relay's words with what the step will write, by the low end of its estimate, as disks are checked here."""
    written = step.estimate.disk_bytes
    if RELAY not in step.argv or written is None or step.output is None:
        return step.argv
    return (*step.argv, "--room", str(int(written.low)))


def room_there(place: BuildPlace, needed_bytes: float, model: Path) -> tuple[Advice, ...]:
    """What the target's disk and description say against a build that writes so much; the model is sent there too."""
    look, target = place.look, place.target
    if look is None:
        return ()
    found = []
    free = look.folder_free_bytes
    if free is not None and needed_bytes > free:
        found.append(
            Advice(
                code="disk-there",
                level="block",
                text=f"The disk of {target.name} has too little room for this build.",
                arithmetic=f"about {format_bytes(int(needed_bytes))} with the model {model.name}, "
                f"{format_bytes(free)} free at {target.folder or 'the home'}",
                fix=f"Free space there, or choose another folder: workbench target change {target.name} --folder /path",
                estimate_only=True,
            )
        )
    if target.kind == "slurm" and target.time_limit == "" and look.partition is not None:
        found.append(
            Advice(
                code="slurm-time",
                level="hint",
                text="The target sets no time limit: the partition's own holds for each step.",
                arithmetic=f"partition {look.partition.name}, at most {look.partition.time_limit}",
                fix=f"A short limit starts sooner: workbench target change {target.name} --time 2:00:00",
            )
        )
    return tuple(found)


def toolchain_rows(look: TargetLook) -> list[dict[str, Any]]:
    """Each toolchain and part of one: its interpreter there, whether it can be used, and what it lacks.

    Keys: name, title, python, versions, missing, problem, usable.
    """
    rows = []
    for name in names():
        toolchain = get(name)
        found: list[Wanted] = [toolchain, *toolchain.parts]
        for wanted in found:
            there = look.pythons.get(wanted.name)
            environment = Environment(wanted.name, (there.executable if there is not None else "",), "")
            if there is None or there.problem:
                environment = replace(environment, problem=there.problem if there is not None else "was not looked at")
            else:
                environment = judged(wanted, environment, there.versions)
            rows.append(
                {
                    "name": wanted.name,
                    "title": wanted.title,
                    "python": environment.prefix[0],
                    "versions": dict(there.versions) if there is not None else {},
                    "missing": environment.missing,
                    "problem": environment.problem,
                    "usable": environment.usable,
                }
            )
    return rows


def look_summary(target: Target, look: TargetLook | None) -> str:
    """What the last look found, in one line."""
    if look is None:
        return f"workbench target test {target.name}"
    problems = look.problems(target)
    if problems:
        return problems[0].what
    found = []
    if look.gpus:
        found.append(f"{len(look.gpus)} x {look.gpus[0].name}")
    if look.host is not None:
        found.append(f"{look.host.logical_cores} cores, {format_bytes(look.host.memory_total_bytes)}")
    if look.folder_free_bytes is not None:
        found.append(f"{format_bytes(look.folder_free_bytes)} free")
    usable = [row["title"] for row in toolchain_rows(look) if row["usable"]]
    found.append(", ".join(usable) if usable else "no toolchain")
    return "; ".join(found)


def look_words(target: Target, look: TargetLook) -> list[str]:
    """The whole look, for people, its problems last."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(look.at))
    lines = [f"{target.name}: {target.words}, looked at {when} in {format_duration(look.seconds)}"]
    if look.failure is not None:
        return [*lines, *(f"  {line}" for line in look.failure.lines())]
    lines += [f"  {line}" for line in fact_words(target, look)]
    for failure in look.problems(target):
        lines += [f"  problem: {line}" if i == 0 else f"    {line}" for i, line in enumerate(failure.lines())]
    return lines


def fact_words(target: Target, look: TargetLook) -> list[str]:
    """What was found, a line each; nothing where it could not be looked at."""
    host = look.host
    if host is None:
        return []
    memory = format_bytes(host.memory_total_bytes)
    lines = [f"{'host':<15} {host.cpu_name}, {host.logical_cores} cores, {memory}, {host.os}"]
    kinds = Counter(f"{gpu.name} ({format_bytes(gpu.memory_bytes)})" for gpu in look.gpus)
    gpus = ", ".join(f"{count} x {kind}" if count > 1 else kind for kind, count in kinds.items())
    driver = f", driver {look.driver}" if look.driver else ""
    lines.append(f"{'GPUs':<15} {gpus + driver if gpus else 'none: ' + look.gpu_problem}")
    if target.kind == "slurm":
        part = look.partition
        where = f", partition {part.name} of {part.nodes} nodes, limit {part.time_limit}" if part is not None else ""
        source = "of a node that was allocated" if look.allocated else "CPU of the login host, cores and GPUs by sinfo"
        lines.append(f"{'Slurm':<15} {look.slurm or 'not found'}{where}; figures: {source}")
    if target.folder:
        free = f", {format_bytes(look.folder_free_bytes)} free" if look.folder_free_bytes is not None else ""
        lines.append(f"{'folder':<15} {target.folder}{free}")
    if not target.shared and target.is_remote:
        lines.append(f"{'rsync':<15} {look.rsync or 'none'}")
    for row in toolchain_rows(look):
        state = "usable" if row["usable"] else row["problem"] or f"lacks {', '.join(row['missing'])}"
        lines.append(f"{row['title']:<15} {row['python']} (Python {row['versions'].get('python', '?')}): {state}")
    return lines

"""`workbench doctor`: what this machine has and lacks, each problem with its fix."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Any

from workbench import __version__
from workbench.cli.context import Context
from workbench.core.home import Home
from workbench.core.units import format_bytes
from workbench.jobs.client import all_jobs
from workbench.toolchains import get, names
from workbench.toolchains.base import Environment, Toolchain
from workbench.toolchains.environments import Wanted, find_environments, probe_worker

_LOW_DISK_BYTES = 5 * 2**30
_PACKAGES = {"tensorrt_llm": "tensorrt-llm", "modelopt": "nvidia-modelopt", "openvino": "openvino-genai"}


def run_doctor(context: Context, *, imports: bool) -> None:
    report = {
        "workbench": __version__,
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "home": str(context.home.root),
        "host": context.host.model_dump(mode="json"),
        "gpus": _gpus(),
        "disk": _disk(context),
        "toolchains": [row for name in names() for row in _toolchain(context, get(name), imports)],
        "store": _store(context),
    }
    problems = _problems(report)
    context.result({**report, "problems": problems}, "\n".join(_words(report, problems)))


def _gpus() -> dict[str, Any]:
    """NVIDIA GPUs by NVML; `problem` says why there are none to report."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return {"found": [], "driver": None, "problem": f"no NVIDIA driver: {error}"}
    try:
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
            found.append(
                {
                    "index": index,
                    "name": pynvml.nvmlDeviceGetName(handle),
                    "compute_capability": f"{major}.{minor}",
                    "memory_bytes": int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
                }
            )
        return {"found": found, "driver": pynvml.nvmlSystemGetDriverVersion(), "problem": ""}
    except pynvml.NVMLError as error:
        return {"found": [], "driver": None, "problem": f"NVML answers with an error: {error}"}
    finally:
        pynvml.nvmlShutdown()


def _disk(context: Context) -> dict[str, Any]:
    usage = shutil.disk_usage(context.home.root)
    return {"path": str(context.home.root), "free_bytes": usage.free, "total_bytes": usage.total}


def _toolchain(context: Context, toolchain: Toolchain, imports: bool) -> list[dict[str, Any]]:
    """The toolchain's interpreters, then those of its further parts."""
    rows = [_interpreters(context, toolchain, imports) | {"part_of": None, "note": toolchain.note}]
    for part in toolchain.parts:
        rows.append(_interpreters(context, part, imports) | {"part_of": toolchain.name, "note": ""})
    return rows


def _interpreters(context: Context, wanted: Wanted, imports: bool) -> dict[str, Any]:
    rows = []
    for environment in find_environments(wanted, context.home, os.environ):
        row: dict[str, Any] = {
            "interpreter": " ".join(environment.prefix),
            "origin": environment.origin,
            "named": environment.named,
            "versions": dict(environment.versions),
            "missing": list(environment.missing),
            "problem": environment.problem,
            "usable": environment.usable,
            "imports": None,
        }
        if imports and environment.usable:
            with context.err.status(f"Importing {wanted.title} …"):
                row["imports"], row["problem"] = _imports(environment, context.home)
            row["usable"] = not row["problem"]
        rows.append(row)
    return {"name": wanted.name, "title": wanted.title, "environments": rows, "install": wanted.install_hint}


def _imports(environment: Environment, home: Home) -> tuple[dict[str, str], str]:
    wanted: dict[str, object] = {"packages": [p for p in environment.versions if p != "python"], "import": True}
    try:
        found = dict(probe_worker(environment, wanted, paths=(home.root,))["imports"])
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return {}, str(error)
    broken = {name: text for name, text in found.items() if text}
    return found, "; ".join(f"{name}: {text}" for name, text in broken.items())


def _store(context: Context) -> dict[str, Any]:
    counts = context.store.sync()
    states = all_jobs(context.home)
    unfinished = [s.id for s in states if s.status == "interrupted"]
    broken = [str(a.path) for a in context.store.artifacts() if a.missing and a.path.is_dir()]
    return {
        "notice": context.store.notice,
        "jobs": len(states),
        "interrupted_jobs": unfinished,
        "artifacts": len(context.store.artifacts()),
        "incomplete_artifacts": broken,
        "newly_found": counts,
    }


def _lacks(row: dict[str, Any]) -> str:
    return str(row["problem"]) or f"lacks {', '.join(row['missing'])}"


def _package_of(toolchain: dict[str, Any]) -> str:
    """The package whose presence shows that somebody meant the interpreter for it."""
    return _PACKAGES.get(toolchain["name"], "")


def _problems(report: dict[str, Any]) -> list[dict[str, str]]:
    found = []

    def add(what: str, fix: str) -> None:
        found.append({"what": what, "fix": fix})

    whole = [toolchain for toolchain in report["toolchains"] if toolchain["part_of"] is None]
    if not any(row["usable"] for toolchain in whole for row in toolchain["environments"]):
        add("No toolchain can be used: nothing can be built.", whole[0]["install"])
    for toolchain in report["toolchains"]:
        # One that nobody asked for may be absent; one that was named must work.
        for row in toolchain["environments"]:
            if (row["named"] or row["versions"].get(_package_of(toolchain))) and not row["usable"]:
                add(f"{toolchain['title']} cannot be used: {row['interpreter']} {_lacks(row)}.", toolchain["install"])
    if report["disk"]["free_bytes"] < _LOW_DISK_BYTES:
        add(
            f"Only {format_bytes(report['disk']['free_bytes'])} are free at {report['disk']['path']}.",
            "Free space, or set WORKBENCH_HOME.",
        )
    for job in report["store"]["interrupted_jobs"]:
        add(f"Job {job} was interrupted.", f"workbench jobs retry {job}")
    for path in report["store"]["incomplete_artifacts"]:
        add(f"{path} lost files.", f"workbench engines rm {path} --yes, then build it again")
    return found


def _words(report: dict[str, Any], problems: list[dict[str, str]]) -> list[str]:
    host, gpus, disk = report["host"], report["gpus"], report["disk"]
    free = host["memory_available_bytes"]
    isa = ", ".join(host["isa"]) or "instruction sets not reported"
    lines = [
        f"Engine Workbench {report['workbench']}, Python {report['python']}, home {report['home']}",
        f"CPU     {host['cpu_name']}, {host['usable_cores']} cores, {isa}",
        f"memory  {format_bytes(free) if free is not None else 'not reported'} free"
        f" of {format_bytes(host['memory_total_bytes'])}",
        f"disk    {format_bytes(disk['free_bytes'])} free of {format_bytes(disk['total_bytes'])} at {disk['path']}",
    ]
    if gpus["found"]:
        lines += [
            f"GPU {g['index']}   {g['name']}, compute capability {g['compute_capability']}, "
            f"{format_bytes(g['memory_bytes'])}, driver {gpus['driver']}"
            for g in gpus["found"]
        ]
    else:
        lines.append(f"GPU     none ({gpus['problem'] or 'the driver reports no device'}); OpenVINO engines need none")
    for toolchain in report["toolchains"]:
        lines.append(toolchain["title"] + (f" ({toolchain['note']})" if toolchain["note"] else ""))
        for row in toolchain["environments"]:
            lines.append(f"  {row['interpreter']} ({row['origin']}): {'ok' if row['usable'] else _lacks(row)}")
            if row["versions"]:
                lines.append("    " + ", ".join(f"{name} {version}" for name, version in row["versions"].items()))
        if not any(row["usable"] for row in toolchain["environments"]):
            lines.append(f"  to have it: {toolchain['install']}")
    store = report["store"]
    lines.append(f"store   {store['artifacts']} artefacts, {store['jobs']} jobs")
    lines += [f"problem: {p['what']}\n  fix: {p['fix']}" for p in problems] or ["No problems found."]
    return lines

"""What this machine has and lacks: GPUs, CUDA, MPI, network, disk, each toolchain's interpreters, and each fix.

The command line and the window show the same report.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workbench import __version__
from workbench.core.home import Home
from workbench.core.host import HostSpec
from workbench.core.preset_check import shown_argv
from workbench.core.settings import load_settings
from workbench.core.tensorrt_rtx.targets import capability_of, refused
from workbench.core.units import format_bytes
from workbench.toolchains import all_names, get, names
from workbench.toolchains.asking import probe_worker
from workbench.toolchains.base import Environment, Toolchain
from workbench.toolchains.elsewhere import fact_words, look_summary
from workbench.toolchains.environments import Wanted, find_environments, made_name
from workbench.toolchains.looks import last_look
from workbench.toolchains.pytorch.toolchain import is_cpu_build
from workbench.toolchains.sources import index_env
from workbench.toolchains.surroundings import cuda_toolkit, cuda_version, mpi_report, network_report, offline_words
from workbench.toolchains.targets import list_targets
from workbench.toolchains.tensorrt_rtx.toolchain import RUNS_ON_RTX

_LOW_DISK_BYTES = 5 * 2**30
_PACKAGES = {
    "tensorrt_llm": "tensorrt-llm",
    "modelopt": "nvidia-modelopt",
    "openvino": "openvino-genai",
    "onnxruntime": "onnxruntime-genai",
    "tensorrt_rtx": "tensorrt-rtx-cu13-bindings",
}
"""The package whose presence shows that somebody meant an interpreter for a toolchain. None shows it for PyTorch:
torch comes with OpenVINO's tools too, beside a transformers of their choice."""

Say = Callable[[str], None]


def machine_report(
    home: Home,
    host: HostSpec,
    environ: Mapping[str, str] = os.environ,
    *,
    imports: bool = False,
    say: Say = lambda text: None,
) -> dict[str, Any]:
    """All but the store. `imports` also imports each toolchain's packages and asks the package index for an answer,
    which takes up to minutes; `say` is told what is being done."""
    settings = load_settings(home, environ)
    offline = settings.values.network.offline
    if imports and not offline:
        say("Asking the package index …")
    forbidden = settings.origins["network.offline"] if offline else ""
    asked = {**environ, **index_env(home, environ)}
    return {
        "workbench": __version__,
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "home": str(home.root),
        "host": host.model_dump(mode="json"),
        "gpus": gpu_report(),
        "cuda_toolkit": cuda_toolkit(environ),
        "mpi": mpi_report(environ),
        "network": {**network_report(asked, reach=imports and not offline), "forbidden": forbidden},
        "settings": [problem.model_dump() for problem in settings.problems],
        "disk": _disk(home),
        "targets": targets_report(home),
        "toolchains": [row for name in all_names() for row in _toolchain(get(name), home, environ, imports, say)],
    }


def targets_report(home: Home) -> list[dict[str, Any]]:
    """Targets with what the last look at each found; nothing is asked now."""
    found = list_targets(home)
    rows = []
    for target in found.targets:
        look = last_look(home, target)
        rows.append(
            {
                "name": target.name,
                "what": target.words,
                "folder": target.folder,
                "looked_at": look.at if look is not None else None,
                "summary": look_summary(target, look),
                "problems": [f.model_dump() for f in look.problems(target)] if look is not None else [],
                "details": fact_words(target, look) if look is not None else [],
            }
        )
    for name, failure in found.broken:
        rows.append({"name": name, "what": "", "folder": "", "looked_at": None, "summary": failure.what,
                     "problems": [failure.model_dump()], "details": []})  # fmt: skip
    return rows


def gpu_report() -> dict[str, Any]:
    """NVIDIA GPUs by NVML, the driver, and the newest CUDA that it runs; `problem` says why there are none."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return {"found": [], "driver": None, "cuda": None, "problem": f"no NVIDIA driver: {error}"}
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
        cuda = cuda_version(pynvml.nvmlSystemGetCudaDriverVersion_v2())
        return {"found": found, "driver": pynvml.nvmlSystemGetDriverVersion(), "cuda": cuda, "problem": ""}
    except pynvml.NVMLError as error:
        return {"found": [], "driver": None, "cuda": None, "problem": f"NVML answers with an error: {error}"}
    finally:
        pynvml.nvmlShutdown()


def machine_problems(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """What is wrong, each with its fix: `what`, `fix`.

    A toolchain that nobody asked for may be absent; one that was named, or is partly there, must work.
    """
    found = []
    whole = [toolchain for toolchain in report["toolchains"] if toolchain["name"] in names()]
    if not any(row["usable"] for toolchain in whole for row in toolchain["environments"]):
        found.append({"what": "No toolchain can be used: nothing can be built.", "fix": whole[0]["install"]})
    for toolchain in report["toolchains"]:
        for row in toolchain["environments"]:
            if is_meant(toolchain, row) and not row["usable"]:
                what = f"{toolchain['title']} cannot be used: {row['interpreter']} {lacks(row)}."
                found.append({"what": what, "fix": row["fix"] or toolchain["install"]})
    found += [{"what": problem["what"], "fix": problem["fix"]} for problem in report.get("settings", ())]
    disk = report["disk"]
    if disk["free_bytes"] < _LOW_DISK_BYTES:
        what = f"Only {format_bytes(disk['free_bytes'])} are free at {disk['path']}."
        found.append({"what": what, "fix": "Free space, or set WORKBENCH_HOME."})
    return found


def is_meant(toolchain: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether somebody meant this interpreter for the toolchain: it was named or made, or holds its main package."""
    return bool(row["named"] or row["made"] or row["versions"].get(_PACKAGES.get(toolchain["name"], "")))


def lacks(row: Mapping[str, Any]) -> str:
    """Why an interpreter's row is not usable, in words."""
    return str(row["problem"]) or f"lacks {', '.join(row['missing'])}"


def remark(toolchain: Mapping[str, Any], row: Mapping[str, Any], gpus: Mapping[str, Any]) -> str:
    """What a person should know of an interpreter that is no problem; empty: nothing. `gpus` are the report's."""
    if toolchain["name"] == "pytorch" and gpus["found"] and is_cpu_build(row["versions"]):
        return "This PyTorch was built for CPUs alone: its engines do not use the GPU."
    if toolchain["name"] == "tensorrt_rtx" and row["versions"].get(_PACKAGES["tensorrt_rtx"]):
        return _rtx_remark(row["versions"], gpus)
    return ""


def _rtx_remark(versions: Mapping[str, str], gpus: Mapping[str, Any]) -> str:
    """Whether this machine can run what it builds."""
    found = [capability_of(gpu["compute_capability"]) for gpu in gpus["found"]]
    fitting = [each for each in found if not refused(each)]
    if not fitting:
        why = refused(found[0]) if found else "There is no GPU here."
        return f"{why} Engines are built for other machines, and their ONNX models run on the CPU."
    lacking = [name for name in RUNS_ON_RTX if name not in versions]
    if lacking:
        return f"Engines are built, and run by their ONNX models: {' and '.join(lacking)} not installed."
    return ""


def report_words(report: Mapping[str, Any], problems: Sequence[Mapping[str, str]]) -> list[str]:
    """The report with its `store` and its problems, in lines of text for people."""
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
            f"{format_bytes(g['memory_bytes'])}, driver {gpus['driver']} (CUDA {gpus['cuda'] or 'not reported'})"
            for g in gpus["found"]
        ]
    else:
        lines.append(f"GPU     none ({gpus['problem'] or 'the driver reports no device'}); {GPU_FREE}")
    lines += surroundings_words(report)
    for toolchain in report["toolchains"]:
        lines += _toolchain_words(toolchain, gpus)
    for target in report["targets"]:
        words = target["problems"][0]["what"] if target["problems"] else target["summary"]
        if target["looked_at"] is None and not target["problems"]:
            words = f"never looked at: {words}"
        lines.append(f"target  {target['name']} ({target['what'] or 'cannot be read'}): {words}")
    store = report["store"]
    lines.append(f"store   {store['artifacts']} artefacts, {store['jobs']} jobs")
    lines += [f"problem: {p['what']}\n  fix: {p['fix']}" for p in problems] or ["No problems found."]
    return lines


def surroundings_words(report: Mapping[str, Any]) -> list[str]:
    """CUDA toolkit, MPI and network, a line each."""
    toolkit, mpi, network = report["cuda_toolkit"], report["mpi"], report["network"]
    cuda = (
        f"toolkit {toolkit['version'] or 'of a version that is not reported'} at {toolkit['path']}" if toolkit else ""
    )
    offline = offline_words(network)
    mpi_words = f"{mpi['version'] or 'version not reported'}, {mpi['mpirun']}" if mpi["mpirun"] else "no mpirun"
    if report["gpus"]["found"] and not mpi["mpirun"]:
        mpi_words += f". {MPI_LACKS} {MPI_FIX}"
    return [
        f"CUDA    {cuda or 'no toolkit; the toolchains bring their own libraries'}",
        f"MPI     {mpi_words}",
        f"network {network_words(network)}" + (f" {offline} {OFFLINE_FIX}" if offline else ""),
    ]


GPU_FREE = "OpenVINO, ONNX Runtime, PyTorch and endpoints need none, and TensorRT-RTX needs none to build"
MPI_LACKS = "TensorRT-LLM loads MPI's library even for one GPU."
MPI_FIX = "Install Open MPI: on Debian and Ubuntu `apt-get install openmpi-bin libopenmpi-dev`."
OFFLINE_FIX = (
    "Without it environments are made from a folder of wheels: fill one with `workbench toolchain bundle NAME --out "
    "FOLDER` on a machine that has a network."
)


def network_words(network: Mapping[str, Any]) -> str:
    """Where pip gets packages from, and whether it answers."""
    index = ", ".join(network["indexes"]) or "pip's own"
    words = [f"package index: {'none' if network['no_index'] else index}"]
    words += [f"and wheels in {', '.join(network['find_links'])}"] if network["find_links"] else []
    words += [f"{name} {value}" for name, value in network["proxies"].items()]
    words.append({True: "it answers", False: f"it does not answer ({network['problem'] or 'no reason said'})"}.get(
        network["reached"], "not asked whether it answers"
    ))  # fmt: skip
    return "; ".join(words) + "."


def _toolchain_words(toolchain: Mapping[str, Any], gpus: Mapping[str, Any]) -> list[str]:
    lines = [toolchain["title"] + (f" ({toolchain['note']})" if toolchain["note"] else "")]
    for row in toolchain["environments"]:
        lines.append(f"  {row['interpreter']} ({row['origin']}): {'ok' if row['usable'] else lacks(row)}")
        if row["versions"]:
            lines.append("    " + ", ".join(f"{name} {version}" for name, version in row["versions"].items()))
        if row["mpi"]:
            found = ", ".join(f"{name} {value}" for name, value in row["mpi"].items() if value)
            lines.append(f"    MPI: {found or 'none'}")
        if text := remark(toolchain, row, gpus):
            lines.append(f"    {text}")
    if not any(row["usable"] for row in toolchain["environments"]):
        lines.append(f"  to have it: {toolchain['install']}")
    return lines


def _disk(home: Home) -> dict[str, Any]:
    usage = shutil.disk_usage(home.root)
    return {"path": str(home.root), "free_bytes": usage.free, "total_bytes": usage.total}


def _toolchain(
    toolchain: Toolchain, home: Home, environ: Mapping[str, str], imports: bool, say: Say
) -> list[dict[str, Any]]:
    """The toolchain's interpreters, then those of its further parts."""
    rows = [_interpreters(toolchain, home, environ, imports, say) | {"part_of": None, "note": toolchain.note}]
    for part in toolchain.parts:
        rows.append(_interpreters(part, home, environ, imports, say) | {"part_of": toolchain.name, "note": ""})
    return rows


def _interpreters(wanted: Wanted, home: Home, environ: Mapping[str, str], imports: bool, say: Say) -> dict[str, Any]:
    rows = []
    for environment in find_environments(wanted, home, environ):
        row: dict[str, Any] = {
            "interpreter": " ".join(shown_argv(environment.prefix)),
            "origin": environment.origin,
            "name": made_name(home, wanted.name, environment),
            "named": environment.named,
            "made": environment.made,
            "versions": dict(environment.versions),
            "missing": list(environment.missing),
            "problem": environment.problem,
            "usable": environment.usable,
            "fix": environment.fix,
            "imports": None,
            "mpi": None,
        }
        if imports and environment.usable:
            say(f"Importing {wanted.title} …")
            row |= _imports(environment, home)
            row["usable"] = not row["problem"]
        rows.append(row)
    return {"name": wanted.name, "title": wanted.title, "environments": rows, "install": wanted.install_hint}


def _imports(environment: Environment, home: Home) -> dict[str, Any]:
    """What importing shows: `imports` by package, the first broken one's cause and fix, and MPI."""
    wanted: dict[str, object] = {"packages": [p for p in environment.versions if p != "python"], "import": True}
    try:
        found: Mapping[str, Any] = probe_worker(environment, wanted, paths=(home.root,))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return {"imports": {}, "problem": str(error)}
    broken = {name: text for name, text in found["imports"].items() if text}
    causes, fixes = found.get("causes") or {}, found.get("fixes") or {}
    words = [causes[name]["what"] if name in causes else f"{name}: {text}" for name, text in broken.items()]
    return {
        "imports": dict(found["imports"]),
        "problem": "; ".join(words),
        "fix": next((fixes[name] for name in broken if fixes.get(name)), ""),
        "mpi": found.get("mpi") or None,
    }

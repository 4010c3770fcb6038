"""`workbench doctor`: what this machine has and lacks, each problem with its fix."""

from __future__ import annotations

from typing import Any

from workbench.cli.context import Context
from workbench.core.units import format_bytes
from workbench.jobs.client import all_jobs
from workbench.toolchains.doctor import lacks, machine_problems, machine_report


def run_doctor(context: Context, *, imports: bool) -> None:
    with context.err.status("Looking …") as status:
        report = machine_report(context.home, context.host, imports=imports, say=status.update)
    report["store"] = _store(context)
    problems = machine_problems(report) + _store_problems(report["store"])
    context.result({**report, "problems": problems}, "\n".join(_words(report, problems)))


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


def _store_problems(store: dict[str, Any]) -> list[dict[str, str]]:
    jobs = [
        {"what": f"Job {job} was interrupted.", "fix": f"workbench jobs retry {job}"}
        for job in store["interrupted_jobs"]
    ]
    lost = [
        {"what": f"{path} lost files.", "fix": f"workbench engines rm {path} --yes, then build it again"}
        for path in store["incomplete_artifacts"]
    ]
    return jobs + lost


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
        lines += _toolchain_words(toolchain)
    store = report["store"]
    lines.append(f"store   {store['artifacts']} artefacts, {store['jobs']} jobs")
    lines += [f"problem: {p['what']}\n  fix: {p['fix']}" for p in problems] or ["No problems found."]
    return lines


def _toolchain_words(toolchain: dict[str, Any]) -> list[str]:
    lines = [toolchain["title"] + (f" ({toolchain['note']})" if toolchain["note"] else "")]
    for row in toolchain["environments"]:
        lines.append(f"  {row['interpreter']} ({row['origin']}): {'ok' if row['usable'] else lacks(row)}")
        if row["versions"]:
            lines.append("    " + ", ".join(f"{name} {version}" for name, version in row["versions"].items()))
        if row["mpi"]:
            found = ", ".join(f"{name} {value}" for name, value in row["mpi"].items() if value)
            lines.append(f"    MPI: {found or 'none'}")
    if not any(row["usable"] for row in toolchain["environments"]):
        lines.append(f"  to have it: {toolchain['install']}")
    return lines

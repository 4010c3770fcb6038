"""`workbench doctor`: what this machine has and lacks, each problem with its fix."""

from __future__ import annotations

from workbench.cli.context import Context
from workbench.jobs.client import all_jobs
from workbench.store.report import store_problems, store_report
from workbench.toolchains.doctor import machine_problems, machine_report, report_words


def run_doctor(context: Context, *, imports: bool) -> None:
    with context.err.status("Looking …") as status:
        report = machine_report(context.home, context.host, imports=imports, say=status.update)
    report["store"] = store_report(context.store, all_jobs(context.home))
    problems = machine_problems(report) + store_problems(report["store"])
    context.result({**report, "problems": problems}, "\n".join(report_words(report, problems)))

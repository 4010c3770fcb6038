"""`workbench self-test`: run the checks, tell of each as it ends, print or write the report."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import typer

from workbench.cli.context import Context
from workbench.core.errors import BadInputError
from workbench.core.home import expanded
from workbench.selftest.all import all_checks, chosen_checks, self_test
from workbench.selftest.checks import Check
from workbench.selftest.report import Finding, Report

_STYLES = {"ok": "", "failed": "bold red", "not run": "yellow"}


def run_self_test(
    context: Context, *, out: Path | None, quick: bool, only: list[str], patience: float, events: bool
) -> None:
    """Leaves with 4 when a check failed."""
    target = None if out is None else _target(out)
    names = chosen_checks(only)
    # However it is asked to end, it ends what it started and takes its folder away.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    if events:
        context.line({"checks": [[check.name, check.title] for check in all_checks({}) if check.name in names]})
    with context.err.status("Beginning …") as status:

        def began(check: Check) -> None:
            status.update(f"{check.title} …")
            if events:
                context.line({"began": check.name, "title": check.title})

        def ended(found: Finding) -> None:
            if events:
                context.line({"ended": found})
            elif sys.stderr.isatty() and not context.as_json:
                style = _STYLES[found.status] or None
                context.err.print(found.lines()[0], style=style, markup=False, soft_wrap=True)

        report = self_test(quick=quick, only=only, patience=patience, began=began, ended=ended)
    if target is not None:
        _write(target, report)
    if events:
        context.line({"report": report, "text": "\n".join(report.lines())})
    else:
        context.result(report.model_dump(mode="json") | {"ok": report.ok}, "\n".join(report.lines()))
    if not report.ok:
        raise typer.Exit(4)


def _target(out: Path) -> Path:
    """Said before a minute is spent, not after it. Raises BadInputError."""
    target = expanded(out)
    if target.is_dir() or not target.parent.is_dir():
        raise BadInputError(
            "The report cannot be written there.",
            evidence=f"{target} is a folder" if target.is_dir() else f"{target.parent} is no folder",
            fix="Name a file in a folder that is there; .json gets JSON, all else text.",
        )
    return target


def _write(target: Path, report: Report) -> None:
    text = report.model_dump_json(indent=2) if target.suffix == ".json" else "\n".join(report.lines())
    try:
        target.write_text(f"{text}\n", "utf-8")
    except OSError as error:
        raise BadInputError(
            "The report could not be written.", evidence=str(error), fix="Choose another --out."
        ) from error

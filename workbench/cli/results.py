"""`workbench results` and `workbench report`: what was measured, again and as files."""

from __future__ import annotations

import time
from typing import Any

from rich.table import Table

from workbench.cli.compare import show_comparison
from workbench.cli.context import Context
from workbench.cli.measuring import failure_words, report_paths, run_table
from workbench.core.home import expanded
from workbench.core.measure.comparison import Comparison, Price
from workbench.core.measure.figures import run_figures
from workbench.measure.kept import Kept, find_result, kept_results, load_kept, report_of, write_report


def run_results(context: Context) -> None:
    kept = kept_results(context.home)
    if context.as_json:
        context.result([_row(one) for one in kept])
        return
    if not kept:
        context.result(None, "Nothing was measured yet: `workbench bench last --workload demo`.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("id", "kind", "date", "status", "what", "workload"):
        table.add_column(column, no_wrap=column != "what")
    for one in kept:
        date = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.created_at))
        what = ", ".join(one.subjects) or one.problem
        table.add_row(one.id, one.kind, date, one.status, what, one.workload)
    context.out.print(table)


def _row(kept: Kept) -> dict[str, Any]:
    return {**vars(kept), "folder": str(kept.folder)}


def run_report(
    context: Context, wanted: str, out: list[str], foreign: list[str], *, price: float | None, currency: str
) -> None:
    paths = report_paths(out)
    kept = find_result(context.home, wanted)
    result = load_kept(kept)
    priced = Price(per_hour=price, currency=currency) if price else None
    report = report_of(result, foreign=[expanded(path) for path in foreign], price=priced)
    for path in paths:
        write_report(report, path)
    if context.as_json:
        context.result(report)
    elif paths:
        context.result(None, "\n".join(str(path) for path in paths))
    elif isinstance(result, Comparison):
        if priced is not None:
            head = result.head.model_copy(update={"price": priced})
            result = Comparison(head, result.run, result.quality, result.answers)
        show_comparison(context, result, kept.folder)
    else:
        names = {subject.id: subject.name for subject in result.head.subjects}
        figures = run_figures(result)
        if figures:
            context.out.print(run_table(figures, names, result.head.load.arrival))
        for subject in result.head.subjects:
            if subject.failure is not None:
                context.note(f"{subject.name}: {failure_words(subject.failure)}")
        context.result(None, f"kept in {kept.folder}")

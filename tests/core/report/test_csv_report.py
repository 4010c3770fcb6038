"""CSV of a report: one row a point, units in the names, nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import io

import pytest

from tests.core.report.made import WHEN, a_report, a_run
from workbench.core.measure.record import RunRecord
from workbench.core.report.build import report_of_runs
from workbench.core.report.csv_report import csv_columns, write_csv


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_one_row_a_point_with_full_figures() -> None:
    report = a_report()
    rows = _rows(write_csv(report))
    assert len(rows) == len(report.points) == 9
    first = report.points_of("s1")[0]
    assert rows[0]["variant_name"] == "FP16"
    assert rows[0]["baseline"] == "yes"
    assert float(rows[0]["ttft_p50_ms"]) == first.ttft_p50_ms
    assert rows[0]["goodput_req_s"] == "", "not reported is empty, not 0"
    assert rows[0]["client_bottleneck"] == "no"


def test_every_figure_names_its_unit() -> None:
    units = ("_ms", "_s", "_w", "_bytes", "_n", "_percent", "_c", "_mhz", "_joule", "_tokens")
    counts = {"requests", "completed", "failed", "timed_out", "cancelled", "aborted", "repeats", "level"}
    words = {"variant", "variant_name", "baseline", "source", "level_unit", "run", "end", "count_source", "errors",
             "client_bottleneck", "saturated", "notes", "output_held", "on_pareto_front"}  # fmt: skip
    others = {"requests_active_peak", "requests_queued_peak", "input_tokens_mean", "output_tokens_mean"}
    for name in csv_columns():
        told = name.endswith(units) or name in counts | words | others or "_share" in name
        assert told, f"{name} does not say what it counts"


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", '"quoted", with a comma\nand a line'])
def test_names_cannot_become_formulas_or_break_rows(name: str) -> None:
    run = a_run(levels=(1,), repeats=1)
    subjects = (run.head.subjects[0].model_copy(update={"name": name}), *run.head.subjects[1:])
    report = report_of_runs(
        [RunRecord(run.head.model_copy(update={"subjects": subjects}), run.points)], created_at=WHEN
    )
    row = _rows(write_csv(report))[0]
    assert row["variant_name"].removeprefix("'") == name
    assert not row["variant_name"].startswith(("=", "+", "-", "@"))

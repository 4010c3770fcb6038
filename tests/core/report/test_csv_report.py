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


def test_quality_stands_in_a_variants_rows_and_in_one_of_its_own_without_speed() -> None:
    report = a_report()
    by_variant = {row["variant"]: row for row in _rows(write_csv(report))}
    assert float(by_variant["s2"]["agreement_share"]) == 0.973
    assert float(by_variant["s2"]["agreement_share_low"]) == 0.97
    assert float(by_variant["s2"]["kl_nats_stderr"]) == 0.0002
    assert by_variant["s1"]["agreement_share"] == "" and '"arc_easy acc_norm": 0.51' in by_variant["s1"]["tasks"]
    assert "no log-probs" in by_variant["s3"]["quality_not_reported"] and by_variant["s3"]["perplexity"] == ""
    alone = _rows(write_csv(report.model_copy(update={"points": ()})))
    assert [row["variant"] for row in alone] == [record.subject for record in report.quality]
    assert float(alone[0]["perplexity"]) == 17.213 and alone[0]["ttft_p50_ms"] == ""


def test_every_figure_names_its_unit() -> None:
    units = ("_ms", "_s", "_w", "_bytes", "_n", "_percent", "_c", "_mhz", "_joule", "_tokens")
    counts = {"requests", "completed", "failed", "timed_out", "cancelled", "aborted", "repeats", "level"}
    shares = ("perplexity", "perplexity_ratio", "bits_per_byte", "kl_nats")  # numbers, and what their names say
    counts |= {f"{name}{end}" for name in shares for end in ("", "_low", "_high", "_stderr")}
    counts |= {"tasks", "quality_not_reported"}
    words = {"variant", "variant_name", "baseline", "source", "level_unit", "run", "end", "count_source", "errors",
             "client_bottleneck", "saturated", "notes", "output_held", "on_pareto_front"}  # fmt: skip
    others = {"requests_active_peak", "requests_queued_peak", "input_tokens_mean", "output_tokens_mean",
              "tokens_a_pass"}  # fmt: skip
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

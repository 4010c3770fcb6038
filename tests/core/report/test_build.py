"""The report model: known timings in, the figures of the metrics out; what is not there stays absent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.core.report.made import (
    WHEN,
    a_comparison,
    a_report,
    a_run,
    not_loaded,
    point,
    quality,
    subject,
)
from workbench.core.errors import BadInputError
from workbench.core.measure.comparison import Price
from workbench.core.measure.estimate import Estimate
from workbench.core.measure.quality import QualityRecord
from workbench.core.measure.record import RunRecord
from workbench.core.report.build import report_of_comparison, report_of_runs
from workbench.core.report.importers import read_foreign
from workbench.core.report.model import Statement
from workbench.core.report.tables import run_facts

FOREIGN = Path(__file__).parents[2] / "data" / "foreign"


def test_points_hold_the_known_timings() -> None:
    run = a_run(levels=(1, 4), repeats=1)
    report = report_of_runs([run], created_at=WHEN)
    at_four = report.points_of("s1")[1]
    assert at_four.level == 4
    assert at_four.level_unit == "concurrent requests"
    assert at_four.ttft_p50_ms == pytest.approx(18.0 * 2)
    assert at_four.itl_p50_ms == pytest.approx(20.0 * 1.4)
    assert at_four.requests == at_four.completed == 24
    took_s = (36.0 + 28.0 * 31) / 1000
    assert at_four.output_throughput_tok_s == pytest.approx(4 * 32 / took_s, rel=0.01)
    assert at_four.output_speed_per_user_p50_tok_s == pytest.approx(1000 / 28)
    assert at_four.kv_share_peak == pytest.approx(0.1)
    assert at_four.power_mean_w == 350
    assert at_four.output_throughput_low_tok_s is None, "one repeat has no spread"
    assert at_four.goodput_req_s is None, "no limits were set"
    assert at_four.ttft_p99_9_ms is None, "p99.9 needs 1,000 requests"


def test_repeats_are_pooled_with_their_spread() -> None:
    low_high = [(p.output_throughput_low_tok_s, p.output_throughput_high_tok_s) for p in a_report().points_of("s2")]
    assert all(low is not None and high is not None and low < high for low, high in low_high)


def test_baseline_takes_the_first_colour_wherever_it_stands() -> None:
    report = report_of_runs([a_run()], created_at=WHEN, baseline="INT8")
    assert {variant.id: variant.slot for variant in report.variants} == {"s1": 1, "s2": 0, "s3": 2}
    assert report.baseline is not None
    assert report.baseline.name == "INT8"
    cell = report.matrix.cell("s1", "speed@8")
    assert cell is not None
    assert cell.ratio is not None
    assert cell.ratio < 1


def test_a_baseline_that_is_not_there_is_said_with_those_that_are() -> None:
    with pytest.raises(BadInputError, match="FP4 is not in this run") as caught:
        report_of_runs([a_run()], created_at=WHEN, baseline="FP4")
    assert "INT8" in caught.value.evidence


def test_nothing_to_report_is_refused() -> None:
    with pytest.raises(BadInputError):
        report_of_runs([], created_at=WHEN)


def test_matrix_follows_the_comparison_and_says_why_a_cell_is_empty() -> None:
    report = a_report()
    weights = report.matrix.cell("s3", "weights")
    assert weights is not None
    assert weights.value is None
    assert weights.reason == "not reported"
    perplexity = report.matrix.cell("s3", "perplexity")
    assert perplexity is not None
    assert perplexity.reason == "no log-probs"
    size = report.matrix.cell("s3", "size")
    assert size is not None
    assert size.best
    assert size.better
    assert size.ratio == pytest.approx(91 / 265)


def test_ratios_carry_intervals_when_asked_for() -> None:
    without = a_report().matrix.cell("s2", "speed@8")
    assert without is not None
    assert without.ratio_estimate is None
    cell = a_report(intervals=True).matrix.cell("s2", "speed@8")
    assert cell is not None
    assert cell.ratio is not None
    found = cell.ratio_estimate
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < cell.ratio < found.high
    assert "better" in cell.verdict
    assert cell.better is True


def test_an_interval_that_does_not_tell_takes_the_dot_away() -> None:
    comparison = a_comparison()
    worse, unsure = Estimate(value=19.0, n=100), Estimate(value=1.104, low=0.97, high=1.25)

    def with_ratio(found: Estimate | None) -> tuple[QualityRecord, ...]:
        update = {"perplexity": worse, "perplexity_ratio": found}
        return tuple(one.model_copy(update=update) if one.subject == "s2" else one for one in quality())

    plain = replace(comparison, quality=with_ratio(None))
    before = report_of_comparison(plain, created_at=WHEN).matrix.cell("s2", "perplexity")
    assert before is not None
    assert before.better is False
    records = with_ratio(unsure)
    report = report_of_comparison(replace(comparison, quality=records), created_at=WHEN)
    cell = report.matrix.cell("s2", "perplexity")
    assert cell is not None
    assert cell.better is None
    assert cell.verdict.startswith("cannot tell")
    said = [one for one in report.statements if "INT8 against FP16" in one.text]
    assert [one.tone for one in said] == ["note"]


def test_what_happened_is_said_the_most_serious_first() -> None:
    run = a_run(levels=(1,), repeats=1)
    missing = not_loaded(4, "BF16")
    untrue = subject(5, "FP8", not_applied={"kv_cache_precision": "asked for fp8, runs with fp16"})
    head = run.head.model_copy(update={"subjects": (*run.head.subjects, missing, untrue), "status": "stopped"})
    points = (
        *run.points,
        point("s5", 1, ttft_ms=10, itl_ms=10, failed="503 Service Unavailable", bottleneck="one core was full"),
    )
    report = report_of_runs([RunRecord(head, points)], created_at=WHEN)
    texts = [one.text for one in report.statements]
    assert report.statements[0].tone == "error"
    assert any("BF16 has no figures: The engine did not fit" in text for text in texts)
    assert any("asked for fp8, runs with fp16" in text for text in texts)
    assert any("1 of 6 requests failed: 503 Service Unavailable" in text for text in texts)
    assert any(text.endswith(": one core was full") for text in texts)
    assert any("was stopped" in text for text in texts)
    assert any("clocks were not locked" in text for text in texts)
    assert report.variant("s4").failure == "The engine did not fit into the memory."
    assert report.points_of("s4") == ()


def test_statements_of_the_caller_stand_in_front() -> None:
    mine = Statement(tone="ok", text="TTFT is within 1 % of the baseline.")
    assert a_report(statements=[mine]).statements[0] == mine


def test_several_runs_are_told_apart() -> None:
    first, second = a_run(levels=(1,)), a_run(levels=(1, 2))
    second = RunRecord(second.head.model_copy(update={"id": "later", "title": "later"}), second.points)
    report = report_of_runs([first, second], created_at=WHEN)
    assert [variant.id for variant in report.variants] == ["r1.s1", "r1.s2", "r1.s3", "r2.s1", "r2.s2", "r2.s3"]
    assert len({variant.name for variant in report.variants}) == 6
    assert {point.run for point in report.points_of("r2.s1")} == {"later"}
    assert len(report.points_of("r2.s1")) == 2
    assert [run.id for run in report.runs] == [first.head.id, "later"]


def test_cost_is_price_by_tokens() -> None:
    report = report_of_runs([a_run()], created_at=WHEN, price=Price(per_hour=3.6))
    one = report.points_of("s1")[0]
    assert one.output_throughput_tok_s is not None
    assert one.cost_per_million_output_tokens == pytest.approx(1000 / one.output_throughput_tok_s)
    without = report_of_runs([a_run()], created_at=WHEN)
    assert without.points_of("s1")[0].cost_per_million_output_tokens is None


def test_another_tools_results_stand_beside_and_are_not_judged() -> None:
    theirs = read_foreign(FOREIGN / "profile_export_aiperf.json", "AIPerf")
    report = a_report(foreign=[theirs])
    variant = report.variants[-1]
    assert (variant.name, variant.source, variant.slot) == ("AIPerf", "foreign", 3)
    cell, base = report.matrix.cell("x1", "speed@4"), report.matrix.cell("s1", "speed@4")
    assert cell is not None
    assert base is not None
    assert base.value is not None
    assert cell.value == pytest.approx(811.967, abs=0.01)
    assert cell.ratio == pytest.approx(811.967 / base.value, rel=1e-4)
    assert cell.better is None
    assert not cell.best
    assert max(c.share or 0 for c in report.matrix.cells if c.column == "speed@4") == 1.0
    size = report.matrix.cell("x1", "size")
    assert size is not None
    assert size.reason == "not reported"
    assert report.foreign[0].variant == "x1"
    assert any("AIPerf's tokenizer counts 23" in one.text for one in report.statements)


def test_a_comparison_that_was_not_measured_yet_is_a_report_too() -> None:
    comparison = a_comparison()
    report = report_of_comparison(replace(comparison, run=None, quality=()), created_at=WHEN)
    assert report.points == ()
    assert report.variants
    assert report.runs[0].command == comparison.head.command


def test_files_of_other_tools_with_one_model_are_told_apart() -> None:
    files = [read_foreign(FOREIGN / name) for name in ("vllm_bench_serve.json", "trtllm_bench.json")]
    report = a_report(foreign=files)
    names = [variant.name for variant in report.variants if variant.source == "foreign"]
    assert names == ["vLLM bench serve: Llama-3.1-8B-Instruct", "trtllm-bench: Llama-3.1-8B-Instruct"]


def test_what_another_tool_did_not_measure_is_not_called_unreported() -> None:
    theirs = read_foreign(FOREIGN / "trtllm_bench.json")
    cell = a_report(foreign=[theirs]).matrix.cell("x1", "speed@1")
    assert cell is not None
    assert (cell.value, cell.reason) == (None, "not measured at this load")


def test_worse_is_not_told_in_the_colour_of_good_news() -> None:
    report = report_of_runs([a_run()], created_at=WHEN, baseline="INT4", intervals=True)
    told = {statement.text: statement.tone for statement in report.statements if " against " in statement.text}
    assert told
    for text, tone in told.items():
        assert (tone == "ok") == ("worse" not in text and "cannot tell" not in text), text
    assert any("worse" in text for text in told)


def test_what_a_server_runs_on_is_not_said_to_be_this_machine() -> None:
    report = a_report()
    (run, *_) = report.runs
    here = run.model_copy(update={"environment": run.environment.model_copy(update={"gpus": ()})})
    assert dict(run_facts(report, here))["GPU"] == "none used"
    servers = tuple(
        variant.model_copy(update={"subject": variant.subject.model_copy(update={"url": "http://box:8000/v1"})})
        for variant in report.variants
        if variant.subject is not None
    )
    facts = dict(run_facts(report.model_copy(update={"variants": servers}), here))
    assert facts["GPU"] == "none used here; an endpoint's is not reported"
    assert "Client" in facts
    assert "Host" not in facts


def test_equal_work_is_said_only_of_answers_that_came_with_their_length() -> None:
    def told(run: RunRecord) -> str:
        return " ".join(statement.text for statement in report_of_runs([run], created_at=WHEN).statements)

    run = a_run()
    assert "of equal work" in told(run)
    none = replace(
        run, points=tuple(replace(p, requests=tuple(replace(r, end="error") for r in p.requests)) for p in run.points)
    )
    assert "of equal work" not in told(none)

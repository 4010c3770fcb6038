"""Files of other tools: their figures under our names, and words for what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.core.errors import BadInputError
from workbench.core.report.foreign import ForeignResult
from workbench.core.report.importers import MOST_BYTES, import_file, read_foreign

FOREIGN = Path(__file__).parents[2] / "data" / "foreign"


def _read(name: str) -> ForeignResult:
    return read_foreign(FOREIGN / name)


def _changed(tmp_path: Path, name: str, **changes: Any) -> Path:
    content = json.loads((FOREIGN / name).read_text(encoding="utf-8"))
    content.update(changes)
    path = tmp_path / name
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_aiperf_summary() -> None:
    found = _read("profile_export_aiperf.json")
    (point,) = found.points
    assert (found.name, found.info.tool, found.info.tool_version) == ("mock", "AIPerf", "0.13.0")
    assert (point.level, point.level_unit) == (4.0, "concurrent requests")
    assert point.ttft_p50_ms == pytest.approx(31.316, abs=0.001)
    assert point.ttft_p99_ms == pytest.approx(36.763, abs=0.001)
    assert point.itl_mean_ms == pytest.approx(3.4326, abs=0.0001)
    assert point.chunk_gap_p50_ms == pytest.approx(4.9987, abs=0.0001)
    assert point.output_throughput_tok_s == pytest.approx(811.968, abs=0.001)
    assert (point.requests, point.completed, point.failed, point.ttft_n) == (24, 24, 0, 24)
    assert point.duration_s == pytest.approx(0.6685, abs=0.0001)
    assert found.info.command.startswith("aiperf profile -m 'mock'")
    assert "re" not in point.count_source
    assert any("counts 23 output tokens where the server's usage says 16" in note for note in found.notes)


def test_aiperf_summary_of_older_versions(tmp_path: Path) -> None:
    config = {"endpoint": {"model_names": ["openai/gpt-oss-20b"]}, "loadgen": {"request_rate": 12.5}}
    errors = [{"error_details": {"code": 500, "type": "InternalServerError", "message": "no"}, "count": 3}]
    path = _changed(
        tmp_path,
        "profile_export_aiperf.json",
        input_config=config,
        error_summary=errors,
        schema_version=None,
        was_cancelled=True,
        usage_completion_tokens=None,
    )
    found = read_foreign(path)
    (point,) = found.points
    assert found.name == "gpt-oss-20b"
    assert (point.level, point.level_unit) == (12.5, "requests a second")
    assert (point.failed, point.errors) == (3, {"500 InternalServerError no": 3})
    assert point.end == "stopped"
    assert found.notes


def test_aiperf_records_agree_with_its_summary() -> None:
    found = _read("profile_export.jsonl")
    (point,) = found.points
    assert point.level == 4
    assert (point.requests, point.completed, point.failed) == (9, 8, 1)
    assert point.ttft_p50_ms == pytest.approx(31.3, rel=0.05)
    assert point.itl_p50_ms == pytest.approx(3.41, rel=0.05)
    assert point.chunk_gap_p50_ms == pytest.approx(5.0, rel=0.02)
    assert point.output_throughput_tok_s == pytest.approx(812, rel=0.02)
    assert next(iter(point.errors)).startswith("404")


def test_vllm_rows_are_levels_of_one_column() -> None:
    found = _read("vllm_bench_serve.json")
    assert found.name == "Llama-3.1-8B-Instruct"
    one, sixteen = found.points
    assert (one.level, sixteen.level) == (1.0, 16.0)
    assert sixteen.itl_p50_ms == 6.05, "its TPOT is our ITL"
    assert sixteen.chunk_gap_p50_ms == 5.9, "its ITL is our chunk gap"
    assert (sixteen.ttft_p50_ms, sixteen.ttft_p90_ms, sixteen.ttft_p99_ms) == (29.25, None, 61.0)
    assert sixteen.latency_p50_ms is None, "end-to-end latency is not in the file"
    assert (sixteen.requests, sixteen.completed, sixteen.failed) == (100, 98, 2)
    assert sixteen.output_tokens_mean == 256


def test_vllm_rows_of_several_models_are_several_columns(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (FOREIGN / "vllm_bench_serve.json").read_text().splitlines()]
    rows[1]["model_id"] = "other/model"
    path = tmp_path / "two.json"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    assert [found.info.model for found in import_file(path)] == ["meta-llama/Llama-3.1-8B-Instruct", "other/model"]
    with pytest.raises(BadInputError, match="several models"):
        read_foreign(path)


def test_vllm_by_rate_and_all_at_once(tmp_path: Path) -> None:
    row = json.loads((FOREIGN / "vllm_bench_serve.json").read_text().splitlines()[0])
    path = tmp_path / "rate.json"
    path.write_text(json.dumps({**row, "request_rate": 8.0, "max_concurrency": None}), encoding="utf-8")
    assert read_foreign(path).points[0].level_unit == "requests a second"
    path.write_text(json.dumps({**row, "max_concurrency": None}), encoding="utf-8")
    found = read_foreign(path)
    assert found.points[0].level == 100
    assert "at once" in found.notes[0]


def test_trtllm_bench() -> None:
    found = _read("trtllm_bench.json")
    (point,) = found.points
    assert (point.level, point.level_unit) == (61.5, "concurrent requests on average")
    assert (point.ttft_p50_ms, point.itl_p50_ms, point.itl_p99_ms) == (33.0, 3.58, 4.1)
    assert point.latency_p90_ms == 520.0
    assert point.output_throughput_tok_s == 16000
    assert point.output_throughput_per_gpu_tok_s == 8000
    assert point.duration_s == pytest.approx(4.096)
    assert found.info.tool_version == "1.2.1"
    assert any("no network" in note for note in found.notes)


def test_trtllm_bench_without_streaming_has_no_ttft(tmp_path: Path) -> None:
    found = read_foreign(_changed(tmp_path, "trtllm_bench.json", streaming_metrics=None))
    assert found.points[0].ttft_p50_ms is None
    assert found.points[0].latency_p50_ms == 490.0
    assert any("without --streaming" in note for note in found.notes)


def test_guidellm_takes_levels_and_leaves_out_what_has_none() -> None:
    found = _read("guidellm_benchmarks.json")
    assert [(point.level, point.level_unit) for point in found.points] == [
        (4.0, "concurrent requests"),
        (2.0, "requests a second"),
    ]
    first = found.points[0]
    assert first.itl_p50_ms == pytest.approx(19.8), "not its time_per_output_token_ms, which has the first token in it"
    assert first.latency_p50_ms == pytest.approx(1480), "its latency is in seconds"
    assert (first.completed, first.failed, first.aborted) == (60, 3, 1)
    assert any("async" in note for note in found.notes)


def test_a_name_can_be_given() -> None:
    assert read_foreign(FOREIGN / "trtllm_bench.json", "TP 2").name == "TP 2"


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("profile_export_aiperf.json", {"schema_version": "2.0"}),
        ("guidellm_benchmarks.json", {"metadata": {"version": 2}}),
    ],
)
def test_newer_layouts_are_said(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    with pytest.raises(BadInputError, match="newer layout") as caught:
        import_file(_changed(tmp_path, name, **changes))
    assert caught.value.failure.code == "foreign-newer"
    assert "2" in caught.value.evidence


@pytest.mark.parametrize(
    "content",
    ["", "not json", "[]", "3", '{"a": 1}', '["a"]', "[" * 100_000, '{"benchmarks": []}', '{"output_throughput": 1}'],
)
def test_what_is_no_result_is_said_with_what_can_be_read(tmp_path: Path, content: str) -> None:
    path = tmp_path / "some.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(BadInputError) as caught:
        import_file(path)
    assert caught.value.failure.code == "foreign-unknown"
    assert "some.json" in caught.value.evidence
    assert "AIPerf" in caught.value.fix


def test_bytes_and_missing_files_are_said(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInputError):
        import_file(path)
    with pytest.raises(BadInputError, match="cannot be read"):
        import_file(tmp_path / "missing.json")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    with path.open("wb") as out:
        out.truncate(MOST_BYTES + 1)
    with pytest.raises(BadInputError, match="too large"):
        import_file(path)


def test_broken_lines_are_left_out_and_said(tmp_path: Path) -> None:
    lines = (FOREIGN / "profile_export.jsonl").read_text(encoding="utf-8").splitlines()
    path = tmp_path / "cut.jsonl"
    path.write_text("\n".join([*lines[:6], lines[6][:100]]), encoding="utf-8")
    found = read_foreign(path)
    assert found.points[0].completed == 6
    assert any("1 of 7 lines" in note and "line 7" in note for note in found.notes)


def test_no_completed_request_is_said(tmp_path: Path) -> None:
    path = tmp_path / "failed.jsonl"
    path.write_text((FOREIGN / "profile_export.jsonl").read_text(encoding="utf-8").splitlines()[-1], encoding="utf-8")
    with pytest.raises(BadInputError, match="No request"):
        import_file(path)


def test_figures_that_are_no_numbers_are_not_reported(tmp_path: Path) -> None:
    row = json.loads((FOREIGN / "vllm_bench_serve.json").read_text().splitlines()[0])
    row |= {"median_ttft_ms": float("nan"), "p99_ttft_ms": "slow", "median_tpot_ms": -1.0, "mean_itl_ms": True}
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(row), encoding="utf-8")
    (point,) = read_foreign(path).points
    assert (point.ttft_p50_ms, point.ttft_p99_ms, point.itl_p50_ms, point.chunk_gap_mean_ms) == (None,) * 4

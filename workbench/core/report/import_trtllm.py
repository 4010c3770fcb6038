"""trtllm-bench: the report of `throughput` and `latency --report_json`."""

from __future__ import annotations

from typing import Any

from workbench.core.report import fields
from workbench.core.report.foreign import ForeignResult, named
from workbench.core.report.model import ForeignInfo, Point

_KEYS = {"mean": "average", "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}
MAPPING = {
    "TTFT": "ttft_percentiles: request handed to the engine in the same process, no server between",
    "ITL": "tpot_percentiles: (end - first token) / (output tokens - 1), one value a request",
    "Latency": "request_latency_percentiles_ms",
    "Output throughput": "system_output_throughput_tok_s: output tokens / (last end - first start)",
    "Output speed per user": "token_output_speed_tok_s: mean of output tokens / generation time",
    "Percentiles": "by rank, without interpolation",
}


def from_trtllm_bench(rows: list[dict[str, Any]], file: str, name: str) -> list[ForeignResult]:
    return [_result(row, file, name) for row in rows]


def _result(row: dict[str, Any], file: str, name: str) -> ForeignResult:
    notes = ["trtllm-bench drives the engine in its own process: its TTFT has no server and no network in it."]
    requests = fields.whole(row, "request_info", "num_requests")
    streaming = row.get("streaming_metrics")
    if not isinstance(streaming, dict):
        notes.append("It was run without --streaming: TTFT and ITL are not reported.")
    level = fields.real(row, "request_info", "avg_num_concurrent_requests")
    values: dict[str, Any] = {
        **fields.spread("ttft", fields.at(streaming, "ttft_percentiles"), _KEYS, count=requests),
        **fields.spread("itl", fields.at(streaming, "tpot_percentiles"), _KEYS, count=requests),
        **fields.spread(
            "latency", fields.at(row, "performance", "request_latency_percentiles_ms"), _KEYS, count=requests
        ),
    }
    for ours, theirs in (("ttft_mean_ms", "avg_ttft_ms"), ("itl_mean_ms", "avg_tpot_ms")):
        if values.get(ours) is None:
            values[ours] = fields.real(streaming, theirs)
    point = Point(
        variant="",
        level=level if level is not None else 1.0,
        level_unit="concurrent requests on average",
        run=file,
        duration_s=fields.real(row, "performance", "total_latency_ms", scale=1e-3),
        requests=requests,
        completed=requests,
        request_throughput_req_s=fields.real(row, "performance", "request_throughput_req_s"),
        output_throughput_tok_s=fields.real(row, "performance", "system_output_throughput_tok_s"),
        output_throughput_per_gpu_tok_s=fields.real(row, "performance", "output_throughput_per_gpu_tok_s"),
        total_throughput_tok_s=fields.real(row, "performance", "system_total_throughput_tok_s"),
        output_speed_per_user_p50_tok_s=fields.real(streaming, "gen_tps_percentiles", "p50"),
        output_speed_per_user_mean_tok_s=fields.real(streaming, "token_output_speed_tok_s"),
        input_tokens_mean=fields.real(row, "request_info", "avg_input_length"),
        output_tokens_mean=fields.real(row, "request_info", "avg_output_length"),
        count_source="engine ids",
        **values,
    )
    engine = row["engine"]
    model = fields.text(engine, "model")
    about = [
        fields.text(engine, "backend"),
        fields.text(engine, "quantization") or fields.text(engine, "dtype"),
        fields.text(row, "machine", "name"),
    ]
    if any(about):
        notes.append(f"Ran with {', '.join(part for part in about if part)}.")
    info = ForeignInfo(
        variant="",
        tool="trtllm-bench",
        tool_version=fields.text(engine, "version"),
        file=file,
        model=model,
        mapping=MAPPING,
    )
    return ForeignResult(named(name, model, file), info, (point,), tuple(notes))

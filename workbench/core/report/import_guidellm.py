"""GuideLLM: benchmarks.json, one point a benchmark."""

from __future__ import annotations

from typing import Any

from workbench.core.errors import BadInputError
from workbench.core.report import fields
from workbench.core.report.foreign import ForeignResult, named
from workbench.core.report.model import ForeignInfo, Point

_NEWEST = 1
MAPPING = {
    "TTFT": "time_to_first_token_ms: request start to first token",
    "ITL": "inter_token_latency_ms: (last - first token) / (output tokens - 1); its percentiles weigh each request "
    "by its tokens. Its time_per_output_token_ms has the first token in it and is not shown",
    "Latency": "request_latency: request start to end, in seconds",
    "Output throughput": "output_tokens_per_second: mean of the rate over time, successful requests",
    "Percentiles": "of successful requests, without interpolation",
}


def from_guidellm(rows: list[dict[str, Any]], file: str, name: str) -> list[ForeignResult]:
    """Raises BadInputError for a layout that is newer than is known here."""
    row = rows[0]
    version = fields.whole(row, "metadata", "version")
    if version is not None and version > _NEWEST:
        raise BadInputError(
            "This GuideLLM file is of a newer layout than is known here.",
            evidence=f"{file}: version {version}, known up to {_NEWEST}",
            fix="Update the workbench.",
            code="foreign-newer",
        )
    points, notes = [], []
    for benchmark in row["benchmarks"]:
        level = _level(benchmark)
        if level is None:
            notes.append(f"A benchmark of strategy {_strategy(benchmark) or 'unknown'} is left out: it has no level.")
            continue
        points.append(_point(benchmark, file, *level))
    model = fields.text(row, "args", "model") or fields.text(row, "benchmarks", 0, "config", "backend", "model")
    info = ForeignInfo(
        variant="",
        tool="GuideLLM",
        tool_version=fields.text(row, "metadata", "guidellm_version"),
        file=file,
        model=model,
        mapping=MAPPING,
    )
    return [ForeignResult(named(name, model, file), info, tuple(points), tuple(notes))]


def _strategy(benchmark: Any) -> str:
    return fields.text(benchmark, "config", "strategy", "type_") or fields.text(benchmark, "args", "strategy", "type_")


def _level(benchmark: Any) -> tuple[float, str] | None:
    kind = _strategy(benchmark)
    for part in ("config", "args"):
        streams = fields.real(benchmark, part, "strategy", "streams")
        rate = fields.real(benchmark, part, "strategy", "rate")
        if kind == "concurrent" and streams:
            return streams, "concurrent requests"
        if kind in ("constant", "poisson", "async") and rate:
            return rate, "requests a second"
    if kind == "synchronous":
        return 1.0, "concurrent requests"
    if kind == "throughput":
        open_requests = fields.real(benchmark, "metrics", "request_concurrency", "successful", "mean")
        return None if open_requests is None else (open_requests, "concurrent requests on average")
    return None


def _point(benchmark: Any, file: str, level: float, unit: str) -> Point:
    metrics = benchmark.get("metrics")
    completed = fields.whole(metrics, "request_totals", "successful")
    values: dict[str, Any] = {
        **_spread("ttft", metrics, "time_to_first_token_ms", 1.0),
        **_spread("itl", metrics, "inter_token_latency_ms", 1.0),
        **_spread("latency", metrics, "request_latency", 1000.0),
    }
    # What a request that is no stream has is written as 0, not left out.
    for name in ("ttft", "itl"):
        if not values.get(f"{name}_p99_ms"):
            values = {key: None if key.startswith(f"{name}_") else value for key, value in values.items()}
    return Point(
        variant="",
        level=level,
        level_unit=unit,
        run=file,
        duration_s=fields.real(benchmark, "duration"),
        requests=fields.whole(metrics, "request_totals", "total"),
        completed=completed,
        failed=fields.whole(metrics, "request_totals", "errored"),
        aborted=fields.whole(metrics, "request_totals", "incomplete"),
        request_throughput_req_s=fields.real(metrics, "requests_per_second", "successful", "mean"),
        output_throughput_tok_s=fields.real(metrics, "output_tokens_per_second", "successful", "mean"),
        total_throughput_tok_s=fields.real(metrics, "tokens_per_second", "successful", "mean"),
        input_tokens_mean=fields.real(metrics, "prompt_token_count", "successful", "mean"),
        output_tokens_mean=fields.real(metrics, "output_token_count", "successful", "mean"),
        **values,
    )


def _spread(name: str, metrics: Any, metric: str, scale: float) -> dict[str, float | int | None]:
    source = fields.at(metrics, metric, "successful")
    flat: dict[str, float | int | None] = {f"{name}_mean_ms": fields.real(source, "mean", scale=scale)}
    for ours, theirs in (("p50", "p50"), ("p90", "p90"), ("p95", "p95"), ("p99", "p99")):
        flat[f"{name}_{ours}_ms"] = fields.real(source, "percentiles", theirs, scale=scale)
    return {**flat, f"{name}_n": fields.whole(source, "count")}

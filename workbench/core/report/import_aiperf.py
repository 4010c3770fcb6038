"""AIPerf: its summary (profile_export_aiperf.json) and its records (profile_export.jsonl)."""

from __future__ import annotations

from collections import Counter
from typing import Any

from workbench.core.errors import BadInputError
from workbench.core.measure.figures import Spread
from workbench.core.measure.figures import spread as spread_of
from workbench.core.report import fields
from workbench.core.report.foreign import ForeignResult, named
from workbench.core.report.model import ForeignInfo, Point

_NEWEST = 1
"""First number of the summary's schema_version that is known here."""
_KEYS = {"mean": "avg", "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}
MAPPING = {
    "TTFT": "time_to_first_token: request start to first response with content",
    "ITL": "inter_token_latency: (request latency - TTFT) / (output tokens - 1), one value a request",
    "Chunk gap": "inter_chunk_latency: between responses, pooled",
    "Latency": "request_latency: request start to last response",
    "Output throughput": "output_token_throughput: output tokens / benchmark duration",
    "Output speed per user": "output_token_throughput_per_user: 1 / ITL",
    "Percentiles": "numpy, linear interpolation",
}


def from_aiperf(rows: list[dict[str, Any]], file: str, name: str) -> list[ForeignResult]:
    """One summary a row; of older versions without a schema_version too."""
    return [_summary(row, file, name) for row in rows]


def _summary(row: dict[str, Any], file: str, name: str) -> ForeignResult:
    schema = fields.text(row, "schema_version")
    if schema.split(".")[0].isdigit() and int(schema.split(".")[0]) > _NEWEST:
        raise BadInputError(
            "This AIPerf file is of a newer layout than is known here.",
            evidence=f"{file}: schema_version {schema}, known up to {_NEWEST}.x",
            fix="Update the workbench.",
            code="foreign-newer",
        )
    level, unit = _level(row)
    completed, failed = fields.whole(row, "request_count", "avg"), fields.whole(row, "error_request_count", "avg")
    errors = {
        _error(one): fields.whole(one, "count") or 0 for one in row.get("error_summary") or [] if isinstance(one, dict)
    }
    if failed is None and completed is not None:
        failed = sum(errors.values())
    user = "output_token_throughput_per_user"
    values: dict[str, Any] = {
        **_spread("ttft", row, "time_to_first_token", completed),
        **_spread("itl", row, "inter_token_latency", completed),
        **_spread("latency", row, "request_latency", completed),
        **_spread("chunk_gap", row, "inter_chunk_latency", None),
    }
    stopped = row.get("was_cancelled") is True or row.get("is_complete") is False
    point = Point(
        variant="",
        level=level,
        level_unit=unit,
        run=file,
        end="stopped" if stopped else "complete",
        duration_s=_in_seconds(row, "benchmark_duration"),
        requests=None if completed is None else completed + (failed or 0),
        completed=completed,
        failed=failed,
        errors=errors,
        request_throughput_req_s=fields.real(row, "request_throughput", "avg"),
        output_throughput_tok_s=fields.real(row, "output_token_throughput", "avg"),
        total_throughput_tok_s=fields.real(row, "total_token_throughput", "avg"),
        output_speed_per_user_p50_tok_s=fields.real(row, user, "p50"),
        output_speed_per_user_mean_tok_s=fields.real(row, user, "avg"),
        goodput_req_s=fields.real(row, "goodput", "avg"),
        second_token_p50_ms=fields.real(row, "time_to_second_token", "p50"),
        second_token_p99_ms=fields.real(row, "time_to_second_token", "p99"),
        input_tokens_mean=fields.real(row, "input_sequence_length", "avg"),
        output_tokens_mean=fields.real(row, "output_sequence_length", "avg"),
        **values,
    )
    model = _model(row)
    info = ForeignInfo(
        variant="",
        tool="AIPerf",
        tool_version=fields.text(row, "aiperf_version"),
        file=file,
        model=model,
        command=fields.text(row, "run_info", "cli_command") or fields.text(row, "input_config", "cli_command"),
        created=fields.text(row, "start_time"),
        mapping=MAPPING,
    )
    notes = [f"AIPerf says that this run is not complete: {fields.text(row, 'incomplete_reason') or 'cancelled'}"]
    notes = notes if stopped else []
    counted, told = point.output_tokens_mean, fields.real(row, "usage_completion_tokens", "avg")
    if counted and told and abs(counted - told) > 0.01 * told:
        notes.append(
            f"AIPerf's tokenizer counts {counted:g} output tokens where the server's usage says {told:g}: its ITL and "
            "its tokens a second are by its own count."
        )
    return ForeignResult(named(name, model, file), info, (point,), tuple(notes))


def _spread(name: str, row: dict[str, Any], metric: str, count: int | None) -> dict[str, float | int | None]:
    source = row.get(metric)
    scale = {"s": 1000.0, "sec": 1000.0, "seconds": 1000.0, "ns": 1e-6, "us": 1e-3}.get(
        fields.text(source, "unit"), 1.0
    )
    return fields.spread(name, source, _KEYS, scale=scale, count=fields.whole(source, "count") or count)


def _in_seconds(row: dict[str, Any], metric: str) -> float | None:
    scale = {"ms": 1e-3, "ns": 1e-9}.get(fields.text(row, metric, "unit"), 1.0)
    return fields.real(row, metric, "avg", scale=scale)


def _level(row: dict[str, Any]) -> tuple[float, str]:
    phases = fields.at(row, "input_config", "phases")
    measured = [one for one in phases if fields.text(one, "kind") == "profiling"] if isinstance(phases, list) else []
    # Of old files loadgen, of newer ones the phase that is measured.
    for part in (fields.at(row, "input_config", "loadgen"), *measured[:1], row.get("input_config")):
        rate, concurrency = fields.real(part, "request_rate"), fields.real(part, "concurrency")
        if rate is None:
            rate = fields.real(part, "rate")
        if rate:
            return rate, "requests a second"
        if concurrency:
            return concurrency, "concurrent requests"
    return 1.0, "concurrent requests"


def _model(row: dict[str, Any]) -> str:
    for where in (("endpoint", "model_names", 0), ("models", 0), ("models", "items", 0, "name")):
        found = fields.text(row, "input_config", *where)
        if found:
            return found
    return ""


def _error(one: dict[str, Any]) -> str:
    code, kind = fields.whole(one, "error_details", "code"), fields.text(one, "error_details", "type")
    message = fields.text(one, "error_details", "message")
    return " ".join(part for part in (str(code) if code else "", kind, message) if part)[:200] or "error"


def from_aiperf_records(rows: list[dict[str, Any]], file: str, name: str) -> list[ForeignResult]:
    """One record a request; figures are computed from their values."""
    rows = [row for row in rows if fields.text(row, "metadata", "benchmark_phase") in ("", "profiling")]
    done = [row for row in rows if not row.get("error") and row.get("metrics")]
    times = [
        (start, end)
        for row in done
        if (start := fields.real(row, "metadata", "request_start_ns")) is not None
        and (end := fields.real(row, "metadata", "request_end_ns")) is not None
        and end > start
    ]
    if not times:
        raise BadInputError(
            "No request of this AIPerf file completed.",
            evidence=f"{file}: {len(rows):,} records, all with errors",
            code="foreign-empty",
        )
    duration = (max(end for _, end in times) - min(start for start, _ in times)) / 1e9
    tokens = [fields.real(row, "metrics", "output_sequence_length", "value") for row in done]
    known = [one for one in tokens if one is not None]
    gaps = [
        gap
        for row in done
        for gap in fields.at(row, "metrics", "inter_chunk_latency", "value") or []
        if isinstance(gap, (int, float))
    ]
    values: dict[str, Any] = {
        **_flat("ttft", _column(done, "time_to_first_token")),
        **_flat("itl", _column(done, "inter_token_latency")),
        **_flat("latency", _column(done, "request_latency")),
        **_flat("chunk_gap", spread_of(gaps)),
    }
    user = _column(done, "output_token_throughput_per_user")
    failed = [row for row in rows if row.get("error")]
    point = Point(
        variant="",
        level=float(_most_open(times)),
        level_unit="concurrent requests",
        run=file,
        duration_s=duration,
        requests=len(rows),
        completed=len(done),
        failed=len(failed),
        errors=dict(Counter(_error({"error_details": row["error"]}) for row in failed).most_common()),
        request_throughput_req_s=len(done) / duration,
        output_throughput_tok_s=sum(known) / duration if len(known) == len(done) else None,
        output_speed_per_user_p50_tok_s=user.p50 if user else None,
        output_speed_per_user_mean_tok_s=user.mean if user else None,
        output_tokens_mean=sum(known) / len(known) if known else None,
        **values,
    )
    info = ForeignInfo(variant="", tool="AIPerf", file=file, mapping=MAPPING)
    note = (
        "Its concurrency is the most requests that were open at once, and its duration is from the first to the last."
    )
    return [ForeignResult(named(name, "", file), info, (point,), (note,))]


def _column(rows: list[dict[str, Any]], metric: str) -> Spread | None:
    scale = {"s": 1000.0, "sec": 1000.0, "ns": 1e-6}.get(fields.text(rows[0], "metrics", metric, "unit"), 1.0)
    return spread_of(fields.real(row, "metrics", metric, "value", scale=scale) for row in rows)


def _flat(name: str, found: Spread | None) -> dict[str, float | int | None]:
    if found is None:
        return {}
    flat: dict[str, float | int | None] = {f"{name}_{key}_ms": getattr(found, key) for key in _KEYS}
    return {**flat, f"{name}_p99_9_ms": found.p999, f"{name}_n": found.n}


def _most_open(times: list[tuple[float, float]]) -> int:
    # An end comes before a start of the same moment: the next request of a closed loop takes the place of the last.
    steps = sorted([(start, 1) for start, _ in times] + [(end, -1) for _, end in times])
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most

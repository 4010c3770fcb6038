"""vLLM's `bench serve --save-result`, and those that write the same layout: trtllm-serve's and SGLang's clients."""

from __future__ import annotations

from typing import Any

from workbench.core.report import fields
from workbench.core.report.foreign import ForeignResult, named
from workbench.core.report.model import ForeignInfo, Point

MAPPING = {
    "TTFT": "ttft: request sent to first response with content",
    "ITL": "tpot: (latency - TTFT) / (output tokens - 1), one value a request",
    "Chunk gap": "itl: between responses, pooled",
    "Latency": "e2el: request sent to last response",
    "Output throughput": "output_throughput: output tokens, re-tokenised or as usage says / duration",
    "Output speed per user": "not reported by the tool",
    "Percentiles": "numpy, linear interpolation; no warm-up is left out",
}


def from_vllm(rows: list[dict[str, Any]], file: str, name: str) -> list[ForeignResult]:
    """One point a row: with --append-result a file holds several. Rows of one model and backend are one column."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        key = (fields.text(row, "model_id"), fields.text(row, "label") or fields.text(row, "backend"))
        groups.setdefault(key, []).append(row)
    found = []
    for (model, backend), same in groups.items():
        points, notes = [], []
        for row in same:
            point, note = _point(row, file)
            points.append(point)
            notes += note
        info = ForeignInfo(
            variant="",
            tool="vLLM bench serve" if backend in ("", "vllm", "openai", "openai-chat") else f"bench serve ({backend})",
            file=file,
            model=model,
            created=fields.text(same[0], "date"),
            mapping=MAPPING,
        )
        own = named(name, model, file)
        label = f"{own} ({backend})" if len(groups) > 1 and backend else own
        found.append(ForeignResult(label, info, tuple(points), tuple(dict.fromkeys(notes))))
    return found


def _point(row: dict[str, Any], file: str) -> tuple[Point, list[str]]:
    notes = []
    rate, most = fields.real(row, "request_rate"), fields.real(row, "max_concurrency")
    completed, asked = fields.whole(row, "completed"), fields.whole(row, "num_prompts")
    failed = fields.whole(row, "failed")
    if failed is None and completed is not None and asked is not None and asked >= completed:
        failed = asked - completed
    if rate:
        level, unit = rate, "requests a second"
        if most:
            notes.append(f"No more than {most:g} requests were open at once, so it may have sent fewer a second.")
    elif most:
        level, unit = most, "concurrent requests"
    else:
        level, unit = float(asked or completed or 1), "concurrent requests"
        notes.append("All requests were sent at once: the level is their number.")
    values: dict[str, Any] = {
        **_spread("ttft", row, "ttft", completed),
        **_spread("itl", row, "tpot", completed),
        **_spread("latency", row, "e2el" if fields.real(row, "mean_e2el_ms") is not None else "e2e_latency", completed),
        **_spread("chunk_gap", row, "itl", None),
    }
    total_in, total_out = fields.real(row, "total_input_tokens"), fields.real(row, "total_output_tokens")
    total = fields.real(row, "total_token_throughput")
    point = Point(
        variant="",
        level=level,
        level_unit=unit,
        run=file,
        duration_s=fields.real(row, "duration"),
        requests=asked if asked is not None else completed,
        completed=completed,
        failed=failed,
        request_throughput_req_s=fields.real(row, "request_throughput"),
        output_throughput_tok_s=fields.real(row, "output_throughput"),
        total_throughput_tok_s=total if total is not None else fields.real(row, "total_throughput"),
        goodput_req_s=fields.real(row, "request_goodput"),
        input_tokens_mean=total_in / completed if total_in is not None and completed else None,
        output_tokens_mean=total_out / completed if total_out is not None and completed else None,
        **values,
    )
    return point, notes


def _spread(name: str, row: dict[str, Any], metric: str, count: int | None) -> dict[str, float | int | None]:
    keys = {"mean": f"mean_{metric}_ms", "p50": f"median_{metric}_ms"}
    keys |= {percentile: f"{percentile}_{metric}_ms" for percentile in ("p90", "p95", "p99")}
    return fields.spread(name, row, keys, count=count)

"""Prometheus and Grafana for a Triton that runs the repository: what to scrape, when to ring, what to look at.

Names are those that Triton (nv_inference_*) and its TensorRT-LLM backend (nv_trt_llm_*, nv_llm_*) report. The Python
form has the first kind alone.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from workbench.core.deploy.export import TextFile
from workbench.core.deploy.facts import EngineFacts
from workbench.core.deploy.triton.launching import url
from workbench.core.deploy.triton.models import BACKEND, BLS, batch
from workbench.core.deploy.triton.options import TritonOptions

SLACK = 0.8
"""Share of the baseline's throughput under which it rings."""
P99_SLACK = 1.5
"""Times the baseline's p99 latency above which it rings."""
P99_WITHOUT_BASELINE_S = 30.0
ERRORS = 0.01
"""Share of requests that may fail."""
KV_FULL = 0.95

WAITING = f'nv_trt_llm_request_metrics{{model="{BACKEND}",request_type="waiting"}}'
ACTIVE = f'nv_trt_llm_request_metrics{{model="{BACKEND}",request_type="active"}}'
KV = f'nv_trt_llm_kv_cache_block_metrics{{model="{BACKEND}",kv_cache_block_type="fraction"}}'
OUTPUT_TOKENS = f'sum(rate(nv_llm_output_token_len_sum{{model="{BACKEND}"}}[5m]))'
INPUT_TOKENS = f'sum(rate(nv_llm_input_token_len_sum{{model="{BACKEND}"}}[5m]))'
PENDING = f'nv_inference_pending_request_count{{model=~"{BACKEND}|{BLS}"}}'
"""In Triton's own queues; what waits inside the engine is apart."""
REQUESTS = f'sum(rate(nv_inference_request_success{{model="{BACKEND}"}}[5m]))'
FAILURES = 'sum by (model) (rate(nv_inference_request_failure{job="triton",reason!="CANCELED"}[5m]))'
"""A client that goes is no failure. By model: the steps of an ensemble would dilute each other's failures."""
SUCCESSES = 'sum by (model) (rate(nv_inference_request_success{job="triton"}[5m]))'


class Alert(NamedTuple):
    name: str
    expression: str
    wait: str
    """How long it must hold."""
    severity: str
    summary: str
    do: str


def monitoring_files(facts: EngineFacts, options: TritonOptions) -> tuple[TextFile, ...]:
    return (
        TextFile("monitoring/prometheus.yml", prometheus(options)),
        TextFile("monitoring/alerts.yml", alerts_text(alerts(facts, options))),
        TextFile("monitoring/grafana-dashboard.json", dashboard(facts, options)),
    )


def prometheus(options: TritonOptions) -> str:
    """What Prometheus scrapes."""
    target = url(options).partition("://")[2].rpartition(":")[0] + f":{options.metrics_port}"
    return f"""\
# prometheus --config.file=monitoring/prometheus.yml --web.listen-address=127.0.0.1:9090
global:
  scrape_interval: 5s
  evaluation_interval: 15s
rule_files:
  - alerts.yml
scrape_configs:
  - job_name: triton
    metrics_path: /metrics
    static_configs:
      - targets: [{json.dumps(target)}]
"""


def alerts(facts: EngineFacts, options: TritonOptions) -> tuple[Alert, ...]:
    """The alert rules."""
    found = [
        Alert(
            "TritonDown",
            'up{job="triton"} == 0',
            "1m",
            "critical",
            "Triton does not answer",
            "Look at its log: docker compose logs triton.",
        ),
        *_throughput(options),
        _queue(facts, options),
        _p99(options),
        Alert(
            "TritonErrors",
            f"{FAILURES} / ({FAILURES} + {SUCCESSES}) > {ERRORS:g}",
            "5m",
            "critical",
            f"More than {ERRORS:.0%} of the requests of a model fail",
            "Look at its log; nv_inference_request_failure names the reason.",
        ),
    ]
    if options.form == "ensemble":
        found.append(
            Alert(
                "TritonKvCacheFull",
                f"max({KV}) > {KV_FULL:g}",
                "5m",
                "warning",
                f"More than {KV_FULL:.0%} of the KV cache is in use: requests wait for it or are paused",
                "Send fewer or shorter requests, or give the KV cache more memory.",
            )
        )
    return tuple(found)


def _throughput(options: TritonOptions) -> list[Alert]:
    """Slow while requests wait: an idle server makes few tokens too."""
    base = options.baseline
    if base is None or options.form != "ensemble" or base.output_tok_s <= 0:
        return []
    least, waiting = base.output_tok_s * SLACK, _waiting(options)
    return [
        Alert(
            "TritonThroughputUnderBaseline",
            f"{OUTPUT_TOKENS} < {least:.1f} and on() min_over_time({waiting}[5m:30s]) > 0",
            "5m",
            "warning",
            f"Under {SLACK:.0%} of the {base.output_tok_s:.1f} tok/s that run {base.run} measured, while requests wait",
            "Compare GPU clocks, other processes on the GPU, and the lengths of the requests with that run.",
        )
    ]


def _waiting(options: TritonOptions) -> str:
    """Requests that nobody works on: in Triton's queues, and inside the engine where that is reported."""
    if options.form == "llmapi":
        return f"sum({PENDING})"
    return f"(sum({WAITING}) + (sum({PENDING}) or vector(0)))"


def _queue(facts: EngineFacts, options: TritonOptions) -> Alert:
    waiting = _waiting(options)
    most = batch(facts)
    return Alert(
        "TritonQueueGrowing",
        f"{waiting} > {most} and on() deriv({waiting}[5m:30s]) > 0",
        "5m",
        "warning",
        f"More than {most} requests wait, a whole batch of the engine, and they grow in number",
        "Send fewer requests, or add another server.",
    )


def _p99(options: TritonOptions) -> Alert:
    base = options.baseline
    measured = base.latency_p99_ms if base is not None else None
    most_s = measured / 1000 * P99_SLACK if measured else P99_WITHOUT_BASELINE_S
    why = f"{P99_SLACK:g} times the p99 of run {base.run}" if base is not None and measured else "no baseline was given"
    return Alert(
        "TritonP99",
        f'max(nv_inference_request_summary_us{{model="{BACKEND}",quantile="0.99"}}) / 1e6 > {most_s:.3f}',
        "5m",
        "warning",
        f"99 of 100 requests take up to more than {most_s:.1f} s ({why})",
        "Look at the queue and at the KV cache first.",
    )


def alerts_text(found: tuple[Alert, ...]) -> str:
    """As Prometheus reads it; strings in JSON's quotes, which are YAML's too."""
    lines = ["groups:", "  - name: triton", "    rules:"]
    for alert in found:
        lines += [
            f"      - alert: {alert.name}",
            f"        expr: {json.dumps(alert.expression)}",
            f"        for: {alert.wait}",
            "        labels:",
            f"          severity: {alert.severity}",
            "        annotations:",
            f"          summary: {_annotation(alert.summary)}",
            f"          description: {_annotation(alert.do)}",
        ]
    return "\n".join(lines) + "\n"


def _annotation(text: str) -> str:
    """As it stands: Prometheus would take double braces for its templates."""
    return json.dumps(text.replace("{{", '{{ "{{" }}'), ensure_ascii=False)


def dashboard(facts: EngineFacts, options: TritonOptions) -> str:
    """A Grafana dashboard; it asks for the data source when it is imported."""
    front = BACKEND if options.form == "llmapi" else f"{BLS}|ensemble|{BACKEND}"
    models = f'model=~"{front}"'
    panels: list[tuple[str, str, list[tuple[str, str]]]] = [
        (
            "Requests",
            "reqps",
            [
                (f"sum by (model) (rate(nv_inference_request_success{{{models}}}[1m]))", "{{model}}"),
                (
                    f"sum by (model, reason) (rate(nv_inference_request_failure{{{models}}}[1m]))",
                    "{{model}} {{reason}}",
                ),
            ],
        ),
        (
            "Latency of whole requests",
            "µs",
            [(f'nv_inference_request_summary_us{{{models},quantile=~"0.5|0.9|0.99"}}', "{{model}} p{{quantile}}")],
        ),
        (
            "Wait in Triton's queue",
            "µs",
            [(f'nv_inference_queue_summary_us{{{models},quantile=~"0.5|0.9|0.99"}}', "{{model}} p{{quantile}}")],
        ),
        ("Waiting in Triton", "short", [(f"nv_inference_pending_request_count{{{models}}}", "{{model}}")]),
    ]
    if options.form == "ensemble":
        panels = [
            ("Tokens", "short", [(OUTPUT_TOKENS, "output tok/s"), (INPUT_TOKENS, "input tok/s")]),
            *panels,
            (
                "Requests of the engine",
                "short",
                [(f'nv_trt_llm_request_metrics{{model="{BACKEND}"}}', "{{request_type}}")],
            ),
            ("KV cache in use", "percentunit", [(KV, "share of blocks")]),
            (
                "KV blocks",
                "short",
                [
                    (
                        f'nv_trt_llm_kv_cache_block_metrics{{model="{BACKEND}",'
                        'kv_cache_block_type=~"used|free|max|reused"}',
                        "{{kv_cache_block_type}}",
                    )
                ],
            ),
            (
                "In flight",
                "short",
                [(f'nv_trt_llm_inflight_batcher_metrics{{model="{BACKEND}"}}', "{{inflight_batcher_specific_metric}}")],
            ),
        ]
    panels += [
        ("GPU memory", "bytes", [("nv_gpu_memory_used_bytes", "{{gpu_uuid}}")]),
        ("GPU utilisation", "percentunit", [("nv_gpu_utilization", "{{gpu_uuid}}")]),
    ]
    document = {
        "title": f"Triton: {facts.name}",
        "uid": f"workbench-{facts.slug}"[:40],
        "tags": ["triton", "tensorrt-llm"],
        "timezone": "browser",
        "schemaVersion": 39,
        "version": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}]
        },
        "panels": [_panel(number, *panel, _line(options, panel[0])) for number, panel in enumerate(panels)],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _line(options: TritonOptions, title: str) -> float | None:
    """Where the baseline stands on a panel."""
    base = options.baseline
    if base is None:
        return None
    if title == "Tokens":
        return base.output_tok_s
    return base.latency_p99_ms * 1000 if title.startswith("Latency") and base.latency_p99_ms else None


def _panel(
    number: int, title: str, unit: str, queries: list[tuple[str, str]], baseline: float | None
) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "$datasource"}
    steps: list[dict[str, Any]] = [{"color": "transparent", "value": None}]
    if baseline is not None:
        steps.append({"color": "orange", "value": round(baseline, 1)})
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "datasource": source,
        "gridPos": {"h": 8, "w": 12, "x": 12 * (number % 2), "y": 8 * (number // 2)},
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": source, "expr": expression, "legendFormat": legend}
            for at, (expression, legend) in enumerate(queries)
        ],
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
                "custom": {"thresholdsStyle": {"mode": "line" if baseline is not None else "off"}},
            },
            "overrides": [],
        },
    }

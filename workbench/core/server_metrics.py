"""What a server's `/metrics` says of its KV cache and its queue: Prometheus text, or the JSON of trtllm-serve.

Names are those of vLLM, SGLang, TensorRT-LLM, Triton's TensorRT-LLM backend, NIM, llama.cpp, TGI and our own. What a
server does not report stays None; other metrics are passed over.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from workbench.core.messages import Stats

_MAX_LINES = 200_000


class MetricsError(ValueError):
    """What came is neither Prometheus text nor the JSON that is known; the text says what it is."""


class Reading(NamedTuple):
    """One line of Prometheus text."""

    name: str
    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class ServerState:
    """The server's side at one moment; None is "not reported"."""

    source: str = ""
    """Whose names they were: `vllm`, `trtllm` ..."""
    kv_share: float | None = None
    """Of the KV cache in use, 0 to 1."""
    kv_blocks_used: int | None = None
    kv_blocks_total: int | None = None
    kv_block_tokens: int | None = None
    requests_active: int | None = None
    requests_queued: int | None = None
    prompt_tokens: int | None = None
    """Since the server began."""
    generated_tokens: int | None = None
    """Since the server began."""
    iteration_ms: float | None = None
    draft_tokens: int | None = None
    """Guessed by speculative decoding since the server began, and of these the ones that were kept; passes likewise."""
    accepted_tokens: int | None = None
    draft_passes: int | None = None
    facts: dict[str, str] = field(default_factory=dict)
    """What it says of how it runs: cache data type, share of GPU memory ..."""

    @property
    def known(self) -> bool:
        """Whether anything was reported at all."""
        return any(
            value is not None
            for value in (self.kv_share, self.kv_blocks_total, self.requests_active, self.requests_queued)
        )

    def stats(self) -> Stats:
        """As a host's message."""
        used, total = self.kv_blocks_used, self.kv_blocks_total
        return Stats.model_validate(
            {
                "kv_blocks_used": used,
                "kv_blocks_free": None if used is None or total is None else max(0, total - used),
                "kv_blocks_total": total,
                "kv_share": self.kv_share,
                "requests_active": self.requests_active,
                "requests_queued": self.requests_queued,
                "context_tokens": self.prompt_tokens,
                "generated_tokens": self.generated_tokens,
                "iteration_ms": self.iteration_ms,
                "draft_tokens": self.draft_tokens,
                "accepted_tokens": self.accepted_tokens,
                "draft_passes": self.draft_passes,
            }
        )


_LINE = re.compile(
    r"""^\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(.*)\})?\s+([^\s}]+)(?:\s+-?\d+(?:\.\d*)?)?(?:\s+\#.*)?\s*$"""
)
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*,?')
_ESCAPES = {"n": "\n", "\\": "\\", '"': '"'}


def parse_prometheus(text: str) -> list[Reading]:
    """All readings of a Prometheus text; comments and lines that are none are passed over, NaN too."""
    found = []
    for line in text.splitlines()[:_MAX_LINES]:
        if not line or line[0] == "#":
            continue
        match = _LINE.match(line)
        if match is None:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        if not math.isnan(value):
            found.append(Reading(match[1], _labels(match[2]) if match[2] else {}, value))
    return found


def _labels(text: str) -> dict[str, str]:
    return {
        match[1]: re.sub(r"\\(.)", lambda escaped: _ESCAPES.get(escaped[1], escaped[0]), match[2])
        for match in _LABEL.finditer(text)
    }


def read_metrics(body: bytes | str, content_type: str = "", model: str = "") -> ServerState:
    """The state that a `/metrics` answer tells of; of a server with several models that of `model`, where lines name
    one. Raises MetricsError for what is no such answer; an answer that says nothing known gives an empty state.
    """
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    start = text.lstrip()[:1]
    if start in ("[", "{", '"') or "json" in content_type:
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise MetricsError("it begins like JSON and is none") from error
        if isinstance(data, str):  # some builds of llama.cpp send the text as a JSON string
            return _from_readings(parse_prometheus(data), model)
        return _from_json(data)
    if start == "<":
        raise MetricsError("it is a page of HTML or XML")
    readings = parse_prometheus(text)
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not readings and lines and not any(_LINE.match(line) for line in lines):
        raise MetricsError("it is neither Prometheus text nor JSON")
    return _from_readings(readings, model)


class _Table:
    """Readings by name without prefix, summed over labels that tell apart what belongs together."""

    def __init__(self, readings: Iterable[Reading], prefix: str, model: str) -> None:
        self._by_name: dict[str, list[Reading]] = {}
        for reading in readings:
            if reading.name.startswith(prefix):
                self._by_name.setdefault(reading.name[len(prefix) :], []).append(reading)
        self._model = model

    def all(self, name: str) -> list[Reading]:
        """Of the model, where any line names it."""
        found = self._by_name.get(name, [])
        own = [reading for reading in found if self._model and self._model in _models_of(reading.labels)]
        return own or found

    def total(self, *names: str) -> int | None:
        """The sum over engines and ranks, by the first name that is there."""
        for name in names:
            values = [reading.value for reading in self.all(name) if math.isfinite(reading.value)]
            if values:
                return round(sum(values))
        return None

    def share(self, *names: str) -> float | None:
        """The mean over engines of a share from 0 to 1; one that is outside is not believed."""
        for name in names:
            values = [reading.value for reading in self.all(name)]
            if values and all(0 <= value <= 1.0001 for value in values):
                return min(1.0, math.fsum(values) / len(values))
        return None

    def labelled(self, name: str, label: str, word: str) -> int | None:
        values = [r.value for r in self.all(name) if r.labels.get(label) == word and math.isfinite(r.value)]
        return round(sum(values)) if values else None


def _models_of(labels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(labels[name] for name in ("model_name", "model", "served_model_name") if name in labels)


def _from_readings(readings: list[Reading], model: str) -> ServerState:
    names = {reading.name for reading in readings}
    for source, prefix, sign, read in _SERVERS:
        if any(name.startswith(prefix + sign) for name in names):
            state = read(_Table(readings, prefix, model), source)
            if state.known:
                return state
    return ServerState()


def _vllm(table: _Table, source: str) -> ServerState:
    share = table.share("kv_cache_usage_perc", "gpu_cache_usage_perc")
    configs = [reading.labels for reading in table.all("cache_config_info")]
    sizes = [size for size in (_whole(labels.get("num_gpu_blocks")) for labels in configs) if size is not None]
    total = sum(sizes) if sizes and len(sizes) == len(configs) else None
    wanted = ("cache_dtype", "gpu_memory_utilization", "enable_prefix_caching", "block_size")
    config = configs[0] if configs else {}
    return ServerState(
        source,
        kv_share=share,
        kv_blocks_used=None if share is None or total is None else round(share * total),
        kv_blocks_total=total,
        kv_block_tokens=_whole(config.get("block_size")),
        requests_active=table.total("num_requests_running"),
        requests_queued=table.total("num_requests_waiting"),
        prompt_tokens=table.total("prompt_tokens_total"),
        generated_tokens=table.total("generation_tokens_total"),
        draft_tokens=table.total("spec_decode_num_draft_tokens_total"),
        accepted_tokens=table.total("spec_decode_num_accepted_tokens_total"),
        draft_passes=table.total("spec_decode_num_drafts_total"),
        facts={name: config[name] for name in wanted if config.get(name) not in (None, "", "None")},
    )


def _sglang(table: _Table, source: str) -> ServerState:
    used, most = table.total("num_used_tokens"), table.total("max_total_num_tokens")
    share = table.share("token_usage")
    if share is None and used is not None and most:
        share = min(1.0, used / most)
    # Its pages may hold one token each, so blocks are tokens here; only where both sides are told.
    told = used is not None and most is not None
    return ServerState(
        source,
        kv_share=share,
        kv_blocks_used=used if told else None,
        kv_blocks_total=most if told else None,
        kv_block_tokens=1 if told else None,
        requests_active=table.total("num_running_reqs"),
        requests_queued=table.total("num_queue_reqs"),
        prompt_tokens=table.total("prompt_tokens_total"),
        generated_tokens=table.total("generation_tokens_total"),
    )


def _llamacpp(table: _Table, source: str) -> ServerState:
    return ServerState(
        source,
        kv_share=table.share("kv_cache_usage_ratio"),
        requests_active=table.total("requests_processing"),
        requests_queued=table.total("requests_deferred"),
        prompt_tokens=table.total("prompt_tokens_total"),
        generated_tokens=table.total("tokens_predicted_total"),
    )


def _triton(table: _Table, source: str) -> ServerState:
    blocks, requests = "kv_cache_block_metrics", "request_metrics"
    used = table.labelled(blocks, "kv_cache_block_type", "used")
    total = table.labelled(blocks, "kv_cache_block_type", "max")
    return ServerState(
        source,
        kv_share=min(1.0, used / total) if used is not None and total else None,
        kv_blocks_used=used,
        kv_blocks_total=total,
        kv_block_tokens=table.labelled(blocks, "kv_cache_block_type", "tokens_per"),
        requests_active=table.labelled(requests, "request_type", "active"),
        requests_queued=table.labelled(requests, "request_type", "waiting"),
    )


def _triton_front(table: _Table, source: str) -> ServerState:
    """Of a Triton without the C++ backend: what waits in its own queue."""
    return ServerState(source, requests_queued=table.total("pending_request_count"))


def _trtllm(table: _Table, source: str) -> ServerState:
    used, total = table.total("kv_cache_used_blocks"), table.total("kv_cache_max_blocks")
    return ServerState(
        source,
        kv_share=table.share("kv_cache_utilization"),
        kv_blocks_used=used,
        kv_blocks_total=total,
        kv_block_tokens=table.total("kv_cache_tokens_per_block"),
        requests_active=table.total("num_requests_running", "num_active_requests"),
        requests_queued=table.total("num_requests_waiting", "num_queued_requests"),
        prompt_tokens=table.total("prompt_tokens_total"),
        generated_tokens=table.total("generation_tokens_total"),
    )


def _tgi(table: _Table, source: str) -> ServerState:
    return ServerState(
        source, requests_active=table.total("batch_current_size"), requests_queued=table.total("queue_size")
    )


_SERVERS = (
    ("vllm", "vllm:", "", _vllm),
    ("sglang", "sglang:", "", _sglang),
    ("sglang", "sglang_", "", _sglang),
    ("llamacpp", "llamacpp:", "", _llamacpp),
    ("triton", "nv_trt_llm_", "", _triton),
    ("triton", "nv_inference_", "", _triton_front),
    ("trtllm", "trtllm_", "", _trtllm),
    ("trtllm", "trtllm:", "", _trtllm),
    ("tgi", "tgi_", "", _tgi),
    ("workbench", "workbench_", "", _vllm),  # vLLM's names behind our own prefix
    ("nim", "", "num_request", _vllm),  # vLLM's names without their prefix
    ("nim", "", "gpu_cache_usage_perc", _vllm),
)


def _from_json(data: Any) -> ServerState:
    """trtllm-serve: a list of iteration records since it was last asked, the newest last; or one record."""
    if isinstance(data, list):
        if not data:
            return ServerState("trtllm")
        data = data[-1]
    if not isinstance(data, dict):
        raise MetricsError("its JSON is no record and no list of records")
    kv = data.get("kvCacheStats")
    kv = kv if isinstance(kv, dict) else {}
    used, total = _whole(kv.get("usedNumBlocks")), _whole(kv.get("maxNumBlocks"))
    latency = data.get("iterLatencyMS")
    return ServerState(
        "trtllm" if "iter" in data or kv else "",
        kv_share=min(1.0, used / total) if used is not None and total else None,
        kv_blocks_used=used,
        kv_blocks_total=total,
        kv_block_tokens=_whole(kv.get("tokensPerBlock")),
        requests_active=_whole(data.get("numActiveRequests")),
        requests_queued=_whole(data.get("numQueuedRequests")),
        iteration_ms=float(latency) if isinstance(latency, int | float) and not isinstance(latency, bool) else None,
    )


def _whole(value: object) -> int | None:
    """A whole number of 0 or more, written as a number or as a label's text."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(str(value))
    except ValueError:
        return None
    return int(number) if math.isfinite(number) and number >= 0 else None

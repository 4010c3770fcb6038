"""Parameters of the C++ backend, from the engine's real limits. What is not set is left out: the backend's default.

Three are always there, empty where they do not apply: it stops loading when one of them is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from workbench.core.deploy.facts import EngineFacts
from workbench.core.deploy.triton.options import ROOT, TritonOptions
from workbench.core.errors import BadInputError
from workbench.core.speculative import lookahead_draft_len

KNOWN = frozenset(
    {
        "max_beam_width",
        "gpt_model_type",
        "gpt_model_path",
        "encoder_model_path",
        "max_tokens_in_paged_kv_cache",
        "max_attention_window_size",
        "sink_token_length",
        "batch_scheduler_policy",
        "kv_cache_free_gpu_mem_fraction",
        "cross_kv_cache_fraction",
        "kv_cache_host_memory_bytes",
        "kv_cache_onboard_blocks",
        "enable_trt_overlap",
        "recv_poll_period_ms",
        "exclude_input_in_output",
        "cancellation_check_period_ms",
        "stats_check_period_ms",
        "iter_stats_max_iterations",
        "request_stats_max_iterations",
        "enable_kv_cache_reuse",
        "normalize_log_probs",
        "enable_chunked_context",
        "gpu_device_ids",
        "participant_ids",
        "num_nodes",
        "lora_cache_optimal_adapter_size",
        "lora_cache_max_adapter_size",
        "lora_cache_gpu_memory_fraction",
        "lora_cache_host_memory_bytes",
        "lora_prefetch_dir",
        "decoding_mode",
        "executor_worker_path",
        "lookahead_window_size",
        "lookahead_ngram_size",
        "lookahead_verification_set_size",
        "medusa_choices",
        "eagle_choices",
        "gpu_weights_percent",
        "enable_context_fmha_fp32_acc",
        "multi_block_mode",
        "cuda_graph_mode",
        "cuda_graph_cache_size",
        "speculative_decoding_fast_logits",
        "tokenizer_dir",
        "guided_decoding_backend",
        "xgrammar_tokenizer_info_path",
    }
)
"""All that the backend of 1.2 reads; files that confirm it: resources/deploy/triton/SOURCES.md."""
NEEDED = ("tokenizer_dir", "guided_decoding_backend", "xgrammar_tokenizer_info_path")
"""Read without a default."""
DECODING_MODES: Mapping[str, str] = {
    "medusa": "medusa",
    "lookahead_decoding": "lookahead",
    "explicit_draft_tokens": "redrafter",
    "eagle": "eagle",
}
"""Mode that an engine was built for -> `decoding_mode`. draft_tokens_external has none: drafts come with requests."""
WORKER = "/opt/tritonserver/backends/tensorrtllm/trtllmExecutorWorker"


def backend_parameters(facts: EngineFacts, options: TritonOptions, engine: str) -> dict[str, str]:
    """Of one engine; `engine`: its folder inside the container."""
    paged = facts.kv_cache_type in ("", "paged")
    reuses = paged and bool(facts.paged_context_fmha) and (facts.max_beam_width or 1) == 1
    found = {
        "gpt_model_type": "inflight_fused_batching" if paged else "v1",
        "gpt_model_path": engine,
        "max_beam_width": str(facts.max_beam_width or 1),
        "batch_scheduler_policy": options.scheduler,
        "exclude_input_in_output": "true",
        "enable_kv_cache_reuse": _bool(reuses and options.kv_reuse),
        "enable_chunked_context": _bool(bool(facts.paged_context_fmha) and options.chunked_context),
        "normalize_log_probs": "true",
        "cancellation_check_period_ms": "100",
        "stats_check_period_ms": "100",
        "executor_worker_path": WORKER,
        "tokenizer_dir": f"{ROOT}/tokenizer",
        "guided_decoding_backend": "",
        "xgrammar_tokenizer_info_path": "",
    }
    if paged:
        found["kv_cache_free_gpu_mem_fraction"] = f"{options.kv_fraction:g}"
    if options.kv_host_bytes:
        found["kv_cache_host_memory_bytes"] = str(options.kv_host_bytes)
    if options.gpu_ids:
        found["gpu_device_ids"] = ",".join(map(str, options.gpu_ids))
    if options.nodes > 1:
        found["num_nodes"] = str(options.nodes)
    return found | _speculative(facts, options)


def _speculative(facts: EngineFacts, options: TritonOptions) -> dict[str, str]:
    if facts.speculative is None:
        return {}
    mode = DECODING_MODES.get(facts.speculative.mode, "")
    found = {"decoding_mode": mode} if mode else {}
    if mode == "lookahead":
        sizes = lookahead_sizes(facts, options)
        names = ("lookahead_window_size", "lookahead_ngram_size", "lookahead_verification_set_size")
        found |= dict(zip(names, map(str, sizes), strict=True)) if sizes else {}
    elif mode in ("medusa", "eagle") and options.choices:
        found[f"{mode}_choices"] = _braced(options.choices)
    return found


def _braced(choices: str) -> str:
    """A list of lists, as JSON, in the form that the backend reads: `{0}, {0, 1}`. Raises BadInputError."""
    try:
        paths = json.loads(choices)
    except (ValueError, RecursionError):
        paths = None
    whole = isinstance(paths, list) and bool(paths)
    if not whole or any(not isinstance(path, list) or not path or not all(map(_is_whole, path)) for path in paths):
        raise BadInputError(
            "--choices is no tree.",
            evidence=choices[:80],
            fix="Give a list of paths, such as [[0], [0, 0], [1]].",
            code="bad-option",
        )
    return ", ".join("{" + ", ".join(map(str, path)) + "}" for path in paths)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def lookahead_sizes(facts: EngineFacts, options: TritonOptions) -> tuple[int, int, int] | None:
    """Those that were asked for, else equal ones that fill the engine's max_draft_len; None: there are none."""
    if options.lookahead is not None:
        return options.lookahead
    if facts.speculative is None:
        return None
    fits = [n for n in range(2, 65) if lookahead_draft_len(n, n, n) <= facts.speculative.max_draft_len]
    return (fits[-1],) * 3 if fits else None


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _is_number(text: str) -> bool:
    return text.isdecimal()


def _is_share(text: str) -> bool:
    try:
        return 0 < float(text) <= 1
    except ValueError:
        return False


def _is_bool(text: str) -> bool:
    return text in ("true", "false")


SHAPES: Mapping[str, Callable[[str], bool]] = {
    **dict.fromkeys(
        (
            *("max_beam_width", "kv_cache_host_memory_bytes", "cancellation_check_period_ms", "num_nodes"),
            *("stats_check_period_ms", "lookahead_window_size", "lookahead_ngram_size"),
            "lookahead_verification_set_size",
        ),
        _is_number,
    ),
    **dict.fromkeys(
        ("enable_kv_cache_reuse", "enable_chunked_context", "normalize_log_probs", "exclude_input_in_output"), _is_bool
    ),
    "kv_cache_free_gpu_mem_fraction": _is_share,
    "gpt_model_type": lambda text: text in ("inflight_fused_batching", "inflight_batching", "v1", "V1"),
    "batch_scheduler_policy": lambda text: text in ("guaranteed_no_evict", "max_utilization"),
    "decoding_mode": lambda text: text in ("medusa", "redrafter", "lookahead", "eagle"),
}
"""How the backend reads a parameter's text: another form is passed over with a warning, or stops it."""

"""Settings of the engine host: what a preset's [runtime] and [limits] mean to TensorRT-LLM's executor."""

from __future__ import annotations

from typing import Any

from workbench.core.preset import Preset
from workbench.core.preset_speculative import SpeculativeTable, tree_paths
from workbench.core.speculative import lookahead_sizes


def runtime_settings(preset: Preset) -> dict[str, Any]:
    """Settings of the trtllm.host worker; what the preset leaves open is left to the host, which sees the GPUs."""
    runtime, limits = preset.runtime, preset.limits
    settings: dict[str, Any] = {
        "kv_cache_free_gpu_memory_fraction": runtime.kv_fraction,
        "kv_blocks": runtime.kv_blocks,
        "kv_cache_bytes": _bytes(runtime.kv_cache_gib),
        "host_cache_size": _bytes(runtime.host_cache_gib),
        "enable_block_reuse": runtime.prefix_caching,
        "enable_chunked_context": runtime.chunked_prefill,
        "scheduler_policy": runtime.scheduler_policy,
        "max_batch_size": limits.max_batch_size,
        "max_num_tokens": runtime.max_num_batched_tokens,
        "max_seq_len": limits.max_seq_len,
        "trust_remote_code": preset.model.trust_remote_code,
        "speculative": _speculative(preset.speculative),
    }
    return {name: value for name, value in settings.items() if value is not None}


def _speculative(table: SpeculativeTable) -> dict[str, Any] | None:
    """None for draft_target too: the engine API takes no second model."""
    if table.mode not in ("lookahead", "medusa", "eagle"):
        return None
    if table.mode == "lookahead":
        window, ngram, verification = lookahead_sizes(table)
        return {"mode": table.mode, "window_size": window, "ngram_size": ngram, "verification_set": verification}
    given = {
        "mode": table.mode,
        "draft_tokens": table.draft_tokens,
        "heads": table.heads if table.mode == "medusa" else None,
        "choices": tree_paths(table.choices) if table.choices else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _bytes(gib: float | None) -> int | None:
    return None if gib is None else int(gib * 2**30)

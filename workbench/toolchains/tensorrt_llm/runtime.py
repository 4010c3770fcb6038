"""Settings of the engine host: what a preset's [runtime] and [limits] mean to TensorRT-LLM's executor."""

from __future__ import annotations

from typing import Any

from workbench.core.preset import Preset


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
    }
    return {name: value for name, value in settings.items() if value is not None}


def _bytes(gib: float | None) -> int | None:
    return None if gib is None else int(gib * 2**30)

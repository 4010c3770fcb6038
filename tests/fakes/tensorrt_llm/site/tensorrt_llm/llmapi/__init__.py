"""Arguments of the LLM class: the documented names and values, all else refused as the real classes refuse it."""

from __future__ import annotations

import os
from enum import Enum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class CapacitySchedulerPolicy(str, Enum):
    MAX_UTILIZATION = "MAX_UTILIZATION"
    GUARANTEED_NO_EVICT = "GUARANTEED_NO_EVICT"
    STATIC_BATCH = "STATIC_BATCH"


class ContextChunkingPolicy(str, Enum):
    FIRST_COME_FIRST_SERVED = "FIRST_COME_FIRST_SERVED"
    EQUAL_PROGRESS = "EQUAL_PROGRESS"


class BatchingType(str, Enum):
    STATIC = "STATIC"
    INFLIGHT = "INFLIGHT"


class DynamicBatchConfig(_Strict):
    enable_batch_size_tuning: bool
    enable_max_num_tokens_tuning: bool
    dynamic_batch_moving_average_window: int = 128


class SchedulerConfig(_Strict):
    capacity_scheduler_policy: CapacitySchedulerPolicy = CapacitySchedulerPolicy.GUARANTEED_NO_EVICT
    context_chunking_policy: ContextChunkingPolicy | None = None
    dynamic_batch_config: DynamicBatchConfig | None = None


class KvCacheConfig(_Strict):
    enable_block_reuse: bool = True
    max_tokens: int | None = Field(default=None, gt=0)
    max_attention_window: list[int] | None = None
    sink_token_length: int | None = None
    free_gpu_memory_fraction: float | None = Field(default=0.9, ge=0.0, le=1.0)
    host_cache_size: int | None = Field(default=None, ge=0)
    onboard_blocks: bool = True
    cross_kv_cache_fraction: float | None = None
    secondary_offload_min_priority: int | None = None
    event_buffer_max_size: int = Field(default=0, ge=0)
    attention_dp_events_gather_period_ms: int = 5
    enable_partial_reuse: bool = True
    copy_on_partial_reuse: bool = True
    use_uvm: bool = False
    max_gpu_total_bytes: int = Field(default=0, ge=0)
    dtype: str = "auto"
    tokens_per_block: int = 32


class ExtendedRuntimePerfKnobConfig(_Strict):
    multi_block_mode: bool = True
    enable_context_fmha_fp32_acc: bool = False
    cuda_graph_mode: bool = False
    cuda_graph_cache_size: int = 0


class _Decoding(_Strict):
    """`decoding_type` is the class's own and no argument, as in 1.2."""

    max_draft_len: int | None = Field(default=None, gt=0)


class LookaheadDecodingConfig(_Decoding):
    max_window_size: int = Field(default=4, gt=0)
    max_ngram_size: int = Field(default=3, gt=0)
    max_verification_set_size: int = Field(default=4, gt=0)

    def resource(self) -> int:
        """Most draft tokens, by the executor's formula."""
        w, n, v = self.max_window_size, self.max_ngram_size, self.max_verification_set_size
        return (0 if n == 1 else n - 2) + (w - 1 + v) * (n - 1)


class MedusaDecodingConfig(_Decoding):
    medusa_choices: list[list[int]] | None = None
    num_medusa_heads: int | None = None


class EagleDecodingConfig(_Decoding):
    eagle_choices: list[list[int]] | None = None
    greedy_sampling: bool | None = True
    posterior_threshold: float | None = None
    use_dynamic_tree: bool | None = False
    dynamic_tree_max_topK: int | None = None
    num_eagle_layers: int | None = None
    max_non_leaves_per_layer: int | None = None
    speculative_model_dir: str | None = None


SAMPLING: dict[str, Any] = {
    "end_id": None, "pad_id": None, "max_tokens": 32, "bad": None, "bad_token_ids": None, "stop": None,
    "stop_token_ids": None, "include_stop_str_in_output": False, "embedding_bias": None, "logits_processor": None,
    "apply_batched_logits_processor": False, "n": 1, "best_of": None, "use_beam_search": False, "top_k": None,
    "top_p": None, "top_p_min": None, "top_p_reset_ids": None, "top_p_decay": None, "seed": None, "temperature": None,
    "min_tokens": None, "beam_search_diversity_rate": None, "repetition_penalty": None, "presence_penalty": None,
    "frequency_penalty": None, "length_penalty": None, "early_stopping": None, "no_repeat_ngram_size": None,
    "min_p": None, "beam_width_array": None, "logprobs": None, "prompt_logprobs": None,
    "return_context_logits": False, "return_generation_logits": False, "exclude_input_from_output": True,
    "return_encoder_output": False, "return_perf_metrics": False, "additional_model_outputs": None,
    "lookahead_config": None, "guided_decoding": None, "ignore_eos": False, "detokenize": True,
    "add_special_tokens": True, "truncate_prompt_tokens": None, "skip_special_tokens": True,
    "spaces_between_special_tokens": True,
}  # fmt: skip


class SamplingParams:
    """Keyword-only; None leaves a value to the C++ default."""

    def __init__(self, **kwargs: Any) -> None:
        for name in kwargs:
            if name not in SAMPLING:
                raise TypeError(f"SamplingParams.__init__() got an unexpected keyword argument '{name}'")
        for name, default in SAMPLING.items():
            setattr(self, name, kwargs.get(name, default))
        self._check()

    def _check(self) -> None:
        ranges: dict[str, tuple[float, float]] = {
            "top_p": (0, 1), "top_k": (0, 2**31), "temperature": (0, 1e9), "min_p": (0, 1), "max_tokens": (1, 2**31),
            "repetition_penalty": (1e-9, 1e9), "seed": (0, 2**64 - 1), "n": (1, 2**31),
        }  # fmt: skip
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"require {low} <= {name} <= {high}, got {name}={value}")
        if self.n > 1 and self.greedy and not os.environ.get("TLLM_ALLOW_N_GREEDY_DECODING"):
            raise ValueError("Greedy decoding in the LLM API does not allow multiple returns. Please set to n=1")

    @property
    def greedy(self) -> bool:
        """As C++ decides it: without top_k over 1 and without top_p there is nothing to draw from."""
        return self.top_k in (None, 0, 1) and not self.top_p

"""Names, types and shapes of the tensors, as the C++ backend of TensorRT-LLM 1.2 has them.

The backend reads inputs and makes outputs by these names, so they are no choice of ours. Tensors of encoders, images,
prompt tables and LoRA are left out: such engines are not exported.
"""

from __future__ import annotations

from workbench.core.deploy.triton.pbtxt import DType, Tensor


def _scalars(dtype: DType, *names: str) -> tuple[Tensor, ...]:
    return tuple(Tensor(name, dtype, (1,), optional=True, scalar=True) for name in names)


def _lists(dtype: DType, dims: tuple[int, ...], *names: str) -> tuple[Tensor, ...]:
    return tuple(Tensor(name, dtype, dims, optional=True, ragged=True) for name in names)


def backend_inputs(logits: DType) -> tuple[Tensor, ...]:
    """Inputs of the C++ backend. `logits`: type of the engine's logits."""
    return (
        *_lists("INT32", (-1,), "input_ids"),
        Tensor("input_lengths", "INT32", (1,), scalar=True),
        Tensor("request_output_len", "INT32", (1,), scalar=True),
        *_scalars("INT32", "num_return_sequences"),
        *_lists("INT32", (-1,), "draft_input_ids"),
        *_lists(logits, (-1, -1), "draft_logits"),
        *_scalars("FP32", "draft_acceptance_threshold"),
        *_scalars("INT32", "end_id", "pad_id"),
        *_lists("INT32", (2, -1), "stop_words_list", "bad_words_list"),
        *_lists("FP32", (-1,), "embedding_bias"),
        *_scalars("INT32", "beam_width"),
        *_scalars("FP32", "temperature"),
        *_scalars("INT32", "runtime_top_k"),
        *_scalars("FP32", "runtime_top_p", "runtime_top_p_min", "runtime_top_p_decay"),
        *_scalars("INT32", "runtime_top_p_reset_ids"),
        *_scalars("FP32", "len_penalty"),
        *_scalars("BOOL", "early_stopping"),
        *_scalars("FP32", "repetition_penalty"),
        *_scalars("INT32", "min_tokens"),
        *_scalars("FP32", "beam_search_diversity_rate", "presence_penalty", "frequency_penalty"),
        *_scalars("UINT64", "seed"),
        *_scalars("BOOL", "return_log_probs", "return_context_logits", "return_generation_logits"),
        *_scalars("BOOL", "return_perf_metrics", "return_num_input_tokens", "return_num_output_tokens"),
        *_scalars("BOOL", "exclude_input_in_output", "stop", "streaming"),
        *_lists("INT32", (-1,), "retention_token_range_starts", "retention_token_range_ends"),
        *_lists("INT32", (-1,), "retention_token_range_priorities", "retention_token_range_durations_ms"),
        *_lists("INT32", (1,), "retention_decode_priority", "retention_decode_duration_ms"),
        *_lists("STRING", (1,), "guided_decoding_guide_type", "guided_decoding_guide"),
        *_lists("INT32", (1,), "lookahead_window_size", "lookahead_ngram_size", "lookahead_verification_set_size"),
    )


def measured_outputs(logits: DType) -> tuple[Tensor, ...]:
    """Outputs beside the tokens: the ensemble and BLS hand them on under the same names."""
    return (
        Tensor("cum_log_probs", "FP32", (-1,)),
        Tensor("output_log_probs", "FP32", (-1, -1)),
        Tensor("context_logits", logits, (-1, -1)),
        Tensor("generation_logits", logits, (-1, -1, -1)),
        Tensor("batch_index", "INT32", (1,)),
        Tensor("sequence_index", "INT32", (1,)),
        Tensor("kv_cache_alloc_new_blocks", "INT32", (1,)),
        Tensor("kv_cache_reused_blocks", "INT32", (1,)),
        Tensor("kv_cache_alloc_total_blocks", "INT32", (1,)),
        Tensor("arrival_time_ns", "INT64", (1,)),
        Tensor("first_scheduled_time_ns", "INT64", (1,)),
        Tensor("first_token_time_ns", "INT64", (1,)),
        Tensor("last_token_time_ns", "INT64", (1,)),
        Tensor("acceptance_rate", "FP32", (1,)),
        Tensor("total_accepted_draft_tokens", "INT32", (1,)),
        Tensor("total_draft_tokens", "INT32", (1,)),
        Tensor("num_input_tokens", "INT32", (1,)),
        Tensor("num_output_tokens", "INT32", (1,)),
    )


def backend_outputs(logits: DType) -> tuple[Tensor, ...]:
    return (
        Tensor("output_ids", "INT32", (-1, -1)),
        Tensor("sequence_length", "INT32", (-1,)),
        *measured_outputs(logits),
        Tensor("context_phase_params", "UINT8", (-1,)),
    )


ASKED: tuple[tuple[Tensor, str], ...] = (
    (Tensor("end_id", "INT32", (1,), optional=True), ""),
    (Tensor("pad_id", "INT32", (1,), optional=True), ""),
    (Tensor("top_k", "INT32", (1,), optional=True), "runtime_top_k"),
    (Tensor("top_p", "FP32", (1,), optional=True), "runtime_top_p"),
    (Tensor("temperature", "FP32", (1,), optional=True), "temperature"),
    (Tensor("length_penalty", "FP32", (1,), optional=True), "len_penalty"),
    (Tensor("repetition_penalty", "FP32", (1,), optional=True), "repetition_penalty"),
    (Tensor("min_tokens", "INT32", (1,), optional=True), "min_tokens"),
    (Tensor("presence_penalty", "FP32", (1,), optional=True), "presence_penalty"),
    (Tensor("frequency_penalty", "FP32", (1,), optional=True), "frequency_penalty"),
    (Tensor("seed", "UINT64", (1,), optional=True), "seed"),
    (Tensor("return_log_probs", "BOOL", (1,), optional=True), "return_log_probs"),
    (Tensor("return_context_logits", "BOOL", (1,), optional=True), "return_context_logits"),
    (Tensor("return_generation_logits", "BOOL", (1,), optional=True), "return_generation_logits"),
    (Tensor("return_perf_metrics", "BOOL", (1,), optional=True), "return_perf_metrics"),
    (Tensor("return_num_input_tokens", "BOOL", (1,), optional=True), "return_num_input_tokens"),
    (Tensor("return_num_output_tokens", "BOOL", (1,), optional=True), "return_num_output_tokens"),
    (Tensor("num_return_sequences", "INT32", (1,), optional=True), "num_return_sequences"),
    (Tensor("beam_width", "INT32", (1,), optional=True), "beam_width"),
    (Tensor("exclude_input_in_output", "BOOL", (1,), optional=True), "exclude_input_in_output"),
    (Tensor("stream", "BOOL", (1,), optional=True), "streaming"),
)
"""What a client may ask of the ensemble and of BLS, and the backend's input for it; empty: preprocessing's."""

PROMPT: tuple[tuple[Tensor, str], ...] = (
    (Tensor("text_input", "STRING", (1,)), "QUERY"),
    (Tensor("max_tokens", "INT32", (1,)), "REQUEST_OUTPUT_LEN"),
    (Tensor("bad_words", "STRING", (-1,), optional=True), "BAD_WORDS_DICT"),
    (Tensor("stop_words", "STRING", (-1,), optional=True), "STOP_WORDS_DICT"),
    (Tensor("embedding_bias_words", "STRING", (-1,), optional=True), "EMBEDDING_BIAS_WORDS"),
    (Tensor("embedding_bias_weights", "FP32", (-1,), optional=True), "EMBEDDING_BIAS_WEIGHTS"),
)
"""What a client sends of text, and the input of preprocessing that it goes to."""

PREPROCESSING_INPUTS: tuple[Tensor, ...] = (
    *(Tensor(name, asked.dtype, asked.dims, optional=asked.optional) for asked, name in PROMPT),
    Tensor("END_ID", "INT32", (1,), optional=True),
    Tensor("PAD_ID", "INT32", (1,), optional=True),
)
PREPROCESSING: tuple[tuple[Tensor, str], ...] = (
    (Tensor("INPUT_ID", "INT32", (-1,)), "input_ids"),
    (Tensor("REQUEST_INPUT_LEN", "INT32", (1,)), "input_lengths"),
    (Tensor("REQUEST_OUTPUT_LEN", "INT32", (1,)), "request_output_len"),
    (Tensor("BAD_WORDS_IDS", "INT32", (2, -1)), "bad_words_list"),
    (Tensor("STOP_WORDS_IDS", "INT32", (2, -1)), "stop_words_list"),
    (Tensor("EMBEDDING_BIAS", "FP32", (-1,)), "embedding_bias"),
    (Tensor("OUT_END_ID", "INT32", (1,)), "end_id"),
    (Tensor("OUT_PAD_ID", "INT32", (1,)), "pad_id"),
)
"""Outputs of preprocessing, and the backend's input that each becomes."""

POSTPROCESSING_INPUTS = (Tensor("TOKENS_BATCH", "INT32", (-1, -1)), Tensor("SEQUENCE_LENGTH", "INT32", (-1,)))
TEXT_OUTPUT = Tensor("text_output", "STRING", (-1,))

DRAFTING = (
    Tensor("num_draft_tokens", "INT32", (1,), optional=True),
    Tensor("use_draft_logits", "BOOL", (1,), optional=True),
)
"""Only BLS drafts."""

_SAMPLING: tuple[tuple[str, DType, tuple[int, ...]], ...] = (
    ("max_tokens", "INT32", (1,)),
    ("temperature", "FP32", (1,)),
    ("top_k", "INT32", (1,)),
    ("top_p", "FP32", (1,)),
    ("frequency_penalty", "FP32", (1,)),
    ("presence_penalty", "FP32", (1,)),
    ("seed", "UINT64", (1,)),
    ("stop", "STRING", (-1,)),
    ("best_of", "INT32", (1,)),
    ("exclude_input_from_output", "BOOL", (1,)),
    ("return_perf_metrics", "BOOL", (1,)),
)
LLMAPI_INPUTS: tuple[Tensor, ...] = (
    Tensor("text_input", "STRING", (1,)),
    Tensor("streaming", "BOOL", (1,), optional=True),
    *(Tensor(f"sampling_param_{name}", dtype, dims, optional=True) for name, dtype, dims in _SAMPLING),
    Tensor("return_finish_reason", "BOOL", (1,), optional=True),
    Tensor("return_stop_reason", "BOOL", (1,), optional=True),
    Tensor("return_cumulative_logprob", "BOOL", (1,), optional=True),
)
LLMAPI_OUTPUTS: tuple[Tensor, ...] = (
    Tensor("text_output", "STRING", (-1,)),
    Tensor("finish_reason", "STRING", (-1,)),
    Tensor("stop_reason", "STRING", (-1,)),
    Tensor("cumulative_logprob", "FP32", (-1,)),
)

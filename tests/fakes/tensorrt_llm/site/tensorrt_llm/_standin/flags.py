"""The flags of `trtllm-build` 1.2: name, kind, default, choices, aliases.

A copy of its own, so that a slip in the workbench's table shows. Kinds: str, int, strs (one or more), switch.
"""

from __future__ import annotations

from typing import NamedTuple


class Flag(NamedTuple):
    name: str
    kind: str
    default: object = None
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    plugin: bool = False


FLOATS = ("auto", "float16", "float32", "bfloat16", "int32", "disable")
SWITCH = ("enable", "disable")
LORA_MODULES = (
    "attn_qkv",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_dense",
    "mlp_h_to_4h",
    "mlp_4h_to_h",
    "mlp_gate",
    "cross_attn_qkv",
    "cross_attn_q",
    "cross_attn_k",
    "cross_attn_v",
    "cross_attn_dense",
    "moe_h_to_4h",
    "moe_4h_to_h",
    "moe_gate",
)

FLAGS: tuple[Flag, ...] = (
    Flag("checkpoint_dir", "str", None),
    Flag("model_config", "str", None),
    Flag("build_config", "str", None),
    Flag("model_cls_file", "str", None),
    Flag("model_cls_name", "str", None),
    Flag("output_dir", "str", "engine_outputs"),
    Flag("max_batch_size", "int", 2048),
    Flag("max_input_len", "int", 1024),
    Flag("max_seq_len", "int", None, aliases=("max_decoder_seq_len",)),
    Flag("max_beam_width", "int", 1),
    Flag("max_num_tokens", "int", 8192),
    Flag("opt_num_tokens", "int", None),
    Flag("max_encoder_input_len", "int", 1024),
    Flag("max_prompt_embedding_table_size", "int", 0, aliases=("max_multimodal_len",)),
    Flag("kv_cache_type", "str", None, choices=("continuous", "paged", "disabled")),
    Flag("paged_kv_cache", "str", None, choices=SWITCH),
    Flag("input_timing_cache", "str", None),
    Flag("output_timing_cache", "str", "model.cache"),
    Flag("profiling_verbosity", "str", "layer_names_only", choices=("layer_names_only", "detailed", "none")),
    Flag("strip_plan", "switch", False),
    Flag("weight_sparsity", "switch", False),
    Flag("weight_streaming", "switch", False),
    Flag("fast_build", "switch", False),
    Flag("workers", "int", 1),
    Flag(
        "log_level", "str", "info", choices=("internal_error", "error", "warning", "info", "verbose", "debug", "trace")
    ),
    Flag("enable_debug_output", "switch", False),
    Flag("visualize_network", "str", None),
    Flag("dry_run", "switch", False),
    Flag("monitor_memory", "switch", False),
    Flag("logits_dtype", "str", None, choices=("float16", "float32")),
    Flag("gather_context_logits", "switch", False),
    Flag("gather_generation_logits", "switch", False),
    Flag("gather_all_token_logits", "switch", False),
    Flag("lora_dir", "strs", None),
    Flag("lora_ckpt_source", "str", "hf", choices=("hf", "nemo")),
    Flag("lora_target_modules", "strs", None, choices=LORA_MODULES),
    Flag("max_lora_rank", "int", 64),
    Flag(
        "speculative_decoding_mode",
        "str",
        None,
        choices=("draft_tokens_external", "lookahead_decoding", "medusa", "explicit_draft_tokens", "eagle"),
    ),
    Flag("max_draft_len", "int", 0),
    Flag("bert_attention_plugin", "str", "auto", choices=FLOATS, plugin=True),
    Flag("gpt_attention_plugin", "str", "auto", choices=FLOATS, plugin=True),
    Flag(
        "gemm_plugin",
        "str",
        None,
        choices=("auto", "float16", "float32", "bfloat16", "int32", "fp8", "nvfp4", "disable"),
        plugin=True,
    ),
    Flag("gemm_swiglu_plugin", "str", "disable", choices=("fp8", "disable"), plugin=True),
    Flag("fp8_rowwise_gemm_plugin", "str", "disable", choices=FLOATS, plugin=True),
    Flag("nccl_plugin", "str", "auto", choices=FLOATS, plugin=True),
    Flag("lora_plugin", "str", "disable", choices=FLOATS, plugin=True),
    Flag("dora_plugin", "str", "disable", choices=SWITCH, plugin=True),
    Flag("moe_plugin", "str", "auto", choices=FLOATS, plugin=True),
    Flag("mamba_conv1d_plugin", "str", "auto", choices=FLOATS, plugin=True),
    Flag("low_latency_gemm_plugin", "str", "disable", choices=("fp8", "disable"), plugin=True),
    Flag("low_latency_gemm_swiglu_plugin", "str", "disable", choices=("fp8", "disable"), plugin=True),
    Flag("gemm_allreduce_plugin", "str", "disable", choices=("float16", "bfloat16", "disable"), plugin=True),
    Flag("context_fmha", "str", "enable", choices=SWITCH, plugin=True),
    Flag("bert_context_fmha_fp32_acc", "str", "disable", choices=SWITCH, plugin=True),
    Flag("remove_input_padding", "str", "enable", choices=SWITCH, plugin=True),
    Flag("norm_quant_fusion", "str", "disable", choices=SWITCH, plugin=True),
    Flag("reduce_fusion", "str", "disable", choices=SWITCH, plugin=True),
    Flag("user_buffer", "str", "disable", choices=SWITCH, plugin=True),
    Flag("tokens_per_block", "int", 32, plugin=True),
    Flag("use_paged_context_fmha", "str", "enable", choices=SWITCH, plugin=True),
    Flag("use_fp8_context_fmha", "str", "enable", choices=SWITCH, plugin=True),
    Flag("fuse_fp4_quant", "str", "disable", choices=SWITCH, plugin=True),
    Flag("multiple_profiles", "str", "disable", choices=SWITCH, plugin=True),
    Flag("paged_state", "str", "enable", choices=SWITCH, plugin=True),
    Flag("streamingllm", "str", "disable", choices=SWITCH, plugin=True),
    Flag("use_fused_mlp", "str", "enable", choices=SWITCH, plugin=True),
    Flag("pp_reduce_scatter", "str", "disable", choices=SWITCH, plugin=True),
)

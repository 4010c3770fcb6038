"""Flags of trtllm-build that do nothing, or not what one would think, for this model, precision or run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import PurePath

from workbench.core.precision import KvPrecision, Precision
from workbench.toolchains.tensorrt_llm.flag_case import Case, problem, shown
from workbench.toolchains.tensorrt_llm.flag_table import Flag, FlagProblem, flag_table

FP8_ATTENTION = frozenset([Precision.FP8, Precision.W4A8_AWQ, Precision.NVFP4])
"""Checkpoints that FP8 attention in the prompt phase is for."""
_FP8 = frozenset([Precision.FP8, Precision.FP8_ROWWISE])
_QUIET = ("internal_error", "error", "warning")
_MANY_TOKENS = 16384


def _sizes(case: Case) -> Iterator[FlagProblem]:
    """Limits that trtllm-build would mend or ignore, with a warning in its log."""
    batch, tokens = case.number("max_batch_size") or 0, case.number("max_num_tokens") or 0
    seq, longest, tuned = case.number("max_seq_len"), case.number("max_input_len") or 0, case.number("opt_num_tokens")
    if ("max_batch_size" in case.given or "max_num_tokens" in case.given) and batch > tokens:
        yield problem(
            case,
            "max_batch_size",
            "batch-above-tokens",
            f"The batch limit ({batch}) is above the token limit ({tokens}), so a full batch never runs.",
            "Lower limits.max_batch_size or raise limits.max_num_tokens.",
            blocks=False,
        )
    if "max_num_tokens" in case.given and tokens > _MANY_TOKENS:
        yield problem(
            case,
            "max_num_tokens",
            "many-tokens",
            f"A token limit above {_MANY_TOKENS} costs activation memory; trtllm-build warns against it.",
            f"Lower limits.max_num_tokens to {_MANY_TOKENS} or less.",
            blocks=False,
        )
    if "max_num_tokens" in case.given and seq and tokens > seq * batch:
        yield problem(
            case,
            "max_num_tokens",
            "tokens-above-use",
            f"The token limit ({tokens}) is above what all requests together can hold ({batch} x {seq}).",
            f"Lower limits.max_num_tokens to {seq * batch}.",
            blocks=False,
        )
    if tuned and tuned > tokens:
        yield problem(
            case,
            "opt_num_tokens",
            "tuned-above-limit",
            f"--opt_num_tokens ({tuned}) is above the token limit ({tokens}).",
            f"Lower opt_num_tokens to {tokens} or less.",
            blocks=False,
        )
    if "max_input_len" not in case.given:
        return
    if seq and longest > seq:
        yield problem(
            case,
            "max_input_len",
            "input-above-sequence",
            f"The input limit ({longest}) is above the sequence limit ({seq}) and would be clipped to it.",
            "Lower limits.max_input_len.",
            blocks=False,
        )
    elif case.value("remove_input_padding") == "enable" and case.value("context_fmha") == "enable":
        yield problem(
            case,
            "max_input_len",
            "input-limit-ignored",
            "The input limit has no effect on the engine: with packed input and fused attention a prompt is limited by "
            "the sequence and token limits.",
            "Leave limits.max_input_len out, or lower limits.max_seq_len.",
            blocks=False,
        )


def _attention(case: Case) -> Iterator[FlagProblem]:
    """Forms of prompt attention that turn themselves off."""
    kv, weights = case.kv_cache, case.precision
    paged = case.value("use_paged_context_fmha") == "enable"
    other_weights = weights is not None and weights not in FP8_ATTENTION
    if case.is_on("use_fp8_context_fmha"):
        reason = ""
        if weights is not None and other_weights:
            reason = f"the checkpoint is {weights.title}, not FP8, W4A8 AWQ or NVFP4"
        elif paged and kv not in (KvPrecision.AUTO, KvPrecision.FP8):
            reason = f"with paged prompt attention it needs an FP8 KV cache, not {kv.title}"
        if reason:
            yield problem(
                case,
                "use_fp8_context_fmha",
                "flag-without-effect",
                f"--use_fp8_context_fmha turns itself off: {reason}.",
                'Take it out, or set precision.kv_cache = "fp8" with FP8 weights.',
                blocks=False,
            )
    if not case.is_on("use_paged_context_fmha"):
        return
    no_fp8 = case.value("use_fp8_context_fmha") == "disable" or other_weights
    if kv is KvPrecision.INT8 or (kv is KvPrecision.FP8 and no_fp8):
        beside = "" if kv is KvPrecision.INT8 else " and no FP8 attention"
        yield problem(
            case,
            "use_paged_context_fmha",
            "flag-without-effect",
            f"--use_paged_context_fmha turns itself off with a KV cache in {kv.title}{beside}; block reuse and chunked "
            "prefill then do not work.",
            "Use a KV cache in FP16 or BF16, or FP8 weights with an FP8 KV cache.",
            blocks=False,
        )


def _by_model(case: Case) -> Iterator[FlagProblem]:
    """Fusions and plugins that are there for some models and precisions only."""
    llama, weights = case.family("Llama"), case.precision
    no_effect: list[tuple[str, bool, str]] = [
        (
            "reduce_fusion",
            case.tp < 2 or case.family("Llama", "Gemma2", "Medusa") is False,
            "it is for Llama, Gemma 2 and Medusa on several GPUs (parallel.tp above 1)",
        ),
        (
            "norm_quant_fusion",
            llama is False or (weights is not None and weights is not Precision.NVFP4),
            "it is for Llama in NVFP4",
        ),
        ("user_buffer", llama is False or (weights is not None and weights not in _FP8), "it is for Llama in FP8"),
        (
            "use_fused_mlp",
            weights is not None and weights.is_quantized and weights is not Precision.FP8,
            "of quantized checkpoints it is for FP8 and mixed precision alone",
        ),
        ("paged_state", case.family("Mamba", "RecurrentGemma") is False, "it is for recurrent models"),
        ("nccl_plugin", case.ranks < 2, "one GPU talks to no other"),
    ]
    for name, holds, reason in no_effect:
        if case.is_on(name) and holds:
            yield problem(
                case,
                name,
                "flag-without-effect",
                f"--{name} has no effect here: {reason}.",
                f"Take {name} out.",
                blocks=False,
            )
    if weights is None:
        return
    for flag in flag_table():
        value = case.given.get(flag.name)
        if value == "fp8" and weights not in _FP8:
            yield _for_precision(case, flag, "FP8", weights)
        elif value == "nvfp4" and weights is not Precision.NVFP4:
            yield _for_precision(case, flag, "NVFP4", weights)


def _for_precision(case: Case, flag: Flag, wanted: str, weights: Precision) -> FlagProblem:
    return problem(
        case,
        flag.name,
        "flag-for-other-precision",
        f"--{flag.name} {shown(case.given[flag.name])} is for {wanted} checkpoints, this one is {weights.title}.",
        f"Take {flag.name} out{', or set it to auto' if 'auto' in flag.choices else ''}.",
        blocks=False,
    )


def _working(case: Case) -> Iterator[FlagProblem]:
    """Flags about the run of trtllm-build itself."""
    if case.value("log_level") in _QUIET:
        yield problem(
            case,
            "log_level",
            "log-too-quiet",
            f"At --log_level {case.value('log_level')} the lines that tell progress and success are not printed.",
            "Leave log_level at info.",
        )
    for name in ("input_timing_cache", "output_timing_cache"):
        value = case.given.get(name)
        if isinstance(value, str) and not PurePath(value).is_absolute():
            yield problem(
                case,
                name,
                "relative-path",
                f"--{name} is relative to the folder that trtllm-build runs in, not to the engine's.",
                "Leave it out: the workbench keeps timings by GPU and version. Or give a full path.",
                blocks=False,
            )
    for name, instead in (
        ("paged_kv_cache", "Use kv_cache_type."),
        ("gather_generation_logits", "Take it out: it is a run-time argument of LLM() now."),
    ):
        said = name in case.given and case.given[name] is not False
        if said and not (name == "paged_kv_cache" and "kv_cache_type" in case.given):  # a conflict says it already
            yield problem(case, name, "deprecated-flag", f"--{name} is deprecated.", instead, blocks=False)
    if case.is_on("fast_build") and case.precision in (Precision.INT8, Precision.INT4):
        yield problem(
            case,
            "fast_build",
            "fast-build-precision",
            f"--fast_build does not go with {case.precision.title} unless their plugin is on.",
            "Take fast_build out.",
            blocks=False,
        )
    workers = case.number("workers") or 1
    most = min(case.ranks, case.gpus) if case.gpus else case.ranks
    if "workers" in case.given and workers > most:
        yield problem(
            case,
            "workers",
            "workers-without-use",
            f"{workers} build processes are more than can work: {case.ranks} rank(s)"
            + (f" on {case.gpus} GPU(s)." if case.gpus else "."),
            f"Set workers to {most}.",
            blocks=False,
        )


HINTS: tuple[Callable[[Case], Iterator[FlagProblem]], ...] = (_sizes, _attention, _by_model, _working)

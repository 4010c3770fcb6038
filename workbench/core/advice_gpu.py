"""Advice on TensorRT-LLM engines: GPU against precision, memory of each GPU, limits, scheduler, parallel sizes.

Rules as in workbench.core.advice; they say nothing where no GPU is planned for.
"""

from __future__ import annotations

from collections.abc import Iterator

from workbench.core.advice_base import Advice, Rule, Situation
from workbench.core.advice_parallel import parallel_divides, tensor_parallel_without_nvlink
from workbench.core.engine_estimate import EngineEstimate, sequence_tokens
from workbench.core.gpu import GpuSpec
from workbench.core.precision import KvPrecision, Precision, kv_supported, supported
from workbench.core.preflight_gpu import gpu_engine, num_tokens
from workbench.core.preset import apply_overrides
from workbench.core.units import format_bytes

_FP8_KINDS = (Precision.FP8, Precision.FP8_ROWWISE, Precision.W4A8_AWQ, Precision.NVFP4)
_CHUNK_TOKENS = 256
"""Least room in an iteration for prompt tokens beside the running requests."""
_ACTIVATION_SHARE = 0.15
_KEY_OUTLIERS = ("Qwen2ForCausalLM", "Qwen2MoeForCausalLM", "QWenLMHeadModel", "Qwen2VLForConditionalGeneration")
"""Architectures whose keys carry a large bias, for which an FP8 KV cache must be measured first."""


def less_host_memory(s: Situation, otherwise: str) -> tuple[str, tuple[str, ...]]:
    """What lowers the peak of the step that has it, in words and as overrides; `otherwise` where nothing does."""
    step = s.numbers.host_memory_step
    workers = s.preset.build.flags.get("workers", s.preset.gpus)
    if step.startswith("Build") and isinstance(workers, int) and workers > 1:
        return "Build one rank at a time.", ("build.flags.workers=1",)
    if step.startswith("Verify") and s.gpus:
        return "Leave the comparison with the source model out.", ("verify.enabled=false",)
    return otherwise, ()


def host_memory_elsewhere(s: Situation, arithmetic: str) -> Iterator[Advice]:
    """For a build on another machine: what that one needs, since this one's memory does not count."""
    fix, overrides = less_host_memory(s, "Choose that machine by it.")
    yield Advice(
        code="host-memory",
        level="hint",
        text="The build needs more host memory than this machine has; the one with the GPUs must have it.",
        arithmetic=arithmetic,
        fix=fix,
        overrides=overrides,
    )


def _precision_on_gpu(s: Situation) -> Iterator[Advice]:
    for precision in s.precisions:
        for gpu in _kinds(s.gpus):
            found = supported(precision, "tensorrt_llm", gpu.compute_capability, s.model.architecture)
            asked = f"precision {precision}, {gpu.name} (compute capability {gpu.capability}), {s.model.architecture}"
            if not found.ok:
                nearest = found.nearest
                if nearest is Precision.FP16 and s.model.dtype == "bf16":
                    nearest = Precision.BF16
                yield Advice(
                    code="precision-gpu",
                    level="block",
                    text=found.reason,
                    arithmetic=asked,
                    fix=f"Nearest that works: {nearest}." if nearest else "Choose another GPU or model.",
                    overrides=(f"precision.weights={nearest}",) if nearest else (),
                )
            elif found.caution:
                yield Advice(
                    code="precision-unproven",
                    level="hint",
                    text=found.caution,
                    arithmetic=asked,
                    fix="Leave verify on.",
                )


def _kv_on_gpu(s: Situation) -> Iterator[Advice]:
    for gpu in _kinds(s.gpus):
        found = kv_supported(s.preset.precision.kv_cache, "tensorrt_llm", gpu.compute_capability)
        if not found.ok:
            yield Advice(
                code="kv-gpu",
                level="block",
                text=found.reason,
                arithmetic=f"precision.kv_cache {s.preset.precision.kv_cache}, {gpu.name}",
                fix=f"Nearest that works: {found.nearest}." if found.nearest else "",
                overrides=(f"precision.kv_cache={found.nearest}",) if found.nearest else (),
            )


def _kinds(gpus: tuple[GpuSpec, ...]) -> list[GpuSpec]:
    return list({gpu.compute_capability: gpu for gpu in gpus}.values())


def _gpu_memory(s: Situation) -> Iterator[Advice]:
    for engine in _engines(s):
        if engine.total.low > engine.memory_bytes:
            overrides, words = _what_fits(s, engine)
            yield Advice(
                code="gpu-memory",
                level="block",
                text=f"The {engine.precision} engine would not fit into {_gpus(engine)}.",
                arithmetic=_parts(engine),
                fix=words,
                overrides=overrides,
                estimate_only=True,
            )
        elif engine.kv_pool_bytes == 0 or engine.total.high > engine.memory_bytes:
            overrides, words = _what_fits(s, engine)
            yield Advice(
                code="gpu-memory",
                level="warning",
                text=f"The {engine.precision} engine may not fit into {_gpus(engine)}.",
                arithmetic=_parts(engine),
                fix=words,
                overrides=overrides,
            )


def _gpus(engine: EngineEstimate) -> str:
    name = f"{engine.device} of {format_bytes(engine.memory_bytes)}"
    return f"each of {engine.gpus} x {name}" if engine.gpus > 1 else name


def _parts(engine: EngineEstimate) -> str:
    parts = ", ".join(f"{p.name} {p.bytes}" for p in engine.parts)
    return f"{engine.total} ({parts}) of {format_bytes(engine.memory_bytes)}"


def _what_fits(s: Situation, engine: EngineEstimate) -> tuple[tuple[str, ...], str]:
    """The mildest change with which the engine and one whole sequence fit: KV size, limits, GPUs, precision."""
    precision = Precision(engine.precision)
    trials: list[tuple[tuple[str, ...], str]] = []
    if any((s.preset.runtime.kv_cache_gib, s.preset.runtime.kv_blocks)):
        clear = ("runtime.kv_cache_gib=none", "runtime.kv_blocks=none")
        trials.append((clear, "Let the KV pool take its share of what is free."))
    if num_tokens(s.preset) > 2048:
        trials.append((("limits.max_num_tokens=2048",), "Lower the token limit."))
    if len(s.precisions) == 1:
        for other in (Precision.FP8, Precision.INT8_SQ, Precision.NVFP4, Precision.INT4_AWQ):
            fits = all(supported(other, "tensorrt_llm", g.compute_capability, s.model.architecture).ok for g in s.gpus)
            if fits and other.weight_bits < precision.weight_bits:
                trials.append(((f"precision.weights={other}",), f"Quantize to {other.title}."))
    tp = s.preset.parallel.tp
    for more in (2, 4, 8):
        if more > tp and s.model.heads % more == 0:
            trials.append(((f"parallel.tp={more}",), f"Share it among {more * s.preset.parallel.pp} GPUs."))
    for overrides, words in trials:
        preset = apply_overrides(s.preset, overrides)
        count = preset.parallel.tp * preset.parallel.pp
        gpus = (s.gpus * count)[:count]
        goal = preset.precision.weights if "precision" in overrides[0] else precision
        tried = gpu_engine(preset, s.model, goal, gpus)
        if tried.total.high <= tried.memory_bytes and tried.capacity.tokens.low >= min(2048, tried.sequence_tokens):
            return overrides, words
    return (), "Choose a smaller model, or GPUs with more memory."


def _batch_over_pool(s: Situation) -> Iterator[Advice]:
    batch = s.preset.limits.max_batch_size
    for engine in _engines(s):
        fits = engine.capacity.sequences
        if fits.high >= batch or engine.kv_pool_bytes == 0:
            continue
        if fits.high < 1:
            length = max(int(engine.capacity.tokens.low) // 32 * 32, 32)
            yield Advice(
                code="sequence-over-pool",
                level="warning",
                text=f"The KV pool of the {engine.precision} engine cannot hold one sequence of "
                f"{engine.sequence_tokens:,} tokens; TensorRT-LLM will lower its limit when it loads.",
                arithmetic=fits.formula,
                fix=f"Set the sequence limit to {length:,}.",
                overrides=_shorter(s, length),
            )
        else:
            yield Advice(
                code="batch-over-pool",
                level="hint",
                text=f"Up to {batch} requests may be batched, but the KV pool of the {engine.precision} engine holds "
                f"{fits} of full length; the rest will wait.",
                arithmetic=fits.formula,
                fix=f"Fine for short requests. Else lower the batch limit to {int(fits.low) or 1}.",
                overrides=(f"limits.max_batch_size={max(int(fits.high), 1)}",),
            )


def _shorter(s: Situation, length: int) -> tuple[str, ...]:
    clear = (s.preset.limits.max_input_len or 0) > length
    return (*(("limits.max_input_len=none",) if clear else ()), f"limits.max_seq_len={length}")


def _token_limit(s: Situation) -> Iterator[Advice]:
    if not _engines(s):
        return
    limits, runtime = s.preset.limits, s.preset.runtime
    running = limits.max_batch_size * limits.max_beam_width
    tokens = num_tokens(s.preset)
    longest = limits.max_input_len or sequence_tokens(s.preset, s.model) - 1
    if tokens - running < _CHUNK_TOKENS and tokens < longest + running:
        goal = -(-(running + 2048) // 1024) * 1024
        yield Advice(
            code="token-limit-small",
            level="warning",
            text="The token limit leaves too little room for prompts while requests are running.",
            arithmetic=f"{tokens:,} tokens an iteration - {running:,} running requests = {tokens - running:,}; "
            f"chunked prefill wants {_CHUNK_TOKENS} or more",
            fix=f"Set it to {goal:,}.",
            overrides=(f"limits.max_num_tokens={goal}",),
        )
    elif not runtime.chunked_prefill and tokens < longest:
        goal = -(-longest // 1024) * 1024
        chunks = _paged_context(s)
        yield Advice(
            code="token-limit-below-input",
            level="warning",
            text=f"Without chunked prefill, prompts of more than {tokens:,} tokens are refused.",
            arithmetic=f"token limit {tokens:,}, longest prompt {longest:,}",
            fix="Turn chunked prefill on." if chunks else f"Set the token limit to {goal:,}.",
            overrides=("runtime.chunked_prefill=true",) if chunks else (f"limits.max_num_tokens={goal}",),
        )


def _token_limit_large(s: Situation) -> Iterator[Advice]:
    for engine in _engines(s)[:1]:
        used, tokens = engine.part("activations").high, num_tokens(s.preset)
        allowed = _ACTIVATION_SHARE * engine.memory_bytes
        if used <= allowed or tokens <= 2048:
            continue
        goal = 2048
        while goal * 2 < tokens and used * goal * 2 / tokens <= 0.8 * allowed:
            goal *= 2
        yield Advice(
            code="token-limit-large",
            level="warning",
            text="The token limit takes much of the memory for activations, which the KV pool then lacks.",
            arithmetic=f"{tokens:,} tokens: up to {format_bytes(used)} of {format_bytes(engine.memory_bytes)} "
            f"({used / engine.memory_bytes:.0%}); {engine.part('activations').formula}",
            fix=f"Set it to {goal:,}; longer prompts are split by chunked prefill.",
            overrides=(f"limits.max_num_tokens={goal}",),
        )


def _paged_context(s: Situation) -> bool:
    """Whether every engine has the attention kernels that chunked prefill and block reuse need."""
    kv = s.preset.precision.kv_cache
    if s.preset.build.flags.get("use_paged_context_fmha") in (False, "disable"):
        return False
    if kv is KvPrecision.INT8:
        return False
    return kv is not KvPrecision.FP8 or all(p in _FP8_KINDS for p in s.precisions)


def _no_paged_context(s: Situation) -> Iterator[Advice]:
    runtime = s.preset.runtime
    asked = [n for n in ("chunked_prefill", "prefix_caching") if getattr(runtime, n)]
    if not s.gpus or not asked or _paged_context(s):
        return
    kv = s.preset.precision.kv_cache
    yield Advice(
        code="no-paged-context",
        level="warning",
        text="This engine gets no paged context attention, so chunked prefill and block reuse do not work with it.",
        arithmetic=f"KV cache {kv}, weights {', '.join(p.value for p in s.precisions)}: the builder turns "
        "use_paged_context_fmha off for INT8 KV, and for FP8 KV without FP8 attention",
        fix="Keep the KV cache at 16 bits." if kv.bits == 8 else "Turn both off.",
        overrides=("precision.kv_cache=auto",) if kv.bits == 8 else tuple(f"runtime.{n}=false" for n in asked),
    )


def _fp8_without_fp8_kv(s: Situation) -> Iterator[Advice]:
    if not s.gpus or s.preset.precision.kv_cache.bits == 8 or s.model.architecture in _KEY_OUTLIERS:
        return
    if not all(p in _FP8_KINDS for p in s.precisions) or any(g.compute_capability < (8, 9) for g in s.gpus):
        return
    for engine in _engines(s)[:1]:
        token = engine.kv_bytes_per_token
        yield Advice(
            code="fp8-without-fp8-kv",
            level="hint",
            text="FP8 weights with a 16-bit KV cache: an FP8 cache holds twice the tokens.",
            arithmetic=f"{token} a token now, {format_bytes(token.high / 2)} with FP8",
            fix="Set the KV cache to fp8; verify compares the result with the source model.",
            overrides=("precision.kv_cache=fp8",),
        )


def _fp8_kv_with_outliers(s: Situation) -> Iterator[Advice]:
    if s.gpus and s.preset.precision.kv_cache is KvPrecision.FP8 and s.model.architecture in _KEY_OUTLIERS:
        yield Advice(
            code="kv-outliers",
            level="warning",
            text="This family's keys have a large bias, which one FP8 scale a layer rounds away: answers may collapse.",
            arithmetic=f"{s.model.architecture}, KV cache fp8; verify does not see the KV cache's rounding",
            fix="Leave the KV cache at 16 bits, or measure the engine's answers before you rely on them.",
            overrides=("precision.kv_cache=auto",),
        )


def _bf16_to_fp16(s: Situation) -> Iterator[Advice]:
    if s.gpus and Precision.FP16 in s.precisions and s.model.dtype == "bf16":
        yield Advice(
            code="bf16-to-fp16",
            level="warning",
            text="The model was trained in BF16; converted to FP16, large activations overflow to infinity.",
            arithmetic="BF16 reaches 3.4e38, FP16 ends at 65,504",
            fix="Convert to BF16: the same size and speed.",
            overrides=("precision.weights=bf16",),
        )


def _scheduler(s: Situation) -> Iterator[Advice]:
    policy, goal = s.preset.runtime.scheduler_policy, s.preset.goal
    if not s.gpus:
        return
    if policy == "max_utilization" and goal == "latency":
        needs = "; ".join(
            f"{s.preset.limits.max_batch_size} requests of full length take "
            f"{format_bytes(s.preset.limits.max_batch_size * e.kv_bytes_per_sequence.high)} of "
            f"{format_bytes(e.kv_pool_bytes)} KV pool"
            for e in _engines(s)[:1]
        )
        yield Advice(
            code="scheduler-tail",
            level="warning",
            text="max_utilization pauses running requests when the KV pool is full, which costs tail latency.",
            arithmetic=needs,
            fix="Use guaranteed_no_evict where latency counts.",
            overrides=("runtime.scheduler_policy=guaranteed_no_evict",),
        )
    elif policy == "static_batch" and goal in ("latency", "throughput"):
        yield Advice(
            code="scheduler-static",
            level="warning",
            text="static_batch starts new requests only when the whole batch is done: the longest answer holds up all.",
            arithmetic=f"batch limit {s.preset.limits.max_batch_size}, goal {goal}",
            fix="Use in-flight batching.",
            overrides=("runtime.scheduler_policy=guaranteed_no_evict",),
        )


def _engines(s: Situation) -> list[EngineEstimate]:
    return [engine for engine in s.numbers.engines if engine.gpus]


GPU_RULES: tuple[Rule, ...] = (
    _precision_on_gpu,
    _kv_on_gpu,
    parallel_divides,
    _gpu_memory,
    _batch_over_pool,
    _token_limit,
    _token_limit_large,
    _no_paged_context,
    _fp8_without_fp8_kv,
    _fp8_kv_with_outliers,
    _bf16_to_fp16,
    _scheduler,
    tensor_parallel_without_nvlink,
)

"""Advice: rules that look at a build before it runs and say what is wrong or wasteful, with a fix to apply.

Each rule is a function from a Situation to advice; RULES is the whole list. `block` stops a build, `warning` and
`hint` do not. A fix is a list of preset overrides, the same as `--set` takes.
"""

from __future__ import annotations

from collections.abc import Iterator

from workbench.core.advice_base import LEVELS, Advice, Level, Rule, Situation
from workbench.core.advice_gpu import GPU_RULES, host_memory_elsewhere, less_host_memory
from workbench.core.advice_rtx import RTX_RULES
from workbench.core.advice_speculative import SPECULATIVE_RULES
from workbench.core.precision import Precision
from workbench.core.preset_schema import ONNX_TOOLCHAINS
from workbench.core.units import format_bytes

__all__ = ["LEVELS", "RULES", "Advice", "Level", "Rule", "Situation", "advise"]


def advise(situation: Situation) -> tuple[Advice, ...]:
    """All that the rules have to say, blocks first."""
    found = [advice for rule in _rules_of(situation.preset.toolchain) for advice in rule(situation)]
    return tuple(sorted(found, key=lambda advice: LEVELS.index(advice.level)))


def _host_memory(s: Situation) -> Iterator[Advice]:
    peak, total = s.numbers.host_memory_peak, s.host.memory_total_bytes
    available = s.host.memory_available_bytes or total
    arithmetic = (
        f"{s.numbers.host_memory_step} peaks at {peak}; {format_bytes(available)} of {format_bytes(total)} are free"
    )
    if s.elsewhere:
        if peak.high > available:
            yield from host_memory_elsewhere(s, arithmetic)
        return
    if peak.low > total:
        fix, overrides = less_host_memory(s, "Build on a machine with more memory, or choose a smaller model.")
        yield Advice(
            code="host-memory",
            level="block",
            text="This machine has too little memory for the build; it would end in “Killed”.",
            arithmetic=arithmetic,
            fix=fix,
            overrides=overrides,
            estimate_only=True,
        )
    elif peak.high > available:
        fix, overrides = less_host_memory(s, "Close other programs before building.")
        yield Advice(
            code="host-memory",
            level="warning",
            text="The build may run out of memory.",
            arithmetic=arithmetic,
            fix=fix,
            overrides=overrides,
        )


def _engine_memory(s: Situation) -> Iterator[Advice]:
    for engine in s.numbers.engines:
        if engine.gpus or engine.total.low <= engine.memory_bytes:
            continue
        rest = engine.memory_bytes - (engine.total.high - engine.kv_pool_bytes)
        smaller = max(rest * 0.8 / 2**30, 0.0)
        yield Advice(
            code="engine-memory",
            level="block",
            text=f"The {engine.precision} engine would not fit into memory.",
            arithmetic=f"{engine.total} ("
            + ", ".join(f"{p.name} {p.bytes}" for p in engine.parts)
            + f") of {format_bytes(engine.memory_bytes)}",
            fix=f"Set the KV cache to {smaller:.1f} GiB."
            if smaller >= 0.1
            else "Choose a lower precision or a smaller model.",
            overrides=(f"runtime.kv_cache_gib={smaller:.1f}",) if smaller >= 0.1 else (),
            estimate_only=True,
        )


def _disk(s: Situation) -> Iterator[Advice]:
    arithmetic = f"{s.numbers.disk} to write, {format_bytes(s.disk_free_bytes)} free"
    if s.elsewhere:
        return
    if s.numbers.disk.low > s.disk_free_bytes:
        yield Advice(
            code="disk",
            level="block",
            text="The disk has too little room for the build.",
            arithmetic=arithmetic,
            fix="Free space, or set WORKBENCH_HOME or --out to another disk.",
            estimate_only=True,
        )
    elif s.numbers.disk.high > s.disk_free_bytes:
        yield Advice(
            code="disk", level="warning", text="The disk may run full.", arithmetic=arithmetic, fix="Free space first."
        )


def _batch_over_pool(s: Situation) -> Iterator[Advice]:
    batch = s.preset.limits.max_batch_size
    for engine in s.numbers.engines[:1]:  # a CPU's KV pool does not depend on the weights' precision
        if engine.gpus:
            continue
        fits = engine.capacity.sequences
        if fits.high >= batch:
            continue
        enough = batch * engine.kv_bytes_per_sequence.high / 2**30
        room = engine.memory_bytes - (engine.total.high - engine.kv_pool_bytes)
        overrides = (f"runtime.kv_cache_gib={enough:.1f}",) if enough * 2**30 < room else ()
        if fits.high < 1:
            yield Advice(
                code="sequence-over-pool",
                level="warning",
                text=f"The KV pool cannot hold one sequence of {engine.sequence_tokens:,} tokens; "
                "requests that long will be refused.",
                arithmetic=fits.formula,
                fix="Give the KV cache more memory, or lower the sequence limit.",
                overrides=overrides or (f"limits.max_seq_len={max(int(engine.capacity.tokens.low) // 2, 32)}",),
            )
        else:
            yield Advice(
                code="batch-over-pool",
                level="hint",
                text=f"Up to {batch} requests may be batched, but the KV pool holds {fits} of full length; "
                "the rest will wait.",
                arithmetic=fits.formula,
                fix="Fine for short requests. Else give the KV cache more memory or lower the batch limit.",
                overrides=overrides or (f"limits.max_batch_size={max(int(fits.low), 1)}",),
            )


def _sequence_over_model(s: Situation) -> Iterator[Advice]:
    asked, trained = s.preset.limits.max_seq_len, s.model.max_positions
    if s.preset.toolchain == "tensorrt_rtx":  # which refuses it
        return
    if asked and trained and asked > trained:
        yield Advice(
            code="sequence-over-model",
            level="warning",
            text="The sequence limit is above what the model was made for; answers get worse beyond it.",
            arithmetic=f"limits.max_seq_len {asked:,}, the model's positions {trained:,}",
            fix=f"Set it to {trained:,}.",
            overrides=(f"limits.max_seq_len={trained}",),
        )


def _parallel_on_cpu(s: Situation) -> Iterator[Advice]:
    if s.preset.toolchain == "openvino" and (s.preset.parallel.tp > 1 or s.preset.parallel.pp > 1):
        yield Advice(
            code="parallel-on-cpu",
            level="block",
            text="OpenVINO engines run in one piece; tensor and pipeline parallel are for GPUs.",
            arithmetic=f"parallel.tp {s.preset.parallel.tp}, parallel.pp {s.preset.parallel.pp}",
            fix="Set both to 1.",
            overrides=("parallel.tp=1", "parallel.pp=1"),
        )


def _small_model_int4(s: Situation) -> Iterator[Advice]:
    rounded = s.preset.toolchain in ("openvino", *ONNX_TOOLCHAINS) and s.preset.precision.method == "rtn"
    awq_needs_data = s.preset.toolchain == "openvino"
    if rounded and Precision.INT4 in s.precisions and s.model.parameters < 1e9:
        yield Advice(
            code="small-model-int4",
            level="hint",
            text="Small models lose noticeably at INT4 with round-to-nearest.",
            arithmetic=f"{s.model.parameters / 1e6:.0f} M parameters",
            fix="Use AWQ with calibration text, or INT8.",
            overrides=("precision.method=awq", *(("precision.data_aware=true",) if awq_needs_data else ())),
        )


def _little_calibration(s: Situation) -> Iterator[Advice]:
    calibration, chosen = s.preset.calibration, s.preset.precision
    needs = (chosen.data_aware or chosen.method in ("awq", "gptq")) and any(p.is_quantized for p in s.precisions)
    if s.preset.toolchain in ONNX_TOOLCHAINS:
        needs = s.preset.needs_calibration
    elif s.preset.toolchain == "tensorrt_llm":
        needs = any(p.needs_calibration for p in s.precisions) or chosen.kv_cache.bits == 8
    batches = -(-calibration.samples // calibration.batch_size)
    if needs and batches < 32:
        yield Advice(
            code="little-calibration",
            level="warning",
            text="Fewer than 32 calibration batches: scales will depend on the choice of text.",
            arithmetic=f"{calibration.samples} samples / batch size {calibration.batch_size} = {batches} batches",
            fix="Use 128 samples or more.",
            overrides=("calibration.samples=128", "calibration.batch_size=1"),
        )


def _no_chat_template(s: Situation) -> Iterator[Advice]:
    if not s.model.has_chat_template:
        yield Advice(
            code="no-chat-template",
            level="hint",
            text="The model has no chat template: it takes raw prompts only.",
            arithmetic="no chat_template in tokenizer_config.json, no chat_template.jinja",
            fix="Use an instruction-tuned model for chat.",
        )


def _rules_of(toolchain: str) -> tuple[Rule, ...]:
    """Those that are meant for the toolchain: what holds for one kind of GPU engine does not for another."""
    others = GPU_RULES if toolchain == "tensorrt_rtx" else RTX_RULES
    return tuple(rule for rule in RULES if rule not in others)


RULES: tuple[Rule, ...] = (
    _host_memory,
    _engine_memory,
    _disk,
    _parallel_on_cpu,
    _sequence_over_model,
    _batch_over_pool,
    _little_calibration,
    _small_model_int4,
    _no_chat_template,
    *SPECULATIVE_RULES,
    *GPU_RULES,
    *RTX_RULES,
)

"""From settings to the argv of trtllm-build: checked by the table of its flags, defaults told from choices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from workbench.core.errors import BadInputError
from workbench.core.precision import KvPrecision, Precision
from workbench.core.preset import Preset
from workbench.core.speculative import build_mode, draft_len, draft_precision
from workbench.toolchains.tensorrt_llm.flag_hints import FP8_ATTENTION
from workbench.toolchains.tensorrt_llm.flag_rules import check_flags as check_flags
from workbench.toolchains.tensorrt_llm.flag_table import (
    Flag,
    FlagProblem,
    GoneFlag,
    Settings,
    Value,
    find_flag,
    flag_table,
    gone_flags,
    nearest_flag,
    settings_of,
    unknown_flag,
)

__all__ = [
    "OWN_FLAGS",
    "Flag",
    "FlagProblem",
    "GoneFlag",
    "Settings",
    "Value",
    "build_argv",
    "changed_flags",
    "check_flags",
    "find_flag",
    "flag_table",
    "gone_flags",
    "nearest_flag",
    "normal_flags",
    "refuse",
    "settings_from_preset",
    "unknown_flag",
]

PROGRAM = ("trtllm-build",)

OWN_FLAGS = {
    "checkpoint_dir": "the workbench builds from the plan's own checkpoint",
    "model_config": "the workbench builds from the plan's own checkpoint",
    "build_config": "sizes are said in [limits], which this file would put aside",
    "output_dir": "the workbench gives each engine its folder",
    "input_timing_cache": "the workbench keeps timings by GPU and version",
    "output_timing_cache": "the workbench keeps timings by GPU and version",
}
"""Flags that a preset may not set, and why."""

_SPECULATIVE = ("speculative_decoding_mode", "max_draft_len")
_LIMITS = ("max_batch_size", "max_input_len", "max_seq_len", "max_num_tokens", "max_beam_width")


def normal_flags(settings: Settings) -> dict[str, Value]:
    """Settings -> flags by proper name, values as trtllm-build takes them, in the order of the table.

    Equal settings however spelled (alias, true for enable) come out equal, so this is what a cache key hashes.
    Switches that are off are left out. Raises BadInputError with all that is wrong.
    """
    flags, problems = settings_of(settings)
    refuse(problems)
    return {name: value for name, value in flags.items() if value is not False}


def build_argv(settings: Settings, program: Sequence[str] = PROGRAM) -> tuple[str, ...]:
    """The whole argv of trtllm-build.

    Raises BadInputError for unknown or gone flags, wrong values, and when neither a checkpoint nor a model
    configuration is named. Dependencies between flags are `check_flags`'s to say.
    """
    flags = normal_flags(settings)
    if "checkpoint_dir" not in flags and "model_config" not in flags:
        raise BadInputError(
            "trtllm-build needs a checkpoint: neither checkpoint_dir nor model_config is set.",
            fix="Set checkpoint_dir.",
            code="no-checkpoint",
        )
    argv = list(program)
    for name, value in flags.items():
        argv.append(f"--{name}")
        if isinstance(value, tuple):
            argv.extend(value)
        elif not isinstance(value, bool):
            argv.append(str(value))
    return tuple(argv)


def changed_flags(settings: Settings) -> dict[str, Value]:
    """The flags that differ from trtllm-build's own defaults. Raises BadInputError as `normal_flags`."""
    defaults = {flag.name: flag.default for flag in flag_table()}
    return {name: value for name, value in normal_flags(settings).items() if value != defaults[name]}


def settings_from_preset(preset: Preset) -> dict[str, Value]:
    """The flags that a preset asks for: [limits], [parallel] and [precision] as far as flags depend on them, then
    [build.flags], which has the last word.

    Tensor and pipeline parallel sizes and precisions are the checkpoint's and no flags. Raises BadInputError for
    wrong flags, and for those that another key of the preset or the workbench itself sets.
    """
    asked, problems = settings_of(preset.build.flags)
    for name in asked:
        if name in OWN_FLAGS:
            problems.append(
                _elsewhere(name, f"--{name} is not the preset's to set: {OWN_FLAGS[name]}.", "Take it out.")
            )
        elif name in _LIMITS:
            problems.append(_elsewhere(name, f"--{name} has its own key in a preset.", f"Write limits.{name} instead."))
        elif name in _SPECULATIVE and preset.speculative.mode != "none":
            problems.append(_elsewhere(name, f"--{name} follows from [speculative].", "Take it out."))
    refuse(problems)
    flags: dict[str, Value] = {name: value for name in _LIMITS if (value := getattr(preset.limits, name)) is not None}
    if preset.gpus > 1:
        # One process a rank, each on its own GPU; the default builds all ranks on the first GPU in turn.
        flags["workers"] = preset.gpus
    flags |= _attention(preset)
    flags |= _speculation(preset)
    if preset.precision.weights is Precision.NVFP4:
        flags["gemm_plugin"] = "nvfp4"  # what trtllm-build takes for such checkpoints by itself
    return normal_flags({**flags, **asked})


def _speculation(preset: Preset) -> dict[str, Value]:
    """What an engine is built for; nothing for the draft that another engine of the same build gets."""
    table = preset.speculative
    mode = build_mode(table.mode)
    if not mode or draft_precision(table) == preset.precision.weights.value:
        return {}
    return {"speculative_decoding_mode": mode, "max_draft_len": draft_len(table)}


def _attention(preset: Preset) -> dict[str, Value]:
    """Forms of prompt attention that follow from the precisions; said, so that they show in argv and key."""
    kv, weights = preset.precision.kv_cache, preset.precision.weights
    if kv is KvPrecision.INT8:
        return {"use_paged_context_fmha": "disable", "use_fp8_context_fmha": "disable"}
    if kv is KvPrecision.FP8:
        if weights in FP8_ATTENTION:
            return {"use_fp8_context_fmha": "enable"}
        return {"use_paged_context_fmha": "disable", "use_fp8_context_fmha": "disable"}
    return {}


def _elsewhere(name: str, what: str, fix: str) -> FlagProblem:
    return FlagProblem(
        code="flag-set-elsewhere", flag=name, what=what, evidence=f"build.flags.{name}", fix=fix, exit_code=2
    )


def refuse(problems: Iterable[FlagProblem]) -> None:
    """Raise BadInputError for the problems that block: the first in full, the others as evidence."""
    blocking = [problem for problem in problems if problem.blocks]
    if not blocking:
        return
    first, others = blocking[0], blocking[1:]
    shown = [first.evidence, *(problem.what for problem in others[:4])]
    if len(others) > 4:
        shown.append(f"and {len(others) - 4} more")
    raise BadInputError(first.what, evidence=" · ".join(shown), fix=first.fix, code=first.code)

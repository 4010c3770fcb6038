"""What flags of trtllm-build ask of each other, of the precision and of the GPU, checked before a build starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from workbench.core.precision import KvPrecision, Precision, kv_supported, show_capability, supported
from workbench.toolchains.tensorrt_llm.flag_case import Case, problem, shown
from workbench.toolchains.tensorrt_llm.flag_hints import HINTS
from workbench.toolchains.tensorrt_llm.flag_table import FlagProblem, Settings, flag_table, settings_of

_SIZES = (
    "max_batch_size",
    "max_input_len",
    "max_seq_len",
    "max_beam_width",
    "max_num_tokens",
    "opt_num_tokens",
    "max_encoder_input_len",
    "max_prompt_embedding_table_size",
    "max_draft_len",
)
_EAGLE_BATCH, _EAGLE_DRAFT = 512, 256


def check_flags(
    settings: Settings,
    compute_capability: tuple[int, int] | None = None,
    precision: Precision | str | None = None,
    *,
    kv_cache: KvPrecision | str = KvPrecision.AUTO,
    architecture: str | None = None,
    tp: int = 1,
    pp: int = 1,
    gpus: int | None = None,
) -> list[FlagProblem]:
    """All that is wrong with flags, those that block first; [] when nothing is.

    `compute_capability` is the building GPU's, `precision` and `kv_cache` the checkpoint's, `architecture`
    config.json's, `gpus` how many the build sees; what is None is not known and not judged. Exit code 2: the
    flags contradict each other; 3: this GPU or precision cannot do it.
    """
    given, problems = settings_of(settings)
    case = Case(
        given=given,
        capability=compute_capability,
        precision=None if precision is None else Precision(precision),
        kv_cache=KvPrecision(kv_cache),
        architecture=architecture,
        ranks=tp * pp,
        tp=tp,
        gpus=gpus,
    )
    for rule in _RULES:
        problems.extend(rule(case))
    return sorted(problems, key=lambda problem: not problem.blocks)


def _needs(case: Case) -> Iterator[FlagProblem]:
    """Flags that want another flag, by the table."""
    for flag in flag_table():
        if not case.is_on(flag.name):
            continue
        for need in flag.depends:
            value = case.value(need.flag)
            if value in need.values or (not need.values and value not in (None, False, "")):
                continue
            wanted = " or ".join(need.values[:2]) if need.values else "a value"
            yield problem(
                case,
                flag.name,
                "flag-needs-flag",
                f"--{flag.name} needs --{need.flag} {wanted}: {need.why}.",
                f"Set {need.flag}, or take {flag.name} out.",
                blocks=need.blocks,
                evidence=f"--{flag.name} {shown(case.value(flag.name))}, --{need.flag} {shown(value)}",
            )


def _gpu(case: Case) -> Iterator[FlagProblem]:
    """Flags by the GPU they run on, by the table."""
    if case.capability is None:
        return
    capability = show_capability(case.capability)
    for flag in flag_table():
        if not case.is_on(flag.name):
            continue
        value = case.given[flag.name]
        for rule in flag.gpu_rules:
            if (rule.values and value not in rule.values) or rule.allows(case.capability):
                continue
            yield problem(
                case,
                flag.name,
                "flag-on-this-gpu",
                f"--{flag.name} {shown(value)} is not for a GPU of compute capability {capability}: {rule.reason}.",
                f"Take {flag.name} out{', or set it to auto' if 'auto' in flag.choices else ''}.",
                blocks=rule.blocks,
                exit_code=3,
            )
            break


def _precision(case: Case) -> Iterator[FlagProblem]:
    """What the builder refuses whatever the flags."""
    if case.precision is not None:
        support = supported(case.precision, "tensorrt_llm", case.capability, case.architecture)
        if not support.ok:
            near = f"Nearest: precision.weights = {support.nearest}." if support.nearest else ""
            yield problem(
                case,
                "checkpoint_dir",
                "not-supported",
                support.reason,
                near,
                exit_code=3,
                evidence=f"precision {case.precision}",
            )
    kv = kv_supported(case.kv_cache, "tensorrt_llm", case.capability)
    if not kv.ok:
        yield problem(
            case,
            "checkpoint_dir",
            "not-supported",
            kv.reason,
            f"Nearest: precision.kv_cache = {kv.nearest}." if kv.nearest else "",
            exit_code=3,
            evidence=f"KV cache {case.kv_cache}",
        )


def _conflicts(case: Case) -> Iterator[FlagProblem]:
    """Flags that exclude each other."""
    if case.is_on("build_config"):
        for name in (name for name in _SIZES if name in case.given):
            yield problem(
                case,
                name,
                "flags-conflict",
                f"--build_config brings all sizes, so --{name} would be ignored.",
                f"Take out build_config, or say {name} in it.",
            )
    if case.is_on("opt_num_tokens") and case.value("multiple_profiles") == "enable":
        yield problem(
            case,
            "opt_num_tokens",
            "flags-conflict",
            "--opt_num_tokens and --multiple_profiles enable exclude each other.",
            "Take one of them out.",
        )
    draft = case.number("max_draft_len") or 0
    for name in ("gather_context_logits", "gather_all_token_logits"):
        if case.is_on(name) and draft > 0:
            yield problem(
                case,
                name,
                "flags-conflict",
                f"--{name} does not go with --max_draft_len {draft}: prompt logits are not kept under speculation.",
                f"Take {name} out, or set max_draft_len to 0.",
            )
    if "paged_kv_cache" in case.given and "kv_cache_type" in case.given:
        yield problem(
            case,
            "paged_kv_cache",
            "flags-conflict",
            "--paged_kv_cache is the old spelling of --kv_cache_type, and both are set.",
            "Keep kv_cache_type alone.",
        )
    paged = case.value("kv_cache_type") in (None, "paged") and case.value("paged_kv_cache") != "disable"
    if case.value("gpt_attention_plugin") == "disable" and paged:
        yield problem(
            case,
            "gpt_attention_plugin",
            "flags-conflict",
            "A paged KV cache and in-flight batching need the attention plugin.",
            "Leave gpt_attention_plugin at auto.",
        )


def _speculation(case: Case) -> Iterator[FlagProblem]:
    if case.value("speculative_decoding_mode") != "eagle":
        return
    for name, most in (("max_batch_size", _EAGLE_BATCH), ("max_draft_len", _EAGLE_DRAFT)):
        value = case.number(name) or 0
        if value > most:
            yield problem(
                case,
                name,
                "speculation-limit",
                f"Eagle speculation takes --{name} up to {most}, not {value}.",
                f"Set {'limits.' if name == 'max_batch_size' else ''}{name} to {most} or less.",
            )


def _refused(case: Case) -> Iterator[FlagProblem]:
    """Flags that cannot lead to an engine here."""
    if case.is_on("streamingllm"):
        yield problem(
            case,
            "streamingllm",
            "flag-no-longer-works",
            "--streamingllm is still listed, but the build refuses it: StreamingLLM is no longer supported.",
            "Take streamingllm out.",
        )
    if case.is_on("dry_run"):
        yield problem(
            case,
            "dry_run",
            "no-engine",
            "--dry_run makes no engine, so the build step could not succeed.",
            "Take dry_run out; `workbench build PRESET --dry-run` shows the plan.",
        )
    if case.is_on("pp_reduce_scatter") and case.family("Mixtral") is False:
        yield problem(
            case,
            "pp_reduce_scatter",
            "flag-for-other-model",
            f"--pp_reduce_scatter is for Mixtral alone, this is {case.architecture}.",
            "Take pp_reduce_scatter out.",
            exit_code=3,
        )


_RULES: tuple[Callable[[Case], Iterator[FlagProblem]], ...] = (
    _needs,
    _gpu,
    _precision,
    _conflicts,
    _speculation,
    _refused,
    *HINTS,
)

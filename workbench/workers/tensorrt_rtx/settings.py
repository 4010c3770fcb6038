"""Settings of the build worker: read, and refused in words before anything heavy is begun."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.core.errors import BadInputError
from workbench.core.tensorrt_rtx.targets import CURRENT, Capability, refused, show, targets_of, why_not
from workbench.workers.protocol import WorkerError
from workbench.workers.tensorrt_rtx.libraries import gpu_capabilities
from workbench.workers.tensorrt_rtx.profiles import NAMES, Limits

_SETTINGS = frozenset(
    (
        "targets",
        "profiles",
        "max_batch_size",
        "max_seq_len",
        "opt_prompt",
        "weight_streaming",
        "strip_weights",
        "optimization_level",
        "workspace_gib",
    )
)
_DEFAULT_LENGTH = 2048
_DEFAULT_PROMPT = 512


@dataclass(frozen=True)
class BuildSettings:
    """What is asked of a build."""

    targets: tuple[Capability, ...]
    profiles: tuple[str, ...]
    limits: Limits
    weight_streaming: bool
    strip_weights: bool
    optimization_level: int | None
    workspace_bytes: int | None


def read_settings(given: Mapping[str, Any], facts: Mapping[str, Any]) -> BuildSettings:
    """Settings of a build of an ONNX folder with these facts.

    Raises WorkerError: `bad-setting`; `bad-gpu-target` for GPUs that TensorRT-RTX does not build for; `target-refused`
    for a precision that a target lacks; `no-gpu` where one is needed.
    """
    if unknown := sorted(set(given) - _SETTINGS):
        raise _bad(unknown[0], given[unknown[0]], "there is no such setting")
    profiles = str(given.get("profiles") or "prefill+decode")
    if profiles not in NAMES:
        raise _bad("profiles", profiles, f"one of {', '.join(NAMES)} is expected")
    length = _whole(given, "max_seq_len", 2, 1 << 24) or min(facts.get("max_seq_len") or _DEFAULT_LENGTH, 1 << 24)
    settings = BuildSettings(
        targets=_targets(given.get("targets"), facts),
        profiles=NAMES[profiles],
        limits=Limits(
            max_batch_size=_whole(given, "max_batch_size", 1, 1 << 16) or 1,
            max_seq_len=length,
            opt_prompt=_whole(given, "opt_prompt", 1, 1 << 24) or min(_DEFAULT_PROMPT, length),
        ),
        weight_streaming=_switch(given, "weight_streaming"),
        strip_weights=_switch(given, "strip_weights"),
        optimization_level=_whole(given, "optimization_level", 0, 5),
        workspace_bytes=_workspace(given),
    )
    if settings.strip_weights and not gpu_capabilities():
        raise WorkerError(
            "an engine without its weights (strip_weights) can be built only where there is an NVIDIA GPU",
            code="no-gpu",
            cause="TensorRT-RTX compiles such engines on the GPU itself, and no driver or GPU is here",
            hint="Take build.flags.strip_weights out; weight_streaming needs no GPU.",
        )
    return settings


def _targets(given: Any, facts: Mapping[str, Any]) -> tuple[Capability, ...]:
    if not isinstance(given, list | tuple) or not all(isinstance(word, str) for word in given):
        raise _bad("targets", given, "a list of compute capabilities is expected")
    words = [word for word in given if word.lower() not in (CURRENT, "this")]
    if len(words) < len(given):
        words += [show(_current())]
    try:
        found = targets_of(words)
    except BadInputError as error:
        raise WorkerError(error.what, code=error.failure.code, cause=error.evidence, hint=error.fix) from error
    precision = str(facts.get("precision", ""))
    for capability in found:
        if reason := why_not(precision, capability):
            raise WorkerError(
                reason,
                code="target-refused",
                cause=f"precision {precision}, target {show(capability)}",
                hint=f"Take {show(capability)} out of build.flags.targets, or choose another precision.",
            )
    return found


def _current() -> Capability:
    here = gpu_capabilities()
    if not here:
        raise WorkerError(
            "the build is for this machine's GPU, and there is none",
            code="no-gpu",
            cause="the NVIDIA driver is missing or lists no GPU",
            hint='Name compute capabilities in build.flags.targets, such as ["8.9"]; that needs no GPU.',
        )
    return next((one for one in here if not refused(one)), here[0])


def _whole(given: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _bad(name, value, f"a whole number from {least} to {most} is expected")
    return value


def _switch(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise _bad(name, value, "true or false is expected")
    return value


def _workspace(given: Mapping[str, Any]) -> int | None:
    value = given.get("workspace_gib")
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1024:
        raise _bad("workspace_gib", value, "GiB above 0 are expected")
    return int(value * 2**30)


def _bad(name: str, value: Any, why: str) -> WorkerError:
    return WorkerError(
        f"the build setting {name} is not as it should be: {why}",
        code="bad-setting",
        cause=f"{name} = {value!r}"[:300],
        hint="Correct build.flags in the preset.",
    )

"""For which GPUs TensorRT for RTX builds, and which precisions each of them has.

The table is that of TensorRT for RTX 1.7: NVIDIA's support matrix, and `ComputeCapability` of its builder (which
knows 8.0 too). FP32 is left out for Turing, for which the builder has no FP32 matrix product. Precisions are named as
in workbench.core.precision, which asks here and is therefore not imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from workbench.core.errors import BadInputError

Capability = tuple[int, int]
"""(major, minor) of an NVIDIA GPU, such as (8, 9)."""

CURRENT = "current"
"""The target that stands for the GPU of the machine that builds."""

_TURING = ("fp16",)
_AMPERE = ("fp32", "fp16", "bf16", "int8", "int4")
_ADA = (*_AMPERE, "fp8")
_BLACKWELL = (*_ADA, "nvfp4")

CAPABILITIES: dict[Capability, tuple[str, ...]] = {
    (7, 5): _TURING,
    (8, 0): _AMPERE,
    (8, 6): _AMPERE,
    (8, 9): _ADA,
    (12, 0): _BLACKWELL,
    (12, 1): _BLACKWELL,
}
"""Compute capability -> its precisions, least bits last. INT8 and INT4 are those of weights alone."""

ARCHITECTURES: dict[Capability, str] = {
    (7, 5): "Turing",
    (8, 0): "Ampere",
    (8, 6): "Ampere",
    (8, 9): "Ada Lovelace",
    (12, 0): "Blackwell",
    (12, 1): "Blackwell",
}
_PROVIDER_LEAST = (8, 6)
_ELSEWHERE = {
    (7, 0): "Volta",
    (8, 7): "Jetson Orin",
    (9, 0): "Hopper",
    (10, 0): "Blackwell of data centres",
    (10, 3): "Blackwell of data centres",
    (11, 0): "Jetson Thor",
}
"""Named in a refusal, so that a person knows their GPU again."""

_TITLES = {
    "fp32": "FP32",
    "fp16": "FP16",
    "bf16": "BF16",
    "int8": "INT8 weights",
    "int4": "INT4 weights",
    "fp8": "FP8",
    "nvfp4": "NVFP4",
}
_WEIGHTS_ALONE = ("int8", "int4")
_SAME = {"int4_awq": "int4"}
"""AWQ is a way to choose INT4 weights; the engine sees no difference."""


def show(capability: Capability) -> str:
    """(8, 9) -> "8.9"."""
    return f"{capability[0]}.{capability[1]}"


def capability_of(word: str) -> Capability:
    """ "8.9" -> (8, 9). Raises BadInputError (`bad-gpu-target`)."""
    match = re.fullmatch(r"\s*(\d{1,2})\.(\d)\s*", word)
    if match is None:
        raise BadInputError(
            f"{word[:60]!r} is not a compute capability.",
            evidence=f"targets = {word[:60]!r}",
            fix=f"Name one or more of: {known()}.",
            code="bad-gpu-target",
        )
    return int(match[1]), int(match[2])


def targets_of(words: Iterable[str]) -> tuple[Capability, ...]:
    """Capabilities to build for, each once, smallest first. `CURRENT` is the caller's to replace.

    Raises BadInputError (`bad-gpu-target`) for none, for a word that is no capability, and for one that TensorRT for
    RTX does not build for.
    """
    found = sorted({capability_of(word) for word in words})
    if not found:
        raise BadInputError(
            "No GPU is named to build for.",
            fix=f"Name one or more compute capabilities: {known()}.",
            code="bad-gpu-target",
        )
    for capability in found:
        if reason := refused(capability):
            raise BadInputError(reason, evidence=f"target {show(capability)}", code="bad-gpu-target")
    return tuple(found)


def known() -> str:
    """All capabilities in words."""
    return ", ".join(show(capability) for capability in CAPABILITIES)


def precisions_of(capability: Capability) -> tuple[str, ...]:
    """Precisions that an engine for this GPU can have; none where TensorRT for RTX does not run at all."""
    return CAPABILITIES.get(capability, ())


def refused(capability: Capability) -> str:
    """Why TensorRT for RTX does not run on such a GPU; "" when it does."""
    if capability in CAPABILITIES:
        return ""
    name = _ELSEWHERE.get(capability)
    return (
        f"TensorRT-RTX does not support compute capability {show(capability)}"
        f"{f' ({name})' if name else ''}; it supports {known()}."
    )


def provider_refuses(capability: Capability) -> str:
    """Why ONNX Runtime's TensorRT-RTX provider does not run engines on such a GPU, though TensorRT-RTX does; "" when
    it does.

    Source: the provider's own refusal (0.5.0), "only supports RTX devices with compute capabilities 86, 89, 120 and
    above".
    """
    if reason := refused(capability):
        return reason
    if capability >= _PROVIDER_LEAST:
        return ""
    return (
        f"ONNX Runtime's TensorRT-RTX provider runs on compute capability {show(_PROVIDER_LEAST)} and newer, not on "
        f"{show(capability)} ({ARCHITECTURES[capability]})."
    )


def why_not(precision: str, capability: Capability) -> str:
    """Why an engine of this precision cannot be had for this GPU, one or two sentences; "" when it can."""
    if reason := refused(capability):
        return reason
    name = _SAME.get(str(precision), str(precision))
    if name in CAPABILITIES[capability]:
        return ""
    shown, architecture = show(capability), ARCHITECTURES[capability]
    if name not in _TITLES:
        return (
            f"TensorRT-RTX engines here are FP32, FP16, BF16, FP8, NVFP4, or have INT8 or INT4 weights; "
            f"{name[:40]} is none of these."
        )
    least = next(one for one, precisions in CAPABILITIES.items() if name in precisions)
    verb = "need" if name in _WEIGHTS_ALONE else "needs"
    return (
        f"{_TITLES[name]} {verb} compute capability {show(least)} ({ARCHITECTURES[least]}) or newer with TensorRT-RTX; "
        f"{shown} ({architecture}) has {_listed(CAPABILITIES[capability])}."
    )


def _listed(precisions: tuple[str, ...]) -> str:
    *first, last = (_TITLES[name] for name in precisions)
    return f"{', '.join(first)} and {last}" if first else last

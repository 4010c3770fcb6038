"""The few flags of a toolchain's own build as fields of the form, and the GPUs that an engine is built for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from workbench.core.errors import BadInputError
from workbench.core.gpu import find_gpu
from workbench.core.preset import Preset
from workbench.core.preset_fields import PresetField
from workbench.core.tensorrt_rtx.layer_words import target_parts
from workbench.core.tensorrt_rtx.targets import CAPABILITIES, show, why_not
from workbench.toolchains.onnxruntime.flags import FLAGS as ONNX_FLAGS
from workbench.toolchains.pytorch.flags import FLAGS as PYTORCH_FLAGS
from workbench.toolchains.tensorrt_rtx.flags import FLAGS as RTX_FLAGS
from workbench.toolchains.tensorrt_rtx.flags import PROFILES, target_words
from workbench.toolchains.tensorrt_rtx.targets import THIS

TARGETS = "targets"
WITH_TARGETS = frozenset(("tensorrt_rtx",))
"""Toolchains that build for GPUs that are named."""
_BLANK = PresetField((), "", "", "", "text", optional=False, default=None)


def _rtx(name: str, title: str, **more: Any) -> PresetField:
    flag = RTX_FLAGS[name]
    path = ("build", "flags", name)
    return replace(_BLANK, path=path, title=title, help=flag.help, default=flag.default, **more)


def _choice(name: str, title: str, help_: str, choices: tuple[Any, ...]) -> PresetField:
    path, kind = ("build", "flags", name), "switch" if isinstance(choices[0], bool) else "choice"
    listed = () if kind == "switch" else choices
    return replace(_BLANK, path=path, title=title, help=help_, default=choices[0], kind=kind, choices=listed)  # type: ignore[arg-type]


FIELDS: Mapping[str, tuple[PresetField, ...]] = {
    "tensorrt_rtx": (
        _rtx("profiles", "Profiles", kind="choice", choices=PROFILES),
        _rtx("opt_prompt", "Prompt length", kind="whole", unit="tokens", low=1, high=131072),
        _rtx("weight_streaming", "Weight streaming", kind="switch"),
        _rtx("strip_weights", "Strip weights", kind="switch"),
        _rtx(
            "optimization_level", "Optimization level", kind="whole", low=0, high=5, optional=True,
            empty_words="the builder's own",
        ),
        _rtx(
            "workspace_gib", "Scratch memory", kind="number", unit="GiB", low=0, high=1024, open_low=True,
            optional=True, empty_words="no limit",
        ),
    ),
    "onnxruntime": (
        _choice(
            "device", "Device", "Where the engine runs; Automatic: the GPU where one fits, else the CPU.",
            ONNX_FLAGS["device"],
        ),
    ),
    "pytorch": (
        _choice("mode", "Mode", "Compiled code is slow to load and faster on a GPU.", PYTORCH_FLAGS["mode"]),
        _choice(
            "device", "Device", "Where the engine runs; Automatic: the GPU where one is, else the CPU.",
            PYTORCH_FLAGS["device"],
        ),
        _choice("attention", "Attention", "Which code computes attention.", PYTORCH_FLAGS["attention"]),
        _choice(
            "sampling", "Own sampling", "Draw tokens by each request's settings, not greedily.",
            PYTORCH_FLAGS["sampling"],
        ),
    ),
}  # fmt: skip
"""By toolchain, without the targets; one that is not here has none, or a table of many."""


def shown(preset: Preset) -> dict[str, Any]:
    """Each field's value: the preset's own, else the flag's default."""
    flags = preset.build.flags
    return {field.path[-1]: flags.get(field.path[-1], field.default) for field in FIELDS.get(preset.toolchain, ())}


def with_value(flags: Mapping[str, Any], field: PresetField, value: Any) -> dict[str, Any]:
    """[build.flags] with a field's value; its default is not written down."""
    name = field.path[-1]
    made = {known: kept for known, kept in flags.items() if known != name}
    if value is not None and not (value == field.default and type(value) is type(field.default)):
        made[name] = value
    return made


# --- targets ---


@dataclass(frozen=True)
class TargetChoice:
    """One kind of GPU to build for."""

    word: str
    """As [build.flags] targets has it: `8.9`, or `this`."""
    title: str
    gpus: str
    """GPUs of that kind by name."""
    why_not: str = ""
    """Why the preset's precision cannot be had there."""
    short_why_not: str = ""


def target_choices(preset: Preset) -> tuple[TargetChoice, ...]:
    """This machine's GPU, then all that the toolchain builds for."""
    weights = preset.precision.weights.value
    found = [TargetChoice(THIS, "This machine's GPU", "")]
    for capability in CAPABILITIES:
        title, gpus = target_parts(show(capability))
        reason = why_not(weights, capability)
        short = f"has no {preset.precision.weights.value.upper().replace('_', ' ')}" if reason else ""
        found.append(TargetChoice(show(capability), title, gpus, reason, short))
    return tuple(found)


def chosen_targets(preset: Preset) -> tuple[str, ...]:
    """What an engine of the preset is built for, as words of `target_choices`; GPUs that are named count as their
    kind, and a word that nobody knows stays as it is, for preflight to refuse."""
    words = target_words(preset.build.flags) or implied_targets(preset)
    return tuple(dict.fromkeys(_kind_of(word) for word in words))


def implied_targets(preset: Preset) -> tuple[str, ...]:
    """What it is built for where [build.flags] names nothing: the preset's GPU, else this machine's."""
    return (_kind_of(preset.gpu),) if preset.gpu else (THIS,)


def with_targets(preset: Preset, words: Iterable[str]) -> dict[str, Any]:
    """[build.flags] with these targets; what is implied anyway is not written down."""
    order = {choice.word: at for at, choice in enumerate(target_choices(preset))}
    targets = sorted(set(words) & set(order), key=lambda word: order[word])
    made = {name: value for name, value in preset.build.flags.items() if name != TARGETS}
    if targets and tuple(targets) != implied_targets(preset):
        made[TARGETS] = targets
    return made


def targets_summary(preset: Preset) -> str:
    """`built for RTX 4090 (8.9)`, `built for 8.6, 8.9, 12.0`."""
    words = chosen_targets(preset)
    if words == (THIS,):
        return "built for this machine's GPU"
    if preset.gpu and words == implied_targets(preset):
        return f"built for {preset.gpu} ({words[0]})"
    return "built for " + ", ".join("this machine's GPU" if word == THIS else word for word in words)


def _kind_of(word: str) -> str:
    if word.lower() in (THIS, "current"):
        return THIS
    try:
        return find_gpu(word).capability if not word[:1].isdigit() or " " in word else word
    except BadInputError:
        return word

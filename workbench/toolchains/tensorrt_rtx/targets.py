"""Which GPUs a TensorRT-RTX engine is built for: words of [build.flags] targets, the preset's GPU, this machine's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.core.errors import BadInputError, BlockedError
from workbench.core.gpu import CATALOGUE, GpuSpec, find_gpu
from workbench.core.preset import Preset
from workbench.core.tensorrt_rtx.targets import Capability, capability_of, known, refused, show
from workbench.toolchains.gpus import PlannedGpus
from workbench.toolchains.tensorrt_rtx.flags import target_words

THIS = "this"
"""The word for the GPUs of the machine that the build is planned for."""


@dataclass(frozen=True)
class Targets:
    """What an engine is built for. `gpus`: those that a person named or that are there, each once."""

    capabilities: tuple[Capability, ...]
    gpus: tuple[GpuSpec, ...] = ()
    present: bool = False
    """Whether a GPU of one of the capabilities is there."""

    @property
    def names(self) -> list[str]:
        """As the build worker takes them: "8.9"."""
        return [show(capability) for capability in self.capabilities]

    @property
    def words(self) -> str:
        """For people: "8.6, 8.9 and 12.0"."""
        *first, last = self.names
        return f"{', '.join(first)} and {last}" if first else last


def plan_targets(preset: Preset, detected: Sequence[GpuSpec], where: str = "this machine") -> Targets:
    """The targets of a preset on a machine with these GPUs; `where` is that machine in words.

    Raises BadInputError (`bad-gpu-target`, `unknown-gpu`), and BlockedError where nothing says what to build for.
    """
    words = target_words(preset.build.flags)
    if not words:
        words = (preset.gpu,) if preset.gpu else (THIS,)
    named = [gpu for word in words for gpu in _gpus_of(word, detected, where)]
    capabilities = {gpu.compute_capability for gpu in named}
    capabilities |= {capability_of(word) for word in words if _is_capability(word)}
    found = tuple(sorted(capabilities))
    for capability in found:
        if reason := refused(capability):
            names = ", ".join(dict.fromkeys(gpu.name for gpu in named if gpu.compute_capability == capability))
            raise BlockedError(
                reason,
                evidence=f"targets = {', '.join(words)}" + ("" if not names or names in words else f" ({names})"),
                fix=f"Name another target: build.flags.targets, one or more of {known()}. For that GPU itself, build "
                "with ONNX Runtime or TensorRT-LLM.",
                code="bad-gpu-target",
            )
    here = {gpu.compute_capability for gpu in detected}
    unique = tuple({gpu.name: gpu for gpu in named}.values())
    return Targets(found, unique, bool(here & set(found)))


def _is_capability(word: str) -> bool:
    return word[:1].isdigit() and "." in word


def _gpus_of(word: str, detected: Sequence[GpuSpec], where: str) -> list[GpuSpec]:
    """GPUs that a word names; none for a compute capability alone."""
    if _is_capability(word):
        return []
    if word.lower() not in (THIS, "current"):
        return [_named(word)]
    if not detected:
        raise BlockedError(
            f"No GPU is named to build for, and there is none in {where}.",
            evidence="TensorRT-RTX builds ahead of time for the compute capabilities that it is told",
            fix=f"Set build.flags.targets to one or more of {known()}, or gpu to a name such as RTX 4090.",
            code="no-target",
        )
    fitting = [gpu for gpu in detected if not refused(gpu.compute_capability)]
    return fitting or [detected[0]]


def _named(word: str) -> GpuSpec:
    try:
        return find_gpu(word)
    except BadInputError as error:
        raise BadInputError(
            f"build.flags.targets: {error.what}",
            evidence=f"a target is one of {known()}, this, or a GPU of the catalogue: {', '.join(CATALOGUE)}",
            code="bad-gpu-target",
        ) from error


def planned(preset: Preset, detected: Sequence[GpuSpec], where: str = "this machine") -> PlannedGpus:
    """For a plan's head: GPUs that are named, and the targets in words. A preset without a target has no GPUs; what is
    wrong is said when its steps are made."""
    try:
        targets = plan_targets(preset, detected, where)
    except (BadInputError, BlockedError):
        return PlannedGpus((), False, "")
    there = "here" if where == "this machine" else f"on {where}"
    names = ", ".join(gpu.name for gpu in targets.gpus)
    words = f"built for compute capability {targets.words}"
    found = "present" if targets.present else "not present"
    return PlannedGpus(targets.gpus, targets.present, f"{words} ({names + ', ' if names else ''}{found} {there})")

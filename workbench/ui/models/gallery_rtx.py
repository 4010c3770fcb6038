"""Cards of TensorRT-RTX presets: built on any machine, for the GPUs that they name."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.core.errors import BadInputError, BlockedError
from workbench.core.gpu import CATALOGUE, GpuSpec
from workbench.core.precision import supported
from workbench.core.preset import Preset
from workbench.core.tensorrt_rtx.targets import provider_refuses, refused
from workbench.toolchains.tensorrt_rtx.flags import target_words
from workbench.toolchains.tensorrt_rtx.targets import Targets, plan_targets

_AS_ONNX = "here it runs as ONNX on the CPU."
_AS_ONNX_THERE = "here its ONNX model runs instead."


def rtx_words(preset: Preset, gpus: Sequence[GpuSpec], lacking: str) -> tuple[str, bool]:
    """Why its engine does not run on this machine (empty: it does), and whether it can be built here for others.

    `gpus` are this machine's, `lacking` is what its toolchain's environment has to say.
    """
    weights = preset.precision.weights
    if reason := supported(weights, "tensorrt_rtx").reason:
        return reason, False
    try:
        targets = plan_targets(preset, gpus)
    except BlockedError as error:
        if error.failure.code == "no-target" and not lacking:
            return f"Choose the GPUs that it is built for; {_AS_ONNX}", True
        return (lacking if error.failure.code == "no-target" else error.failure.what), False
    except BadInputError as error:
        return error.failure.what, False
    for capability in targets.capabilities:
        if reason := supported(weights, "tensorrt_rtx", capability).reason:
            return reason, False
    if lacking:
        return lacking, False
    if targets.present:
        fitting = [gpu for gpu in gpus if gpu.compute_capability in targets.capabilities]
        passed_over = [provider_refuses(gpu.compute_capability).rstrip(".") for gpu in fitting]
        return ("", False) if "" in passed_over else (f"{passed_over[0]}: {_AS_ONNX_THERE}", True)
    words = f"Built here for {_names(preset, targets)}"
    if not gpus:
        return f"{words}; {_AS_ONNX}", True
    if reason := next((reason for gpu in gpus if (reason := refused(gpu.compute_capability))), ""):
        return f"{words}. {reason.split(';')[0].rstrip('.')}.", True
    here = ", ".join(sorted({gpu.capability for gpu in gpus}))
    return f"{words}; {'this GPU is' if len(gpus) == 1 else 'the GPUs here are'} {here}.", True


def _names(preset: Preset, targets: Targets) -> str:
    if preset.gpu and not target_words(preset.build.flags):
        return f"{preset.gpu} ({targets.words})"
    return targets.words


def gpus_of_targets(preset: Preset) -> tuple[str, ...]:
    """GPUs of the catalogue that its engine is built for."""
    if preset.toolchain != "tensorrt_rtx" or not (preset.gpu or target_words(preset.build.flags)):
        return ()
    try:
        capabilities = plan_targets(preset, ()).capabilities
    except (BadInputError, BlockedError):
        return ()
    return tuple(gpu.name for gpu in CATALOGUE.values() if gpu.compute_capability in capabilities)

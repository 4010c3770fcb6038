"""Advice on TensorRT-RTX builds: what the targets lack, and what a machine without a GPU cannot do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from workbench.core.advice import Advice
from workbench.core.gpu import GpuSpec
from workbench.core.precision import Precision, supported
from workbench.core.preflight_rtx import built_length
from workbench.core.tensorrt_rtx.targets import ARCHITECTURES, CAPABILITIES, provider_refuses, show
from workbench.toolchains.base import BuildRequest
from workbench.toolchains.onnx_advice import onnx_advice
from workbench.toolchains.refusals import known_precision
from workbench.toolchains.tensorrt_rtx.flags import read_flags
from workbench.toolchains.tensorrt_rtx.targets import Targets


def rtx_advice(request: BuildRequest, targets: Targets | None, detected: Sequence[GpuSpec]) -> Iterator[Advice]:
    """All that is known before a build. `targets`: None where none is needed, as nothing is built; `detected`: GPUs of
    the machine that builds."""
    yield from onnx_advice(request, "TensorRT-RTX")
    if targets is None:
        return
    for name in request.precisions:
        yield from _precision(known_precision(name), targets)
    yield from _provider(targets)
    flags, length = read_flags(request.preset.build.flags), built_length(request.preset, request.model)
    if flags["strip_weights"] and not detected:
        yield Advice(
            code="strip-without-gpu",
            level="block",
            text="An engine without its weights can be built only where there is a GPU: TensorRT-RTX asks the driver.",
            arithmetic="build.flags.strip_weights = true, no NVIDIA GPU",
            fix="Leave strip_weights out, or build on a machine that has a GPU.",
            overrides=("build.flags.strip_weights=false",),
        )
    positions = request.model.max_positions
    if positions and length > positions:
        yield Advice(
            code="profile-too-long",
            level="block",
            text="The engine is to take longer sequences than the model has positions for.",
            arithmetic=f"limits.max_seq_len {length:,}, the model's positions {positions:,}",
            fix=f"Set it to {positions:,}.",
            overrides=(f"limits.max_seq_len={positions}",),
        )
    if "opt_prompt" in request.preset.build.flags and flags["opt_prompt"] > length:
        yield Advice(
            code="prompt-over-limit",
            level="hint",
            text="Kernels are chosen for prompts that are longer than a sequence may be; the sequence limit is taken.",
            arithmetic=f"build.flags.opt_prompt {flags['opt_prompt']:,}, longest sequence {length:,}",
            fix=f"Set it to {length // 2 or 1:,}.",
            overrides=(f"build.flags.opt_prompt={length // 2 or 1}",),
        )


def _provider(targets: Targets) -> Iterator[Advice]:
    """Targets that the engine is compiled for and that the workbench cannot run it on."""
    passed_over = [capability for capability in targets.capabilities if provider_refuses(capability)]
    if passed_over:
        runs = ", ".join(show(capability) for capability in CAPABILITIES if not provider_refuses(capability))
        yield Advice(
            code="target-without-provider",
            level="warning",
            text=f"The workbench cannot run the compiled engine on {' and '.join(map(show, passed_over))}: "
            "ONNX Runtime's TensorRT-RTX provider wants a newer GPU. Its ONNX model runs there instead.",
            arithmetic=f"targets {targets.words}; the provider runs on {runs}",
            fix="Fine for programs that load engine.trt themselves. Else build for ONNX Runtime or TensorRT-LLM there.",
        )


def _precision(precision: Precision, targets: Targets) -> Iterator[Advice]:
    """The first target that lacks it: newer ones have all that older ones have, so that what is nearest there fits
    all."""
    for capability in targets.capabilities:
        found = supported(precision, "tensorrt_rtx", capability)
        if found.ok:
            continue
        named = next((gpu.name for gpu in targets.gpus if gpu.compute_capability == capability), "")
        yield Advice(
            code="precision-gpu",
            level="block",
            text=found.reason,
            arithmetic=f"precision {precision}, target {show(capability)} ({named or ARCHITECTURES[capability]})",
            fix=f"Nearest that works: {found.nearest}." if found.nearest else "Choose another target.",
            overrides=(f"precision.weights={found.nearest}",) if found.nearest else (),
        )
        return

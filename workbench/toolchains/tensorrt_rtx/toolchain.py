"""Steps of a TensorRT-RTX build: ONNX, quantize, compile for the named GPUs, verify; and how an engine is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workbench.core.advice import Advice
from workbench.core.gpu import GpuSpec
from workbench.core.plan import Step, StepInput
from workbench.core.precision import Precision
from workbench.core.preflight_rtx import build_estimate, built_length
from workbench.core.tensorrt_rtx.targets import provider_refuses
from workbench.toolchains.base import BuildRequest, Device, EngineRequest, Environment, HostStart, Package, Part
from workbench.toolchains.gpus import detected_gpus
from workbench.toolchains.onnx_steps import (
    PACKAGES,
    Dtype,
    all_steps,
    make_step,
    output,
)
from workbench.toolchains.onnxruntime.toolchain import onnx_host
from workbench.toolchains.tensorrt_rtx.advice import rtx_advice
from workbench.toolchains.tensorrt_rtx.flags import read_flags
from workbench.toolchains.tensorrt_rtx.targets import Targets, plan_targets

EP_PACKAGE = "onnxruntime-ep-nv-tensorrt-rtx-cu13"
RUNS_ON_RTX = (EP_PACKAGE, "onnxruntime-genai-cuda")
"""What compiled engines are run with: the execution provider, and the build of onnxruntime-genai that reaches it."""
_BUILD = ("tensorrt-rtx-cu13-libs", "tensorrt-rtx-cu13-bindings", "onnx")


class TensorRtRtx:
    """The toolchain; see workbench.toolchains.base.Toolchain."""

    name = "tensorrt_rtx"
    title = "TensorRT-RTX"
    packages: tuple[Package, ...] = (
        Package("tensorrt-rtx-cu13-libs", for_builds=True),
        Package("tensorrt-rtx-cu13-bindings", for_builds=True),
        Package("nvidia-cuda-runtime", for_builds=True),
        *PACKAGES,
        Package(EP_PACKAGE, required=False),
    )
    install_hint = (
        "`workbench toolchain install tensorrt_rtx` makes an environment, as the Doctor page does; or name an "
        "interpreter that has it in WORKBENCH_TENSORRT_RTX_PYTHON."
    )
    parts: tuple[Part, ...] = ()
    note = (
        "Builds on any machine, ahead of time for RTX GPUs. Running a compiled engine by its execution provider was "
        "not tried on an RTX GPU; without one, ONNX Runtime runs the engine's ONNX model on the CPU."
    )
    runtime_settings = frozenset(("kv_cache_gib", "chunked_prefill", "max_num_batched_tokens"))

    def __init__(self, gpus: Callable[[], tuple[GpuSpec, ...]] = detected_gpus) -> None:
        self._gpus = gpus

    def needs(self, request: BuildRequest) -> tuple[Environment, ...]:
        """The one interpreter."""
        return (request.environment,)

    def advice(self, request: BuildRequest) -> tuple[Advice, ...]:
        """What is known to be wrong or wasteful."""
        builds = request.until not in ("check", "fetch", "convert", "quantize")
        return tuple(rtx_advice(request, self._targets(request) if builds else None, self._gpus_of(request)))

    def steps(self, request: BuildRequest) -> list[Step]:
        """Check, a convert for each dtype, then quantize, build and verify for each precision."""
        flags = read_flags(request.preset.build.flags)
        # Checkpoints can be made before anybody knows for which GPU.
        builds = (request.until or "verify") in ("build", "verify")
        targets = self._targets(request) if builds else Targets(())
        return all_steps(
            request,
            "tensorrt_rtx",
            self.title,
            dtype_of,
            lambda source, precision, out: _build(request, source, precision, flags, targets, out),
        )

    def _gpus_of(self, request: BuildRequest) -> tuple[GpuSpec, ...]:
        """GPUs of the machine that the build runs on."""
        return self._gpus() if request.place is None else request.place.gpus

    def _targets(self, request: BuildRequest) -> Targets:
        where = "this machine" if request.place is None else request.place.words
        return plan_targets(request.preset, self._gpus_of(request), where)

    def host(self, request: EngineRequest) -> HostStart:
        """How to run an engine folder: the compiled engine on a GPU that it fits, else its ONNX model on the CPU."""
        return onnx_host(request, "auto", self._place(request))

    def _place(self, request: EngineRequest) -> Device:
        built_for = request.provenance.result.get("targets") or ()
        fitting = any(
            gpu.capability in built_for and not provider_refuses(gpu.compute_capability) for gpu in self._gpus()
        )
        ready = all(name in request.environment.versions for name in RUNS_ON_RTX)
        return "gpu" if fitting and ready else "cpu"


def dtype_of(precision: Precision) -> Dtype:
    """What an engine computes in: FP16, unless FP32 or BF16 is asked for."""
    if precision is Precision.FP32:
        return "fp32"
    return "bf16" if precision is Precision.BF16 else "fp16"


def _build(
    request: BuildRequest,
    source: Step,
    precision: Precision,
    flags: Mapping[str, Any],
    targets: Targets,
    out: Path | None,
) -> Step:
    length = built_length(request.preset, request.model)
    settings: dict[str, Any] = {
        "targets": targets.names,
        **flags,
        "opt_prompt": min(flags["opt_prompt"], length),
        "max_batch_size": request.preset.limits.max_batch_size,
        "max_seq_len": length,
    }
    inputs = (StepInput(role="checkpoint", step=source.id),)
    fields = make_step(
        request, "build", "tensorrt_rtx.build", precision.value, settings, inputs, {"checkpoint": source.key}, _BUILD
    )
    fields["estimate"] = build_estimate(request.preset, request.model, precision)
    words = f"tensorrt-rtx-{precision.value}-sm{'-'.join(name.replace('.', '') for name in targets.names)}"
    return Step(**fields, output=output(request, "engine", "engines", words, precision.value, fields["key"], out))

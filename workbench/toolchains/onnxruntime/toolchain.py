"""Steps of an ONNX Runtime engine: convert, quantize, take the folder as it is, verify; and its host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.core.advice import Advice
from workbench.core.gpu import GpuSpec
from workbench.core.messages import StepSpec
from workbench.core.plan import Step, StepEstimate, StepInput
from workbench.core.precision import Precision
from workbench.core.units import Range
from workbench.toolchains.base import BuildRequest, Device, EngineRequest, Environment, HostStart, Package, Part
from workbench.toolchains.gpus import detected_gpus
from workbench.toolchains.onnx_advice import onnx_advice
from workbench.toolchains.onnx_steps import (
    PACKAGES,
    RUN,
    WORKERS,
    Dtype,
    all_steps,
    make_step,
    output,
)
from workbench.toolchains.onnxruntime.flags import read_flags

_BUILD = (*RUN, "onnx")
_ENGINE_BYTES = 64 * 2**10
_CUDA = ("onnxruntime-gpu", "onnxruntime-genai-cuda")


class OnnxRuntime:
    """The toolchain; see workbench.toolchains.base.Toolchain."""

    name = "onnxruntime"
    title = "ONNX Runtime"
    packages: tuple[Package, ...] = PACKAGES
    install_hint = (
        "`workbench toolchain install onnxruntime` makes an environment, as the Doctor page does; or name an "
        "interpreter that has it in WORKBENCH_ONNXRUNTIME_PYTHON."
    )
    parts: tuple[Part, ...] = ()
    note = "On a GPU by CUDA only with the wheels onnxruntime-gpu and onnxruntime-genai-cuda in its environment."
    runtime_settings = frozenset(("kv_cache_gib", "chunked_prefill", "max_num_batched_tokens"))

    def __init__(self, gpus: Callable[[], tuple[GpuSpec, ...]] = detected_gpus) -> None:
        self._gpus = gpus

    def needs(self, request: BuildRequest) -> tuple[Environment, ...]:
        """The one interpreter."""
        return (request.environment,)

    def advice(self, request: BuildRequest) -> tuple[Advice, ...]:
        """What is known to be wrong or wasteful."""
        found = list(onnx_advice(request, self.title))
        wants_cuda = read_flags(request.preset.build.flags)["device"] == "cuda"
        if wants_cuda and request.environment.usable and not cuda_wheels(request.environment):
            found.append(
                Advice(
                    code="no-cuda-wheel",
                    level="block",
                    text="An ONNX Runtime engine for a GPU needs the wheels for CUDA, which are not installed.",
                    arithmetic=f"{' '.join(request.environment.prefix)} lacks {' and '.join(_CUDA)}",
                    fix="Install them there in place of onnxruntime and onnxruntime-genai, or use device = cpu.",
                    overrides=("build.flags.device=cpu",),
                )
            )
        return tuple(found)

    def steps(self, request: BuildRequest) -> list[Step]:
        """Check, a convert for each dtype, then quantize, build and verify for each precision."""
        flags = read_flags(request.preset.build.flags)
        return all_steps(
            request,
            "onnxruntime",
            self.title,
            dtype_of,
            lambda source, precision, out: _build(request, source, precision, flags, out),
        )

    def host(self, request: EngineRequest) -> HostStart:
        """How to run an engine folder."""
        return onnx_host(request, self._device(request), self._place(request))

    def _device(self, request: EngineRequest) -> str:
        return str(request.provenance.result.get("device") or request.preset.build.flags.get("device", "auto"))

    def _place(self, request: EngineRequest) -> Device:
        """Where the engine would be loaded: `auto` is the CPU, unless wheels for CUDA and a GPU are there."""
        device = self._device(request)
        if device != "auto":
            return "gpu" if device == "cuda" else "cpu"
        return "gpu" if cuda_wheels(request.environment) and self._gpus() else "cpu"


def dtype_of(precision: Precision) -> Dtype:
    """What a CPU computes in: FP32, which ONNX Runtime's kernels have throughout, unless FP16 is asked for."""
    return "fp16" if precision is Precision.FP16 else "fp32"


def cuda_wheels(environment: Environment) -> bool:
    """Whether onnxruntime-genai was installed for CUDA."""
    return "onnxruntime-genai-cuda" in environment.versions


def onnx_host(request: EngineRequest, device: str, place: Device) -> HostStart:
    """The host over onnxruntime-genai, which runs the folders of both toolchains."""
    runtime, limits = request.preset.runtime, request.preset.limits
    settings = {
        "device": device,
        "kv_cache_bytes": int(runtime.kv_cache_gib * 2**30) if runtime.kv_cache_gib else None,
        "max_batch_size": limits.max_batch_size,
        "max_seq_len": limits.max_seq_len,
        "prefill_chunk": _prefill_chunk(runtime.chunked_prefill, runtime.max_num_batched_tokens),
    }
    return HostStart(
        argv=request.environment.argv(f"{WORKERS}onnxruntime.host", paths=(request.engine,)),
        env=request.environment.env(),
        spec=StepSpec(
            worker="onnxruntime.host",
            settings={key: value for key, value in settings.items() if value is not None},
            inputs={"engine": str(request.engine)},
        ),
        device=place,
    )


def _prefill_chunk(chunked: bool, tokens: int | None) -> int | None:
    """Tokens of a prompt that are computed before other requests get a turn; 0: all of them; None: the host's own."""
    return tokens if chunked else 0


def _build(request: BuildRequest, source: Step, precision: Precision, flags: dict[str, str], out: Path | None) -> Step:
    settings: dict[str, Any] = {"device": flags["device"]}
    inputs = (StepInput(role="checkpoint", step=source.id),)
    fields = make_step(
        request, "build", "onnxruntime.build", precision.value, settings, inputs, {"checkpoint": source.key}, _BUILD
    )
    estimate: StepEstimate = fields["estimate"]
    if (disk := estimate.disk_bytes) is not None:
        linked = Range.bytes(_ENGINE_BYTES, disk.high, formula="files are linked, or copied", source=disk.source)
        fields["estimate"] = estimate.model_copy(update={"disk_bytes": linked})
    words = f"onnxruntime-{precision.value}" + ("" if flags["device"] == "auto" else f"-{flags['device']}")
    return Step(**fields, output=output(request, "engine", "engines", words, precision.value, fields["key"], out))

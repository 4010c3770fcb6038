"""Where an engine runs: the CPU, a GPU by CUDA, or its compiled TensorRT-RTX engine on an RTX GPU.

CUDA was run on an H100. The TensorRT-RTX provider was not run, for want of an RTX GPU: what is asked before it is
loaded and the configuration that it gets are tested. onnxruntime-genai reaches both kinds of GPU through its own add-on
library, which is in the wheel onnxruntime-genai-cuda alone.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from workbench.core.errors import BadInputError
from workbench.core.tensorrt_rtx.targets import Capability, capability_of, provider_refuses
from workbench.workers.common import explain_import
from workbench.workers.onnxruntime.common import CONTEXT_FILE
from workbench.workers.protocol import WorkerError
from workbench.workers.trtllm.common import Gpu, visible_gpus

Wanted = Literal["auto", "cpu", "cuda", "rtx"]
ADD_ON = "libonnxruntime-genai-cuda.so"
RTX_PACKAGE = "onnxruntime-ep-nv-tensorrt-rtx-cu13"
RTX_MODULE = "onnxruntime_ep_nv_tensorrt_rtx"
RTX_LIBRARY = "libonnxruntime_providers_nv_tensorrt_rtx.so"
RTX_PROVIDER = "NvTensorRTRTXExecutionProvider"
"""As ONNX Runtime names it, and as its library is registered."""
_GENAI_NAMES = {"cuda": "cuda", "rtx": "NvTensorRtRtx"}
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "rtx": RTX_PROVIDER}
_NOT_ON_CPU = {
    "nvfp4": "ONNX Runtime has no NVFP4 of its own: the operator that quantizes activations is TensorRT-RTX's",
    "bf16": "ONNX Runtime's CPU kernels do not compute in BF16",
}
_RTX_ALONE = ("nvfp4",)
"""Precisions that CUDA kernels of ONNX Runtime lack too."""


@dataclass(frozen=True)
class Place:
    """Where an engine is loaded."""

    device: Literal["cpu", "cuda", "rtx"]
    words: str
    """For people: "CPU", or a GPU's number and name."""
    gpu: Gpu | None = None
    remark: str = ""
    """Why a compiled engine is not what runs."""

    @property
    def provider(self) -> str:
        """ONNX Runtime's name of what computes."""
        return _PROVIDERS[self.device]

    @property
    def genai_name(self) -> str:
        """onnxruntime-genai's name of it; empty for the CPU, which is always there."""
        return _GENAI_NAMES.get(self.device, "")


def choose(wanted: Wanted, facts: Mapping[str, Any], folder: Path, environ: Mapping[str, str] = os.environ) -> Place:
    """The place for an engine with these facts (engine.json's).

    `auto` is what the engine was built for; where that is open, a compiled engine's RTX GPU, else CUDA, else the CPU.
    Raises WorkerError: `no-gpu`, `no-cuda-wheel`, `no-execution-provider`, `not-an-rtx-engine`, `engine-of-other-gpu`,
    `engine-of-other-version`, `not-supported`, `import-failed`.
    """
    if wanted == "auto" and facts.get("device") in ("cpu", "cuda"):
        wanted = "cpu" if facts["device"] == "cpu" else "cuda"
    remark = ""
    if wanted == "rtx" or (wanted == "auto" and (folder / CONTEXT_FILE).is_file()):
        try:
            return rtx_place(facts, folder, visible_gpus(environ))
        except WorkerError as error:
            if wanted == "rtx":
                raise
            remark = f"the compiled engine is not run: {error.message}"
    precision = str(facts.get("precision"))
    if wanted in ("auto", "cuda") and precision not in _RTX_ALONE:
        try:
            return cuda_place(visible_gpus(environ), remark)
        except WorkerError:
            if wanted == "cuda":
                raise
    reason = _NOT_ON_CPU.get(precision) or _NOT_ON_CPU.get(str(facts.get("compute")))
    if reason:
        raise WorkerError(
            f"the engine cannot run {'by CUDA' if wanted == 'cuda' else 'on the CPU'}",
            code="not-supported",
            cause=f"{reason}{f'; {remark}' if remark else ''}",
            hint="Run it on an RTX GPU that it was compiled for, or build another precision.",
        )
    return Place("cpu", "CPU", remark=remark)


def cuda_place(gpus: tuple[Gpu, ...], remark: str = "") -> Place:
    """The first GPU, by ONNX Runtime's CUDA provider. Raises WorkerError `no-gpu`, `no-cuda-wheel`, `import-failed`."""
    if not gpus:
        raise _no_gpu()
    try:
        import onnxruntime
    except (ImportError, RuntimeError, OSError) as error:
        raise explain_import(error) from error
    lacking = [] if _PROVIDERS["cuda"] in onnxruntime.get_available_providers() else ["onnxruntime-gpu"]
    lacking += [] if add_on_there() else ["onnxruntime-genai-cuda"]
    if lacking:
        raise WorkerError(
            "ONNX Runtime was installed here without CUDA",
            code="no-cuda-wheel",
            cause=f"{' and '.join(lacking)} not installed; providers: "
            f"{', '.join(onnxruntime.get_available_providers())}",
            hint="Install them in place of onnxruntime and onnxruntime-genai, or use the device cpu.",
        )
    return Place("cuda", f"GPU {gpus[0].index}: {gpus[0].name}", gpus[0], remark)


def rtx_place(facts: Mapping[str, Any], folder: Path, gpus: tuple[Gpu, ...]) -> Place:
    """The first GPU that the compiled engine in `folder` is for. Raises WorkerError, as `choose` says."""
    if not (folder / CONTEXT_FILE).is_file():
        raise WorkerError(
            "the engine was not compiled by TensorRT-RTX",
            code="not-an-rtx-engine",
            cause=f"no {CONTEXT_FILE} in {folder}",
            hint="Build it with the TensorRT-RTX toolchain, or use the device cpu or cuda.",
        )
    if not gpus:
        raise _no_gpu()
    gpu = _fitting(facts, gpus)
    library = rtx_library()
    if library is None:
        raise _no_provider(RTX_PACKAGE, "Install it there.")
    built, installed = built_by(facts), runtime_version(library.parent)
    if differ(built, installed):
        raise WorkerError(
            f"the engine was compiled by TensorRT-RTX {built}, the execution provider here has {installed}",
            code="engine-of-other-version",
            cause=str(library.parent),
            hint="Build the engine again with this environment, or use an environment of the other version.",
        )
    if not add_on_there():
        raise _no_provider(
            f"onnxruntime-genai-cuda, which has {ADD_ON}", "Install it there in place of onnxruntime-genai."
        )
    return Place("rtx", f"GPU {gpu.index}: {gpu.name}", gpu)


def _no_provider(lacking: str, hint: str) -> WorkerError:
    return WorkerError(
        "this environment has no TensorRT-RTX execution provider for onnxruntime-genai",
        code="no-execution-provider",
        cause=f"not installed: {lacking}",
        hint=hint,
    )


def _no_gpu() -> WorkerError:
    return WorkerError(
        "no NVIDIA GPU was found",
        code="no-gpu",
        cause="nvidia-smi lists none that CUDA_VISIBLE_DEVICES lets through",
        hint="Use the device cpu, or see the Doctor page about the driver.",
    )


def _fitting(facts: Mapping[str, Any], gpus: tuple[Gpu, ...]) -> Gpu:
    targets = tuple(str(each) for each in facts.get("targets") or ())
    usable = [gpu for gpu in gpus if not _provider_refuses(gpu)]
    for gpu in usable:
        if gpu.compute_capability in targets:
            return gpu
    shown = ", ".join(f"GPU {gpu.index}, {gpu.name}: {gpu.compute_capability}" for gpu in gpus)
    nearest = next(iter(usable), gpus[0])
    reason = _provider_refuses(nearest)
    raise WorkerError(
        (reason or "the engine was compiled for other GPUs").rstrip("."),
        code="engine-of-other-gpu",
        cause=f"compiled for {', '.join(targets) or 'no target that it names'}; {shown}",
        hint="Use the device cpu, or another toolchain on this GPU."
        if reason
        else f"Build it again with target {nearest.compute_capability}.",
    )


def _provider_refuses(gpu: Gpu) -> str:
    capability = _capability(gpu.compute_capability)
    return provider_refuses(capability) if capability is not None else ""


def _capability(word: str) -> Capability | None:
    try:
        return capability_of(word)
    except BadInputError:
        return None


def rtx_library() -> Path | None:
    """The plug-in library of the TensorRT-RTX provider; None: its package is not installed.

    Not by importing the package, which loads the libraries of the GPU.
    """
    return _beside(RTX_MODULE, RTX_LIBRARY)


def add_on_there() -> bool:
    """Whether onnxruntime-genai has its library for NVIDIA's GPUs."""
    return _beside("onnxruntime_genai", ADD_ON) is not None


def _beside(module: str, name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    return next((path for folder in folders if (path := Path(folder) / name).is_file()), None)


def runtime_version(folder: Path) -> str:
    """Version of the TensorRT-RTX library in a folder, such as "1.7.1", by its file's name; "" where none tells."""
    names = (re.fullmatch(r"libtensorrt_rtx\.so\.(\d+\.\d+(?:\.\d+)*)", path.name) for path in folder.iterdir())
    return max((match[1] for match in names if match), default="")


def built_by(facts: Mapping[str, Any]) -> str:
    """Version of TensorRT-RTX that compiled an engine, by its facts; "" where they do not say."""
    versions = facts.get("versions")
    found = versions if isinstance(versions, Mapping) else {}
    names = ("tensorrt_rtx", "tensorrt-rtx-cu13-libs", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx")
    return next((str(found[name]) for name in names if found.get(name)), "")


def differ(built: str, installed: str) -> bool:
    """Whether versions differ as far as both are known: TensorRT reads an engine with the very version that made it."""
    return any(a != b for a, b in zip(built.split("."), installed.split("."), strict=False) if a and b)

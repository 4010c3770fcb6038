"""TensorRT for RTX, loaded; and the GPUs of this machine, asked of the driver itself.

The package `tensorrt_rtx` loads its libraries by paths that the CUDA runtime's wheel does not have, so the runtime
is opened first and for all, then TensorRT's own libraries, then the bindings by their own name.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
from pathlib import Path
from typing import Any

from workbench.workers.protocol import WorkerError, versions_of

PACKAGES = ("tensorrt-rtx-cu13-libs", "tensorrt-rtx-cu13-bindings", "nvidia-cuda-runtime", "onnx")
_RUNTIME = ("libcudart.so.13", ("nvidia/cu13/lib", "nvidia/cuda_runtime/lib"))
_LIBRARIES = ("libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1")
_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""


def load_tensorrt() -> Any:
    """The module `tensorrt_rtx_bindings`. Raises WorkerError `no-tensorrt-rtx`."""
    try:
        _open_runtime()
        folder = _package("tensorrt_rtx_libs")
        for name in _LIBRARIES:
            ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL)
        import tensorrt_rtx_bindings
    except (ImportError, OSError) as error:
        raise WorkerError(
            "TensorRT for RTX cannot be loaded in this environment",
            code="no-tensorrt-rtx",
            cause=f"{type(error).__name__}: {error}"[:500],
            hint="Run `workbench doctor`; it says which of tensorrt-rtx-cu13-libs, tensorrt-rtx-cu13-bindings and "
            "nvidia-cuda-runtime is missing.",
        ) from error
    return tensorrt_rtx_bindings


def version() -> str:
    """The installed TensorRT-RTX, such as "1.7.1.116"; "" when it is not installed."""
    return versions_of(PACKAGES[0]).get(PACKAGES[0], "")


def _open_runtime() -> None:
    name, places = _RUNTIME
    roots = importlib.util.find_spec("nvidia")
    for root in (roots.submodule_search_locations or ()) if roots is not None else ():
        for place in places:
            path = Path(root).parent / place / name
            if path.is_file():
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
                return
    ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)  # of the system's own CUDA


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise ImportError(f"no package {name}")
    return Path(next(iter(found.submodule_search_locations)))


def gpu_capabilities() -> list[tuple[int, int]]:
    """Compute capabilities of the GPUs that this process may use; none where there is no driver."""
    found: list[tuple[int, int]] = []
    with contextlib.suppress(OSError, AttributeError):
        cuda = ctypes.CDLL("libcuda.so.1")
        count = ctypes.c_int(0)
        if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
            return []
        for index in range(count.value):
            values = []
            for attribute in (_MAJOR, _MINOR):
                value = ctypes.c_int(0)
                if cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, index):
                    break
                values.append(value.value)
            if len(values) == 2:
                found.append((values[0], values[1]))
    return found

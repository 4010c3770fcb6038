"""Toolchains: what each can do, how it makes steps, how it is found. `get(name)` is the one way in."""

from __future__ import annotations

from workbench.core.errors import BadInputError
from workbench.toolchains.base import Toolchain


def names() -> tuple[str, ...]:
    """Toolchains that this version can plan for."""
    return ("openvino", "tensorrt_llm", "tensorrt_rtx", "onnxruntime", "pytorch")


def all_names() -> tuple[str, ...]:
    """Those, and what is only talked to."""
    return (*names(), "endpoint")


def get(name: str) -> Toolchain:
    """The toolchain of that name, one of `all_names`. Raises BadInputError."""
    if name == "openvino":
        from workbench.toolchains.openvino.toolchain import OpenVino

        return OpenVino()
    if name == "tensorrt_llm":
        from workbench.toolchains.tensorrt_llm.toolchain import TensorRtLlm

        return TensorRtLlm()
    if name == "tensorrt_rtx":
        from workbench.toolchains.tensorrt_rtx.toolchain import TensorRtRtx

        return TensorRtRtx()
    if name == "onnxruntime":
        from workbench.toolchains.onnxruntime.toolchain import OnnxRuntime

        return OnnxRuntime()
    if name == "pytorch":
        from workbench.toolchains.pytorch.toolchain import PyTorch

        return PyTorch()
    if name == "endpoint":
        from workbench.toolchains.endpoint.toolchain import Endpoint

        return Endpoint()
    raise BadInputError(
        f"This version has no {name!r} toolchain.",
        evidence=f"it has: {', '.join(names())}",
        fix="Choose a preset for one of these: `workbench presets`.",
        code="no-toolchain",
    )

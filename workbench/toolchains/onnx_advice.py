"""Advice that ONNX Runtime and TensorRT-RTX share."""

from __future__ import annotations

from collections.abc import Iterator

from workbench.core.advice import Advice
from workbench.toolchains.base import BuildRequest


def onnx_advice(request: BuildRequest, title: str) -> Iterator[Advice]:
    """What neither toolchain does: several GPUs for one engine."""
    preset = request.preset
    if preset.gpus > 1:
        yield Advice(
            code="parallel-onnx",
            level="block",
            text=f"{title} engines run on one device.",
            arithmetic=f"parallel.tp {preset.parallel.tp}, parallel.pp {preset.parallel.pp}",
            fix="Set both to 1.",
            overrides=("parallel.tp=1", "parallel.pp=1"),
        )

"""What an engine of TensorRT-RTX wants where it goes to: GPUs, driver, and the one version that can load it.

An engine is compiled for compute capabilities and can be built anywhere, so what is said here is of the machine that
it goes to, never of the one that built it. Engines are not compatible between releases of TensorRT-RTX (NVIDIA,
TensorRT-RTX documentation, Engine Compatibility).
"""

from __future__ import annotations

import re

from workbench.core.deploy.engine_facts import EngineFacts
from workbench.core.deploy.export import Check
from workbench.core.gpu import CATALOGUE, GpuSpec
from workbench.core.tensorrt_rtx.targets import provider_refuses, refused

DRIVER_FROM = "580"
"""NVIDIA driver that CUDA 13 comes with, for which the execution provider is built."""
PROVIDER = "onnxruntime-ep-nv-tensorrt-rtx-cu13"
"""Distribution of ONNX Runtime's execution provider; it brings the TensorRT-RTX libraries of one release along."""
PROVIDERS = {(1, 7): "0.5.0"}
"""Release of TensorRT-RTX -> the provider's version that has it, as its wheel's libraries say."""
_OFF_THE_CPU = ("bf16", "nvfp4")
"""Precisions that ONNX Runtime's CPU kernels lack."""


def runs_on_cpu(facts: EngineFacts) -> bool:
    """Whether ONNX Runtime can answer with the engine's ONNX model where there is no NVIDIA GPU."""
    return facts.precision not in _OFF_THE_CPU


def provider_version(facts: EngineFacts) -> str:
    """The provider's version for the release that built the engine; empty: not known."""
    release = tuple(int(part) for part in re.findall(r"\d+", facts.toolchain_version)[:2])
    return PROVIDERS.get((release[0], release[1]), "") if len(release) == 2 else ""


def targets_words(facts: EngineFacts, word: str = "and") -> str:
    """`8.9 and 12.0`."""
    *first, last = facts.targets or ("not reported",)
    return f"{', '.join(first)} {word} {last}" if first else last


def cards(facts: EngineFacts) -> str:
    """The catalogue's GPUs that it runs on: `RTX 4080, RTX 4090, ...`; empty: the catalogue has none of them."""
    return ", ".join(name for name, gpu in CATALOGUE.items() if gpu.capability in facts.targets)


def rtx_checks(facts: EngineFacts, gpu: GpuSpec | None) -> list[Check]:
    """Targets, release, and the kind of GPU there where it was said."""
    known, needed = provider_version(facts), facts.toolchain_version
    there = f"TensorRT-RTX {needed or 'not reported'}, in {PROVIDER} {known or 'of no known version'}"
    checks = [
        Check(
            "the GPUs that it was compiled for are known",
            bool(facts.targets),
            f"compute capability {targets_words(facts)}" + (f": {cards(facts)}" if cards(facts) else ""),
            "Build it again: engine.json of the workbench names them.",
        ),
        Check(
            "what loads it can be installed",
            bool(known),
            there,
            "Build it again with a release of "
            + ", ".join(".".join(map(str, release)) for release in PROVIDERS)
            + ": an engine is loaded by the release that built it alone.",
        ),
    ]
    if gpu is not None:
        found = f"compiled for {targets_words(facts)}, to run on {gpu.name} ({gpu.capability})"
        fix = refused(gpu.compute_capability)
        if fix:
            fix += " Build for ONNX Runtime or TensorRT-LLM there."
        else:
            fix = f"Build it with {gpu.capability} among build.flags.targets; several in one engine cost no size."
        fits = gpu.capability in facts.targets
        checks.append(Check("the GPU is one that it was compiled for", fits, found, fix))
        if fits and (reason := provider_refuses(gpu.compute_capability)):
            other = "Build for ONNX Runtime or TensorRT-LLM there."
            checks.append(Check("ONNX Runtime's provider runs it on that GPU", False, reason, other))
    return checks

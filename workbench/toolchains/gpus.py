"""Which GPUs a plan is made for: this machine's, as the driver reports them, else the preset's from the catalogue."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.core.errors import BadInputError
from workbench.core.gpu import GpuSpec, find_gpu
from workbench.core.preset import Preset

DEFAULT_GPU = "H100 SXM"
"""Planned for where there is no GPU and the preset names none."""


@dataclass(frozen=True)
class PlannedGpus:
    """GPUs that one engine takes, and whether they are here."""

    gpus: tuple[GpuSpec, ...]
    present: bool
    words: str


def detected_gpus(environ: Mapping[str, str] = os.environ) -> tuple[GpuSpec, ...]:
    """This machine's NVIDIA GPUs by NVML, those that CUDA_VISIBLE_DEVICES lets through; empty without a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        found = tuple(_read(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError:
        return ()
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
    return visible(found, environ.get("CUDA_VISIBLE_DEVICES"))


def visible(gpus: Sequence[GpuSpec], asked: str | None) -> tuple[GpuSpec, ...]:
    """Those that a CUDA_VISIBLE_DEVICES of this value lets through, in its order; None: all.

    As CUDA does it, the list ends at the first entry that names no GPU.
    """
    if asked is None:
        return tuple(gpus)
    chosen: list[GpuSpec] = []
    for word in (part.strip() for part in asked.split(",")):
        named = [g for g in gpus if word == str(g.index) or (len(word) > 3 and (g.uuid or "").startswith(word))]
        if len(named) != 1:
            break
        chosen.append(named[0])
    return tuple(chosen)


def _read(nvml: Any, index: int) -> GpuSpec:
    """One GPU. Raises NVMLError when the driver does not say what every board has."""

    def ask(name: str, *arguments: Any) -> Any:
        """A reading, None where the board does not report it."""
        try:
            return getattr(nvml, name)(handle, *arguments)
        except nvml.NVMLError:
            return None

    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name, uuid = _text(nvml.nvmlDeviceGetName(handle)), _text(ask("nvmlDeviceGetUUID"))
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    display = ask("nvmlDeviceGetDisplayActive")
    try:
        known = find_gpu(name)
    except BadInputError:
        known = None
    links = [ask("nvmlDeviceGetNvLinkState", link) for link in range(2)]
    return GpuSpec(
        name=known.name if known else name,
        compute_capability=(int(major), int(minor)),
        memory_bytes=int(memory.total),
        memory_bandwidth_gb_s=known.memory_bandwidth_gb_s if known else None,
        nvlink=any(links),
        index=index,
        uuid=uuid or None,
        drives_display=None if display is None else bool(display),
        memory_used_bytes=int(memory.used),
    )


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def plan_gpus(preset: Preset, detected: Sequence[GpuSpec], where: str = "this machine") -> PlannedGpus:
    """The GPUs for the preset's parallel sizes.

    Enough of the machine's own count first, of the preset's kind if it names one; else the catalogue's. `where` is
    the machine that they were detected in.
    """
    count = preset.gpus
    own_kind = [gpu for gpu in detected if gpu.name == preset.gpu]
    chosen = own_kind if len(own_kind) >= count else _same_kind(detected, count)
    if len(chosen) >= count:
        gpus = tuple(chosen[:count])
        numbers = ", ".join(str(gpu.index) for gpu in gpus)
        meant = f"; the preset is meant for {preset.gpu}" if preset.gpu and gpus[0].name != preset.gpu else ""
        return PlannedGpus(gpus, True, f"planned for {_count(gpus)} (GPU {numbers} of {where}{meant})")
    spec = detected[0] if detected and not preset.gpu else find_gpu(preset.gpu or DEFAULT_GPU)
    gpus = (spec,) * count
    there = "here" if where == "this machine" else f"on {where}"
    here = f"{len(detected)} x {detected[0].name} {there}" if detected else f"not present {there}"
    return PlannedGpus(gpus, False, f"planned for {_count(gpus)} ({here})")


def _same_kind(gpus: Sequence[GpuSpec], count: int) -> list[GpuSpec]:
    """The first kind of which there are enough: an engine runs on equal GPUs."""
    for gpu in gpus:
        same = [other for other in gpus if other.name == gpu.name]
        if len(same) >= count:
            return same
    return []


def _count(gpus: Sequence[GpuSpec]) -> str:
    return f"{len(gpus)} x {gpus[0].name}" if len(gpus) > 1 else gpus[0].name

"""Whether an engine finds room on this machine beside what runs: the one check of the command line and the window."""

from __future__ import annotations

from collections.abc import Callable

import psutil

from workbench.core.gpu import GpuSpec
from workbench.core.load_fit import load_need, refuse_load
from workbench.core.messages import Hello, Stats
from workbench.toolchains.gpus import detected_gpus
from workbench.toolchains.running import EngineStart


def refuse_without_room(
    start: EngineStart,
    loaded: tuple[str, ...] = (),
    given_back_bytes: int = 0,
    detected: Callable[[], tuple[GpuSpec, ...]] = detected_gpus,
) -> None:
    """Raises BlockedError, with the arithmetic, when the engine cannot fit beside what is there.

    `loaded`: names of the engines that stay; `given_back_bytes`: what one that goes first holds on the same device.
    """
    if start.on_gpu:
        gpus = detected()[: start.preset.gpus]
        if len(gpus) < start.preset.gpus:
            return  # the host says it better
        fullest = min(gpus, key=lambda gpu: gpu.memory_bytes - (gpu.memory_used_bytes or 0))
        free = fullest.memory_bytes - (fullest.memory_used_bytes or 0)
        device = f"GPU {fullest.index}"
    else:
        free, device = int(psutil.virtual_memory().available), "host memory"
    free += given_back_bytes
    need = load_need(start.provenance, start.preset, free, on_gpu=start.on_gpu, draft=start.draft_provenance)
    refuse_load(start.name, need, free, device, loaded)


def held_bytes(hello: Hello | None, stats: Stats | None, *, on_gpu: bool) -> int:
    """Memory that is given back when an engine's host ends: as it reports it, on a GPU; else its resident memory."""
    if on_gpu:
        memory = stats.memory_bytes if stats is not None else {}
        return memory.get("gpu") or memory.get("weights", 0) + memory.get("kv_pool", 0)
    try:
        return int(psutil.Process(hello.pid).memory_info().rss) if hello is not None else 0
    except psutil.Error:
        return 0

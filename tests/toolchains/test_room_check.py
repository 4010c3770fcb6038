"""Whether an engine is loaded at all: what is free here, with what an engine that goes first gives back."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from tests.fakes.interpreter import VARIABLE, make_engine_folder
from workbench.core.artifact import FileEntry, Machine, Provenance
from workbench.core.errors import BlockedError
from workbench.core.gpu import GpuSpec, find_gpu
from workbench.core.home import Home
from workbench.core.messages import Hello, Stats
from workbench.core.plan import PlanModel
from workbench.core.preset import find_preset
from workbench.toolchains.base import EngineRequest, Environment
from workbench.toolchains.endpoint.folder import add_endpoint, new_spec
from workbench.toolchains.pytorch.toolchain import PyTorch
from workbench.toolchains.room_check import held_bytes, refuse_without_room
from workbench.toolchains.running import EngineStart, engine_start

GIB = 2**30


def test_what_goes_first_counts_as_free(tmp_path: Path, home: Home) -> None:
    weights = psutil.virtual_memory().available + 8 * GIB
    folder = make_engine_folder(tmp_path / "big", "big-int8", weight_bytes=weights)
    start = engine_start(home, folder, ["runtime.kv_cache_gib=1"], {**os.environ, VARIABLE: sys.executable})
    assert start.name == "big-int8" and not start.on_gpu
    with pytest.raises(BlockedError) as caught:
        refuse_without_room(start, ("small",))
    assert "big-int8 does not fit into host memory beside small" in caught.value.what
    assert "KV cache 1 GiB" in caught.value.evidence and "Unload small first" in caught.value.fix
    with pytest.raises(BlockedError):
        refuse_without_room(start, given_back_bytes=4 * GIB)
    refuse_without_room(start, given_back_bytes=32 * GIB)


def pytorch_start(folder: Path, home: Home, gpus: tuple[GpuSpec, ...], parameters: int) -> EngineStart:
    """A PyTorch engine in BF16 that may be loaded anywhere, where there are these GPUs."""
    model = PlanModel(name="m", path=str(folder), architecture="A", digest="", parameters=parameters, weight_bytes=0)
    made = Provenance(
        kind="engine", name="m-bf16", key="k", created_at=0.0, workbench="0", toolchain="pytorch", precision="bf16",
        model=model, machine=Machine(cpu="c", cpu_identity="c", memory_bytes=1, os="o"), steps=(),
        files=(FileEntry(path="engine.json", bytes=1400, sha256=""),),
    )  # fmt: skip
    toolchain, preset = PyTorch(gpus=lambda: gpus), find_preset("pytorch-bf16")
    environment = Environment("pytorch", (sys.executable,), "here", versions={"torch": "2.13.0"})
    host = toolchain.host(EngineRequest(folder, made, environment, preset))
    return EngineStart(folder, made, preset, preset, host, toolchain.title, toolchain.runtime_settings)


def test_a_pytorch_engine_is_checked_against_the_memory_of_the_device_it_is_loaded_on(
    tmp_path: Path, home: Home
) -> None:
    card = find_gpu("H100 SXM").model_copy(update={"index": 0, "memory_used_bytes": 70 * GIB})
    start = pytorch_start(tmp_path, home, (card,), 8 * GIB)
    assert start.on_gpu
    with pytest.raises(BlockedError) as caught:
        refuse_without_room(start, detected=lambda: (card,))
    assert "m-bf16 does not fit into GPU 0" in caught.value.what and "weights 16 GiB" in caught.value.evidence
    refuse_without_room(start, given_back_bytes=60 * GIB, detected=lambda: (card,))
    on_cpu = pytorch_start(tmp_path, home, (), psutil.virtual_memory().available)
    assert not on_cpu.on_gpu
    with pytest.raises(BlockedError, match="does not fit into host memory"):
        refuse_without_room(on_cpu, detected=lambda: (card,))


def test_an_endpoint_is_never_refused(home: Home) -> None:
    folder = add_endpoint(home, "box", new_spec(base_url="http://box:8000/v1", model="m"))
    start = engine_start(home, folder, [], {})
    assert not start.on_gpu
    refuse_without_room(start, ("everything",), given_back_bytes=-psutil.virtual_memory().available)


def test_what_an_engine_holds_is_what_its_device_loses() -> None:
    hello = Hello(protocol=1, worker="w", pid=os.getpid())
    stats = Stats(memory_bytes={"weights": 3 * GIB, "kv_pool": 2 * GIB, "process": 7})
    assert held_bytes(hello, stats, on_gpu=True) == 5 * GIB
    assert held_bytes(hello, Stats(memory_bytes={"gpu": 6 * GIB, "weights": GIB}), on_gpu=True) == 6 * GIB
    assert held_bytes(hello, stats, on_gpu=False) > 10 * 2**20
    assert held_bytes(None, None, on_gpu=True) == held_bytes(None, None, on_gpu=False) == 0

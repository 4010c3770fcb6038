"""Whether an engine is loaded at all: what is free here, with what an engine that goes first gives back."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from tests.fakes.interpreter import VARIABLE, make_engine_folder
from workbench.core.errors import BlockedError
from workbench.core.home import Home
from workbench.core.messages import Hello, Stats
from workbench.toolchains.room_check import held_bytes, refuse_without_room
from workbench.toolchains.running import engine_start

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


def test_what_an_engine_holds_is_what_its_device_loses() -> None:
    hello = Hello(protocol=1, worker="w", pid=os.getpid())
    stats = Stats(memory_bytes={"weights": 3 * GIB, "kv_pool": 2 * GIB, "process": 7})
    assert held_bytes(hello, stats, on_gpu=True) == 5 * GIB
    assert held_bytes(hello, Stats(memory_bytes={"gpu": 6 * GIB, "weights": GIB}), on_gpu=True) == 6 * GIB
    assert held_bytes(hello, stats, on_gpu=False) > 10 * 2**20
    assert held_bytes(None, None, on_gpu=True) == held_bytes(None, None, on_gpu=False) == 0

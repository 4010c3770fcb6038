"""From an engine's folder to its host: which runtime settings reach it, and which are refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from workbench.core.artifact import FileEntry, Machine, Provenance
from workbench.core.errors import BadInputError, BlockedError
from workbench.core.home import Home
from workbench.core.load_fit import load_need, refuse_load
from workbench.core.preset import Preset, apply_overrides, preset_from_data
from workbench.core.preset_schema import RuntimeTable
from workbench.toolchains import get
from workbench.toolchains.base import EngineRequest, Environment
from workbench.toolchains.running import engine_start

VALUES: dict[str, str] = {
    "kv_cache_gib": "0.25",
    "kv_fraction": "0.3",
    "kv_blocks": "77",
    "scheduler_policy": "max_utilization",
    "chunked_prefill": "false",
    "prefix_caching": "true",
    "host_cache_gib": "0.5",
    "max_num_batched_tokens": "99",
}
"""A value of each runtime setting that is not its default."""


def preset_data(toolchain: str) -> dict[str, Any]:
    weights = "int8" if toolchain == "openvino" else "fp8"
    return {"schema": 1, "title": "T", "goal": "try-it", "toolchain": toolchain, "precision": {"weights": weights}}


def provenance(toolchain: str, *files: FileEntry) -> Provenance:
    return Provenance(
        kind="engine",
        name="tiny-int8",
        key="k" * 64,
        created_at=1.0,
        workbench="0",
        toolchain=toolchain,
        precision="int8",
        preset=preset_data(toolchain),
        machine=Machine(cpu="c", cpu_identity="c", memory_bytes=1, os="o"),
        steps=(),
        files=files,
    )


@pytest.mark.parametrize("name", ["openvino", "tensorrt_llm"])
def test_a_toolchain_names_exactly_the_runtime_settings_that_reach_its_host(name: str, tmp_path: Path) -> None:
    toolchain = get(name)
    environment = Environment(name, (sys.executable,), "here")
    made = provenance(name)

    def settings(preset: Preset) -> dict[str, Any]:
        return toolchain.host(EngineRequest(tmp_path, made, environment, preset)).spec.settings

    plain = preset_from_data(preset_data(name), name="plain")
    assert set(VALUES) == set(RuntimeTable.model_fields)
    reach = {
        field
        for field, value in VALUES.items()
        if settings(apply_overrides(plain, [f"runtime.{field}={value}"])) != settings(plain)
    }
    assert toolchain.runtime_settings == reach


def test_only_runtime_settings_can_be_changed_at_load(tmp_path: Path) -> None:
    (tmp_path / "provenance.json").write_text(provenance("openvino").model_dump_json())
    home = Home(tmp_path / "home").make()
    environ = {"WORKBENCH_OPENVINO_PYTHON": sys.executable}
    start = engine_start(home, tmp_path, ["runtime.kv_blocks=64"], environ)
    assert start.start.spec.settings["kv_blocks"] == 64
    assert start.built.runtime.kv_blocks is None and start.preset.runtime.kv_blocks == 64
    with pytest.raises(BadInputError) as caught:
        engine_start(home, tmp_path, ["precision.weights=int4"], environ)
    assert caught.value.failure.code == "not-runtime"


def test_an_engine_that_cannot_fit_is_refused_with_the_arithmetic() -> None:
    gib = 2**30
    files = (
        FileEntry(path="openvino_model.bin", bytes=3 * gib, sha256=""),
        FileEntry(path="a.json", bytes=9, sha256=""),
    )
    made = provenance("openvino", *files)
    preset = apply_overrides(preset_from_data(preset_data("openvino"), name="p"), ["runtime.kv_cache_gib=2"])
    need = load_need(made, preset, 4 * gib, on_gpu=False)
    assert need.weights.low == need.weights.high == 3 * gib and need.kv_pool.low == 2 * gib
    refuse_load("big", need, 6 * gib, "host memory", ())
    with pytest.raises(BlockedError) as caught:
        refuse_load("big", need, 4 * gib, "host memory", ("small-int8",))
    failure = caught.value.failure
    assert (
        "beside small-int8" in failure.what and "at least 5.1 GiB" in failure.what and "4 GiB are free" in failure.what
    )
    assert "weights 3 GiB" in failure.evidence and "KV cache 2 GiB" in failure.evidence
    assert "Unload small-int8" in failure.fix


def test_a_pool_that_takes_what_is_free_needs_no_room_of_its_own() -> None:
    gib = 2**30
    made = provenance("tensorrt_llm", FileEntry(path="rank0.engine", bytes=8 * gib, sha256=""))
    preset = preset_from_data(preset_data("tensorrt_llm"), name="p")
    need = load_need(made, preset, 20 * gib, on_gpu=True)
    assert need.kv_pool.high == 0 and need.total.low < 9 * gib
    small = load_need(provenance("openvino"), preset_from_data(preset_data("openvino"), name="p"), gib, on_gpu=False)
    assert small.kv_pool.low == gib // 4, "the host takes a quarter of what is free when that is less than 1 GiB"

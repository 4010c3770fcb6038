"""What an engine takes once it is loaded: its own files, weights that it refers to, or nothing of this machine."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.core.artifact import FileEntry, Machine, Provenance, StepRecord
from workbench.core.errors import BlockedError
from workbench.core.load_fit import load_need, refuse_load
from workbench.core.plan import PlanModel
from workbench.core.preset import Preset, apply_overrides, preset_from_data

GIB = 2**30
PARAMETERS = 4 * GIB
BLOCK = {"kv_block_bytes": 2**20}


def preset(*overrides: str) -> Preset:
    data = {"schema": 1, "title": "T", "goal": "try-it", "toolchain": "pytorch", "precision": {"weights": "bf16"}}
    return apply_overrides(preset_from_data(data, name="p"), list(overrides))


def reference(precision: str, *, parameters: int = PARAMETERS, **result: Any) -> Provenance:
    """A PyTorch engine: a file of 1.4 KB and the model folder that it refers to, stored in BF16."""
    build = StepRecord(id="build", kind="build", worker="pytorch.build", argv=(), seconds=1.0, key="k", result=result)
    return Provenance(
        kind="engine",
        name="m",
        key="k",
        created_at=1.0,
        workbench="0",
        toolchain="pytorch",
        precision=precision,
        model=PlanModel(
            name="m", path="/m", architecture="A", digest="", parameters=parameters, weight_bytes=2 * parameters
        ),
        machine=Machine(cpu="c", cpu_identity="c", memory_bytes=1, os="o"),
        steps=(build,),
        files=(FileEntry(path="engine.json", bytes=1400, sha256=""),),
    )


@pytest.mark.parametrize(("precision", "width"), [("fp32", 4), ("bf16", 2), ("fp16", 2)])
def test_a_reference_counts_as_the_weights_it_refers_to_in_the_dtype_they_are_loaded_in(
    precision: str, width: int
) -> None:
    made = reference(precision, weights_bytes=PARAMETERS * width)
    need = load_need(made, preset("runtime.kv_cache_gib=1"), 64 * GIB, on_gpu=False)
    assert need.weights.exact and need.weights.low == PARAMETERS * width
    assert need.total.low > PARAMETERS * width + GIB
    older = reference(precision)
    assert load_need(older, preset(), 64 * GIB, on_gpu=False).weights.low == PARAMETERS * width, "not reported"
    alone = made.model_copy(update={"model": None})
    assert load_need(alone, preset(), 64 * GIB, on_gpu=True).weights.low == PARAMETERS * width, "as reported"
    with pytest.raises(BlockedError) as caught:
        refuse_load("m", need, 6 * GIB, "host memory", ())
    assert f"weights {4 * width} GiB" in caught.value.evidence


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_weights_that_are_quantized_at_load_are_there_whole_before(precision: str) -> None:
    made = reference(precision, weights_bytes=PARAMETERS, **BLOCK)
    share = load_need(made, preset(), 80 * GIB, on_gpu=True)
    assert (share.weights.low, share.weights.high) == (4 * GIB, 8 * GIB)
    assert share.total.low == 8 * GIB + share.runtime.low, "BF16 before torchao quantizes, while there is no pool"
    assert "8 GiB until they are quantized" in share.words()
    small = load_need(made, preset("runtime.kv_cache_gib=2"), 80 * GIB, on_gpu=True)
    assert small.total.low == share.total.low, "the pool takes room that quantizing gave back"
    big = load_need(made, preset("runtime.kv_blocks=20480"), 80 * GIB, on_gpu=True)
    assert big.kv_pool.low == 20 * GIB and big.total.low == 24 * GIB + big.runtime.low
    assert big.total.high == 28 * GIB + big.runtime.high


def test_a_reference_of_which_nothing_is_known_counts_as_what_it_holds() -> None:
    made = reference("bf16", parameters=0)
    assert load_need(made, preset(), GIB, on_gpu=False).weights.low == 1400


def test_an_endpoint_needs_nothing_of_this_machine() -> None:
    made = reference("", parameters=0).model_copy(update={"toolchain": "endpoint"})
    need = load_need(made, preset("runtime.kv_cache_gib=100"), 0, on_gpu=False)
    assert need.total.high == 0
    refuse_load("box", need, 0, "host memory", ("other",))


@pytest.mark.parametrize("toolchain", ["onnxruntime", "tensorrt_rtx"])
def test_an_onnx_engine_counts_what_is_loaded_and_caches_that_grow(toolchain: str) -> None:
    sizes = {"model.onnx": 2**20, "model.onnx.data": 3 * GIB, "engine.trt": 5 * GIB, "model_ctx.onnx": 2**10}
    result = {"kv_bytes_per_token": 2**20, "limits": {"max_seq_len": 1024}}
    made = reference("fp16", **result).model_copy(
        update={
            "toolchain": toolchain,
            "files": tuple(FileEntry(path=name, bytes=size, sha256="") for name, size in sizes.items()),
        }
    )
    one = preset("limits.max_batch_size=2")
    cpu = load_need(made, one, 64 * GIB, on_gpu=False)
    assert 3 * GIB < cpu.weights.low < 3.1 * GIB, "the ONNX model alone"
    assert (cpu.kv_pool.low, cpu.kv_pool.high) == (0, 2 * GIB), "2 requests of 1,024 tokens"
    gpu = load_need(made, one, 64 * GIB, on_gpu=True)
    assert gpu.weights.low == (5 * GIB if toolchain == "tensorrt_rtx" else cpu.weights.low)
    assert load_need(made, preset("runtime.kv_cache_gib=1"), 64 * GIB, on_gpu=False).kv_pool.high == GIB

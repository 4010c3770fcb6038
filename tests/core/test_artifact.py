"""Where engines run, and what is known of their quality."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from workbench.core.artifact import (
    PROVENANCE_FILE,
    VERIFY_FILE,
    Machine,
    Provenance,
    Record,
    StepRecord,
    own_record,
    runs_here,
    verification,
    write_json,
)
from workbench.core.home import Home
from workbench.core.plan import PlanModel

MACHINE = Machine(cpu="a CPU", cpu_identity="cpu-1", memory_bytes=2**34, os="Linux")
HOPPER, ADA = (9, 0), (8, 9)


def step(kind: str, **result: Any) -> StepRecord:
    return StepRecord(id=kind, kind=kind, worker=kind, argv=(), seconds=1.0, key=kind, result=result)


def engine(toolchain: str, *steps: StepRecord) -> Provenance:
    return Provenance(
        kind="engine", name="e", key="k", created_at=0.0, workbench="0", toolchain=toolchain, machine=MACHINE,
        steps=steps, files=(),
    )  # fmt: skip


GPU = {"name": "NVIDIA H100", "compute_capability": "9.0"}


@pytest.mark.parametrize(
    ("result", "gpus", "runs", "words"),
    [
        ({"gpu": GPU, "ranks": 1}, (HOPPER,), True, ""),
        ({"gpu": GPU, "ranks": 2}, (HOPPER, ADA), False, "needs 2 GPUs of compute capability 9.0; here: 2 of 8.9, 9.0"),
        ({"gpu": GPU, "ranks": 2}, (HOPPER, HOPPER), True, ""),
        ({"gpu": GPU, "ranks": 1}, (), False, "no NVIDIA GPU here; built on NVIDIA H100"),
        ({"gpu": None, "ranks": 1}, (), False, "no NVIDIA GPU here"),
        ({"gpu": None}, (ADA,), True, "not reported"),
    ],
)
def test_a_tensorrt_engine_runs_on_the_gpus_it_was_built_on(
    result: dict[str, Any], gpus: tuple[tuple[int, int], ...], runs: bool, words: str
) -> None:
    found, remark = runs_here(engine("tensorrt_llm", step("build", **result)), "cpu-1", gpus)
    assert found is runs and (words in remark if words else remark == "")


def test_an_openvino_engine_runs_on_any_cpu() -> None:
    assert runs_here(engine("openvino", step("build")), "cpu-1") == (True, "")
    found, remark = runs_here(engine("openvino", step("build")), "cpu-2")
    assert found and "compiled again" in remark


def test_a_pytorch_engine_runs_where_its_model_lies_and_its_gpu_is(tmp_path: Path) -> None:
    def made(precision: str, folder: Path, device: str = "auto") -> Provenance:
        model = PlanModel(
            name="m", path=str(folder), architecture="LlamaForCausalLM", digest="d", parameters=1, weight_bytes=2
        )
        update = {"precision": precision, "model": model}
        return engine("pytorch", step("build", device=device)).model_copy(update=update)

    assert runs_here(made("bf16", tmp_path), "cpu-1") == (True, "")
    assert runs_here(made("bf16", tmp_path / "gone"), "cpu-1") == (
        False,
        f"refers to {tmp_path / 'gone'}, which is not there",
    )
    found, remark = runs_here(made("bf16", tmp_path, "cuda"), "cpu-1")
    assert not found and "NVIDIA GPU" in remark
    assert runs_here(made("bf16", tmp_path, "cuda"), "cpu-1", (ADA,)) == (True, "")
    assert runs_here(made("fp8", tmp_path), "cpu-1", (ADA,)) == (True, "")
    found, remark = runs_here(made("fp8", tmp_path), "cpu-1", ((8, 6),))
    assert not found and "8.9" in remark and "8.6" in remark
    found, remark = runs_here(made("int8", tmp_path), "cpu-1")
    assert not found and "8.0" in remark


AMPERE, RTX50 = (8, 6), (12, 0)


@pytest.mark.parametrize(
    ("precision", "gpus", "runs", "words"),
    [
        ("fp16", (), True, "ONNX model on the CPU; the compiled engine is for 8.6 and 8.9"),
        ("int4", (), True, "no GPU here"),
        ("nvfp4", (), False, "no NVFP4 on a CPU"),
        ("bf16", (), False, "no BF16"),
        ("nvfp4", (ADA,), True, ""),
        ("fp16", (HOPPER, AMPERE), True, ""),
        ("fp16", (RTX50,), False, "built for compute capability 8.6 and 8.9; here: 12.0"),
        ("fp16", (RTX50, HOPPER), False, "here: 12.0, 9.0"),
        ("fp16", (HOPPER,), False, "TensorRT-RTX does not support compute capability 9.0 (Hopper)"),
    ],
)
def test_a_tensorrt_rtx_engine_runs_on_its_targets_and_on_a_cpu_where_no_gpu_is(
    precision: str, gpus: tuple[tuple[int, int], ...], runs: bool, words: str
) -> None:
    made = engine("tensorrt_rtx", step("build", targets=["8.6", "8.9"])).model_copy(update={"precision": precision})
    found, remark = runs_here(made, "cpu-1", gpus)
    assert found is runs and (words in remark if words else remark == "")


def test_a_tensorrt_rtx_engine_that_reports_no_targets_runs_on_no_gpu() -> None:
    found, remark = runs_here(engine("tensorrt_rtx", step("build")), "cpu-1", (ADA,))
    assert not found and "not reported" in remark


def test_an_onnxruntime_engine_runs_anywhere_but_one_for_cuda() -> None:
    assert runs_here(engine("onnxruntime", step("build", device="auto")), "cpu-2") == (True, "")
    found, remark = runs_here(engine("onnxruntime", step("build", device="cuda")), "cpu-1")
    assert not found and "NVIDIA GPU" in remark
    assert runs_here(engine("onnxruntime", step("build", device="cuda")), "cpu-1", (HOPPER,)) == (True, "")


def test_quality_is_the_folders_own_record_or_that_of_its_checkpoint(tmp_path: Path) -> None:
    inherited = engine("tensorrt_llm", step("convert"), step("verify", agreement=0.9), step("build"))
    found = verification(tmp_path, inherited)
    assert found is not None and found.result == {"agreement": 0.9}
    assert verification(tmp_path, engine("tensorrt_llm", step("build"))) is None
    own = Record(key="v", created_at=time.time(), step=step("verify", agreement=0.95))
    (tmp_path / VERIFY_FILE).write_text(own.model_dump_json(), encoding="utf-8")
    found = verification(tmp_path, inherited)
    assert found is not None and found.result == {"agreement": 0.95}


def test_of_a_shared_folder_the_newer_record_counts_and_none_of_what_stood_there_before(home: Home) -> None:
    folder = home.root / "lab"
    folder.mkdir()
    shared = engine("openvino", step("build"))
    write_json(folder / PROVENANCE_FILE, shared)
    theirs, own = (Record(key="v", created_at=at, step=step("verify", agreement=at / 10)) for at in (4.0, 9.0))
    path = own_record(home, folder, VERIFY_FILE)
    path.parent.mkdir()
    for here, there, newer in ((theirs, own, 0.9), (own, theirs, 0.9)):
        write_json(folder / VERIFY_FILE, here)
        write_json(path, there)
        found = verification(folder, shared, home)
        assert found is not None and found.result == {"agreement": newer}
    (folder / VERIFY_FILE).unlink()
    assert verification(folder, shared, home) is not None and verification(folder, shared) is None
    another = shared.model_copy(update={"key": "another"})
    write_json(folder / PROVENANCE_FILE, another)
    assert verification(folder, another, home) is None

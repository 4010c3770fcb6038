"""The probe: fast without imports, and with them it finds a torchvision that does not match torch."""

from __future__ import annotations

import importlib.metadata
import sys
import time
from pathlib import Path

import pytest

from tests.fakes import trtllm
from tests.workers.conftest import RunWorker, result_of


def test_versions_come_from_metadata_and_absent_packages_are_left_out(run_worker: RunWorker) -> None:
    begin = time.monotonic()
    result = result_of(run_worker("probe", {"settings": {"packages": ["pydantic", "no-such-package"]}}))
    assert time.monotonic() - begin < 3.0
    assert result["versions"]["pydantic"] == importlib.metadata.version("pydantic")
    assert "no-such-package" not in result["versions"]
    assert result["imports"] == {}


def test_imports_are_tried_when_asked_for(run_worker: RunWorker) -> None:
    result = result_of(run_worker("probe", {"settings": {"packages": ["pydantic"], "import": True}}))
    assert result["imports"] == {"pydantic": ""}


def test_a_package_that_fails_to_import_is_told_in_one_line(run_worker: RunWorker, tmp_path: Path) -> None:
    plant(tmp_path, "broken_thing", "raise OSError('libsomething.so.3: cannot open shared object file')")
    result = result_of(
        run_worker(
            "probe",
            {"settings": {"packages": ["broken-thing"], "import": True}},
            env={"PYTHONPATH": str(tmp_path)},
        )
    )
    assert result["imports"] == {"broken-thing": "OSError: libsomething.so.3: cannot open shared object file"}
    assert "workbench doctor" in result["fixes"]["broken-thing"]


@pytest.mark.slow
def test_a_torchvision_that_does_not_match_torch_is_explained(
    run_worker: RunWorker, openvino_here: None, tmp_path: Path
) -> None:
    # What torchvision says when its compiled part was made for another torch.
    plant(tmp_path, "torchvision", "raise RuntimeError('operator torchvision::nms does not exist')")
    result = result_of(
        run_worker(
            "probe",
            {"settings": {"packages": ["torch", "torchvision", "transformers"], "import": True}},
            env={"PYTHONPATH": str(tmp_path)},
        )
    )
    assert result["imports"]["torch"] == ""
    assert "torchvision::nms" in result["imports"]["torchvision"]
    assert "pip uninstall torchvision" in result["fixes"]["torchvision"]


def plant(folder: Path, name: str, code: str) -> None:
    """An installed package, for `python` started with PYTHONPATH=folder."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(code + "\n")
    info = folder / f"{name}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 0.1\n")


# TensorRT-LLM is imported by a process of its own

TRTLLM = {"packages": ["tensorrt-llm"], "import": True}


@pytest.mark.slow
def test_tensorrt_llms_gpus_and_mpi_are_reported(run_worker: RunWorker) -> None:
    env = trtllm.environment(gpus=2, gpu="NVIDIA L40S", sm=89)
    result = result_of(run_worker("probe", {"settings": TRTLLM}, env=env))
    assert result["versions"]["tensorrt-llm"] == "1.2.1" and result["imports"] == {"tensorrt-llm": ""}
    assert [(gpu["name"], gpu["compute_capability"]) for gpu in result["gpus"]] == [("NVIDIA L40S", "8.9")] * 2
    assert result["mpi"]["launcher"].endswith("mpirun")
    bare = {**env, "PATH": str(Path(sys.executable).parent)}
    without = result_of(run_worker("probe", {"settings": TRTLLM}, env=bare))
    assert without["gpus"] == [] and without["mpi"]["launcher"] == ""


@pytest.mark.parametrize(
    "failure",
    ["no-mpi", "no-tensorrt", "no-driver", "driver-too-old", "torch-mismatch", "cuda-13-missing", "wrong-transformers"],
)
def test_known_causes_of_a_failed_import_are_told(run_worker: RunWorker, failure: str) -> None:
    result = result_of(run_worker("probe", {"settings": TRTLLM}, env=trtllm.environment(fail=failure)))
    assert result["causes"]["tensorrt-llm"]["code"] == failure
    assert result["fixes"]["tensorrt-llm"] and "Error: " in result["imports"]["tensorrt-llm"]


@pytest.mark.slow
def test_an_import_that_hangs_is_given_up(run_worker: RunWorker) -> None:
    settings = {**TRTLLM, "import_seconds": 2}
    result = result_of(run_worker("probe", {"settings": settings}, env=trtllm.environment(fail="import-hangs")))
    assert result["imports"]["tensorrt-llm"] == "no output for 2 s"
    assert result["causes"]["tensorrt-llm"]["code"] == "mpi-start-hangs"


def test_the_placeholder_and_newer_versions_are_recognised(run_worker: RunWorker, tmp_path: Path) -> None:
    for version in ("1.2.1", "1.3.0"):
        info = tmp_path / version / f"tensorrt_llm-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tensorrt-llm\nVersion: {version}\n")
    name_alone = result_of(run_worker("probe", {"settings": TRTLLM}, env={"PYTHONPATH": str(tmp_path / "1.2.1")}))
    assert name_alone["causes"]["tensorrt-llm"]["code"] == "no-tensorrt-llm"
    assert "placeholder" in name_alone["causes"]["tensorrt-llm"]["what"]
    newer = result_of(run_worker("probe", {"settings": TRTLLM}, env={"PYTHONPATH": str(tmp_path / "1.3.0")}))
    assert newer["causes"]["tensorrt-llm"]["code"] == "no-engine-runtime"
    assert "1.2 is the last line" in newer["imports"]["tensorrt-llm"]


def test_folders_that_must_be_there(run_worker: RunWorker, tmp_path: Path) -> None:
    paths = [str(tmp_path), str(tmp_path / "gone")]
    result = result_of(run_worker("probe", {"settings": {"packages": ["pydantic"], "paths": paths}}))
    assert result["unseen"] == paths[1:]

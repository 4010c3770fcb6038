"""The probe: fast without imports, and with them it finds a torchvision that does not match torch."""

from __future__ import annotations

import importlib.metadata
import time
from pathlib import Path

import pytest

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

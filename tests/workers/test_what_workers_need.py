"""Workers run in toolchains' interpreters, which hold pydantic and psutil of what the workbench itself is made of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OWN = ("environment", "bundle", "wheel_fetch")
"""Those run in the workbench's interpreter alone."""
PROGRAM = """
import importlib.abc, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}")
sys.meta_path.insert(0, Refuse())
import importlib
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


@pytest.mark.slow
def test_workers_import_without_what_the_workbench_alone_has() -> None:
    folder = ROOT / "workbench" / "workers"
    names = [
        ".".join(("workbench", "workers", *path.relative_to(folder).with_suffix("").parts))
        for path in sorted(folder.rglob("*.py"))
        if path.name != "__init__.py" and path.stem not in OWN and path.parent.name != "endpoint"
    ]
    lacks = "platformdirs,tomlkit,tomli,httpx,keyring,packaging,typer,rich,starlette,uvicorn,huggingface_hub,fpdf"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, lacks, *names], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(names) > 20

"""An OpenVINO interpreter whose engine host is tests/fakes/host.py: engines that load at once, through the real way.

Everything but the host itself is real: the environment is looked at by the real probe, the host is started by the
real toolchain's argv, and talks the real protocol.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from workbench.core.artifact import FileEntry, Machine, Provenance

HOST = Path(__file__).with_name("host.py")
VARIABLE = "WORKBENCH_OPENVINO_PYTHON"
_SCRIPT = """#!{python}
import os, sys
if "workbench.workers.openvino.host" in sys.argv:
    os.environ["FAKE_HOST"] = {settings!r}
    os.execv({python!r}, [{python!r}, {host!r}])
os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""


def make_interpreter(path: Path, *, host: Path = HOST, **settings: Any) -> Path:
    """A program that stands for Python; `settings` are the fake host's. Written anew, it changes the next load."""
    script = _SCRIPT.format(python=sys.executable, settings=json.dumps(settings), host=str(host))
    path.write_text(script, "utf-8")
    path.chmod(0o755)
    return path


def make_engine_folder(folder: Path, name: str = "tiny-int8", weight_bytes: int = 1000) -> Path:
    """An engine's folder as a build leaves it; its weights are empty."""
    folder.mkdir(parents=True)
    weights = folder / "openvino_model.bin"
    with weights.open("wb") as file:
        file.truncate(min(weight_bytes, 10_000_000))
    preset = {"schema": 1, "title": "T", "goal": "try-it", "toolchain": "openvino", "precision": {"weights": "int8"}}
    provenance = Provenance(
        kind="engine",
        name=name,
        key=(name * 64)[:64],
        created_at=1_700_000_000.0,
        workbench="0",
        toolchain="openvino",
        precision="int8",
        preset_id="cpu-int8",
        preset=preset,
        machine=Machine(cpu="c", cpu_identity="c", memory_bytes=1, os="o"),
        steps=(),
        files=(FileEntry(path=weights.name, bytes=weight_bytes, sha256=""),),
    )
    (folder / "provenance.json").write_text(provenance.model_dump_json(), "utf-8")
    return folder

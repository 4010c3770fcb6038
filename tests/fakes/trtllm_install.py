"""An interpreter that "has" TensorRT-LLM: a virtual environment in which the stand-in is installed. For tests alone."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.fakes.trtllm import BIN, SITE

PROGRAMS = ("trtllm-build", "trtllm-serve", "nvidia-smi")


def install(folder: Path) -> Path:
    """Make the environment in `folder`; its interpreter. It sees this interpreter's packages and the stand-in's."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    site = next(folder.glob("lib/python3*/site-packages"))
    (site / "standin.pth").write_text(f"{SITE}\n{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    for name in PROGRAMS:
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nTRTLLM_STANDIN_PYTHON="{python}" exec "{BIN / name}" "$@"\n', encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return python


def with_driver(environ: dict[str, str]) -> dict[str, str]:
    """`environ` in which the stand-in's nvidia-smi is the driver's."""
    return {**environ, "PATH": os.pathsep.join([str(BIN), environ.get("PATH", "")])}

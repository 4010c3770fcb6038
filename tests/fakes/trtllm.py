"""The environment in which `import tensorrt_llm` and `trtllm-build` are the stand-in's (tests/fakes/tensorrt_llm)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent / "tensorrt_llm"
SITE, BIN = HERE / "site", HERE / "bin"
MARK = b"STAND-IN FOR TESTS, NOT A TENSORRT ENGINE"


def environment(**options: object) -> dict[str, str]:
    """Variables to add; `options` are the stand-in's, such as `fail="gpu-out-of-memory"` or `gpus=2`."""
    paths = [str(SITE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "PYTHONPATH": os.pathsep.join(paths),
        "PATH": os.pathsep.join([str(BIN), os.environ.get("PATH", "")]),
        "TRTLLM_STANDIN_PYTHON": sys.executable,
        **{f"TRTLLM_STANDIN_{name.upper()}": str(value) for name, value in options.items()},
    }

"""What the stand-in is made of; nothing here has a counterpart in the real package."""

import os

MARK = "STAND-IN FOR TESTS, NOT A TENSORRT ENGINE"


def option(name: str, default: str) -> str:
    """A test's wish, from the environment."""
    return os.environ.get(f"TRTLLM_STANDIN_{name}", "") or default


def gpus() -> int:
    """Visible GPUs, by CUDA_VISIBLE_DEVICES too."""
    count = int(option("GPUS", "8"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return count if visible is None else min(count, len([part for part in visible.split(",") if part.strip()]))


def sm() -> int:
    return int(option("SM", "90"))


def version() -> str:
    return option("VERSION", "1.2.1")

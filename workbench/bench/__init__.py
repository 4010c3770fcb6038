"""The load generator: sends workloads to engine hosts and endpoints under a load, and keeps raw timings."""

from __future__ import annotations

from workbench.bench.drive import run_point
from workbench.bench.engine_target import EngineTarget
from workbench.bench.http_target import HttpTarget
from workbench.bench.loop import run_blocking
from workbench.bench.progress import Progress
from workbench.bench.sweep import saturated
from workbench.bench.target import Ask, Ended, Heard, Target

__all__ = [
    "Ask", "Ended", "EngineTarget", "Heard", "HttpTarget", "Progress", "Target", "run_blocking", "run_point",
    "saturated",
]  # fmt: skip

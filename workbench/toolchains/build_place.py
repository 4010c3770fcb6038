"""Where a build runs: this machine or a target, with its host and GPUs as they were last looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.core.artifact import Machine
from workbench.core.gpu import GpuSpec
from workbench.core.host import HostSpec
from workbench.core.target import Target
from workbench.toolchains.looks import TargetLook


@dataclass(frozen=True)
class BuildPlace:
    """Where a build runs. `look` is None for this machine and containers on it."""

    target: Target
    look: TargetLook | None
    host: HostSpec
    gpus: tuple[GpuSpec, ...]

    @property
    def words(self) -> str:
        """For `planned for H100 (GPU 0 of …)`."""
        return f"target {self.target.name}" if self.target.is_remote else "this machine"

    @property
    def machine(self) -> dict[str, Any]:
        """What a provenance says of it; empty: it is this machine."""
        if self.look is None:
            return {}
        host = self.host
        return Machine(
            cpu=host.cpu_name,
            cpu_identity=host.cpu_identity,
            memory_bytes=host.memory_total_bytes,
            os=host.os,
            gpus=tuple(gpu.name for gpu in self.gpus),
            driver=self.look.driver,
        ).model_dump(mode="json")

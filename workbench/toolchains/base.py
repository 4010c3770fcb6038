"""The seam that every toolchain fits: planning is pure, and what must be imported is imported by workers only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from workbench.core.artifact import Provenance
from workbench.core.gpu import GpuSpec
from workbench.core.home import Home
from workbench.core.host import HostSpec
from workbench.core.messages import StepSpec
from workbench.core.model import ModelSpec
from workbench.core.plan import Step, StepKind
from workbench.core.preset import Preset


@dataclass(frozen=True)
class Package:
    """A distribution that an environment of the toolchain must or may hold."""

    name: str
    required: bool = True


@dataclass(frozen=True)
class Environment:
    """An interpreter that was looked at. `prefix` is the argv that starts it, here, in a container or over SSH."""

    toolchain: str
    prefix: tuple[str, ...]
    origin: str
    """How it was found, in words."""
    versions: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    problem: str = ""
    """Why it could not be looked at at all."""
    worker_path: str = ""
    """PYTHONPATH for workers in it: where `workbench.core` and `workbench.workers` stand."""

    @property
    def usable(self) -> bool:
        return not self.missing and not self.problem

    @property
    def lacks(self) -> str:
        """What makes it unusable, in words; empty when it is usable."""
        if self.usable:
            return ""
        return f"{' '.join(self.prefix)} {self.problem or 'lacks ' + ', '.join(self.missing)}"

    def argv(self, module: str) -> tuple[str, ...]:
        """Argv of a worker program."""
        return (*self.prefix, "-m", module)

    def env(self) -> dict[str, str]:
        return {"PYTHONPATH": self.worker_path}


@dataclass(frozen=True)
class BuildRequest:
    """All that planning a build needs."""

    preset: Preset
    model: ModelSpec
    model_digest: str
    """Empty while it is not known (check); keys are then empty too."""
    precisions: tuple[str, ...]
    home: Home
    environment: Environment
    host: HostSpec
    gpus: tuple[GpuSpec, ...] = ()
    until: StepKind | None = None
    out: Path | None = None
    paths_with_key: Callable[[str], tuple[str, ...]] = lambda key: ()


@dataclass(frozen=True)
class EngineRequest:
    """All that starting an engine's host needs."""

    engine: Path
    provenance: Provenance
    environment: Environment
    preset: Preset
    """What the engine was built with, runtime overrides applied; [runtime], [limits] and the KV precision count."""


@dataclass(frozen=True)
class HostStart:
    """How to start an engine host: argv, environment, and the first line it reads."""

    argv: tuple[str, ...]
    env: dict[str, str]
    spec: StepSpec


class Toolchain(Protocol):
    """What a toolchain gives. Implementations hold no state and import nothing heavy."""

    name: str
    title: str
    packages: tuple[Package, ...]
    install_hint: str
    """What to do when no environment is there."""

    def steps(self, request: BuildRequest) -> list[Step]:
        """Steps of a build, in order, for all precisions. Raises BadInputError, BlockedError."""
        ...

    def host(self, request: EngineRequest) -> HostStart:
        """How to run an engine."""
        ...

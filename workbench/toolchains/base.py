"""The seam that every toolchain fits: planning is pure, and what must be imported is imported by workers only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from workbench.core.advice import Advice
from workbench.core.artifact import Provenance
from workbench.core.gpu import GpuSpec
from workbench.core.home import Home
from workbench.core.host import HostSpec
from workbench.core.messages import StepSpec
from workbench.core.model import ModelSpec
from workbench.core.plan import Step, StepKind
from workbench.core.preset import Preset
from workbench.core.preset_check import shown_argv
from workbench.core.target import Target
from workbench.toolchains.code import package_root
from workbench.toolchains.places import Place, place_of, relay_argv, worker_argv

if TYPE_CHECKING:
    from workbench.toolchains.build_place import BuildPlace


@dataclass(frozen=True)
class Package:
    """A distribution that an environment of the toolchain must or may hold."""

    name: str
    required: bool = True
    for_builds: bool = False
    """Engines run without it."""
    newest: tuple[int, ...] = ()
    """First parts of the newest version that works, such as (1, 2) for 1.2.x; empty: any."""
    oldest: tuple[int, ...] = ()
    too_new: str = ""
    """Why newer versions are refused."""
    instead: tuple[str, ...] = ()
    """Other distributions of the same modules, such as one for CUDA: any of them does as well. They are packages of
    the toolchain too, that need not be there."""


@dataclass(frozen=True)
class Environment:
    """An interpreter that was looked at. `prefix` is the argv that starts it, here, in a container or over SSH.

    The prefix's last word is the interpreter; `docker run -i --rm --gpus all IMAGE python3` and `ssh HOST python3` are
    prefixes as `/opt/venv/bin/python` is. Over SSH, the same folders must be there under the same names.
    """

    toolchain: str
    prefix: tuple[str, ...]
    origin: str
    """How it was found, in words."""
    versions: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    problem: str = ""
    """Why it could not be looked at at all."""
    fix: str = ""
    """What to do about that problem; empty: the toolchain's install hint."""
    worker_path: str = ""
    """PYTHONPATH for workers in it: where `workbench.core` and `workbench.workers` stand."""
    others: Mapping[str, Environment] = field(default_factory=dict)
    """Interpreters of the toolchain's other parts, by their names."""
    named: bool = False
    """Whether a person asked for it by an environment variable."""
    made: bool = False
    """Whether the workbench made it for the toolchain."""
    target: Target | None = None
    """The other machine that it is on, where workers go through a relay; the prefix is then the interpreter there."""

    @property
    def usable(self) -> bool:
        return not self.missing and not self.problem

    @property
    def lacks(self) -> str:
        """What makes it unusable, in words; empty when it is usable."""
        if self.usable:
            return ""
        there = f" on target {self.target.name}" if self.target is not None else ""
        return f"{' '.join(shown_argv(self.prefix))}{there} {self.problem or 'lacks ' + ', '.join(self.missing)}"

    @property
    def place(self) -> Place:
        """Where the interpreter runs, told by its target or the prefix's program."""
        return "remote" if self.target is not None else place_of(self.prefix)

    def argv(
        self, module: str, *, paths: Sequence[Path] = (), variables: Mapping[str, str] | None = None
    ) -> tuple[str, ...]:
        """Argv of a worker program. `paths` are made visible in a container; `variables` reach the worker anywhere."""
        if self.target is not None:
            given = dict(variables or {})
            return relay_argv(self.target, self.prefix[-1], module, variables=given, code=self.worker_path)
        given = {**self.env(), **(variables or {})}
        code = (Path(self.worker_path),) if self.worker_path else ()
        return worker_argv(self.prefix, module, variables=given, paths=(*paths, *code))

    def env(self) -> dict[str, str]:
        """Variables of what `argv` starts here."""
        return {"PYTHONPATH": str(package_root()) if self.target is not None else self.worker_path}


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
    """GPUs that the engine is planned for, as many as it takes; empty: none wanted."""
    gpus_present: bool = False
    """Whether they are in this machine."""
    planned_for: str = ""
    """The GPUs in words."""
    place: BuildPlace | None = None
    """The target that the steps run on; None: this machine."""
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
    """What the engine was built with, runtime overrides applied; [runtime], [speculative], [limits] and the KV
    precision count."""
    draft: Path | None = None
    """The folder of the engine that guesses for it; None: there is none."""


Device = Literal["cpu", "gpu", "elsewhere"]
"""Whose memory an engine takes. `elsewhere`: none of this machine's, as its server runs it."""


@dataclass(frozen=True)
class HostStart:
    """How to start an engine host: argv, environment, and the first line it reads."""

    argv: tuple[str, ...]
    env: dict[str, str]
    spec: StepSpec
    device: Device


@dataclass(frozen=True)
class Part:
    """A further interpreter that a toolchain can use, with packages of its own that may clash with the first's."""

    name: str
    title: str
    packages: tuple[Package, ...]
    install_hint: str


class Toolchain(Protocol):
    """What a toolchain gives. Implementations hold no state and import nothing heavy."""

    name: str
    title: str
    packages: tuple[Package, ...]
    install_hint: str
    """What to do when no environment is there."""
    parts: tuple[Part, ...]
    """Its further interpreters."""
    note: str
    """What a person should know of its versions; shown by the doctor."""
    runtime_settings: frozenset[str]
    """Fields of a preset's [runtime] that its host takes when an engine is loaded; the others do nothing."""

    def needs(self, request: BuildRequest) -> tuple[Environment, ...]:
        """The environments that the build's steps run in, usable or not."""
        ...

    def advice(self, request: BuildRequest) -> tuple[Advice, ...]:
        """What only the toolchain knows to be wrong or wasteful, such as flags of its own."""
        ...

    def steps(self, request: BuildRequest) -> list[Step]:
        """Steps of a build, in order, for all precisions. Raises BadInputError, BlockedError."""
        ...

    def host(self, request: EngineRequest) -> HostStart:
        """How to run an engine."""
        ...

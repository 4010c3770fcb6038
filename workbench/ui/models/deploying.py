"""The engine of the Deploy page: what its folder says of it, and how a server of it may be set."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from workbench.core.deploy.facts import EngineFacts, read_engine_facts
from workbench.core.errors import Failure, WorkbenchError
from workbench.core.home import Home
from workbench.core.preset import Preset, preset_from_data
from workbench.core.units import format_bytes
from workbench.serve.client import default_model
from workbench.serve.plans import plan_of
from workbench.toolchains import get
from workbench.ui.models.gallery import TOOLCHAIN_TITLES


def title_of(toolchain: str) -> str:
    """A toolchain's name for people."""
    return "Endpoint" if toolchain == "endpoint" else TOOLCHAIN_TITLES.get(toolchain, toolchain)


@dataclass(frozen=True)
class DeployEngine:
    """What is known of it. A failure stands where something could not be read."""

    path: Path
    name: str
    facts: EngineFacts | None = None
    facts_failure: Failure | None = None
    built: Preset | None = None
    """What it was built with: runtime settings differ from this. None: nobody noted it."""
    runtime_settings: frozenset[str] = frozenset()
    start_failure: Failure | None = None
    endpoint: bool = False
    """It is a server somewhere: nothing of it can be exported."""

    @property
    def model(self) -> str:
        """The model name that clients send, unless another is given."""
        return default_model(self.name)

    @property
    def words(self) -> str:
        """`TensorRT-LLM 1.2.1, FP8, 2 GPUs (tp 2 x pp 1), H100, 8.5 GiB`."""
        facts = self.facts
        if facts is None:
            return self.facts_failure.what if self.facts_failure is not None else ""
        parts = [f"{title_of(facts.toolchain)} {facts.toolchain_version}".strip()]
        parts += [facts.precision.upper().replace("_", " ")] if facts.precision else []
        if facts.world_size > 1:
            parts.append(f"{facts.world_size} GPUs ({facts.shape})")
        if facts.gpu_built_for is not None and facts.gpu_built_for.name:
            parts.append(facts.gpu_built_for.name.removeprefix("NVIDIA "))
        parts += [f"for compute capability {' and '.join(facts.targets)}"] if facts.targets else []
        parts += [format_bytes(facts.size_bytes)] if facts.size_bytes else []
        return ", ".join(parts)


def read_deploy_engine(home: Home, path: Path, name: str = "") -> DeployEngine:
    """All that the page has to know of an engine. Reads the disk and asks for environments: not for the GUI thread."""
    facts: EngineFacts | None = None
    built: Preset | None = None
    settings: frozenset[str] = frozenset()
    facts_failure = start_failure = None
    try:
        facts = read_engine_facts(path, allow_missing=True)
        if facts.provenance is not None:
            built = preset_from_data(facts.provenance.preset, name=f"preset of {path.name}")
            settings = get(facts.provenance.toolchain).runtime_settings
    except WorkbenchError as error:
        facts_failure = error.failure
    try:
        plan_of(home, path, (), os.environ)
    except WorkbenchError as error:
        start_failure = error.failure
    return DeployEngine(
        path,
        facts.name if facts is not None else name or path.name,
        facts,
        facts_failure,
        built,
        settings,
        start_failure,
        facts is not None and facts.toolchain == "endpoint",
    )

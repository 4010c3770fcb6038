"""From an engine's folder to what starts its host: the one way for the command line and the window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.core.artifact import Provenance, read_provenance
from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.core.preset import Preset, apply_overrides, preset_from_data
from workbench.core.preset_check import clean, is_free, known_keys
from workbench.toolchains import get
from workbench.toolchains.base import EngineRequest, HostStart
from workbench.toolchains.environments import choose_environment

RUNTIME_TABLES = ("runtime.", "limits.", "precision.kv_cache")
"""What of a preset can still be chosen when a built engine is loaded."""
_AT_LOAD = "only runtime.*, limits.* and precision.kv_cache can be changed at load"


@dataclass(frozen=True)
class EngineStart:
    """An engine that can be started, and with what settings."""

    path: Path
    provenance: Provenance
    built: Preset
    """What it was built with."""
    preset: Preset
    """The same, runtime overrides applied."""
    start: HostStart
    toolchain_title: str
    runtime_settings: frozenset[str]
    """Fields of [runtime] that its host takes."""

    @property
    def name(self) -> str:
        return self.provenance.name or self.path.name

    @property
    def on_gpu(self) -> bool:
        """Whether it takes GPU memory of this machine."""
        return self.start.device == "gpu"


def engine_start(home: Home, path: Path, overrides: Sequence[str], environ: Mapping[str, str]) -> EngineStart:
    """How to start the host of an engine folder; overrides (`runtime.kv_fraction=0.5`) may change runtime settings
    only. Raises BadInputError.
    """
    provenance = read_provenance(path)
    toolchain = get(provenance.toolchain)
    for override in overrides:
        _check_runtime(override.partition("=")[0].strip())
    built = preset_from_data(provenance.preset, name=f"preset of {path.name}")
    preset = apply_overrides(built, list(overrides))
    environment = choose_environment(toolchain, home, environ)
    start = toolchain.host(EngineRequest(path, provenance, environment, preset))
    return EngineStart(path, provenance, built, preset, start, toolchain.title, toolchain.runtime_settings)


def _check_runtime(key: str) -> None:
    """Raises BadInputError for a key that cannot be chosen when an engine is loaded."""
    if key.startswith(RUNTIME_TABLES) or key in ("runtime", "limits"):
        return  # what is wrong with it, the preset says
    path = tuple(key.split("."))
    if path not in known_keys() and not is_free(path):
        raise BadInputError(
            f"“{clean(key)}” is no setting of an engine.",
            evidence=_AT_LOAD,
            fix="Write it as KEY=VALUE, such as runtime.kv_cache_gib=2.",
            code="no-such-setting",
        )
    raise BadInputError(
        f"{key} is fixed in a built engine.",
        evidence=_AT_LOAD,
        fix="Build another engine with that setting.",
        code="not-runtime",
    )

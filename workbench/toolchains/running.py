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
from workbench.toolchains.environments import engine_environment
from workbench.toolchains.speculation import find_draft, settled

RUNTIME_TABLES = ("runtime.", "speculative.", "limits.", "precision.kv_cache")
"""What of a preset can still be chosen when a built engine is loaded."""
_AT_LOAD = "only runtime.*, speculative.*, limits.* and precision.kv_cache can be changed at load"


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
    draft: Path | None = None
    """The engine that guesses for it; None: none does."""
    draft_provenance: Provenance | None = None

    @property
    def name(self) -> str:
        return self.provenance.name or self.path.name

    @property
    def on_gpu(self) -> bool:
        """Whether it takes GPU memory of this machine."""
        return self.start.device == "gpu"


def engine_start(home: Home, path: Path, overrides: Sequence[str], environ: Mapping[str, str]) -> EngineStart:
    """How to start the host of an engine folder; overrides (`runtime.kv_fraction=0.5`) may change runtime settings
    only. Raises BadInputError, BlockedError.
    """
    provenance = read_provenance(path)
    toolchain = get(provenance.toolchain)
    built = preset_from_data(provenance.preset, name=f"preset of {path.name}")
    preset = settled(runtime_preset(built, overrides), built, provenance)
    draft = find_draft(home, path, provenance, preset)
    environment = engine_environment(toolchain, home, environ)
    start = toolchain.host(EngineRequest(path, provenance, environment, preset, draft))
    return EngineStart(
        path,
        provenance,
        built,
        preset,
        start,
        toolchain.title,
        toolchain.runtime_settings,
        draft,
        None if draft is None else read_provenance(draft),
    )


def runtime_preset(built: Preset, overrides: Sequence[str]) -> Preset:
    """The preset that an engine was built with, `key=value` items over it. Raises BadInputError for keys that cannot be
    chosen when it is loaded.
    """
    for override in overrides:
        _check_runtime(override.partition("=")[0].strip())
    return apply_overrides(built, list(overrides))


def _check_runtime(key: str) -> None:
    """Raises BadInputError for a key that cannot be chosen when an engine is loaded."""
    if key.startswith(RUNTIME_TABLES) or key in ("runtime", "speculative", "limits"):
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

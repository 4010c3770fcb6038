"""What a piece of advice is, and what the rules look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from workbench.core.gpu import GpuSpec
from workbench.core.host import HostSpec
from workbench.core.model import ModelSpec
from workbench.core.precision import Precision
from workbench.core.preflight import Preflight
from workbench.core.preset import Preset

Level = Literal["block", "warning", "hint"]
LEVELS: tuple[Level, ...] = ("block", "warning", "hint")
"""In the order in which they are told."""


class Advice(BaseModel):
    """One line of advice: what, why in figures, what to do, and the overrides that do it."""

    model_config = ConfigDict(frozen=True)

    code: str
    level: Level
    text: str
    arithmetic: str = ""
    fix: str = ""
    overrides: tuple[str, ...] = ()
    estimate_only: bool = False
    """A block that rests on an estimate: "build anyway" may pass it."""


@dataclass(frozen=True)
class Situation:
    preset: Preset
    model: ModelSpec
    precisions: tuple[Precision, ...]
    host: HostSpec
    numbers: Preflight
    disk_free_bytes: int
    gpus: tuple[GpuSpec, ...] = ()
    """Those that the engine is planned for, as many as it takes; empty: a CPU engine."""
    elsewhere: bool = False
    """The GPUs are not in this machine, so that its memory and disk are not those that count."""


Rule = Callable[[Situation], Iterator[Advice]]

"""What the form of the Compare page asks for, and the request that it becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.core.measure.compare_command import compare_command
from workbench.core.measure.comparison import Price
from workbench.core.measure.load import Load
from workbench.core.measure.quality_options import QualityOptions
from workbench.core.measure.record import Subject
from workbench.core.measure.workload import Workload
from workbench.core.messages import Sampling
from workbench.measure.subjects import Asked
from workbench.ui.models.comparison_view import FIRST_LOAD, FIRST_WORKLOAD

if TYPE_CHECKING:
    from workbench.measure.comparing import CompareRequest

_QUALITY = QualityOptions()
_SAMPLING = Sampling(max_tokens=128, temperature=0.0, seed=1234)


@dataclass(frozen=True)
class Settings:
    """What the form asks for."""

    workload: Workload = FIRST_WORKLOAD
    load: Load = FIRST_LOAD
    speed: bool = True
    quality: QualityOptions | None = _QUALITY
    prompts: tuple[str, ...] = ()
    sampling: Sampling = _SAMPLING
    price: Price | None = None
    alternated: bool = False


def request_of(engines: Sequence[Subject], settings: Settings) -> CompareRequest:
    """To measure these engines, the first of them the baseline. Imports the load generator: not for the GUI thread."""
    from workbench.measure.comparing import CompareRequest

    command = compare_command(
        [one.path for one in engines],
        settings.workload,
        settings.load,
        overrides=[one.overrides for one in engines],
        quality=settings.quality,
        speed=settings.speed,
        prompts=settings.prompts,
        sampling=settings.sampling,
        price=settings.price,
        alternated=settings.alternated,
    )
    return CompareRequest(
        engines=tuple(Asked(Path(one.path), one.overrides, one.name) for one in engines),
        workload=settings.workload,
        load=settings.load,
        quality=settings.quality,
        speed=settings.speed,
        prompts=settings.prompts,
        sampling=settings.sampling,
        price=settings.price,
        alternated=settings.alternated,
        command=command,
    )

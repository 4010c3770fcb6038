"""What is being done while a comparison is measured, in words for the strip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workbench.core.measure.load import Load
from workbench.core.measure.matrix import level_words
from workbench.measure import events as ev


@dataclass(frozen=True)
class Doing:
    """What is being done, for the strip."""

    words: str = "starting"
    share: float | None = None
    """Of all points, or of the stage; None: not known."""
    figures: str = ""
    """Running figures in words."""


class Teller:
    """Follows the events of one measuring. `name` gives a variant's by its id."""

    def __init__(self, name: Callable[[str], str]) -> None:
        self._name = name
        self._point: ev.PointBegan | None = None

    def tell(self, event: object, load: Load) -> Doing | None:
        """What is being done now; None: the event changes nothing of it."""
        if isinstance(event, ev.Stage):
            name = f"{self._name(event.subject)}: " if event.subject else ""
            return Doing(f"{name}{event.words}", event.share)
        if isinstance(event, ev.PointBegan):
            self._point = event
            return Doing(self._words(event, load), (event.number - 1) / event.of if event.of else None)
        if isinstance(event, ev.PointProgress) and self._point is not None:
            point, now = self._point, event.progress
            share = (point.number - 1 + (now.share or 0.0)) / point.of if point.of else None
            speed = f"{now.tok_s:,.0f} tok/s".replace(",", "\u202f") if now.tok_s is not None else ""
            done = f"{now.done} requests done" + (f", {now.errors} failed" if now.errors else "")
            return Doing(self._words(point, load), share, ", ".join(part for part in (speed, done) if part))
        return None

    def _words(self, point: ev.PointBegan, load: Load) -> str:
        again = f", repeat {point.repeat + 1} of {load.repeats}" if load.repeats > 1 else ""
        level = level_words(load.arrival, point.level)
        return f"{self._name(point.subject)}: {level}{again} (point {point.number} of {point.of})"

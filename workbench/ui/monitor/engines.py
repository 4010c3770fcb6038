"""An engine as the panels see it: what was loaded under a name, one after the other, and who reports its values."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from workbench.telemetry.engine import EngineTrack
from workbench.ui.monitor.axis import Window
from workbench.ui.monitor.columns import Floats
from workbench.ui.monitor.readings import NOT_REPORTED
from workbench.ui.monitor.strokes import Strokes

UNLOADED, NOT_LOADED = "unloaded", "not loaded"


class Story:
    """Loads of one engine that did not overlap, oldest first: reloaded, its panels go on."""

    def __init__(self, tracks: tuple[EngineTrack, ...]) -> None:
        self.tracks = tracks

    @property
    def last(self) -> EngineTrack:
        return self.tracks[-1]

    @property
    def name(self) -> str:
        return self.last.name

    @property
    def drafts(self) -> bool:
        """Whether any load reported guesses of speculative decoding."""
        return any(track.drafts for track in self.tracks)

    @property
    def by(self) -> str:
        """Who reports its values."""
        return self.last.toolchain or self.last.name

    def at(self, moment: float) -> EngineTrack:
        """The load that was there, or came before, at a moment."""
        return next((track for track in reversed(self.tracks) if track.attached_at <= moment), self.tracks[0])

    def read(self, name: str, moment: float) -> float | None:
        """The value in force at a moment."""
        return self.at(moment).series.at(name, moment)

    def absent(self, moment: float) -> str:
        """Why a value of that moment is not there."""
        track = self.at(moment)
        if track.detached_at is not None and moment >= track.detached_at:
            return UNLOADED
        return NOT_LOADED if moment < track.attached_at else NOT_REPORTED

    def not_reported(self, *values: Floats) -> str:
        """The words for a plot in which there is nothing at all; empty when there is something."""
        if any(not np.isnan(each).all() for each in values):
            return ""
        return f"{NOT_REPORTED} by {self.by}"


class StoryStrokes:
    """Columns of all loads of an engine that lie within a window."""

    def __init__(self, story: Story, window: Window) -> None:
        shown = [
            track
            for track in story.tracks
            if track is story.last or track.detached_at is None or track.detached_at > window.start
        ]
        self._strokes = [Strokes(track.series, window, track.detached_at) for track in shown]

    def columns(self, name: str) -> tuple[Floats, Floats]:
        low, high = self._strokes[0].columns(name)
        for strokes in self._strokes[1:]:
            later_low, later_high = strokes.columns(name)
            low, high = np.fmin(low, later_low), np.fmax(high, later_high)
        return low, high

    def gap(self, *values: Floats) -> NDArray[np.bool_]:
        absent = self._strokes[0].gap(*values)
        for strokes in self._strokes[1:]:
            absent |= strokes.gap(*values)
        return absent


def stories(tracks: Iterable[EngineTrack]) -> tuple[Story, ...]:
    """Loads grouped: each goes on the story of its name that had ended when it began, else it begins one."""
    found: list[list[EngineTrack]] = []
    for track in sorted(tracks, key=lambda t: t.attached_at):
        for earlier in found:
            ended = earlier[-1].detached_at
            if earlier[-1].name == track.name and ended is not None and ended <= track.attached_at:
                earlier.append(track)
                break
        else:
            found.append([track])
    return tuple(Story(tuple(each)) for each in found)

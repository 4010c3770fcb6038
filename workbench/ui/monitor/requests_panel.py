"""Requests of one engine: active, queued, and how many were in the last batch."""

from __future__ import annotations

from workbench.ui.monitor.axis import TimeAxis, whole
from workbench.ui.monitor.engines import Story, StoryStrokes
from workbench.ui.monitor.frame import Curve, Frame
from workbench.ui.monitor.panel import Panel
from workbench.ui.monitor.readings import Reading, Told
from workbench.ui.monitor.strokes import Moment, scale_ticks, top_of

COUNTS = (
    ("requests_active", "Active", "s_gen"),
    ("requests_queued", "Queued", "s_pre"),
    ("batch", "Last batch", "s_gpu"),
)
_LEAST = 4.0


class RequestsPanel(Panel):
    """Three lines on one scale."""

    def __init__(self, axis: TimeAxis, title: str, story: Story) -> None:
        super().__init__(axis, title, (74,))
        self.story = story
        self._top = 0.0

    def frames(self, moment: Moment) -> list[Frame]:
        strokes = StoryStrokes(self.story, moment.window)
        found = [(strokes.columns(column), column, token) for column, _, token in COUNTS]
        highs = [high for (_, high), _, _ in found]
        self._top = top_of(highs, _LEAST, self._top)
        curves = tuple(
            Curve(low, high, token, fill=column == "requests_active", dotted=column == "batch")
            for (low, high), column, token in found
        )
        return [
            Frame(
                self._top, curves, ticks=scale_ticks(self._top), gap=strokes.gap(*highs),
                words=self.story.not_reported(*highs),
            )
        ]  # fmt: skip

    def tell(self, moment: Moment) -> Told:
        values = [self.story.read(column, moment.at) for column, _, _ in COUNTS]
        absent = self.story.absent(moment.at)
        readings = tuple(
            Reading(words, "" if value is None else whole(value), "", token, absent=absent)
            for (_, words, token), value in zip(COUNTS, values, strict=True)
        )
        return Told(absent if all(value is None for value in values) else "", (readings,))

"""Tokens a second of one engine: generation and prefill, each on a scale of its own since they differ about tenfold."""

from __future__ import annotations

from workbench.ui.monitor.axis import TimeAxis, whole
from workbench.ui.monitor.engines import Story, StoryStrokes
from workbench.ui.monitor.frame import Curve, Frame
from workbench.ui.monitor.panel import Panel
from workbench.ui.monitor.readings import Reading, Told
from workbench.ui.monitor.strokes import Moment, scale_ticks, top_of

RATES = (("generation", "Generation", "s_gen"), ("prefill", "Prefill", "s_pre"))
_LEAST = 10.0


class TokensPanel(Panel):
    """The last second large, the mean since the engine was loaded below it."""

    def __init__(self, axis: TimeAxis, title: str, story: Story) -> None:
        super().__init__(axis, title, (64, 64))
        self.story = story
        self._tops = [0.0, 0.0]

    def frames(self, moment: Moment) -> list[Frame]:
        strokes = StoryStrokes(self.story, moment.window)
        made = []
        for place, (name, _, token) in enumerate(RATES):
            low, high = strokes.columns(f"{name}_tok_s")
            top = self._tops[place] = top_of((high,), _LEAST, self._tops[place])
            gap = strokes.gap(high)
            made.append(
                Frame(
                    top, (Curve(low, high, token, fill=True),), ticks=scale_ticks(top), gap=gap,
                    words=self.story.not_reported(high),
                )
            )  # fmt: skip
        return made

    def tell(self, moment: Moment) -> Told:
        groups, tips = [], []
        engine = self.story.at(moment.at)
        for name, words, token in RATES:
            rate = self.story.read(f"{name}_tok_s", moment.at)
            mean = engine.mean(name)
            known = moment.newest and mean.all_tok_s is not None  # the mean of another moment is not kept
            below = f"mean {whole(mean.all_tok_s or 0.0)}" if known else ""
            value = "" if rate is None else whole(rate)
            absent = self.story.absent(moment.at)
            groups.append((Reading(words, value, "", token, large=True, below=below, absent=absent),))
            if moment.newest and mean.busy_tok_s is not None:
                tips.append(f"{words}: {whole(mean.busy_tok_s)} tok/s on average while requests were open")
        tip = "\n".join(("Large: the last second. Mean: since the engine was loaded, pauses included.", *tips))
        return Told("", tuple(groups), tip=tip)

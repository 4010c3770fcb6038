"""Speculative decoding of one engine: the share of guesses that it kept, and the tokens that a pass brought."""

from __future__ import annotations

from workbench.core.speculative import acceptance_rate
from workbench.ui.monitor.axis import TimeAxis
from workbench.ui.monitor.engines import Story, StoryStrokes
from workbench.ui.monitor.frame import Curve, Frame
from workbench.ui.monitor.panel import Panel
from workbench.ui.monitor.readings import Reading, Told
from workbench.ui.monitor.strokes import Moment, scale_ticks, top_of

_SHARE, _PASS = "acceptance", "tokens_a_pass"
_TIP = (
    "Accepted: guesses that the engine kept, of those it checked, over the last five seconds.\n"
    "Per pass: tokens that a pass brought a request, 1 and the guesses kept."
)


class DraftsPanel(Panel):
    """Shown only for engines that report guesses; the share has no plot where it is not told how many there were."""

    def __init__(self, axis: TimeAxis, title: str, story: Story) -> None:
        super().__init__(axis, title, (48, 48))
        self.story = story
        self._top = 0.0

    def frames(self, moment: Moment) -> list[Frame]:
        strokes = StoryStrokes(self.story, moment.window)
        low, high = strokes.columns(_SHARE)
        share = Frame(
            1.0, (Curve(low, high, "s_gen", fill=True),), ticks=((0.0, "0"), (1.0, "100%")),
            gap=strokes.gap(high), words=self.story.not_reported(high),
        )  # fmt: skip
        low, high = strokes.columns(_PASS)
        self._top = top_of((high,), 2.0, self._top)
        length = Frame(
            self._top, (Curve(low, high, "s_pre", fill=True),), ticks=scale_ticks(self._top), gap=strokes.gap(high),
            words=self.story.not_reported(high),
        )  # fmt: skip
        return [share, length]

    def tell(self, moment: Moment) -> Told:
        share, length = (self.story.read(name, moment.at) for name in (_SHARE, _PASS))
        absent = self.story.absent(moment.at)
        newest = self.story.at(moment.at).newest
        mean = acceptance_rate(newest.draft_tokens, newest.accepted_tokens) if newest and moment.newest else None
        return Told(
            "",
            (
                (
                    Reading(
                        "Accepted", "" if share is None else f"{share:.0%}".replace("%", " %"), "", "s_gen",
                        below="" if mean is None else f"mean {mean:.0%}".replace("%", " %"), absent=absent,
                        large=True,
                    ),
                ),
                (Reading("Per pass", "" if length is None else f"{length:.1f}", "", "s_pre", absent=absent),),
            ),
            tip=_TIP,
        )  # fmt: skip

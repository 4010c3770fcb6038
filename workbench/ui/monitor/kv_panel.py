"""KV-cache blocks of one engine: share in use over time, the counts, the strip of cells, and what still fits.

A few requests use some percent of a large pool: on a scale to 100 % that is a line at the bottom, so the scale's top
follows what is in view. How full the pool is, the strip shows.
"""

from __future__ import annotations

import math

import numpy as np
from PySide6.QtCore import QRect
from PySide6.QtGui import QPainter, QResizeEvent

from workbench.ui.monitor.axis import TimeAxis, whole
from workbench.ui.monitor.engines import Story, StoryStrokes
from workbench.ui.monitor.frame import Band, Frame
from workbench.ui.monitor.kv_strip import KvStrip
from workbench.ui.monitor.panel import Panel
from workbench.ui.monitor.readings import Reading, Told, face, words_width
from workbench.ui.monitor.strokes import Moment, share_top
from workbench.ui.theme import Theme

_CAPTION = 18
_ABOVE = 10
_TIP = (
    "Engines report how many blocks are in use, not which: the cells are sorted by state. "
    "Reused, sum: how often a block was reused since the engine was loaded."
)
_COUNTS = ("used", "reused", "free", "total")


def split(used: float, reused: float | None, free: float | None, total: float) -> tuple[float, float, float]:
    """(in use and not shared, reused, free) that add up to the total.

    Engines count a reused block among the used ones; where used, reused and free add up to the total it is apart.
    """
    again = reused or 0.0
    if again and free is not None and used + again + free <= total:
        return used, again, total - used - again
    used = min(used, total)
    again = min(again, used)
    return used - again, again, total - used


def sequences_that_fit(free_blocks: float, block_tokens: int | None, tokens: int | None) -> int | None:
    """Whole sequences of `tokens` for which there are free blocks; None when the engine does not tell its sizes."""
    if not block_tokens or not tokens:
        return None
    return int(free_blocks // math.ceil(tokens / block_tokens))


class KvPanel(Panel):
    """What the engine counts; it does not tell where a block lies, so cells are sorted by state."""

    def __init__(self, axis: TimeAxis, title: str, story: Story) -> None:
        super().__init__(axis, title, (58,))
        self.story = story
        self.strip = KvStrip()
        self._caption = ("", "")
        self._top = 0.0
        self._room_for_strip(328)

    def frames(self, moment: Moment) -> list[Frame]:
        strokes = StoryStrokes(self.story, moment.window)
        count = {name: strokes.columns(f"kv_blocks_{name}")[1] for name in ("used", "reused", "total")}
        total = np.where(count["total"] > 0, count["total"], np.nan)
        with np.errstate(all="ignore"):
            share = 100.0 * count["used"] / total
            again = 100.0 * count["reused"] / total
        again[np.isnan(again)] = 0.0
        again = np.minimum(again, share)
        bands = (Band(share - again, "s_kv"), Band(share, "s_kvre"))
        words = self.story.not_reported(share)
        top = self._top = share_top(float(np.fmax.reduce(share, initial=0.0)), self._top)
        ticks = ((0.0, "0"), (top, f"{top:g}%"))
        return [Frame(top, bands=bands, ticks=ticks, gap=strokes.gap(share), words=words)]

    def tell(self, moment: Moment) -> Told:
        used, reused, free, total = (self.story.read(f"kv_blocks_{name}", moment.at) for name in _COUNTS)
        if total is None or used is None:
            self._show_strip(0, 0, 0)
            self._caption = ("", "")
            return Told(self.story.absent(moment.at))
        rest, again, left = split(used, reused, free, total)
        self._show_strip(int(rest), int(again), int(total))
        room = self._room_words(left, moment.at)
        self._caption = (room, f"1 cell = {whole(self.strip.bundle)}" if total else "")
        readings = (
            Reading("Used", whole(rest), "", "s_kv"),
            self._reused(None if reused is None else again, moment.at),
            Reading("Free", whole(left), "", "s_kvfree", "frame"),
        )
        return Told(f"{whole(total)} total", (readings,), room, tip=_TIP)

    def _reused(self, now: float | None, moment: float) -> Reading:
        """What is reused now; of an engine that only counts how often, the count."""
        since_load = self.story.read("kv_blocks_reused_since_load", moment)
        if now is None and since_load is not None:
            return Reading("Reused, sum", whole(since_load))
        return Reading("Reused", "" if now is None else whole(now), "", "s_kvre")

    def _room_words(self, free: float, moment: float) -> str:
        ready = self.story.at(moment).ready
        tokens = None if ready is None else ready.limits.get("max_seq_len")
        fit = None if ready is None else sequences_that_fit(free, ready.kv_block_tokens, tokens)
        if fit is None or tokens is None:
            return ""
        return f"Room for {whole(fit)} more sequences of {whole(tokens)} tokens"

    def _show_strip(self, used: int, reused: int, total: int) -> None:
        if self.strip.take(used, reused, total):
            self._room_for_strip(self.width() - 32)

    def _room_for_strip(self, width: int) -> None:
        strip = self.strip.height_for(width)
        below = _ABOVE + strip + _CAPTION if strip else 0
        if below != self.below:
            self.below = below
            self.updateGeometry()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._room_for_strip(event.size().width() - 32)

    def draw_below(self, painter: QPainter, rect: QRect, colours: Theme) -> None:
        strip = QRect(rect.left(), rect.top() + _ABOVE, rect.width(), rect.height() - _ABOVE - _CAPTION)
        self.strip.paint(painter, strip, colours, self.scale or self.devicePixelRatioF())
        line = QRect(rect.left(), rect.bottom() - _CAPTION + 3, rect.width(), 16)
        room, cell = self._caption
        painter.setFont(face())
        painter.setPen(colours.colour("text3"))
        painter.drawText(line.right() + 1 - words_width(cell), line.top() + 12, cell)
        x = line.left()
        for word in room.split(" ") if room else ():
            painter.setPen(colours.colour("text" if word[:1].isdigit() else "text2"))
            painter.drawText(x, line.top() + 12, word)
            x += words_width(word + " ")

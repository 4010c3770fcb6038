"""How the run goes: what is measured now, how far it is, running figures, errors in words, and Stop."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QProgressBar, QVBoxLayout, QWidget

from workbench.core.report import words
from workbench.ui.models.bench_view import Live, RunView
from workbench.ui.pages.benchmark.plan import time_words
from workbench.ui.theme import BASE
from workbench.ui.widgets.basics import GAP, MARGIN, button, chip, column, figure, label, row, set_chip
from workbench.ui.widgets.elided_line import ElidedLine
from workbench.ui.widgets.table_parts import NONE

_TILES = (
    ("tok_s", "tok/s", "Output tokens of the last second"),
    ("ttft", "TTFT p50, p99", "ms, of the last 1,000 requests that ended"),
    ("itl", "Inter-token p50, p99", "ms, of the last 1,000 requests that ended"),
    ("done", "Done", "Measured requests of this point that ended"),
    ("open", "Open", "Requests under way, those of the warm-up included"),
    ("errors", "Errors", "Requests of this point that failed or timed out"),
)

_WIDE = 720
_ONE, _TWO = 56, 124
"""px of a tile of one figure, and of two: they do not move as figures change."""


class _Tile(QWidget):
    def __init__(self, name: str, tip: str, width: int) -> None:
        super().__init__()
        self._name = name
        self.value = figure(NONE, BASE)
        self.value.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self.value.setMinimumWidth(width)
        inside = column(label(name, "hint"), row(self.value, None), gap=0)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(inside)
        self.setToolTip(tip)

    def say(self, text: str) -> None:
        self.value.setText(text)
        self.value.setAccessibleName(f"{self._name}: {text}")


class LiveStrip(QFrame):
    """`stopped`: Stop was pressed."""

    stopped = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("surface", "panel")
        self.setAccessibleName("How the run goes")
        self.what = ElidedLine("name")
        self.stage = chip("starting", "accent")
        self.left = label("", "text3")
        self.stop = button("Stop", self.stopped.emit, icon_name="stop", small=True)
        self.stop.setAccessibleName("Stop the benchmark")
        self.stop.setToolTip("What was measured stays")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName("Progress of the run")
        self.tiles = {key: _Tile(name, tip, _TWO if "," in name else _ONE) for key, name, tip in _TILES}
        self.trouble = label("", "error", wrap=True)
        self.trouble.setAccessibleName("Errors so far")
        head = row(self.what, self.stage, self.left, self.stop)
        head.layout().setStretch(0, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, 10, MARGIN, 10)
        layout.setSpacing(GAP)
        layout.addWidget(head)
        layout.addWidget(self.bar)
        layout.addWidget(row(*self.tiles.values(), None, gap=MARGIN))
        layout.addWidget(self.trouble)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.tiles["open"].setVisible(event.size().width() >= _WIDE)

    def show_live(self, live: Live, view: RunView | None) -> None:
        """Show how it goes now."""
        point, load = live.point, view.head.load if view is not None else None
        parts = [live.subject] if live.subject else []
        if point is not None and view is not None and load is not None:
            parts.append(view.level_words(point.level))
            if load.repeats > 1:
                parts.append(f"repeat {point.repeat + 1} of {load.repeats}")
        self.what.say(", ".join(parts) or "Getting ready")
        stage = "stopping" if live.stopping else live.stage
        set_chip(self.stage, stage, "warn" if live.stopping or stage == "warm-up" else "accent")
        self.left.setText(self._left(live, view))
        self.stop.setEnabled(not live.stopping)
        share = live.run_share
        if share is None:
            self.bar.setRange(0, 0)
        else:
            self.bar.setRange(0, 1000)
            self.bar.setValue(round(share * 1000))
        self._show_figures(live)
        self._show_trouble(live, view)

    def _left(self, live: Live, view: RunView | None) -> str:
        point = live.point
        if point is None or view is None:
            return ""
        told = f"point {point.number} of {point.of}"
        load = view.head.load
        if load.duration_s is not None and load.requests is None:
            now = live.progress.share or 0.0 if live.progress is not None else 0.0
            rest = (point.of - point.number + 1 - now) * (load.duration_s + load.warmup_s)
            told += f", {time_words(max(rest, 0.0))} left at least"
        return told

    def _show_figures(self, live: Live) -> None:
        now = live.progress
        if now is None:
            for tile in self.tiles.values():
                tile.say(NONE)
            return
        self.tiles["tok_s"].say(words.number(now.tok_s, 0))
        self.tiles["ttft"].say(f"{words.number(now.ttft_p50_ms, 1)}  {words.number(now.ttft_p99_ms, 1)}")
        self.tiles["itl"].say(f"{words.number(now.itl_p50_ms, 2)}  {words.number(now.itl_p99_ms, 2)}")
        self.tiles["done"].say(words.number(now.done, 0))
        self.tiles["open"].say(words.number(now.open, 0))
        self.tiles["errors"].say(words.number(now.errors, 0))

    def _show_trouble(self, live: Live, view: RunView | None) -> None:
        lines = list(live.failed)
        if view is not None:
            lines += [f"{count:,} \N{MULTIPLICATION SIGN} {text}" for text, count in list(view.errors.items())[:3]]
            slow = next((one for one in view.figures if one.client.bottleneck), None)
            if slow is not None:
                lines.append(f"The client was the bottleneck at {view.level_words(slow.level)}: {slow.client.words}")
        self.trouble.setText("\n".join(lines))
        self.trouble.setVisible(bool(lines))

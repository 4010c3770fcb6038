"""While a comparison is measured: what is being done, how far it is, and Stop."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QProgressBar, QVBoxLayout

from workbench.ui.models.compare_doing import Doing
from workbench.ui.theme import SMALL
from workbench.ui.widgets.basics import MARGIN, button, figure, row
from workbench.ui.widgets.elided_line import ElidedLine

_STEPS = 1000


class MeasureStrip(QFrame):
    stopped = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("surface", "panel")
        self.words = ElidedLine()
        self.words.setAccessibleName("What is being measured")
        self.figures = figure("", SMALL, "text2")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setRange(0, _STEPS)
        self.bar.setAccessibleName("How far the measuring is")
        self.stop = button(
            "Stop",
            self.stopped.emit,
            icon_name="stop",
            small=True,
            name="Stop measuring",
            tip="What was measured stays, and is marked as stopped",
        )
        line = row(self.words, self.figures, self.stop)
        line.layout().setStretch(0, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, 6, MARGIN, 6)
        layout.setSpacing(6)
        layout.addWidget(line)
        layout.addWidget(self.bar)

    def show_doing(self, doing: Doing, *, stopping: bool) -> None:
        self.words.say(doing.words[:1].upper() + doing.words[1:])
        self.figures.setText(doing.figures)
        self.bar.setRange(0, _STEPS if doing.share is not None else 0)
        if doing.share is not None:
            self.bar.setValue(round(doing.share * _STEPS))
        self.stop.setEnabled(not stopping)

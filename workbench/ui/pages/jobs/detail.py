"""The line over the log: which job is shown, its verbs, and with several precisions a strip for each."""

from __future__ import annotations

import time
from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtGui import QFontMetrics, QResizeEvent
from PySide6.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from workbench.ui.models.jobs import JobRow
from workbench.ui.theme import BASE, mono_font, text_font
from workbench.ui.widgets.basics import GAP, button, label, restyle, row
from workbench.ui.widgets.step_strip import StepStrip

_MOST_STRIPS = 6


class JobBar(QWidget):
    """Names the chosen job; `do` is called with a verb: cancel, retry, folder."""

    def __init__(self, do: Callable[[str], None]) -> None:
        super().__init__()
        self._job: JobRow | None = None
        self._tag, self._title, self._now = label("", "text3"), label("", "name"), label("", "text2")
        self._tag.setFont(mono_font(BASE))
        self.cancel = button("Cancel", lambda: do("cancel"), icon_name="stop", small=True, name="Cancel this job")
        self.retry = button("Retry", lambda: do("retry"), icon_name="refresh", small=True, name="Retry this job")
        self.folder = button("Open folder", lambda: do("folder"), icon_name="folder", small=True)
        head = row(self._tag, self._title, self._now, None, self.cancel, self.retry, self.folder)
        self._strips = QWidget()
        self._grid = QGridLayout(self._strips)
        self._grid.setContentsMargins(0, 4, 0, 0)
        self._grid.setHorizontalSpacing(GAP * 2)
        self._grid.setVerticalSpacing(6)
        self._grid.setColumnStretch(1, 1)
        self._parts: list[tuple[QLabel, StepStrip]] = []
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(head)
        layout.addWidget(self._strips)

    def show_job(self, job: JobRow | None, *, busy: bool = False, explained: bool = False) -> None:
        """Show a job; `busy`: a verb was asked for and is not answered yet; `explained`: a card with Retry is shown."""
        self._job = job
        self.setVisible(job is not None)
        if job is None:
            return
        self._tag.setText(job.tag)
        self._title.setToolTip(job.title)
        self.cancel.setVisible(not job.finished)
        self.cancel.setEnabled(not busy)
        self.retry.setVisible(job.can_retry and not explained)
        self.retry.setEnabled(not busy)
        step = job.current
        self.retry.setText(f"Retry from {step.title}" if step is not None else "Retry")
        self.tick()
        self._show_strips(job)

    def tick(self) -> None:
        """Words that change with time."""
        if self._job is not None:
            first, second = self._job.words(time.time())
            failed = self._job.status == "failed"
            restyle(self._now, "role", "error" if failed else "text2")
            self._now.setText(first if failed or not second else f"{first}, {second}")
            self._elide()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._elide()

    def _elide(self) -> None:
        if self._job is not None:
            room = max(self.width() - 420, 120)
            metrics = QFontMetrics(text_font(BASE, bold=True))
            self._title.setText(metrics.elidedText(self._job.title, Qt.TextElideMode.ElideRight, room))

    def _show_strips(self, job: JobRow) -> None:
        shown = job.variants[:_MOST_STRIPS] if len(job.variants) > 1 else ()
        while len(self._parts) < len(shown):
            name, strip = label("", "small"), StepStrip()
            self._grid.addWidget(name, len(self._parts), 0, Qt.AlignmentFlag.AlignTop)
            self._grid.addWidget(strip, len(self._parts), 1)
            self._parts.append((name, strip))
        for place, (name, strip) in enumerate(self._parts):
            name.setVisible(place < len(shown))
            strip.setVisible(place < len(shown))
            if place < len(shown):
                name.setText(shown[place])
                strip.show_job(job, shown[place])
        self._strips.setVisible(bool(shown))

"""Why a job did not succeed: what happened, the line that shows it, what to do, and the buttons for it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from workbench.core.failure_fixes import FailureFix
from workbench.ui.models.jobs import JobRow, clock_text, grouped
from workbench.ui.theme import SMALL, mono_font, theme
from workbench.ui.widgets.basics import GAP, MARGIN, button, column, icon_button, label, row, rule, set_sign, surface

_SHOWN_CHARS = 400
_MOST_FIXES = 2


def breakable(text: str) -> str:
    """The same text, with places where long paths and words may be broken (zero-width spaces)."""
    return re.sub(r"([/=,:;_.-])(?=\S)", "\\1\u200b", text)


class CauseCard(QFrame):
    """Shows the failure of one job; `show_in_log`, `retry` and `copy` are what its buttons do, `retry_with` gets the
    overrides of a fix, `explain` the failure's code."""

    def __init__(
        self,
        show_in_log: Callable[[], None],
        retry: Callable[[], None],
        copy: Callable[[], None],
        retry_with: Callable[[tuple[str, ...]], None] = lambda overrides: None,
        explain: Callable[[str], None] = lambda code: None,
    ) -> None:
        super().__init__()
        self._code = ""
        self._fixes: tuple[FailureFix, ...] = ()
        self.setProperty("surface", "card")
        self.setAccessibleName("Why the job failed")
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self._closed: tuple[str, int] | None = None
        self._shown: tuple[str, int] | None = None
        self._icon, self._title = QLabel(), label("", "name")
        self._when = label("", "hint")
        self._what = label("", "text2", wrap=True, selectable=True)
        self._line = label("", "", wrap=True)
        self._line.setFont(mono_font(SMALL))
        self._fix = label("", "text2", wrap=True, selectable=True)
        self.in_log = button("Show in log", show_in_log, small=True)
        self.copy_button = button("Copy", copy, small=True, name="Copy what happened")
        self.retry = button("Retry", retry, icon_name="refresh", primary=True)
        self.more = button(
            "Read more", lambda: explain(self._code), icon_name="help", small=True, name="Read more in the user guide"
        )
        self.fix_buttons = tuple(
            button("", lambda own=number: retry_with(self._fixes[own].overrides), icon_name="refresh", small=True)  # type: ignore[misc]
            for number in range(_MOST_FIXES)
        )
        self.close_button = icon_button("close", "Close this card", self._close)
        self._lay_out()

    def _lay_out(self) -> None:
        head = row(
            self._icon, self._title, None, self._when, self.close_button, gap=GAP, margins=(MARGIN, GAP, GAP, GAP)
        )
        box = surface("sunken")
        inner = QVBoxLayout(box)
        inner.setContentsMargins(12, 8, 12, 8)
        inner.addWidget(self._line)
        buttons = row(self.retry, self.more, None)
        parts = (
            column(label("What happened", "heading"), self._what, None, gap=4),
            column(label("The line that shows it", "heading"), box, row(self.in_log, self.copy_button, None), None),
            column(label("What to do", "heading"), self._fix, buttons, *self.fix_buttons, None),
        )
        for made in self.fix_buttons:
            parts[2].layout().setAlignment(made, Qt.AlignmentFlag.AlignLeft)
        body = QWidget()
        across = QHBoxLayout(body)
        across.setContentsMargins(MARGIN, GAP, MARGIN, 12)
        across.setSpacing(MARGIN)
        for number, (part, share) in enumerate(zip(parts, (9, 10, 9), strict=True)):
            if number:
                across.addWidget(rule(vertical=True))
            across.addWidget(part, share)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(3, 0, 0, 0)
        layout.setSpacing(0)
        for piece in (head, rule(), body):
            layout.addWidget(piece)

    def show_job(self, job: JobRow | None) -> None:
        """Show the failure of a job; hidden for one without, or when it was closed."""
        failure = job.failure if job is not None and job.status in ("failed", "interrupted") else None
        if job is None or failure is None or (job.id, job.attempt) == self._closed:
            self._shown = None
            self.hide()
            return
        if self._shown != (job.id, job.attempt):
            self.show_fixes(())
        self._shown = job.id, job.attempt
        step = job.current
        name = f"{step.title} {step.variant}".strip() if step else "the job"
        set_sign(self._icon, "error", "err")
        self._title.setText(f"{name} failed" if job.status == "failed" else "The job was interrupted")
        when = time.strftime("%H:%M:%S", time.localtime(job.finished_at)) if job.finished_at else ""
        after = clock_text(job.elapsed_s(time.time()))
        self._when.setText(f"{job.tag}, {job.status} at {when} after {after}" if when else job.tag)
        self._code = failure.code
        self._what.setText(failure.what)
        evidence = failure.evidence or "Nothing was reported."
        shown = evidence if len(evidence) <= _SHOWN_CHARS else evidence[: _SHOWN_CHARS - 1] + "…"
        self._line.setText(breakable(shown))
        self._line.setAccessibleName(evidence)
        self._line.setToolTip("" if shown == evidence else evidence[:2000])
        self._fix.setText(failure.fix or "Retry: finished steps are reused.")
        self.retry.setText(f"Retry from {step.title}" if step else "Retry")
        self.retry.setAccessibleName(self.retry.text())
        self.setAccessibleDescription(" ".join(failure.lines()))
        self.show()

    def show_fixes(self, fixes: tuple[FailureFix, ...]) -> None:
        """Values that may be changed for another try: a button each."""
        self._fixes = fixes[:_MOST_FIXES]
        for place, made in enumerate(self.fix_buttons):
            made.setVisible(place < len(self._fixes))
            if place < len(self._fixes):
                made.setText(f"Retry with {self._fixes[place].words}")
                made.setAccessibleName(made.text())
                made.setToolTip("A new job with " + " ".join(f"--set {item}" for item in self._fixes[place].overrides))

    def show_line(self, number: int | None) -> None:
        """The line of the log (from 1) that shows it; None: it is not in the log."""
        self.in_log.setEnabled(number is not None)
        self.in_log.setText(f"Show in log, line {grouped(number)}" if number is not None else "Show in log")
        self.in_log.setAccessibleName(self.in_log.text())
        self.in_log.setToolTip("" if number is not None else "The log does not hold this text.")

    def _close(self) -> None:
        self._closed = self._shown
        self.hide()

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        painter = QPainter(self)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme().colour("err"))
        painter.drawRoundedRect(0, 0, 3, self.height(), 1, 1)

"""Why an answer ended early: what happened, the line that shows it, what to do, and the button for it."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QFrame, QLabel, QVBoxLayout, QWidget

from workbench.core.errors import Failure
from workbench.ui.pages.playground.talk.answer import copy_text
from workbench.ui.pages.playground.talk.markdown import visible
from workbench.ui.theme import SMALL, mono_font, theme
from workbench.ui.widgets.basics import GAP, button, label, row, set_sign, surface
from workbench.ui.widgets.cause_card import breakable

_SHOWN_CHARS = 400


class AnswerCause(QFrame):
    """The cause card below an answer; `reload` is None where loading the engine again would not help."""

    def __init__(self, failure: Failure, reload: Callable[[], None] | None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.failure = failure
        self.setProperty("surface", "card")
        self.setAccessibleName("Why the answer failed")
        self.setAccessibleDescription(" ".join(failure.lines()))
        sign = QLabel()
        set_sign(sign, "error", "err")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 10, 12, 12)
        layout.setSpacing(6)
        layout.addWidget(row(sign, label("The answer ended early", "name"), None))
        layout.addWidget(label(breakable(visible(failure.what)), "text2", wrap=True, selectable=True))
        if failure.evidence:
            evidence = visible(failure.evidence)
            shown = evidence if len(evidence) <= _SHOWN_CHARS else evidence[: _SHOWN_CHARS - 1] + "…"
            box = surface("sunken")
            inner = QVBoxLayout(box)
            inner.setContentsMargins(12, 6, 12, 6)
            line = label(breakable(shown), wrap=True, selectable=True)
            line.setFont(mono_font(SMALL))
            line.setAccessibleName(evidence[:2000])
            inner.addWidget(line)
            layout.addWidget(box)
        if failure.fix:
            layout.addWidget(label(breakable(visible(failure.fix)), "text2", wrap=True, selectable=True))
        self.reload_button = None
        self.copy_button = button(
            "Copy", lambda: copy_text("\n".join(failure.lines())), small=True, name="Copy what happened"
        )
        parts: list[QWidget | None] = [self.copy_button, None]
        if reload is not None:
            self.reload_button = button("Reload engine", reload, icon_name="refresh", primary=True)
            parts.insert(0, self.reload_button)
        layout.addWidget(row(*parts, gap=GAP))

    def fit(self, width: int) -> int:
        """The height that it takes at `width` px."""
        return max(self.layout().heightForWidth(width), self.layout().minimumSize().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        painter = QPainter(self)
        painter.fillRect(0, 4, 3, self.height() - 8, theme().colour("err"))

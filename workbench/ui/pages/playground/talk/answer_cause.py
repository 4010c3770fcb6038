"""Why an answer ended early: what happened, the line that shows it, what to do, and the button for it."""

from __future__ import annotations

import re
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
_IN_NUMBER = re.compile("(?<=[0-9][,.:])\u200b(?=[0-9])")
_SMALL_WORD = re.compile(r"[a-z]+\b")


def sentence(text: str) -> str:
    """What an engine said, as a sentence: a capital and a full stop. A name such as `max_tokens` stays as it is."""
    text = text.strip()
    if _SMALL_WORD.match(text):
        text = text[0].upper() + text[1:]
    return text if not text or text[-1] in ".!?:…" else f"{text}."


def _flowing(text: str) -> str:
    """A text for a label: long paths may break, numbers do not."""
    return _IN_NUMBER.sub("", breakable(visible(text)))


class AnswerCause(QFrame):
    """The cause card below an answer; `reload` is None where loading the engine again would not help, and
    `explain` gets the failure's code. `refused`: the engine took nothing of the request.
    """

    def __init__(
        self,
        failure: Failure,
        reload: Callable[[], None] | None,
        explain: Callable[[str], None],
        parent: QWidget | None = None,
        *,
        refused: bool = False,
    ) -> None:
        super().__init__(parent)
        failure = failure.model_copy(update={"what": sentence(failure.what)})
        self.failure = failure
        self.setProperty("surface", "card")
        self.setAccessibleName("Why the answer failed")
        self.setAccessibleDescription(" ".join(failure.lines()))
        sign = QLabel()
        set_sign(sign, "error", "err")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 10, 12, 12)
        layout.setSpacing(6)
        layout.addWidget(
            row(sign, label("The request was refused" if refused else "The answer ended early", "name"), None)
        )
        layout.addWidget(label(_flowing(failure.what), "text2", wrap=True, selectable=True))
        if failure.evidence:
            evidence = visible(failure.evidence)
            shown = evidence if len(evidence) <= _SHOWN_CHARS else evidence[: _SHOWN_CHARS - 1] + "…"
            box = surface("sunken")
            inner = QVBoxLayout(box)
            inner.setContentsMargins(12, 6, 12, 6)
            line = label(_flowing(shown), wrap=True, selectable=True)
            line.setFont(mono_font(SMALL))
            line.setAccessibleName(evidence[:2000])
            inner.addWidget(line)
            layout.addWidget(box)
        if failure.fix:
            layout.addWidget(label(_flowing(failure.fix), "text2", wrap=True, selectable=True))
        self.reload_button = None
        self.copy_button = button(
            "Copy", lambda: copy_text("\n".join(failure.lines())), small=True, name="Copy what happened"
        )
        self.more_button = button(
            "Read more", lambda: explain(failure.code), small=True, name="Read more in the user guide"
        )
        parts: list[QWidget | None] = [self.copy_button, self.more_button, None]
        if reload is not None:
            self.reload_button = button("Reload engine", reload, icon_name="refresh", primary=True)
            parts.insert(0, self.reload_button)
        self.buttons = [part for part in parts if part is not None]
        """What Tab visits, in order."""
        layout.addWidget(row(*parts, gap=GAP))

    def fit(self, width: int) -> int:
        """The height that it takes at `width` px."""
        for part in self.findChildren(QWidget):
            part.ensurePolished()  # else lines are as high as those of another font
        self.layout().invalidate()
        return max(self.heightForWidth(width), self.minimumSizeHint().height())  # with its border, unlike the layout's

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        painter = QPainter(self)
        painter.fillRect(0, 4, 3, self.height() - 8, theme().colour("err"))

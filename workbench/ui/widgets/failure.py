"""A card that says what went wrong, until it is put away."""

from __future__ import annotations

from PySide6.QtWidgets import QFrame, QLabel, QVBoxLayout, QWidget

from workbench.ui.widgets.basics import MARGIN, icon_button, label, row, set_sign


def failure_card(title: QLabel, words: QWidget) -> QFrame:
    """Hidden until it is shown; what stands in `title` and `words` is the page's."""
    sign = label()
    set_sign(sign, "error", "err")
    made = QFrame()
    made.setProperty("surface", "card")
    layout = QVBoxLayout(made)
    layout.setContentsMargins(MARGIN, 10, MARGIN, 10)
    head = row(sign, title, icon_button("close", "Put this away", made.hide))
    head.layout().setStretch(1, 1)
    layout.addWidget(head)
    layout.addWidget(words)
    made.hide()
    return made
